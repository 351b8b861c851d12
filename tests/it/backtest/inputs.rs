//! What is wrong with a scenario is said with file, line, column and reason, all of it, and nothing is run.

use std::{fs, io::Write as _, path::Path};

use flate2::{Compression, write::GzEncoder};
use lancang::sim::backtest::{BacktestError, Scenario};

use super::Files;

/// The problems of a scenario with one text replaced in one file.
#[track_caller]
pub(crate) fn problems(change: impl Fn(&mut Files)) -> Vec<String> {
    let mut files = Files::new();
    change(&mut files);
    match files.try_load() {
        Err(BacktestError::Scenario(problems)) => problems,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
pub(crate) fn says(problems: &[String], expected: &str) {
    assert!(
        problems.iter().any(|problem| problem.contains(expected)),
        "{expected}: {problems:#?}"
    );
}

/// Replaces a text that must be there.
#[track_caller]
pub(crate) fn swap(text: &mut String, from: &str, to: &str) {
    assert!(text.contains(from), "{from}");
    *text = text.replacen(from, to, 1);
}

#[test]
fn the_scenario_of_these_tests_is_sound() {
    let scenario = Files::new().load();
    assert_eq!((scenario.jobs.len(), scenario.sites.len()), (1, 2));
    assert_eq!(scenario.forecasts.len(), 4);
    assert_eq!(scenario.range.len(), 48);
}

#[test]
fn every_scenario_of_the_repository_is_sound() {
    let scenarios = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
    let mut names = Vec::new();
    for entry in fs::read_dir(scenarios).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.push(Scenario::load(&path).unwrap().name);
        }
    }
    names.sort();
    assert_eq!(names, ["yunnan-dry-week", "yunnan-week-ahead-only"]);
}

/// The file that is changed.
type Pick = fn(&mut Files) -> &mut String;

