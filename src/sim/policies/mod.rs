//! Published scheduling rules as policies, each faithful to its paper as far as sites with limits allow.
//!
//! A rule decides a job once, when it arrives, from forecasts and its own earlier decisions; none breaks a rule of the
//! problem, and a job that fits nowhere before its deadline is missed.

mod timetable;
mod signal;
mod pieces;
mod first_fit;
mod gaia;
mod wait_awhile;
mod threshold;
mod capacity_curve;
#[cfg(test)]
mod tests;

use super::policy::Policy;
use crate::solver::{Assignment, Job, Online, OnlineOptions, Problem, Schedule};
use first_fit::{Name, SiteFirst};
use signal::Signal;
use timetable::{Ready, Shape, Timetable, shapes};

pub use gaia::Setting;

/// A published rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// First fit: as early as possible, at the first site in order.
    RunNow,
    /// As early as possible, at the site with the least promised power.
    Balanced,
    /// At the first site of its list, as early as possible (`SustainCluster` local only).
    LocalOnly,
    /// Sites in turn, as early as possible (`SustainCluster` round robin).
    RoundRobin,
    /// The site with the most free cores, as early as possible (`SustainCluster`).
    MostAvailable,
    /// The site with the lowest intensity now, as early as possible (`SustainCluster`).
    LowestCarbon,
    /// Starts in the slot with the lowest intensity (GAIA).
    LowestSlot,
    /// The window with the lowest intensity (GAIA).
    LowestWindow,
    /// The greatest saving by time to completion (GAIA).
    CarbonTime,
    /// The cheapest slots (Let's Wait Awhile).
    WaitAwhile,
    /// The cheapest window, never interrupted (Let's Wait Awhile).
    WaitAwhileWhole,
    /// Runs while the intensity is low (Ecovisor).
    Threshold,
    /// First fit below a day-ahead virtual capacity curve (Google CICS).
    CapacityCurve,
}

/// Names of all rules, for a command line.
pub const RULES: [(&str, Rule); 13] = [
    ("run-now", Rule::RunNow),
    ("balanced", Rule::Balanced),
    ("local-only", Rule::LocalOnly),
    ("round-robin", Rule::RoundRobin),
    ("most-available", Rule::MostAvailable),
    ("lowest-carbon", Rule::LowestCarbon),
    ("lowest-slot", Rule::LowestSlot),
    ("lowest-window", Rule::LowestWindow),
    ("carbon-time", Rule::CarbonTime),
    ("wait-awhile", Rule::WaitAwhile),
    ("wait-awhile-whole", Rule::WaitAwhileWhole),
    ("threshold", Rule::Threshold),
    ("vcc", Rule::CapacityCurve),
];

/// Name of our own policy.
pub const LANCANG: &str = "lancang";

/// Names of our own policy and of all rules, for a command line.
pub fn names() -> impl Iterator<Item = &'static str> {
    std::iter::once(LANCANG).chain(RULES.iter().map(|&(name, _)| name))
}

/// The policy of this name over the sites, pools and links of a problem; its jobs are not looked at.
#[must_use]
pub fn policy(name: &str, problem: &Problem, seed: u64) -> Option<Box<dyn Policy>> {
    if name == LANCANG {
        let options = OnlineOptions {
            seed,
            ..OnlineOptions::default()
        };
        return Some(Box::new(Online::new(problem, options)));
    }
    let (_, rule) = RULES.iter().find(|(known, _)| *known == name)?;
    Some(rule.policy(problem))
}

impl Rule {
    /// This rule over the sites, pools and links of a problem.
    #[must_use]
    pub fn policy(self, problem: &Problem) -> Box<dyn Policy> {
        self.with_setting(problem, Setting::exact(problem))
    }

    /// This rule with GAIA's setting in place of known lengths and the problem's own slots.
    #[must_use]
    pub fn with_setting(self, problem: &Problem, setting: Setting) -> Box<dyn Policy> {
        let site_first = |name| Box::new(SiteFirst::new(name, setting.step));
        let rule: Box<dyn Decide> = match self {
            Self::RunNow => Box::new(first_fit::Earliest::by_order()),
            Self::Balanced => Box::new(first_fit::Earliest::by_load()),
            Self::LocalOnly => site_first(Name::Local),
            Self::RoundRobin => site_first(Name::InTurn(0)),
            Self::MostAvailable => site_first(Name::MostAvailable),
            Self::LowestCarbon => site_first(Name::LowestCarbon),
            Self::LowestSlot => Box::new(gaia::LowestSlot),
            Self::LowestWindow => Box::new(gaia::LowestWindow(setting)),
            Self::CarbonTime => Box::new(gaia::CarbonTime(setting)),
            Self::WaitAwhile => Box::new(wait_awhile::WaitAwhile { whole: false }),
            Self::WaitAwhileWhole => Box::new(wait_awhile::WaitAwhile { whole: true }),
            Self::Threshold => Box::new(threshold::Threshold { day: setting.day }),
            Self::CapacityCurve => {
                Box::new(capacity_curve::CapacityCurve::new(problem, setting.day))
            }
        };
        let problem = super::policy::without_jobs(problem);
        Box::new(AtArrival {
            signal: Signal::new(&problem),
            table: Timetable::new(problem),
            rule,
            now: 0,
            decided: Vec::new(),
        })
    }
}

/// What a rule may look at: the forecast and its own decisions.
struct View<'a> {
    table: &'a Timetable,
    signal: &'a Signal,
    now: usize,
}

/// A rule that decides a job when it arrives, once and for all.
trait Decide {
    /// A slot begins.
    fn advance(&mut self, _view: &View<'_>) {}

    /// Where and when a job runs whose data can be there at `ready`.
    fn decide(&mut self, view: &View<'_>, job: &Job, ready: Ready) -> Option<Assignment>;
}

/// Carries out a rule and keeps its decisions.
struct AtArrival {
    table: Timetable,
    signal: Signal,
    rule: Box<dyn Decide>,
    now: usize,
    decided: Vec<(usize, Assignment)>,
}

impl Policy for AtArrival {
    fn advance(&mut self, slot: usize) {
        self.now = slot;
        let view = View {
            table: &self.table,
            signal: &self.signal,
            now: slot,
        };
        self.rule.advance(&view);
    }

    fn arrive(&mut self, position: usize, job: &Job) {
        let view = View {
            table: &self.table,
            signal: &self.signal,
            now: self.now,
        };
        let Some(ready) = self.table.ready(job, self.now) else {
            return;
        };
        if let Some(assignment) = self.rule.decide(&view, job, ready) {
            self.table.book(job, &assignment);
            self.decided.push((position, assignment));
        }
    }

    fn finish(self: Box<Self>, n_jobs: usize) -> Schedule {
        let mut assignments = vec![None; n_jobs];
        for (position, assignment) in self.decided {
            assignments[position] = Some(assignment);
        }
        Schedule { assignments }
    }
}

/// The first shape of a job for which `best` finds a place.
fn first_shape(job: &Job, best: impl FnMut(Shape) -> Option<Assignment>) -> Option<Assignment> {
    shapes(job).into_iter().find_map(best)
}
