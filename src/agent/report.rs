//! What an agent says, as the messages of the API.
//!
//! A report is complete in itself, but for events that do not fit: those follow in the next, in order.

use std::time::Duration;

use uuid::Uuid;

use crate::{
    agent::{
        attempt::{AttemptKey, End, Event, EventKind, How, StopCause, shorten},
        core::Core,
        spool::Identity,
    },
    limits,
    proto::v1::{self, agent_event},
};

/// Everything the agent has to say now; its number is given when it is sent. The process tells this agent from another one
/// with the same identity.
#[must_use]
pub fn report(core: &Core, identity: &Identity, process: Uuid) -> v1::AgentReport {
    let held = core.book().attempts().keys().map(|&key| v1::HeldAttempt {
        job_id: key.job_id.to_string(),
        fence: Some(fence(key)),
    });
    let events = core.book().events().iter();
    v1::AgentReport {
        site_id: identity.site_id.clone(),
        instance_id: identity.instance_id.clone(),
        held: held.take(limits::HELD_ATTEMPTS_MAX).collect(),
        events: events
            .take(limits::REPORT_EVENTS_MAX)
            .map(|(&sequence, event)| agent_event(sequence, event))
            .collect(),
        last_sequence: core.book().last_sequence(),
        seen_revision: core.seen_revision(),
        report_number: 0,
        version: env!("CARGO_PKG_VERSION").into(),
        process_id: process.to_string(),
    }
}

fn fence(key: AttemptKey) -> v1::Fence {
    v1::Fence {
        site_epoch: key.site_epoch,
        attempt: key.attempt,
    }
}

fn agent_event(sequence: u64, event: &Event) -> v1::AgentEvent {
    let kind = match &event.kind {
        EventKind::Accepted => agent_event::Kind::Accepted(v1::AttemptAccepted {}),
        EventKind::Declined(reason) => agent_event::Kind::Declined(v1::AttemptDeclined {
            reason: shorten(reason.clone()),
        }),
        EventKind::Started(engine_id) => agent_event::Kind::Started(v1::AttemptStarted {
            engine_id: engine_id.clone(),
        }),
        EventKind::Suspended => agent_event::Kind::Suspended(v1::AttemptSuspended {}),
        EventKind::Resumed => agent_event::Kind::Resumed(v1::AttemptResumed {}),
        EventKind::Ended(end) => agent_event::Kind::Ended(ended(end)),
    };
    v1::AgentEvent {
        sequence,
        job_id: event.key.job_id.to_string(),
        fence: Some(fence(event.key)),
        event_time: Some(prost_types::Timestamp {
            seconds: event.time.0.div_euclid(1_000),
            nanos: i32::try_from(event.time.0.rem_euclid(1_000) * 1_000_000).unwrap_or_default(),
        }),
        kind: Some(kind),
    }
}

fn ended(end: &End) -> v1::AttemptEnded {
    let (how, exit_code, signal) = match end.how {
        How::Exited { code } => (v1::AttemptEnd::Exited, code, 0),
        How::Signalled { signal } => (v1::AttemptEnd::Signalled, 0, signal),
        How::Stopped(StopCause::Ordered | StopCause::GoesOn) => (v1::AttemptEnd::Stopped, 0, 0),
        How::Stopped(StopCause::SelfFenced) => (v1::AttemptEnd::SelfFenced, 0, 0),
        How::Stopped(StopCause::TimedOut) => (v1::AttemptEnd::TimedOut, 0, 0),
        How::OutOfMemory => (v1::AttemptEnd::OutOfMemory, 0, 0),
        How::StartFailed => (v1::AttemptEnd::StartFailed, 0, 0),
        How::StageFailed => (v1::AttemptEnd::StageFailed, 0, 0),
        How::EngineLost => (v1::AttemptEnd::EngineLost, 0, 0),
    };
    v1::AttemptEnded {
        end: how.into(),
        exit_code: exit_code.into(),
        signal: signal.into(),
        message: shorten(end.message.clone()),
        run_time: Some(length(end.run_time)),
        energy_watt_seconds: 0,
    }
}

fn length(time: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(time.subsec_nanos()).unwrap_or_default(),
    }
}
