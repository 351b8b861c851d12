//! An error before it is a status or the error of an item: the parts that both are made of.
//!
//! Details are bounded: what passes the bound is counted, not sent, so that a status fits the headers of any client.

use std::{fmt::Display, time::Duration};

use tonic::{Code, Status};
use tonic_types::{
    ErrorDetails, ErrorInfo, FieldViolation, PreconditionViolation, QuotaViolation, StatusExt,
};

use super::Metadata;
use crate::{
    domain::{ids::SiteId, refusal::Refusal, violation::Violation},
    limits,
    proto::v1,
    service::to_proto,
    slot::TimeMs,
};

/// Domain of all reasons.
const DOMAIN: &str = "lancang.v1";
/// Wrong fields that the message itself names; the details have more.
const MESSAGE_VIOLATIONS_MAX: usize = 4;

/// An error with all that is known of it.
#[derive(Debug)]
pub(super) struct Problem {
    code: Code,
    reason: v1::ErrorReason,
    message: String,
    metadata: Metadata,
    violations: Vec<Violation>,
    preconditions: Vec<PreconditionViolation>,
    sites: Vec<v1::SiteRefusals>,
    quota: Option<QuotaViolation>,
    retry_after: Option<Duration>,
    resource: Option<(String, String)>,
}

/// The name of a reason as in `ErrorInfo`: without its prefix.
fn reason_name(reason: v1::ErrorReason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("ERROR_REASON_").unwrap_or(name)
}

/// A status with nothing but its reason.
pub(in crate::service) fn with_reason(
    code: Code,
    reason: v1::ErrorReason,
    message: String,
) -> Status {
    Problem::new(code, reason, message).into_status()
}

impl Problem {
    pub(super) fn new(code: Code, reason: v1::ErrorReason, message: String) -> Self {
        Self {
            code,
            reason,
            message,
            metadata: Metadata::new(),
            violations: Vec::new(),
            preconditions: Vec::new(),
            sites: Vec::new(),
            quota: None,
            retry_after: None,
            resource: None,
        }
    }

    /// Adds an entry of the metadata.
    pub(super) fn with(mut self, key: &str, value: impl Display) -> Self {
        self.metadata.insert(key.to_owned(), value.to_string());
        self
    }

    /// Adds a wrong field.
    pub(super) fn with_field(mut self, field: String, description: String) -> Self {
        self.violations.push(Violation { field, description });
        self
    }

    /// Adds wrong fields and names the first of them in the message.
    pub(super) fn with_violations(mut self, violations: Vec<Violation>) -> Self {
        self.message = with_first(self.message, &violations);
        self.violations = violations;
        self
    }

    /// Adds what is not plausible about a series.
    pub(super) fn with_implausible(mut self, violations: Vec<Violation>) -> Self {
        let failures = violations.iter().map(|violation| {
            PreconditionViolation::new(
                reason_name(self.reason),
                &violation.field,
                &violation.description,
            )
        });
        self.preconditions = failures.collect();
        self.message = with_first(self.message, &violations);
        self.violations = violations;
        self
    }

    /// Adds a precondition that does not hold.
    pub(super) fn with_precondition(mut self, kind: &str, subject: String, what: String) -> Self {
        let failure = PreconditionViolation::new(kind, subject, what);
        self.preconditions.push(failure);
        self
    }

    /// Adds every site's refusals.
    pub(super) fn with_sites(mut self, sites: &[(SiteId, Vec<Refusal>)]) -> Self {
        for (site, refusals) in sites {
            self.sites.push(v1::SiteRefusals {
                site_id: site.to_string(),
                refusals: refusals.iter().map(to_proto::refusal).collect(),
            });
            for refusal in refusals {
                let name = to_proto::refusal_reason(refusal.reason).as_str_name();
                let kind = name.strip_prefix("REFUSAL_REASON_").unwrap_or(name);
                self = self.with_precondition(kind, site.to_string(), sentence(refusal));
            }
        }
        self
    }

