//! Makes room for a job that has none: others that stand in its way move elsewhere.
//!
//! A chain is carried out only when it lowers the objective as a whole; otherwise everything is as it was.

use std::cmp::Reverse;

use super::{
    noise::Noise,
    places::Places,
    plan::shuffle,
    problem::{Choice, Problem, RESOURCES},
    respond::{FEW, Responder},
    schedule::{Assignment, Run},
    state::State,
    table::{BLOCKED, Table},
};

/// Chains tried for one missed job in one round.
const TRIES: usize = 8;
/// Most jobs moved for one.
const MOVED_MAX: usize = 24;
/// Most jobs looked at for one chain.
const SEEN_MAX: usize = 512;
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
    let mut room = Room::new(problem);
    room.places.renew(problem, state, all);
    for position in missed.into_iter().take(MISSED_MAX) {
        if state.place(problem, position, &mut responder, noise) {
            room.places.note(problem, state, position);
        } else {
            room.make(problem, state, position, TRIES, (heat, noise));
        }
    }
}

/// What a chain may move, and what it must leave.
#[derive(Debug, Clone, Default)]
pub(super) struct Room {
    /// Only what cannot move.
    pub(super) fixed: Table,
    /// Where jobs are; those that are not ready do not move.
    pub(super) places: Places,
    responder: Responder,
    prices: Vec<i64>,
}

/// Price of a slot in which others must go, against the noise of one try.
const CONFLICT: i64 = 1_000;

impl Room {
    /// Everything may move.
    pub(super) fn new(problem: &Problem) -> Self {
        Self {
            fixed: Table::new(problem),
            places: Places::new(problem),
            ..Self::default()
        }
    }

    /// Places a job by moving others, if that pays; `false` when nothing was found.
    pub(super) fn make(
        &mut self,
        problem: &Problem,
        state: &mut State,
        position: usize,
        n_tries: usize,
        (heat, noise): (i64, &mut Noise),
    ) -> bool {
        let Some(from) = state.ready[position] else {
            return false;
        };
        for _ in 0..n_tries {
            let Some(target) = self.target(problem, &state.table, position, from, noise) else {
                return false;
            };
            if self.eject(problem, state, position, target, (heat, &mut *noise)) {
                return true;
            }
        }
        false
    }

    /// Tries one chain.
    fn eject(
        &mut self,
        problem: &Problem,
        state: &mut State,
        position: usize,
        target: Assignment,
        (heat, noise): (i64, &mut Noise),
    ) -> bool {
        let choice = &problem.jobs[position].choices[target.choice];
        let site = problem.site_of(choice);
        let mut others = self.in_the_way(problem, state, (site, choice), &target);
        shuffle(&mut others, noise);
        // Those with most slack find another place most easily.
        others.sort_by_key(|&other| Reverse(state.spare(problem, other).min(64) / 8));
        let before = state.objective().saturating_add(noise.exponential(heat));
        let mut lifted: Vec<(usize, Assignment)> = Vec::new();
        for other in others {
            if lifted.len() == MOVED_MAX || state.table.fits(site, choice, &target.runs) {
                break;
            }
            if let Some(assignment) = state.lift(problem, other) {
                lifted.push((other, assignment));
            }
        }
        if state.table.fits(site, choice, &target.runs) {
            state.put(problem, position, target);
            lifted.sort_by_key(|&(other, _)| (state.spare(problem, other), other));
            // What the objective is at least once those still without a place have one.
            let penalty = |other: usize| problem.jobs[other].miss_penalty;
            let mut open: i64 = lifted.iter().map(|&(other, _)| penalty(other)).sum();
            for &(other, _) in &lifted {
                if before <= state.objective() - open {
                    break;
                }
                state.place(problem, other, &mut self.responder, noise);
                open -= penalty(other);
            }
            if state.objective() < before {
                for &(other, _) in &lifted {
                    self.places.note(problem, state, other);
                }
                self.places.note(problem, state, position);
                return true;
            }
            state.lift(problem, position);
        }
        for &(other, _) in &lifted {
            state.lift(problem, other);
        }
        for (other, assignment) in lifted {
            state.put(problem, other, assignment);
        }
        false
    }

    /// Jobs that may move and take something that the target lacks.
    fn in_the_way(
        &self,
        problem: &Problem,
        state: &State,
        (site, choice): (usize, &Choice),
        target: &Assignment,
    ) -> Vec<usize> {
        let (start, end) = (target.start(), target.end());
        let short = state.table.short_of(site, choice, &target.runs);
        let is_in_the_way = |&other: &usize| {
            let Some(there) = &state.assignments[other] else {
                return false;
            };
            let needs = problem.jobs[other].choices[there.choice];
            let mut lacking = needs.need.iter().zip(short);
            state.ready[other].is_some()
                && problem.site_of(&needs) == site
                && (short[RESOURCES] || lacking.any(|(&need, short)| short && 0 < need))
                && there
                    .runs
                    .iter()
                    .any(|run| run.start < end && start < run.end())
        };
        let near = self.places.near(site, start..end);
        near.filter(is_in_the_way).take(SEEN_MAX).collect()
    }

    /// A place in one piece that others who may move would leave free, with few of them in it.
    fn target(
        &mut self,
        problem: &Problem,
        table: &Table,
        position: usize,
        from: usize,
        noise: &mut Noise,
    ) -> Option<Assignment> {
        let job = &problem.jobs[position];
        let len = job.len_in_one();
        let slots = from..job.deadline.max(from);
        let n_starts = (slots.len() + 1).checked_sub(len)?;
        let mut best: Option<(i64, usize, usize)> = None;
        let n = job.choices.len();
        let first = if FEW < n { noise.below(n) } else { 0 };
        for (n_tried, position) in (first..n).chain(0..first).enumerate() {
            if FEW <= n_tried && best.is_some() {
                break;
            }
            let choice = &job.choices[position];
            let site = problem.site_of(choice);
            let units = i32::try_from(job.units_in_one()).unwrap_or(1);
            self.prices.clear();
            self.prices.extend(slots.clone().map(|slot| {
                if self.fixed.has_room(site, choice, slot, units) {
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
