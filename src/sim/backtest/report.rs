//! Three runs of one scenario side by side: the controller, run-now, and the controller with perfect forecasts.
//!
//! Holds nothing but what the scenario and its runs say: no time of day, no host, no version of the report itself changes
//! it.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use serde::Serialize;

use crate::{
    domain::forecast::{Band, ForecastId, ForecastIssue, ForecastProduct},
    limits,
    slot::{Slot, SlotRange},
    units::share_permille,
};

use super::{
    BacktestError, Progress,
    drive::{Counters, Driven, Foresight, drive},
    execution::Verdict,
    run_now::run_now,
    scenario::{LeftOut, Scenario, TimedIssue},
    score::{Score, Totals, Violations, score},
    tally::{JobTally, by_hour, by_job},
};

/// Who decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Policy {
    /// The controller with the scenario's forecasts.
    Lancang,
    /// Every job at once at the nearest site with room.
    RunNow,
    /// The controller with the metered power as its forecast.
    PerfectForecast,
}

/// The three runs of a scenario.
#[derive(Debug, Clone)]
pub struct Report<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// The controller.
    pub lancang: PolicyRun,
    /// The baseline.
    pub run_now: PolicyRun,
    /// The controller with perfect forecasts.
    pub perfect: PolicyRun,
}

/// One run with its score.
#[derive(Debug, Clone)]
pub struct PolicyRun {
    /// In figures.
    pub figures: PolicyReport,
    /// What ran.
    pub driven: Driven,
    /// What it was worth, slot by slot.
    pub score: Score,
    pub(super) jobs: Vec<JobTally>,
}

/// One run in figures.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PolicyReport {
    /// Energy, carbon and cost of all sites.
    pub totals: Totals,
    /// Green part of the energy, thousandths, rounded down.
    pub green_share_permille: u32,
    /// What became of the jobs.
    pub jobs: JobCounts,
    /// Jobs that ended after their deadline, by reason.
    pub late_by_reason: BTreeMap<String, u64>,
    /// Jobs refused at submission, by the last hurdle.
    pub refused_by_reason: BTreeMap<String, u64>,
    /// Jobs accepted that never came to their end, by reason.
    pub lost_by_reason: BTreeMap<String, u64>,
    /// Mean of end minus submission minus runtime over finished jobs, seconds.
    pub mean_delay_seconds: u64,
    /// Bounds that were broken.
    pub violations: Violations,
    /// What the controller did.
    pub counters: Counters,
    /// Energy, carbon and cost by site.
    pub by_site: BTreeMap<String, Totals>,
    /// Green share of the energy by hour of the civil day, thousandths.
    pub green_share_by_hour_permille: [u32; 24],
}

/// What became of the jobs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
pub struct JobCounts {
    /// All jobs of the scenario.
    pub submitted: u64,
    /// Came to their end.
    pub finished: u64,
    /// Of these after their deadline.
    pub late: u64,
    /// Refused at submission.
    pub refused: u64,
    /// Accepted, and never came to their end.
    pub lost: u64,
}

/// How the runs compare.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Comparison {
    /// Grid energy saved against run-now, thousandths of run-now's.
    pub grid_energy_saved_permille: i64,
    /// Carbon by contract saved against run-now, thousandths.
    pub carbon_contract_saved_permille: i64,
    /// Cost saved against run-now, thousandths.
    pub cost_saved_permille: i64,
    /// Grid energy above that with perfect forecasts, watt-seconds.
    pub regret_grid_watt_seconds: i64,
    /// The same in thousandths of all energy.
    pub regret_permille_of_energy: i64,
}

/// `report.json`.
#[derive(Debug, Serialize)]
pub(super) struct Document<'a> {
    scenario: &'a str,
    start: String,
    end: String,
    slot_seconds: u32,
    sites: usize,
    jobs: usize,
    jobs_left_out: LeftOut,
    forecast_issues: usize,
    outages: usize,
    comparison: Comparison,
    lancang: &'a PolicyReport,
    run_now: &'a PolicyReport,
    perfect_forecast: &'a PolicyReport,
}

