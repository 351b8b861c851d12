//! A schedule in the making: who is where, what is free, and what it all costs.
//!
//! The table and the objective are exactly those of the assignments.

use super::{
    noise::Noise,
    problem::Problem,
    respond::{Ask, Responder},
    schedule::Assignment,
    table::{Links, PoolRow, Ramp, SiteRow, Table, delay_cost},
};

#[derive(Debug, Clone)]
pub(super) struct State<'a> {
    pub(super) problem: &'a Problem,
    pub(super) table: Table,
    /// By position of the job.
    pub(super) assignments: Vec<Option<Assignment>>,
    /// First slot in which each job may run, its stage-in done; none when that never ends in time.
    pub(super) ready: Vec<Option<usize>>,
    objective: i64,
}

impl<'a> State<'a> {
    /// Every job with data has its stage-in, and none is placed.
    pub(super) fn new(problem: &'a Problem) -> Self {
        let mut links = Links::new(problem);
        let mut order: Vec<usize> = (0..problem.jobs.len()).collect();
        order.sort_by_key(|&i| (slack(problem, i), i));
        let mut ready = vec![None; problem.jobs.len()];
        for i in order {
            let job = &problem.jobs[i];
            ready[i] = match job.stage_in {
                None => Some(job.release),
                Some(stage_in) => links.earliest(job, job.arrival, job.deadline).map(|start| {
                    links.take(job, start);
                    job.release.max(start + stage_in.n_slots)
                }),
            };
        }
        Self {
            problem,
            table: Table::new(problem),
            assignments: vec![None; problem.jobs.len()],
            ready,
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
    pub(super) fn place_all(&mut self, noise: &mut Noise) {
        let problem = self.problem;
        let mut order: Vec<usize> = (0..problem.jobs.len()).collect();
        order.sort_by_key(|&i| (std::cmp::Reverse(problem.jobs[i].miss_penalty), i));
        let mut responder = Responder::default();
        for i in order {
            self.place(i, 0, &mut responder, noise);
        }
    }

    /// Places a job that has no place; `false` when there is no room.
    pub(super) fn place(
        &mut self,
        position: usize,
        heat: i64,
        responder: &mut Responder,
        noise: &mut Noise,
    ) -> bool {
        let job = &self.problem.jobs[position];
        let Some(from) = self.ready[position] else {
            return false;
        };
        let ask = Ask {
            problem: self.problem,
            job,
            from,
            heat,
            ramp: Ramp::STEP,
        };
        let mut runs = Vec::new();
        let Some(answer) = responder.respond(ask, &self.table, noise, |_| true, &mut runs) else {
            return false;
        };
        self.put(
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
    pub(super) fn put(&mut self, position: usize, assignment: Assignment) {
        let job = &self.problem.jobs[position];
        let choice = &job.choices[assignment.choice];
        let site = self.problem.site_of(choice);
        self.objective += self.table.add(site, choice, &assignment.runs)
            + delay_cost(job, &assignment)
            - job.miss_penalty;
        self.assignments[position] = Some(assignment);
    }

    /// Takes a job out of its place.
    pub(super) fn lift(&mut self, position: usize) -> Option<Assignment> {
        let assignment = self.assignments[position].take()?;
        let job = &self.problem.jobs[position];
        let choice = &job.choices[assignment.choice];
        let site = self.problem.site_of(choice);
        self.objective += job.miss_penalty
            - self.table.remove(site, choice, &assignment.runs)
            - delay_cost(job, &assignment);
        Some(assignment)
    }

    /// Lends the rows of some sites; they must come back by `take_back`.
    pub(super) fn lend(&mut self, is_lent: impl Fn(usize) -> bool) -> Table {
        let pools = &self.problem.pools;
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
