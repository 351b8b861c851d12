//! Orders of the server, read and checked once more: what is not sound is declined, never carried out.
//!
//! Nothing past this file sees a job id that is no UUID, an empty program or a variable that the site sets itself.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    agent::attempt::{AttemptKey, Checkpoint, CheckpointSignal, Task, Transfer},
    clock::Mono,
    domain::{execution::is_staged_name, ids::JobId},
    limits,
    proto::v1,
};

/// Shortest time between two reports that nothing but the clock asks for.
const HEARTBEAT_MIN: Duration = Duration::from_millis(50);
/// Longest time without orders that an agent lets its work run on: a day of silence is no lease.
const STOP_AFTER_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Everything an agent should do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Orders {
    /// From when `stop_after` counts: when the report was sent that these orders answer, or when they came.
    pub heard: Mono,
    /// The agent reports at least this often.
    pub heartbeat: Duration,
    /// Without orders for so long everything is stopped.
    pub stop_after: Duration,
    /// Revision of the server's state that they were made of.
    pub revision: u64,
    /// Events up to this one are durable at the server.
    pub acknowledged: u64,
    /// All attempts the site should hold.
    pub attempts: BTreeMap<AttemptKey, Order>,
}

/// What should be of one attempt.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Order {
    /// What should be.
    pub wish: Wish,
    /// What is to run, or why it cannot; absent when the agent should have it.
    pub offer: Option<Result<Task, String>>,
}

/// What should be of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    /// It should run.
    Run {
        /// With so many of its units, if it is malleable.
        units: Option<u32>,
    },
    /// It should be paused.
    Suspend,
    /// It should end.
    Stop {
        /// Time between the first signal and the kill, when the server says one.
        grace: Option<Duration>,
        /// The job goes on later from what it saves now.
        goes_on: bool,
    },
    /// A wish of a later version of the server: leave it as it is.
    Unknown,
}

/// Reads orders; the second part of the answer is what was left out of them, and why.
///
/// # Errors
/// What makes the orders as a whole unusable.
pub fn read(orders: v1::AgentOrders, heard: Mono) -> Result<(Orders, Vec<String>), String> {
    let heartbeat = length(orders.heartbeat_interval)
        .ok_or("heartbeat_interval is missing or no length of time")?;
    let stop_after = length(orders.stop_after)
        .filter(|time| !time.is_zero())
        .ok_or("stop_after is missing or no length of time")?;
    let mut problems = Vec::new();
    let mut attempts = BTreeMap::new();
    for order in orders.attempts {
        match read_order(order) {
            Ok((key, order)) => {
                attempts.insert(key, order);
            }
            Err(problem) => problems.push(problem),
        }
    }
    let stop_after = stop_after.min(STOP_AFTER_MAX);
    let orders = Orders {
        heard,
        // At least three reports within a lease, whatever the server says.
        heartbeat: heartbeat.min(stop_after / 3).max(HEARTBEAT_MIN),
        stop_after,
        revision: orders.revision,
        acknowledged: orders.acknowledged_sequence,
        attempts,
    };
    Ok((orders, problems))
}

fn read_order(order: v1::AttemptOrder) -> Result<(AttemptKey, Order), String> {
    let job_id = JobId::parse(&order.job_id).ok_or_else(|| {
        format!(
            "an order names the job {:?}, which is no UUID",
            order.job_id
        )
    })?;
    let fence = order
        .fence
        .filter(|fence| fence.attempt > 0)
        .ok_or_else(|| format!("an order for the job {job_id} has no fence"))?;
    let key = AttemptKey {
        job_id,
        site_epoch: fence.site_epoch,
        attempt: fence.attempt,
    };
    let wish = match order.wish() {
        v1::AttemptWish::Run => Wish::Run {
            units: (0 < order.units).then_some(order.units),
        },
        v1::AttemptWish::Suspend => Wish::Suspend,
        v1::AttemptWish::Stop => Wish::Stop {
            grace: length(order.stop_grace),
            goes_on: order.goes_on,
        },
        v1::AttemptWish::Unspecified => Wish::Unknown,
    };
    let offer = order.offer.map(read_offer);
    Ok((key, Order { wish, offer }))
}

