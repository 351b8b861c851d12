//! Finds the runs of a malleable job at one site: how many units in each slot of one pool.
//!
//! Greedy: the unit that costs least for the speed it adds comes first, and what then is superfluous goes. A job that
//! has room is always found a place, unless a green share is asked for. Where one unit of green power costs no more
//! than one of grid power, the runs cost less than the best possible ones and one unit-slot more; with speeds in
//! proportion to the units they are the best. That holds for the share as well, and for a price on delay as long as
//! all ends can be tried within `INTERRUPTIBLE_CELLS_MAX`.

use std::{cmp::Ordering, collections::BinaryHeap, ops::Range};

use crate::{
    domain::job::Weights,
    planner::{
        cost::{Aim, Meter, Score, Sums, allowed_grid, weighted},
        feasibility::{Ask, Offer},
        pools::units_held,
        shape::Speeds,
        site_table::to_index,
    },
};

/// The best runs found at a site, with the units of each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    pub(super) score: Score,
    pub(super) pool: usize,
    pub(super) runs: Vec<(Range<usize>, u32)>,
}

/// One pool, as far as the job may use it.
#[derive(Debug)]
struct Field<'a> {
    ask: &'a Ask<'a>,
    offer: &'a Offer<'a>,
    speeds: Speeds<'a>,
    /// Units that have room and are of use, by slot of the offer.
    room: Vec<u32>,
    /// Work to do, thousandths of a slot with one unit.
    work: u64,
}

/// By what units are compared.
#[derive(Debug, Clone, Copy)]
enum Key {
    /// The strict order.
    Strict,
    /// The sum at its prices, then the strict order.
    Weighted(Weights),
    /// Grid power above what the green share leaves for a unit, thousandths of watts; then the strict order.
    Green { allowed: i128 },
}

/// Cost of some units in a slot. Derived order: key, strict order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    key: i128,
    sums: Sums,
}

/// Units that may come next in a slot. The greatest in a heap is the one that costs least for what it adds, the
/// earliest among equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    cost: Cost,
    /// Speed that it adds, thousandths; above 0.
    gain: u64,
    slot: usize,
    /// Units of the slot with it.
    units: u32,
}

/// The last unit of a slot. The greatest in a heap is the dearest, the latest among equals.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Spare {
    cost: Cost,
    slot: usize,
    gain: u64,
}

/// The best runs that are better than `beat`, if there are any.
pub(super) fn search(
    ask: &Ask<'_>,
    offer: &Offer<'_>,
    speeds: Speeds<'_>,
    beat: Option<&Score>,
) -> Option<Hit> {
    let mut best: Option<Hit> = None;
    for pool in offer.pools.iter() {
        let field = Field::new(ask, offer, speeds, pool);
        if let Some((score, units)) = field.best()
            && best.as_ref().is_none_or(|best| score < best.score)
        {
            let runs = field.runs(&units);
            best = Some(Hit { score, pool, runs });
        }
        if field.is_open() {
            break;
        }
    }
    best.filter(|hit| beat.is_none_or(|beat| hit.score < *beat))
}

impl<'a> Field<'a> {
    fn new(ask: &'a Ask<'_>, offer: &'a Offer<'_>, speeds: Speeds<'a>, pool: usize) -> Self {
        ask.work.add_slots(offer.slots.len());
        let held = units_held(&offer.table.site.pools[pool], ask.request.spec);
        let most = held.min(speeds.useful().into());
        let need = offer.need(ask, pool);
        let room = offer.slots.clone().map(|slot| {
            let free =
                offer
                    .table
                    .units_free(pool, &need, offer.meter.watts(), offer.ignored, slot);
            u32::try_from(free.min(most)).unwrap_or(u32::MAX)
        });
        Self {
            ask,
            offer,
            speeds,
            room: room.collect(),
            work: u64::from(ask.shape.n_slots) * 1_000,
        }
    }

    /// Whether every slot has room for all units that are of use: then no other pool is better.
    fn is_open(&self) -> bool {
        self.room.iter().all(|&room| room == self.speeds.useful())
    }