    /// Adds the bound that is reached.
    pub(super) fn with_quota(mut self, subject: &str, what: String) -> Self {
        self.quota = Some(QuotaViolation::new(subject, what));
        self
    }

    /// Adds when to try again.
    pub(super) fn with_retry_after_ms(mut self, ms: u64) -> Self {
        self.retry_after = Some(Duration::from_millis(ms));
        self
    }

    /// Adds what it is about: `the site` and its id.
    pub(super) fn with_resource(mut self, what: &str, id: &str) -> Self {
        let kind = what.strip_prefix("the ").unwrap_or(what);
        self.resource = Some((kind.to_owned(), id.to_owned()));
        self
    }

    /// The error of a call.
    pub(super) fn into_status(mut self) -> Status {
        self.bound();
        let mut info = ErrorInfo::new(
            reason_name(self.reason),
            DOMAIN,
            [] as [(String, String); 0],
        );
        info.metadata.extend(self.metadata);
        let mut details = ErrorDetails::new();
        details.set_error_info(info.reason, info.domain, info.metadata);
        // An implausible series breaks preconditions, not the form of the request.
        if !self.violations.is_empty() && self.code == Code::InvalidArgument {
            let wrong = self.violations.into_iter();
            let wrong = wrong.map(|v| FieldViolation::new(v.field, v.description));
            details.set_bad_request(wrong.collect::<Vec<_>>());
        }
        if !self.preconditions.is_empty() {
            details.set_precondition_failure(self.preconditions);
        }
        if let Some(quota) = self.quota {
            details.set_quota_failure(vec![quota]);
        }
        if self.retry_after.is_some() {
            details.set_retry_info(self.retry_after);
        }
        if let Some((kind, id)) = self.resource {
            details.set_resource_info(kind, id, "", &self.message);
        }
        Status::with_error_details(self.code, self.message, details)
    }

    /// The error of an item.
    pub(super) fn into_item_error(mut self) -> v1::ItemError {
        self.bound();
        let wrong = self.violations.into_iter();
        v1::ItemError {
            code: self.code.into(),
            reason: self.reason.into(),
            message: self.message,
            field_violations: wrong
                .map(|violation| v1::FieldViolation {
                    field: violation.field,
                    description: violation.description,
                })
                .collect(),
            sites: self.sites,
        }
    }

    fn bound(&mut self) {
        let longest = self.violations.len().max(self.preconditions.len());
        let dropped = longest.saturating_sub(limits::STATUS_DETAILS_MAX);
        if dropped > 0 {
            // Suggestions come last and are kept: they say what to do.
            let from = limits::STATUS_DETAILS_MAX;
            let suggestions = self
                .preconditions
                .split_off(from.min(self.preconditions.len()));
            let kept = suggestions.into_iter().filter(|v| v.r#type == "SUGGESTION");
            self.preconditions.extend(kept);
            self.violations.truncate(from);
            self.metadata
                .insert("details_left_out".to_owned(), dropped.to_string());
        }
    }
}

/// The message and the first wrong fields.
fn with_first(message: String, violations: &[Violation]) -> String {
    let first: Vec<String> = violations
        .iter()
        .take(MESSAGE_VIOLATIONS_MAX)
        .map(ToString::to_string)
        .collect();
    let more = match violations.len().saturating_sub(MESSAGE_VIOLATIONS_MAX) {
        0 => String::new(),
        n => format!("; and {n} more"),
    };
    format!("{message}: {}{more}", first.join("; "))
}

/// The message with the numbers it rests on.
fn sentence(refusal: &Refusal) -> String {
    let unit = refusal.unit.name();
    let numbers = if unit.is_empty() {
        String::new()
    } else {
        format!(" (need {} {unit}, have {})", refusal.need, refusal.have)
    };
    let until = refusal.until.map_or_else(String::new, |until: TimeMs| {
        let moment = jiff::Timestamp::from_millisecond(until.0);
        moment.map_or_else(|_| String::new(), |moment| format!(" until {moment}"))
    });
    format!("{}{numbers}{until}", refusal.message)
}
