//! A gRPC status as lines for people.
//!
//! Every detail of the status becomes a line; an empty status still has its code.

use tonic::{Code, Status};
use tonic_types::StatusExt;

use crate::{cli::render::refusal_line, proto::v1};

/// The status, then one detail a line.
pub(super) fn lines(status: &Status) -> Vec<String> {
    let mut lines = vec![format!(
        "error: {}: {}",
        name(status.code()),
        status.message()
    )];
    let details = status.get_error_details();
    if let Some(info) = details.error_info() {
        lines.push(format!("  reason: {} ({})", info.reason, info.domain));
        let mut metadata: Vec<_> = info.metadata.iter().collect();
        metadata.sort();
        lines.extend(
            metadata
                .into_iter()
                .map(|(key, value)| format!("  {key}: {value}")),
        );
    }
    if let Some(request) = details.bad_request() {
        for violation in &request.field_violations {
            lines.push(format!(
                "  field {}: {}",
                violation.field, violation.description
            ));
        }
    }
    if let Some(failure) = details.precondition_failure() {
        for violation in &failure.violations {
            lines.push(format!(
                "  {} {}: {}",
                violation.r#type, violation.subject, violation.description
            ));
        }
    }
    if let Some(failure) = details.quota_failure() {
        for violation in &failure.violations {
            lines.push(format!(
                "  limit {}: {}",
                violation.subject, violation.description
            ));
        }
    }
    if let Some(resource) = details.resource_info() {
        lines.push(format!(
            "  resource {} {}: {}",
            resource.resource_type, resource.resource_name, resource.description
        ));
    }
    if let Some(delay) = details.retry_info().and_then(|retry| retry.retry_delay) {
        lines.push(format!("  retry after {} ms", delay.as_millis()));
    }
    lines
}

/// The error of one item of a batch, as [`lines`] of a status with the same content.
pub(crate) fn item_error_lines(error: &v1::ItemError) -> Vec<String> {
    let reason = error.reason().as_str_name();
    let reason = reason.strip_prefix("ERROR_REASON_").unwrap_or(reason);
    let mut lines = vec![
        format!("{}: {}", name(Code::from(error.code)), error.message),
        format!("  reason: {reason}"),
    ];
    for violation in &error.field_violations {
        lines.push(format!(
            "  field {}: {}",
            violation.field, violation.description
        ));
    }
    for site in &error.sites {
        let subject = if site.site_id.is_empty() {
            "every site"
        } else {
            &site.site_id
        };
        for refusal in &site.refusals {
            lines.push(format!("  {subject}: {}", refusal_line(refusal)));
        }
    }
    lines
}

/// The name of a code as the gRPC specification spells it.
fn name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tonic_types::ErrorDetails;

    use super::*;

    #[test]
    fn every_detail_of_a_status_is_a_line() {
        let mut details = ErrorDetails::new();
        details
            .set_error_info(
                "JOB_INFEASIBLE",
                "lancang.v1",
                [("revision".to_owned(), "7".to_owned())],
            )
            .add_bad_request_violation("spec.timing.runtime", "must be at least 1 s")
            .add_precondition_failure_violation(
                "LATENCY_EXCEEDED",
                "dli-dali",
                "needs 5 ms, has 13.8 ms",
            )
            .add_quota_failure_violation("live_jobs", "at most 10")
            .set_retry_info(Some(Duration::from_secs(2)));
        let status = Status::with_error_details(Code::FailedPrecondition, "no site fits", details);
        assert_eq!(
            lines(&status),
            [
                "error: FAILED_PRECONDITION: no site fits",
                "  reason: JOB_INFEASIBLE (lancang.v1)",
                "  revision: 7",
                "  field spec.timing.runtime: must be at least 1 s",
                "  LATENCY_EXCEEDED dli-dali: needs 5 ms, has 13.8 ms",
                "  limit live_jobs: at most 10",
                "  retry after 2000 ms",
            ]
        );
    }

    #[test]
    fn an_item_error_names_every_site_and_field() {
        let error = v1::ItemError {
            code: 9,
            reason: v1::ErrorReason::JobInfeasible.into(),
            message: "no site fits".to_owned(),
            field_violations: vec![],
            sites: vec![v1::SiteRefusals {
                site_id: "dli-dali".to_owned(),
                refusals: vec![v1::Refusal {
                    reason: v1::RefusalReason::EnclaveRequired.into(),
                    message: "the site is no offshore enclave".to_owned(),
                    ..v1::Refusal::default()
                }],
            }],
        };
        assert_eq!(
            item_error_lines(&error),
            [
                "FAILED_PRECONDITION: no site fits",
                "  reason: JOB_INFEASIBLE",
                "  dli-dali: ENCLAVE_REQUIRED: the site is no offshore enclave",
            ]
        );
    }
}
