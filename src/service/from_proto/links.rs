//! Reads requests about links, and the input of jobs.
//!
//! An input of 0 bytes is none; a rate without an input is refused, because it would be ignored.

use super::{etag, fields::Fields, request_key};
use crate::{
    domain::{
        ids::{GatewayId, GatewayKind, Revision},
        link::{Link, Staging},
    },
    proto::v1,
    slot::TimeMs,
    state::{Rejection, command::LinkCommand},
};

/// Reads the id of a gateway.
///
/// # Errors
/// When it is none.
pub(in crate::service) fn gateway_id(text: &str) -> Result<GatewayId, Rejection> {
    let mut fields = Fields::default();
    let id = fields.name::<GatewayKind>("gateway_id", text);
    fields.finish(id)
}

/// Reads a link to set.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn put_link(
    mut request: v1::PutLinkRequest,
) -> Result<LinkCommand, Rejection> {
    let request_id = std::mem::take(&mut request.request_id);
    let etag_text = std::mem::take(&mut request.etag);
    let mut fields = Fields::default();
    let key = request_key(&mut fields, "PutLink", &request_id, &request);
    let etag = etag(&mut fields, &etag_text);
    let read = fields.required("link", request.link.as_ref(), link);
    let command = read.flatten().map(|link| LinkCommand {
        gateway: link.gateway,
        bandwidth_bits_per_second: link.bandwidth_bits_per_second,
        etag,
        request: key,
    });
    fields.finish(command)
}

fn link(fields: &mut Fields, link: &v1::Link) -> Option<Link> {
    let output_only = [
        ("update_time", link.update_time.is_some()),
        ("etag", !link.etag.is_empty()),
    ];
    for (field, set) in output_only {
        fields.check(!set, field, || "is output only; leave it unset".into());
    }
    let gateway = fields.name::<GatewayKind>("gateway_id", &link.gateway_id);
    let read = Link {
        gateway: gateway.unwrap_or_else(|| super::fields::placeholder(0)),
        bandwidth_bits_per_second: link.bandwidth_bits_per_second,
        // Set when the link is stored.
        updated_at: TimeMs(0),
        revision: Revision(0),
    };
    fields.merge(read.violations());
    Some(read)
}

/// Reads the input of a job.
pub(super) fn staging(fields: &mut Fields, staging: Option<&v1::Staging>) -> Option<Staging> {
    let staging = staging?;
    let rate = staging.max_bits_per_second;
    if staging.input_bytes == 0 {
        fields.check(rate == 0, "staging.max_bits_per_second", || {
            "is set only with input_bytes above 0".into()
        });
        return None;
    }
    Some(Staging {
        input_bytes: staging.input_bytes,
        max_bits_per_second: (rate > 0).then_some(rate),
    })
}
