//! Reads what agents say.
//!
//! A report is read whole or refused whole: events are numbered, and half of one would be lost.

use std::sync::Arc;

use super::{fields::Fields, job_id};
use crate::{
    domain::{
        attempt::{AttemptEnd, Ended, Fence},
        ids::{JobId, Revision, SiteId, SiteKind},
    },
    limits,
    proto::v1::{self, agent_event::Kind},
    slot::TimeMs,
    state::{
        Rejection,
        command::{HeldAttempt, Report, ReportedEvent, ReportedKind},
    },
};

/// An agent that asks to be a site's, with its token.
#[derive(Debug)]
pub(in crate::service) struct Enroll {
    pub(in crate::service) site: SiteId,
    pub(in crate::service) token: String,
    pub(in crate::service) instance: Arc<str>,
}

/// Reads the request of a token: its site, and how long it serves in milliseconds.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn agent_token(
    request: &v1::CreateAgentTokenRequest,
) -> Result<(SiteId, i64), Rejection> {
    let mut fields = Fields::default();
    let site = fields.name::<SiteKind>("site_id", &request.site_id);
    let valid_ms = match &request.valid_for {
        None => Some(limits::AGENT_TOKEN_MS_DEFAULT),
        Some(valid_for) => {
            let ms = fields.duration_ms("valid_for", Some(valid_for));
            let ms = ms.map(|ms| i64::try_from(ms).unwrap_or(i64::MAX));
            let is_ok = ms.is_none_or(|ms| (60_000..=limits::AGENT_TOKEN_MS_MAX).contains(&ms));
            fields.check(is_ok, "valid_for", || {
                "is between 1 minute and 7 days".into()
            });
            ms
        }
    };
    fields.finish(site.zip(valid_ms))
}

/// Reads an enrolment.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn enroll(request: &v1::EnrollAgentRequest) -> Result<Enroll, Rejection> {
    let mut fields = Fields::default();
    let site = fields.name::<SiteKind>("site_id", &request.site_id);
    fields.check(!request.token.is_empty(), "token", || "is required".into());
    let instance = instance(&mut fields, &request.instance_id);
    let read = site.zip(instance).map(|(site, instance)| Enroll {
        site,
        token: request.token.clone(),
        instance,
    });
    fields.finish(read)
}

/// Reads a report.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn report(report: Option<&v1::AgentReport>) -> Result<Report, Rejection> {
    let mut fields = Fields::default();
    let read = fields.required("report", report, |fields, report| {
        let site = fields.name::<SiteKind>("site_id", &report.site_id);
        let instance = instance(fields, &report.instance_id);
        let held = fields.list(
            "held",
            &report.held,
            limits::HELD_ATTEMPTS_MAX,
            |fields, _, held| HeldAttempt {
                job: job(fields, &held.job_id),
                fence: fence(fields, held.fence.as_ref()),
            },
        );
        let process = process(fields, &report.process_id);
        let mut last = 0;
        let events = fields.list(
            "events",
            &report.events,
            limits::REPORT_EVENTS_MAX,
            |fields, _, event| {
                fields.check(last < event.sequence, "sequence", || {
                    "rises from event to event, from 1".into()
                });
                last = event.sequence;
                event_of(fields, event)
            },
        );
        fields.check(last <= report.last_sequence, "last_sequence", || {
            "is not less than the sequence of an event".into()
        });
        Some(Report {
            process,
            site: site?,
            instance: instance?,
            last_sequence: report.last_sequence,
            seen_revision: Revision(report.seen_revision),
            held,
            events: events.into_iter().flatten().collect(),
            version: fields.text("version", &report.version, limits::AGENT_VERSION_BYTES_MAX),
        })
    });
    fields.finish(read.flatten())
}

fn instance(fields: &mut Fields, text: &str) -> Option<Arc<str>> {
    let parsed = uuid::Uuid::try_parse(text).ok();
    fields.check(parsed.is_some(), "instance_id", || "is a UUID".into());
    parsed.map(|uuid| uuid.to_string().into())
}

fn process(fields: &mut Fields, text: &str) -> Option<u128> {
    if text.is_empty() {
        return None;
    }
    let parsed = uuid::Uuid::try_parse(text).ok();
    fields.check(parsed.is_some(), "process_id", || {
        "is a UUID, or empty".into()
    });
    parsed.map(|uuid| uuid.as_u128())
}

fn job(fields: &mut Fields, text: &str) -> JobId {
    match job_id(text) {
        Ok(id) => id,
        Err(_) => {
            fields.add("job_id", "is a job id");
            JobId(0)
        }
    }
}

