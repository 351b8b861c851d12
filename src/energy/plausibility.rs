//! Whether an issue or a series of readings can be true of its supply.
//!
//! What passes is ordered, within the nameplate, of a plausible time and level, and dark at night; everything that is
//! wrong is listed, by field of the API's `Forecast` or `PutActualsRequest`.

use jiff::Timestamp;

use crate::{
    domain::{
        forecast::{Actuals, Band, ForecastIssue},
        site::{Supply, SupplyKind},
        violation::{Violation, Violations},
    },
    energy::{
        climatology::Climate,
        sun::{Place, sine_elevation},
    },
    limits,
    slot::{Slot, SlotGrid, SlotRange, TimeMs},
};

/// How far the issuer's clock may be ahead of ours, milliseconds: five minutes.
pub const CLOCK_AHEAD_MS_MAX: i64 = 300_000;
/// How many days after its issue a forecast may end: as far as the longest horizon.
pub const DAYS_AHEAD_MAX: i64 = 31;
/// From this factor on, up or down, a level smells of a wrong unit: no weather does it to a whole series, a thousand
/// does. In the starter data the median of no issue comes near it.
pub const JUMP_FACTOR: u128 = 200;
/// Wrong values listed one by one for one series; the rest is counted.
pub const VALUES_LISTED_MAX: usize = 20;

const DAY_MS: i64 = 86_400_000;
/// Sine of -1 degree: the sun is down for certain, horizon, refraction and a site's rough coordinates allowed for.
const NIGHT_SINE: f64 = -0.017_452_4;
/// Share of the nameplate, in parts, below which solar power at night is taken for noise of a meter.
const NIGHT_NOISE_PARTS: u64 = 1_000;
/// Share of the nameplate, in parts, below which a mean level is too low to compare with: dusk, a calm.
const LEVEL_FLOOR_PARTS: u128 = 100;

/// What an issue is held against.
#[derive(Debug, Clone, Copy)]
pub struct IssueCheck<'a> {
    /// Its supply.
    pub supply: &'a Supply,
    /// Where the supply's site is.
    pub place: Place,
    /// The slots.
    pub grid: SlotGrid,
    /// Slots of one step of the API's `Forecast`: indices in field paths count steps, and night must be a whole step.
    pub slots_per_step: u32,
    /// What has ruled each slot of the issue's range until now, as issued; missing entries count as nothing.
    pub ruling: &'a [Option<Band>],
    /// The present.
    pub now: TimeMs,
    /// Whether a level that jumps as by a wrong unit is accepted.
    pub accept_jump: bool,
}

/// Everything implausible about an issue, by field of the API's `Forecast` (`p50_watts[17]`).
#[must_use]
pub fn check_issue(issue: &ForecastIssue, check: &IssueCheck<'_>) -> Vec<Violation> {
    let mut found = Violations::new();
    check_times(issue, check, &mut found);
    if !check_length("p50_watts", issue.range, issue.bands.len(), &mut found) {
        return found.into_vec();
    }
    check_bands(issue, check, &mut found);
    if !check.accept_jump {
        check_level(issue, check, &mut found);
    }
    found.into_vec()
}

/// Everything implausible about readings of a supply, by field of the API's `PutActualsRequest`.
#[must_use]
pub fn check_actuals(
    actuals: &Actuals,
    supply: &Supply,
    place: Place,
    grid: SlotGrid,
    now: TimeMs,
) -> Vec<Violation> {
    let mut found = Violations::new();
    if !check_length("watts", actuals.range, actuals.watts.len(), &mut found) {
        return found.into_vec();
    }
    let last = actuals.range.end.minus(1);
    if grid.start_of(actuals.range.start) > now {
        found.add(
            "start_time",
            format!("is not later than now ({})", written(now)),
        );
    } else if grid.start_of(last) > now {
        let begun = SlotRange::new(actuals.range.start, grid.slot_at(now).plus(1));
        found.add(
            "watts",
            format!(
                "has at most {} values from start_time on: later slots have not begun ({})",
                begun.len(),
                written(now)
            ),
        );
    }
    let nights = nights(supply, place, grid, actuals.range, 1);
    let mut series = Series::new("watts");
    for (i, &watts) in actuals.watts.iter().enumerate() {
        series.check_value(i, watts, supply, nights.get(i) == Some(&true));
    }
    series.close_into(&mut found);
    found.into_vec()
}

