//! How decisions, rounds of planning and memory grow with sites and live jobs, for `scripts/growth`.
//!
//! usage: `growth measure SITES JOBS` prints one line of figures, in a process of its own so that memory can be told;
//! `growth draw LINES OUT_DIR` writes `growth.svg` and the section "Growth" of `benchmarks.md` from such lines.

#![expect(
    clippy::disallowed_methods,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a developer's command measures time, prints its figures and draws them"
)]

mod measure;
mod page;
mod plot;

use std::{error::Error, fs, path::Path};

use serde::{Deserialize, Serialize};

type Outcome<T> = Result<T, Box<dyn Error>>;

/// What was measured at one number of sites and jobs.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Point {
    sites: usize,
    /// Jobs, all of them live when the last is decided.
    jobs: usize,
    missed: usize,
    decision_us_p50: f64,
    decision_us_mean: f64,
    decision_us_p99: f64,
    /// Seconds of an offline round, in which every job is moved about once, on one thread.
    round_s: f64,
    /// Bytes that the online method takes for each live job.
    online_bytes_per_job: f64,
    /// MiB that a plan takes at most beside its problem.
    plan_mib: f64,
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args.as_slice() {
        ["measure", sites, jobs] => {
            let point = measure::point(sites.parse()?, jobs.parse()?)?;
            println!("{}", serde_json::to_string(&point)?);
            Ok(())
        }
        ["draw", lines, out] => draw(Path::new(lines), Path::new(out)),
        _ => Err("usage: growth measure SITES JOBS | growth draw LINES OUT_DIR".into()),
    }
}

fn draw(lines: &Path, out: &Path) -> Outcome<()> {
    let text = fs::read_to_string(lines)?;
    let points: Result<Vec<Point>, _> = text.lines().map(serde_json::from_str).collect();
    let points = points?;
    let page = out.join("benchmarks.md");
    let old = fs::read_to_string(&page)?;
    fs::write(out.join("growth.svg"), plot::svg(&points))?;
    fs::write(&page, page::with_growth(&old, &points))?;
    Ok(())
}

/// Numbers of sites that were measured, in rising order.
fn sites_of(points: &[Point]) -> Vec<usize> {
    let mut sites: Vec<usize> = points.iter().map(|point| point.sites).collect();
    sites.sort_unstable();
    sites.dedup();
    sites
}