fn read_offer(offer: v1::AttemptOffer) -> Result<Task, String> {
    let execution = offer.execution.ok_or("there is nothing to execute")?;
    check_arguments(&execution.argv)?;
    check_environment(&execution.environment)?;
    let max_run_time = length(offer.max_run_time)
        .filter(|time| !time.is_zero())
        .ok_or("max_run_time is missing or no length of time")?;
    let stop_grace = match execution.stop_grace {
        Some(grace) => length(Some(grace)).ok_or("stop_grace is no length of time")?,
        None => Duration::from_millis(limits::STOP_GRACE_MS_DEFAULT),
    };
    let checkpoint = execution.checkpoint.map(read_checkpoint).transpose()?;
    let inputs = read_transfers(execution.inputs)?;
    let outputs = read_transfers(execution.outputs)?;
    let resources = offer.task_resources.ok_or("task_resources is missing")?;
    if !(1..=limits::TASKS_MAX).contains(&offer.task_count) {
        return Err("task_count is out of range".to_owned());
    }
    let units_max = offer.max_units.max(1);
    if !usize::try_from(units_max).is_ok_and(|units| units <= *limits::SPEEDS.end()) {
        return Err("max_units is out of range".to_owned());
    }
    Ok(Task {
        argv: execution.argv,
        environment: execution.environment,
        task_count: offer.task_count,
        cpu_cores: resources.cpu_cores.max(1),
        gpus: resources.gpus,
        units_max,
        it_power_watts: offer.it_power_watts.saturating_mul(units_max.into()),
        memory_mib: resources
            .memory_mib
            .saturating_mul(u64::from(offer.task_count) * u64::from(units_max)),
        max_run_time,
        stop_grace: stop_grace.min(Duration::from_millis(limits::STOP_GRACE_MS_MAX)),
        checkpoint,
        inputs,
        outputs,
        stage_bits_per_second: offer.stage_bits_per_second,
    })
}

fn read_transfers(transfers: Vec<v1::Transfer>) -> Result<Vec<Transfer>, String> {
    if transfers.len() > limits::TRANSFERS_MAX {
        return Err("there are too many files to copy".to_owned());
    }
    let read = |transfer: v1::Transfer| {
        for name in [&transfer.source, &transfer.destination] {
            if !is_staged_name(name) {
                return Err(format!("{name:?} is no relative path of a file to copy"));
            }
        }
        Ok(Transfer {
            source: transfer.source,
            destination: transfer.destination,
        })
    };
    transfers.into_iter().map(read).collect()
}

fn read_checkpoint(checkpoint: v1::Checkpoint) -> Result<Checkpoint, String> {
    let signal = match checkpoint.signal() {
        v1::CheckpointSignal::Usr1 => CheckpointSignal::Usr1,
        v1::CheckpointSignal::Usr2 => CheckpointSignal::Usr2,
        v1::CheckpointSignal::Hup => CheckpointSignal::Hup,
        v1::CheckpointSignal::Unspecified => return Err("the checkpoint has no signal".to_owned()),
    };
    let grace = match checkpoint.grace {
        Some(grace) => length(Some(grace)).ok_or("checkpoint.grace is no length of time")?,
        None => Duration::from_millis(limits::CHECKPOINT_GRACE_MS_DEFAULT),
    };
    Ok(Checkpoint {
        signal,
        grace: grace.min(Duration::from_millis(limits::CHECKPOINT_GRACE_MS_MAX)),
    })
}

fn check_arguments(argv: &[String]) -> Result<(), String> {
    let program = argv.first().ok_or("argv is empty")?;
    if program.is_empty() || (program.contains('/') && !program.starts_with('/')) {
        return Err("the program is neither an absolute path nor a name".to_owned());
    }
    if argv.len() > limits::ARGV_MAX
        || argv.iter().map(String::len).sum::<usize>() > limits::ARGV_BYTES_MAX
    {
        return Err("argv is too long".to_owned());
    }
    if argv.iter().any(|argument| argument.contains('\0')) {
        return Err("argv contains NUL".to_owned());
    }
    Ok(())
}

fn check_environment(environment: &BTreeMap<String, String>) -> Result<(), String> {
    let bytes: usize = environment.iter().map(|(n, v)| n.len() + v.len()).sum();
    if environment.len() > limits::ENVIRONMENT_MAX || bytes > limits::ENVIRONMENT_BYTES_MAX {
        return Err("the environment is too long".to_owned());
    }
    for (name, value) in environment {
        let mut bytes = name.bytes();
        let is_name = bytes
            .next()
            .is_some_and(|first| first.is_ascii_alphabetic() || first == b'_')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        if !is_name {
            return Err(format!("{name:?} is no name of a variable"));
        }
        if name == "PATH" || name.starts_with("LD_") || name.starts_with("LANCANG_") {
            return Err(format!("the variable {name} is the site's"));
        }
        if value.contains('\0') {
            return Err(format!("the variable {name} contains NUL"));
        }
    }
    Ok(())
}

