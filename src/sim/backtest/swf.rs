//! The Standard Workload Format of the Parallel Workloads Archive: 18 numbers a line, `;` before remarks, -1 for unknown.
//!
//! The requested time is what the job says it needs; how long it ran is what it takes. Without a request both are the
//! time it ran.

use crate::sheet::Problems;

use super::jobs::{Context, Draft, size_by_cores};

/// Fields of a line.
const FIELDS: usize = 18;
const SUBMIT: usize = 1;
const RUN_TIME: usize = 3;
const ALLOCATED: usize = 4;
const REQUESTED: usize = 7;
const REQUESTED_TIME: usize = 8;
const REQUESTED_KIB: usize = 9;

/// Reads all jobs.
pub(super) fn parse(text: &str, context: &Context<'_>) -> Result<Vec<(u64, Draft)>, Vec<String>> {
    let mut problems = Problems::default();
    let mut drafts = Vec::new();
    for (line, row) in (1_u64..).zip(text.lines()) {
        if row.trim().is_empty() || row.trim_start().starts_with(';') {
            continue;
        }
        if context.rules.take.is_some_and(|take| drafts.len() >= take) {
            break;
        }
        let draft = read_line(row, context).map_err(|why| format!("line {line}, {why}"));
        drafts.extend(problems.keep(draft).map(|draft| (line, draft)));
    }
    if drafts.is_empty() {
        problems.add("has no jobs".to_owned());
    }
    problems.or(drafts)
}

fn read_line(row: &str, context: &Context<'_>) -> Result<Draft, String> {
    let fields: Vec<&str> = row.split_whitespace().collect();
    if fields.len() != FIELDS {
        return Err(format!("{} fields instead of {FIELDS}", fields.len()));
    }
    // Whole numbers; the average CPU time and some logs' times have decimals, which are cut off.
    let number = |idx: usize, what: &str| {
        let text = fields[idx];
        let whole = text.split_once('.').map_or(text, |(whole, _)| whole);
        match whole.parse::<i64>() {
            Ok(value @ -1..) => Ok(u64::try_from(value).ok()),
            _ => Err(format!(
                "column {} ({what}): `{text}` is no number from -1 on",
                idx + 1
            )),
        }
    };
    let submit_s = number(SUBMIT, "submit time")?.ok_or("column 2 (submit time): is unknown")?;
    let run_s = number(RUN_TIME, "run time")?;
    let requested_s = number(REQUESTED_TIME, "requested time")?.filter(|seconds| *seconds > 0);
    let positive = |value: Option<u64>| value.filter(|value| *value > 0);
    let allocated = positive(number(ALLOCATED, "allocated processors")?);
    let requested = positive(number(REQUESTED, "requested processors")?);
    let cores = allocated.or(requested).unwrap_or(1);
    let kib = number(REQUESTED_KIB, "requested memory")?;
    let seconds = requested_s.or(run_s).unwrap_or(0);
    let run_s = run_s.filter(|seconds| *seconds > 0);
    let submit_ms = i64::try_from(submit_s.saturating_mul(1_000)).unwrap_or(i64::MAX);
    let mut draft = Draft {
        id: format!("j{}", fields[0]),
        submit: context.epoch.plus_ms(submit_ms),
        // A job that never ran is no work.
        runtime_ms: run_s.map_or(0, |_| seconds.saturating_mul(1_000)),
        actual_ms: run_s.map(|seconds| seconds.saturating_mul(1_000)),
        ..Draft::default()
    };
    size_by_cores(&mut draft, cores, context.rules);
    if let Some(kib) = kib.filter(|kib| *kib > 0) {
        draft.memory_mib = kib.div_ceil(1_024).saturating_mul(u64::from(draft.cores));
    }
    Ok(draft)
}
