//! Reads requests about forecasts and actuals.
//!
//! A series that leaves here starts and ends on slot boundaries, has a value for every slot, and its bands are ordered.

use super::{
    fields::{Fields, Rounding},
    request_key,
};
use crate::{
    domain::{
        forecast::{Actuals, Band, ForecastId, ForecastIssue, ForecastProduct},
        ids::{SupplyId, SupplyIdKind},
    },
    limits,
    proto::v1,
    slot::{Slot, SlotGrid, SlotRange, TimeMs},
    state::{
        Rejection, Settings,
        command::{ActualsCommand, ForecastCommand},
    },
};

const PRODUCTS: [(v1::ForecastProduct, ForecastProduct); 3] = [
    (v1::ForecastProduct::DayAhead, ForecastProduct::DayAhead),
    (v1::ForecastProduct::Intraday, ForecastProduct::Intraday),
    (v1::ForecastProduct::WeekAhead, ForecastProduct::WeekAhead),
];

/// Bands that are out of order and are named one by one.
const BANDS_NAMED_MAX: usize = 10;
const DAY_MS: i64 = 86_400_000;
/// Days over which skill is told when no window is asked for.
const SKILL_DAYS: i64 = 7;

/// What `GetForecast` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) enum ForecastQuery {
    /// An issue as put.
    Issue(ForecastId),
    /// The ruling bands of a supply.
    Ruling(SupplyId, SlotRange),
}

/// What `GetForecastSkill` asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::service) struct SkillQuery {
    /// The supply.
    pub(in crate::service) supply: SupplyId,
    /// Only this product; `None` means each on its own.
    pub(in crate::service) product: Option<ForecastProduct>,
    /// The window.
    pub(in crate::service) range: SlotRange,
}

/// Reads an issue to be stored.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn put_forecast(
    request: &v1::PutForecastRequest,
    settings: Settings,
) -> Result<ForecastCommand, Rejection> {
    forecast_command(request.forecast.as_ref(), request.accept_jump, settings)
}

/// Reads an issue that came by stream.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn stream_forecast(
    request: &v1::StreamForecastsRequest,
    settings: Settings,
) -> Result<ForecastCommand, Rejection> {
    forecast_command(request.forecast.as_ref(), request.accept_jump, settings)
}

/// Reads metered power.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn actuals(
    mut request: v1::PutActualsRequest,
    settings: Settings,
) -> Result<ActualsCommand, Rejection> {
    let request_id = std::mem::take(&mut request.request_id);
    let mut fields = Fields::default();
    let key = request_key(&mut fields, "PutActuals", &request_id, &request);
    let supply = fields.name::<SupplyIdKind>("supply_id", &request.supply_id);
    let start = fields.slot_start("start_time", request.start_time.as_ref(), settings.grid);
    let n_slots = series_len(&mut fields, "watts", request.watts.len(), 1);
    let read = supply
        .zip(start.zip(n_slots))
        .map(|(supply, (start, n_slots))| {
            let start = settings.grid.slot_at(start);
            Actuals {
                supply,
                range: SlotRange::new(start, start.plus(n_slots)),
                watts: request.watts.into(),
            }
        });
    fields.finish(read.map(|actuals| ActualsCommand {
        actuals,
        request: key,
    }))
}

