//! What a schedule came to, site by site and in waiting.
//!
//! All energy is in watt-slots and adds up to what `solver::score` says of the schedule.

use crate::solver::{Problem, Schedule};

/// What became of the jobs of a schedule.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Report {
    /// Energy of each site.
    pub sites: Vec<SiteEnergy>,
    /// Jobs placed.
    pub n_placed: usize,
    /// Slots from release to first run, of all placed jobs together.
    pub wait_slots: usize,
    /// Slots from release to the end beyond the duration, of all placed jobs together; running wide can make up for
    /// waiting, but no job counts below 0.
    pub delay_slots: usize,
    /// Runs of all placed jobs together.
    pub n_runs: usize,
}

/// Energy of a site, watt-slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SiteEnergy {
    /// From the grid.
    pub grid: i64,
    /// From green power.
    pub green: i64,
    /// Green power that nobody used.
    pub unused: i64,
}

/// The report of a schedule that keeps the rules.
#[must_use]
pub fn report(problem: &Problem, schedule: &Schedule) -> Report {
    let mut load = vec![vec![0_i64; problem.n_slots]; problem.sites.len()];
    let mut report = Report::default();
    for (job, assignment) in problem.jobs.iter().zip(&schedule.assignments) {
        let Some(assignment) = assignment else {
            continue;
        };
        report.n_placed += 1;
        report.wait_slots += assignment.start().saturating_sub(job.release);
        let slots = assignment.end().saturating_sub(job.release);
        report.delay_slots += slots.saturating_sub(job.duration);
        report.n_runs += assignment.runs.len();
        let choice = &job.choices[assignment.choice];
        let load = &mut load[problem.site_of(choice)];
        for run in &assignment.runs {
            let watts = i64::from(choice.watts) * i64::try_from(run.units).unwrap_or(i64::MAX);
            for load in &mut load[run.start..run.end()] {
                *load += watts;
            }
        }
    }
    report.sites = problem
        .sites
        .iter()
        .zip(&load)
        .map(|(site, load)| {
            let mut energy = SiteEnergy::default();
            for (&load, &green) in load.iter().zip(&site.green_w) {
                let used = load.min(i64::from(green));
                energy.green += used;
                energy.grid += load - used;
                energy.unused += i64::from(green) - used;
            }
            energy
        })
        .collect();
    report
}
