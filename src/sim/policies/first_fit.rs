//! Rules that start a job as early as they can and choose only the site: first fit, least load and the rules of
//! `SustainCluster` (Guillen-Perez et al., "DCcluster-Opt", `NeurIPS` 2025).
//!
//! In `SustainCluster` a task waits in the queue of the site that the rule names for as long as it takes, and the rules
//! see what was free a step ago. Here they see what is free now, and a deadline is a promise: where the named site has no
//! room before it, the next site by the same rule is asked.

use super::{
    Decide, View, first_shape,
    timetable::{Ready, Shape, whole},
};
use crate::solver::{Assignment, Choice, Job};
use std::cmp::Reverse;

/// The earliest start at any site.
pub(super) struct Earliest {
    by_load: bool,
}

impl Earliest {
    /// Ties by the order of sites.
    pub(super) fn by_order() -> Self {
        Self { by_load: false }
    }

    /// Ties by the share of the power cap that is promised in the first slot.
    pub(super) fn by_load() -> Self {
        Self { by_load: true }
    }
}

impl Decide for Earliest {
    fn decide(&mut self, view: &View<'_>, job: &Job, ready: Ready) -> Option<Assignment> {
        first_shape(job, |shape| {
            let starts = job.choices.iter().enumerate().filter_map(|(i, choice)| {
                let start = view.table.starts(job, choice, shape, ready.slot).next()?;
                let load = if self.by_load {
                    load_permille(view, choice, start)
                } else {
                    0
                };
                Some((start, load, i))
            });
            let (start, _, i) = starts.min()?;
            Some(whole(i, shape, start, ready))
        })
    }
}

fn load_permille(view: &View<'_>, choice: &Choice, slot: usize) -> i64 {
    let site = view.table.problem().site_of(choice);
    let cap = i64::from(view.table.problem().sites[site].power_cap_w);
    view.table.load(site, slot) * 1000 / cap.max(1)
}

/// Names a site first, then starts there as early as possible.
pub(super) enum SiteFirst {
    /// The first site of the job's list.
    Local,
    /// Sites in turn.
    InTurn {
        /// Counts the jobs.
        next: usize,
    },
    /// The site with the most free cores now among those that can take the job now.
    MostAvailable,
    /// The site with the lowest intensity now among those that can take the job now.
    LowestCarbon,
}

impl SiteFirst {
    /// Positions of the job's choices, the one that the rule names first.
    fn order(&mut self, view: &View<'_>, job: &Job, slot: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..job.choices.len()).collect();
        let slot = slot.min(view.table.problem().n_slots.saturating_sub(1));
        match self {
            Self::Local => {}
            Self::InTurn { next } => {
                let n = view.table.problem().pools.len().max(1);
                order.sort_by_key(|&i| (job.choices[i].pool + n - *next % n) % n);
                *next += 1;
            }
            Self::MostAvailable => order.sort_by_key(|&i| {
                let choice = &job.choices[i];
                let has_room = view.table.fits(choice, 1, slot);
                Reverse((has_room, view.table.free(choice.pool, 0, slot)))
            }),
            Self::LowestCarbon => order.sort_by_key(|&i| {
                let choice = &job.choices[i];
                let has_room = view.table.fits(choice, 1, slot);
                let site = view.table.problem().site_of(choice);
                (!has_room, view.signal.at(site, slot))
            }),
        }
        order
    }
}

impl Decide for SiteFirst {
    fn decide(&mut self, view: &View<'_>, job: &Job, ready: Ready) -> Option<Assignment> {
        let order = self.order(view, job, ready.slot);
        first_shape(job, |shape: Shape| {
            order.iter().find_map(|&i| {
                let mut starts = view.table.starts(job, &job.choices[i], shape, ready.slot);
                Some(whole(i, shape, starts.next()?, ready))
            })
        })
    }
}
