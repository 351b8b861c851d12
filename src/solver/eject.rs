//! Makes room for a job that has none: others that stand in its way move elsewhere.
//!
//! A chain is carried out only when it lowers the objective as a whole; otherwise everything is as it was.

use super::{
    noise::Noise,
    plan::shuffle,
    problem::Job,
    respond::Responder,
    schedule::{Assignment, Run},
    state::State,
};

/// Chains tried for one missed job in one round.
const TRIES: usize = 24;
/// Most jobs moved for one.
const MOVED_MAX: usize = 24;

/// Tries to find room for every missed job.
pub(super) fn place_missed(state: &mut State<'_>, heat: i64, noise: &mut Noise) {
    let mut missed: Vec<usize> = (0..state.assignments.len())
        .filter(|&i| state.assignments[i].is_none() && state.ready[i].is_some())
        .collect();
    shuffle(&mut missed, noise);
    let mut responder = Responder::default();
    let mut by_site = jobs_by_site(state);
    for position in missed.into_iter().take(64) {
        if state.place(position, 0, &mut responder, noise) {
            by_site = jobs_by_site(state);
            continue;
        }
        for _ in 0..TRIES {
            if eject(state, position, &by_site, heat, &mut responder, noise) {
                by_site = jobs_by_site(state);
                break;
            }
        }
    }
}

fn jobs_by_site(state: &State<'_>) -> Vec<Vec<usize>> {
    let mut by_site = vec![Vec::new(); state.problem.sites.len()];
    for (position, assignment) in state.assignments.iter().enumerate() {
        if let Some(assignment) = assignment {
            let choice = &state.problem.jobs[position].choices[assignment.choice];
            by_site[state.problem.site_of(choice)].push(position);
        }
    }
    by_site
}

fn eject(
    state: &mut State<'_>,
    position: usize,
    by_site: &[Vec<usize>],
    heat: i64,
    responder: &mut Responder,
    noise: &mut Noise,
) -> bool {
    let job = &state.problem.jobs[position];
    let Some(target) = random_place(state, position, job, noise) else {
        return false;
    };
    let choice = &job.choices[target.choice];
    let site = state.problem.site_of(choice);
    let (start, end) = (target.start(), target.end());
    let in_the_way = |other: usize| {
        state.assignments[other].as_ref().is_some_and(|there| {
            there
                .runs
                .iter()
                .any(|run| run.start < end && start < run.end())
        })
    };
    let mut others: Vec<usize> = by_site[site]
        .iter()
        .copied()
        .filter(|&other| in_the_way(other))
        .collect();
    shuffle(&mut others, noise);
    // Those with most slack find another place most easily.
    others.sort_by_key(|&other| {
        std::cmp::Reverse(super::state::slack(state.problem, other).min(64) / 8)
    });
    let before = state.objective();
    let mut lifted: Vec<(usize, Assignment)> = Vec::new();
    for other in others.into_iter().take(MOVED_MAX) {
        if state.table.fits(site, choice, &target.runs) {
            break;
        }
        if let Some(assignment) = state.lift(other) {
            lifted.push((other, assignment));
        }
    }
    let fits = state.table.fits(site, choice, &target.runs);
    if fits {
        state.put(position, target);
        lifted.sort_by_key(|&(other, _)| super::state::slack(state.problem, other));
        for &(other, _) in &lifted {
            state.place(other, 0, responder, noise);
        }
        if state.objective() < before.saturating_add(noise.exponential(heat)) {
            return true;
        }
        state.lift(position);
    }
    for &(other, _) in &lifted {
        state.lift(other);
    }
    for (other, assignment) in lifted {
        state.put(other, assignment);
    }
    false
}

/// A place that keeps the job's own rules, whatever else is there: in one piece where it may start.
fn random_place(
    state: &State<'_>,
    position: usize,
    job: &Job,
    noise: &mut Noise,
) -> Option<Assignment> {
    let from = state.ready[position]?;
    if job.choices.is_empty() {
        return None;
    }
    let n_starts = (job.deadline + 1).checked_sub(from + job.len_in_one())?;
    if n_starts == 0 {
        return None;
    }
    Some(Assignment {
        choice: noise.below(job.choices.len()),
        stage_in: job.stage_in.map(|stage_in| from - stage_in.n_slots),
        runs: vec![Run {
            start: from + noise.below(n_starts),
            len: job.len_in_one(),
            units: job.units_in_one(),
        }],
    })
}
