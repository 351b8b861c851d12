//! Input in the small worlds, and what must hold of its transfers.
//!
//! Counts bits by hand, and tries every transfer there is.

use proptest::{option, prelude::*};

use super::{Counter, N, a_site, a_world, adopt, candidates, options, requests};
use crate::{
    domain::{
        job::JobSpec,
        latency::NetworkPath,
        link::{Staging, crossing},
    },
    planner::{
        Timetable, check, replan,
        testing::{START, link},
    },
    slot::Slot,
};

/// Bits per second that carry one unit of input in a slot.
const UNIT_RATE: u64 = 4;
/// Bytes that [`UNIT_RATE`] carries in a slot.
const UNIT_BYTES: u64 = 450;

/// Input of up to 4 units and a byte, at up to 3 units a slot.
pub(super) fn some_input() -> impl Strategy<Value = Staging> {
    (1_u64..4, 0_u64..2, 1_u64..4).prop_map(|(units, odd, rate)| Staging {
        input_bytes: units * UNIT_BYTES + odd,
        max_bits_per_second: Some(rate * UNIT_RATE),
    })
}

/// A link of up to 5 units, or none.
pub(super) fn a_link() -> impl Strategy<Value = Option<u64>> {
    option::weighted(0.8, 2_u64..5 * UNIT_RATE)
}

pub(super) fn set_link(timetable: &mut Timetable, bandwidth: Option<u64>) {
    if let Some(bits_per_second) = bandwidth {
        timetable.set_link(&link("g", bits_per_second));
    }
}

impl Counter<'_> {
    /// Whether any transfer whatever brings the input to the site by this slot.
    pub(super) fn is_there_by(&self, spec: &JobSpec, site: usize, first: u32) -> bool {
        let Some(staging) = spec.staging else {
            return true;
        };
        let is_leased = spec.origin.path == NetworkPath::Leased;
        let crosses = is_leased && self.world.sites[site].0.gateway.is_some();
        let bandwidth = self.world.link.filter(|_| crosses).unwrap_or(u64::MAX);
        let rate = staging.max_bits_per_second.unwrap().min(bandwidth);
        // Bits over bits in a slot of 900 seconds, by hand.
        let n_slots = (staging.input_bytes * 8).div_ceil(rate * 900);
        let taken = |slot: u32| -> u64 {
            let placed = self.placed.iter().filter_map(|(_, p)| p.stage_in.as_ref());
            placed
                .filter(|other| other.link.is_some() && other.slots.contains(Slot(START + slot)))
                .map(|other| other.bits_per_second)
                .sum()
        };
        (0..N).any(|start| {
            let end = start.saturating_add(u32::try_from(n_slots).unwrap());
            end <= first && (start..end).all(|slot| !crosses || taken(slot) + rate <= bandwidth)
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn what_has_begun_to_be_sent_is_not_sent_again(
        world in a_world(2..8),
        later in a_site("a"),
        passed in 1_u32..6,
    ) {
        let mut timetable = world.timetable();
        let placed = world.fill(&mut timetable);
        timetable.set_outlook(&later.0.id, later.1);
        let current = Slot(START + passed);
        let mut candidates = candidates(&world, &placed);
        for candidate in &mut candidates {
            candidate.window.current = current;
            candidate.window.stage_from = current;
            candidate.window.not_before = current.max(candidate.window.not_before);
            let own = candidate.current.as_ref().and_then(|own| own.stage_in.clone());
            candidate.staged = own.filter(|stage_in| stage_in.has_begun(current));
        }
        let moves = replan(&mut timetable, &candidates, &options(0));
        adopt(&mut candidates, &moves);
        check(&timetable, requests(&candidates));
        for candidate in &candidates {
            let (Some(staged), Some(now)) = (&candidate.staged, &candidate.current) else {
                continue;
            };
            let site = &world.sites.iter().find(|(site, _)| site.id == now.site).unwrap().0;
            if staged.serves(&site.id, crossing(site, candidate.spec.origin.path)) {
                prop_assert_eq!(&now.stage_in, &candidate.staged);
            }
        }
    }
}
