//! Let's Wait Awhile (Wiesner et al., Middleware 2021): the cheapest window, or the cheapest slots if a job may be
//! interrupted.
//!
//! The paper's node has no limits and its interruptions cost nothing. Here only free slots count, every site of the job
//! is compared by intensity times its power there, and pieces keep the least chunk and pay for resumption.

use super::{
    Decide, View, first_shape,
    gaia::{LowestWindow, Setting},
    pieces::{Prices, cheapest, cut},
    timetable::Ready,
};
use crate::solver::{Assignment, Choice, Job};

pub(super) struct WaitAwhile {
    /// Never interrupts.
    pub(super) whole: bool,
}

impl Decide for WaitAwhile {
    fn decide(&mut self, view: &View<'_>, job: &Job, ready: Ready) -> Option<Assignment> {
        let Some(cut) = cut(job).filter(|_| !self.whole) else {
            let setting = Setting::exact(view.table.problem());
            return LowestWindow(setting).decide(view, job, ready);
        };
        first_shape(job, |shape| {
            let places = job.choices.iter().enumerate().filter_map(|(i, choice)| {
                let site = view.table.problem().site_of(choice);
                let prices = prices(view, job, choice, shape.units, ready, |slot| {
                    view.signal.at(site, slot)
                });
                let pieces = cheapest(&prices, shape, cut)?;
                let cost = i128::from(pieces.price) * i128::from(choice.watts);
                Some((cost, pieces.end(), i, pieces.runs))
            });
            let (_, _, choice, runs) = places.min()?;
            Some(Assignment {
                choice,
                stage_in: ready.stage_in,
                runs,
            })
        })
    }
}

/// Prices of the slots in which a choice has room, from `ready` to the deadline.
pub(super) fn prices(
    view: &View<'_>,
    job: &Job,
    choice: &Choice,
    units: usize,
    ready: Ready,
    price: impl Fn(usize) -> i64,
) -> Prices {
    let until = job.deadline.min(view.table.problem().n_slots);
    let price = |slot| view.table.fits(choice, units, slot).then(|| price(slot));
    Prices {
        from: ready.slot,
        prices: (ready.slot..until).map(price).collect(),
    }
}