/// A file, a text in it, what stands there instead, and what is said of it.
const CASES: &[(Pick, &str, &str, &str)] = &[
    (
        actuals,
        "2025-03-01T02:00:00+08:00,1000,0",
        "2025-03-01T02:00:00+08:00,-1,0",
        "actuals.csv:4: column alpha_hydro: `-1` is no whole number of kW",
    ),
    (
        actuals,
        "2025-03-01T02:00:00+08:00,1000,0",
        "2025-03-01T02:00:00+08:00,NaN,0",
        "actuals.csv:4: column alpha_hydro: `NaN` is no whole number of kW",
    ),
    (
        actuals,
        "2025-03-01T02:00:00+08:00,1000,0",
        "2025-03-01T02:00:00+08:00,9000,0",
        "actuals.csv:4: column alpha_hydro: `9000` is above the 2000 kW of alpha/hydro",
    ),
    (
        actuals,
        "2025-03-01T02:00:00+08:00,1000,0",
        "2025-03-01T03:00:00+08:00,1000,0",
        "actuals.csv:4: column ts: does not follow",
    ),
    (
        actuals,
        "2025-03-01T02:00:00+08:00,1000,0",
        "2025-03-01T01:00:00+08:00,1000,0",
        "actuals.csv:4: column ts: does not follow",
    ),
    (
        actuals,
        "T02:00:00",
        "T02:10:00",
        "actuals.csv:4: column ts: is not the start of a slot",
    ),
    (
        actuals,
        "beta_hydro",
        "gamma_hydro",
        "actuals.csv:1: column gamma_hydro: no site has a supply `gamma/hydro`",
    ),
    (
        forecasts,
        "DA,alpha/hydro",
        "DX,alpha/hydro",
        "forecasts.csv:2: column product: `DX` is none of DA, ID, WA",
    ),
    (
        forecasts,
        "alpha/hydro",
        "alpha/tidal",
        "forecasts.csv:2: column supply: `alpha/tidal` no site has a supply",
    ),
    (
        forecasts,
        "1000,1000,1000",
        "1000,900,1000",
        "forecasts.csv:2: column p50_kw: p10 <= p50 <= p90 does not hold",
    ),
    (
        forecasts,
        "2025-03-01T02:00:00",
        "2025-03-01T03:00:00",
        "forecasts.csv:6: column valid_at: slots of an issue follow each other",
    ),
    (
        jobs,
        "one,2025-03-01T08",
        "one,2025-03-01T21",
        "jobs.csv:2: column deadline: is before submit",
    ),
    (
        jobs,
        ",8,",
        ",-8,",
        "jobs.csv:2: column cores: `-8` is no whole number",
    ),
    (
        jobs,
        ",3600,",
        ",NaN,",
        "jobs.csv:2: column runtime_s: `NaN` is no whole number of seconds",
    ),
    (jobs, ",3600,", ",0,", "jobs.csv:2: timing.runtime"),
    (jobs, "one,", "o n e,", "jobs.csv:2: name"),
    (
        jobs,
        "power_w",
        "power_kw",
        "jobs.csv:1: column power_w is missing",
    ),
    (
        latencies,
        "beta,hanoi,VN,20",
        "beta,hanoi,VN,fast",
        "latencies.csv:3: column rtt_leased_ms",
    ),
    (
        latencies,
        "beta,",
        "gamma,",
        "latencies.csv: column site: `gamma` is no site",
    ),
    (sites, "it_mw = 2.0", "it_mw = -2.0", "sites.toml: alpha"),
    (sites, "it_mw = 2.0", "it_mw = ", "sites.toml:"),
    (
        sites,
        "grid_limit_mw = 3.0",
        "grid_limit_mw = 1.0",
        "sites.toml: alpha: power_cap_watts",
    ),
    (
        actuals,
        "2025-03-01T02:00:00+08:00,1000,0",
        "2025-03-01T02:00:00+08:00,1000",
        "actuals.csv:4: has 2 cells, the header has 3",
    ),
    (
        forecasts,
        "1000,1000,1000",
        "1000,NaN,1000",
        "forecasts.csv:2: column p50_kw: `NaN` is no whole number of kW",
    ),
    (
        forecasts,
        "1000,1000,1000",
        "-1,1000,1000",
        "forecasts.csv:2: column p10_kw: `-1` is no whole number of kW",
    ),
    (
        forecasts,
        "2025-03-01T02:00:00",
        "2025-03-01T01:00:00",
        "forecasts.csv:6: column valid_at: slots of an issue follow each other",
    ),
    (
        jobs,
        "power_w,runtime_s,deadline\none,2025-03-01T08:00:00+08:00,8,800000,3600,",
        "power_w,runtime_s,earliest,deadline\none,2025-03-01T08:00:00+08:00,8,800000,3600,2025-03-01T21:00:00+08:00,",
        "jobs.csv:2: timing.finish_deadline: is at least the runtime after earliest_start",
    ),
    (
        jobs,
        "power_w,runtime_s,deadline\none,2025-03-01T08:00:00+08:00,8,800000,3600,",
        "power_w,runtime_s,site,deadline\none,2025-03-01T08:00:00+08:00,8,800000,3600,gamma,",
        "jobs.csv:2: column site: `gamma` is no site",
    ),
    (
        jobs,
        "power_w,runtime_s,deadline\none,2025-03-01T08:00:00+08:00,8,800000,3600,",
        "power_w,runtime_s,city,deadline\none,2025-03-01T08:00:00+08:00,8,800000,3600,atlantis,",
        "jobs.csv:2: column city: `atlantis` is no city of a zone",
    ),
    (
        jobs,
        "+08:00\n",
        "+08:00\none,2025-03-01T09:00:00+08:00,8,800000,3600,2025-03-01T20:00:00+08:00\n",
        "jobs.csv:3: column id: `one` is the id of line 2 already",
    ),
    (
        latencies,
        "beta,hanoi,VN,20",
        "beta,hanoi,VN,-20",
        "latencies.csv:3: column rtt_leased_ms",
    ),
    (
        latencies,
        "beta,hanoi,VN,20",
        "beta,hanoi,VN,NaN",
        "latencies.csv:3: column rtt_leased_ms",
    ),
    (sites, "lat = 25.0", "lat = nan", "sites.toml: alpha: NaN"),
    (
        sites,
        "cpu_nodes = 100",
        "cpu_nodes = -100",
        "sites.toml:16: invalid value: integer `-100`",
    ),
    (
        sites,
        "contracted_mw = 2.0",
        "contracted_mw = -2.0",
        "sites.toml: alpha: -2",
    ),
    (
        sites,
        "id = \"beta\"",
        "id = \"alpha\"",
        "sites.toml: alpha: two sites have this id",
    ),
    (
        scenario,
        "horizon_days = 2",
        "horizon_days = -2",
        "scenario.toml:6: invalid value: integer `-2`",
    ),
    (
        scenario,
        "horizon_days = 2",
        "horizon_days = nan",
        "scenario.toml:6: invalid type: floating point",
    ),
    (
        scenario,
        "[\"actuals.csv\"]",
        "[\"actuals.csv\", \"actuals.csv\"]",
        "actuals.csv:2: column ts: does not follow",
    ),
    (
        scenario,
        "slot_minutes = 60",
        "slot_minutes = 7",
        "scenario.toml:4: is none of 5, 15, 30, 60",
    ),
    (
        scenario,
        "2025-03-03T",
        "2025-02-03T",
        "scenario.toml:3: end is not after start",
    ),
    (
        scenario,
        "2025-03-03T",
        "2025-03-04T",
        "actuals.csv: covers 2025-02-28T16:00:00Z to 2025-03-02T16:00:00Z",
    ),
    (
        scenario,
        "name = ",
        "nom = ",
        "scenario.toml:1: unknown field `nom`",
    ),
    (
        scenario,
        "\"jobs.csv\"",
        "\"none.csv\"",
        "none.csv: cannot be read",
    ),
];

