//! Rules that start a job as early as they can and choose only the site: first fit, least load and the rules of
//! `SustainCluster` (Guillen-Perez et al., "DCcluster-Opt", `NeurIPS` 2025).
//!
//! In `SustainCluster` a task waits in the queue of the site that the rule names for as long as it takes, and the rules
//! see what was free when the step of 15 minutes began. The first cannot be where a deadline is a promise: if the named
//! site has no room before it, the next site by the same rule is asked.

use super::{
    Decide, View, first_shape,
    timetable::{Ready, Shape, whole},
};
use crate::solver::{Assignment, Choice, Job, RESOURCES};
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

/// Which site `SustainCluster` names.
pub(super) enum Name {
    /// The first site of the job's list.
    Local,
    /// Sites in turn; counts the jobs.
    InTurn(usize),
    /// The site with the most free cores among those that could take the job.
    MostAvailable,
    /// The site with the lowest intensity among those that could take the job.
    LowestCarbon,
}

/// Names a site first, then starts there as early as possible.
pub(super) struct SiteFirst {
    name: Name,
    /// Slots between two looks at what is free.
    step: usize,
    /// Free resources by pool at the last look.
    free: Vec<[i64; RESOURCES]>,
}

impl SiteFirst {
    pub(super) fn new(name: Name, step: usize) -> Self {
        Self {
            name,
            step: step.max(1),
            free: Vec::new(),
        }
    }

    /// Positions of the job's choices, the one that the rule names first.
    fn order(&mut self, view: &View<'_>, job: &Job) -> Vec<usize> {
        let mut order: Vec<usize> = (0..job.choices.len()).collect();
        let free = &self.free;
        let has_room = |choice: &Choice| {
            (0..RESOURCES).all(|r| i64::from(choice.need[r]) <= free[choice.pool][r])
        };
        match &mut self.name {
            Name::Local => {}
            Name::InTurn(next) => {
                let n = view.table.problem().pools.len().max(1);
                order.sort_by_key(|&i| (job.choices[i].pool + n - *next % n) % n);
                *next += 1;
            }
            Name::MostAvailable => order.sort_by_key(|&i| {
                let choice = &job.choices[i];
                Reverse((has_room(choice), free[choice.pool][0]))
            }),
            Name::LowestCarbon => order.sort_by_key(|&i| {
                let choice = &job.choices[i];
                let site = view.table.problem().site_of(choice);
                (!has_room(choice), view.signal.at(site, view.now))
            }),
        }
        order
    }
}

impl Decide for SiteFirst {
    fn advance(&mut self, view: &View<'_>) {
        if view.now.is_multiple_of(self.step) {
            let pools = 0..view.table.problem().pools.len();
            let free = |pool| std::array::from_fn(|r| view.table.free(pool, r, view.now));
            self.free = pools.map(free).collect();
        }
    }

    fn decide(&mut self, view: &View<'_>, job: &Job, ready: Ready) -> Option<Assignment> {
        let order = self.order(view, job);
        first_shape(job, |shape: Shape| {
            order.iter().find_map(|&i| {
                let mut starts = view.table.starts(job, &job.choices[i], shape, ready.slot);
                Some(whole(i, shape, starts.next()?, ready))
            })
        })
    }
}
