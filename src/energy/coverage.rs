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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{
        domain::{forecast::ForecastProduct, site::SupplyKind},
        energy::fixtures::{band, issue, slots, supply},
        slot::TimeMs,
    };

    /// An issue whose bands say which issue they are of.
    fn marked(issued_at: i64, product: ForecastProduct, start: u32, len: u32) -> ForecastIssue {
        let mark = u64::try_from(issued_at).unwrap() * 10 + u64::from(product as u8);
        let supply = supply(SupplyKind::Hydro, 1_000_000);
        let bands = (0..len).map(|_| band(mark, mark, mark));
        let mut issue = issue(&supply, TimeMs(issued_at), Slot(start), bands);
        issue.id.product = product;
        issue
    }

    #[track_caller]
    fn check(issues: &[ForecastIssue], expected: [Option<u64>; 6]) {
        let ruling = ruling_bands_as_issued(issues, slots(10, 16));
        assert_eq!(ruling.map_watts(), expected);
        let reversed = ruling_bands_as_issued(issues.iter().rev(), slots(10, 16));
        assert_eq!(reversed.map_watts(), expected);
    }

    trait MapWatts {
        fn map_watts(&self) -> Vec<Option<u64>>;
    }

    impl MapWatts for Vec<Option<Band>> {
        fn map_watts(&self) -> Vec<Option<u64>> {
            self.iter()
                .map(|band| band.map(|band| band.p50_watts))
                .collect()
        }
    }

    #[test]
    fn the_newest_issue_that_covers_a_slot_rules_it() {
        use ForecastProduct::{DayAhead, Intraday, WeekAhead};
        check(&[], [None; 6]);
        check(
            &[marked(1, DayAhead, 8, 5), marked(2, DayAhead, 11, 1)],
            [Some(10), Some(20), Some(10), None, None, None],
        );
        // An older issue fills only what the newer one leaves open.
        check(
            &[marked(5, Intraday, 12, 2), marked(3, WeekAhead, 0, 100)],
            [Some(32), Some(32), Some(51), Some(51), Some(32), Some(32)],
        );
        // Of the same moment the later product rules.
        check(
            &[
                marked(7, WeekAhead, 15, 1),
                marked(7, DayAhead, 10, 6),
                marked(7, Intraday, 10, 1),
            ],
            [Some(71), Some(70), Some(70), Some(70), Some(70), Some(72)],
        );
    }

    #[test]
    fn a_late_older_issue_rules_only_what_is_left() {
        let newer = marked(9, ForecastProduct::Intraday, 12, 3);
        let late = marked(4, ForecastProduct::DayAhead, 10, 6);
        assert_eq!(ruling_slots(&late, [&newer]), 3);
        assert_eq!(ruling_slots(&newer, [&late]), 3);
        assert_eq!(ruling_slots(&late, [&late, &newer]), 3);
    }

    #[test]
    fn an_issue_has_no_band_outside_its_range() {
        let issue = marked(1, ForecastProduct::DayAhead, 10, 2);
        let mark = |slot| band_at(&issue, Slot(slot)).map(|band| band.p50_watts);
        assert_eq!([9, 10, 11, 12].map(mark), [None, Some(10), Some(10), None]);
    }

    fn issues() -> impl Strategy<Value = Vec<ForecastIssue>> {
        let issue = (0..20_i64, 0..3_usize, 0..60_u32, 1..40_u32).prop_map(
            |(issued_at, product, start, len)| {
                marked(issued_at, ForecastProduct::ALL[product], start, len)
            },
        );
        prop::collection::vec(issue, 0..25).prop_map(|mut issues| {
            let mut seen = std::collections::BTreeSet::new();
            issues.retain(|issue| seen.insert(issue.id.clone()));
            issues
        })
    }

    /// The rule as a sentence: of all issues that cover the slot, the one with the greatest time and product.
    fn by_definition(issues: &[ForecastIssue], slot: Slot) -> Option<Band> {
        issues
            .iter()
            .filter(|issue| issue.range.contains(slot))
            .max_by_key(|issue| (issue.id.issued_at, issue.id.product))
            .and_then(|issue| band_at(issue, slot))
    }

    proptest! {
        #[test]
        fn the_order_of_arrival_does_not_matter(
            (issues, shuffled) in issues().prop_flat_map(|issues| {
                (Just(issues.clone()), Just(issues).prop_shuffle())
            }),
        ) {
            let range = slots(5, 90);
            let expected: Vec<_> = range.iter().map(|slot| by_definition(&issues, slot)).collect();
            prop_assert_eq!(&ruling_bands_as_issued(&issues, range), &expected);
            prop_assert_eq!(&ruling_bands_as_issued(&shuffled, range), &expected);
        }

        #[test]
        fn ruled_slots_are_those_where_the_issue_rules(issues in issues()) {
            let ruling = ruling_issues(&issues, slots(0, 200));
            for issue in &issues {
                let ruled = ruling.iter().flatten().filter(|ruling| ruling.id == issue.id).count();
                prop_assert_eq!(usize::try_from(ruling_slots(issue, &issues)).unwrap(), ruled);
            }
        }
    }
}
