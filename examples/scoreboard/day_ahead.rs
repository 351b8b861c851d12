//! (f) Real day-ahead forecasts: sites on the hydro and solar power of Sweden and California, planned on each day's
//! forecast as it arrives and scored on what really came.
//!
//! Every hour the jobs known by then are planned anew on what is forecast then; what has begun stays.

use std::path::Path;

use lancang::{
    sim::{
        policies::Rule,
        policy::{simulate, without_jobs},
    },
    solver::{Assignment, Choice, Class, Job, Pool, Problem, RESOURCES, Run, Schedule, Site},
};

use crate::{
    Outcome, data, ours,
    table::{judged, markdown},
};

const DAY: usize = 24;
/// Days before the first job, from which the forecast's habits are learned.
const N_DAYS_LEARNED: usize = 28;
const N_DAYS: usize = 56;
/// Days after the last arrival, so that every job can end.
const N_DAYS_AFTER: usize = 6;
/// Every so many-th job of the trace arrives here.
const EVERY: usize = 5;
const WAIT_HOURS: [usize; 2] = [6, 24];
const WATTS_PER_CORE: i32 = 100;
const UNLIMITED: i32 = 1_000_000_000;
/// Power cap of a site by the mean need of all jobs; far from what any schedule draws.
const CAP_BY_MEAN: f64 = 20.0;
/// Rounds of each hourly plan.
const N_ROUNDS: u64 = 40;

/// A stretch of the two years: its name and its first hour of 2020-01-01T00:00Z.
const PERIODS: [(&str, usize); 3] = [
    ("May-June 2020", 121 * DAY),
    ("October-November 2020", 274 * DAY),
    ("March-April 2021", (366 + 59) * DAY),
];

const TEXT: &str = "## (f) Real day-ahead forecasts of hydro and solar

Two sites, one on the hydro power of Sweden, one on the hydro and solar power of California (hourly actual and day-ahead forecast, 2020-2021); each scaled so that green power is on average half of what all jobs need.
Every fifth job of GAIA's PAI sample, 100 W a core, at either site, waits of at most 6 h (under 2 h) and 24 h, every second one interruptible; capacities do not bind.
At midnight UTC the day's forecast arrives; later days are expected to be as the last seven. Every hour all jobs known by then that have not begun are planned anew; later jobs are not known.
Corrected: forecasts are scaled by the ratio of actual and forecast power in the 28 days before, by site and hour of the day; that is known in time.
Saving: grid energy below that of `run-now`, on actual power. Kept: share of the saving with perfect forecasts.
";

/// What is known of a day to come.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Knowledge {
    Actual,
    DayAhead,
    Corrected,
}

/// Actual and forecast green power of one site by hour, watts.
struct Supply {
    name: &'static str,
    actual: Vec<f64>,
    forecast: Vec<f64>,
}