fn check_times(issue: &ForecastIssue, check: &IssueCheck<'_>, found: &mut Violations) {
    let issued_at = issue.id.issued_at;
    let latest = check.now.plus_ms(CLOCK_AHEAD_MS_MAX);
    found.check(issued_at <= latest, "issued_at", || {
        format!(
            "is at most 5 minutes after now ({}): correct the issuer's clock",
            written(check.now)
        )
    });
    let end = check.grid.start_of(issue.range.end);
    found.check(
        issue.range.is_empty() || end > issued_at,
        "start_time",
        || {
            format!(
                "gives a series that ends after issued_at; it ends at {}",
                written(end)
            )
        },
    );
    found.check(
        end <= issued_at.plus_ms(DAYS_AHEAD_MAX * DAY_MS),
        "start_time",
        || {
            format!(
                "gives a series that ends at most {DAYS_AHEAD_MAX} days after issued_at; it ends at {}",
                written(end)
            )
        },
    );
}

fn check_length(field: &str, range: SlotRange, values: usize, found: &mut Violations) -> bool {
    let max = limits::SERIES_SLOTS_MAX;
    let length_ok = (1..=max).contains(&values);
    found.check(length_ok, field, || {
        format!("covers 1 to {max} slots, not {values}")
    });
    let same = u32::try_from(values).is_ok_and(|values| values == range.len());
    found.check(same || !length_ok, field, || {
        format!("has one value for each of {} slots", range.len())
    });
    length_ok && same
}

fn check_bands(issue: &ForecastIssue, check: &IssueCheck<'_>, found: &mut Violations) {
    let step = check.slots_per_step.max(1);
    let nights = nights(check.supply, check.place, check.grid, issue.range, step);
    let [mut p10, mut p50, mut p90] = ["p10_watts", "p50_watts", "p90_watts"].map(Series::new);
    let stride = usize::try_from(step).unwrap_or(usize::MAX);
    for (i, band) in issue.bands.iter().step_by(stride).enumerate() {
        let night = nights.get(i) == Some(&true);
        p10.check_value(i, band.p10_watts, check.supply, night);
        p50.check_value(i, band.p50_watts, check.supply, night);
        p90.check_value(i, band.p90_watts, check.supply, night);
        p10.check(band.p10_watts <= band.p50_watts, i, || {
            format!(
                "is at most p50_watts[{i}]: {} > {}",
                band.p10_watts, band.p50_watts
            )
        });
        p50.check(band.p50_watts <= band.p90_watts, i, || {
            format!(
                "is at most p90_watts[{i}]: {} > {}",
                band.p50_watts, band.p90_watts
            )
        });
    }
    for series in [p10, p50, p90] {
        series.close_into(found);
    }
}

/// A jump counts only when everything there is to compare with agrees: an issue that corrects a wrong one is not refused
/// because of it, and neither is one that follows its predecessor through a drought.
fn check_level(issue: &ForecastIssue, check: &IssueCheck<'_>, found: &mut Violations) {
    let climate = Climate::new(
        check.place,
        std::slice::from_ref(check.supply),
        issue.range,
        check.grid,
    );
    let mut against_ruling = Sums::default();
    let mut against_profile = Sums::default();
    for (i, (slot, band)) in issue.range.iter().zip(issue.bands.iter()).enumerate() {
        let profile = climate.band(check.supply, slot).p50_watts;
        against_profile.add(band.p50_watts, profile);
        if let Some(Some(ruling)) = check.ruling.get(i) {
            against_ruling.add(band.p50_watts, ruling.p50_watts);
        }
    }
    let nameplate = check.supply.nameplate_watts;
    let levels = [
        (against_ruling, "what rules these slots now"),
        (against_profile, "the supply's monthly profile"),
    ];
    let verdicts = levels.map(|(sums, _)| sums.level(nameplate));
    if verdicts.contains(&Level::Alike) {
        return;
    }
    let jump = levels
        .iter()
        .zip(verdicts)
        .find_map(|((sums, what), verdict)| match verdict {
            Level::Higher(factor) => Some((sums, what, format!("{factor} times"))),
            Level::Lower(factor) => Some((sums, what, format!("1/{factor} of"))),
            Level::Alike | Level::Unknown => None,
        });
    if let Some((sums, what, factor)) = jump {
        found.add(
            "p50_watts",
            format!(
                "is {factor} {what} (mean {} W against {} W), as when kW are taken for W or MW for kW: send watts, or set \
                 accept_jump if the level is right",
                sums.new / sums.slots,
                sums.old / sums.slots,
            ),
        );
    }
}

