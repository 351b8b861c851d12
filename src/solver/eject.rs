//! Makes room for a job that has none: others that stand in its way move elsewhere.
//!
//! A chain is carried out only when it lowers the objective as a whole; otherwise everything is as it was.

use std::cmp::Reverse;

use super::{
    noise::Noise,
    plan::shuffle,
    problem::{Job, Problem, RESOURCES},
    respond::Responder,
    schedule::{Assignment, Run},
    state::{State, slack},
    table::{BLOCKED, Table},
};

/// Chains tried for one missed job in one round.
const TRIES: usize = 8;
/// Most jobs moved for one.
const MOVED_MAX: usize = 24;
/// Missed jobs that a round of a plan tries to place.
const MISSED_MAX: usize = 64;

/// Tries to find room for missed jobs of a plan.
pub(super) fn place_missed(problem: &Problem, state: &mut State, heat: i64, noise: &mut Noise) {
    let all = 0..problem.jobs.len();
    let mut missed: Vec<usize> = all
        .clone()
        .filter(|&i| state.assignments[i].is_none() && state.ready[i].is_some())
        .collect();
    shuffle(&mut missed, noise);
    let mut responder = Responder::default();
    let mut by_site = by_site(problem, state, all.clone());
    for position in missed.into_iter().take(MISSED_MAX) {
        let placed = state.place(problem, position, &mut responder, noise)
            || make_room(problem, state, position, &by_site, heat, noise);
        if placed {
            by_site = self::by_site(problem, state, all.clone());
        }
    }
}

/// The jobs that have a place, by its site.
pub(super) fn by_site(
    problem: &Problem,
    state: &State,
    jobs: impl IntoIterator<Item = usize>,
) -> Vec<Vec<usize>> {
    let mut by_site = vec![Vec::new(); problem.sites.len()];
    for position in jobs {
        if let Some(assignment) = &state.assignments[position] {
            let choice = &problem.jobs[position].choices[assignment.choice];
            by_site[problem.site_of(choice)].push(position);
        }
    }
    by_site
}

/// Places a job by moving some of those named, if that pays; `false` when nothing was found.
pub(super) fn make_room(
    problem: &Problem,
    state: &mut State,
    position: usize,
    by_site: &[Vec<usize>],
    heat: i64,
    noise: &mut Noise,
) -> bool {
    let job = &problem.jobs[position];
    let Some(from) = state.ready[position] else {
        return false;
    };
    let is_choice = |site| {
        job.choices
            .iter()
            .any(|choice| problem.site_of(choice) == site)
    };
    let mut empty = state.table.copy_of(problem, is_choice);
    for site in (0..problem.sites.len()).filter(|&site| is_choice(site)) {
        for &other in &by_site[site] {
            if let Some(there) = &state.assignments[other] {
                let choice = &problem.jobs[other].choices[there.choice];
                empty.give_back(site, choice, &there.runs);
            }
        }
    }
    let mut chain = Chain {
        problem,
        empty: &empty,
        by_site,
        responder: Responder::default(),
        prices: Vec::new(),
    };
    for _ in 0..TRIES {
        match chain.eject(state, position, from, heat, noise) {
            Some(true) => return true,
            Some(false) => {}
            None => return false,
        }
    }
    false
}

struct Chain<'a> {
    problem: &'a Problem,
    /// The table without any job that may move.
    empty: &'a Table,
    by_site: &'a [Vec<usize>],
    responder: Responder,
    prices: Vec<i64>,
}

/// Price of a slot in which others must go, against the noise of one try.
const CONFLICT: i64 = 1_000;

impl Chain<'_> {
    /// Tries one chain; `None` when no chain can help.
    fn eject(
        &mut self,
        state: &mut State,
        position: usize,
        from: usize,
        heat: i64,
        noise: &mut Noise,
    ) -> Option<bool> {
        let problem = self.problem;
        let job = &problem.jobs[position];
        let target = self.target(&state.table, job, from, noise)?;
        let choice = &job.choices[target.choice];
        let site = problem.site_of(choice);
        let (start, end) = (target.start(), target.end());
        let short = state.table.short_of(site, choice, &target.runs);
        let in_the_way = |&other: &usize| {
            let Some(there) = &state.assignments[other] else {
                return false;
            };
            let needs = problem.jobs[other].choices[there.choice];
            let overlaps = |run: &Run| run.start < end && start < run.end();
            (short[RESOURCES]
                || needs
                    .need
                    .iter()
                    .zip(short)
                    .any(|(&need, short)| short && 0 < need))
                && there.runs.iter().any(overlaps)
        };
        let mut others: Vec<usize> = self.by_site[site]
            .iter()
            .copied()
            .filter(in_the_way)
            .collect();
        shuffle(&mut others, noise);
        // Those with most slack find another place most easily.
        others.sort_by_key(|&other| Reverse(slack(problem, other).min(64) / 8));
        let before = state.objective();
        let mut lifted: Vec<(usize, Assignment)> = Vec::new();
        for other in others.into_iter().take(MOVED_MAX) {
            if state.table.fits(site, choice, &target.runs) {
                break;
            }
            if let Some(assignment) = state.lift(problem, other) {
                lifted.push((other, assignment));
            }
        }
        if state.table.fits(site, choice, &target.runs) {
            state.put(problem, position, target);
            lifted.sort_by_key(|&(other, _)| (slack(problem, other), other));
            for &(other, _) in &lifted {
                state.place(problem, other, &mut self.responder, noise);
            }
            if state.objective() < before.saturating_add(noise.exponential(heat)) {
                return Some(true);
            }
            state.lift(problem, position);
        }
        for &(other, _) in &lifted {
            state.lift(problem, other);
        }
        for (other, assignment) in lifted {
            state.put(problem, other, assignment);
        }
        Some(false)
    }

    /// A place in one piece that others who may move would leave free, with few of them in it.
    fn target(
        &mut self,
        table: &Table,
        job: &Job,
        from: usize,
        noise: &mut Noise,
    ) -> Option<Assignment> {
        let len = job.len_in_one();
        let slots = from..job.deadline.max(from);
        let n_starts = (slots.len() + 1).checked_sub(len)?;
        let mut best: Option<(i64, usize, usize)> = None;
        for (position, choice) in job.choices.iter().enumerate() {
            let site = self.problem.site_of(choice);
            let units = i32::try_from(job.units_in_one()).unwrap_or(1);
            self.prices.clear();
            self.prices.extend(slots.clone().map(|slot| {
                if self.empty.has_room(site, choice, slot, units) {
                    CONFLICT * i64::from(!table.has_room(site, choice, slot, units))
                } else {
                    BLOCKED
                }
            }));
            let mut sum: i64 = self.prices[..len].iter().sum();
            for start in 0..n_starts {
                if 0 < start {
                    sum += self.prices[start + len - 1] - self.prices[start - 1];
                }
                if sum < BLOCKED {
                    let key = sum + noise.exponential(2 * CONFLICT);
                    if best.is_none_or(|(least, ..)| key < least) {
                        best = Some((key, position, from + start));
                    }
                }
            }
        }
        let (_, choice, start) = best?;
        Some(Assignment {
            choice,
            stage_in: job
                .stage_in
                .map(|stage_in| from.saturating_sub(stage_in.n_slots)),
            runs: vec![Run {
                start,
                len,
                units: job.units_in_one(),
            }],
        })
    }
}
