//! Markdown tables, and the figures of a schedule that several sections show.
//!
//! Every figure comes from the problem and the schedule, never from the policy.

use lancang::solver::{Problem, Schedule, Score, score};

use crate::Outcome;

/// A Markdown table, first row the head.
pub(crate) fn markdown(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (i, row) in rows.iter().enumerate() {
        text.push_str("| ");
        text.push_str(&row.join(" | "));
        text.push_str(" |\n");
        if i == 0 {
            text.push_str(&"|---".repeat(row.len()));
            text.push_str("|\n");
        }
    }
    text
}

/// The score of a schedule, or the first rules that it breaks.
pub(crate) fn judged(name: &str, problem: &Problem, schedule: &Schedule) -> Outcome<Score> {
    score(problem, schedule).map_err(|breaches| {
        let first: Vec<String> = breaches.iter().take(3).map(ToString::to_string).collect();
        format!(
            "{name}: {} broken rules: {}",
            breaches.len(),
            first.join("; ")
        )
        .into()
    })
}

/// Mean time between the earliest possible end of a job and its end, hours; missed jobs do not count.
pub(crate) fn mean_delay_hours(problem: &Problem, schedule: &Schedule, slots_per_hour: f64) -> f64 {
    let delays: Vec<usize> = problem
        .jobs
        .iter()
        .zip(&schedule.assignments)
        .filter_map(|(job, assignment)| {
            let end = assignment.as_ref()?.end();
            Some(end.saturating_sub(job.release + job.duration))
        })
        .collect();
    delays.iter().sum::<usize>() as f64 / delays.len().max(1) as f64 / slots_per_hour
}
