//! Each job at once, from what is known when it arrives; runs that have not begun are arranged anew from time to time.
//!
//! A run that has begun never moves, and its job stays where it is and is ended; later runs of it may move. For jobs
//! still to come, the last of every resource is kept dear, and green power ahead has a worth that is learned from how
//! often it was used up.

use super::{
    eject::Room,
    links::Links,
    noise::Noise,
    plan::{Part, count, mean_weight},
    problem::{Class, JOB_PRICE_MAX, Job, Problem},
    ramp::Ramp,
    respond::{Responder, join},
    schedule::{Assignment, Run, Schedule},
    state::State,
};

/// How jobs are decided as they arrive; the defaults were found by trying on instances of several families and seeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OnlineOptions {
    /// Seed of all chance.
    pub seed: u64,
    /// Slots between rearrangements.
    pub every_slots: usize,
    /// Chains of moves tried at a time for a job without room.
    pub n_chains: usize,
    /// Sweeps over all jobs with runs that have not begun in one rearrangement.
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
            every_slots: 2,
            n_chains: 8,
            n_sweeps: 1,
            heat_permille: 20,
            ramp_permille: 10,
            toll_permille: 30,
            reserve_permille: 250,
            reserve_after_slots: 2,
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
    /// By slots ahead: part of its scarcity that green power is worth, so that a thousandth of it is in parts of `FADE`.
    fade: Vec<i64>,
    /// First slot of each stage-in.
    stage_in: Vec<Option<usize>>,
    /// Jobs with runs that have not begun.
    pending: Vec<usize>,
    /// Runs that have begun, of jobs with others that have not; such a job is only as long as the rest of it.
    begun: Vec<Begun>,
    now: usize,
    price_sum: i64,
    noise: Noise,
    responder: Responder,
    room: Room,
}

/// What has begun of a job.
#[derive(Debug, Clone, Default)]
struct Begun {
    /// Where it is; nothing where it has no runs.
    choice: usize,
    runs: Vec<Run>,
}

const FADE_BITS: u32 = 12;
const FADE: i64 = 1 << FADE_BITS;

