//! Each job at once, from what is known when it arrives; what has not begun is arranged anew from time to time.
//!
//! What has begun never moves. For jobs still to come, the last of every resource is kept dear, and green power ahead has
//! a worth that is learned from how often it was used up.

use super::{
    eject,
    links::Links,
    noise::Noise,
    plan::{Part, count, mean_weight},
    problem::{Job, Problem},
    respond::Responder,
    schedule::{Assignment, Schedule},
    state::State,
    table::Ramp,
};

/// How jobs are decided as they arrive; the defaults were found by trying on instances of several families and seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnlineOptions {
    /// Seed of all chance.
    pub seed: u64,
    /// Slots between rearrangements.
    pub every_slots: usize,
    /// Sweeps over all jobs that have not begun in one rearrangement.
    pub n_sweeps: usize,
    /// Heat of the first sweep, thousandths of the mean price of a job on grid power.
    pub heat_permille: i64,
    /// Half width of the ramp of prices, thousandths of the largest power cap.
    pub ramp_permille: i64,
    /// How fast the tolls of full resources rise in a sweep, as in a plan.
    pub toll_permille: i64,
    /// Share of every resource kept for those who have no other slot, thousandths.
    pub reserve_permille: i64,
    /// Slots ahead from which on it is kept.
    pub reserve_after_slots: usize,
    /// What green power far ahead is held to be worth before anything is known, thousandths of grid power: what is not
    /// used now is gone, while that of later slots finds jobs that are still to come.
    pub green_permille: i64,
    /// Slots ahead at which it is worth half of that.
    pub green_half_slots: usize,
    /// How fast the worth follows what is seen: one part in so many of each slot, 0 for not at all.
    pub green_memory_slots: i64,
}

impl Default for OnlineOptions {
    fn default() -> Self {
        Self {
            seed: 0,
            every_slots: 4,
            n_sweeps: 1,
            heat_permille: 20,
            ramp_permille: 10,
            toll_permille: 30,
            reserve_permille: 250,
            reserve_after_slots: 3,
            green_permille: 700,
            green_half_slots: 12,
            green_memory_slots: 48,
        }
    }
}

/// Decides jobs as they arrive.
#[derive(Debug, Clone)]
pub struct Online {
    options: OnlineOptions,
    /// Sites, and all jobs known.
    problem: Problem,
    state: State,
    links: Links,
    /// By own position: position in the caller's list.
    names: Vec<usize>,
    /// How often the green power of each site has been used up, thousandths.
    scarcity: Vec<i64>,
    /// First slot of each stage-in.
    stage_in: Vec<Option<usize>>,
    /// Jobs that have not begun.
    pending: Vec<usize>,
    now: usize,
    price_sum: i64,
    noise: Noise,
    responder: Responder,
}

/// Jobs without a place that are tried again at a time.
const MISSED_MAX: usize = 16;

impl Online {
    /// Knows the sites and no job.
    #[must_use]
    pub fn new(sites: &Problem, options: OnlineOptions) -> Self {
        let problem = Problem {
            jobs: Vec::new(),
            ..sites.clone()
        };
        let mut state = State::new(&problem);
        // Where nothing is ever green, prices have no step: a ramp would only hide the differences of their weights.
        let cap = problem
            .sites
            .iter()
            .filter(|site| site.green_w.iter().any(|&green| 0 < green))
            .map(|site| i64::from(site.power_cap_w))
            .max();
        state.ramp = Ramp::of(cap.unwrap_or(0) * options.ramp_permille / 1_000);
        state.table.set_reserves(&problem, options.reserve_permille);
        Self {
            options,
            state,
            links: Links::new(&problem),
            problem,
            scarcity: vec![options.green_permille; sites.sites.len()],
            names: Vec::new(),
            stage_in: Vec::new(),
            pending: Vec::new(),
            now: 0,
            price_sum: 0,
            noise: Noise::new(options.seed, 5),
            responder: Responder::default(),
        }
    }

    /// A slot begins.
    pub fn advance(&mut self, slot: usize) {
        self.now = slot;
        self.settle();
        self.learn_scarcity();
        self.price_green();
        self.state.table.reserve_from = slot + self.options.reserve_after_slots;
        if slot.is_multiple_of(self.options.every_slots) {
            self.rearrange();
        } else {
            self.place_missed();
        }
    }

    /// A job arrives in the current slot, known to the caller by `name`; whether it has a place.
    pub fn arrive(&mut self, name: usize, job: &Job) -> bool {
        let start = job
            .stage_in
            .and_then(|_| self.links.earliest(job, self.now, job.deadline));
        let ready = match (job.stage_in, start) {
            (Some(stage_in), Some(start)) => {
                self.links.take(job, start);
                Some(job.release.max(start + stage_in.n_slots))
            }
            (Some(_), None) => None,
            (None, _) => Some(job.release.max(self.now)),
        };
        self.price_sum += price(job);
        let position = self.problem.jobs.len();
        self.state.know(job, ready);
        self.problem.jobs.push(job.clone());
        self.names.push(name);
        self.stage_in.push(start);
        self.pending.push(position);
        self.place(position)
    }

