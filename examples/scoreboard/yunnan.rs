//! (e) The Yunnan year: the real controller under a virtual clock at ten modelled sites, pooled and alone, with forecasts
//! of several worth; and weeks in which forecasts fail it.
//!
//! What a run was worth is recomputed from what ran and what was metered by the backtester's scorer, whoever decided.

use std::{
    fs::{self, File},
    io::{BufWriter, Write},
    panic::resume_unwind,
    path::Path,
    thread,
};

use jiff::{SignedDuration, Timestamp};
use lancang::sim::backtest::{BacktestError, Policy, Scenario, Verdict, run_policy};
use parquet::file::reader::{FileReader, SerializedFileReader};

use crate::{Outcome, table::markdown};

/// The repository, where the sites and the scenarios are.
const HERE: &str = env!("CARGO_MANIFEST_DIR");
const SLOT_SECONDS: u64 = 900;

const TEXT: &str = "## (e) The Yunnan year

Ten modelled sites with 582 MW of hydro, solar and wind contracts over 2025 in slots of 15 minutes, and the Azure jobs of GAIA's sample, a CPU of which stands for 400 kW, so that the jobs draw what the sites can; every job is rigid and may end a day later than if it ran at once.
The server's own controller runs under a virtual clock, as in `lancang backtest`; what it did is scored on the power that was then there.
Wet is June to October, as the market counts; energy counts where it was drawn, jobs where they were submitted.
Pooled: a job may run at any site within its round-trip budget; `run-now` takes the nearest with room, and so crowds the sites near the clients.
Alone: each job stays at one site, dealt out by the sites' power; those too large for a small site are missed.
Day-ahead: a day's forecast comes at 09:00 of the day before. Stale: it comes 24 hours later, when its day has begun. None: only the monthly profiles of the supplies are known.
All forecasts are the modelled day-ahead series of the whole year, converted from the data set's Parquet file.
Saved: grid energy below that of `run-now` in the same rows. Regret: grid energy above that with perfect forecasts, of all energy; jobs are placed one by one there too, so that it is no bound. Missed: jobs refused, late or never finished.
Runs that miss other jobs draw other energy: compare green shares then.
";

const WEEKS: &str = "
### Weeks in which forecasts fail

480 made-up jobs in the dry week of the repository, with an outage and jobs that overrun, pooled.
In `scenarios/yunnan-dry-week` a day's forecast comes on the morning before, each 20 minutes late, one never.
In `scenarios/yunnan-week-ahead-only` all seven days are forecast on the morning before the first, the second day once more on the first, and nothing comes after that: old forecasts may mislead, and a negative saving is a loss.
";

/// How jobs are bound to sites, and the entry of `[jobs]`.
const MODES: [(&str, bool); 2] = [("pooled", false), ("alone", true)];

/// Periods of the table and the seasons (dry, wet) in them.
const PERIODS: [(&str, &[usize]); 3] = [("year", &[0, 1]), ("wet", &[1]), ("dry", &[0])];

/// Months of the wet season.
const WET: std::ops::RangeInclusive<&str> = "06"..="10";

/// What a run came to.
#[derive(Debug, Clone, Copy, Default)]
struct Sums {
    energy_watt_slots: u64,
    grid_watt_slots: u64,
    jobs: u64,
    missed: u64,
}

/// The same by season: dry, wet.
type Seasons = [Sums; 2];

/// The tables.
pub(crate) fn section(data: &Path) -> Outcome<String> {
    let dir = tempfile::tempdir()?;
    write_day_ahead(
        &data.join("yunnan/forecast_day_ahead_permille.parquet"),
        &dir.path().join("day_ahead.csv"),
    )?;
    let mut groups = Vec::new();
    for (mode, alone) in MODES {
        eprintln!("scoreboard: yunnan, {mode}");
        groups.push((mode, runs_of_year(data, dir.path(), alone)?));
    }
    let mut year = vec![head(["period", "sites"])];
    for (period, seasons) in PERIODS {
        for (mode, runs) in &groups {
            let rows = runs.map(|(name, run)| (name, sum_of(&run, seasons)));
            year.extend(group([period, mode], &rows));
        }
    }
    let mut weeks = vec![head(["scenario", "sites"])];
    for name in ["yunnan-dry-week", "yunnan-week-ahead-only"] {
        let scenario = Scenario::load(&Path::new(HERE).join("scenarios").join(name))
            .map_err(|error| told(&error))?;
        let run = |policy| seasons(&scenario, policy).map(|run| sum_of(&run, &[0, 1]));
        let rows = [
            ("`run-now`", run(Policy::RunNow)?),
            ("**`lancang`**", run(Policy::Lancang)?),
            (
                "**`lancang`**, perfect forecast",
                run(Policy::PerfectForecast)?,
            ),
        ];
        weeks.extend(group([name, "pooled"], &rows));
    }
    let (year, weeks) = (markdown(&year), markdown(&weeks));
    Ok(format!("{TEXT}\n{year}{WEEKS}\n{weeks}"))
}

