//! Forecasts, ruling bands and skill.
//!
//! An issue leaves slot by slot: its steps are slots.

use super::time;
use crate::{
    controller::{self, BandSource, RulingBand, Skill},
    domain::{
        forecast::{ForecastIssue, ForecastProduct},
        ids::Revision,
    },
    proto::v1,
    slot::SlotGrid,
};

/// An issue with its bands.
pub(in crate::service) fn forecast(issue: &ForecastIssue, grid: SlotGrid) -> v1::Forecast {
    let bands = &issue.bands;
    v1::Forecast {
        forecast_id: issue.id.to_string(),
        supply_id: issue.id.supply.to_string(),
        product: product(issue.id.product).into(),
        issued_at: Some(time(issue.id.issued_at)),
        start_time: Some(time(grid.start_of(issue.range.start))),
        step_seconds: grid.slot_seconds(),
        p10_watts: bands.iter().map(|band| band.p10_watts).collect(),
        p50_watts: bands.iter().map(|band| band.p50_watts).collect(),
        p90_watts: bands.iter().map(|band| band.p90_watts).collect(),
    }
}

/// An issue without its bands.
pub(in crate::service) fn forecast_summary(
    issue: &ForecastIssue,
    ruling_slots: u32,
    grid: SlotGrid,
) -> v1::ForecastSummary {
    v1::ForecastSummary {
        forecast_id: issue.id.to_string(),
        supply_id: issue.id.supply.to_string(),
        product: product(issue.id.product).into(),
        issued_at: Some(time(issue.id.issued_at)),
        start_time: Some(time(grid.start_of(issue.range.start))),
        end_time: Some(time(grid.start_of(issue.range.end))),
        ruling_slots,
    }
}

/// What became of an issue.
pub(in crate::service) fn receipt(receipt: &controller::ForecastReceipt) -> v1::ForecastReceipt {
    let Revision(revision) = receipt.revision;
    v1::ForecastReceipt {
        forecast_id: receipt.id.to_string(),
        covered_slots: receipt.covered_slots,
        ruling_slots: receipt.ruling_slots,
        already_existed: receipt.already_existed,
        revision,
    }
}

/// The band that rules a slot.
pub(in crate::service) fn ruling_band(ruling: &RulingBand, grid: SlotGrid) -> v1::RulingBand {
    v1::RulingBand {
        start_time: Some(time(grid.start_of(ruling.slot))),
        p10_watts: ruling.band.p10_watts,
        p50_watts: ruling.band.p50_watts,
        p90_watts: ruling.band.p90_watts,
        source: band_source(ruling.source).into(),
        forecast_id: ruling
            .issue
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
    }
}

/// How good a product was.
pub(in crate::service) fn skill(skill: &Skill) -> v1::ForecastSkill {
    let [p10, p50, p90] = skill.pinball_watts;
    v1::ForecastSkill {
        product: product(skill.product).into(),
        slots: skill.slots,
        bias_watts: skill.bias_watts,
        mae_watts: skill.mae_watts,
        pinball_p10_watts: p10,
        pinball_p50_watts: p50,
        pinball_p90_watts: p90,
        coverage_permille: skill.coverage_permille,
    }
}

/// The kind of issue.
pub(in crate::service) fn product(product: ForecastProduct) -> v1::ForecastProduct {
    match product {
        ForecastProduct::DayAhead => v1::ForecastProduct::DayAhead,
        ForecastProduct::Intraday => v1::ForecastProduct::Intraday,
        ForecastProduct::WeekAhead => v1::ForecastProduct::WeekAhead,
    }
}

/// Where a band comes from.
pub(in crate::service) fn band_source(source: BandSource) -> v1::BandSource {
    match source {
        BandSource::Forecast => v1::BandSource::Forecast,
        BandSource::StaleForecast => v1::BandSource::StaleForecast,
        BandSource::Climatology => v1::BandSource::Climatology,
    }
}