/// The table of periods.
pub(crate) fn section(dir: &Path) -> Outcome<String> {
    let mut rows = vec![
        [
            "period",
            "method",
            "grid energy, MWh",
            "saving, MWh",
            "kept, %",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for (period, first) in PERIODS {
        let scenario = Scenario::read(dir, first)?;
        let now = scenario.peer(Rule::RunNow, Knowledge::Actual)?;
        rows.push(row(period, "`run-now`", now, None));
        for (name, rule) in [
            ("`lowest-window`", Rule::LowestWindow),
            ("`wait-awhile`", Rule::WaitAwhile),
            ("`threshold`", Rule::Threshold),
        ] {
            let perfect = scenario.peer(rule, Knowledge::Actual)?;
            let real = scenario.peer(rule, Knowledge::DayAhead)?;
            rows.push(row(
                period,
                &format!("{name}, perfect forecast"),
                perfect,
                Some((now, perfect)),
            ));
            rows.push(row(
                period,
                &format!("{name}, day-ahead forecast of all days"),
                real,
                Some((now, perfect)),
            ));
        }
        let perfect = scenario.ours(Knowledge::Actual)?;
        for (name, knowledge) in [
            ("perfect forecast", Knowledge::Actual),
            ("day-ahead forecast", Knowledge::DayAhead),
            ("day-ahead forecast, corrected", Knowledge::Corrected),
        ] {
            let name = format!("**`lancang`**, {name}");
            let grid = scenario.ours(knowledge)?;
            rows.push(row(period, &name, grid, Some((now, perfect))));
        }
    }
    Ok(format!("{TEXT}\n{}", markdown(&rows)))
}

fn row(period: &str, name: &str, grid: i64, saving: Option<(i64, i64)>) -> Vec<String> {
    let mwh = |watt_hours: i64| format!("{:.2}", watt_hours as f64 / 1e6);
    let kept = |(now, perfect): (i64, i64)| {
        format!(
            "{:.1}",
            100.0 * (now - grid) as f64 / (now - perfect).max(1) as f64
        )
    };
    let dash = || "-".to_owned();
    vec![
        period.to_owned(),
        name.to_owned(),
        mwh(grid),
        saving.map_or_else(dash, |(now, _)| mwh(now - grid)),
        saving.map_or_else(dash, kept),
    ]
}

struct Scenario {
    /// Actual green power from the first arrival on.
    problem: Problem,
    /// With `N_DAYS_LEARNED` days before the first arrival.
    supplies: Vec<Supply>,
}

impl Scenario {
    fn read(dir: &Path, first: usize) -> Outcome<Self> {
        let n_slots = (N_DAYS + N_DAYS_AFTER) * DAY;
        let jobs = jobs(dir, first, n_slots)?;
        let energy: f64 = jobs
            .iter()
            .map(|job| watts(job) * job.duration as f64)
            .sum();
        let mean = energy / (N_DAYS * DAY) as f64;
        let rows = first - N_DAYS_LEARNED * DAY..first + n_slots;
        let mut supplies = Vec::new();
        for (name, file, kinds) in [
            ("Sweden", "SE", &["hydro"] as &[_]),
            ("California", "CISO", &["hydro", "solar"]),
        ] {
            let path =
                format!("renewables/dacf_{file}_2020-2021_hourly_actual_and_dayahead.csv.gz");
            let mut supply = Supply {
                name,
                actual: vec![0.0; rows.len()],
                forecast: vec![0.0; rows.len()],
            };
            for kind in kinds {
                let forecast = format!("avg_{kind}_production_forecast");
                let read = data::columns(&dir.join(&path), [*kind, &forecast])?;
                for (i, [actual, forecast]) in read[rows.clone()].iter().enumerate() {
                    supply.actual[i] += data::number(actual)?;
                    supply.forecast[i] += data::number(forecast)?;
                }
            }
            // Half of the need is green, shared by the two sites.
            let total: f64 = supply.actual.iter().sum();
            let scale = 0.25 * mean * rows.len() as f64 / total;
            for power in supply.actual.iter_mut().chain(&mut supply.forecast) {
                *power *= scale;
            }
            supplies.push(supply);
        }
        let site = |supply: &Supply| Site {
            id: supply.name.into(),
            power_cap_w: data::rounded(mean * CAP_BY_MEAN),
            green_w: supply.actual[N_DAYS_LEARNED * DAY..]
                .iter()
                .map(|&power| data::rounded(power))
                .collect(),
            weight: vec![1000; n_slots],
        };
        let pool = |site| Pool {
            site,
            capacity: [UNLIMITED; RESOURCES],
        };
        Ok(Self {
            problem: Problem {
                name: "day-ahead".into(),
                slot_minutes: 60,
                n_slots,
                sites: supplies.iter().map(site).collect(),
                pools: (0..supplies.len()).map(pool).collect(),
                links: Vec::new(),
                jobs,
            },
            supplies,
        })
    }

    /// Grid energy of a peer that is told the forecasts of all days in advance, watt-hours.
    fn peer(&self, rule: Rule, knowledge: Knowledge) -> Outcome<i64> {
        let mut told = without_jobs(&self.problem);
        if knowledge == Knowledge::DayAhead {
            for (site, supply) in told.sites.iter_mut().zip(&self.supplies) {
                let forecast = &supply.forecast[N_DAYS_LEARNED * DAY..];
                site.green_w = forecast.iter().map(|&power| data::rounded(power)).collect();
            }
        }
        let schedule = simulate(&self.problem, rule.policy(&told), &mut |_| ());
        self.grid("peer", &schedule)
    }

    fn grid(&self, name: &str, schedule: &Schedule) -> Outcome<i64> {
        let score = judged(name, &self.problem, schedule)?;
        if score.n_missed > 0 {
            return Err(format!("{name}: {} jobs missed", score.n_missed).into());
        }
        Ok(score.grid)
    }

    /// Grid energy of our plans, made anew every hour, watt-hours.
    fn ours(&self, knowledge: Knowledge) -> Outcome<i64> {
        let mut book = Book::new(&self.problem);
        let mut green = Vec::new();
        for now in 0..self.problem.n_slots {
            if now % DAY == 0 {
                green = self.expected(now, knowledge);
            }
            book.jobs_arrive(&self.problem, now);
            let open = book.open_problem(&self.problem, &green, now);
            if open.problem.jobs.is_empty() {
                continue;
            }
            let plan = ours::with_rounds(&open.problem, N_ROUNDS);
            book.carry_out(&self.problem, &open, &plan, now);
        }
        self.grid("lancang", &book.schedule())
    }

    /// Green power from a midnight on, by site and slot, as expected then.
    fn expected(&self, now: usize, knowledge: Knowledge) -> Vec<Vec<i32>> {
        let expected = self.supplies.iter().map(|supply| {
            let today = N_DAYS_LEARNED * DAY + now;
            (today..supply.actual.len())
                .map(|t| {
                    let hour = t % DAY;
                    let past =
                        |n_days: usize| (1..=n_days).map(move |day| today - day * DAY + hour);
                    let power = if knowledge == Knowledge::Actual {
                        supply.actual[t]
                    } else if today + DAY <= t {
                        past(7).map(|t| supply.actual[t]).sum::<f64>() / 7.0
                    } else if knowledge == Knowledge::DayAhead {
                        supply.forecast[t]
                    } else {
                        let actual: f64 = past(N_DAYS_LEARNED).map(|t| supply.actual[t]).sum();
                        let forecast: f64 = past(N_DAYS_LEARNED).map(|t| supply.forecast[t]).sum();
                        supply.forecast[t] * actual / forecast.max(1.0)
                    };
                    data::rounded(power.max(0.0))
                })
                .collect()
        });
        expected.collect()
    }
}

/// What has been done with each job.
struct Book {
    /// By job: site and slots worked.
    done: Vec<Option<(usize, Vec<usize>)>>,
    /// Jobs that have arrived and are not done.
    live: Vec<usize>,
    next: usize,
    /// Power of whole jobs that have begun, by site and slot.
    fixed: Vec<Vec<i64>>,
}

/// The jobs that a plan may still move, times counted from now on.
struct Open {
    problem: Problem,
    positions: Vec<usize>,
}

impl Book {
    fn new(problem: &Problem) -> Self {
        Self {
            done: vec![None; problem.jobs.len()],
            live: Vec::new(),
            next: 0,
            fixed: vec![vec![0; problem.n_slots]; problem.sites.len()],
        }
    }

    fn jobs_arrive(&mut self, problem: &Problem, now: usize) {
        while self.next < problem.jobs.len() && problem.jobs[self.next].arrival <= now {
            self.live.push(self.next);
            self.next += 1;
        }
    }

    /// `green` begins at the last midnight.
    fn open_problem(&self, problem: &Problem, green: &[Vec<i32>], now: usize) -> Open {
        let ends = self.live.iter().map(|&at| problem.jobs[at].deadline);
        let n_slots = ends.max().unwrap_or(now) - now;
        let hour = now % DAY;
        let site = |(s, site): (usize, &Site)| Site {
            green_w: (0..n_slots)
                .map(|t| {
                    let left = i64::from(green[s][hour + t]) - self.fixed[s][now + t];
                    i32::try_from(left.max(0)).unwrap_or(i32::MAX)
                })
                .collect(),
            weight: vec![1000; n_slots],
            ..site.clone()
        };
        let job = |&at: &usize| {
            let mut job = problem.jobs[at].clone();
            (job.arrival, job.release, job.deadline) = (0, 0, job.deadline - now);
            if let Some((pool, slots)) = &self.done[at] {
                job.duration -= slots.len();
                job.choices = job
                    .choices
                    .iter()
                    .copied()
                    .filter(|choice| choice.pool == *pool)
                    .collect();
            }
            job
        };
        Open {
            problem: Problem {
                n_slots,
                sites: problem.sites.iter().enumerate().map(site).collect(),
                jobs: self.live.iter().map(job).collect(),
                ..without_jobs(problem)
            },
            positions: self.live.clone(),
        }
    }

    /// Does what the plan says for the present slot.
    fn carry_out(&mut self, problem: &Problem, open: &Open, plan: &Schedule, now: usize) {
        for (&at, planned) in open.positions.iter().zip(&plan.assignments) {
            let Some(planned) = planned else { continue };
            if planned.start() != 0 {
                continue;
            }
            let job = &problem.jobs[at];
            let choice = planned.choice.min(job.choices.len() - 1);
            let pool = self.done[at]
                .as_ref()
                .map_or(job.choices[choice].pool, |(pool, _)| *pool);
            let n_slots = if job.class == Class::Rigid {
                job.duration
            } else {
                1
            };
            let (_, slots) = self.done[at].get_or_insert((pool, Vec::new()));
            slots.extend(now..now + n_slots);
            for load in &mut self.fixed[pool][now..now + n_slots] {
                *load += i64::from(job.choices[0].watts);
            }
        }
        let is_open = |at: &usize| {
            let worked = self.done[*at].as_ref().map_or(0, |(_, slots)| slots.len());
            worked < problem.jobs[*at].duration
        };
        self.live.retain(is_open);
    }

    fn schedule(self) -> Schedule {
        let assignment = |(pool, slots): (usize, Vec<usize>)| {
            let mut runs: Vec<Run> = Vec::new();
            for start in slots {
                match runs.last_mut() {
                    Some(run) if run.end() == start => run.len += 1,
                    _ => runs.push(Run {
                        start,
                        len: 1,
                        units: 1,
                    }),
                }
            }
            Assignment {
                choice: pool,
                stage_in: None,
                runs,
            }
        };
        Schedule {
            assignments: self
                .done
                .into_iter()
                .map(|done| done.map(assignment))
                .collect(),
        }
    }
}

fn watts(job: &Job) -> f64 {
    f64::from(job.choices[0].watts)
}

/// The jobs of the trace's days of the year that the period covers, in order of arrival.
fn jobs(dir: &Path, first: usize, n_slots: usize) -> Outcome<Vec<Job>> {
    let path = dir.join("jobs/gaia_pai-100k.csv.gz");
    let rows = data::columns(&path, ["arrival_time", "length", "cpus"])?;
    let first = first % (365 * DAY);
    let mut jobs = Vec::new();
    for [arrival, len, cores] in rows.iter().step_by(EVERY) {
        let arrival = data::floored(data::number(arrival)?);
        let duration = data::floored(data::number(len)?.ceil()).max(1);
        let wait = WAIT_HOURS[usize::from(2 <= duration)];
        let Some(arrival) = arrival.checked_sub(first).filter(|&at| at < N_DAYS * DAY) else {
            continue;
        };
        if n_slots < arrival + duration + wait {
            continue;
        }
        let id = u32::try_from(jobs.len())?;
        let watts = WATTS_PER_CORE * data::rounded(data::number(cores)?);
        let choice = |pool| Choice {
            pool,
            need: [0; RESOURCES],
            watts,
        };
        jobs.push(Job {
            id,
            arrival,
            release: arrival,
            deadline: arrival + duration + wait,
            duration,
            class: if id % 2 == 0 {
                Class::Rigid
            } else {
                Class::Interruptible {
                    min_chunk: 1,
                    resume: 0,
                }
            },
            choices: (0..2).map(choice).collect(),
            stage_in: None,
            miss_penalty: 1 << 40,
            delay_price: 0,
        });
    }
    Ok(jobs)
}
