//! What a schedule is worth and which rules it breaks, recomputed from nothing but the problem and the runs.
//!
//! Shares no sums with the searches: it is the judge of all of them.

use super::{
    problem::{Class, Job, Problem, RESOURCES},
    schedule::{Assignment, Run, Schedule},
};

/// Energy and price of a schedule, all in watt-slots or weighted watt-slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Score {
    /// Energy from the grid.
    pub grid: i64,
    /// Energy from green power.
    pub green: i64,
    /// Grid energy by its weight in each slot.
    pub weighted: i64,
    /// Penalties of missed jobs.
    pub penalty: i64,
    /// Price of delay of all jobs.
    pub delay: i64,
    /// Number of missed jobs.
    pub n_missed: usize,
}

/// A broken rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Breach {
    /// The schedule has another number of jobs.
    #[error("the schedule has {found} jobs, the instance {expected}")]
    JobCount {
        /// In the schedule.
        found: usize,
        /// In the instance.
        expected: usize,
    },
    /// A job breaks one of its own rules.
    #[error("job {id}: {problem}")]
    Job {
        /// Id of the job.
        id: u32,
        /// Which rule.
        problem: &'static str,
    },
    /// More power than the cap.
    #[error("site {site} slot {slot}: power {have} W over the cap of {cap} W")]
    Power {
        /// Position of the site.
        site: usize,
        /// Slot.
        slot: usize,
        /// Power drawn.
        have: i64,
        /// Power cap.
        cap: i64,
    },
    /// More of a resource than there is.
    #[error("pool {pool} slot {slot}: resource {resource} {have} of {cap}")]
    Resource {
        /// Position of the pool.
        pool: usize,
        /// Slot.
        slot: usize,
        /// Kind of resource.
        resource: usize,
        /// In use.
        have: i64,
        /// Capacity.
        cap: i64,
    },
    /// More bandwidth than the link has.
    #[error("link {link} slot {slot}: {have} Mbit/s of {cap}")]
    Bandwidth {
        /// Position of the link.
        link: usize,
        /// Slot.
        slot: usize,
        /// In use.
        have: i64,
        /// Capacity.
        cap: i64,
    },
}

impl Score {
    /// What is to be least.
    #[must_use]
    pub fn objective(&self) -> i64 {
        self.weighted + self.penalty + self.delay
    }

    /// All energy.
    #[must_use]
    pub fn total(&self) -> i64 {
        self.grid + self.green
    }
}

/// Energy and price of a schedule.
///
/// # Errors
/// Every broken rule.
pub fn score(problem: &Problem, schedule: &Schedule) -> Result<Score, Vec<Breach>> {
    let mut breaches = Vec::new();
    if schedule.assignments.len() != problem.jobs.len() {
        return Err(vec![Breach::JobCount {
            found: schedule.assignments.len(),
            expected: problem.jobs.len(),
        }]);
    }
    let mut sums = Sums::new(problem);
    let mut score = Score::default();
    for (job, assignment) in problem.jobs.iter().zip(&schedule.assignments) {
        let Some(assignment) = assignment else {
            score.n_missed += 1;
            score.penalty += job.miss_penalty;
            continue;
        };
        if let Err(problem) = keeps_its_rules(problem, job, assignment) {
            breaches.push(Breach::Job {
                id: job.id,
                problem,
            });
            continue;
        }
        let late = assignment.end().saturating_sub(job.release);
        score.delay += job.delay_price * i64::try_from(late).unwrap_or(i64::MAX);
        sums.add(problem, job, assignment);
    }
    sums.check(problem, &mut breaches);
    for (site, load) in problem.sites.iter().zip(&sums.load) {
        for (slot, &load) in load.iter().enumerate() {
            let grid = (load - i64::from(site.green_w[slot])).max(0);
            score.grid += grid;
            score.green += load - grid;
            score.weighted += grid * i64::from(site.weight[slot]);
        }
    }
    if breaches.is_empty() {
        Ok(score)
    } else {
        Err(breaches)
    }
}

/// Use of everything by slot.
struct Sums {
    load: Vec<Vec<i64>>,
    used: Vec<Vec<[i64; RESOURCES]>>,
    links: Vec<Vec<i64>>,
}

impl Sums {
    fn new(problem: &Problem) -> Self {
        let n = problem.n_slots;
        Self {
            load: vec![vec![0; n]; problem.sites.len()],
            used: vec![vec![[0; RESOURCES]; n]; problem.pools.len()],
            links: vec![vec![0; n]; problem.links.len()],
        }
    }

