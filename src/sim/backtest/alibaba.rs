//! Batch tasks of Alibaba's cluster trace of 2018 as CSV with a header.
//!
//! A task is a job of as many tasks as it had instances; which task waits for which is not followed.

use crate::sheet::{Problems, Row, Sheet};

use super::jobs::{Context, Draft, by_core};

/// The header of Alibaba's own schema, and that of the copy which names only what it uses.
const INSTANCES: [&str; 2] = ["instance_num", "task_count"];
const CPU: [&str; 2] = ["plan_cpu", "none2"];

/// Reads all tasks; one that did not end well has no runtime.
pub(super) fn parse(text: &str, context: &Context<'_>) -> Result<Vec<(u64, Draft)>, Vec<String>> {
    let sheet = Sheet::read(text, &["status", "start_time", "end_time"])?;
    let mut problems = Problems::default();
    let mut named = |names: [&'static str; 2]| {
        let found = names.into_iter().find(|name| sheet.has(name));
        let missing = || format!("line 1: column {} is missing", names.join(" or "));
        problems.keep(found.ok_or_else(missing))
    };
    let (instances, cpu) = (named(INSTANCES), named(CPU));
    let (Some(instances), Some(cpu)) = (instances, cpu) else {
        return problems.or(Vec::new());
    };
    let mut drafts = Vec::new();
    let taken = sheet.rows().take(context.rules.take.unwrap_or(usize::MAX));
    for (position, row) in taken.enumerate() {
        let read = read_row(row, (instances, cpu), context).map(|draft| Draft {
            id: format!("t{position}"),
            ..draft
        });
        drafts.extend(problems.keep(read).map(|draft| (row.line(), draft)));
    }
    problems.or(drafts)
}

fn read_row(
    row: Row<'_>,
    (instances, cpu): (&str, &str),
    context: &Context<'_>,
) -> Result<Draft, String> {
    let seconds = |column| row.value::<u32>(column, "whole number of seconds");
    let (start_s, end_s) = (seconds("start_time")?, seconds("end_time")?);
    let is_whole = row.text("status") == "Terminated";
    if is_whole && end_s < start_s {
        return Err(row.wrong("end_time", "is before start_time"));
    }
    // Tasks that did not end well may lack figures.
    let figure = |column| match row.text(column) {
        "" if !is_whole => Ok(1),
        _ => row.value::<u32>(column, "whole number"),
    };
    let tasks = figure(instances)?;
    // In hundredths of a core.
    let cores = figure(cpu)?.div_ceil(100).max(1);
    let ran_s = if is_whole { end_s - start_s } else { 0 };
    let rules = context.rules;
    Ok(Draft {
        submit: context.epoch.plus_ms(i64::from(start_s) * 1_000),
        runtime_ms: u64::from(ran_s) * 1_000,
        tasks,
        cores,
        memory_mib: by_core(rules.mib_per_core, cores),
        task_watts: by_core(rules.watts_per_core, cores),
        ..Draft::default()
    })
}
