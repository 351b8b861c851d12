//! Reads requests about jobs.
//!
//! The hash of a submission covers what runs and whether it is held, not the quote: a repeat without one is the same.

use std::{sync::Arc, time::Duration};

use uuid::Uuid;

use super::{
    etag,
    fields::{Fields, Rounding},
    mask, reason, request_key, sha256, spec,
};
use crate::{
    domain::{
        ids::{JobId, Revision},
        job::JobSpec,
    },
    proto::v1,
    service::{quote_token::QuotePromise, watch::StartAt},
    slot::TimeMs,
    state::{
        Rejection, Settings,
        command::{
            JobCommand, JobPatch, JobVerb, QuoteTerms, RequestKey, Resubmission, Submission,
        },
    },
};

/// What [`update_job`] may change.
const JOB_MASK: [&str; 8] = [
    "labels",
    "timing.earliest_start",
    "timing.start_deadline",
    "timing.finish_deadline",
    "flexibility",
    "green",
    "weights",
    "priority",
];

/// Where a submission stands in its call: the start of its fields' paths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::service) enum Place {
    /// It is the request.
    Alone,
    /// An item of a batch.
    Item(usize),
    /// A message of a stream.
    Streamed,
}

/// The parts that all requests about one job have.
#[derive(Debug)]
struct Parts {
    job_id: String,
    etag: String,
    request_id: String,
}

/// Begins to read a request about one job: no field is wrong yet, the parts are taken out, and the key of the request is
/// over what is left.
macro_rules! begin {
    ($request:ident, $rpc:literal) => {{
        let parts = Parts {
            job_id: $request.job_id.clone(),
            etag: std::mem::take(&mut $request.etag),
            request_id: std::mem::take(&mut $request.request_id),
        };
        let mut fields = Fields::default();
        let key = request_key(&mut fields, $rpc, &parts.request_id, &$request);
        (fields, parts, key)
    }};
}

/// Reads a submission.
///
/// # Errors
/// With every wrong field; or when the quote belongs to another description.
pub(in crate::service) fn submission(
    request: v1::SubmitJobRequest,
    place: Place,
    settings: Settings,
    now: TimeMs,
) -> Result<Submission, Rejection> {
    let mut fields = Fields::default();
    let read = |fields: &mut Fields| read_submission(fields, request, settings, now);
    let read = match place {
        Place::Alone => read(&mut fields),
        Place::Item(i) => fields.within("items", |fields| fields.within(i, read)),
        Place::Streamed => fields.within("submission", read),
    };
    let (submission, quote_fits) = fields.finish(read)?;
    if quote_fits {
        Ok(submission)
    } else {
        Err(Rejection::QuoteInvalid(
            "it was given for another job description".into(),
        ))
    }
}

/// Reads the description to be quoted.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn quoted_spec(
    spec: Option<&v1::JobSpec>,
    settings: Settings,
) -> Result<Arc<JobSpec>, Rejection> {
    let mut fields = Fields::default();
    let read = fields.required("spec", spec, |fields, spec| {
        spec::job_spec(fields, spec, settings)
    });
    fields.finish(read).map(Arc::new)
}

/// The hash by which a quote knows its description again.
pub(in crate::service) fn digest_of(spec: Option<&v1::JobSpec>) -> [u8; 32] {
    spec.map_or([0; 32], sha256)
}

/// Reads a job's id.
///
/// # Errors
/// When it is none.
pub(in crate::service) fn job_id(text: &str) -> Result<JobId, Rejection> {
    let mut fields = Fields::default();
    let id = read_job_id(&mut fields, text);
    fields.finish(id)
}

/// Reads a change of a job's description.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn update_job(
    mut request: v1::UpdateJobRequest,
) -> Result<JobCommand, Rejection> {
    let (mut fields, parts, key) = begin!(request, "UpdateJob");
    let paths = mask(&mut fields, request.update_mask.as_ref(), &JOB_MASK);
    let patch = fields.required("spec", request.spec.as_ref(), |fields, spec| {
        job_patch(fields, spec, paths)
    });
    let verb = patch.map(|patch| JobVerb::Update(Box::new(patch)));
    command(fields, &parts, key, verb)
}