/// The five runs of a year, `run-now` first and perfect forecasts last.
fn runs_of_year(data: &Path, dir: &Path, alone: bool) -> Outcome<[(&'static str, Seasons); 5]> {
    let on_time = load_year(data, dir, alone, Some(0))?;
    let stale = load_year(data, dir, alone, Some(24 * 60))?;
    let none = load_year(data, dir, alone, None)?;
    // Two at a time, as the targets are for two cores.
    let (first, second) = thread::scope(|scope| {
        let first = scope.spawn(|| {
            let perfect = seasons(&on_time, Policy::PerfectForecast)?;
            Ok::<_, BacktestError>((perfect, seasons(&stale, Policy::Lancang)?))
        });
        let second = || {
            let ours = seasons(&on_time, Policy::Lancang)?;
            let none = seasons(&none, Policy::Lancang)?;
            Ok::<_, BacktestError>((seasons(&on_time, Policy::RunNow)?, none, ours))
        };
        let second = second();
        let first = first.join().unwrap_or_else(|panic| resume_unwind(panic));
        (first, second)
    });
    let ((perfect, stale), (now, none, ours)) = (first?, second?);
    Ok([
        ("`run-now`", now),
        ("**`lancang`**, none", none),
        ("**`lancang`**, stale", stale),
        ("**`lancang`**, day-ahead", ours),
        ("**`lancang`**, perfect", perfect),
    ])
}

/// The year as a scenario in `dir`, whose forecasts come so many minutes late, or never.
fn load_year(data: &Path, dir: &Path, alone: bool, late: Option<u32>) -> Outcome<Scenario> {
    let sites = Path::new(HERE).join("data/yunnan/sites.toml");
    let latencies = Path::new(HERE).join("data/yunnan/latency_ms.csv");
    let actuals = data.join("yunnan/availability_15min.csv.gz");
    let jobs = data.join("jobs/gaia_azure-100k.csv.gz");
    let forecasts = match late {
        Some(_) => "day_ahead = [{ file = \"day_ahead.csv\", unit = \"permille\" }]",
        None => "",
    };
    let minutes = late.unwrap_or(0);
    let text = format!(
        r#"name = "yunnan-year"
start = "2025-01-01T00:00:00+08:00"
end = "2026-01-01T00:00:00+08:00"
[files]
sites = {sites:?}
latencies = {latencies:?}
actuals = [{actuals:?}]
{forecasts}
jobs = {jobs:?}
[jobs]
format = "trace"
time_unit = "hours"
cores_per_task = 1
watts_per_core = 400000
cities = ["vientiane", "hanoi", "bangkok", "singapore"]
max_rtt_ms = 120
alone = {alone}
[[late]]
minutes = {minutes}
"#
    );
    fs::write(dir.join("scenario.toml"), text)?;
    Ok(Scenario::load(dir).map_err(|error| told(&error))?)
}

/// An error with all that is wrong with a scenario.
fn told(error: &BacktestError) -> String {
    match error {
        BacktestError::Scenario(problems) => format!("{error}: {}", problems.join("; ")),
        _ => error.to_string(),
    }
}

/// Runs the scenario and sums it up by season.
fn seasons(scenario: &Scenario, policy: Policy) -> Result<Seasons, BacktestError> {
    let run = run_policy(scenario, policy, &|| ())?;
    let season_of = |time| usize::from(WET.contains(&&scenario.written(time)[5..7]));
    let mut sums = Seasons::default();
    for (i, slot) in scenario.range.iter().enumerate() {
        let sum = &mut sums[season_of(scenario.grid.start_of(slot))];
        for site in &run.score.sites {
            sum.energy_watt_slots += site.slots[i].load_watts;
            sum.grid_watt_slots += site.slots[i].grid_watts();
        }
    }
    for (job, outcome) in scenario.jobs.iter().zip(&run.driven.outcomes) {
        let by = job.spec.timing.finish_deadline;
        let in_time = match outcome.verdict {
            Verdict::Finished(end) => by.is_none_or(|by| scenario.grid.start_of(end) <= by),
            Verdict::Refused(_) | Verdict::Lost(_) => false,
        };
        let sum = &mut sums[season_of(job.submit)];
        sum.jobs += 1;
        sum.missed += u64::from(!in_time);
    }
    Ok(sums)
}

fn sum_of(run: &Seasons, seasons: &[usize]) -> Sums {
    let mut sum = Sums::default();
    for season in seasons.iter().map(|season| run[*season]) {
        sum.energy_watt_slots += season.energy_watt_slots;
        sum.grid_watt_slots += season.grid_watt_slots;
        sum.jobs += season.jobs;
        sum.missed += season.missed;
    }
    sum
}

fn head(labels: [&str; 2]) -> Vec<String> {
    let figures = [
        "method, forecast",
        "energy, GWh",
        "grid energy, GWh",
        "green, %",
        "saved, %",
        "regret, %",
        "missed",
    ];
    labels
        .into_iter()
        .chain(figures)
        .map(str::to_owned)
        .collect()
}

/// Rows of runs that are compared with the first, `run-now`, and the last, perfect forecasts.
fn group(labels: [&str; 2], runs: &[(&str, Sums)]) -> Vec<Vec<String>> {
    let (Some((_, now)), Some((_, perfect))) = (runs.first(), runs.last()) else {
        return Vec::new();
    };
    let gwh = |watt_slots: u64| format!("{:.3}", gigawatt_hours(watt_slots));
    let percent = |part: f64, whole: u64| format!("{:.1}", 100.0 * part / whole.max(1) as f64);
    let below = |a: u64, b: u64| a as f64 - b as f64;
    runs.iter()
        .enumerate()
        .map(|(i, (name, run))| {
            let (energy, grid) = (run.energy_watt_slots, run.grid_watt_slots);
            let saved = percent(below(now.grid_watt_slots, grid), now.grid_watt_slots);
            let regret = percent(below(grid, perfect.grid_watt_slots), energy);
            vec![
                labels[0].to_owned(),
                labels[1].to_owned(),
                (*name).to_owned(),
                gwh(energy),
                gwh(grid),
                percent(below(energy, grid), energy),
                if i == 0 { "-".to_owned() } else { saved },
                if i + 1 == runs.len() {
                    "-".to_owned()
                } else {
                    regret
                },
                format!("{} of {}", run.missed, run.jobs),
            ]
        })
        .collect()
}

fn gigawatt_hours(watt_slots: u64) -> f64 {
    watt_slots as f64 * SLOT_SECONDS as f64 / 3.6e12
}

/// The year's day-ahead forecasts as CSV: `slot`, counted from the start of the year, becomes `ts`.
fn write_day_ahead(parquet: &Path, csv: &Path) -> Outcome<()> {
    let at = |error: &dyn std::fmt::Display| format!("{}: {error}", parquet.display());
    let file = File::open(parquet).map_err(|error| at(&error))?;
    let reader = SerializedFileReader::new(file).map_err(|error| at(&error))?;
    let first: Timestamp = "2025-01-01T00:00:00+08:00".parse()?;
    let mut out = BufWriter::new(File::create(csv)?);
    for (i, row) in reader.get_row_iter(None)?.enumerate() {
        let row = row.map_err(|error| at(&error))?;
        if i == 0 {
            let names = row.get_column_iter().map(|(name, _)| name.as_str());
            let names: Vec<&str> = names.map(|n| if n == "slot" { "ts" } else { n }).collect();
            writeln!(out, "{}", names.join(","))?;
        }
        let mut cells = Vec::with_capacity(row.len());
        for (name, value) in row.get_column_iter() {
            let value = value.to_string();
            cells.push(if name == "slot" {
                let slot: i64 = value.parse().map_err(|_| at(&"slot is no number"))?;
                let after = i64::try_from(SLOT_SECONDS)?.saturating_mul(slot);
                (first + SignedDuration::from_secs(after)).to_string()
            } else {
                value
            });
        }
        writeln!(out, "{}", cells.join(","))?;
    }
    out.flush()?;
    Ok(())
}
