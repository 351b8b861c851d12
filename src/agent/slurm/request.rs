//! What an attempt asks of Slurm: numbers, our own words and names of the site; nothing of a job's text.
//!
//! The script is one fixed line. What runs stands in the plan of the attempt, which only its shim reads.

use std::{path::Path, time::Duration};

use serde::Serialize;

use crate::agent::{
    attempt::{AttemptKey, Task},
    slurm::{Options, answers::Mark},
};

/// The batch script of every job.
const SCRIPT: &str = "#!/bin/sh\nexec \"$LANCANG_PROGRAM\" agent-shim \"$LANCANG_DIR\"\n";

/// What the script finds its shell and its shim with, before Slurm adds its own.
const PATH: &str = "/usr/local/bin:/usr/bin:/bin";

/// How much longer than the shim's own limit Slurm waits before it kills.
const TIME_SLACK: Duration = Duration::from_secs(60);

/// Resources of an attempt, in the units of Slurm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Ask {
    tasks: u32,
    cpus_per_task: u32,
    memory_per_cpu_mib: u64,
    pub(super) gpus_per_task: u32,
    time_limit_minutes: u64,
    licences: Option<String>,
    /// It begins with what is brought in before.
    pub(super) has_input: bool,
}

impl Ask {
    /// What a task needs.
    pub(super) fn new(task: &Task, options: &Options) -> Self {
        // Slurm changes no job: it gets what the most units need, for good.
        let tasks = task.task_count.saturating_mul(task.units_max);
        let cpus = u64::from(tasks) * u64::from(task.cpu_cores);
        let time = task.max_run_time + task.stop_grace + TIME_SLACK + options.pause;
        let licence = options.licence.as_ref();
        Self {
            tasks,
            cpus_per_task: task.cpu_cores,
            memory_per_cpu_mib: task.memory_mib.div_ceil(cpus.max(1)),
            gpus_per_task: task.gpus,
            time_limit_minutes: time.as_secs().div_ceil(60),
            licences: licence.map(|licence| licence.of(task.it_power_watts)),
            has_input: !task.inputs.is_empty(),
        }
    }
}

#[derive(Debug, Serialize)]
struct Submission<'a> {
    job: Job<'a>,
    script: &'static str,
}

/// Names as slurmrestd has them.
#[derive(Debug, Serialize)]
struct Job<'a> {
    name: String,
    comment: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    partition: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    qos: Option<&'a str>,
    tasks: u32,
    cpus_per_task: u32,
    memory_per_cpu: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    gpus_per_task: Option<String>,
    time_limit: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    licenses: Option<&'a str>,
    /// The documented `requeue: false` is read and has no effect; this has, in every version that is spoken.
    no_requeue: bool,
    dependency: &'static str,
    current_working_directory: &'a str,
    standard_input: &'static str,
    standard_output: String,
    open_mode: &'static str,
    environment: Environment<'a>,
}

/// All that the script finds; Slurm adds its own, nothing of the agent's.
#[derive(Debug, Serialize)]
struct Environment<'a> {
    #[serde(rename = "PATH")]
    path: &'static str,
    #[serde(rename = "LANCANG_PROGRAM")]
    program: &'a str,
    #[serde(rename = "LANCANG_DIR")]
    dir: &'a str,
}

/// The body of a submission; the paths are as `checked_path` allows them.
pub(super) fn body(
    ask: &Ask,
    key: AttemptKey,
    instance: &str,
    options: &Options,
    program: &str,
    dir: &str,
) -> Vec<u8> {
    let Mark { name, comment } = Mark::new(instance, key);
    let submission = Submission {
        job: Job {
            name,
            comment,
            partition: options.partition.as_ref().map(|name| name.0.as_str()),
            account: options.account.as_ref().map(|name| name.0.as_str()),
            qos: options.qos.as_ref().map(|name| name.0.as_str()),
            tasks: ask.tasks,
            cpus_per_task: ask.cpus_per_task,
            memory_per_cpu: ask.memory_per_cpu_mib,
            gpus_per_task: (ask.gpus_per_task > 0).then(|| ask.gpus_per_task.to_string()),
            time_limit: ask.time_limit_minutes,
            licenses: ask.licences.as_deref(),
            no_requeue: true,
            // Of the same name and user never two run at once.
            dependency: "singleton",
            current_working_directory: dir,
            standard_input: "/dev/null",
            standard_output: format!("{dir}/shim.log"),
            open_mode: "append",
            environment: Environment {
                path: PATH,
                program,
                dir,
            },
        },
        script: SCRIPT,
    };
    serde_json::to_vec(&submission).unwrap_or_default()
}

