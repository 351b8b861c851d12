//! What bad input gets: the code, the typed reason, every wrong field, and nothing changed.
//!
//! A table a subject; each row is called through grpcurl, and after each the server holds exactly what it held before.

/// Declares a table of requests with one thing changed: `"name": "path" = value;`.
///
/// The field at the path is then the wrong one, unless others are named: `=> ["a", "b"];`. `Value::Null` takes it out.
macro_rules! changes {
    ($table:ident, $method:expr, $base:expr; $($name:literal: $path:literal = $value:expr $(=> [$($field:literal),+])?;)+) => {
        fn $table() -> Vec<crate::grpcurl::bad_inputs::Case> {
            vec![$(
                crate::grpcurl::bad_inputs::changed($name, $method, $base, $path, $value)
                    $(.with_fields(&[$($field),+]))?
            ),+]
        }
    };
}

/// Declares a table of requests: `"name": METHOD {message} => ["wrong field"];` or `=> (REASON of "missing thing");`.
macro_rules! calls {
    ($table:ident($($arg:ident: $type:ty),*); $($name:literal: $method:ident $message:tt => $expected:tt;)+) => {
        fn $table($($arg: $type),*) -> Vec<crate::grpcurl::bad_inputs::Case> {
            vec![$(calls!(@row $name, $method, serde_json::json!($message), $expected)),+]
        }
    };
    (@row $name:literal, $method:ident, $message:expr, [$($field:literal),+]) => {
        crate::grpcurl::bad_inputs::invalid($name, $method, $message, &[$($field),+])
    };
    (@row $name:literal, $method:ident, $message:expr, ($reason:ident of $id:expr)) => {
        crate::grpcurl::bad_inputs::missing($name, $method, $message, stringify!($reason), $id)
    };
}

/// Declares a table of jobs that no site can run: `"name" at "site": spec => REASON "part of its sentence";`, with more
/// reasons after a comma, and with parts of the suggestions' sentences after a plus.
macro_rules! refusals {
    ($table:ident; $($name:literal at $site:literal: $spec:expr => $($reason:ident $part:literal),+ $(+ $help:literal)*;)+) => {
        fn $table() -> Vec<crate::grpcurl::bad_inputs::Case> {
            vec![$(
                crate::grpcurl::bad_inputs::infeasible(
                    $name,
                    $site,
                    &$spec,
                    &[$((stringify!($reason), $part)),+],
                    &[$($help),*],
                )
            ),+]
        }
    };
}

mod agents;
mod batches;
mod forecasts;
mod listings;
mod refusals;
mod reports;
mod sites;
mod specs;
mod verbs;

use std::collections::BTreeSet;

use serde_json::{Value, json};
use tonic::Code;

use super::{Client, column};
use crate::support::{
    grpcurl::{Grpcurl, GrpcurlOutput},
    samples::with,
};

pub(super) const SUBMIT: &str = "JobService/SubmitJob";

/// A request that is refused, and how.
#[derive(Clone)]
struct Case {
    name: &'static str,
    method: &'static str,
    /// Several make a client stream.
    messages: Vec<Value>,
    code: Code,
    reason: &'static str,
    details: Details,
}

