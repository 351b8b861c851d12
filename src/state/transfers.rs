//! Sums of all transfers per link and slot, and whether a placement's input is there in time: the check on the planner
//! that shares no code with it.
//!
//! A sum is exactly that of the transfers added and not yet removed; slots that nothing takes have no entry.

use std::{collections::BTreeMap, sync::Arc};

use imbl::OrdMap;

use crate::{
    domain::{
        ids::GatewayId,
        job::JobSpec,
        link::{Link, StageIn, crossing},
        placement::Placement,
        site::Site,
    },
    slot::{Slot, SlotGrid},
};

/// Bits per second by link and slot.
type Sums = BTreeMap<GatewayId, BTreeMap<Slot, u64>>;

/// What all transfers take together.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Transfers {
    links: Sums,
}

/// The links as they stand, and what of them is past.
#[derive(Debug, Clone, Copy)]
pub(super) struct LinkRules<'a> {
    pub(super) links: &'a OrdMap<GatewayId, Arc<Link>>,
    pub(super) grid: SlotGrid,
    /// The slot that passes; what is before it cannot be changed.
    pub(super) current: Slot,
}

/// Transfers with some taken out and others put in, without changing them.
#[derive(Debug)]
pub(super) struct TransferTrial<'a> {
    base: &'a Transfers,
    rules: LinkRules<'a>,
    changed: Sums,
}

impl Transfers {
    pub(super) fn add(&mut self, stage_in: &StageIn) {
        let Some(gateway) = &stage_in.link else {
            return;
        };
        let slots = self.links.entry(gateway.clone()).or_default();
        for slot in stage_in.slots.iter() {
            *slots.entry(slot).or_default() += stage_in.bits_per_second;
        }
    }

    pub(super) fn remove(&mut self, stage_in: &StageIn) {
        let Some(gateway) = &stage_in.link else {
            return;
        };
        let slots = self.links.entry(gateway.clone()).or_default();
        for slot in stage_in.slots.iter() {
            let taken = slots.entry(slot).or_default();
            *taken = less(*taken, stage_in.bits_per_second);
            if *taken == 0 {
                slots.remove(&slot);
            }
        }
        if slots.is_empty() {
            self.links.remove(gateway);
        }
    }

    pub(super) fn taken(&self, gateway: &GatewayId, slot: Slot) -> u64 {
        let slots = self.links.get(gateway);
        slots
            .and_then(|slots| slots.get(&slot))
            .copied()
            .unwrap_or(0)
    }

    pub(super) fn trial<'a>(&'a self, rules: LinkRules<'a>) -> TransferTrial<'a> {
        TransferTrial {
            base: self,
            rules,
            changed: Sums::new(),
        }
    }
}

impl TransferTrial<'_> {
    pub(super) fn remove(&mut self, stage_in: &StageIn) {
        let Some(gateway) = &stage_in.link else {
            return;
        };
        for slot in stage_in.slots.iter() {
            let taken = self.taken_mut(gateway, slot);
            *taken = less(*taken, stage_in.bits_per_second);
        }
    }

    /// Puts the transfer of a placement in.
    ///
    /// # Errors
    /// Says what of the input would not be there in time, or which link would carry too much.
    pub(super) fn add(
        &mut self,
        placement: &Placement,
        site: &Site,
        spec: &JobSpec,
    ) -> Result<(), String> {
        let stage_in = match (&spec.staging, &placement.stage_in) {
            (None, None) => return Ok(()),
            (Some(_), None) => return Err("its input is not brought in".into()),
            (None, Some(_)) => return Err("it has no input to bring in".into()),
            (Some(staging), Some(stage_in)) => {
                if stage_in.bits(self.rules.grid) < staging.bits()
                    || stage_in.bits_per_second > staging.bits_per_second(None)
                {
                    return Err("its transfer does not fit its input".into());
                }
                stage_in
            }
        };
        if stage_in.slots.is_empty() || placement.start() < stage_in.slots.end {
            return Err("its input comes after its start".into());
        }
        let crossing = crossing(site, spec.origin.path);
        let is_direct = stage_in.site == site.id && stage_in.link.as_ref() == crossing;
        let is_kept = stage_in.has_begun(self.rules.current) && stage_in.serves(&site.id, crossing);
        if !is_direct && !is_kept {
            return Err(format!("its input goes elsewhere than `{}`", site.id));
        }
        let Some(gateway) = &stage_in.link else {
            return Ok(());
        };
        let bandwidth = self.rules.links.get(gateway);
        let bandwidth = bandwidth.map(|link| link.bandwidth_bits_per_second);
        let current = self.rules.current;
        for slot in stage_in.slots.iter() {
            let taken = self.taken_mut(gateway, slot);
            *taken += stage_in.bits_per_second;
            if current <= slot && bandwidth.is_some_and(|bandwidth| bandwidth < *taken) {
                return Err(format!(
                    "the link of `{gateway}` is over-committed in {slot}"
                ));
            }
        }
        Ok(())
    }

    fn taken_mut(&mut self, gateway: &GatewayId, slot: Slot) -> &mut u64 {
        let base = self.base;
        self.changed
            .entry(gateway.clone())
            .or_default()
            .entry(slot)
            .or_insert_with(|| base.taken(gateway, slot))
    }
}