fn actuals(files: &mut Files) -> &mut String {
    &mut files.actuals
}

fn forecasts(files: &mut Files) -> &mut String {
    &mut files.forecasts
}

fn jobs(files: &mut Files) -> &mut String {
    &mut files.jobs
}

fn latencies(files: &mut Files) -> &mut String {
    &mut files.latencies
}

fn scenario(files: &mut Files) -> &mut String {
    &mut files.scenario
}

fn sites(files: &mut Files) -> &mut String {
    &mut files.sites
}

#[test]
fn wrong_cells_are_named_with_their_place() {
    for (pick, from, to, expected) in CASES {
        says(&problems(|files| swap(pick(files), from, to)), expected);
    }
}

#[test]
fn faults_of_unknown_sites_and_supplies_are_refused_with_their_line() {
    let outage = "[[outage]]\nsite = \"gamma\"\nfrom = \"2025-03-01T00:00:00Z\"\nuntil = \"2025-03-02T00:00:00Z\"\n";
    for (fault, expected) in [
        (outage.to_owned(), "scenario.toml:7: `gamma` is no site"),
        (
            outage.replace("gamma", "alpha").replace("03-02", "02-02"),
            "scenario.toml:7: until is not after from",
        ),
        (
            outage.replace("gamma", "alpha").repeat(2),
            "scenario.toml:11: two outages of alpha meet",
        ),
        (
            "[[missing]]\nfrom = \"2025-03-02T00:00:00Z\"\nuntil = \"2025-03-01T00:00:00Z\"\n"
                .to_owned(),
            "scenario.toml:7: until is not after from",
        ),
        (
            "[[late]]\nminutes = -5\n".to_owned(),
            "scenario.toml:8: invalid value: integer `-5`",
        ),
        (
            "[overrun]\njobs_permille = 1001\nextra_permille_max = 1\nseed = 1\n".to_owned(),
            "overrun.jobs_permille: is at most 1000",
        ),
        (
            "[[late]]\nminutes = 5\nsupply = \"alpha/wind\"\n".to_owned(),
            "scenario.toml:7: no site has a supply `alpha/wind`",
        ),
        (
            "[jobs]\ncities = [\"atlantis\"]\n".to_owned(),
            "jobs.cities: `atlantis` is no city of a zone",
        ),
    ] {
        says(&problems(|files| files.scenario.push_str(&fault)), expected);
    }
}

