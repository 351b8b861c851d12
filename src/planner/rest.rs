//! What is left of a job that has begun, planned anew at its site.
//!
//! What a placement says of the slots before stays as it is, and the work before and after is the whole of it.

use std::sync::Arc;

use crate::{
    domain::{
        ids::Revision,
        job::{Flexibility, JobSpec, Timing},
        placement::{Carbon, EnergyMix, GreenStretch, Placement, Run},
    },
    planner::{
        Request, Timetable, Window,
        cost::{Meter, attribute},
        feasibility::{Ask, Offer, Work},
        place::search,
        pools::PoolSet,
        shape::{Flex, Pieces, Shape},
        site_table::{to_index, to_indexes},
    },
    slot::{Slot, SlotGrid, SlotRange},
};

impl Timetable {
    /// The placement of a job that has begun with its runs before the slot `done` as they are, and the rest of its work in
    /// the best slots from another one on, at the same site and in the same pool; `None` where there is no room before
    /// `end_by`, or when the job runs in one piece. Its own reservation must be released before. What was planned between
    /// the two slots is not done.
    ///
    /// Neither a cordon nor a green share keeps what has begun from going on; the data rules do, where they forbid its place
    /// and after a proof of it has run out. It gets no more units at once than it had: what runs it gave it room for no more.
    #[must_use]
    pub fn rest(
        &self,
        spec: &JobSpec,
        placement: &Placement,
        done: Slot,
        from: Slot,
        end_by: Slot,
        decided_revision: Revision,
    ) -> Option<Placement> {
        let i = self.position(&placement.site).ok()?;
        let table = &self.sites[i];
        let pool = table.site.pool(&placement.pool).map(|(pool, _)| pool)?;
        let allowed_until = self.allows_data_until(spec, placement)?;
        let end_by = end_by.min(self.grid.slot_at(allowed_until));
        let kept = before(&placement.runs, done);
        let spec = rest_of(spec, &kept, placement.most_units(), self.grid)?;
        let window = Window {
            current: self.horizon.start,
            stage_from: from,
            not_before: from,
            start_by: end_by,
            end_by,
        };
        let request = Request {
            spec: &spec,
            window,
            decided_revision,
            staged: None,
        };
        let work = Work::default();
        let ask = Ask::new(self, &request, &work);
        let least = match ask.shape.flex {
            Flex::Rigid | Flex::Pieces(_) => ask.shape.n_slots,
            Flex::Units(_) => 1,
        };
        let slots = SlotRange::new(from, end_by).intersect(self.horizon);
        if slots.len() < least {
            return None;
        }
        let indexes = to_indexes(slots, self.horizon);
        let offer = Offer {
            table,
            site: i,
            meter: Meter::new(table, placement.confidence, placement.power_watts),
            rtt_us: placement.rtt_us,
            pools: PoolSet::only(pool),
            stage_in: None,
            last_start: indexes.end - to_index(least),
            slots: indexes,
            ignored: None,
            horizon: self.horizon,
            not_before: from,
        };
        // Nodes that became others hold what has begun no longer, or another amount of it.
        let need = offer.need(&ask, pool);
        let fits_idle = table.room(pool, &need, placement.power_watts, None);
        if need != placement.amounts || fits_idle.is_none() {
            return None;
        }
        let rest = search(&ask, offer, None)?.write_out(self, &ask);
        Some(joined(placement, kept, rest, self.grid))
    }
}

/// The parts of runs before a slot.
fn before(runs: &[Run], from: Slot) -> Vec<Run> {
    let cut = runs.iter().map(|run| Run {
        slots: SlotRange::new(run.slots.start, run.slots.end.min(from)),
        ..*run
    });
    cut.filter(|run| !run.slots.is_empty()).collect()
}

