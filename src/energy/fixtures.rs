//! Sites, supplies and issues for the tests of this layer.
//!
//! All at Kunming with slots of 15 minutes unless a test says otherwise.

use std::sync::Arc;

use crate::{
    domain::{
        forecast::{Band, ForecastId, ForecastIssue, ForecastProduct},
        ids::{Revision, SiteId, SupplyId},
        restriction::Restrictions,
        site::{Country, Site, Supply, SupplyKind},
    },
    energy::sun::Place,
    slot::{Slot, SlotGrid, SlotRange, TimeMs},
};

pub(in crate::energy) const KUNMING: Place = Place {
    latitude_microdegrees: 25_040_000,
    longitude_microdegrees: 102_710_000,
    utc_offset_minutes: 480,
};

/// 2025-07-01T00:00:00+08:00 in slots of 15 minutes.
pub(in crate::energy) const FIRST_OF_JULY: Slot = Slot(1_751_299_200 / 900);

pub(in crate::energy) fn grid() -> SlotGrid {
    SlotGrid::new(900).unwrap()
}

pub(in crate::energy) fn slots(start: u32, end: u32) -> SlotRange {
    SlotRange::new(Slot(start), Slot(end))
}

pub(in crate::energy) fn supply(kind: SupplyKind, nameplate_watts: u64) -> Supply {
    let name = match kind {
        SupplyKind::Hydro => "kmg/hydro",
        SupplyKind::Solar => "kmg/solar",
        SupplyKind::Wind => "kmg/wind",
    };
    Supply {
        id: SupplyId::parse(name).unwrap(),
        kind,
        nameplate_watts,
        monthly_capacity_permille: [200; 12],
        carbon_mg_per_kwh: 0,
        price_micro_cny_per_kwh: 0,
    }
}

pub(in crate::energy) fn site(supplies: Vec<Supply>) -> Site {
    Site {
        id: SiteId::parse("kmg").unwrap(),
        display_name: "Kunming".into(),
        country: Country::CN,
        latitude_microdegrees: KUNMING.latitude_microdegrees,
        longitude_microdegrees: KUNMING.longitude_microdegrees,
        utc_offset_minutes: KUNMING.utc_offset_minutes,
        pools: Vec::new(),
        power_cap_watts: 10_000_000,
        grid_limit_watts: 10_000_000,
        pue_permille: 1_250,
        supplies,
        gateway: None,
        offshore_enclave: false,
        grid_location_mg_per_kwh: 107_300,
        grid_marginal_mg_per_kwh: Vec::new(),
        tariff: Vec::new(),
        water_ml_per_kwh: 0,
        cordon: None,
        restrictions: Restrictions::default(),
        created_at: TimeMs(0),
        updated_at: TimeMs(0),
        revision: Revision(1),
    }
}

pub(in crate::energy) fn band(p10_watts: u64, p50_watts: u64, p90_watts: u64) -> Band {
    Band {
        p10_watts,
        p50_watts,
        p90_watts,
    }
}

/// A day-ahead issue for a supply.
pub(in crate::energy) fn issue(
    supply: &Supply,
    issued_at: TimeMs,
    start: Slot,
    bands: impl IntoIterator<Item = Band>,
) -> ForecastIssue {
    let bands: Arc<[Band]> = bands.into_iter().collect();
    let len = u32::try_from(bands.len()).unwrap();
    ForecastIssue {
        id: ForecastId {
            supply: supply.id.clone(),
            issued_at,
            product: ForecastProduct::DayAhead,
        },
        range: SlotRange::new(start, start.plus(len)),
        bands,
    }
}