/// A length of time that is not negative.
fn length(time: Option<prost_types::Duration>) -> Option<Duration> {
    Duration::try_from(time?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    fn offer(argv: &[&str], environment: &[(&str, &str)]) -> v1::AttemptOffer {
        v1::AttemptOffer {
            task_resources: Some(v1::TaskResources {
                cpu_cores: 1,
                memory_mib: 64,
                ..Default::default()
            }),
            task_count: 2,
            execution: Some(v1::Execution {
                argv: argv.iter().map(|&text| text.to_owned()).collect(),
                environment: environment
                    .iter()
                    .map(|&(name, value)| (name.to_owned(), value.to_owned()))
                    .collect(),
                ..Default::default()
            }),
            max_run_time: seconds(60),
            it_power_watts: 700,
            ..Default::default()
        }
    }

    #[test]
    fn an_offer_becomes_a_task() {
        let task = read_offer(offer(&["true", "-x"], &[("A_1", "a=b\n")])).unwrap();
        assert_eq!(task.argv, ["true", "-x"]);
        assert_eq!((task.memory_mib, task.units_max), (128, 1));
        assert_eq!(
            (task.cpu_cores, task.gpus, task.it_power_watts),
            (1, 0, 700)
        );
        assert_eq!(task.stop_grace, Duration::from_secs(30));
        assert_eq!(task.max_run_time, Duration::from_secs(60));
    }

    #[test]
    fn units_are_read_and_what_bounds_an_attempt_is_for_the_most() {
        let mut malleable = offer(&["true"], &[]);
        malleable.max_units = 3;
        let task = read_offer(malleable.clone()).unwrap();
        assert_eq!((task.task_count, task.units_max), (2, 3));
        assert_eq!((task.memory_mib, task.it_power_watts), (384, 2_100));
        assert_eq!(task.cpu_cores_max(), 6);
        malleable.max_units = 64;
        assert!(read_offer(malleable.clone()).is_ok());
        malleable.max_units = 65;
        let said = read_offer(malleable).unwrap_err();
        assert!(said.contains("max_units"), "{said}");
        let wish = |wish: v1::AttemptWish, units| {
            let order = v1::AttemptOrder {
                job_id: "00000000-0000-7000-8000-000000000001".to_owned(),
                fence: Some(v1::Fence {
                    site_epoch: 1,
                    attempt: 1,
                }),
                wish: wish.into(),
                units,
                ..Default::default()
            };
            read_order(order).unwrap().1.wish
        };
        let run = |units| wish(v1::AttemptWish::Run, units);
        assert_eq!(run(2), Wish::Run { units: Some(2) });
        assert_eq!(run(0), Wish::Run { units: None });
        assert_eq!(wish(v1::AttemptWish::Suspend, 2), Wish::Suspend);
    }

    #[test]
    fn what_the_proto_forbids_is_declined_with_the_reason() {
        let long = "x".repeat(limits::ARGV_BYTES_MAX);
        let many = vec!["x"; limits::ARGV_MAX + 1];
        let cases: [(v1::AttemptOffer, &str); 11] = [
            (offer(&[], &[]), "argv is empty"),
            (offer(&[""], &[]), "the program"),
            (offer(&["../x"], &[]), "the program"),
            (offer(&["x", &long], &[]), "too long"),
            (offer(&many, &[]), "too long"),
            (offer(&["x", "a\0b"], &[]), "NUL"),
            (offer(&["x"], &[("A=B", "")]), "no name of a variable"),
            (offer(&["x"], &[("", "")]), "no name of a variable"),
            (offer(&["x"], &[("PATH", "/")]), "the site's"),
            (offer(&["x"], &[("LD_PRELOAD", "/")]), "the site's"),
            (offer(&["x"], &[("LANCANG_FENCE", "9")]), "the site's"),
        ];
        for (offer, reason) in cases {
            let said = read_offer(offer).unwrap_err();
            assert!(said.contains(reason), "{said} lacks {reason}");
        }
        let mut endless = offer(&["x"], &[]);
        endless.max_run_time = seconds(-1);
        assert!(read_offer(endless).is_err());
    }

    #[test]
    fn orders_that_name_nothing_are_left_out_and_told() {
        let order = |job: &str, attempt| v1::AttemptOrder {
            job_id: job.to_owned(),
            fence: Some(v1::Fence {
                site_epoch: 1,
                attempt,
            }),
            wish: v1::AttemptWish::Run.into(),
            ..Default::default()
        };
        let good = "00000000-0000-7000-8000-000000000001";
        let orders = v1::AgentOrders {
            heartbeat_interval: seconds(5),
            stop_after: seconds(30),
            attempts: vec![order("../../x", 1), order(good, 0), order(good, 1)],
            ..Default::default()
        };
        let (read, problems) = read(orders, Mono(9)).unwrap();
        assert_eq!(read.attempts.len(), 1);
        assert_eq!(problems.len(), 2, "{problems:?}");
        assert_eq!(read.heard, Mono(9));
    }

    #[test]
    fn a_lease_holds_three_heartbeats() {
        let orders = |heartbeat, stop_after| v1::AgentOrders {
            heartbeat_interval: seconds(heartbeat),
            stop_after: seconds(stop_after),
            ..Default::default()
        };
        let (read_late, _) = read(orders(60, 30), Mono(0)).unwrap();
        assert_eq!(read_late.heartbeat, Duration::from_secs(10));
        assert!(read(orders(1, 0), Mono(0)).is_err());
        assert!(read(orders(1, -5), Mono(0)).is_err());
    }
}
