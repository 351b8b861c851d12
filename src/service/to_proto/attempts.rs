//! Attempts, executions, and the orders of agents.
//!
//! Orders are made of the published state alone: what is not durable cannot be ordered.

use super::{duration, spec::task_resources, time};
use crate::{
    controller::{LeaseTimes, Published},
    domain::{
        agent::{Evidence, RefusedBecause},
        attempt::{Attempt, AttemptEnd, Fence},
        execution::{
            CheckpointSignal, Execution, FailureClass, PauseMode, SiteLostPolicy, Transfer,
        },
        ids::SiteId,
        job::{Active, Flexibility, Job, Phase, StopCause},
        restriction::DrainMode,
    },
    limits,
    proto::v1,
    slot::{Slot, TimeMs},
};

/// An attempt.
pub(super) fn attempt(attempt: &Attempt) -> v1::Attempt {
    let ended = attempt.ended.as_ref();
    let end = ended.map(|ended| ended.end);
    v1::Attempt {
        fence: Some(fence(attempt.fence)),
        site_id: attempt.site.to_string(),
        pool_id: attempt.pool.to_string(),
        assign_time: Some(time(attempt.assigned_at)),
        start_time: attempt.started_at.map(time),
        end_time: ended.map(|ended| time(ended.at)),
        end: end.map_or(v1::AttemptEnd::Unspecified, attempt_end).into(),
        exit_code: match end {
            Some(AttemptEnd::Exited(code)) => code.into(),
            _ => 0,
        },
        signal: match end {
            Some(AttemptEnd::Signalled(signal)) => signal.into(),
            _ => 0,
        },
        message: ended.map_or_else(String::new, |ended| ended.message.to_string()),
        run_time: ended.map(|ended| duration(ended.run_ms)),
        engine_id: attempt.engine_id.to_string(),
        energy_watt_seconds: ended.map_or(0, |ended| ended.energy_watt_seconds),
    }
}

/// Something reported that was refused.
pub(in crate::service) fn refused_report(evidence: &Evidence) -> v1::RefusedReport {
    v1::RefusedReport {
        record_time: Some(time(evidence.at)),
        reason: refused_because(evidence.reason).into(),
        job_id: evidence
            .about
            .map(|(job, _)| job.to_string())
            .unwrap_or_default(),
        fence: evidence.about.map(|(_, about)| fence(about)),
        kind: evidence.kind.to_string(),
        detail: evidence.detail.to_string(),
    }
}

fn refused_because(reason: RefusedBecause) -> v1::RefusedReportReason {
    match reason {
        RefusedBecause::StaleFence => v1::RefusedReportReason::StaleFence,
        RefusedBecause::UnknownJob => v1::RefusedReportReason::UnknownJob,
        RefusedBecause::ForeignJob => v1::RefusedReportReason::ForeignJob,
        RefusedBecause::TimeAhead => v1::RefusedReportReason::TimeAhead,
        RefusedBecause::TimeBackwards => v1::RefusedReportReason::TimeBackwards,
        RefusedBecause::EndBeforeStart => v1::RefusedReportReason::EndBeforeStart,
        RefusedBecause::RunTimeTooLong => v1::RefusedReportReason::RunTimeTooLong,
        RefusedBecause::EnergyTooHigh => v1::RefusedReportReason::EnergyTooHigh,
        RefusedBecause::ReplacedProcess => v1::RefusedReportReason::ReplacedProcess,
    }
}

/// A fence.
pub(in crate::service) fn fence(fence: Fence) -> v1::Fence {
    v1::Fence {
        site_epoch: fence.site_epoch,
        attempt: fence.attempt,
    }
}

