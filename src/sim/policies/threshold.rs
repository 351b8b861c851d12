//! Ecovisor (Souza et al., ASPLOS 2023) as GAIA runs it: work while the intensity is below the 30th percentile of the
//! next day, and no longer wait when the time that is left is only just enough.
//!
//! Ecovisor shows an application what is left of its own share of green power, so here alone the intensity is that of
//! the job itself: the part of its power that green power does not cover, by the weight of grid energy.
//! Slots without room are waited through like dear ones. Jobs whose interruptions cost something take the plan with
//! the fewest slots above the threshold; jobs that cannot be interrupted start in the first slot below it, at the latest
//! in the last possible one. The threshold is common to all sites of a job.

use super::{
    Decide, View, first_shape,
    pieces::{Cut, Pieces, Prices, cheapest, cut, runs},
    timetable::{Ready, Shape, whole},
    wait_awhile::prices,
};
use crate::solver::{Assignment, Choice, Job};
use std::cmp::Reverse;

/// Percentile of the intensity below which work is done.
const PERCENT: usize = 30;

pub(super) struct Threshold {
    /// Slots of a day.
    pub(super) day: usize,
}

/// What counts as low for one job.
struct Low {
    /// A hundred times the percentile.
    below_x100: i64,
    /// The least of all: nothing better is to come.
    least: i64,
}

impl Low {
    fn of_next_day(view: &View<'_>, job: &Job, ready: Ready, day: usize) -> Option<Self> {
        let until = (ready.slot + day).min(view.table.problem().n_slots);
        let mut values: Vec<i64> = job
            .choices
            .iter()
            .flat_map(|choice| {
                (ready.slot..until).map(move |slot| intensity(view, choice, 1, slot))
            })
            .collect();
        values.sort_unstable();
        let last = values.len().checked_sub(1)?;
        let (low, rest) = (last * PERCENT / 100, last * PERCENT % 100);
        let step = values[(low + 1).min(last)] - values[low];
        Some(Self {
            below_x100: values[low] * 100 + step * i64::try_from(rest).unwrap_or(0),
            least: values[0],
        })
    }

    fn is_low(&self, value: i64) -> bool {
        value * 100 < self.below_x100 || value <= self.least
    }
}

/// Thousandths of the weight of grid energy, for the job's own power.
fn intensity(view: &View<'_>, choice: &Choice, units: usize, slot: usize) -> i64 {
    let problem = view.table.problem();
    let site = problem.site_of(choice);
    let watts = i64::from(choice.watts) * i64::try_from(units).unwrap_or(i64::MAX);
    let green = i64::from(problem.sites[site].green_w[slot]) - view.table.load(site, slot);
    let grid = watts - green.clamp(0, watts);
    i64::from(problem.sites[site].weight[slot]) * 1000 * grid / watts.max(1)
}

impl Decide for Threshold {
    fn decide(&mut self, view: &View<'_>, job: &Job, ready: Ready) -> Option<Assignment> {
        let low = Low::of_next_day(view, job, ready, self.day)?;
        first_shape(job, |shape| match cut(job) {
            None => in_one(view, job, shape, ready, &low),
            Some(cut) => in_pieces(view, job, shape, ready, &low, cut),
        })
    }
}

fn in_one(view: &View<'_>, job: &Job, shape: Shape, ready: Ready, low: &Low) -> Option<Assignment> {
    let starts = job.choices.iter().enumerate().flat_map(|(i, choice)| {
        let starts = view.table.starts(job, choice, shape, ready.slot);
        starts.map(move |start| (start, intensity(view, choice, shape.units, start), i))
    });
    let mut first_low: Option<(usize, i64, usize)> = None;
    let mut last: Option<(Reverse<usize>, i64, usize)> = None;
    for (start, value, i) in starts {
        if low.is_low(value) && first_low.is_none_or(|known| (start, value, i) < known) {
            first_low = Some((start, value, i));
        }
        if last.is_none_or(|known| (Reverse(start), value, i) < known) {
            last = Some((Reverse(start), value, i));
        }
    }
    let ((Some((start, _, choice)), _) | (None, Some((Reverse(start), _, choice)))) =
        (first_low, last)
    else {
        return None;
    };
    Some(whole(choice, shape, start, ready))
}

fn in_pieces(
    view: &View<'_>,
    job: &Job,
    shape: Shape,
    ready: Ready,
    low: &Low,
    cut: Cut,
) -> Option<Assignment> {
    let places = job.choices.iter().enumerate().filter_map(|(i, choice)| {
        let prices = prices(view, job, choice, shape.units, ready, |slot| {
            i64::from(!low.is_low(intensity(view, choice, shape.units, slot)))
        });
        let pieces = if cut.is_free() {
            low_slots(&prices, shape)?
        } else {
            cheapest(&prices, shape, cut)?
        };
        Some((pieces.price, pieces.end(), i, pieces.runs))
    });
    let (_, _, choice, runs) = places.min()?;
    Some(Assignment {
        choice,
        stage_in: ready.stage_in,
        runs,
    })
}

/// Every low slot as it comes, and every slot once as many are left as there is work.
fn low_slots(prices: &Prices, shape: Shape) -> Option<Pieces> {
    let mut n_left = prices.prices.iter().flatten().count();
    let mut slots = Vec::with_capacity(shape.len);
    let mut n_high = 0;
    for (i, price) in prices.prices.iter().enumerate() {
        if slots.len() == shape.len {
            break;
        }
        let Some(high) = price else { continue };
        if *high == 0 || n_left <= shape.len - slots.len() {
            slots.push(prices.from + i);
            n_high += high;
        }
        n_left -= 1;
    }
    (slots.len() == shape.len && !slots.is_empty()).then(|| Pieces {
        price: n_high,
        runs: runs(&slots, shape.units),
    })
}