/// Reads a resubmission.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn resubmission(
    mut request: v1::ResubmitJobRequest,
) -> Result<Resubmission, Rejection> {
    let key = std::mem::take(&mut request.idempotency_key);
    let mut fields = Fields::default();
    let idempotency_key = fields.key("idempotency_key", &key);
    let of = read_job_id(&mut fields, &request.job_id);
    let patch = match (&request.update_mask, &request.spec) {
        (None, None) => Some(JobPatch::default()),
        (None, Some(_)) => {
            fields.add("spec", "is set only with update_mask");
            None
        }
        (mask_given, spec) => {
            let paths = mask(&mut fields, mask_given.as_ref(), &JOB_MASK);
            fields.required("spec", spec.as_ref(), |fields, spec| {
                job_patch(fields, spec, paths)
            })
        }
    };
    // The hash knows a resubmission from a submission, and covers which job it is of.
    let payload_sha256 = sha256(&request);
    fields.finish(of.zip(patch).map(|(of, patch)| Resubmission {
        id: JobId(Uuid::now_v7().as_u128()),
        idempotency_key,
        payload_sha256,
        of,
        patch,
        hold: request.hold,
    }))
}

/// Reads a hold.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn hold_job(
    mut request: v1::HoldJobRequest,
) -> Result<JobCommand, Rejection> {
    let (mut fields, parts, key) = begin!(request, "HoldJob");
    let note = reason(&mut fields, &request.reason);
    command(fields, &parts, key, Some(JobVerb::Hold { note }))
}

/// Reads a suspension.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn suspend_job(
    mut request: v1::SuspendJobRequest,
) -> Result<JobCommand, Rejection> {
    let (mut fields, parts, key) = begin!(request, "SuspendJob");
    let note = reason(&mut fields, &request.reason);
    command(fields, &parts, key, Some(JobVerb::Suspend { note }))
}

/// Reads a requeue.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn requeue_job(
    mut request: v1::RequeueJobRequest,
) -> Result<JobCommand, Rejection> {
    let (mut fields, parts, key) = begin!(request, "RequeueJob");
    let note = reason(&mut fields, &request.reason);
    command(fields, &parts, key, Some(JobVerb::Requeue { note }))
}

/// Reads a resumption.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn resume_job(
    mut request: v1::ResumeJobRequest,
) -> Result<JobCommand, Rejection> {
    let (fields, parts, key) = begin!(request, "ResumeJob");
    command(fields, &parts, key, Some(JobVerb::Resume))
}

/// Reads a release.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn release_job(
    mut request: v1::ReleaseJobRequest,
) -> Result<JobCommand, Rejection> {
    let (fields, parts, key) = begin!(request, "ReleaseJob");
    command(fields, &parts, key, Some(JobVerb::Release))
}

/// Reads a cancellation.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn cancel_job(
    mut request: v1::CancelJobRequest,
) -> Result<JobCommand, Rejection> {
    let (mut fields, parts, key) = begin!(request, "CancelJob");
    let note = reason(&mut fields, &request.reason);
    command(fields, &parts, key, Some(JobVerb::Cancel { note }))
}

/// Reads where a watch begins; `field` is that of `initial`.
///
/// # Errors
/// When it is to begin at two places.
pub(in crate::service) fn start_at(
    field: &str,
    initial: bool,
    after_revision: Option<u64>,
) -> Result<StartAt, Rejection> {
    match (after_revision, initial) {
        (None, false) => Ok(StartAt::Now),
        (None, true) => Ok(StartAt::Initial),
        (Some(revision), false) => Ok(StartAt::After(Revision(revision))),
        (Some(_), true) => Err(Rejection::field(
            field,
            "is set only when after_revision is not",
        )),
    }
}

/// Reads how often a watch is to be sent a bookmark.
///
/// # Errors
/// When it is not between 1 s and 1 h.
pub(in crate::service) fn bookmark_interval(
    interval: Option<&prost_types::Duration>,
) -> Result<Duration, Rejection> {
    const DEFAULT_MS: u64 = 30_000;
    let mut fields = Fields::default();
    let ms = match interval {
        None => Some(DEFAULT_MS),
        Some(_) => fields.duration_ms("bookmark_interval", interval),
    };
    if let Some(ms) = ms {
        fields.check(
            (1_000..=3_600_000).contains(&ms),
            "bookmark_interval",
            || "is between 1 s and 1 h; absent means 30 s".into(),
        );
    }
    fields.finish(ms.map(Duration::from_millis))
}