fn attempt_end(end: AttemptEnd) -> v1::AttemptEnd {
    match end {
        AttemptEnd::Exited(_) => v1::AttemptEnd::Exited,
        AttemptEnd::Signalled(_) => v1::AttemptEnd::Signalled,
        AttemptEnd::Stopped => v1::AttemptEnd::Stopped,
        AttemptEnd::TimedOut => v1::AttemptEnd::TimedOut,
        AttemptEnd::OutOfMemory => v1::AttemptEnd::OutOfMemory,
        AttemptEnd::StartFailed => v1::AttemptEnd::StartFailed,
        AttemptEnd::SelfFenced => v1::AttemptEnd::SelfFenced,
        AttemptEnd::EngineLost => v1::AttemptEnd::EngineLost,
        AttemptEnd::Declined => v1::AttemptEnd::Declined,
        AttemptEnd::SiteLost => v1::AttemptEnd::SiteLost,
        AttemptEnd::Paused => v1::AttemptEnd::Paused,
        AttemptEnd::StageFailed => v1::AttemptEnd::StageFailed,
    }
}

/// What runs.
pub(super) fn execution(execution: &Execution) -> v1::Execution {
    let environment = execution.environment.iter();
    v1::Execution {
        argv: execution.argv.iter().map(|arg| arg.to_string()).collect(),
        environment: environment
            .map(|(name, value)| (name.to_string(), value.to_string()))
            .collect(),
        max_runtime: execution.max_runtime_ms.map(duration),
        retry: Some(v1::RetryPolicy {
            max_attempts: execution.retry.max_attempts,
            backoff: Some(duration(execution.retry.backoff_ms)),
            retry_on: execution
                .retry
                .retry_on
                .iter()
                .map(|class| failure_class(*class).into())
                .collect(),
        }),
        on_site_lost: match execution.on_site_lost {
            SiteLostPolicy::Requeue => v1::SiteLostPolicy::Requeue,
            SiteLostPolicy::Wait => v1::SiteLostPolicy::Wait,
            SiteLostPolicy::Fail => v1::SiteLostPolicy::Fail,
        }
        .into(),
        at_most_once: execution.at_most_once,
        stop_grace: Some(duration(execution.stop_grace_ms)),
        pause_mode: match execution.pause_mode {
            PauseMode::Suspend => v1::PauseMode::Suspend,
            PauseMode::Requeue => v1::PauseMode::Requeue,
        }
        .into(),
        checkpoint: execution.checkpoint.map(|checkpoint| v1::Checkpoint {
            signal: match checkpoint.signal {
                CheckpointSignal::Usr1 => v1::CheckpointSignal::Usr1,
                CheckpointSignal::Usr2 => v1::CheckpointSignal::Usr2,
                CheckpointSignal::Hup => v1::CheckpointSignal::Hup,
            }
            .into(),
            grace: Some(duration(checkpoint.grace_ms)),
        }),
        inputs: transfers(&execution.inputs),
        outputs: transfers(&execution.outputs),
    }
}

fn transfers(transfers: &[Transfer]) -> Vec<v1::Transfer> {
    let transfer = |transfer: &Transfer| v1::Transfer {
        source: transfer.source.to_string(),
        destination: transfer.destination.to_string(),
    };
    transfers.iter().map(transfer).collect()
}

fn failure_class(class: FailureClass) -> v1::FailureClass {
    match class {
        FailureClass::ExitCode => v1::FailureClass::ExitCode,
        FailureClass::Signal => v1::FailureClass::Signal,
        FailureClass::Timeout => v1::FailureClass::Timeout,
        FailureClass::OutOfMemory => v1::FailureClass::OutOfMemory,
        FailureClass::Start => v1::FailureClass::Start,
        FailureClass::Engine => v1::FailureClass::Engine,
        FailureClass::Stage => v1::FailureClass::Stage,
    }
}