    /// Where every job is, by the caller's names below `n_jobs`.
    #[must_use]
    pub fn finish(mut self, n_jobs: usize) -> Schedule {
        let mut assignments = vec![None; n_jobs];
        for (position, &name) in self.names.iter().enumerate() {
            let assignment = self.state.assignments[position].take();
            assignments[name] = assignment.map(|assignment| Assignment {
                stage_in: self.stage_in[position],
                ..assignment
            });
        }
        Schedule { assignments }
    }

    fn place(&mut self, position: usize) -> bool {
        let noise = &mut self.noise;
        let placed = self
            .state
            .place(&self.problem, position, &mut self.responder, noise);
        if placed || self.state.ready[position].is_none() {
            return placed;
        }
        let movable = self.pending.iter().copied();
        let by_site = eject::by_site(&self.problem, &self.state, movable);
        eject::make_room(&self.problem, &mut self.state, position, &by_site, 0, noise)
    }

    /// Lets go of what has begun, and of what can no longer run.
    fn settle(&mut self) {
        let now = self.now;
        let (problem, state) = (&self.problem, &mut self.state);
        self.pending.retain(|&position| {
            let job = &problem.jobs[position];
            let stays = match &state.assignments[position] {
                Some(assignment) => now <= assignment.start(),
                None => now + job.len_in_one() <= job.deadline,
            };
            if stays {
                let ready = &mut state.ready[position];
                *ready = ready.map(|ready| ready.max(now));
            } else {
                state.forget(job);
            }
            stays
        });
    }

    /// Learns from the slot that has passed whether green power was used up.
    fn learn_scarcity(&mut self) {
        let Some(last) = self.now.checked_sub(1) else {
            return;
        };
        let memory = self.options.green_memory_slots;
        if memory == 0 {
            return;
        }
        let rows = self.state.table.sites.iter().zip(&self.problem.sites);
        for (scarcity, (row, site)) in self.scarcity.iter_mut().zip(rows) {
            let green = site.green_w[last].min(site.power_cap_w);
            if green == 0 {
                continue;
            }
            let unused = (-row.excess[last]).min(row.power_free[last]).max(0);
            // A twentieth left over is as good as plenty.
            let scarce = 1_000 - (i64::from(unused) * 20_000 / i64::from(green)).min(1_000);
            *scarcity += (scarce - *scarcity) / memory;
        }
    }

    /// Sets what green power is worth in each slot to come.
    fn price_green(&mut self) {
        let half = self.options.green_half_slots.max(1);
        for (row, scarcity) in self.state.table.sites.iter_mut().zip(&self.scarcity) {
            let (prices, weights) = (&mut row.green_price[self.now..], &row.weight[self.now..]);
            for (ahead, (price, weight)) in prices.iter_mut().zip(weights).enumerate() {
                let full = i64::from(*weight) * scarcity / 1_000;
                let worth = full * count(ahead) / count(ahead + half);
                *price = i32::try_from(if ahead == 0 { 0 } else { worth }).unwrap_or(*weight);
            }
        }
    }

    /// Moves what has not begun.
    fn rearrange(&mut self) {
        let mean_price = self.price_sum / count(self.names.len()) * mean_weight(&self.problem);
        let heat = mean_price / 1_000 * self.options.heat_permille;
        let jobs = self.pending.iter().copied();
        let noise = Noise::new(self.noise.next(), 7);
        let ramp = self.state.ramp;
        let mut part = Part::whole(&self.problem, &mut self.state, jobs, noise);
        let n_sweeps = self.options.n_sweeps;
        for sweep in 0..n_sweeps {
            let left = count(n_sweeps - 1 - sweep);
            let heat = if sweep + 1 == n_sweeps {
                0
            } else {
                heat * left / count(n_sweeps)
            };
            part.run_at(heat, ramp, self.options.toll_permille);
        }
        part.end(&mut self.state);
        self.place_missed();
    }

    /// Tries again to place what has no place; a chain may have left it without.
    fn place_missed(&mut self) {
        let missed: Vec<usize> = self
            .pending
            .iter()
            .copied()
            .filter(|&position| self.state.assignments[position].is_none())
            .take(MISSED_MAX)
            .collect();
        for position in missed {
            self.place(position);
        }
    }
}

/// Energy of one unit for its duration.
fn price(job: &Job) -> i64 {
    let watts = job
        .choices
        .first()
        .map_or(0, |choice| i64::from(choice.watts));
    watts * count(job.duration)
}
