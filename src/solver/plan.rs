//! All jobs at once: annealing by best responses, in parts that share no site.
//!
//! What has been found best is never lost: more time never gives a worse schedule. The same seed and number of rounds
//! give the same schedule whoever runs the parts, and in whatever order.

use super::{
    eject,
    noise::Noise,
    problem::{Class, Job, Problem},
    ramp::Ramp,
    respond::{Ask, Responder},
    schedule::{Assignment, Run, Schedule},
    state::State,
    table::{BLOCKED, Table, delay_cost},
};

/// How a plan is searched; the defaults were found by trying on instances of several families and seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlanOptions {
    /// Seed of all chance.
    pub seed: u64,
    /// First heat, thousandths of the mean price of a job on grid power.
    pub heat_permille: i64,
    /// First half width of the ramp of prices, thousandths of the largest power cap.
    pub ramp_permille: i64,
    /// How often the ramp is halved before it is a step.
    pub ramp_halvings: u64,
    /// How fast the tolls of full resources rise in a round, thousandths of what a site's power cap on grid power
    /// would cost.
    pub toll_permille: i64,
}

impl Default for PlanOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            heat_permille: 180,
            ramp_permille: 1_000,
            toll_permille: 20,
            ramp_halvings: 10,
        }
    }
}

/// How far a search is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// Rounds done; in a round every job is moved about once.
    pub n_rounds: u64,
    /// Least objective found, in weighted watt-slots.
    pub best: i64,
    /// Jobs that the best schedule misses.
    pub n_missed: usize,
}

/// Sites and jobs that one worker moves alone.
#[derive(Debug)]
pub struct Part<'a> {
    problem: &'a Problem,
    table: Table,
    /// Jobs by position, the first slot each may run in, and where it is.
    jobs: Vec<(usize, usize, Option<Assignment>)>,
    site_is_here: Vec<bool>,
    heat: i64,
    /// Mean price of a watt-slot of grid energy.
    weight: i64,
    ramp: Ramp,
    noise: Noise,
    responder: Responder,
    /// Change of the objective.
    change: i64,
}

/// Sites of one part.
const SITES_PER_PART: usize = 4;

/// Thousandths of the budget after which grid power has its true price.
const STEP_FROM: u32 = 930;
/// Thousandths of the budget after which nothing is overdrawn.
const SOLID_FROM: u32 = 850;

/// The price of an overdraft doubles five times, from an eighth of what a unit's share of the power cap costs; 0 when
/// there is none any more.
fn overdraft_permille(used_permille: u32) -> i64 {
    const FIRST: i64 = 125;
    const DOUBLINGS: u32 = 5;
    if SOLID_FROM <= used_permille {
        return 0;
    }
    let (doublings, rest) = (
        used_permille * DOUBLINGS / SOLID_FROM,
        used_permille * DOUBLINGS % SOLID_FROM,
    );
    let price = FIRST << doublings;
    price + price * i64::from(rest) / i64::from(SOLID_FROM)
}

/// Takes out jobs until nothing is overdrawn, the cheapest first, and places them anew, the dearest first.
fn settle(problem: &Problem, state: &mut State, noise: &mut Noise) {
    let mut order: Vec<usize> = (0..problem.jobs.len()).collect();
    order.sort_by_key(|&i| (problem.jobs[i].miss_penalty, i));
    order.retain(|&i| {
        let is_in_the_way = state.assignments[i].as_ref().is_some_and(|there| {
            let choice = &problem.jobs[i].choices[there.choice];
            let site = problem.site_of(choice);
            state.table.is_overdrawn(site, choice, &there.runs)
        });
        is_in_the_way && state.lift(problem, i).is_some()
    });
    let mut responder = Responder::default();
    for i in order.into_iter().rev() {
        state.place(problem, i, &mut responder, noise);
    }
}

