//! Speeds of malleable jobs by number of units.
//!
//! Sound ones never fall, and no unit adds more than the one before it.

use crate::{domain::violation::Violations, limits};

/// Speed with as many units as help, thousandths; at least that of one unit.
pub(super) fn greatest_speed(speed_permille: &[u32]) -> u32 {
    speed_permille
        .last()
        .map_or(1_000, |&speed| speed.max(1_000))
}

/// Slots at a speed for the work of `n_slots` slots at the speed of one unit.
pub(super) fn slots_at(n_slots: u32, speed_permille: u32) -> u32 {
    let work = u64::from(n_slots) * 1_000;
    u32::try_from(work.div_ceil(speed_permille.into())).unwrap_or(u32::MAX)
}

/// Speeds start at one unit's, and every further unit adds no less than nothing and no more than the one before it.
pub(super) fn check_speeds(found: &mut Violations, speed_permille: &[u32]) {
    const FIELD: &str = "flexibility.malleable.speed_permille";
    found.check(
        limits::SPEEDS.contains(&speed_permille.len()),
        FIELD,
        || {
            format!(
                "has between {} and {} entries, one for each number of units",
                limits::SPEEDS.start(),
                limits::SPEEDS.end()
            )
        },
    );
    found.check(
        speed_permille.first().is_none_or(|&first| first == 1_000),
        FIELD,
        || "begins with 1000, the speed of one unit".into(),
    );
    // The first fault is enough to say; behind it every entry may look wrong.
    let falls = speed_permille.windows(2).position(|pair| pair[1] < pair[0]);
    if let Some(i) = falls {
        found.check(false, FIELD, || {
            format!("never falls; entry {} is less than the one before", i + 2)
        });
        return;
    }
    let gain = |pair: &[u32]| pair[1] - pair[0];
    let rises = speed_permille
        .windows(3)
        .position(|three| gain(&three[..2]) < gain(&three[1..]));
    let first_gain = speed_permille.windows(2).next().map_or(0, gain);
    found.check(rises.is_none() && first_gain <= 1_000, FIELD, || {
        let entry = if first_gain > 1_000 {
            2
        } else {
            rises.map_or(0, |i| i + 3)
        };
        format!("gains no more with each unit than with the one before; entry {entry} does")
    });
}