fn less(have: u64, take: u64) -> u64 {
    let rest = have.checked_sub(take);
    assert!(rest.is_some(), "a transfer is removed that was not added");
    rest.unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        domain::link::Staging,
        slot::SlotRange,
        state::testing::{FIRST, name, placement, settings, site, spec},
    };

    /// Room for 10 bit/s through `g`.
    fn links() -> OrdMap<GatewayId, Arc<Link>> {
        let link = Link {
            gateway: name("g"),
            bandwidth_bits_per_second: 10,
            updated_at: crate::slot::TimeMs(0),
            revision: crate::domain::ids::Revision(1),
        };
        OrdMap::unit(name("g"), Arc::new(link))
    }

    /// 900 bytes at up to 8 bit/s: one slot.
    fn with_input() -> JobSpec {
        JobSpec {
            staging: Some(Staging {
                input_bytes: 900,
                max_bits_per_second: Some(8),
            }),
            ..spec()
        }
    }

    fn transfer(from: u32, to: u32) -> StageIn {
        StageIn {
            site: name("kmg"),
            link: Some(name("g")),
            slots: SlotRange::new(FIRST.plus(from), FIRST.plus(to)),
            bits_per_second: 8,
        }
    }

    /// Starts in the third slot.
    fn placed(stage_in: Option<StageIn>) -> Placement {
        Placement {
            stage_in: stage_in.map(Arc::new),
            ..Placement::clone(&placement("kmg", FIRST.plus(2), 4))
        }
    }

    /// What is said of a placement while others take `taken` bit/s in the first slot.
    fn verdict(spec: &JobSpec, stage_in: Option<StageIn>, taken: u64) -> Result<(), String> {
        let mut base = Transfers::default();
        if taken > 0 {
            base.add(&StageIn {
                bits_per_second: taken,
                ..transfer(0, 1)
            });
        }
        let links = links();
        let mut trial = base.trial(LinkRules {
            links: &links,
            grid: settings().grid,
            current: FIRST,
        });
        let mut site = site("kmg");
        site.gateway = Some(name("g"));
        trial.add(&placed(stage_in), &site, spec)
    }

    #[test]
    fn input_is_all_there_before_the_start_by_the_right_way() {
        let input = with_input();
        let ok = |stage_in| verdict(&input, Some(stage_in), 0).is_ok();
        assert!(ok(transfer(0, 1)) && ok(transfer(1, 2)));
        assert!(!ok(transfer(2, 3)), "too late");
        assert!(!ok(transfer(1, 1)), "no slot");
        let slow = StageIn {
            bits_per_second: 7,
            ..transfer(0, 1)
        };
        assert!(!ok(slow.clone()), "a part only");
        assert!(ok(StageIn {
            slots: transfer(0, 2).slots,
            ..slow
        }));
        let fast = StageIn {
            bits_per_second: 9,
            ..transfer(0, 1)
        };
        assert!(!ok(fast), "above what the job may send");
        let around = StageIn {
            link: None,
            ..transfer(1, 2)
        };
        assert!(!ok(around), "around the link");
        assert_eq!(verdict(&spec(), None, 0), Ok(()));
        assert!(verdict(&input, None, 0).is_err());
        assert!(verdict(&spec(), Some(transfer(0, 1)), 0).is_err());
    }

    #[test]
    fn a_transfer_elsewhere_counts_behind_the_same_gateway_once_begun() {
        let spec = with_input();
        let ok = |stage_in| verdict(&spec, Some(stage_in), 0).is_ok();
        let elsewhere = |from, to| StageIn {
            site: name("dli"),
            ..transfer(from, to)
        };
        assert!(ok(elsewhere(0, 1)));
        assert!(!ok(elsewhere(1, 2)), "not begun");
        let other_gateway = StageIn {
            link: Some(name("h")),
            ..elsewhere(0, 1)
        };
        assert!(!ok(other_gateway));
    }

    #[test]
    fn no_link_carries_more_than_it_can() {
        let spec = with_input();
        assert_eq!(verdict(&spec, Some(transfer(0, 1)), 2), Ok(()));
        let refused = verdict(&spec, Some(transfer(0, 1)), 3);
        assert!(refused.is_err_and(|why| why.contains("over-committed")));
    }

    #[test]
    fn what_is_past_is_no_longer_held_against_the_link() {
        let past = StageIn {
            slots: SlotRange::new(FIRST.minus(2), FIRST),
            ..transfer(0, 1)
        };
        let mut base = Transfers::default();
        base.add(&past);
        let links = links();
        let mut trial = base.trial(LinkRules {
            links: &links,
            grid: settings().grid,
            current: FIRST,
        });
        let mut site = site("kmg");
        site.gateway = Some(name("g"));
        assert_eq!(trial.add(&placed(Some(past)), &site, &with_input()), Ok(()));
    }

    #[test]
    fn what_is_taken_out_leaves_no_trace() {
        let mut transfers = Transfers::default();
        transfers.add(&transfer(0, 3));
        let with_one = transfers.clone();
        transfers.add(&transfer(2, 5));
        assert_eq!(transfers.taken(&name("g"), FIRST.plus(2)), 16);
        transfers.remove(&transfer(2, 5));
        assert_eq!(transfers, with_one);
        transfers.remove(&transfer(0, 3));
        assert_eq!(transfers, Transfers::default());
    }
}