/// What is left to do after some runs, as a job of its own; `None` for one that runs in one piece. One that goes on
/// after a pause repeats some of its work; one that is malleable has so many units at most.
fn rest_of(spec: &JobSpec, done: &[Run], most_units: u32, grid: SlotGrid) -> Option<JobSpec> {
    let shape = Shape::of(spec, grid);
    let n_slots = match shape.flex {
        Flex::Rigid => return None,
        Flex::Pieces(Pieces { resume, .. }) => {
            let run = |(i, run): (usize, &Run)| {
                let repeated = if i == 0 { 0 } else { resume };
                run.slots.len().saturating_sub(repeated)
            };
            let n_done: u32 = done.iter().enumerate().map(run).sum();
            let repeated = if done.is_empty() { 0 } else { resume };
            shape.n_slots.saturating_sub(n_done).max(1) + repeated
        }
        Flex::Units(speeds) => {
            let run = |run: &Run| u64::from(run.slots.len()) * speeds.of(run.units);
            let n_done: u64 = done.iter().map(run).sum();
            let left = (u64::from(shape.n_slots) * 1_000).saturating_sub(n_done);
            u32::try_from(left.div_ceil(1_000))
                .unwrap_or(u32::MAX)
                .max(1)
        }
    };
    let slot_ms = u64::from(grid.slot_seconds()) * 1_000;
    let runtime_ms = u64::from(n_slots) * slot_ms;
    Some(JobSpec {
        timing: Timing {
            runtime_ms,
            earliest_start: None,
            start_deadline: None,
            finish_deadline: None,
        },
        flexibility: match &spec.flexibility {
            Flexibility::Interruptible {
                min_chunk_ms,
                resume_cost_ms,
            } => Flexibility::Interruptible {
                min_chunk_ms: (*min_chunk_ms).min(runtime_ms),
                resume_cost_ms: *resume_cost_ms,
            },
            Flexibility::Malleable { speed_permille } => Flexibility::Malleable {
                speed_permille: speed_permille[..speed_permille.len().min(to_index(most_units))]
                    .into(),
            },
            Flexibility::Rigid => Flexibility::Rigid,
        },
        min_green_share_permille: 0,
        staging: None,
        ..spec.clone()
    })
}

/// The kept runs of a placement and the rest. What the kept ones are planned to cost is their part of the whole: energy and
/// green power to the watt-second, the rest in proportion.
fn joined(old: &Placement, kept: Vec<Run>, rest: Placement, grid: SlotGrid) -> Placement {
    let slot_seconds = u64::from(grid.slot_seconds());
    let n_kept: u32 = kept.iter().map(|run| run.slots.len()).sum();
    let unit_slots: u64 = kept.iter().map(|run| run.unit_slots()).sum();
    let energy = old.power_watts * unit_slots * slot_seconds;
    let mut green = Vec::new();
    let mut green_energy = 0;
    let n_slots = usize::try_from(n_kept).unwrap_or(usize::MAX);
    for (_, watts) in old.green_by_slot().take(n_slots) {
        push_green(&mut green, GreenStretch { slots: 1, watts });
        green_energy += watts * slot_seconds;
    }
    for stretch in &rest.green {
        push_green(&mut green, *stretch);
    }
    let mut kinds = attribute(green_energy, old.energy.green_watt_seconds);
    for (sum, more) in kinds.iter_mut().zip(rest.energy.green_watt_seconds) {
        *sum += more;
    }
    let whole = u128::from(old.energy.total().max(1));
    let part = |amount: u64| {
        let part = u128::from(amount) * u128::from(energy) / whole;
        u64::try_from(part).unwrap_or(u64::MAX)
    };
    Placement {
        runs: with_runs(kept, &rest.runs),
        green: green.into(),
        energy: EnergyMix {
            green_watt_seconds: kinds,
            grid_watt_seconds: energy - green_energy + rest.energy.grid_watt_seconds,
        },
        carbon: Carbon {
            location_mg: part(old.carbon.location_mg) + rest.carbon.location_mg,
            contract_mg: part(old.carbon.contract_mg) + rest.carbon.contract_mg,
            marginal_mg: part(old.carbon.marginal_mg) + rest.carbon.marginal_mg,
        },
        cost_micro_cny: part(old.cost_micro_cny) + rest.cost_micro_cny,
        fallback_slots: old.fallback_slots.min(n_kept) + rest.fallback_slots,
        stage_in: old.stage_in.as_ref().map(Arc::clone),
        ..rest
    }
}

fn with_runs(mut runs: Vec<Run>, more: &[Run]) -> Box<[Run]> {
    for next in more {
        match runs.last_mut() {
            Some(last) if last.slots.end == next.slots.start && last.units == next.units => {
                last.slots.end = next.slots.end;
            }
            _ => runs.push(*next),
        }
    }
    runs.into()
}

