//! (c) Let's Wait Awhile's machine-learning jobs: 3,387 jobs over 2020 on the grids of Germany, France and Great Britain.
//!
//! The job set is not shipped; it is drawn again as the paper's artifact draws it, and the savings must be the published
//! ones.

use std::{collections::BTreeMap, path::Path, time::Instant};

use lancang::{
    sim::{
        policies::Rule,
        policy::{simulate, without_jobs},
    },
    solver::{Choice, Class, Job, Pool, Problem, Schedule, Site},
};

use crate::{
    Outcome, data,
    numpy::Rng,
    ours,
    table::{judged, markdown},
};

const N_JOBS: usize = 3387;
/// Slots of half an hour.
const DAY: usize = 48;
const WORK_BEGINS: usize = 18;
const WORK_ENDS: usize = 34;
const N_DAYS: usize = 366;
/// 2020-01-01 was a Wednesday; Monday is 0.
const FIRST_WEEKDAY: usize = 2;
/// Durations are drawn from 4 h to 89.5 h in steps of half an hour.
const SHORTEST: usize = 8;
const N_DURATIONS: u32 = 172;
const UNLIMITED: i32 = 1_000_000_000;
/// Seconds of the offline method where room is scarce.
const PLAN_SECONDS: u64 = 3;
/// Jobs that run at once where room is scarce; on average 17.7 want to.
const ROOM: i32 = 40;
const CUTTABLE: Class = Class::Interruptible {
    min_chunk: 1,
    resume: 0,
};

/// When a job has to be done.
#[derive(Clone, Copy)]
enum Due {
    /// One slot after the earliest end: the baseline of the artifact compares two starts.
    AtOnce,
    /// By nine on the next workday, if it would end outside working hours.
    NextWorkday,
    /// By nine on the next Monday or Thursday.
    SemiWeekly,
}

impl Due {
    /// Slots of slack after the earliest end.
    fn slack(self, end: usize) -> usize {
        let (weekday, time) = ((end / DAY + FIRST_WEEKDAY) % 7, end % DAY);
        let until_nine = |days: usize| (days * DAY + WORK_BEGINS).saturating_sub(time);
        match self {
            Self::AtOnce => 0,
            Self::NextWorkday => match weekday {
                5 => until_nine(2),
                6 => until_nine(1),
                _ if WORK_ENDS < time => until_nine(1),
                _ => until_nine(0),
            },
            Self::SemiWeekly => {
                let is_after_nine = WORK_BEGINS < time;
                let to_thursday = match weekday {
                    0 => is_after_nine,
                    1 | 2 => true,
                    3 => !is_after_nine,
                    _ => false,
                };
                let target = if to_thursday { 3 } else { 7 };
                until_nine((target - weekday) % 7)
            }
        }
    }
}

/// Published savings in %, whole and interruptible, without forecast error.
const PUBLISHED: [(&str, &str, Due, [f64; 2]); 6] = [
    ("DE", "next workday", Due::NextWorkday, [5.93, 8.16]),
    ("DE", "semi-weekly", Due::SemiWeekly, [14.13, 18.50]),
    ("GB", "next workday", Due::NextWorkday, [6.57, 9.23]),
    ("GB", "semi-weekly", Due::SemiWeekly, [14.75, 20.00]),
    ("FR", "next workday", Due::NextWorkday, [4.79, 6.22]),
    ("FR", "semi-weekly", Due::SemiWeekly, [11.15, 13.86]),
];

const TEXT: &str = "## (c) Let's Wait Awhile: machine-learning jobs

