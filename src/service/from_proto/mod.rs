//! Requests into commands: the only way in for values of clients.
//!
//! A command that leaves here is right whatever the state; every wrong field of a request is reported at once.

mod fields;
mod policy;
mod execution;
mod agents;
mod logs;
mod spec;
mod jobs;
mod sites;
mod windows;
mod latencies;
mod links;
mod forecasts;
mod reports;

use std::sync::Arc;

use prost::Message;
use sha2::{Digest, Sha256};

use self::fields::Fields;
pub(super) use self::{
    agents::{agent_token, enroll, report},
    forecasts::{
        ForecastQuery, actuals, forecast_product_filter, forecast_query, put_forecast, skill_query,
        stream_forecast,
    },
    jobs::{
        Place, bookmark_interval, cancel_job, digest_of, hold_job, job_id, quoted_spec,
        release_job, requeue_job, resubmission, resume_job, start_at, submission, suspend_job,
        update_job,
    },
    latencies::latency_update,
    links::{gateway_id, put_link},
    logs::{log_chunks, log_query},
    reports::{
        LedgerWindow, job_readings, lines_window, readings, settlement, settlements_window,
        statement_query,
    },
    sites::{
        cordon_site, create_site, declare_site_lost, drain_site, site_id, uncordon_site,
        update_site,
    },
    windows::{delete_site_window, put_site_window},
};
use crate::{
    domain::ids::Revision,
    limits,
    state::{Rejection, command::RequestKey},
};

/// Number of items of a page: 0 means the default, too many means the bound.
///
/// # Errors
/// When it is negative.
pub(super) fn page_size(asked: i32) -> Result<usize, Rejection> {
    let Ok(asked) = usize::try_from(asked) else {
        return Err(Rejection::field(
            "page_size",
            format!(
                "is not negative; 0 means {}, more than {} means {}",
                limits::PAGE_SIZE_DEFAULT,
                limits::PAGE_SIZE_MAX,
                limits::PAGE_SIZE_MAX
            ),
        ));
    };
    Ok(match asked {
        0 => limits::PAGE_SIZE_DEFAULT,
        more => more.min(limits::PAGE_SIZE_MAX),
    })
}

/// SHA-256 of a message as it is encoded: map fields are sorted, so equal messages have equal hashes.
fn sha256(message: &impl Message) -> [u8; 32] {
    Sha256::digest(message.encode_to_vec()).into()
}

/// Reads an etag: `r` and the revision.
fn etag(fields: &mut Fields, text: &str) -> Option<Revision> {
    if text.is_empty() {
        return None;
    }
    let revision = text
        .strip_prefix('r')
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|digits| digits.parse().ok())
        .map(Revision);
    fields.check(revision.is_some(), "etag", || {
        "is an etag as read with the resource, or empty".into()
    });
    revision
}

/// Reads an optional request id; ids of different methods never meet. `content` is the request without what may
/// differ between a request and its repeat.
fn request_key(
    fields: &mut Fields,
    method: &str,
    id: &str,
    content: &impl Message,
) -> Option<RequestKey> {
    if id.is_empty() {
        return None;
    }
    let id = fields.key("request_id", id);
    Some(RequestKey {
        id: format!("{method}/{id}").into(),
        payload_sha256: sha256(content),
    })
}

/// Reads a reason given by a person.
fn reason(fields: &mut Fields, text: &str) -> Arc<str> {
    fields.text("reason", text, limits::REASON_BYTES_MAX)
}

/// Refuses an update mask that names nothing, or something else than `allowed`.
fn mask<'a>(
    fields: &mut Fields,
    mask: Option<&'a prost_types::FieldMask>,
    allowed: &[&str],
) -> &'a [String] {
    let paths = mask.map_or(&[][..], |mask| mask.paths.as_slice());
    fields.check(!paths.is_empty(), "update_mask", || {
        format!("names at least one of {}", allowed.join(", "))
    });
    // The first few are enough to see what is wrong.
    let unknown = paths
        .iter()
        .filter(|path| !allowed.contains(&path.as_str()))
        .take(8);
    for path in unknown {
        let path: String = path.chars().take(64).collect();
        fields.add(
            "update_mask",
            format!(
                "{path:?} cannot be changed; use any of {}",
                allowed.join(", ")
            ),
        );
    }
    paths
}

#[cfg(test)]
mod tests;