/// Reads what `GetForecast` asks for.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn forecast_query(
    request: &v1::GetForecastRequest,
    settings: Settings,
    now: TimeMs,
) -> Result<ForecastQuery, Rejection> {
    let mut fields = Fields::default();
    if request.forecast_id.is_empty() {
        let supply = fields.name::<SupplyIdKind>("supply_id", &request.supply_id);
        let start = fields
            .time("start_time", request.start_time.as_ref(), Rounding::Down)
            .unwrap_or(now);
        let end = fields
            .time("end_time", request.end_time.as_ref(), Rounding::Up)
            .unwrap_or_else(|| start.plus_ms(DAY_MS));
        let range = window(
            &mut fields,
            settings.grid,
            start,
            end,
            settings.horizon_slots,
        );
        return fields.finish(supply.map(|supply| ForecastQuery::Ruling(supply, range)));
    }
    let others = [
        ("supply_id", !request.supply_id.is_empty()),
        ("start_time", request.start_time.is_some()),
        ("end_time", request.end_time.is_some()),
    ];
    for (field, set) in others {
        fields.check(!set, field, || "is unset when forecast_id is set".into());
    }
    let id = ForecastId::parse(&request.forecast_id);
    fields.check(id.is_some(), "forecast_id", || {
        "is an id as PutForecast answered it: <supply id>:<DA, ID or WA>:<milliseconds>".into()
    });
    fields.finish(id.map(ForecastQuery::Issue))
}

/// Reads what `GetForecastSkill` asks for.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn skill_query(
    request: &v1::GetForecastSkillRequest,
    settings: Settings,
    now: TimeMs,
) -> Result<SkillQuery, Rejection> {
    let mut fields = Fields::default();
    let supply = fields.name::<SupplyIdKind>("supply_id", &request.supply_id);
    let product = product_filter(&mut fields, request.product);
    let end = fields
        .time("end_time", request.end_time.as_ref(), Rounding::Up)
        .unwrap_or(now);
    let start = fields
        .time("start_time", request.start_time.as_ref(), Rounding::Down)
        .unwrap_or_else(|| TimeMs((end.0 - SKILL_DAYS * DAY_MS).max(0)));
    let slots_max = limits::ACTUALS_DAYS_MAX * settings.grid.slots_per_day();
    let range = window(&mut fields, settings.grid, start, end, slots_max);
    fields.finish(supply.map(|supply| SkillQuery {
        supply,
        product,
        range,
    }))
}

/// Reads by which supply and product issues are listed.
///
/// # Errors
/// With every wrong field.
pub(in crate::service) fn forecast_product_filter(
    request: &v1::ListForecastsRequest,
) -> Result<(Option<SupplyId>, Option<ForecastProduct>), Rejection> {
    let mut fields = Fields::default();
    let supply = fields.name_or_none::<SupplyIdKind>("supply_id", &request.supply_id);
    let product = product_filter(&mut fields, request.product);
    fields.finish(Some((supply, product)))
}

fn forecast_command(
    forecast: Option<&v1::Forecast>,
    accept_jump: bool,
    settings: Settings,
) -> Result<ForecastCommand, Rejection> {
    let mut fields = Fields::default();
    let issue = fields.required("forecast", forecast, |fields, forecast| {
        issue(fields, forecast, settings.grid)
    });
    let slots_per_step = forecast.map_or(1, |forecast| {
        forecast.step_seconds / settings.grid.slot_seconds()
    });
    fields.finish(issue.flatten().map(|issue| ForecastCommand {
        issue,
        slots_per_step,
        accept_jump,
    }))
}

fn issue(fields: &mut Fields, forecast: &v1::Forecast, grid: SlotGrid) -> Option<ForecastIssue> {
    fields.check(forecast.forecast_id.is_empty(), "forecast_id", || {
        "is output only; leave it unset".into()
    });
    let supply = fields.name::<SupplyIdKind>("supply_id", &forecast.supply_id);
    let product = fields.choice("product", forecast.product, &PRODUCTS, |product| {
        product.as_str_name()
    });
    let issued_at = fields.required_time("issued_at", forecast.issued_at.as_ref());
    let start = fields.slot_start("start_time", forecast.start_time.as_ref(), grid);
    let slots_per_step = slots_per_step(fields, forecast.step_seconds, grid);
    let steps = steps(fields, forecast);
    let n_slots = series_len(
        fields,
        "p50_watts",
        forecast.p50_watts.len(),
        slots_per_step.unwrap_or(1),
    );
    let start = grid.slot_at(start?);
    let id = ForecastId {
        supply: supply?,
        issued_at: issued_at?,
        product: product?,
    };
    let per_step = usize::try_from(slots_per_step?).ok()?;
    Some(ForecastIssue {
        id,
        range: SlotRange::new(start, start.plus(n_slots?)),
        bands: steps?
            .iter()
            .flat_map(|band| std::iter::repeat_n(*band, per_step))
            .collect(),
    })
}