/// The best schedule found within the budget.
///
/// `run` carries out the parts it is given, in any order or at once; `budget` is asked after every round how many
/// thousandths of the budget are used, and 1,000 ends the search.
pub fn plan(
    problem: &Problem,
    options: &PlanOptions,
    run: &dyn Fn(&mut [Part<'_>]),
    budget: &mut dyn FnMut(&Progress) -> u32,
) -> Schedule {
    let mut noise = Noise::new(options.seed, 1);
    let mut state = State::new(problem);
    state.place_all(problem, &mut noise);
    let first_heat = first_heat(problem, options);
    let first_ramp = problem
        .sites
        .iter()
        .map(|site| i64::from(site.power_cap_w))
        .max()
        .unwrap_or(0)
        * options.ramp_permille
        / 1_000;
    let mut best = state.assignments.clone();
    let mut best_objective = state.objective();
    let mut progress = Progress {
        n_rounds: 0,
        best: best_objective,
        n_missed: state.n_missed(),
    };
    let mut is_overdrawn = false;
    loop {
        let used = budget(&progress).min(1_000);
        if used == 1_000 {
            break;
        }
        let heat = cooled(first_heat, used);
        let ramp = if STEP_FROM < used {
            Ramp::STEP
        } else {
            Ramp::of(first_ramp >> (u64::from(used) * options.ramp_halvings / u64::from(STEP_FROM)))
        };
        let overdraft = overdraft_permille(used);
        state.table.set_overdraft(problem, overdraft);
        if is_overdrawn && overdraft == 0 {
            settle(problem, &mut state, &mut noise);
        }
        is_overdrawn = 0 < overdraft;
        round(problem, &mut state, heat, ramp, &mut noise, run);
        if !is_overdrawn && 0 < state.n_missed() {
            eject::place_missed(problem, &mut state, heat, &mut noise);
        }
        progress.n_rounds += 1;
        let fading = i64::from(900_u32.saturating_sub(used));
        state
            .table
            .set_tolls(problem, 0, options.toll_permille * fading / 900);
        if !is_overdrawn && state.objective() < best_objective {
            best_objective = state.objective();
            best.clone_from(&state.assignments);
            progress.best = best_objective;
            progress.n_missed = state.n_missed();
        }
    }
    Schedule { assignments: best }
}

/// A share of what a job costs on grid power alone.
fn first_heat(problem: &Problem, options: &PlanOptions) -> i64 {
    let weight = mean_weight(problem);
    let price = problem.jobs.iter().map(|job| {
        let watts = job.choices.first().map_or(0, |choice| choice.watts);
        i128::from(watts) * i128::from(count(job.duration) * weight)
    });
    let mean = price.sum::<i128>() / i128::from(count(problem.jobs.len()));
    i64::try_from(mean).unwrap_or(i64::MAX) / 1_000 * options.heat_permille
}

pub(super) fn mean_weight(problem: &Problem) -> i64 {
    let weight = problem.sites.iter().map(|site| {
        let sum: i64 = site.weight.iter().map(|&weight| i64::from(weight)).sum();
        sum / count(site.weight.len())
    });
    weight.sum::<i64>() / count(problem.sites.len())
}

/// A number to divide by: at least 1.
pub(super) fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX).max(1)
}

/// The heat falls by the same factor with every thousandth of the budget, to 1/400 at its end; the last part is cold.
fn cooled(first: i64, used_permille: u32) -> i64 {
    /// 400^(-1/1000) in units of 2^-32.
    const STEP: i128 = 4_260_717_500;
    if 960 < used_permille {
        return 0;
    }
    let mut heat = i128::from(first) << 20;
    for _ in 0..used_permille {
        heat = (heat * STEP) >> 32;
    }
    i64::try_from(heat >> 20).unwrap_or(i64::MAX)
}

/// Moves every job about once.
fn round(
    problem: &Problem,
    state: &mut State,
    heat: i64,
    ramp: Ramp,
    noise: &mut Noise,
    run: &dyn Fn(&mut [Part<'_>]),
) {
    let mut parts = split(problem, state, heat, ramp, noise);
    run(&mut parts);
    for part in parts {
        part.end(state);
    }
}

fn split<'a>(
    problem: &'a Problem,
    state: &mut State,
    heat: i64,
    ramp: Ramp,
    noise: &mut Noise,
) -> Vec<Part<'a>> {
    let n_sites = problem.sites.len();
    let n_parts = (n_sites / SITES_PER_PART).max(1);
    let mut order: Vec<usize> = (0..n_sites).collect();
    shuffle(&mut order, noise);
    let mut part_of = vec![0; n_sites];
    for (i, &site) in order.iter().enumerate() {
        part_of[site] = i * n_parts / n_sites;
    }
    let mut parts: Vec<Part<'a>> = (0..n_parts)
        .map(|part| Part {
            problem,
            table: state.lend(problem, |site| part_of[site] == part),
            jobs: Vec::new(),
            site_is_here: part_of.iter().map(|&of| of == part).collect(),
            heat,
            weight: mean_weight(problem),
            ramp,
            noise: Noise::new(noise.next(), 3),
            responder: Responder::default(),
            change: 0,
        })
        .collect();
    for position in 0..problem.jobs.len() {
        let Some(from) = state.ready[position] else {
            continue;
        };
        let assignment = state.assignments[position].take();
        let part = match &assignment {
            Some(assignment) => {
                let choice = &problem.jobs[position].choices[assignment.choice];
                part_of[problem.site_of(choice)]
            }
            None => noise.below(n_parts),
        };
        parts[part].jobs.push((position, from, assignment));
    }
    parts
}

pub(super) fn shuffle<T>(items: &mut [T], noise: &mut Noise) {
    for i in (1..items.len()).rev() {
        items.swap(i, noise.below(i + 1));
    }
}

/// Jobs that stand together stay together: they are near in time, and so are the rows they touch.
fn shuffle_blocks<T>(items: &mut [T], noise: &mut Noise) {
    const BLOCK: usize = 64;
    let n_whole = items.len() / BLOCK;
    for i in (1..n_whole).rev() {
        let other = noise.below(i + 1);
        if other < i {
            let (left, right) = items.split_at_mut(i * BLOCK);
            left[other * BLOCK..][..BLOCK].swap_with_slice(&mut right[..BLOCK]);
        }
    }
    for block in items.chunks_mut(BLOCK) {
        shuffle(block, noise);
    }
}