/// A path that means the same to Slurm as to everybody else: no patterns, no escapes, plain text.
pub(super) fn checked_path(path: &Path) -> Option<&str> {
    let is_plain = |text: &&str| {
        !text
            .chars()
            .any(|c| c.is_control() || c == '%' || c == '\\')
    };
    path.to_str().filter(is_plain)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, path::PathBuf};

    use serde_json::{Value, json};

    use super::*;
    use crate::{
        agent::slurm::{Licence, Name},
        domain::ids::JobId,
    };

    fn options() -> Options {
        Options {
            socket: PathBuf::new(),
            partition: Some(Name::parse("green").unwrap()),
            account: None,
            qos: None,
            licence: Some(Licence::parse("kw=1000").unwrap()),
            pause: Duration::from_secs(600),
        }
    }

    fn task() -> Task {
        let hostile = "\n#SBATCH --uid=0\n%j$(x)";
        Task {
            argv: vec!["true".to_owned(), hostile.to_owned()],
            environment: BTreeMap::from([("V".to_owned(), hostile.to_owned())]),
            task_count: 3,
            cpu_cores: 4,
            gpus: 2,
            memory_mib: 1_000,
            units_max: 1,
            it_power_watts: 2_001,
            max_run_time: Duration::from_secs(90),
            stop_grace: Duration::from_secs(30),
            checkpoint: None,
            inputs: Vec::new(),
            outputs: Vec::new(),
            stage_bits_per_second: 0,
        }
    }

    #[test]
    fn a_request_holds_numbers_and_our_own_words_only() {
        let key = AttemptKey {
            job_id: JobId(10),
            site_epoch: 3,
            attempt: 2,
        };
        let ask = Ask::new(&task(), &options());
        let body = body(&ask, key, "i", &options(), "/bin/lancang", "/a/attempts/x");
        let name = "00000000-0000-0000-0000-00000000000a.3.2";
        let found: Value = serde_json::from_slice(&body).unwrap();
        let wanted = json!({
            "job": {
                "name": format!("lancang-{name}"),
                "comment": format!("lancang i {name}"),
                "partition": "green",
                "tasks": 3,
                "cpus_per_task": 4,
                "memory_per_cpu": 84,
                "gpus_per_task": "2",
                "time_limit": 13,
                "licenses": "kw:3",
                "no_requeue": true,
                "dependency": "singleton",
                "current_working_directory": "/a/attempts/x",
                "standard_input": "/dev/null",
                "standard_output": "/a/attempts/x/shim.log",
                "open_mode": "append",
                "environment": {
                    "PATH": "/usr/local/bin:/usr/bin:/bin",
                    "LANCANG_PROGRAM": "/bin/lancang",
                    "LANCANG_DIR": "/a/attempts/x",
                },
            },
            "script": "#!/bin/sh\nexec \"$LANCANG_PROGRAM\" agent-shim \"$LANCANG_DIR\"\n",
        });
        assert_eq!(found, wanted);
    }

    #[test]
    fn what_is_malleable_is_given_what_its_most_units_need() {
        let malleable = Task {
            units_max: 3,
            ..task()
        };
        let ask = Ask::new(&malleable, &options());
        assert_eq!((ask.tasks, ask.cpus_per_task), (9, 4));
        // All of the memory is for the most units already.
        assert_eq!(ask.memory_per_cpu_mib, 28);
    }

    #[test]
    fn paths_that_slurm_would_read_otherwise_are_refused() {
        for (path, is_plain) in [
            ("/a b/'\"$(x)/c", true),
            ("/a/%j", false),
            ("/a/\\b", false),
            ("/a\nb", false),
        ] {
            assert_eq!(checked_path(Path::new(path)).is_some(), is_plain, "{path}");
        }
    }
}
