//! Jobs in the formats of others, and forecasts as a plain table: how they are read, and what is refused.
//!
//! A refused file is named with line, column and reason.

use lancang::sim::backtest::{BacktestError, Scenario};

use super::{
    Files,
    inputs::{problems, says, swap},
};

#[test]
fn the_standard_workload_format_is_read_by_its_fields() {
    let mut files =
        Files::new().with("[jobs]\nformat = \"swf\"\nwatts_per_core = 100\ncores_per_task = 16\n");
    // Job, submit, wait, run, allocated, cpu, memory, requested processors, time, memory, and the rest.
    files.jobs = "; UnixStartTime: 0\n\
                  1 3600 5 1800 32 -1 -1 40 7200 2048 1 1 1 -1 -1 -1 -1 -1\n\
                  2 7200 5 0 4 -1 -1 4 7200 -1 0 1 1 -1 -1 -1 -1 -1\n"
        .to_owned();
    let scenario = files.load();
    assert_eq!(scenario.left_out.without_runtime, 1);
    let job = &scenario.jobs[0];
    assert_eq!(&*job.name, "j1");
    assert_eq!(
        job.submit.0,
        scenario.grid.start_of(scenario.range.start).0 + 3_600_000
    );
    assert_eq!((job.spec.task_count, job.spec.task.cpu_cores), (2, 16));
    assert_eq!(job.spec.task_power_watts, 1_600);
    assert_eq!(job.spec.task.memory_mib, 2 * 16);
    assert_eq!(
        (job.spec.timing.runtime_ms, job.actual_slots),
        (7_200_000, 1)
    );
}

#[test]
fn impossible_lines_of_the_standard_workload_format_are_refused_with_their_field() {
    let line = "1 3600 5 1800 32 -1 -1 40 7200 2048 1 1 1 -1 -1 -1 -1 -1";
    for (wrong, expected) in [
        ("3 10 x".to_owned(), "jobs.csv:2: 3 fields instead of 18"),
        (
            line.replace("3600", "-1"),
            "jobs.csv:2: column 2 (submit time): is unknown",
        ),
        (
            line.replace("1800", "NaN"),
            "jobs.csv:2: column 4 (run time): `NaN` is no number from -1 on",
        ),
        (
            line.replace("32", "-32"),
            "jobs.csv:2: column 5 (allocated processors): `-32` is no number from -1 on",
        ),
        (
            line.replace("7200", "-7200"),
            "jobs.csv:2: column 9 (requested time): `-7200` is no number from -1 on",
        ),
        (
            line.replace("2048", "lots"),
            "jobs.csv:2: column 10 (requested memory): `lots` is no number from -1 on",
        ),
    ] {
        let found = problems(|files| {
            files.scenario.push_str("[jobs]\nformat = \"swf\"\n");
            files.jobs = format!("; a remark\n{wrong}\n{line}\n");
        });
        says(&found, expected);
    }
    // A log that ends in the middle of its last line, be it even of a number.
    let found = problems(|files| {
        files.scenario.push_str("[jobs]\nformat = \"swf\"\n");
        files.jobs = format!("{line}\n{line}");
    });
    says(&found, "jobs.csv:2: the last line has no line break");
}

#[test]
fn impossible_rows_of_a_trace_are_refused_with_their_column() {
    for (wrong, expected) in [
        (
            "NaN,2,4",
            "jobs.csv:3: column arrival_time: `NaN` is not a number from 0 on",
        ),
        (
            "-1,2,4",
            "jobs.csv:3: column arrival_time: `-1` is not a number from 0 on",
        ),
        (
            "1,inf,4",
            "jobs.csv:3: column length: `inf` is not a number from 0 on",
        ),
        (
            "1,-2,4",
            "jobs.csv:3: column length: `-2` is not a number from 0 on",
        ),
        (
            "1,2,-4",
            "jobs.csv:3: column cpus: `-4` is not a number from 0 on",
        ),
        ("1,2,many", "jobs.csv:3: column cpus: `many` is no number"),
        ("1,2", "jobs.csv:3: has 2 cells, the header has 3"),
    ] {
        let found = problems(|files| {
            files.scenario.push_str("[jobs]\nformat = \"trace\"\n");
            files.jobs = format!("arrival_time,length,cpus\n1,2,4\n{wrong}\n");
        });
        says(&found, expected);
    }
    let found = problems(|files| {
        files.scenario.push_str("[jobs]\nformat = \"trace\"\n");
        files.jobs = "arrival_time,length\n1,2\n".to_owned();
    });
    says(&found, "jobs.csv:1: column cpus is missing");
}