    /// The best units by slot, with their rank.
    fn best(&self) -> Option<(Score, Vec<u32>)> {
        let least_end = self.least_end()?;
        let ends = least_end..self.room.len() + 1;
        match self.ask.aim {
            Aim::Strict | Aim::Early => self.best_until(self.room.len(), Key::Strict),
            Aim::Soonest => self.soonest(ends),
            Aim::Weighted(weights) if weights.delay_micro_cny_per_hour == 0 => {
                self.best_until(self.room.len(), Key::Weighted(weights))
            }
            Aim::Weighted(weights) => self.best_of_ends(ends, weights),
        }
    }

    /// The least number of slots from the first one on that have room for the job; `None` when all have not.
    fn least_end(&self) -> Option<usize> {
        let first = self.room.iter().position(|&room| 0 < room)?;
        if self.last_start() < first {
            return None;
        }
        let mut done = 0;
        let enough = |&room: &u32| {
            done += self.speeds.of(room);
            self.work <= done
        };
        self.room.iter().position(enough).map(|slot| slot + 1)
    }

    /// Last slot of the field that a first run may start in.
    fn last_start(&self) -> usize {
        self.offer.last_start.saturating_sub(self.offer.slots.start)
    }

    /// The first end at which the green share can be kept.
    fn soonest(&self, ends: Range<usize>) -> Option<(Score, Vec<u32>)> {
        let found = self.best_until(ends.start, Key::Strict);
        if found.is_some() || self.ask.min_share_permille == 0 {
            return found;
        }
        // More time never makes a job greyer, so that the least end is found by halving.
        let (mut too_soon, mut enough) = (ends.start, ends.end - 1);
        let mut found = self.best_until(enough, Key::Strict)?;
        while too_soon + 1 < enough {
            let end = usize::midpoint(too_soon, enough);
            match self.best_until(end, Key::Strict) {
                Some(sooner) => (enough, found) = (end, sooner),
                None => too_soon = end,
            }
        }
        Some(found)
    }

    /// The best of all ends where delay has a price; above the limit on work of every so many, and then of those
    /// around the best.
    fn best_of_ends(&self, ends: Range<usize>, weights: Weights) -> Option<(Score, Vec<u32>)> {
        // Each try looks at every unit at most once.
        let n_units: usize = self.room.iter().map(|&room| to_index(room)).sum();
        let n_tries = self.ask.cells_max(self.offer.pools.len()) / n_units.max(1);
        let mut step = ends.len().div_ceil(n_tries.max(2));
        let (first, last) = (ends.start, ends.end - 1);
        if 0 < self.ask.min_share_permille {
            // More time never makes a job greyer.
            self.best_until(last, Key::Weighted(weights))?;
        }
        let mut best: Option<(Score, Vec<u32>)> = None;
        let mut best_end = last;
        let mut attempt = |end: usize, best_end: &mut usize| {
            let found = self.best_until(end, Key::Weighted(weights));
            if let Some(found) = found
                && best.as_ref().is_none_or(|best| found.0 < best.0)
            {
                *best_end = end;
                best = Some(found);
            }
        };
        for end in ends.step_by(step).chain([last]) {
            attempt(end, &mut best_end);
        }
        while 1 < step {
            step = step.div_ceil(2);
            let around = [best_end.saturating_sub(step), best_end + step];
            for end in around.map(|end| end.clamp(first, last)) {
                attempt(end, &mut best_end);
            }
        }
        best
    }

    /// Units within the first `end` slots that keep the green share: the cheapest, else the greenest.
    fn best_until(&self, end: usize, key: Key) -> Option<(Score, Vec<u32>)> {
        let found = self.filled(end, key);
        if found.is_some() || self.ask.min_share_permille == 0 {
            return found;
        }
        let allowed = allowed_grid(self.offer.meter.watts(), self.ask.min_share_permille);
        self.filled(end, Key::Green { allowed })
            .or_else(|| match key {
                Key::Weighted(_) => self.filled(end, Key::Strict),
                Key::Strict | Key::Green { .. } => None,
            })
    }

    fn filled(&self, end: usize, key: Key) -> Option<(Score, Vec<u32>)> {
        let units = self.fill(end, key)?;
        let unit_slots = units.iter().sum();
        let score = self.score(&units)?;
        let keeps_share = score.sums.grid <= self.offer.grid_bound(self.ask, unit_slots);
        keeps_share.then_some((score, units))
    }