/// One in how many moves of a job is a whole search.
fn search_odds(job: &Job, from: usize) -> usize {
    /// Steps that a whole search may take on average.
    const STEPS: usize = 512;
    let n_slots = job.deadline.saturating_sub(from);
    let steps = match &job.class {
        Class::Rigid => 0,
        Class::Interruptible { .. } => n_slots * job.duration,
        Class::Malleable { speed, .. } => 4 * n_slots * speed.len(),
    };
    1 + steps * job.choices.len() / STEPS
}

impl<'a> Part<'a> {
    /// All sites and some of the jobs.
    pub(super) fn whole(
        problem: &'a Problem,
        state: &mut State,
        jobs: impl IntoIterator<Item = usize>,
        noise: Noise,
    ) -> Self {
        let take = |position: usize| {
            let from = state.ready[position]?;
            Some((position, from, state.assignments[position].take()))
        };
        let jobs = jobs.into_iter().filter_map(take).collect();
        Self {
            problem,
            table: state.lend(problem, |_| true),
            jobs,
            site_is_here: vec![true; problem.sites.len()],
            heat: 0,
            weight: mean_weight(problem),
            ramp: Ramp::STEP,
            noise,
            responder: Responder::default(),
            change: 0,
        }
    }

    /// Moves every job once at this heat.
    pub(super) fn run_at(&mut self, heat: i64, ramp: Ramp) {
        (self.heat, self.ramp) = (heat, ramp);
        self.run();
    }

    /// Gives everything back.
    pub(super) fn end(self, state: &mut State) {
        state.take_back(self.table, self.change);
        for (position, _, assignment) in self.jobs {
            state.assignments[position] = assignment;
        }
    }

    /// Moves every job of the part once.
    pub fn run(&mut self) {
        let mut jobs = std::mem::take(&mut self.jobs);
        shuffle_blocks(&mut jobs, &mut self.noise);
        let mut runs = Vec::new();
        for (position, from, assignment) in &mut jobs {
            self.step(*position, *from, assignment, &mut runs);
        }
        self.jobs = jobs;
    }

    /// Whether a job weighs so little against the heat that a move of it decides nothing.
    fn is_only_stirred(&self, job: &Job) -> bool {
        let watts = job
            .choices
            .first()
            .map_or(0, |choice| i64::from(choice.watts));
        watts * count(job.duration) * self.weight * 8 < self.heat
    }

    /// Takes the job out of the table; what it cost in the eyes of the search.
    fn lift(&mut self, job: &Job, assignment: Option<&Assignment>) -> i64 {
        let Some(old) = assignment else {
            self.change -= job.miss_penalty;
            return job.miss_penalty;
        };
        let choice = &job.choices[old.choice];
        let site = self.problem.site_of(choice);
        let delay = delay_cost(job, old);
        self.change -= self.table.remove(site, choice, &old.runs) + delay;
        self.table.soft_cost_of(site, choice, &old.runs, self.ramp) + delay
    }

    fn step(
        &mut self,
        position: usize,
        from: usize,
        assignment: &mut Option<Assignment>,
        runs: &mut Vec<Run>,
    ) {
        let job = &self.problem.jobs[position];
        if assignment.is_some() && self.is_only_stirred(job) && !self.noise.one_in(8) {
            return;
        }
        let old = self.lift(job, assignment.as_ref());
        let ask = Ask {
            problem: self.problem,
            job,
            from,
            heat: self.heat,
            ramp: self.ramp,
            beat: if self.heat == 0 {
                old.min(BLOCKED)
            } else {
                BLOCKED
            },
        };
        let noise = &mut self.noise;
        let responder = &mut self.responder;
        // The whole search for a job that is not rigid costs far more than a small change.
        let answer = match assignment {
            Some(old) if !noise.one_in(search_odds(job, from)) => {
                responder.nudge(ask, &self.table, noise, old, runs)
            }
            _ => {
                let here = &self.site_is_here;
                responder.respond(ask, &self.table, noise, |site| here[site], runs)
            }
        };
        // A rigid answer was drawn by its odds, the old place among them; another one is accepted by its odds.
        let accepted = answer.filter(|answer| match &job.class {
            Class::Rigid => assignment.is_some() || answer.cost < old,
            Class::Interruptible { .. } | Class::Malleable { .. } => {
                answer.cost <= old + noise.exponential(self.heat)
            }
        });
        if let Some(answer) = accepted {
            match assignment {
                Some(old) => {
                    old.choice = answer.choice;
                    std::mem::swap(&mut old.runs, runs);
                }
                None => {
                    *assignment = Some(Assignment {
                        choice: answer.choice,
                        stage_in: job
                            .stage_in
                            .map(|stage_in| from.saturating_sub(stage_in.n_slots)),
                        runs: runs.clone(),
                    });
                }
            }
        }
        if let Some(now) = assignment {
            let choice = &job.choices[now.choice];
            self.change += self
                .table
                .add(self.problem.site_of(choice), choice, &now.runs)
                + delay_cost(job, now);
        } else {
            self.change += job.miss_penalty;
        }
    }
}
