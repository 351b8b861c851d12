//! (a) The benchmark families: every policy against the certified bound of each public instance.
//!
//! The bound is recomputed here, exactly, from the integer prices that come with an instance.

use std::{path::Path, time::Instant};

use lancang::{
    sim::{
        policies::RULES,
        policy::{simulate, without_jobs},
    },
    solver::{Problem, Schedule},
};

use crate::{
    Outcome, instance, ours,
    table::{judged, markdown},
};

const INSTANCES: [&str; 8] = [
    "dry-mix-2000-s11",
    "dry-rigid-2000-s12",
    "geo-2000-s13",
    "solar-2000-s14",
    "tight-2000-s15",
    "hot-2000-s16",
    "stampede-2000-s17",
    "dry-mix-20000-s21",
];

/// Figures of the reference prototype for the same instances, offline: obj/LB, regret and missed jobs.
const REFERENCE: [&str; 8] = [
    "1.139 / 1.93 / 0",
    "1.141 / 1.49 / 0",
    "1.129 / 2.53 / 0",
    "1.115 / 2.88 / 0",
    "1.248 / 3.56 / 1",
    "1.378 / 3.84 / 1",
    "1.569 / 1.99 / 0",
    "1.033 / 0.63 / 0",
];

const TEXT: &str = "## (a) Benchmark families

One week, 672 slots of 15 minutes, 8 sites; the public instances of `bench/`.
Each cell: (weighted grid energy + penalties of missed jobs) / certified bound, then regret = (grid energy - bound) / all energy in %, then missed jobs.
The bound is the exact dual value of the given integer prices; 1.000 need not exist.
All but the offline rows decide job by job and know nothing of later jobs; forecasts are perfect.
";

/// The table of all methods and instances.
pub(crate) fn section(dir: &Path) -> Outcome<String> {
    let mut rows = vec![vec!["method".to_owned()]];
    let mut bounds = vec!["bound, kWh-eq".to_owned()];
    let mut methods: Vec<Vec<String>> = RULES
        .iter()
        .map(|(name, _)| vec![format!("`{name}`")])
        .chain([
            vec!["**`lancang`, online**".into()],
            vec!["**`lancang plan`, offline**".into()],
        ])
        .collect();
    let mut seconds = vec![0.0; methods.len()];
    for name in INSTANCES {
        let dir = dir.join("instances");
        let problem = instance::read(&dir.join(format!("{name}.json.gz")))?;
        let bound =
            instance::certified_bound(&problem, &dir.join(format!("{name}.prices.json.gz")))?;
        rows[0].push(name.to_owned());
        bounds.push(format!("{:.1}", kwh(&problem, bound)));
        let known = without_jobs(&problem);
        for (i, row) in methods.iter_mut().enumerate() {
            let begun = Instant::now();
            let schedule = match RULES.get(i) {
                Some((_, rule)) => simulate(&problem, rule.policy(&known), &mut |_| ()),
                None if i == RULES.len() => ours::online(&problem),
                None => ours::offline(&problem, seconds_allowed(&problem)),
            };
            seconds[i] += begun.elapsed().as_secs_f64();
            let method = row[0].clone();
            row.push(cell(&method, &problem, &schedule, bound)?);
        }
    }
    rows[0].push("seconds, all".to_owned());
    bounds.push(String::new());
    for (row, seconds) in methods.iter_mut().zip(seconds) {
        row.push(format!("{seconds:.2}"));
    }
    rows.push(bounds);
    rows.extend(methods);
    let mut reference = vec!["reference prototype, offline **(published)**".to_owned()];
    reference.extend(REFERENCE.map(str::to_owned));
    reference.push(String::new());
    rows.push(reference);
    Ok(format!("{TEXT}\n{}", markdown(&rows)))
}

/// Seconds of the offline method, as the wanted figures are stated.
fn seconds_allowed(problem: &Problem) -> u64 {
    if problem.jobs.len() <= 2000 { 5 } else { 10 }
}

fn kwh(problem: &Problem, weighted_watt_slots: i64) -> f64 {
    weighted_watt_slots as f64 * f64::from(problem.slot_minutes) / 60.0 / 1e6
}

fn cell(method: &str, problem: &Problem, schedule: &Schedule, bound: i64) -> Outcome<String> {
    let score = judged(method, problem, schedule)?;
    let ratio = score.objective() as f64 / bound as f64;
    let regret = 100.0 * (score.grid as f64 - bound as f64 / 1000.0) / score.total() as f64;
    Ok(format!("{ratio:.3} / {regret:.2} / {}", score.n_missed))
}