#[test]
fn batch_tasks_of_alibaba_are_jobs_of_their_instances() {
    let mut files = Files::new()
        .with("[jobs]\nformat = \"alibaba\"\nwatts_per_core = 100\nmib_per_core = 512\n");
    let rows = "M1,3,j_1,1,Terminated,7200,10800,150,0.2\n\
                R2_1,,j_1,1,Failed,7200,7100,,\n";
    files.jobs =
        format!("task_name,task_count,job_id,none1,status,start_time,end_time,none2,none3\n{rows}");
    let scenario = files.load();
    assert_eq!(scenario.left_out.without_runtime, 1);
    let [job] = &scenario.jobs[..] else {
        panic!("one job")
    };
    let start = scenario.grid.start_of(scenario.range.start).0;
    assert_eq!(job.submit.0 - start, 7_200_000);
    assert_eq!(job.spec.timing.runtime_ms, 3_600_000);
    assert_eq!((job.spec.task_count, job.spec.task.cpu_cores), (3, 2));
    assert_eq!(job.spec.task_power_watts, 200);
    assert_eq!(job.spec.task.memory_mib, 1_024);
    // The header of Alibaba's own schema.
    files.jobs = format!(
        "task_name,instance_num,job_name,task_type,status,start_time,end_time,plan_cpu,plan_mem\n{rows}"
    );
    assert_eq!(files.load().jobs[0].spec, job.spec);

    for (from, to, expected) in [
        (
            ",10800,",
            ",7100,",
            "jobs.csv:2: column end_time: is before start_time",
        ),
        (
            ",7200,10800",
            ",-7200,10800",
            "jobs.csv:2: column start_time: `-7200` is no whole number of seconds",
        ),
        (
            ",150,",
            ",NaN,",
            "jobs.csv:2: column plan_cpu: `NaN` is no whole number",
        ),
        (
            "plan_cpu",
            "cpu",
            "jobs.csv:1: column plan_cpu or none2 is missing",
        ),
    ] {
        let mut wrong = files.clone();
        swap(&mut wrong.jobs, from, to);
        match wrong.try_load() {
            Err(BacktestError::Scenario(found)) => says(&found, expected),
            other => panic!("{other:?}"),
        }
    }
}

/// A table of day-ahead forecasts for both sites, one slot a row.
fn day_ahead(rows: &[&str]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let mut files = Files::new();
    swap(
        &mut files.scenario,
        "forecasts = [\"forecasts.csv\"]",
        "forecasts = [], day_ahead = [{ file = \"forecasts.csv\", unit = \"permille\" }]",
    );
    files.forecasts = format!(
        "ts,alpha_hydro_p10,alpha_hydro_p50,alpha_hydro_p90\n{}\n",
        rows.join("\n")
    );
    files.write(directory.path());
    match Scenario::load(directory.path()) {
        Ok(_) => Vec::new(),
        Err(BacktestError::Scenario(problems)) => problems,
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn a_day_ahead_table_is_in_order_and_within_the_contract() {
    let row = |hour: usize, figures: &str| format!("{},{figures}", super::at(hour));
    let sound = [row(0, "1,2,3"), row(1, "1,2,1000")];
    let sound = sound.each_ref().map(String::as_str);
    assert_eq!(day_ahead(&sound), Vec::<String>::new());
    for (second, expected) in [
        (
            row(2, "1,2,3"),
            "forecasts.csv:3: column ts: does not follow",
        ),
        (
            row(0, "1,2,3"),
            "forecasts.csv:3: column ts: does not follow",
        ),
        (
            row(1, "1,2,1001"),
            "forecasts.csv:3: column alpha_hydro_p90: `1001` is no whole number of thousandths",
        ),
        (
            row(1, "1,NaN,3"),
            "forecasts.csv:3: column alpha_hydro_p50: `NaN` is no whole number of thousandths",
        ),
        (
            row(1, "3,2,3"),
            "forecasts.csv:3: column alpha_hydro_p50: p10 <= p50 <= p90 does not hold",
        ),
        (
            row(1, "1,2"),
            "forecasts.csv:3: has 3 cells, the header has 4",
        ),
    ] {
        says(&day_ahead(&[sound[0], &second]), expected);
    }
}
