//! Which issue rules a slot: the newest that covers it.
//!
//! The answer depends on the set of issues only, never on the order in which they arrived; of issues of the same moment
//! the later product rules.

use crate::{
    domain::forecast::{Band, ForecastIssue},
    slot::{Slot, SlotRange},
};

/// For each slot of `range`, the newest issue that covers it.
///
/// `issues` are those of one supply, in any order. O(n log n + slots).
#[must_use]
pub fn ruling_issues<'a>(
    issues: impl IntoIterator<Item = &'a ForecastIssue>,
    range: SlotRange,
) -> Vec<Option<&'a ForecastIssue>> {
    newest_first(issues.into_iter().map(|issue| (issue.range, issue)), range)
}

/// For each slot of `range`, the band of the newest issue that covers it, as issued.
#[must_use]
pub fn ruling_bands_as_issued<'a>(
    issues: impl IntoIterator<Item = &'a ForecastIssue>,
    range: SlotRange,
) -> Vec<Option<Band>> {
    range
        .iter()
        .zip(ruling_issues(issues, range))
        .map(|(slot, issue)| issue.and_then(|issue| band_at(issue, slot)))
        .collect()
}

/// The band of an issue in a slot; `None` outside its range.
#[must_use]
pub fn band_at(issue: &ForecastIssue, slot: Slot) -> Option<Band> {
    let index = slot.0.checked_sub(issue.range.start.0)?;
    issue.bands.get(usize::try_from(index).ok()?).copied()
}

/// How many slots `issue` rules among `issues` of its supply; `issue` itself may be one of them or not yet.
#[must_use]
pub fn ruling_slots<'a>(
    issue: &ForecastIssue,
    issues: impl IntoIterator<Item = &'a ForecastIssue>,
) -> u32 {
    let mut newer: Vec<SlotRange> = issues
        .into_iter()
        .filter(|other| order(other) > order(issue))
        .map(|other| other.range.intersect(issue.range))
        .filter(|range| !range.is_empty())
        .collect();
    newer.sort_unstable();
    let mut ruled = issue.range.len();
    let mut covered_to = issue.range.start;
    for range in newer {
        let rest = SlotRange::new(range.start.max(covered_to), range.end);
        ruled -= rest.len();
        covered_to = covered_to.max(rest.end);
    }
    ruled
}

/// For each slot of `range`, the newest of the issues that cover it with the part of their range given.
pub(in crate::energy) fn newest_first<'a>(
    parts: impl IntoIterator<Item = (SlotRange, &'a ForecastIssue)>,
    range: SlotRange,
) -> Vec<Option<&'a ForecastIssue>> {
    let mut parts: Vec<_> = parts
        .into_iter()
        .map(|(part, issue)| (part.intersect(range), issue))
        .filter(|(part, _)| !part.is_empty())
        .collect();
    parts.sort_unstable_by_key(|(_, issue)| std::cmp::Reverse(order(issue)));

    let slots = index_in(range, range.end);
    let mut ruling = vec![None; slots];
    // Where the next free slot may be: skips what newer issues have taken, so that each slot is visited about once.
    let mut next_free: Vec<usize> = (0..=slots).collect();
    for (part, issue) in parts {
        let end = index_in(range, part.end);
        let mut at = free_from(&mut next_free, index_in(range, part.start));
        while at < end {
            ruling[at] = Some(issue);
            next_free[at] = at + 1;
            at = free_from(&mut next_free, at + 1);
        }
    }
    ruling
}

fn order(issue: &ForecastIssue) -> impl Ord + use<> {
    (issue.id.issued_at, issue.id.product)
}

fn index_in(range: SlotRange, slot: Slot) -> usize {
    usize::try_from(slot.0 - range.start.0).unwrap_or(usize::MAX)
}

/// First free slot at `start` or later; shortens the path on its way.
fn free_from(next_free: &mut [usize], start: usize) -> usize {
    let mut at = start;
    while next_free[at] != at {
        next_free[at] = next_free[next_free[at]];
        at = next_free[at];
    }
    at
}
