//! The section "Growth" of `docs/benchmarks.md`.
//!
//! The other sections stay byte by byte as they are.

use std::{fmt::Write as _, fs};

use crate::{Point, sites_of};

const HEAD: &str = "## Growth";

/// The page with its section made anew, at the end if it has none.
pub(crate) fn with_growth(page: &str, points: &[Point]) -> String {
    let begin = page.find(HEAD).unwrap_or(page.len());
    let rest = &page[begin..];
    let after = rest.find("\n## ").map_or(rest.len(), |next| {
        // The line break belongs to the section before.
        next + 1
    });
    format!("{}{}\n{}", &page[..begin], section(points), &rest[after..])
}

fn section(points: &[Point]) -> String {
    let mut text = format!(
        "{HEAD}

Made by `scripts/growth`; do not edit. {}
All jobs of a week (family dry-mix by our generator, 672 slots, seed 1) are known on its first morning, so that all of them are live, placed and not ended, when the last is decided; the last decisions are timed, again and again from the same state, and of each the shortest time counts.
A decision is one call of `Online::arrive`; its mean and p99 are made by jobs without room, which start a chain of moves.
A round of `plan` moves every job about once; one thread, mean of the first rounds.
Rounds are told in processor time, which other work on the machine does not lengthen.
Memory is the growth of the resident set at its peak, beside the problem itself.

| sites | live jobs | decision p50, us | mean, us | p99, us | missed | online memory, B/job | round of plan, s | plan memory, MiB |
|---|---|---|---|---|---|---|---|---|
",
        machine()
    );
    for point in points {
        let _ = writeln!(
            text,
            "| {} | {} | {:.1} | {:.1} | {:.1} | {} | {:.0} | {:.3} | {:.0} |",
            point.sites,
            point.jobs,
            point.decision_us_p50,
            point.decision_us_mean,
            point.decision_us_p99,
            point.missed,
            point.online_bytes_per_job,
            point.round_s,
            point.plan_mib,
        );
    }
    for sites in sites_of(points) {
        let here = points.iter().filter(|point| point.sites == sites);
        let (first, last) = (
            here.clone().min_by_key(|point| point.jobs),
            here.max_by_key(|point| point.jobs),
        );
        if let (Some(first), Some(last)) = (first, last) {
            let _ = write!(
                text,
                "\nAt {sites} sites, from {} to {} live jobs: p50 of a decision times {:.1}, its mean times {:.1}.",
                first.jobs,
                last.jobs,
                last.decision_us_p50 / first.decision_us_p50,
                last.decision_us_mean / first.decision_us_mean
            );
        }
    }
    text.push_str("\n\n![Time of a decision, time of a round of planning and memory, by live jobs and sites, both axes logarithmic](growth.svg)\n");
    text
}

/// The processor, and how busy it was.
fn machine() -> String {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    let cpus = read("/proc/cpuinfo");
    let models = cpus
        .lines()
        .filter_map(|line| line.strip_prefix("model name"));
    let models: Vec<&str> = models
        .map(|rest| rest.trim_start_matches(['\t', ' ', ':']))
        .collect();
    let load = read("/proc/loadavg");
    let minutes: Vec<&str> = load.split_whitespace().take(3).collect();
    format!(
        "{} cores of {}; load over the last 1, 5 and 15 minutes {}, of which one is this measurement.",
        models.len(),
        models.first().unwrap_or(&"an unknown kind"),
        minutes.join(", ")
    )
}