/// What the details of a refusal must be.
#[derive(Clone)]
enum Details {
    /// Nothing beside the reason.
    None,
    /// Exactly these wrong fields.
    Fields(Vec<&'static str>),
    /// Exactly these fields of a series that is not plausible.
    Implausible(Vec<&'static str>),
    /// The one precondition that is named as the reason, about this subject.
    Precondition(String),
    /// A resource by this name.
    Resource(String),
    /// An entry of the metadata.
    Metadata(&'static str, String),
    /// Every site refuses, and one of them for these reasons.
    Refusals(Refused),
}

/// How one site refuses a job.
#[derive(Clone)]
struct Refused {
    site: &'static str,
    /// Typed reasons in order of precedence, each with a part of its sentence.
    reasons: Vec<(&'static str, &'static str)>,
    /// Parts of the sentences of the suggestions, in order.
    suggestions: Vec<&'static str>,
}

/// A row for fields that are wrong whatever the state.
fn invalid(
    name: &'static str,
    method: &'static str,
    message: Value,
    fields: &[&'static str],
) -> Case {
    Case {
        name,
        method,
        messages: vec![message],
        code: Code::InvalidArgument,
        reason: "INVALID_FIELDS",
        details: Details::Fields(fields.to_vec()),
    }
}

/// A row for a request in which the thing at a path is wrong.
fn changed(
    name: &'static str,
    method: &'static str,
    base: Value,
    path: &'static str,
    value: impl Into<Value>,
) -> Case {
    let pointer = path.replace(['.', '['], "/").replace(']', "");
    let message = with(base, &format!("/{pointer}"), value);
    invalid(name, method, message, &[path])
}

/// A row for something that does not exist.
fn missing(
    name: &'static str,
    method: &'static str,
    message: Value,
    reason: &'static str,
    id: &str,
) -> Case {
    Case {
        name,
        method,
        messages: vec![message],
        code: Code::NotFound,
        reason,
        details: Details::Resource(id.to_owned()),
    }
}

/// A row for what is wrong now.
fn refused(
    name: &'static str,
    method: &'static str,
    message: Value,
    (code, reason): (Code, &'static str),
    details: Details,
) -> Case {
    Case {
        name,
        method,
        messages: vec![message],
        code,
        reason,
        details,
    }
}

/// A row for a job that no site can run.
fn infeasible(
    name: &'static str,
    site: &'static str,
    spec: &Value,
    reasons: &[(&'static str, &'static str)],
    suggestions: &[&'static str],
) -> Case {
    let expected = Refused {
        site,
        reasons: reasons.to_vec(),
        suggestions: suggestions.to_vec(),
    };
    let why = (Code::FailedPrecondition, "JOB_INFEASIBLE");
    refused(
        name,
        SUBMIT,
        submission(spec),
        why,
        Details::Refusals(expected),
    )
}

/// Calls every row and fails with all that is wrong.
#[track_caller]
fn check(client: &Client, cases: Vec<Case>) {
    check_all(client, &cases);
}

/// As `check`, for who looks at the rows again.
#[track_caller]
fn check_all(client: &Client, cases: &[Case]) {
    let names: BTreeSet<&str> = cases.iter().map(|case| case.name).collect();
    assert_eq!(names.len(), cases.len(), "two rows have the same name");
    let mut failures = Vec::new();
    let mut before = holdings(client);
    for case in cases {
        // A watch that is not refused would not end.
        let mut call = Grpcurl::new(client.port(), case.method).flag("-max-time", "20");
        for message in &case.messages {
            call = call.message(message);
        }
        let output = call.run();
        let after = holdings(client);
        let verdict = case.verdict(&output).and_then(|()| {
            let changed = differences(&before, &after);
            same("what has changed", changed, Vec::new())
        });
        if let Err(why) = verdict {
            failures.push(format!("{}: {why}\n{}", case.name, output.stderr));
        }
        before = after;
    }
    assert!(
        failures.is_empty(),
        "{} of {} rows fail:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}

/// Revision and counts of everything that the server holds.
#[track_caller]
fn holdings(client: &Client) -> Value {
    with(client.info(), "/serverTime", "")
}

/// The fields that differ, with both values.
fn differences(before: &Value, after: &Value) -> Vec<String> {
    let fields = after.as_object().into_iter().flatten();
    fields
        .filter(|(field, value)| before[field.as_str()] != **value)
        .map(|(field, value)| format!("{field}: {} -> {value}", before[field.as_str()]))
        .collect()
}

impl Case {
    /// The same row with other wrong fields.
    fn with_fields(mut self, fields: &[&'static str]) -> Self {
        self.details = Details::Fields(fields.to_vec());
        self
    }

    /// Says how the answer differs from what is expected.
    fn verdict(&self, output: &GrpcurlOutput) -> Result<(), String> {
        same("code", output.code, Some(self.code))?;
        let info = output.detail("ErrorInfo").cloned().unwrap_or_default();
        same("reason", text(&info["reason"]), self.reason)?;
        same("domain", text(&info["domain"]), "lancang.v1")?;
        if text(&output.status["message"]).is_empty() {
            return Err("it has no message".to_owned());
        }
        let mut fields: Vec<&str> = output
            .violations()
            .iter()
            .map(|(field, _)| *field)
            .collect();
        fields.sort_unstable();
        let preconditions = output
            .detail("PreconditionFailure")
            .map_or(Value::Null, |detail| detail["violations"].clone());
        let types = column(&preconditions, "type");
        let subjects = column(&preconditions, "subject");
        if let Details::Fields(expected) = &self.details {
            let mut expected = expected.clone();
            expected.sort_unstable();
            same("fields", fields, expected)?;
        } else {
            same("fields", fields, Vec::new())?;
        }
        match &self.details {
            Details::None | Details::Fields(_) => same("preconditions", types, Vec::new()),
            Details::Implausible(expected) => {
                same("preconditions", types, vec![self.reason; expected.len()])?;
                same("subjects", subjects, expected.clone())
            }
            Details::Precondition(subject) => {
                same("preconditions", types, vec![self.reason])?;
                same("subjects", subjects, vec![subject.as_str()])
            }
            Details::Resource(id) => {
                let resource = output.detail("ResourceInfo").cloned().unwrap_or_default();
                same("resource", text(&resource["resourceName"]), id.as_str())
            }
            Details::Metadata(key, value) => {
                same("metadata", text(&info["metadata"][*key]), value.as_str())
            }
            Details::Refusals(expected) => expected.verdict(&preconditions),
        }
    }
}

impl Refused {
    fn verdict(&self, preconditions: &Value) -> Result<(), String> {
        let all: Vec<&Value> = preconditions.as_array().into_iter().flatten().collect();
        let (suggestions, refusals): (Vec<&Value>, Vec<&Value>) = all
            .into_iter()
            .partition(|entry| entry["type"] == "SUGGESTION");
        let sites: BTreeSet<&str> = refusals
            .iter()
            .map(|entry| text(&entry["subject"]))
            .collect();
        same("sites", sites, refusals::SITES.into())?;
        let here: Vec<&Value> = refusals
            .into_iter()
            .filter(|entry| entry["subject"] == self.site)
            .collect();
        let types: Vec<&str> = here.iter().map(|entry| text(&entry["type"])).collect();
        let (expected, sentences): (Vec<&str>, Vec<&str>) = self.reasons.iter().copied().unzip();
        same("refusals", types, expected)?;
        same(
            "number of suggestions",
            suggestions.len(),
            self.suggestions.len(),
        )?;
        let parts = sentences.iter().chain(&self.suggestions);
        for (entry, part) in here.into_iter().chain(suggestions).zip(parts) {
            let sentence = text(&entry["description"]);
            if sentence.is_empty() || !sentence.contains(part) {
                return Err(format!("{sentence:?} does not say {part:?}"));
            }
        }
        Ok(())
    }
}

fn same<T: PartialEq + std::fmt::Debug>(what: &str, found: T, expected: T) -> Result<(), String> {
    if found == expected {
        Ok(())
    } else {
        Err(format!("{what}: {found:?} instead of {expected:?}"))
    }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A request that would be accepted but for what a row changes.
fn submission(spec: &Value) -> Value {
    json!({ "idempotency_key": "bad-input", "spec": spec })
}