/// Runs all three, two of them at a time.
pub(super) fn run<'a>(
    scenario: &'a Scenario,
    progress: &Progress<'_>,
) -> Result<Report<'a>, BacktestError> {
    let passed = AtomicU64::new(0);
    let total = 3 * u64::from(scenario.range.len());
    let tell = || progress(passed.fetch_add(1, Ordering::Relaxed) + 1, total);
    let (lancang, perfect) = std::thread::scope(|scope| {
        let perfect = scope.spawn(|| run_policy(scenario, Policy::PerfectForecast, &tell));
        let lancang = run_policy(scenario, Policy::Lancang, &tell);
        let perfect = perfect
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        (lancang, perfect)
    });
    Ok(Report {
        scenario,
        lancang: lancang?,
        run_now: run_policy(scenario, Policy::RunNow, &tell)?,
        perfect: perfect?,
    })
}

/// Runs the scenario under one policy and scores it; `tell` is called with each slot that has passed.
///
/// # Errors
/// When the controller fails, which no scenario can make it do.
pub fn run_policy(
    scenario: &Scenario,
    policy: Policy,
    tell: &(dyn Fn() + Sync),
) -> Result<PolicyRun, BacktestError> {
    let driven = match policy {
        Policy::RunNow => run_now(scenario, tell),
        Policy::Lancang => {
            let foresight = Foresight {
                issues: &scenario.forecasts,
                stale_after_ms: scenario.stale_after_ms,
            };
            drive(scenario, foresight, tell)?
        }
        Policy::PerfectForecast => {
            let foresight = Foresight {
                issues: &perfect_issues(scenario),
                // Truth does not age.
                stale_after_ms: 365 * 86_400_000,
            };
            drive(scenario, foresight, tell)?
        }
    };
    let score = score(scenario, &driven.executed);
    let jobs = by_job(scenario, &driven.executed, &score);
    Ok(PolicyRun {
        figures: figures(scenario, &driven, &score),
        driven,
        score,
        jobs,
    })
}

/// The metered power as forecasts, issued so often that each covers all that the controller looks ahead, as far as a
/// series may reach.
fn perfect_issues(scenario: &Scenario) -> Vec<TimedIssue> {
    let per_day = scenario.grid.slots_per_day();
    let series_max = u32::try_from(limits::SERIES_SLOTS_MAX).unwrap_or(u32::MAX);
    let every = series_max
        .saturating_sub(scenario.horizon_slots)
        .clamp(per_day, 7 * per_day);
    let covered = (every + scenario.horizon_slots)
        .min(series_max)
        .min(28 * per_day);
    let mut issues = Vec::new();
    let mut start = scenario.range.start;
    while start < scenario.range.end {
        let range = SlotRange::new(start, start.plus(covered)).intersect(scenario.range);
        for (supply, watts) in &scenario.actuals {
            let issued_at = scenario.grid.start_of(start);
            let id = ForecastId {
                supply: supply.clone(),
                issued_at,
                product: ForecastProduct::DayAhead,
            };
            let bands = index_range(range, scenario.range.start).map(|i| Band {
                p10_watts: watts[i],
                p50_watts: watts[i],
                p90_watts: watts[i],
            });
            issues.push(TimedIssue {
                arrives_at: issued_at,
                slots_per_step: 1,
                issue: ForecastIssue {
                    id,
                    range,
                    bands: bands.collect::<Arc<[Band]>>(),
                },
            });
        }
        start = start.plus(every);
    }
    issues
}

fn index_range(range: SlotRange, first: Slot) -> std::ops::Range<usize> {
    let index = |slot: Slot| usize::try_from(slot.0 - first.0).unwrap_or(usize::MAX);
    index(range.start)..index(range.end)
}

