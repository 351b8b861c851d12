//! Reads what is to run at a site.
//!
//! Absent pauses mean the stated defaults; the domain checks sizes, names and bounds.

use std::collections::BTreeSet;

use super::fields::Fields;
use crate::{
    domain::execution::{
        Checkpoint, CheckpointSignal, Execution, FailureClass, PauseMode, RetryPolicy,
        SiteLostPolicy,
    },
    limits,
    proto::v1,
};

const CLASSES: [(v1::FailureClass, FailureClass); 6] = [
    (v1::FailureClass::ExitCode, FailureClass::ExitCode),
    (v1::FailureClass::Signal, FailureClass::Signal),
    (v1::FailureClass::Timeout, FailureClass::Timeout),
    (v1::FailureClass::OutOfMemory, FailureClass::OutOfMemory),
    (v1::FailureClass::Start, FailureClass::Start),
    (v1::FailureClass::Engine, FailureClass::Engine),
];

const SITE_LOST: [(v1::SiteLostPolicy, SiteLostPolicy); 3] = [
    (v1::SiteLostPolicy::Requeue, SiteLostPolicy::Requeue),
    (v1::SiteLostPolicy::Wait, SiteLostPolicy::Wait),
    (v1::SiteLostPolicy::Fail, SiteLostPolicy::Fail),
];

const PAUSE_MODES: [(v1::PauseMode, PauseMode); 2] = [
    (v1::PauseMode::Suspend, PauseMode::Suspend),
    (v1::PauseMode::Requeue, PauseMode::Requeue),
];

const SIGNALS: [(v1::CheckpointSignal, CheckpointSignal); 3] = [
    (v1::CheckpointSignal::Usr1, CheckpointSignal::Usr1),
    (v1::CheckpointSignal::Usr2, CheckpointSignal::Usr2),
    (v1::CheckpointSignal::Hup, CheckpointSignal::Hup),
];

/// Reads what runs; `None` when nothing does.
pub(super) fn execution(
    fields: &mut Fields,
    execution: Option<&v1::Execution>,
) -> Option<Execution> {
    let execution = execution?;
    Some(fields.within("execution", |fields| {
        // No more than one above the bound is needed to be refused.
        let argv = execution.argv.iter().take(limits::ARGV_MAX + 1);
        let environment = execution
            .environment
            .iter()
            .take(limits::ENVIRONMENT_MAX + 1);
        Execution {
            argv: argv.map(|arg| arg.as_str().into()).collect(),
            environment: environment
                .map(|(name, value)| (name.as_str().into(), value.as_str().into()))
                .collect(),
            max_runtime_ms: execution
                .max_runtime
                .as_ref()
                .and_then(|max| fields.duration_ms("max_runtime", Some(max))),
            retry: retry(fields, execution.retry.as_ref()),
            on_site_lost: fields.choice_or(
                "on_site_lost",
                execution.on_site_lost,
                SiteLostPolicy::Requeue,
                &SITE_LOST,
                |policy| policy.as_str_name(),
            ),
            at_most_once: execution.at_most_once,
            stop_grace_ms: match &execution.stop_grace {
                Some(grace) => fields.duration_ms("stop_grace", Some(grace)).unwrap_or(0),
                None => limits::STOP_GRACE_MS_DEFAULT,
            },
            pause_mode: fields.choice_or(
                "pause_mode",
                execution.pause_mode,
                PauseMode::Suspend,
                &PAUSE_MODES,
                |mode| mode.as_str_name(),
            ),
            checkpoint: checkpoint(fields, execution.checkpoint.as_ref()),
        }
    }))
}

fn checkpoint(fields: &mut Fields, checkpoint: Option<&v1::Checkpoint>) -> Option<Checkpoint> {
    let checkpoint = checkpoint?;
    fields.within("checkpoint", |fields| {
        let signal = fields.choice("signal", checkpoint.signal, &SIGNALS, |signal| {
            signal.as_str_name()
        });
        let grace_ms = match &checkpoint.grace {
            Some(grace) => fields.duration_ms("grace", Some(grace)).unwrap_or(0),
            None => limits::CHECKPOINT_GRACE_MS_DEFAULT,
        };
        signal.map(|signal| Checkpoint { signal, grace_ms })
    })
}

fn retry(fields: &mut Fields, retry: Option<&v1::RetryPolicy>) -> RetryPolicy {
    let Some(retry) = retry else {
        return RetryPolicy {
            max_attempts: 1,
            backoff_ms: limits::RETRY_BACKOFF_MS_DEFAULT,
            retry_on: BTreeSet::new(),
        };
    };
    fields.within("retry", |fields| {
        let classes = fields.list(
            "retry_on",
            &retry.retry_on,
            CLASSES.len(),
            |fields, _, class| fields.choice("", *class, &CLASSES, |class| class.as_str_name()),
        );
        RetryPolicy {
            max_attempts: retry.max_attempts.max(1),
            backoff_ms: match &retry.backoff {
                Some(backoff) => fields.duration_ms("backoff", Some(backoff)).unwrap_or(0),
                None => limits::RETRY_BACKOFF_MS_DEFAULT,
            },
            retry_on: classes.into_iter().flatten().collect(),
        }
    })
}
