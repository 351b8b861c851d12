//! What the decisions so far take of sites, pools and links, slot by slot, and which windows are still free.
//!
//! Nothing is booked that breaks a power cap, a capacity or a bandwidth: every question is asked before.

use crate::solver::{Assignment, Choice, Class, Job, Problem, RESOURCES, Run};

/// Sites, pools and links with what is promised in each slot.
#[derive(Debug)]
pub(super) struct Timetable {
    problem: Problem,
    load: Vec<Vec<i64>>,
    used: Vec<Vec<[i64; RESOURCES]>>,
    links: Vec<Vec<i64>>,
}

/// When a job may begin, its data being there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ready {
    /// First slot in which it may run.
    pub(super) slot: usize,
    /// First slot of its stage-in, if it has one.
    pub(super) stage_in: Option<usize>,
}

/// Units at once and slots in a row that do all the work of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) units: usize,
    pub(super) len: usize,
}

impl Timetable {
    pub(super) fn new(problem: Problem) -> Self {
        let n = problem.n_slots;
        Self {
            load: vec![vec![0; n]; problem.sites.len()],
            used: vec![vec![[0; RESOURCES]; n]; problem.pools.len()],
            links: vec![vec![0; n]; problem.links.len()],
            problem,
        }
    }

    pub(super) fn problem(&self) -> &Problem {
        &self.problem
    }

    /// Power promised at a site in a slot, watts.
    pub(super) fn load(&self, site: usize, slot: usize) -> i64 {
        self.load[site][slot]
    }

    /// Amount of a resource that is free in a pool in a slot.
    pub(super) fn free(&self, pool: usize, resource: usize, slot: usize) -> i64 {
        i64::from(self.problem.pools[pool].capacity[resource]) - self.used[pool][slot][resource]
    }

    /// Earliest stage-in from `now` on, and the first slot the job may run in after it; `None` if the link is too full.
    pub(super) fn ready(&self, job: &Job, now: usize) -> Option<Ready> {
        let from = now.max(job.arrival);
        let Some(stage_in) = job.stage_in else {
            return Some(Ready {
                slot: job.release.max(now),
                stage_in: None,
            });
        };
        let room =
            i64::from(self.problem.links[stage_in.link].capacity_mbps) - i64::from(stage_in.mbps);
        let until = job.deadline.min(self.problem.n_slots);
        let links = &self.links[stage_in.link];
        let start = free_runs(from, until, stage_in.n_slots, |slot| links[slot] <= room).next()?;
        Some(Ready {
            slot: job.release.max(start + stage_in.n_slots),
            stage_in: Some(start),
        })
    }

    /// Whether a choice has room for a number of units in a slot.
    pub(super) fn fits(&self, choice: &Choice, units: usize, slot: usize) -> bool {
        let units = i64::try_from(units).unwrap_or(i64::MAX);
        let pool = &self.problem.pools[choice.pool];
        let watts = units.saturating_mul(i64::from(choice.watts));
        self.load[pool.site][slot].saturating_add(watts)
            <= i64::from(self.problem.sites[pool.site].power_cap_w)
            && (0..RESOURCES).all(|r| {
                units.saturating_mul(i64::from(choice.need[r])) <= self.free(choice.pool, r, slot)
            })
    }

    /// Every start of a free window of a shape that ends by the deadline, in rising order.
    pub(super) fn starts(
        &self,
        job: &Job,
        choice: &Choice,
        shape: Shape,
        from: usize,
    ) -> impl Iterator<Item = usize> {
        self.starts_if(job, choice, shape, from, |_| true)
    }

    /// Those of `starts` in whose slots something else holds as well.
    pub(super) fn starts_if(
        &self,
        job: &Job,
        choice: &Choice,
        shape: Shape,
        from: usize,
        holds: impl Fn(usize) -> bool,
    ) -> impl Iterator<Item = usize> {
        let until = job.deadline.min(self.problem.n_slots);
        let choice = *choice;
        free_runs(from, until, shape.len, move |slot| {
            holds(slot) && self.fits(&choice, shape.units, slot)
        })
    }

    /// Takes what an assignment needs.
    pub(super) fn book(&mut self, job: &Job, assignment: &Assignment) {
        let choice = &job.choices[assignment.choice];
        let site = self.problem.site_of(choice);
        for run in &assignment.runs {
            let units = i64::try_from(run.units).unwrap_or(i64::MAX);
            for slot in run.start..run.end() {
                self.load[site][slot] += units * i64::from(choice.watts);
                for (used, need) in self.used[choice.pool][slot].iter_mut().zip(choice.need) {
                    *used += units * i64::from(need);
                }
            }
        }
        if let (Some(stage_in), Some(start)) = (job.stage_in, assignment.stage_in) {
            for used in &mut self.links[stage_in.link][start..start + stage_in.n_slots] {
                *used += i64::from(stage_in.mbps);
            }
        }
    }
}

/// Starts of all windows of `len` slots within `from..until` in which every slot is free.
fn free_runs(
    from: usize,
    until: usize,
    len: usize,
    is_free: impl Fn(usize) -> bool,
) -> impl Iterator<Item = usize> {
    let mut in_a_row = 0;
    (from..until).filter_map(move |slot| {
        in_a_row = if is_free(slot) { in_a_row + 1 } else { 0 };
        (0 < len && len <= in_a_row).then(|| slot + 1 - len)
    })
}

/// The shapes in which a job may run whole, the one it was declared with first; the others serve only if that one fits
/// nowhere, wide ones first because they leave the most starts before the deadline.
pub(super) fn shapes(job: &Job) -> Vec<Shape> {
    let Class::Malleable { speed, work } = &job.class else {
        return vec![Shape {
            units: 1,
            len: job.duration,
        }];
    };
    let mut shapes: Vec<Shape> = speed
        .iter()
        .enumerate()
        .filter(|&(_, &speed)| 0 < speed)
        .map(|(i, &speed)| Shape {
            units: i + 1,
            len: usize::try_from((*work + speed - 1) / speed).unwrap_or(usize::MAX),
        })
        .collect();
    let declared = shapes
        .iter()
        .position(|shape| shape.len <= job.duration)
        .unwrap_or(0);
    shapes[declared..].sort_by_key(|shape| shape.units);
    shapes.rotate_left(declared);
    let n_wider = shapes.len() - declared;
    shapes[n_wider..].reverse();
    shapes
}

/// An assignment of one run.
pub(super) fn whole(choice: usize, shape: Shape, start: usize, ready: Ready) -> Assignment {
    Assignment {
        choice,
        stage_in: ready.stage_in,
        runs: vec![Run {
            start,
            len: shape.len,
            units: shape.units,
        }],
    }
}
