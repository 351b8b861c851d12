//! Links, input and transfers.
//!
//! A rate of 0 stands for the default and an empty gateway for none; a transfer always has slots and a rate.

use crate::{
    domain::{
        ids::Revision,
        interner::Interner,
        link::{Link, StageIn, Staging},
    },
    proto::journal_v1,
    slot::{Slot, SlotRange},
    store::codec::{
        DecodeError,
        error::{FieldProblem, Located},
        fields::{encode_optional, optional_name, time},
    },
};

pub(in crate::store) fn encode_link(link: &Link) -> journal_v1::Link {
    journal_v1::Link {
        gateway_id: link.gateway.as_str().into(),
        bandwidth_bits_per_second: link.bandwidth_bits_per_second,
        updated_at_ms: link.updated_at.0,
        revision: link.revision.0,
    }
}

pub(in crate::store) fn decode_link(
    wire: &journal_v1::Link,
    interner: &mut Interner,
) -> Result<Link, DecodeError> {
    if wire.bandwidth_bits_per_second == 0 {
        return Err(FieldProblem::Missing).at("bandwidth_bits_per_second");
    }
    Ok(Link {
        gateway: interner.name(&wire.gateway_id).at("gateway_id")?,
        bandwidth_bits_per_second: wire.bandwidth_bits_per_second,
        updated_at: time(wire.updated_at_ms).at("updated_at_ms")?,
        revision: Revision(wire.revision),
    })
}

pub(super) fn encode_staging(staging: Staging) -> journal_v1::Staging {
    journal_v1::Staging {
        input_bytes: staging.input_bytes,
        max_bits_per_second: staging.max_bits_per_second.unwrap_or(0),
    }
}

pub(super) fn decode_staging(wire: &journal_v1::Staging) -> Result<Staging, DecodeError> {
    if wire.input_bytes == 0 {
        return Err(FieldProblem::Missing).at("input_bytes");
    }
    Ok(Staging {
        input_bytes: wire.input_bytes,
        max_bits_per_second: (wire.max_bits_per_second > 0).then_some(wire.max_bits_per_second),
    })
}

pub(super) fn encode_stage_in(stage_in: &StageIn) -> journal_v1::StageIn {
    journal_v1::StageIn {
        site_id: stage_in.site.as_str().into(),
        gateway_id: encode_optional(stage_in.link.as_ref().map(|id| id.as_str())),
        start_slot: stage_in.slots.start.0,
        end_slot: stage_in.slots.end.0,
        bits_per_second: stage_in.bits_per_second,
    }
}

pub(super) fn decode_stage_in(
    wire: &journal_v1::StageIn,
    interner: &mut Interner,
) -> Result<StageIn, DecodeError> {
    if wire.end_slot <= wire.start_slot {
        return Err(FieldProblem::Unordered).at("end_slot");
    }
    if wire.bits_per_second == 0 {
        return Err(FieldProblem::Missing).at("bits_per_second");
    }
    Ok(StageIn {
        site: interner.name(&wire.site_id).at("site_id")?,
        link: optional_name(&wire.gateway_id, interner).at("gateway_id")?,
        slots: SlotRange::new(Slot(wire.start_slot), Slot(wire.end_slot)),
        bits_per_second: wire.bits_per_second,
    })
}