fn read_submission(
    fields: &mut Fields,
    mut request: v1::SubmitJobRequest,
    settings: Settings,
    now: TimeMs,
) -> Option<(Submission, bool)> {
    let idempotency_key = std::mem::take(&mut request.idempotency_key);
    let quote_id = std::mem::take(&mut request.quote_id);
    let drift = request.drift.take();
    let idempotency_key = fields.key("idempotency_key", &idempotency_key);
    let quote = quote_terms(fields, &quote_id, drift.as_ref(), now);
    let quote_fits =
        quote.is_none_or(|(promise, _)| promise.spec_sha256 == digest_of(request.spec.as_ref()));
    let spec = fields.required("spec", request.spec.as_ref(), |fields, spec| {
        spec::job_spec(fields, spec, settings)
    })?;
    let submission = Submission {
        id: JobId(Uuid::now_v7().as_u128()),
        idempotency_key,
        payload_sha256: sha256(&request),
        spec: Arc::new(spec),
        hold: request.hold,
        quote: quote.map(|(_, terms)| terms),
        retry_of: None,
    };
    Some((submission, quote_fits))
}

fn quote_terms(
    fields: &mut Fields,
    quote_id: &str,
    drift: Option<&v1::QuoteDrift>,
    now: TimeMs,
) -> Option<(QuotePromise, QuoteTerms)> {
    let (max_delay_ms, max_drop) = drift.map_or((0, 0), |drift| {
        fields.within("drift", |fields| {
            let delay = fields.duration_ms("max_delay", drift.max_delay.as_ref());
            let drop = drift.max_green_share_drop_permille;
            fields.check(drop <= 1_000, "max_green_share_drop_permille", || {
                "is at most 1000".into()
            });
            (delay.unwrap_or(0), drop)
        })
    });
    if quote_id.is_empty() {
        fields.check(drift.is_none(), "drift", || {
            "is set only with quote_id".into()
        });
        return None;
    }
    let promise = QuotePromise::open(quote_id, now);
    fields.check(promise.is_some(), "quote_id", || {
        "is a quote as QuoteJob answered it, or empty".into()
    });
    promise.map(|promise| {
        let terms = QuoteTerms {
            expires_at: promise.expires_at,
            end: promise.end,
            green_share_permille: promise.green_share_permille,
            max_delay_ms,
            max_green_share_drop_permille: max_drop,
        };
        (promise, terms)
    })
}

fn command(
    mut fields: Fields,
    parts: &Parts,
    request: Option<RequestKey>,
    verb: Option<JobVerb>,
) -> Result<JobCommand, Rejection> {
    let id = read_job_id(&mut fields, &parts.job_id);
    let etag = etag(&mut fields, &parts.etag);
    fields.finish(id.zip(verb).map(|(id, verb)| JobCommand {
        id,
        etag,
        request,
        verb,
    }))
}

pub(super) fn read_job_id(fields: &mut Fields, text: &str) -> Option<JobId> {
    let id = JobId::parse(text);
    fields.check(id.is_some(), "job_id", || {
        "is a job id as SubmitJob answered it: a UUID in lower case".into()
    });
    id
}

/// New values of the masked fields; what depends on the rest of the description is checked against the job.
fn job_patch(fields: &mut Fields, spec: &v1::JobSpec, paths: &[String]) -> JobPatch {
    let timing = spec.timing.unwrap_or_default();
    let mut patch = JobPatch::default();
    for path in paths {
        match path.as_str() {
            "labels" => patch.labels = Some(spec::labels(fields, &spec.labels)),
            "timing.earliest_start" => {
                let time = timing.earliest_start.as_ref();
                patch.earliest_start = Some(fields.time(path, time, Rounding::Up));
            }
            "timing.start_deadline" => {
                let time = timing.start_deadline.as_ref();
                patch.start_deadline = Some(fields.time(path, time, Rounding::Down));
            }
            "timing.finish_deadline" => {
                let time = timing.finish_deadline.as_ref();
                patch.finish_deadline = Some(fields.time(path, time, Rounding::Down));
            }
            "flexibility" => {
                patch.flexibility = Some(spec::flexibility(fields, spec.flexibility.as_ref()));
            }
            "green" => patch.green = Some(spec::green(fields, spec.green.as_ref())),
            "weights" => patch.weights = Some(spec.weights.as_ref().map(spec::weights)),
            "priority" => patch.priority = Some(spec::priority(spec.priority)),
            // Any other path was refused when the mask was read.
            _ => {}
        }
    }
    patch
}
