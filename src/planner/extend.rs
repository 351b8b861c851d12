//! One more slot for work that runs longer than planned.
//!
//! What a placement says of its earlier slots stays as it is; the new slot takes what green power is left there.

use crate::{
    domain::placement::{GreenStretch, Placement, Run},
    planner::{Timetable, cost::Meter, feasibility::pool_position, site_table::to_indexes},
    slot::{Slot, SlotRange},
};

impl Timetable {
    /// The placement with one more slot at its end, at the units of its last run; `None` where capacity or power do not
    /// allow it, or where the slot does not follow. The placement is reserved, and stays so as it is.
    #[must_use]
    pub fn extend(&self, placement: &Placement, slot: Slot) -> Option<Placement> {
        let last = placement.runs.last()?;
        let one = SlotRange::new(slot, slot.plus(1));
        let is_later = last.slots.end <= slot && one.intersect(self.horizon) == one;
        let table = &self.sites[self.position(&placement.site).ok().filter(|_| is_later)?];
        let pool = pool_position(table, placement)?;
        let at = to_indexes(one, self.horizon).start;
        let mut used = table.pool_used(pool, at);
        let amounts = placement.amounts.times(last.units);
        used.cpu_cores += amounts.cpu_cores;
        used.memory_mib += amounts.memory_mib;
        used.gpus += amounts.gpus;
        let watts = placement.power_watts * u64::from(last.units);
        let has_room = table.site.pools[pool].capacity().cover(&used)
            && table.power_used()[at] + watts <= table.site.power_cap_watts;
        if !has_room {
            return None;
        }
        let meter = Meter::new(table, placement.confidence, placement.power_watts);
        let slots = std::iter::once((at, last.units));
        let bill = meter.bill(slots, self.grid.slot_seconds());
        let mut longer = placement.clone();
        longer.runs = with_run(
            &placement.runs,
            Run {
                slots: one,
                units: last.units,
            },
        );
        longer.green = with_stretches(&placement.green, &bill.green);
        let energy = &mut longer.energy;
        for (sum, more) in energy
            .green_watt_seconds
            .iter_mut()
            .zip(bill.energy.green_watt_seconds)
        {
            *sum += more;
        }
        energy.grid_watt_seconds += bill.energy.grid_watt_seconds;
        longer.carbon.location_mg += bill.carbon.location_mg;
        longer.carbon.contract_mg += bill.carbon.contract_mg;
        longer.carbon.marginal_mg += bill.carbon.marginal_mg;
        longer.cost_micro_cny += bill.cost_micro_cny;
        longer.fallback_slots += bill.fallback_slots;
        Some(longer)
    }
}

fn with_run(runs: &[Run], next: Run) -> Box<[Run]> {
    let mut runs = runs.to_vec();
    match runs.last_mut() {
        Some(last) if last.slots.end == next.slots.start && last.units == next.units => {
            last.slots.end = next.slots.end;
        }
        _ => runs.push(next),
    }
    runs.into()
}

fn with_stretches(green: &[GreenStretch], next: &[GreenStretch]) -> Box<[GreenStretch]> {
    let mut green = green.to_vec();
    for stretch in next {
        match green.last_mut() {
            Some(last) if last.watts == stretch.watts => last.slots += stretch.slots,
            _ => green.push(*stretch),
        }
    }
    green.into()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use crate::{
        domain::site::Site,
        planner::testing::{START, green, horizon, job, request, runs_of, site, timetable, window},
        slot::Slot,
    };

    fn slot(offset: u32) -> Slot {
        Slot(START + offset)
    }

    #[test]
    fn one_more_slot_takes_the_green_power_that_is_left_there() {
        let outlook = green(horizon(4), &[1_000, 1_000, 300, 0]);
        let mut timetable = timetable(horizon(4), vec![(site("a"), outlook)]);
        let spec = job(2);
        let placement = timetable.place(&request(&spec, window(0, 4))).unwrap();
        assert_eq!(runs_of(&placement), [(0, 2)]);
        timetable.reserve(&placement);
        let longer = timetable.extend(&placement, slot(2)).unwrap();
        assert_eq!(runs_of(&longer), [(0, 3)]);
        assert_eq!(longer.energy.total(), 3 * 900 * 1_000);
        assert_eq!(longer.energy.green(), 900 * (1_000 + 1_000 + 300));
        // A slot that does not follow, or is not planned for, is none of its.
        assert_eq!(timetable.extend(&placement, slot(1)), None);
        assert_eq!(timetable.extend(&placement, slot(4)), None);
        // After a gap it is a run of its own.
        let later = timetable.extend(&placement, slot(3)).unwrap();
        assert_eq!(runs_of(&later), [(0, 2), (3, 4)]);
    }

    #[test]
    fn what_is_taken_is_not_given_twice() {
        let traits = Site {
            power_cap_watts: 1_500,
            ..site("a")
        };
        let outlook = green(horizon(4), &[1_000; 4]);
        let mut timetable = timetable(horizon(4), vec![(traits.clone(), outlook.clone())]);
        let spec = job(2);
        let first = timetable.place(&request(&spec, window(0, 2))).unwrap();
        timetable.reserve(&first);
        let second = timetable.place(&request(&spec, window(2, 4))).unwrap();
        timetable.reserve(&second);
        assert_eq!(timetable.extend(&first, slot(2)), None);
        timetable.release(&second);
        assert!(timetable.extend(&first, slot(2)).is_some());
        timetable.set_site(
            Arc::new(Site {
                power_cap_watts: 900,
                ..traits
            }),
            outlook,
        );
        assert_eq!(timetable.extend(&first, slot(2)), None);
    }
}
