//! What goes wrong on purpose: forecasts late or missing, sites dark, jobs that overrun.
//!
//! Chance comes from a seed in the scenario; the same scenario has the same faults.

use crate::{
    domain::ids::{SiteId, SupplyId},
    slot::{SlotRange, TimeMs},
};

use super::{config::Overrun, scenario::TimedIssue};

/// A site that is dark: it takes no new work, and what runs there stops.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outage {
    /// The site.
    pub site: SiteId,
    /// Slots without power.
    pub slots: SlotRange,
}

/// Forecasts that arrive later than they were issued.
#[derive(Debug, Clone)]
pub(super) struct Lateness {
    pub(super) supply: Option<SupplyId>,
    pub(super) ms: i64,
}

/// Forecasts that never arrive: those issued from `from` up to `until`.
#[derive(Debug, Clone)]
pub(super) struct Gap {
    pub(super) supply: Option<SupplyId>,
    pub(super) from: TimeMs,
    pub(super) until: TimeMs,
}

/// Issues as they arrive, in that order.
pub(super) fn arrivals(
    mut issues: Vec<TimedIssue>,
    late: &[Lateness],
    gaps: &[Gap],
) -> Vec<TimedIssue> {
    let concerns = |of: &Option<SupplyId>, id: &SupplyId| of.as_ref().is_none_or(|of| of == id);
    issues.retain(|timed| {
        let id = &timed.issue.id;
        !gaps.iter().any(|gap| {
            concerns(&gap.supply, &id.supply)
                && gap.from <= id.issued_at
                && id.issued_at < gap.until
        })
    });
    for timed in &mut issues {
        let id = &timed.issue.id;
        let delay_ms: i64 = late
            .iter()
            .filter(|late| concerns(&late.supply, &id.supply))
            .map(|late| late.ms)
            .sum();
        timed.arrives_at = id.issued_at.plus_ms(delay_ms);
    }
    issues.sort_by(|a, b| (a.arrives_at, &a.issue.id).cmp(&(b.arrives_at, &b.issue.id)));
    issues
}

/// The true runtime of the job at this position, milliseconds.
pub(super) fn overrun_ms(overrun: &Overrun, position: usize, runtime_ms: u64) -> u64 {
    let mut random = SplitMix(overrun.seed ^ u64::try_from(position).unwrap_or(u64::MAX));
    random.next();
    if random.next() % 1_000 >= u64::from(overrun.jobs_permille) {
        return runtime_ms;
    }
    let extra = random.next() % (u64::from(overrun.extra_permille_max) + 1);
    runtime_ms.saturating_add((runtime_ms / 1_000).saturating_mul(extra))
}

/// The splitmix64 generator (Steele, Lea, Flood 2014).
struct SplitMix(u64);

impl SplitMix {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}
