//! Google's carbon-intelligent computing (Radovanovic et al., "Carbon-Aware Computing for Datacenters", 2021): every
//! midnight a virtual capacity curve for each site, below which work is admitted in the order it comes.
//!
//! The paper forecasts flexible load by cluster from history and minimises carbon and daily peak. Here the load of a day
//! is the mean of the days so far, it is laid on the day's green power first and then on the cheapest grid energy at no
//! more than twice the even level (the price of the peak), and the first day, without history, is not shaped. A job that
//! fits nowhere below the curve is in danger and runs as early as the real limits allow, as the paper's safety rule does.

use super::{
    Decide, View,
    first_fit::Earliest,
    first_shape,
    timetable::{Ready, shapes, whole},
};
use crate::solver::{Assignment, Job, Problem};

pub(super) struct CapacityCurve {
    /// Slots of a day.
    day: usize,
    /// Most power for work by site and slot, watts.
    curve: Vec<Vec<i64>>,
    /// Energy that arrived today, watt-slots.
    today: i64,
    /// Energy that arrived in all earlier days, watt-slots, and their number.
    before: (i64, i64),
}

/// Green power and the rest below the power cap of one slot of a day.
struct Room {
    site: usize,
    slot: usize,
    weight: i32,
    green: i64,
    grid: i64,
}

impl CapacityCurve {
    pub(super) fn new(problem: &Problem, day: usize) -> Self {
        let full = |site: &crate::solver::Site| vec![i64::from(site.power_cap_w); problem.n_slots];
        Self {
            day: day.max(1),
            curve: problem.sites.iter().map(full).collect(),
            today: 0,
            before: (0, 0),
        }
    }

    /// Lays the expected energy on the day that begins in `from`.
    fn shape_day(&mut self, problem: &Problem, from: usize, energy: i64) {
        let until = (from + self.day).min(problem.n_slots);
        let mut rooms: Vec<Room> = Vec::with_capacity(problem.sites.len() * (until - from));
        for (site, at) in problem.sites.iter().enumerate() {
            let cap = i64::from(at.power_cap_w);
            rooms.extend((from..until).map(|slot| {
                let green = i64::from(at.green_w[slot]).min(cap);
                Room {
                    site,
                    slot,
                    weight: at.weight[slot],
                    green,
                    grid: cap - green,
                }
            }));
        }
        let green: i64 = rooms.iter().map(|room| room.green).sum();
        for room in &rooms {
            self.curve[room.site][room.slot] = part(room.green, energy.min(green), green);
        }
        let mut rest = energy - green;
        if rest <= 0 {
            return;
        }
        let all: i64 = rooms.iter().map(|room| room.grid).sum();
        let peak = rest.saturating_mul(2).min(all);
        rooms.sort_by_key(|room| room.weight);
        for group in rooms.chunk_by(|a, b| a.weight == b.weight) {
            let most: i64 = group.iter().map(|room| part(room.grid, peak, all)).sum();
            let here = most.min(rest);
            for room in group {
                let level = part(room.grid, peak, all);
                self.curve[room.site][room.slot] += part(level, here, most);
            }
            rest -= here;
        }
    }
}

/// The part of `amount` that `share` is of `whole`, rounded up: a curve is never so low that the load has no place.
fn part(amount: i64, share: i64, whole: i64) -> i64 {
    let product = i128::from(amount) * i128::from(share);
    let whole = i128::from(whole.max(1));
    i64::try_from((product + whole - 1) / whole).unwrap_or(i64::MAX)
}

impl Decide for CapacityCurve {
    fn advance(&mut self, view: &View<'_>) {
        if view.now == 0 || !view.now.is_multiple_of(self.day) {
            return;
        }
        self.before = (self.before.0 + self.today, self.before.1 + 1);
        self.today = 0;
        let energy = self.before.0 / self.before.1;
        let mut from = view.now;
        while from < view.table.problem().n_slots {
            self.shape_day(view.table.problem(), from, energy);
            from += self.day;
        }
    }

    fn decide(&mut self, view: &View<'_>, job: &Job, ready: Ready) -> Option<Assignment> {
        let watts = i64::from(job.choices.first()?.watts);
        let shape = *shapes(job).first()?;
        let slots = shape.units.saturating_mul(shape.len);
        self.today += watts.saturating_mul(i64::try_from(slots).unwrap_or(i64::MAX));
        let below = first_shape(job, |shape| {
            let starts = job.choices.iter().enumerate().filter_map(|(i, choice)| {
                let site = view.table.problem().site_of(choice);
                let watts =
                    i64::from(choice.watts) * i64::try_from(shape.units).unwrap_or(i64::MAX);
                let is_below =
                    |slot: usize| view.table.load(site, slot) + watts <= self.curve[site][slot];
                let start = view
                    .table
                    .starts_if(job, choice, shape, ready.slot, is_below)
                    .next()?;
                Some((start, i))
            });
            let (start, i) = starts.min()?;
            Some(whole(i, shape, start, ready))
        });
        below.or_else(|| Earliest::by_order().decide(view, job, ready))
    }
}