3,387 jobs of 4 h to 89.5 h over 2020, 1 W each, one node without limits, known intensity in slots of 30 minutes.
The job set is drawn as the artifact does (numpy's generator with seed 0, reproduced bit by bit).
Saving of carbon in % against running at once; published: the artifact run without forecast error, of which the paper's figures at 5 % error differ by at most 0.3 points.
Where nothing is scarce, the cheapest slots of each job alone are the optimum: ours can equal it and not be better.
";

const SCARCE: &str = "
The same with room for 40 jobs at once (17.7 run on average), semi-weekly windows: saving of carbon by unit of work done, in %, / missed jobs.
";

/// The tables by country and window.
pub(crate) fn section(dir: &Path) -> Outcome<String> {
    let jobs = draw();
    let mut rows = vec![
        [
            "country",
            "window",
            "class",
            "artifact **(published)**",
            "`wait-awhile`",
            "**`lancang`, online**",
            "ours, jobs/s",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    let mut weights = BTreeMap::new();
    for (country, window, due, published) in PUBLISHED {
        if !weights.contains_key(country) {
            weights.insert(country, half_hours(dir, country)?);
        }
        let weights = &weights[country];
        let now = carbon(
            weights,
            &jobs,
            Due::AtOnce,
            &Class::Rigid,
            &peer(Rule::WaitAwhile),
        )?;
        let whole = ("whole", Class::Rigid);
        for ((name, class), published) in [whole, ("interruptible", CUTTABLE)]
            .into_iter()
            .zip(published)
        {
            let saved = |carbon: i64| 100.0 * (1.0 - carbon as f64 / now as f64);
            let theirs = carbon(weights, &jobs, due, &class, &peer(Rule::WaitAwhile))?;
            let begun = Instant::now();
            let ours = carbon(weights, &jobs, due, &class, &ours::online)?;
            let per_second = N_JOBS as f64 / begun.elapsed().as_secs_f64();
            let theirs = saved(theirs);
            if 0.006 < (theirs - published).abs() {
                let found = format!("{country}, {window}, {name}: {theirs:.2} %");
                return Err(format!("{found} here, {published} published").into());
            }
            rows.push(vec![
                country.to_owned(),
                window.to_owned(),
                name.to_owned(),
                format!("{published:.2}"),
                format!("{theirs:.2}"),
                format!("{:.2}", saved(ours)),
                format!("{per_second:.0}"),
            ]);
        }
    }
    let mut text = format!("{TEXT}\n{}", markdown(&rows));
    text.push_str(&scarce(dir, &jobs)?);
    Ok(text)
}

/// The same jobs where few can run at once.
fn scarce(dir: &Path, jobs: &[(usize, usize)]) -> Outcome<String> {
    let mut rows = vec![
        [
            "country",
            "class",
            "`run-now`",
            "`wait-awhile`",
            "`threshold`",
            "**`lancang`, online**",
            "**`lancang plan`, offline**",
        ]
        .map(str::to_owned)
        .to_vec(),
    ];
    for country in ["DE", "GB", "FR"] {
        let weights = half_hours(dir, country)?;
        let at_once = carbon(
            &weights,
            jobs,
            Due::AtOnce,
            &Class::Rigid,
            &peer(Rule::WaitAwhile),
        )?;
        for (name, class) in [("whole", Class::Rigid), ("interruptible", CUTTABLE)] {
            let problem = problem(&weights, jobs, Due::SemiWeekly, &class, ROOM);
            let mut row = vec![country.to_owned(), name.to_owned()];
            let methods = [
                peer(Rule::RunNow)(&problem),
                peer(Rule::WaitAwhile)(&problem),
                peer(Rule::Threshold)(&problem),
                ours::online(&problem),
                ours::offline(&problem, PLAN_SECONDS),
            ];
            for schedule in methods {
                let score = judged("wait-awhile", &problem, &schedule)?;
                let energy: usize = jobs.iter().map(|(_, duration)| duration).sum();
                let intensity = score.weighted as f64 / score.total() as f64;
                let saved = 100.0 * (1.0 - intensity * energy as f64 / at_once as f64);
                row.push(format!("{saved:.2} / {}", score.n_missed));
            }
            rows.push(row);
        }
    }
    Ok(format!("{SCARCE}\n{}", markdown(&rows)))
}

fn peer(rule: Rule) -> impl Fn(&Problem) -> Schedule {
    move |problem| {
        let policy = rule.policy(&without_jobs(problem));
        simulate(problem, policy, &mut |_| ())
    }
}

fn carbon(
    weights: &[i32],
    jobs: &[(usize, usize)],
    due: Due,
    class: &Class,
    run: &dyn Fn(&Problem) -> Schedule,
) -> Outcome<i64> {
    let problem = problem(weights, jobs, due, class, UNLIMITED);
    let schedule = run(&problem);
    let score = judged("wait-awhile", &problem, &schedule)?;
    if score.n_missed > 0 {
        return Err(format!("{} jobs missed", score.n_missed).into());
    }
    Ok(score.weighted)
}

/// Arrival and duration of each job in slots.
fn draw() -> Vec<(usize, usize)> {
    let mut rng = Rng::seed_0();
    let workdays: Vec<usize> = (0..N_DAYS)
        .filter(|day| (day + FIRST_WEEKDAY) % 7 < 5)
        .collect();
    let counts = rng.multinomial(N_JOBS, workdays.len());
    let mut arrivals = Vec::with_capacity(N_JOBS);
    for (day, count) in workdays.into_iter().zip(counts) {
        let mut starts: Vec<usize> = (0..count)
            .map(|_| day * DAY + WORK_BEGINS + draw_below(&mut rng, 16))
            .collect();
        starts.sort_unstable();
        arrivals.extend(starts);
    }
    arrivals
        .into_iter()
        .map(|arrival| (arrival, SHORTEST + draw_below(&mut rng, N_DURATIONS)))
        .collect()
}

fn draw_below(rng: &mut Rng, n: u32) -> usize {
    usize::try_from(rng.below(n)).unwrap_or(0)
}

/// Hundredths of a gram a kWh from 2020-01-01 on.
fn half_hours(dir: &Path, country: &str) -> Outcome<Vec<i32>> {
    let step = if country == "DE" { 15 } else { 30 };
    let path = dir.join(format!("carbon/lwa_{country}_ci_2020_{step}min.csv.gz"));
    let rows = data::columns(&path, ["Time", "Carbon Intensity"])?;
    rows.iter()
        .filter(|[time, _]| "2020" <= time.as_str() && is_half_hour(time))
        .map(|[_, value]| Ok(data::rounded(data::number(value)? * 100.0)))
        .collect()
}

fn is_half_hour(time: &str) -> bool {
    time.ends_with(":00:00") || time.ends_with(":30:00")
}

/// At most `room` jobs run at once.
fn problem(
    weights: &[i32],
    jobs: &[(usize, usize)],
    due: Due,
    class: &Class,
    room: i32,
) -> Problem {
    let job = |(id, &(arrival, duration)): (u32, &(usize, usize))| {
        let end = arrival + duration;
        Job {
            id,
            arrival,
            release: arrival,
            // The artifact's window holds one slot more than the work and the slack.
            deadline: (end + due.slack(end) + 1).min(weights.len()),
            duration,
            class: class.clone(),
            choices: [Choice {
                pool: 0,
                need: [1, 0, 0],
                watts: 1,
            }]
            .into(),
            stage_in: None,
            miss_penalty: 1 << 50,
            delay_price: 0,
        }
    };
    Problem {
        name: "wait-awhile".into(),
        slot_minutes: 30,
        n_slots: weights.len(),
        sites: vec![Site {
            id: "node".into(),
            power_cap_w: room,
            green_w: vec![0; weights.len()],
            weight: weights.to_vec(),
        }],
        pools: vec![Pool {
            site: 0,
            capacity: [room, 0, 0],
        }],
        links: Vec::new(),
        jobs: (0..).zip(jobs).map(job).collect(),
    }
}
