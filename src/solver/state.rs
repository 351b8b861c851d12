//! A schedule in the making: who is where, what is free, and what it all costs.
//!
//! The table and the objective are exactly those of the assignments.

use super::{
    links::Links,
    noise::Noise,
    problem::{Job, Problem},
    ramp::Ramp,
    respond::{Ask, Responder},
    schedule::Assignment,
    table::{BLOCKED, PoolRow, SiteRow, Table, delay_cost},
};

#[derive(Debug, Clone, Default)]
pub(super) struct State {
    pub(super) table: Table,
    /// By position of the job.
    pub(super) assignments: Vec<Option<Assignment>>,
    /// First slot in which each job may run, its stage-in done; none when that never ends in time, or the job is larger
    /// than every site.
    pub(super) ready: Vec<Option<usize>>,
    /// How grid power is priced when a job is placed.
    pub(super) ramp: Ramp,
    objective: i64,
}

impl State {
    /// Every job with data has its stage-in, and none is placed.
    pub(super) fn new(problem: &Problem) -> Self {
        let mut links = Links::new(problem);
        let mut order: Vec<usize> = (0..problem.jobs.len()).collect();
        order.sort_by_key(|&i| (slack(problem, i), i));
        let mut ready = vec![None; problem.jobs.len()];
        for i in order {
            let job = &problem.jobs[i];
            if !job.choices.iter().any(|choice| problem.could_hold(choice)) {
                continue;
            }
            ready[i] = match job.stage_in {
                None => Some(job.release),
                Some(stage_in) => links.earliest(job, job.arrival, job.deadline).map(|start| {
                    links.take(job, start);
                    job.release.max(start + stage_in.n_slots)
                }),
            };
        }
        Self {
            table: Table::new(problem),
            assignments: vec![None; problem.jobs.len()],
            ready,
            ramp: Ramp::STEP,
            objective: problem.jobs.iter().map(|job| job.miss_penalty).sum(),
        }
    }

    pub(super) fn objective(&self) -> i64 {
        self.objective
    }

    pub(super) fn n_missed(&self) -> usize {
        self.assignments
            .iter()
            .filter(|assignment| assignment.is_none())
            .count()
    }

    /// Places every job where it is cheapest, the largest first: small ones fit in between.
    pub(super) fn place_all(&mut self, problem: &Problem, noise: &mut Noise) {
        let mut order: Vec<usize> = (0..problem.jobs.len()).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(problem.jobs[i].miss_penalty), i));
        let mut responder = Responder::default();
        for i in order {
            self.place(problem, i, &mut responder, noise);
        }
    }

    /// Places a job that has no place; `false` when there is no room.
    pub(super) fn place(
        &mut self,
        problem: &Problem,
        position: usize,
        responder: &mut Responder,
        noise: &mut Noise,
    ) -> bool {
        let job = &problem.jobs[position];
        let Some(from) = self.ready[position] else {
            return false;
        };
        let ask = Ask {
            problem,
            job,
            from,
            heat: 0,
            ramp: self.ramp,
            beat: BLOCKED,
        };
        let mut runs = Vec::new();
        let Some(answer) = responder.respond(ask, &self.table, noise, |_| true, &mut runs) else {
            return false;
        };
        self.put(
            problem,
            position,
            Assignment {
                choice: answer.choice,
                stage_in: job.stage_in.map(|stage_in| from - stage_in.n_slots),
                runs,
            },
        );
        true
    }

    /// Gives a job without a place this one, which has room.
    pub(super) fn put(&mut self, problem: &Problem, position: usize, assignment: Assignment) {
        let job = &problem.jobs[position];
        let choice = &job.choices[assignment.choice];
        let site = problem.site_of(choice);
        self.objective += self.table.add(site, choice, &assignment.runs)
            + delay_cost(job, &assignment)
            - job.miss_penalty;
        self.assignments[position] = Some(assignment);
    }

    /// Takes a job out of its place.
    pub(super) fn lift(&mut self, problem: &Problem, position: usize) -> Option<Assignment> {
        let assignment = self.assignments[position].take()?;
        let job = &problem.jobs[position];
        let choice = &job.choices[assignment.choice];
        let site = problem.site_of(choice);
        self.objective += job.miss_penalty
            - self.table.remove(site, choice, &assignment.runs)
            - delay_cost(job, &assignment);
        Some(assignment)
    }

    /// Slots that a job has to spare from now on.
    pub(super) fn spare(&self, problem: &Problem, position: usize) -> usize {
        let job = &problem.jobs[position];
        let from = self.ready[position].unwrap_or(job.release);
        job.deadline.saturating_sub(from + job.duration)
    }

    /// A job more, without a place.
    pub(super) fn know(&mut self, job: &Job, ready: Option<usize>) {
        self.assignments.push(None);
        self.ready.push(ready);
        self.objective += job.miss_penalty;
    }

    /// A job is no longer looked at; what it has, it keeps.
    pub(super) fn forget(&mut self, job: &Job) {
        self.objective -= job.miss_penalty;
    }

    /// Lends the rows of some sites; they must come back by `take_back`.
    pub(super) fn lend(&mut self, problem: &Problem, is_lent: impl Fn(usize) -> bool) -> Table {
        let pools = &problem.pools;
        let sites = self.table.sites.iter_mut().enumerate();
        let sites = sites.map(|(site, row)| {
            if is_lent(site) {
                std::mem::take(row)
            } else {
                SiteRow::default()
            }
        });
        let sites = sites.collect();
        let rows = self.table.pools.iter_mut().zip(pools);
        let rows = rows.map(|(row, pool)| {
            if is_lent(pool.site) {
                std::mem::take(row)
            } else {
                PoolRow::default()
            }
        });
        Table {
            sites,
            pools: rows.collect(),
            reserve_from: self.table.reserve_from,
        }
    }

    /// Takes lent rows back, with how the objective has changed.
    pub(super) fn take_back(&mut self, lent: Table, change: i64) {
        for (row, lent) in self.table.sites.iter_mut().zip(lent.sites) {
            if !lent.excess.is_empty() {
                *row = lent;
            }
        }
        for (row, lent) in self.table.pools.iter_mut().zip(lent.pools) {
            if !lent.free[0].is_empty() {
                *row = lent;
            }
        }
        self.objective += change;
    }
}

/// Slots that a job has to spare.
pub(super) fn slack(problem: &Problem, position: usize) -> usize {
    let job = &problem.jobs[position];
    job.deadline.saturating_sub(job.release + job.duration)
}