fn fence(fields: &mut Fields, fence: Option<&v1::Fence>) -> Fence {
    let read = fields.required("fence", fence, |_, fence| Fence {
        site_epoch: fence.site_epoch,
        attempt: fence.attempt,
    });
    read.unwrap_or(Fence {
        site_epoch: 0,
        attempt: 0,
    })
}

fn event_of(fields: &mut Fields, event: &v1::AgentEvent) -> Option<ReportedEvent> {
    let job = job(fields, &event.job_id);
    let fence = fence(fields, event.fence.as_ref());
    let at = fields.required_time("event_time", event.event_time.as_ref());
    let at = at.unwrap_or(TimeMs(0));
    fields.check(event.kind.is_some(), "kind", || "is required".into());
    let kind = match event.kind.as_ref()? {
        Kind::Accepted(v1::AttemptAccepted {}) => ReportedKind::Accepted,
        Kind::Declined(declined) => ReportedKind::Declined {
            reason: message(fields, "declined.reason", &declined.reason),
        },
        Kind::Started(started) => ReportedKind::Started {
            engine_id: fields.text(
                "started.engine_id",
                &started.engine_id,
                limits::ENGINE_ID_BYTES_MAX,
            ),
        },
        Kind::Suspended(v1::AttemptSuspended {}) => ReportedKind::Suspended,
        Kind::Resumed(v1::AttemptResumed {}) => ReportedKind::Resumed,
        Kind::Ended(ended) => {
            ReportedKind::Ended(fields.within("ended", |fields| ended_of(fields, ended, at))?)
        }
    };
    Some(ReportedEvent {
        sequence: event.sequence,
        job,
        fence,
        at,
        kind,
    })
}

fn ended_of(fields: &mut Fields, ended: &v1::AttemptEnded, at: TimeMs) -> Option<Ended> {
    let code = u8::try_from(ended.exit_code).ok();
    fields.check(code.is_some(), "exit_code", || "is at most 255".into());
    let signal = u8::try_from(ended.signal).ok();
    fields.check(signal.is_some(), "signal", || "is at most 255".into());
    let end = match ended.end() {
        v1::AttemptEnd::Exited => AttemptEnd::Exited(code?),
        v1::AttemptEnd::Signalled => AttemptEnd::Signalled(signal?),
        v1::AttemptEnd::Stopped => AttemptEnd::Stopped,
        v1::AttemptEnd::TimedOut => AttemptEnd::TimedOut,
        v1::AttemptEnd::OutOfMemory => AttemptEnd::OutOfMemory,
        v1::AttemptEnd::StartFailed => AttemptEnd::StartFailed,
        v1::AttemptEnd::SelfFenced => AttemptEnd::SelfFenced,
        v1::AttemptEnd::EngineLost => AttemptEnd::EngineLost,
        v1::AttemptEnd::StageFailed => AttemptEnd::StageFailed,
        v1::AttemptEnd::Unspecified
        | v1::AttemptEnd::Declined
        | v1::AttemptEnd::Paused
        | v1::AttemptEnd::SiteLost => {
            fields.add("end", "is a way in which an agent can see an attempt end");
            return None;
        }
    };
    let is_exit = matches!(end, AttemptEnd::Exited(_));
    fields.check(is_exit || ended.exit_code == 0, "exit_code", || {
        "is set only with EXITED".into()
    });
    let is_signal = matches!(end, AttemptEnd::Signalled(_));
    fields.check(is_signal || ended.signal == 0, "signal", || {
        "is set only with SIGNALLED".into()
    });
    Some(Ended {
        at,
        end,
        run_ms: fields
            .duration_ms("run_time", ended.run_time.as_ref())
            .unwrap_or(0),
        energy_watt_seconds: ended.energy_watt_seconds,
        message: message(fields, "message", &ended.message),
    })
}

/// Text of an engine: whatever it says is kept, but for what a terminal would obey.
fn message(fields: &mut Fields, field: &str, text: &str) -> Arc<str> {
    let is_ok = text.len() <= limits::ATTEMPT_MESSAGE_BYTES_MAX;
    fields.check(is_ok, field, || {
        format!("has at most {} bytes", limits::ATTEMPT_MESSAGE_BYTES_MAX)
    });
    let kept = text.chars().take(limits::ATTEMPT_MESSAGE_BYTES_MAX);
    let plain = kept.map(|c| if c.is_control() && c != '\n' { ' ' } else { c });
    plain.collect::<String>().into()
}
