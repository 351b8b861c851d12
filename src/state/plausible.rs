//! What of a report cannot be true, and what counts instead.
//!
//! A fact stands whatever figure came with it; the figure is refused with its reason, and nothing is changed in silence.

use crate::{
    domain::{
        agent::RefusedBecause,
        attempt::{Attempt, Ended},
        job::{Flexibility, Job, JobSpec},
    },
    limits,
    slot::TimeMs,
    state::command::{ReportedEvent, ReportedKind},
};

/// What was refused of an event: why, and the figures.
pub(super) type Refused = (RefusedBecause, String);

/// The event with what counts of it, and what was refused.
pub(super) fn judged(
    job: &Job,
    attempt: &Attempt,
    event: &ReportedEvent,
    now: TimeMs,
) -> (ReportedEvent, Vec<Refused>) {
    let mut refused = Vec::new();
    let mut event = event.clone();
    if let Some(why) = wrong_time(attempt, &event, now) {
        refused.push(why);
        event.at = now;
    }
    if let ReportedKind::Ended(ended) = &mut event.kind {
        ended.at = event.at;
        refused.extend(wrong_run_time(attempt, ended, now));
        refused.extend(wrong_energy(&job.spec, ended));
    }
    (event, refused)
}

fn wrong_time(attempt: &Attempt, event: &ReportedEvent, now: TimeMs) -> Option<Refused> {
    let skew_ms = limits::EVENT_TIME_SKEW_MS;
    let TimeMs(at) = event.at;
    let is_end = matches!(event.kind, ReportedKind::Ended(_));
    let begun = attempt.started_at.filter(|_| is_end);
    let is_before = |earlier: TimeMs| at < earlier.0.saturating_sub(skew_ms);
    if now.0.saturating_add(skew_ms) < at {
        let ahead_s = (at - now.0) / 1_000;
        let why = format!("{ahead_s} s ahead of the server's clock");
        return Some((RefusedBecause::TimeAhead, why));
    }
    if let Some(begun) = begun.filter(|begun| is_before(*begun)) {
        let why = format!("{} s before its begin", (begun.0 - at) / 1_000);
        return Some((RefusedBecause::EndBeforeStart, why));
    }
    is_before(attempt.assigned_at).then(|| {
        let why = format!(
            "{} s before its offer",
            (attempt.assigned_at.0 - at) / 1_000
        );
        (RefusedBecause::TimeBackwards, why)
    })
}

/// A run time longer than the attempt becomes the attempt's age.
fn wrong_run_time(attempt: &Attempt, ended: &mut Ended, now: TimeMs) -> Option<Refused> {
    let skew_ms = limits::EVENT_TIME_SKEW_MS;
    let age_ms = now.0.saturating_sub(attempt.assigned_at.0).max(0);
    let max_ms = u64::try_from(age_ms.saturating_add(skew_ms)).unwrap_or(u64::MAX);
    if ended.run_ms <= max_ms {
        return None;
    }
    let age_ms = u64::try_from(age_ms).unwrap_or(0);
    let why = format!(
        "ran {} s, offered {} s ago",
        ended.run_ms / 1_000,
        age_ms / 1_000
    );
    ended.run_ms = age_ms;
    Some((RefusedBecause::RunTimeTooLong, why))
}

/// Energy that the job cannot have taken is no energy at all.
fn wrong_energy(spec: &JobSpec, ended: &mut Ended) -> Option<Refused> {
    let units = match &spec.flexibility {
        Flexibility::Malleable { speed_permille } => speed_permille.len(),
        Flexibility::Rigid | Flexibility::Interruptible { .. } => 1,
    };
    let units = u128::try_from(units).unwrap_or(u128::MAX);
    let watts = u128::from(spec.task_power_watts) * u128::from(spec.task_count) * units;
    let ms = u128::from(ended.run_ms) + u128::from(limits::ENERGY_TOLERANCE_MS);
    let believed_permille = 1_000 + u128::from(limits::ENERGY_TOLERANCE_PERMILLE);
    let max = watts * ms * believed_permille / 1_000_000;
    if u128::from(ended.energy_watt_seconds) <= max {
        return None;
    }
    let why = format!(
        "{} watt-seconds, at most {max} by {watts} W in {} s",
        ended.energy_watt_seconds,
        ended.run_ms / 1_000
    );
    ended.energy_watt_seconds = 0;
    Some((RefusedBecause::EnergyTooHigh, why))
}
