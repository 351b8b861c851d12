//! Sites and latencies.
//!
//! A round-trip time that is not known is 0, as in requests.

use super::{etag, time};
use crate::{
    domain::{
        ids::{CityId, SiteId},
        latency::{LatencyZone, RoundTrip},
        restriction::{Drain, DrainMode},
        site::{Pool, Site, Supply, SupplyKind, TariffPeriod},
    },
    proto::v1,
    state::SiteLoad,
};

/// A site with what is there.
pub(in crate::service) fn site(site: &Site, load: SiteLoad) -> v1::Site {
    let cordon = site.cordon.as_ref();
    v1::Site {
        site_id: site.id.to_string(),
        display_name: site.display_name.to_string(),
        country: site.country.as_str().to_owned(),
        latitude_microdegrees: site.latitude_microdegrees,
        longitude_microdegrees: site.longitude_microdegrees,
        utc_offset_minutes: site.utc_offset_minutes,
        pools: site.pools.iter().map(pool).collect(),
        power_cap_watts: site.power_cap_watts,
        grid_limit_watts: site.grid_limit_watts,
        pue_permille: site.pue_permille,
        supplies: site.supplies.iter().map(supply).collect(),
        gateway_id: site
            .gateway
            .as_ref()
            .map_or_else(String::new, ToString::to_string),
        offshore_enclave: site.offshore_enclave,
        grid_location_mg_per_kwh: site.grid_location_mg_per_kwh,
        grid_marginal_mg_per_kwh: site.grid_marginal_mg_per_kwh.clone(),
        tariff: site.tariff.iter().map(tariff_period).collect(),
        cordon: Some(v1::Cordon {
            cordoned: cordon.is_some(),
            reason: cordon.map_or_else(String::new, |cordon| cordon.reason.to_string()),
            since: cordon.map(|cordon| time(cordon.since)),
        }),
        create_time: Some(time(site.created_at)),
        update_time: Some(time(site.updated_at)),
        etag: etag(site.revision),
        water_ml_per_kwh: site.water_ml_per_kwh,
        drain: site.restrictions.drain.map(|one| drain(one, load)),
    }
}

/// A zone.
pub(in crate::service) fn latency_zone(zone: &LatencyZone) -> v1::LatencyZone {
    let cities = zone.cities.iter();
    v1::LatencyZone {
        zone_id: zone.id.to_string(),
        cities: cities
            .map(|city| v1::City {
                city_id: city.id.to_string(),
                country: city.country.as_str().to_owned(),
            })
            .collect(),
        budget_us: zone.budget_us,
    }
}

/// The round-trip times of a pair.
pub(in crate::service) fn latency(site: &SiteId, city: &CityId, times: &RoundTrip) -> v1::Latency {
    v1::Latency {
        site_id: site.to_string(),
        city_id: city.to_string(),
        leased_p50_us: times.leased_p50_us.unwrap_or(0),
        leased_p95_us: times.leased_p95_us.unwrap_or(0),
        internet_p50_us: times.internet_p50_us.unwrap_or(0),
        internet_p95_us: times.internet_p95_us.unwrap_or(0),
    }
}

fn drain(drain: Drain, load: SiteLoad) -> v1::Drain {
    let mode = match drain.mode {
        DrainMode::Finish => v1::DrainMode::Finish,
        DrainMode::Checkpoint => v1::DrainMode::Checkpoint,
        DrainMode::Kill => v1::DrainMode::Kill,
    };
    let state = if load.is_empty() {
        v1::DrainState::Drained
    } else {
        v1::DrainState::Draining
    };
    v1::Drain {
        mode: mode.into(),
        deadline: drain.deadline.map(time),
        since: Some(time(drain.since)),
        state: state.into(),
        planned_jobs: load.planned,
        running_jobs: load.running,
        stopping_jobs: load.stopping,
    }
}

fn pool(pool: &Pool) -> v1::Pool {
    v1::Pool {
        pool_id: pool.id.to_string(),
        nodes: pool.nodes,
        cpu_cores_per_node: pool.cpu_cores_per_node,
        memory_mib_per_node: pool.memory_mib_per_node,
        gpus_per_node: pool.gpus_per_node,
        gpu_model: pool.gpu_model.as_deref().unwrap_or_default().to_owned(),
        no_domestic_mix: pool.no_domestic_mix,
        encrypted_in_use: pool.encrypted_in_use,
    }
}

fn supply(supply: &Supply) -> v1::Supply {
    let kind = match supply.kind {
        SupplyKind::Hydro => v1::SupplyKind::Hydro,
        SupplyKind::Solar => v1::SupplyKind::Solar,
        SupplyKind::Wind => v1::SupplyKind::Wind,
    };
    let months = supply.monthly_capacity_permille.iter();
    v1::Supply {
        supply_id: supply.id.to_string(),
        kind: kind.into(),
        nameplate_watts: supply.nameplate_watts,
        monthly_capacity_permille: months.map(|permille| u32::from(*permille)).collect(),
        carbon_mg_per_kwh: supply.carbon_mg_per_kwh,
        price_micro_cny_per_kwh: supply.price_micro_cny_per_kwh,
    }
}

fn tariff_period(period: &TariffPeriod) -> v1::TariffPeriod {
    v1::TariffPeriod {
        months: period
            .months
            .iter()
            .map(|month| u32::from(*month))
            .collect(),
        start_minute: u32::from(period.start_minute),
        end_minute: u32::from(period.end_minute),
        price_micro_cny_per_kwh: period.price_micro_cny_per_kwh,
    }
}
