//! Schedules as files: read against their instance, and written.
//!
//! What comes out of the reader has one decision for each job; whether it keeps capacities `solver::score` says.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::{
    limits::INSTANCE_JOBS_MAX,
    sim::instance::{
        At, Entry, Kind, Refusal, Violations, encode, entry, field, list, object, text,
    },
    solver::{Assignment, Problem, Run, Schedule, Score},
};

/// A schedule file.
#[derive(Serialize)]
struct Document<'a> {
    instance: &'a str,
    assignments: Vec<AssignmentEntry>,
    missed: Vec<u32>,
    /// Claims for a reader to compare with its own sums.
    grid_wslots: i64,
    green_wslots: i64,
}

/// Where and when a job of a schedule file runs.
#[derive(Debug, Serialize, Deserialize)]
struct AssignmentEntry {
    job: i64,
    site: i64,
    xfer_start: i64,
    runs: Vec<[i64; 3]>,
}

impl Entry for AssignmentEntry {
    const FIELDS: &'static [(&'static str, Kind)] = &[
        ("job", Kind::Whole),
        ("site", Kind::Whole),
        ("xfer_start", Kind::Whole),
        ("runs", Kind::Runs),
    ];
}

/// The bytes of a schedule file, with the energy that its score says.
#[must_use]
pub fn encode_schedule(
    problem: &Problem,
    schedule: &Schedule,
    score: &Score,
    compressed: bool,
) -> Vec<u8> {
    let mut assignments = Vec::with_capacity(problem.jobs.len());
    let mut missed = Vec::new();
    for (job, assignment) in problem.jobs.iter().zip(&schedule.assignments) {
        let Some(assignment) = assignment else {
            missed.push(job.id);
            continue;
        };
        let site = problem.site_of(&job.choices[assignment.choice]);
        assignments.push(AssignmentEntry {
            job: i64::from(job.id),
            site: int(site),
            xfer_start: assignment.stage_in.map_or(-1, int),
            runs: assignment
                .runs
                .iter()
                .map(|run| [int(run.start), int(run.len), int(run.units)])
                .collect(),
        });
    }
    let document = Document {
        instance: &problem.name,
        assignments,
        missed,
        grid_wslots: score.grid,
        green_wslots: score.green,
    };
    encode(&document, compressed)
}

/// Reads a schedule of an instance.
///
/// # Errors
/// The file is cut off, damaged or no JSON, or names what the instance does not have; then every violation.
pub fn decode_schedule(problem: &Problem, bytes: &[u8]) -> Result<Schedule, Refusal> {
    let text = text(bytes)?;
    let fields = object(&text)?;
    let mut bad = Violations::default();
    let name: Option<String> = field(&fields, "instance", "a text", &mut bad);
    if let Some(name) = name.filter(|name| **name != *problem.name) {
        let reason = format!("`{name}` is not the instance, `{}`", problem.name);
        bad.add(|| "instance".to_owned(), reason);
    }
    let mut reader = Reader::new(problem);
    let raw = list(&fields, "assignments", 0, INSTANCE_JOBS_MAX, &mut bad);
    for (index, raw) in raw.iter().enumerate() {
        let at = At {
            list: "assignments",
            index,
        };
        if let Some(entry) = entry::<AssignmentEntry>(at, raw, &mut bad) {
            reader.assignment(at, &entry, &mut bad);
        }
    }
    let missed: Vec<i64> =
        field(&fields, "missed", "a list of ids of jobs", &mut bad).unwrap_or_default();
    for (i, &id) in missed.iter().enumerate() {
        reader.missed(i, id, &mut bad);
    }
    // Of a list that could not be read, every job would be told as forgotten.
    let schedule = (bad.len() == 0).then(|| reader.finish(&mut bad));
    bad.result(schedule)
}

struct Reader<'a> {
    problem: &'a Problem,
    positions: BTreeMap<u32, usize>,
    decided: Vec<bool>,
    schedule: Schedule,
}

impl<'a> Reader<'a> {
    fn new(problem: &'a Problem) -> Self {
        let n = problem.jobs.len();
        let positions = problem.jobs.iter().enumerate();
        Self {
            problem,
            positions: positions.map(|(i, job)| (job.id, i)).collect(),
            decided: vec![false; n],
            schedule: Schedule {
                assignments: vec![None; n],
            },
        }
    }

    /// Position of a job that is decided now and was not before.
    fn decide(
        &mut self,
        path: impl FnOnce() -> String,
        id: i64,
        bad: &mut Violations,
    ) -> Option<usize> {
        let position = u32::try_from(id)
            .ok()
            .and_then(|id| self.positions.get(&id).copied());
        let Some(position) = position else {
            bad.add(path, format!("the instance has no job {id}"));
            return None;
        };
        if self.decided[position] {
            bad.add(path, format!("job {id} is placed or missed already"));
            return None;
        }
        self.decided[position] = true;
        Some(position)
    }

    fn assignment(&mut self, at: At, entry: &AssignmentEntry, bad: &mut Violations) {
        let position = self.decide(at.field("job"), entry.job, bad);
        let slots = int(self.problem.n_slots);
        let mut runs = Vec::with_capacity(entry.runs.len());
        for (i, &[start, len, units]) in entry.runs.iter().enumerate() {
            let run = (|| {
                Some(Run {
                    start: bad.in_range(at.entry("runs", i), start, 0..=slots)?,
                    len: bad.in_range(at.entry("runs", i), len, 1..=slots)?,
                    units: bad.in_range(at.entry("runs", i), units, 1..=i64::from(u32::MAX))?,
                })
            })();
            runs.extend(run);
        }
        let stage_in = if entry.xfer_start == -1 {
            None
        } else {
            bad.in_range(at.field("xfer_start"), entry.xfer_start, 0..=slots)
        };
        let Some(position) = position else { return };
        let job = &self.problem.jobs[position];
        let on_site = |choice: &_| int(self.problem.site_of(choice)) == entry.site;
        let Some(choice) = job.choices.iter().position(on_site) else {
            let reason = format!("job {} may not run at site {}", entry.job, entry.site);
            bad.add(at.field("site"), reason);
            return;
        };
        self.schedule.assignments[position] = Some(Assignment {
            choice,
            // Without a link the start of a stage-in means nothing.
            stage_in: stage_in.filter(|_| job.stage_in.is_some()),
            runs,
        });
    }

    fn missed(&mut self, i: usize, id: i64, bad: &mut Violations) {
        self.decide(|| format!("missed[{i}]"), id, bad);
    }

    fn finish(self, bad: &mut Violations) -> Schedule {
        for (job, _) in self
            .problem
            .jobs
            .iter()
            .zip(&self.decided)
            .filter(|(_, decided)| !**decided)
        {
            let reason = format!("job {} is neither placed nor missed", job.id);
            bad.add(|| "assignments".to_owned(), reason);
        }
        self.schedule
    }
}

fn int(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