/// Everything the agent of a site should do.
pub(in crate::service) fn orders(
    Published { state, slot, .. }: &Published,
    site: &SiteId,
    times: LeaseTimes,
    now: TimeMs,
) -> v1::AgentOrders {
    let agent = state.agent(site);
    let member = agent.and_then(|agent| agent.member.as_ref());
    let epoch = agent.map_or(0, |agent| agent.epoch);
    let drain = state.site(site).and_then(|site| site.restrictions.drain);
    let is_killed = drain.is_some_and(|drain| drain.mode == DrainMode::Kill);
    v1::AgentOrders {
        site_epoch: epoch,
        server_time: Some(time(now)),
        heartbeat_interval: Some(duration(times.heartbeat_ms)),
        stop_after: Some(duration(times.stop_after_ms)),
        acknowledged_sequence: member.map_or(0, |member| member.acknowledged),
        revision: state.revision().0,
        // Known to the connection alone.
        answered_report: 0,
        attempts: state
            .active_at(site)
            .filter_map(|job| order(job, job.state.active()?, *slot, epoch, is_killed))
            .collect(),
    }
}

/// The bandwidth that was booked for the input, or what the job may take when nothing was.
fn stage_rate(job: &Job, active: &Active) -> u64 {
    let booked = active.placement.stage_in.as_ref();
    let asked = || {
        job.spec
            .staging
            .map(|staging| staging.bits_per_second(None))
    };
    let rate = booked
        .map(|stage_in| stage_in.bits_per_second)
        .or_else(asked);
    rate.unwrap_or_default()
}

fn order(
    job: &Job,
    active: &Active,
    slot: Slot,
    epoch: u64,
    is_killed: bool,
) -> Option<v1::AttemptOrder> {
    // What an earlier agent was offered is not this one's to run.
    let last = job.work.as_deref()?.last()?;
    if last.fence.site_epoch != epoch {
        return None;
    }
    let wish = match (active.phase, active.pause) {
        (Phase::Stopping(_), _) => v1::AttemptWish::Stop,
        (_, Some(_)) => v1::AttemptWish::Suspend,
        (_, None) => v1::AttemptWish::Run,
    };
    let execution_of = job.spec.execution.as_deref()?;
    let is_malleable = matches!(job.spec.flexibility, Flexibility::Malleable { .. });
    let offer = (active.phase == Phase::Assigned).then(|| v1::AttemptOffer {
        name: job.spec.name.to_string(),
        pool_id: active.placement.pool.to_string(),
        task_resources: Some(task_resources(&job.spec.task)),
        task_count: job.spec.task_count,
        execution: Some(execution(execution_of)),
        max_run_time: Some(duration(
            execution_of.max_run_ms(job.spec.timing.runtime_ms),
        )),
        stage_bits_per_second: stage_rate(job, active),
        it_power_watts: job.spec.it_watts(),
        max_units: if is_malleable {
            active.placement.most_units()
        } else {
            0
        },
    });
    Some(v1::AttemptOrder {
        job_id: job.id.to_string(),
        fence: Some(fence(last.fence)),
        wish: wish.into(),
        offer,
        stop_grace: (wish == v1::AttemptWish::Stop).then(|| {
            let grace_ms = match active.stopping() {
                Some(StopCause::Forbidden) => limits::FORBIDDEN_GRACE_MS_MAX,
                _ => limits::STOP_GRACE_MS_MAX,
            };
            let grace_ms = execution_of.stop_grace_ms.min(grace_ms);
            duration(if is_killed { 0 } else { grace_ms })
        }),
        goes_on: match active.phase {
            Phase::Stopping(StopCause::Pause) => true,
            // Who asks for another start may want a fresh one, unless the program saves what it has done.
            Phase::Stopping(
                StopCause::Requeue
                | StopCause::Drain
                | StopCause::Maintenance
                | StopCause::Curtailed,
            ) => execution_of.checkpoint.is_some(),
            // What the rules forbid here saves nothing here.
            Phase::Stopping(StopCause::Cancel | StopCause::Deadline | StopCause::Forbidden)
            | Phase::Assigned
            | Phase::Starting
            | Phase::Running
            | Phase::Suspended => false,
        },
        units: match wish {
            v1::AttemptWish::Run if is_malleable => active.placement.units_at(slot),
            _ => 0,
        },
    })
}