fn push_green(green: &mut Vec<GreenStretch>, next: GreenStretch) {
    match green.last_mut() {
        Some(last) if last.watts == next.watts => last.slots += next.slots,
        _ => green.push(next),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::testing::{
        START, flat, horizon, malleable, pieces, request, runs_of, site, timetable, window,
    };

    fn slot(offset: u32) -> Slot {
        Slot(START + offset)
    }

    /// Where a job of two or more slots that is placed first goes on after a slot, when others take some slots.
    fn rest(spec: &JobSpec, from: u32, blocked: &[(u32, u32)]) -> Option<Placement> {
        rest_after(spec, from, from, blocked)
    }

    /// The same when only what was planned before the slot `done` was done.
    fn rest_after(
        spec: &JobSpec,
        done: u32,
        from: u32,
        blocked: &[(u32, u32)],
    ) -> Option<Placement> {
        let mut traits = site("a");
        traits.power_cap_watts = 3_000;
        let mut timetable = timetable(horizon(12), vec![(traits, flat(horizon(12), 400))]);
        let placement = timetable.place(&request(spec, window(0, 12))).unwrap();
        for &(start, end) in blocked {
            let mut other = placement.clone();
            other.power_watts = 2_500;
            other.amounts = crate::domain::site::Amounts::default();
            other.runs = [Run::single(SlotRange::new(slot(start), slot(end)))].into();
            other.green = [].into();
            timetable.reserve(&other);
        }
        let (done, from) = (slot(done), slot(from));
        let rest = timetable.rest(spec, &placement, done, from, slot(12), Revision(7))?;
        let slot_seconds = 900;
        assert_eq!(
            rest.energy.total(),
            rest.power_watts * rest.unit_slots() * slot_seconds
        );
        let green: u64 = rest.green_by_slot().map(|(_, watts)| watts).sum();
        assert_eq!(rest.energy.green(), green * slot_seconds);
        assert_eq!(
            rest.green_by_slot().count(),
            usize::try_from(rest.n_slots()).unwrap()
        );
        assert!(Run::are_in_order(&rest.runs));
        Some(rest)
    }

    #[test]
    fn what_is_left_of_a_job_in_pieces_comes_after_the_gap_with_what_it_repeats() {
        let spec = pieces(4, 1, 0);
        let placed = |from, blocked: &[(u32, u32)]| rest(&spec, from, blocked).map(|p| runs_of(&p));
        assert_eq!(placed(2, &[(2, 5)]), Some(vec![(0, 2), (5, 7)]));
        // Nothing is done of a piece that is stopped at its start.
        assert_eq!(placed(0, &[(0, 3)]), Some(vec![(3, 7)]));
        // Where it goes on at once nothing has changed.
        assert_eq!(placed(2, &[]), Some(vec![(0, 4)]));
        // One that is over its time gets a slot more.
        assert_eq!(placed(6, &[]), Some(vec![(0, 4), (6, 7)]));
        assert_eq!(placed(2, &[(2, 12)]), None);
        let repeats = pieces(4, 1, 1);
        let placed = rest(&repeats, 2, &[(2, 5)]).map(|p| runs_of(&p));
        assert_eq!(placed, Some(vec![(0, 2), (5, 8)]));
    }

    #[test]
    fn what_was_missed_is_left_to_do() {
        let spec = pieces(4, 1, 0);
        let placed = |done, from| rest_after(&spec, done, from, &[]).map(|p| runs_of(&p));
        assert_eq!(placed(2, 6), Some(vec![(0, 2), (6, 8)]));
        assert_eq!(placed(0, 6), Some(vec![(6, 10)]));
        // Five slots are left for the three that it has to do and the one that it repeats.
        let repeats = pieces(4, 1, 1);
        let placed = |from| rest_after(&repeats, 1, from, &[]).map(|p| runs_of(&p));
        assert_eq!(placed(7), Some(vec![(0, 1), (7, 11)]));
        assert_eq!(placed(9), None);
    }

    #[test]
    fn a_malleable_job_goes_on_with_the_units_that_have_room() {
        let spec = malleable(4, &[1_000, 2_000]);
        let units = |placement: Placement| -> Vec<(u32, u32, u32)> {
            let runs = placement.runs.iter();
            runs.map(|run| {
                (
                    run.slots.start.0 - START,
                    run.slots.end.0 - START,
                    run.units,
                )
            })
            .collect()
        };
        let placement = rest(&spec, 1, &[(1, 12)]);
        assert!(placement.is_none(), "{placement:?}");
        let open = units(rest(&spec, 1, &[]).unwrap());
        let work: u32 = open
            .iter()
            .map(|(from, to, units)| (to - from) * units)
            .sum();
        assert_eq!(work, 4);
    }

    #[test]
    fn what_has_begun_never_gets_more_units_than_it_had_room_for() {
        let spec = malleable(4, &[1_000, 2_000, 3_000]);
        for most in 1..=3 {
            let rest = rest_of(&spec, &[], most, SlotGrid::new(900).unwrap()).unwrap();
            let Flexibility::Malleable { speed_permille } = rest.flexibility else {
                panic!("{rest:?}");
            };
            assert_eq!(speed_permille.len(), to_index(most));
        }
    }

    #[test]
    fn what_runs_in_one_piece_has_no_rest() {
        let spec = crate::planner::testing::job(4);
        assert_eq!(rest(&spec, 2, &[]), None);
    }
}