    fn score(&self, units: &[u32]) -> Option<Score> {
        let mut sums = Sums::default();
        for (slot, &units) in units.iter().enumerate().filter(|(_, units)| 0 < **units) {
            sums = sums.plus(self.meter(units).sums_at(self.offer.slots.start + slot));
        }
        let first = units.iter().position(|&units| 0 < units)?;
        let last = units.iter().rposition(|&units| 0 < units)?;
        let base = self.offer.slots.start;
        Some(
            self.offer
                .score(self.ask.aim, sums, base + first, base + last + 1),
        )
    }

    fn meter(&self, units: u32) -> Meter<'_> {
        self.offer.meter.times(units)
    }

    /// Units for each of the first `end` slots that together do the work, none of them superfluous.
    fn fill(&self, end: usize, key: Key) -> Option<Vec<u32>> {
        let last_start = self.last_start();
        let units = self.fill_from(vec![0; end], key)?;
        let starts_in_time = |units: &[u32]| units.iter().take(last_start + 1).any(|&n| 0 < n);
        if starts_in_time(&units) {
            return Some(units);
        }
        // One unit has to be early: the cheapest that can be.
        let early = (0..end.min(last_start + 1)).filter_map(|slot| self.step(slot, 0, key));
        let early = early.min_by_key(|step| (step.cost, step.slot))?;
        let mut units = vec![0; end];
        units[early.slot] = early.units;
        self.fill_from(units, key)
    }

    /// As [`Self::fill`], with some units that are there already.
    fn fill_from(&self, mut units: Vec<u32>, key: Key) -> Option<Vec<u32>> {
        let mut done: u64 = units.iter().map(|&units| self.speeds.of(units)).sum();
        let steps = units.iter().enumerate();
        let steps: Vec<Step> = steps
            .filter_map(|(slot, &units)| self.step(slot, units, key))
            .collect();
        let mut n_steps = steps.len();
        let mut steps = BinaryHeap::from(steps);
        while done < self.work {
            n_steps += 1;
            let mut next = steps.pop()?;
            let left = self.work - done;
            if left <= next.gain {
                // Any other that is enough does as well as the last one.
                let enough = steps.iter().filter(|step| left <= step.gain);
                next = enough.copied().fold(next, |a, b| {
                    if (b.cost, b.slot) < (a.cost, a.slot) {
                        b
                    } else {
                        a
                    }
                });
            }
            done += next.gain;
            units[next.slot] = next.units;
            steps.extend(self.step(next.slot, next.units, key));
        }
        self.ask.work.add_cells(n_steps);
        self.trim(&mut units, done - self.work, key);
        Some(units)
    }

    /// Takes units away that are not needed, the dearest first, but none that starts the job in time.
    fn trim(&self, units: &mut [u32], mut surplus: u64, key: Key) {
        if surplus == 0 {
            return;
        }
        let last_start = self.last_start();
        let mut n_early = units
            .iter()
            .take(last_start + 1)
            .filter(|n| 0 < **n)
            .count();
        let spares = units.iter().enumerate();
        let spares: Vec<Spare> = spares
            .filter_map(|(slot, &units)| self.spare(slot, units, key))
            .collect();
        let mut spares = BinaryHeap::from(spares);
        while let Some(spare) = spares.pop() {
            let is_early_start = spare.slot <= last_start && units[spare.slot] == 1;
            // What is too much now is so later as well: the surplus only shrinks.
            if surplus < spare.gain || (is_early_start && n_early == 1) {
                continue;
            }
            surplus -= spare.gain;
            units[spare.slot] -= 1;
            n_early -= usize::from(is_early_start);
            spares.extend(self.spare(spare.slot, units[spare.slot], key));
        }
    }

    fn spare(&self, slot: usize, units: u32, key: Key) -> Option<Spare> {
        let before = units.checked_sub(1)?;
        Some(Spare {
            cost: self.cost(slot, before, units, key),
            slot,
            gain: self.speeds.of(units) - self.speeds.of(before),
        })
    }

    /// What may come next in a slot that has some units: one more; or as many more as together cost least for what
    /// they add, where further ones may be cheaper.
    fn step(&self, slot: usize, units: u32, key: Key) -> Option<Step> {
        let room = self.room[slot];
        let step_to = |next: u32| Step {
            cost: self.cost(slot, units, next, key),
            gain: self.speeds.of(next) - self.speeds.of(units),
            slot,
            units: next,
        };
        if room <= units {
            return None;
        }
        let one = step_to(units + 1);
        if !self.falls(slot, key) {
            return Some(one);
        }
        let further = (units + 2..=room).map(step_to);
        Some(further.fold(one, |a, b| match ratio(&b, &a) {
            Ordering::Less => b,
            Ordering::Equal | Ordering::Greater => a,
        }))
    }

    /// Cost of going from some units to more in a slot.
    fn cost(&self, slot: usize, from: u32, to: u32, key: Key) -> Cost {
        let at = self.offer.slots.start + slot;
        let sums = self.meter(to).sums_at(at);
        let sums = match from {
            0 => sums,
            from => sums.minus(self.meter(from).sums_at(at)),
        };
        Cost {
            key: key.of(sums, to - from),
            sums,
        }
    }

    /// Whether grid power costs less than green power in a slot, so that further units may be cheaper.
    fn falls(&self, slot: usize, key: Key) -> bool {
        let Key::Weighted(weights) = key else {
            return false;
        };
        let [green, grid] = self.offer.meter.rates_at(self.offer.slots.start + slot);
        weighted(weights, grid) < weighted(weights, green)
    }

    /// Units by slot as runs.
    fn runs(&self, units: &[u32]) -> Vec<(Range<usize>, u32)> {
        let mut runs: Vec<(Range<usize>, u32)> = Vec::new();
        for (slot, &units) in units.iter().enumerate().filter(|(_, units)| 0 < **units) {
            let slot = self.offer.slots.start + slot;
            match runs.last_mut() {
                Some((run, same)) if run.end == slot && *same == units => run.end += 1,
                _ => runs.push((slot..slot + 1, units)),
            }
        }
        runs
    }
}