#[test]
fn everything_wrong_is_said_at_once_up_to_a_bound() {
    let found = problems(|files| {
        swap(&mut files.jobs, ",3600,", ",x,");
        swap(&mut files.forecasts, "DA,", "DX,");
        files.actuals = files.actuals.replace(",1000", ",-1000");
    });
    says(&found, "jobs.csv:2");
    says(&found, "forecasts.csv:2");
    says(&found, "actuals.csv:2");
    says(&found, "actuals.csv: and 28 more");
    assert!(found.len() < 30, "{found:#?}");
}

#[test]
fn what_was_cut_off_is_refused() {
    let found = problems(|files| files.jobs.truncate(files.jobs.len() - 1));
    says(&found, "jobs.csv:2: the last line has no line break");
    let found = problems(|files| files.actuals.truncate(100));
    says(&found, "actuals.csv:4: the last line has no line break");
    let found = problems(|files| files.scenario.truncate(files.scenario.len() - 9));
    says(&found, "scenario.toml:6: ");

    let directory = tempfile::tempdir().unwrap();
    let mut files = Files::new();
    swap(&mut files.scenario, "\"actuals.csv\"", "\"actuals.csv.gz\"");
    files.write(directory.path());
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(files.actuals.as_bytes()).unwrap();
    let whole = encoder.finish().unwrap();
    let path = directory.path().join("actuals.csv.gz");
    fs::write(&path, &whole).unwrap();
    Scenario::load(directory.path()).unwrap();
    fs::write(&path, &whole[..whole.len() - 9]).unwrap();
    match Scenario::load(directory.path()) {
        Err(BacktestError::Scenario(found)) => says(&found, "the gzip stream is cut off"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn two_files_must_not_say_different_things_of_one_issue() {
    let directory = tempfile::tempdir().unwrap();
    let mut files = Files::new();
    swap(
        &mut files.scenario,
        "[\"forecasts.csv\"]",
        "[\"forecasts.csv\", \"more.csv\"]",
    );
    files.write(directory.path());
    let more = directory.path().join("more.csv");
    fs::write(&more, &files.forecasts).unwrap();
    Scenario::load(directory.path()).unwrap();
    swap(&mut files.forecasts, "1000,1000,1000", "1000,1000,1001");
    fs::write(&more, &files.forecasts).unwrap();
    match Scenario::load(directory.path()) {
        Err(BacktestError::Scenario(found)) => says(
            &found,
            "files: two issues for alpha/hydro of 2025-02-28T00:00:00Z say different things",
        ),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_trace_counts_in_its_unit_and_gets_what_it_does_not_say_from_the_rules() {
    let mut files = Files::new().with(
        "[jobs]\nformat = \"trace\"\ntime_unit = \"hours\"\nslack_hours = 6\ninterruptible = true\nalone = true\n",
    );
    files.jobs = "arrival_time,length,cpus\n1.5,2.25,4\n2,1,4\n1,100,1\n".to_owned();
    let scenario = files.load();
    assert_eq!(scenario.left_out.longer_than_horizon, 1);
    let job = &scenario.jobs[0];
    let start = scenario.grid.start_of(scenario.range.start).0;
    assert_eq!(job.submit.0 - start, 5_400_000);
    assert_eq!(job.spec.timing.runtime_ms, 8_100_000);
    // From 02:00 three slots, then six hours.
    assert_eq!(
        job.spec.timing.finish_deadline.unwrap().0 - start,
        11 * 3_600_000
    );
    let homes: Vec<&str> = scenario
        .jobs
        .iter()
        .map(|job| job.spec.data_policy.allowed_sites[0].as_str())
        .collect();
    assert_eq!(homes, ["alpha", "beta"]);
}
