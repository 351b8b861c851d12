//! What a schedule came to, as a table or as JSON.
//!
//! Energy is shown in kWh; the exact integers stand beside it in the JSON.

use std::time::Duration;

use serde_json::{Value, json};

use crate::{
    cli::{failure::Failure, output::Present, render, time::View},
    sim::report::Report,
    solver::{Bound, Problem, Score},
};

/// A scored schedule.
pub(crate) struct Outcome<'a> {
    pub(crate) problem: &'a Problem,
    /// Who made the schedule.
    pub(crate) method: &'a str,
    pub(crate) score: Score,
    pub(crate) report: Report,
    pub(crate) bound: Option<Bound>,
    /// Rounds of a search.
    pub(crate) n_rounds: Option<u64>,
    pub(crate) took: Duration,
}

/// Weight of a watt-slot with which figures in kWh are meant.
const WEIGHT: f64 = 1_000.0;

impl Outcome<'_> {
    /// Energy of watt-slots, kWh.
    fn kwh(&self, watt_slots: f64) -> f64 {
        watt_slots * f64::from(self.problem.slot_minutes) / 60_000.0
    }

    fn bound_kwh(&self) -> Option<f64> {
        let bound = self.bound.as_ref()?;
        Some(kwh_eq(self.problem, bound.objective()))
    }

    /// The least the objective could be, of what it is; 1 is the best there can be.
    fn over_bound(&self) -> Option<f64> {
        let objective = self.kwh(real(self.score.objective()) / WEIGHT);
        self.bound_kwh()
            .filter(|&bound| 0.0 < bound)
            .map(|bound| objective / bound)
    }

    fn regret_percent(&self) -> Option<f64> {
        let grid = self.kwh(real(self.score.weighted) / WEIGHT);
        let total = self.kwh(real(self.score.total()));
        self.bound_kwh()
            .filter(|_| 0.0 < total)
            .map(|bound| 100.0 * (grid - bound) / total)
    }

    fn green_percent(&self) -> f64 {
        100.0 * real(self.score.green) / real(self.score.total().max(1))
    }

    fn mean_hours(&self, slots: usize) -> f64 {
        let n = self.report.n_placed.max(1);
        let minutes = real(int(slots)) * f64::from(self.problem.slot_minutes);
        minutes / 60.0 / real(int(n))
    }

    /// Everything as JSON.
    pub(crate) fn value(&self) -> Value {
        let sites = self.problem.sites.iter().zip(&self.report.sites);
        let sites: Vec<Value> = sites
            .map(|(site, energy)| {
                json!({
                    "site": &*site.id,
                    "grid_kwh": self.kwh(real(energy.grid)),
                    "green_kwh": self.kwh(real(energy.green)),
                    "unused_green_kwh": self.kwh(real(energy.unused)),
                })
            })
            .collect();
        json!({
            "instance": &*self.problem.name,
            "method": self.method,
            "jobs": self.problem.jobs.len(),
            "missed": self.score.n_missed,
            "grid_kwh": self.kwh(real(self.score.grid)),
            "green_kwh": self.kwh(real(self.score.green)),
            "total_kwh": self.kwh(real(self.score.total())),
            "green_percent": self.green_percent(),
            "objective_kwh": self.kwh(real(self.score.objective()) / WEIGHT),
            "bound_kwh": self.bound_kwh(),
            "objective_over_bound": self.over_bound(),
            "regret_percent": self.regret_percent(),
            "mean_wait_hours": self.mean_hours(self.report.wait_slots),
            "mean_delay_hours": self.mean_hours(self.report.delay_slots),
            "runs": self.report.n_runs,
            "rounds": self.n_rounds,
            "seconds": self.took.as_secs_f64(),
            "grid_wslots": self.score.grid,
            "green_wslots": self.score.green,
            "objective": self.score.objective(),
            "sites": sites,
        })
    }
}

impl Present for Outcome<'_> {
    fn json(&self) -> Result<String, Failure> {
        Ok(self.value().to_string())
    }

    fn text(&self, _view: &View) -> String {
        let mut rows = vec![
            ("instance", self.problem.name.to_string()),
            ("method", self.method.to_owned()),
            (
                "jobs",
                format!(
                    "{}, {} missed",
                    self.problem.jobs.len(),
                    self.score.n_missed
                ),
            ),
            (
                "grid energy",
                format!("{:.1} kWh", self.kwh(real(self.score.grid))),
            ),
            (
                "green power",
                format!(
                    "{:.1} kWh, {:.2} %",
                    self.kwh(real(self.score.green)),
                    self.green_percent()
                ),
            ),
            (
                "objective",
                format!(
                    "{:.1} kWh-eq",
                    self.kwh(real(self.score.objective()) / WEIGHT)
                ),
            ),
        ];
        if let (Some(bound), Some(regret)) = (self.bound_kwh(), self.regret_percent()) {
            let over = self.over_bound().map_or_else(String::new, |over| {
                format!(", objective {over:.4} times it")
            });
            rows.push((
                "bound",
                format!("{bound:.1} kWh-eq{over}, regret {regret:.2} %"),
            ));
        }
        rows.push((
            "mean delay",
            format!("{:.2} h", self.mean_hours(self.report.delay_slots)),
        ));
        let rounds = self
            .n_rounds
            .map_or_else(String::new, |n| format!(", {n} rounds"));
        rows.push(("time", format!("{:.2} s{rounds}", self.took.as_secs_f64())));
        render::card(&rows)
    }
}

/// A number of weighted watt-slots as if every slot had the weight 1000, kWh.
pub(crate) fn kwh_eq(problem: &Problem, weighted: i128) -> f64 {
    wide(weighted) / WEIGHT * f64::from(problem.slot_minutes) / 60_000.0
}

#[expect(clippy::cast_precision_loss, reason = "shown to a few digits")]
fn real(n: i64) -> f64 {
    n as f64
}

#[expect(clippy::cast_precision_loss, reason = "shown to a few digits")]
fn wide(n: i128) -> f64 {
    n as f64
}

fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