fn figures(scenario: &Scenario, driven: &Driven, score: &Score) -> PolicyReport {
    let mut report = PolicyReport {
        totals: score.totals,
        green_share_permille: share_permille(
            score.totals.green(),
            score.totals.energy_watt_seconds,
        ),
        jobs: JobCounts {
            submitted: u64::try_from(scenario.jobs.len()).unwrap_or(u64::MAX),
            ..JobCounts::default()
        },
        late_by_reason: BTreeMap::new(),
        refused_by_reason: BTreeMap::new(),
        lost_by_reason: BTreeMap::new(),
        mean_delay_seconds: 0,
        violations: score.violations,
        counters: driven.counters,
        by_site: scenario
            .sites
            .iter()
            .zip(&score.sites)
            .map(|(site, scored)| (site.id.to_string(), scored.totals))
            .collect(),
        green_share_by_hour_permille: by_hour(scenario, score).map(|(green, all)| {
            if all == 0 {
                0
            } else {
                share_permille(green, all)
            }
        }),
    };
    let mut delay_ms: u64 = 0;
    for (job, outcome) in scenario.jobs.iter().zip(&driven.outcomes) {
        match &outcome.verdict {
            Verdict::Finished(end) => {
                report.jobs.finished += 1;
                let end = scenario.grid.start_of(*end);
                let slot_ms = i64::from(scenario.grid.slot_seconds()) * 1_000;
                let ran_ms = i64::from(job.actual_slots) * slot_ms;
                let waited = end.0 - job.submit.0 - ran_ms;
                delay_ms += u64::try_from(waited).unwrap_or(0);
                if job.spec.timing.finish_deadline.is_some_and(|by| end > by) {
                    report.jobs.late += 1;
                    count(&mut report.late_by_reason, late_reason(outcome.stops));
                }
            }
            Verdict::Refused(why) => {
                report.jobs.refused += 1;
                count(&mut report.refused_by_reason, why);
            }
            Verdict::Lost(why) => {
                report.jobs.lost += 1;
                count(&mut report.lost_by_reason, why);
            }
        }
    }
    report.mean_delay_seconds = (delay_ms / 1_000)
        .checked_div(report.jobs.finished)
        .unwrap_or(0);
    report
}

/// Why a job ended after its deadline.
pub(super) fn late_reason(stops: u32) -> &'static str {
    if stops > 0 {
        "stopped by an outage"
    } else {
        "ran longer than it said"
    }
}

fn count(counts: &mut BTreeMap<String, u64>, reason: &str) {
    *counts.entry(reason.to_owned()).or_insert(0) += 1;
}

impl Report<'_> {
    /// How the runs compare.
    #[must_use]
    pub fn comparison(&self) -> Comparison {
        let [ours, now, perfect] =
            [&self.lancang, &self.run_now, &self.perfect].map(|run| &run.figures.totals);
        let regret = difference(ours.grid_watt_seconds, perfect.grid_watt_seconds);
        Comparison {
            grid_energy_saved_permille: saved(ours.grid_watt_seconds, now.grid_watt_seconds),
            carbon_contract_saved_permille: saved(ours.carbon_contract_mg, now.carbon_contract_mg),
            cost_saved_permille: saved(ours.cost_micro_cny, now.cost_micro_cny),
            regret_grid_watt_seconds: i64::try_from(regret).unwrap_or(i64::MAX),
            regret_permille_of_energy: permille(regret, ours.energy_watt_seconds),
        }
    }

    pub(super) fn document(&self) -> Document<'_> {
        let scenario = self.scenario;
        Document {
            scenario: &scenario.name,
            start: scenario.written(scenario.grid.start_of(scenario.range.start)),
            end: scenario.written(scenario.grid.start_of(scenario.range.end)),
            slot_seconds: scenario.grid.slot_seconds(),
            sites: scenario.sites.len(),
            jobs: scenario.jobs.len(),
            jobs_left_out: scenario.left_out,
            forecast_issues: scenario.forecasts.len(),
            outages: scenario.outages.len(),
            comparison: self.comparison(),
            lancang: &self.lancang.figures,
            run_now: &self.run_now.figures,
            perfect_forecast: &self.perfect.figures,
        }
    }
}

fn difference(a: u64, b: u64) -> i128 {
    i128::from(a) - i128::from(b)
}

/// How much less `ours` is than `theirs`, in thousandths of `theirs`; 0 of nothing.
fn saved(ours: u64, theirs: u64) -> i64 {
    permille(difference(theirs, ours), theirs)
}

fn permille(part: i128, whole: u64) -> i64 {
    let share = (part * 1_000).checked_div(i128::from(whole)).unwrap_or(0);
    i64::try_from(share).unwrap_or(i64::MAX)
}