impl Key {
    fn of(self, sums: Sums, units: u32) -> i128 {
        match self {
            Self::Strict => 0,
            Self::Weighted(weights) => i128::try_from(weighted(weights, sums)).unwrap_or(i128::MAX),
            Self::Green { allowed } => i128::from(sums.grid) * 1_000 - allowed * i128::from(units),
        }
    }
}

/// How two steps compare by cost for the speed they add, in whole numbers. A weighted key is below 2^92, a speed below
/// 2^16 and watts times a rate below 2^57: no product overflows.
fn ratio(a: &Step, b: &Step) -> Ordering {
    let key = |cost: i128, gain: u64| cost * i128::from(gain);
    let sum = |cost: u64, gain: u64| u128::from(cost) * u128::from(gain);
    let (x, y) = (&a.cost.sums, &b.cost.sums);
    key(a.cost.key, b.gain)
        .cmp(&key(b.cost.key, a.gain))
        .then_with(|| sum(x.grid, b.gain).cmp(&sum(y.grid, a.gain)))
        .then_with(|| sum(x.carbon, b.gain).cmp(&sum(y.carbon, a.gain)))
        .then_with(|| sum(x.cost, b.gain).cmp(&sum(y.cost, a.gain)))
}

impl Ord for Step {
    fn cmp(&self, other: &Self) -> Ordering {
        ratio(other, self)
            .then_with(|| other.slot.cmp(&self.slot))
            .then_with(|| other.units.cmp(&self.units))
    }
}

impl PartialOrd for Step {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use crate::{
        domain::{
            job::{JobSpec, Weights},
            placement::Placement,
            site::Site,
        },
        planner::{
            check,
            testing::{flat, green, horizon, malleable, request, runs_of, site, timetable, window},
        },
    };

    /// Runs as offsets, with their units.
    fn units_of(placement: &Placement) -> Vec<(u32, u32, u32)> {
        let units = placement.runs.iter().map(|run| run.units);
        let runs = runs_of(placement).into_iter().zip(units);
        runs.map(|((from, to), units)| (from, to, units)).collect()
    }