/// How many slots a step covers.
fn slots_per_step(fields: &mut Fields, step_seconds: u32, grid: SlotGrid) -> Option<u32> {
    let slot = grid.slot_seconds();
    let ok = step_seconds > 0 && step_seconds.is_multiple_of(slot);
    fields.check(ok, "step_seconds", || {
        format!("is a whole number of slots: a multiple of {slot}")
    });
    ok.then(|| step_seconds / slot)
}

/// The bands step by step.
fn steps(fields: &mut Fields, forecast: &v1::Forecast) -> Option<Vec<Band>> {
    let n_steps = forecast.p50_watts.len();
    let others = [
        ("p10_watts", forecast.p10_watts.len()),
        ("p90_watts", forecast.p90_watts.len()),
    ];
    for (field, len) in others {
        fields.check(len == n_steps, field, || {
            format!("has as many values as p50_watts ({n_steps}), not {len}")
        });
    }
    if others.iter().any(|(_, len)| *len != n_steps) || n_steps > limits::SERIES_SLOTS_MAX {
        return None;
    }
    let low = forecast.p10_watts.iter().zip(&forecast.p50_watts);
    let bands: Vec<Band> = low
        .zip(&forecast.p90_watts)
        .map(|((p10, p50), p90)| Band {
            p10_watts: *p10,
            p50_watts: *p50,
            p90_watts: *p90,
        })
        .collect();
    let out_of_order =
        |band: &Band| band.p10_watts > band.p50_watts || band.p50_watts > band.p90_watts;
    let numbered = bands.iter().enumerate();
    for (i, band) in numbered
        .filter(|(_, band)| out_of_order(band))
        .take(BANDS_NAMED_MAX)
    {
        let Band {
            p10_watts,
            p50_watts,
            p90_watts,
        } = band;
        fields.add(
            &format!("p50_watts[{i}]"),
            format!(
                "is between p10 and p90: {p10_watts} <= {p50_watts} <= {p90_watts} does not hold"
            ),
        );
    }
    Some(bands)
}

/// The length of a series in slots, within its bound.
pub(super) fn series_len(
    fields: &mut Fields,
    field: &str,
    n_steps: usize,
    slots_per_step: u32,
) -> Option<u32> {
    let slots_max = u32::try_from(limits::SERIES_SLOTS_MAX).unwrap_or(u32::MAX);
    let n_slots = u32::try_from(n_steps)
        .ok()
        .and_then(|n_steps| n_steps.checked_mul(slots_per_step))
        .filter(|n_slots| (1..=slots_max).contains(n_slots));
    fields.check(n_slots.is_some(), field, || {
        format!("covers 1 to {slots_max} slots")
    });
    n_slots
}

/// The slots that a window touches.
pub(super) fn window(
    fields: &mut Fields,
    grid: SlotGrid,
    start: TimeMs,
    end: TimeMs,
    slots_max: u32,
) -> SlotRange {
    fields.check(start < end, "end_time", || "is after start_time".into());
    let first: Slot = grid.slot_at(start);
    let range = SlotRange::new(first, grid.slot_from(end));
    fields.check(range.len() <= slots_max, "end_time", || {
        let days = slots_max / grid.slots_per_day();
        format!("is at most {slots_max} slots ({days} days) after start_time")
    });
    range
}

fn product_filter(fields: &mut Fields, number: i32) -> Option<ForecastProduct> {
    if number == 0 {
        return None;
    }
    fields.choice("product", number, &PRODUCTS, |product| {
        product.as_str_name()
    })
}