    fn add(&mut self, problem: &Problem, job: &Job, assignment: &Assignment) {
        let choice = &job.choices[assignment.choice];
        let site = problem.site_of(choice);
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

    fn check(&self, problem: &Problem, breaches: &mut Vec<Breach>) {
        for (site, load) in self.load.iter().enumerate() {
            let cap = i64::from(problem.sites[site].power_cap_w);
            for (slot, &have) in load.iter().enumerate().filter(|&(_, &have)| cap < have) {
                breaches.push(Breach::Power {
                    site,
                    slot,
                    have,
                    cap,
                });
            }
        }
        for (pool, used) in self.used.iter().enumerate() {
            for (slot, used) in used.iter().enumerate() {
                for (resource, &have) in used.iter().enumerate() {
                    let cap = i64::from(problem.pools[pool].capacity[resource]);
                    if cap < have {
                        breaches.push(Breach::Resource {
                            pool,
                            slot,
                            resource,
                            have,
                            cap,
                        });
                    }
                }
            }
        }
        for (link, used) in self.links.iter().enumerate() {
            let cap = i64::from(problem.links[link].capacity_mbps);
            for (slot, &have) in used.iter().enumerate().filter(|&(_, &have)| cap < have) {
                breaches.push(Breach::Bandwidth {
                    link,
                    slot,
                    have,
                    cap,
                });
            }
        }
    }
}

/// The rules of a job that concern nobody else.
fn keeps_its_rules(
    problem: &Problem,
    job: &Job,
    assignment: &Assignment,
) -> Result<(), &'static str> {
    if job.choices.len() <= assignment.choice {
        return Err("its choice does not exist");
    }
    let runs = &assignment.runs;
    let (Some(first), Some(last)) = (runs.first(), runs.last()) else {
        return Err("it has no runs");
    };
    if runs.iter().any(|run| run.len == 0 || run.units == 0) {
        return Err("a run is empty");
    }
    if runs.windows(2).any(|pair| pair[1].start < pair[0].end()) {
        return Err("runs overlap or are out of order");
    }
    if problem.n_slots < last.end() {
        return Err("it ends after the last slot");
    }
    if first.start < job.release {
        return Err("it starts before its release");
    }
    if job.deadline < last.end() {
        return Err("it ends after its deadline");
    }
    if runs.iter().any(|run| job.units_max() < run.units) {
        return Err("it has more units than it can use");
    }
    match &job.class {
        Class::Rigid if runs.len() != 1 || first.len != job.duration => {
            return Err("a rigid job runs once, for its duration");
        }
        Class::Rigid => {}
        Class::Interruptible { min_chunk, resume } => {
            pieces_are_right(&joined(runs), job.duration, *min_chunk, *resume)?;
        }
        Class::Malleable { speed, work } => {
            let done = |run: &Run| speed[run.units - 1] * i64::try_from(run.len).unwrap_or(0);
            if runs.iter().map(done).sum::<i64>() < *work {
                return Err("its work is not done");
            }
        }
    }
    match (job.stage_in, assignment.stage_in) {
        (None, None) => Ok(()),
        (Some(stage_in), Some(start))
            if job.arrival <= start && start + stage_in.n_slots <= first.start =>
        {
            Ok(())
        }
        (None, Some(_)) | (Some(_), None) | (Some(_), Some(_)) => {
            Err("its stage-in is missing, or not between arrival and first run")
        }
    }
}

fn pieces_are_right(
    pieces: &[Run],
    duration: usize,
    min_chunk: usize,
    resume: usize,
) -> Result<(), &'static str> {
    let total: usize = pieces.iter().map(|run| run.len).sum();
    if total != duration + resume * (pieces.len() - 1) {
        return Err("it runs longer or shorter than its work");
    }
    let short = |(i, run): (usize, &Run)| {
        let lost = if i == 0 { 0 } else { resume };
        run.len < lost + min_chunk
    };
    if pieces.iter().enumerate().any(short) {
        return Err("a piece is too short");
    }
    Ok(())
}

/// Runs that touch, as one.
fn joined(runs: &[Run]) -> Vec<Run> {
    let mut joined: Vec<Run> = Vec::with_capacity(runs.len());
    for &run in runs {
        match joined.last_mut() {
            Some(last) if last.end() == run.start => last.len += run.len,
            _ => joined.push(run),
        }
    }
    joined
}
