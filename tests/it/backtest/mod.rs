//! Backtests from files to reports: inputs, faults, scores worked out by hand, and the same bytes each time.
//!
//! The scenario is two small sites over two days of hourly slots, so that every figure can be checked on paper.

mod faults;
mod formats;
mod inputs;
mod output;
mod score;

use std::{fmt::Write as _, fs, path::Path};

use lancang::sim::backtest::{self, BacktestError, Report, Scenario};

/// The files of a scenario before they are written; tests change some.
#[derive(Debug, Clone)]
pub(crate) struct Files {
    pub(crate) scenario: String,
    pub(crate) sites: String,
    pub(crate) latencies: String,
    pub(crate) actuals: String,
    pub(crate) forecasts: String,
    pub(crate) jobs: String,
}

const SITE: &str = r#"
[[site]]
id = "ID"
name = "ID"
lat = 25.0
lon = 102.0
it_mw = 2.0
cpu_nodes = 100
gpu_nodes = 0
pue = 1.25
grid_limit_mw = 3.0
offshore_enclave = false
gateway = "border"
"#;

/// Hours of the scenario.
pub(crate) const HOURS: usize = 48;

impl Files {
    /// `alpha` with 1 MW of hydro power by night and 0 by day, near the client; `beta` with 1 MW by day and none by
    /// night. Forecasts say so exactly. One job of an hour and 1 MW of facility power.
    pub(crate) fn new() -> Self {
        let site = |id: &str| {
            let supply = format!(
                "[[site.supply]]\nid = \"{id}/hydro\"\nkind = \"hydro\"\ncontracted_mw = 2.0\nprofile = \"small_ror\"\n"
            );
            format!("{}{supply}", SITE.replace("ID", id))
        };
        let zone = "[[zone]]\nid = \"near\"\ncities = [\"hanoi\"]\nbudget_ms = 50\n";
        Self {
            scenario: SCENARIO.to_owned(),
            sites: format!(
                "[meta]\nutc_offset_minutes = 480\n[defaults]\ngpus_per_gpu_node = 8\n{zone}{}{}",
                site("alpha"),
                site("beta")
            ),
            latencies: "site,city,country,rtt_leased_ms\nalpha,hanoi,VN,10\nbeta,hanoi,VN,20\n"
                .to_owned(),
            actuals: actuals(),
            forecasts: forecasts(),
            jobs: "id,submit,cores,power_w,runtime_s,deadline\n\
                   one,2025-03-01T08:00:00+08:00,8,800000,3600,2025-03-01T20:00:00+08:00\n"
                .to_owned(),
        }
    }

    /// Adds to the scenario file.
    pub(crate) fn with(mut self, text: &str) -> Self {
        self.scenario.push_str(text);
        self
    }

    pub(crate) fn write(&self, directory: &Path) {
        for (name, text) in [
            ("scenario.toml", &self.scenario),
            ("sites.toml", &self.sites),
            ("latencies.csv", &self.latencies),
            ("actuals.csv", &self.actuals),
            ("forecasts.csv", &self.forecasts),
            ("jobs.csv", &self.jobs),
        ] {
            fs::write(directory.join(name), text).unwrap();
        }
    }

    /// The scenario of the files.
    #[track_caller]
    pub(crate) fn load(&self) -> Scenario {
        self.try_load().unwrap()
    }

    pub(crate) fn try_load(&self) -> Result<Scenario, BacktestError> {
        let directory = tempfile::tempdir().unwrap();
        self.write(directory.path());
        Scenario::load(directory.path())
    }
}

#[track_caller]
pub(crate) fn run(scenario: &Scenario) -> Report<'_> {
    backtest::run(scenario, &|_, _| ()).unwrap()
}

const SCENARIO: &str = r#"name = "two-sites"
start = "2025-03-01T00:00:00+08:00"
end = "2025-03-03T00:00:00+08:00"
slot_minutes = 60
files = { sites = "sites.toml", latencies = "latencies.csv", actuals = ["actuals.csv"], forecasts = ["forecasts.csv"], jobs = "jobs.csv" }
policy = { horizon_days = 2 }
"#;

/// Green power of alpha and beta in an hour of the day, kW.
fn kilowatts(hour: usize) -> (u32, u32) {
    if (8..20).contains(&hour) {
        (0, 1_000)
    } else {
        (1_000, 0)
    }
}

/// `2025-03-01` or the day after, at an hour.
pub(crate) fn at(hour: usize) -> String {
    format!("2025-03-{:02}T{:02}:00:00+08:00", 1 + hour / 24, hour % 24)
}

fn actuals() -> String {
    let mut text = "ts,alpha_hydro,beta_hydro\n".to_owned();
    for hour in 0..HOURS {
        let (alpha, beta) = kilowatts(hour % 24);
        let _ = writeln!(text, "{},{alpha},{beta}", at(hour));
    }
    text
}

fn forecasts() -> String {
    let mut text = "issued_at,product,supply,valid_at,p10_kw,p50_kw,p90_kw\n".to_owned();
    for day in 0..2 {
        for hour in 24 * day..24 * day + 24 {
            let (alpha, beta) = kilowatts(hour % 24);
            for (site, kw) in [("alpha", alpha), ("beta", beta)] {
                let issued_at = format!("2025-02-28T{:02}:00:00+08:00", 8 + day);
                let valid_at = at(hour);
                let _ = writeln!(
                    text,
                    "{issued_at},DA,{site}/hydro,{valid_at},{kw},{kw},{kw}"
                );
            }
        }
    }
    text
}