/// Sums of medians over the same slots.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    new: u128,
    old: u128,
    slots: u128,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Alike,
    Higher(u128),
    Lower(u128),
    /// Nothing to compare with.
    Unknown,
}

impl Sums {
    fn add(&mut self, new: u64, old: u64) {
        self.new += u128::from(new);
        self.old += u128::from(old);
        self.slots += 1;
    }

    fn level(&self, nameplate_watts: u64) -> Level {
        if self.slots == 0 {
            return Level::Unknown;
        }
        // Nothing is nothing in every unit: an outage, a night.
        if self.new == 0 {
            return Level::Alike;
        }
        let floor = u128::from(nameplate_watts) * self.slots / LEVEL_FLOOR_PARTS;
        if self.new <= floor && self.old <= floor {
            return Level::Alike;
        }
        if self.old == 0 {
            return Level::Unknown;
        }
        if self.new >= self.old.saturating_mul(JUMP_FACTOR) {
            return Level::Higher(self.new / self.old);
        }
        if self.old >= self.new.saturating_mul(JUMP_FACTOR) {
            return Level::Lower(self.old / self.new);
        }
        Level::Alike
    }
}

/// For each step of a solar supply, whether it is night throughout; empty for other kinds.
fn nights(
    supply: &Supply,
    place: Place,
    grid: SlotGrid,
    range: SlotRange,
    slots_per_step: u32,
) -> Vec<bool> {
    if supply.kind != SupplyKind::Solar {
        return Vec::new();
    }
    // Looked at every half slot: the sun is highest in a step at its ends or within a quarter of an hour of such a look.
    let half_slot_ms = i64::from(grid.slot_seconds()) * 500;
    let is_dark = |slot: Slot| {
        let start = grid.start_of(slot);
        let looks = [start, start.plus_ms(half_slot_ms)];
        looks
            .into_iter()
            .all(|look| sine_elevation(place, look) < NIGHT_SINE)
    };
    let dark: Vec<bool> = (range.start.0..=range.end.0)
        .map(|slot| is_dark(Slot(slot)))
        .collect();
    let step = usize::try_from(slots_per_step.max(1)).unwrap_or(usize::MAX);
    let slots = dark.len() - 1;
    (0..slots)
        .step_by(step)
        .map(|start| {
            let end = start.saturating_add(step).min(slots);
            dark[start..=end].iter().all(|&dark| dark)
        })
        .collect()
}

/// The wrong values of one list, at most [`VALUES_LISTED_MAX`] of them in full.
struct Series {
    field: &'static str,
    listed: Vec<Violation>,
    more: usize,
}

impl Series {
    fn new(field: &'static str) -> Self {
        Self {
            field,
            listed: Vec::new(),
            more: 0,
        }
    }

    fn check_value(&mut self, index: usize, watts: u64, supply: &Supply, night: bool) {
        let nameplate = supply.nameplate_watts;
        self.check(watts <= nameplate, index, || {
            format!("is at most the nameplate_watts of the supply: {watts} > {nameplate}")
        });
        let dark = watts == 0 || watts.saturating_mul(NIGHT_NOISE_PARTS) < nameplate;
        self.check(!night || dark, index, || {
            format!("is 0 for solar at night, when the sun is more than 1 degree below the horizon, not {watts}")
        });
    }

    fn check(&mut self, ok: bool, index: usize, description: impl FnOnce() -> String) {
        if ok {
            return;
        }
        if self.listed.len() == VALUES_LISTED_MAX {
            self.more += 1;
            return;
        }
        self.listed.push(Violation {
            field: format!("{}[{index}]", self.field),
            description: description(),
        });
    }

    fn close_into(self, found: &mut Violations) {
        found.extend_under("", self.listed);
        if self.more > 0 {
            found.add(self.field, format!("and {} more", self.more));
        }
    }
}

fn written(time: TimeMs) -> String {
    Timestamp::from_millisecond(time.0).map_or_else(
        |_| format!("{} ms after 1970", time.0),
        |time| time.to_string(),
    )
}