    #[track_caller]
    fn placed(watts: &[u64], spec: &JobSpec, expected: &[(u32, u32, u32)]) -> Placement {
        let n = u32::try_from(watts.len()).unwrap();
        let mut timetable = timetable(horizon(n), vec![(site("a"), green(horizon(n), watts))]);
        let request = request(spec, window(0, n));
        let placement = timetable.place(&request).unwrap();
        assert_eq!(units_of(&placement), expected, "{watts:?}");
        timetable.reserve(&placement);
        check(&timetable, [(request, &placement)]);
        placement
    }

    #[test]
    fn units_go_where_green_power_is_and_pause_where_none_is() {
        let spec = malleable(4, &[1_000, 2_000, 3_000]);
        placed(&[0, 2_000, 0, 1_500, 3_000], &spec, &[(1, 2, 2), (3, 5, 1)]);
        placed(&[1_000; 5], &spec, &[(0, 4, 1)]);
        placed(&[0, 9_000, 0, 0, 500], &spec, &[(1, 2, 3), (4, 5, 1)]);
    }

    #[test]
    fn a_unit_that_adds_little_speed_is_taken_only_where_it_costs_little() {
        // The second unit is worth half of the first: it is used in green slots and not on the grid.
        let spec = malleable(3, &[1_000, 1_500]);
        placed(&[2_000, 2_000, 0, 0], &spec, &[(0, 2, 2)]);
        // Where a first unit costs less than twice as much, it comes before a second one.
        placed(&[1_000, 0, 600, 1_000], &spec, &[(0, 1, 1), (2, 4, 1)]);
        let placement = placed(&[2_000, 400, 0, 0], &spec, &[(0, 2, 2)]);
        assert_eq!(placement.power_watts, 1_000);
        assert_eq!(placement.unit_slots(), 4);
        assert_eq!(placement.energy.total(), 4 * 1_000 * 900);
        assert_eq!(placement.energy.green(), 2_400 * 900);
        assert_eq!(placement.green_share_permille(), 600);
        // One that finishes the work with some to spare makes a green unit superfluous.
        placed(&[2_000, 400, 100, 0], &spec, &[(0, 3, 1)]);
    }

    #[test]
    fn a_tight_window_takes_all_the_units_it_needs() {
        let spec = malleable(6, &[1_000, 1_800, 2_400]);
        let grey = vec![(site("a"), flat(horizon(8), 0))];
        let timetable = timetable(horizon(8), grey);
        let within = |slots| timetable.place(&request(&spec, window(0, slots)));
        assert!(within(2).is_err());
        assert_eq!(units_of(&within(3).unwrap()), [(0, 1, 3), (1, 3, 2)]);
        assert_eq!(
            units_of(&within(4).unwrap()),
            [(0, 1, 3), (1, 2, 2), (2, 4, 1)]
        );
        assert_eq!(units_of(&within(6).unwrap()), [(0, 6, 1)]);
    }

    #[test]
    fn delay_with_a_price_is_bought_off_with_units() {
        let weights = |delay| Weights {
            grid_energy_micro_cny_per_kwh: 1_000_000,
            carbon_micro_cny_per_kg: 0,
            cost_permille: 0,
            delay_micro_cny_per_hour: delay,
        };
        let job = |delay| JobSpec {
            weights: Some(weights(delay)),
            ..malleable(4, &[1_000, 1_600])
        };
        placed(&[0; 4], &job(0), &[(0, 4, 1)]);
        // Each slot less costs a quarter of a kilowatt-hour and more.
        placed(&[0; 4], &job(10_000_000), &[(0, 2, 2), (2, 3, 1)]);
    }

    #[test]
    fn no_more_units_run_than_whole_tasks_have_room() {
        // Ten nodes of ten cores hold ten tasks of six: three units of three tasks and no fourth.
        let mut spec = malleable(4, &[1_000, 2_000, 3_000, 4_000]);
        spec.task_count = 3;
        spec.task.cpu_cores = 6;
        spec.task_power_watts = 1;
        placed(&[90; 3], &spec, &[(0, 1, 3), (1, 2, 1)]);
        // The power cap counts every unit.
        let capped = Site {
            power_cap_watts: 7,
            ..site("a")
        };
        let timetable = timetable(horizon(3), vec![(capped, green(horizon(3), &[90; 3]))]);
        let placement = timetable.place(&request(&spec, window(0, 3))).unwrap();
        assert_eq!(units_of(&placement), [(0, 2, 2)]);
    }
}
