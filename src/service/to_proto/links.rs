//! Links and transfers.
//!
//! A gateway that is not there is the empty text, as in requests.

use super::{etag, time};
use crate::{
    domain::link::{Link, StageIn},
    proto::v1,
    slot::SlotGrid,
};

/// A link.
pub(in crate::service) fn link(link: &Link) -> v1::Link {
    v1::Link {
        gateway_id: link.gateway.to_string(),
        bandwidth_bits_per_second: link.bandwidth_bits_per_second,
        update_time: Some(time(link.updated_at)),
        etag: etag(link.revision),
    }
}

/// A transfer.
pub(super) fn stage_in(stage_in: &StageIn, grid: SlotGrid) -> v1::StageIn {
    v1::StageIn {
        gateway_id: stage_in
            .link
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        site_id: stage_in.site.to_string(),
        start_time: Some(time(grid.start_of(stage_in.slots.start))),
        end_time: Some(time(grid.start_of(stage_in.slots.end))),
        bits_per_second: stage_in.bits_per_second,
    }
}