/// What is far ahead is worth all of its scarcity, `half` slots ahead one half, and what is now nothing.
fn fade(n_slots: usize, half: usize) -> Vec<i64> {
    let far = (1..n_slots).map(|ahead| FADE * FADE / 1_000 * count(ahead) / count(ahead + half));
    std::iter::once(0).chain(far).collect()
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
            fade: fade(sites.n_slots, options.green_half_slots),
            state,
            links: Links::new(&problem),
            room: Room::new(&problem),
            problem,
            scarcity: vec![options.green_permille; sites.sites.len()],
            names: Vec::new(),
            stage_in: Vec::new(),
            pending: Vec::new(),
            begun: Vec::new(),
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
        self.begun.push(Begun::default());
        self.place(position)
    }

    /// Where every job is, by the caller's names below `n_jobs`.
    #[must_use]
    pub fn finish(mut self, n_jobs: usize) -> Schedule {
        let mut assignments = vec![None; n_jobs];
        for (position, &name) in self.names.iter().enumerate() {
            let Some(rest) = self.state.assignments[position].take() else {
                continue;
            };
            let Begun { choice, mut runs } = std::mem::take(&mut self.begun[position]);
            let choice = if runs.is_empty() { rest.choice } else { choice };
            runs.extend(rest.runs);
            join(&mut runs);
            assignments[name] = Some(Assignment {
                stage_in: self.stage_in[position],
                choice,
                runs,
            });
        }
        Schedule { assignments }
    }

    fn place(&mut self, position: usize) -> bool {
        let noise = &mut self.noise;
        let placed = self
            .state
            .place(&self.problem, position, &mut self.responder, noise);
        if placed {
            self.room.places.note(&self.problem, &self.state, position);
            return true;
        }
        let n_chains = self.options.n_chains;
        self.room.make(
            &self.problem,
            &mut self.state,
            position,
            n_chains,
            (0, noise),
        )
    }

    /// Lets go of runs that have begun, and of jobs that have no other or can no longer run.
    fn settle(&mut self) {
        let now = self.now;
        let (jobs, pools) = (&mut self.problem.jobs, &self.problem.pools);
        let (state, begun) = (&mut self.state, &mut self.begun);
        let fixed = &mut self.room.fixed;
        self.pending.retain(|&position| {
            let job = &mut jobs[position];
            let Some(assignment) = &mut state.assignments[position] else {
                let stays = now + job.len_in_one() <= job.deadline;
                if !stays {
                    state.forget(job);
                }
                return stays;
            };
            let ready = &mut state.ready[position];
            let n_begun = count_begun(begun[position].runs.last(), &assignment.runs, now);
            if n_begun == 0 {
                *ready = ready.map(|ready| ready.max(now));
                return true;
            }
            let choice = job.choices[assignment.choice];
            let site = pools[choice.pool].site;
            fixed.take(site, &choice, &assignment.runs[..n_begun]);
            if n_begun == assignment.runs.len() {
                *ready = None;
                return false;
            }
            let past: Vec<Run> = assignment.runs.drain(..n_begun).collect();
            let begun = &mut begun[position];
            *ready = Some(shorten(job, &past, begun.runs.is_empty()).max(now));
            if begun.runs.is_empty() {
                // It stays where it is.
                begun.choice = assignment.choice;
                job.choices = Box::new([choice]);
                assignment.choice = 0;
            }
            begun.runs.extend(past);
            true
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
        for (row, scarcity) in self.state.table.sites.iter_mut().zip(&self.scarcity) {
            let cells = row.green_price[self.now..].iter_mut();
            let cells = cells.zip(&row.weight[self.now..]).zip(&self.fade);
            for ((price, &weight), fade) in cells {
                let part = (scarcity * fade) >> FADE_BITS;
                let worth = (i64::from(weight) * part) >> FADE_BITS;
                *price = i32::try_from(worth).unwrap_or(weight);
            }
            row.set_price_floor(self.now);
        }
    }

    /// Moves runs that have not begun.
    fn rearrange(&mut self) {
        if self.options.n_sweeps == 0 {
            return self.place_missed();
        }
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
            part.run_at(heat, ramp);
        }
        part.end(&mut self.state);
        let toll = self.options.toll_permille;
        self.state.table.set_tolls(&self.problem, self.now, toll);
        let movable = self.pending.iter().copied();
        self.room.places.renew(&self.problem, &self.state, movable);
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

/// How many of the runs have begun: a run that goes on without a change is one, whenever it was decided.
fn count_begun(last: Option<&Run>, runs: &[Run], now: usize) -> usize {
    let mut last = last;
    runs.iter()
        .take_while(|run| {
            let goes_on =
                last.is_some_and(|last| last.end() == run.start && last.units == run.units);
            last = Some(run);
            run.start < now || goes_on
        })
        .count()
}

/// Leaves of a job what runs that have begun do not do; the first slot in which the rest may run.
///
/// The rest of an interruptible job is again one: its first run pays for its resumption in slots of work, and the least
/// useful slots of a run cover that. What runs has energy that is spent, so it must be ended whatever its value is.
fn shorten(job: &mut Job, past: &[Run], is_first: bool) -> usize {
    job.miss_penalty = JOB_PRICE_MAX;
    let end = past.last().map_or(0, Run::end);
    match &mut job.class {
        Class::Rigid => end,
        Class::Interruptible { min_chunk, resume } => {
            let slots: usize = past.iter().map(|run| run.len).sum();
            // Each run but the very first resumes once; the rest already counts the resumption of its first run.
            let n_resumed = past.len();
            job.duration = job.duration + *resume * n_resumed - slots;
            if is_first {
                *min_chunk += *resume;
            }
            end + usize::from(0 < *resume)
        }
        Class::Malleable { speed, work } => {
            let done = past.iter().map(|run| speed[run.units - 1] * count(run.len));
            *work -= done.sum::<i64>();
            end
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
