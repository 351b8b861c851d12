//! Forecast issues and readings.
//!
//! Every slot of a range has its value, and the bands of an issue are ordered.

use crate::{
    domain::{
        forecast::{Actuals, Band, ForecastId, ForecastIssue},
        interner::Interner,
    },
    proto::journal_v1,
    slot::{Slot, SlotRange},
    store::codec::{
        DecodeError,
        enums::{decode_product, encode_product},
        error::{FieldProblem, Located},
        fields::{required, time},
    },
};

pub(super) fn encode_forecast_id(id: &ForecastId) -> journal_v1::ForecastId {
    journal_v1::ForecastId {
        supply_id: id.supply.as_str().into(),
        issued_at_ms: id.issued_at.0,
        product: encode_product(id.product),
    }
}

pub(super) fn decode_forecast_id(
    wire: &journal_v1::ForecastId,
    interner: &mut Interner,
) -> Result<ForecastId, DecodeError> {
    Ok(ForecastId {
        supply: interner.name(&wire.supply_id).at("supply_id")?,
        issued_at: time(wire.issued_at_ms).at("issued_at_ms")?,
        product: decode_product(wire.product).at("product")?,
    })
}

pub(in crate::store) fn encode_issue(issue: &ForecastIssue) -> journal_v1::ForecastIssue {
    let column = |quantile: fn(&Band) -> u64| issue.bands.iter().map(quantile).collect();
    journal_v1::ForecastIssue {
        id: Some(encode_forecast_id(&issue.id)),
        start_slot: issue.range.start.0,
        p10_watts: column(|band| band.p10_watts),
        p50_watts: column(|band| band.p50_watts),
        p90_watts: column(|band| band.p90_watts),
    }
}

pub(in crate::store) fn decode_issue(
    wire: &journal_v1::ForecastIssue,
    interner: &mut Interner,
) -> Result<ForecastIssue, DecodeError> {
    let id = required(wire.id.as_ref(), "id")?;
    let expected = wire.p50_watts.len();
    let columns = [
        ("p10_watts", wire.p10_watts.len()),
        ("p90_watts", wire.p90_watts.len()),
    ];
    for (field, len) in columns {
        if len != expected {
            return Err(FieldProblem::WrongLength { len, expected }).at(field);
        }
    }
    let quantiles = wire.p10_watts.iter().zip(&wire.p50_watts);
    let mut bands = Vec::with_capacity(expected);
    for (i, ((&p10_watts, &p50_watts), &p90_watts)) in quantiles.zip(&wire.p90_watts).enumerate() {
        if !(p10_watts <= p50_watts && p50_watts <= p90_watts) {
            return Err(FieldProblem::Unordered).at_index("p50_watts", i);
        }
        bands.push(Band {
            p10_watts,
            p50_watts,
            p90_watts,
        });
    }
    Ok(ForecastIssue {
        id: decode_forecast_id(id, interner).at("id")?,
        range: range(wire.start_slot, expected).at("start_slot")?,
        bands: bands.into(),
    })
}

pub(in crate::store) fn encode_actuals(actuals: &Actuals) -> journal_v1::Actuals {
    journal_v1::Actuals {
        supply_id: actuals.supply.as_str().into(),
        start_slot: actuals.range.start.0,
        watts: actuals.watts.to_vec(),
    }
}

pub(in crate::store) fn decode_actuals(
    wire: &journal_v1::Actuals,
    interner: &mut Interner,
) -> Result<Actuals, DecodeError> {
    Ok(Actuals {
        supply: interner.name(&wire.supply_id).at("supply_id")?,
        range: range(wire.start_slot, wire.watts.len()).at("start_slot")?,
        watts: wire.watts.as_slice().into(),
    })
}

/// The slots that some values cover; their numbers fit 32 bits.
pub(super) fn range(start: u32, len: usize) -> Result<SlotRange, FieldProblem> {
    let end = u32::try_from(len)
        .ok()
        .and_then(|len| start.checked_add(len));
    let end = end.ok_or(FieldProblem::OutOfRange)?;
    Ok(SlotRange::new(Slot(start), Slot(end)))
}
