//! Sites and latencies of the starter data as requests of the API.
//!
//! Values are carried over one to one; nothing is read or judged here.

use crate::{
    domain::{
        ids::GatewayId,
        latency::LatencyZone,
        site::{Pool, Site, Supply, SupplyKind, TariffPeriod},
    },
    proto::v1,
    topology::PairTimes,
};

pub(super) fn create_site(site: &Site) -> v1::CreateSiteRequest {
    v1::CreateSiteRequest {
        request_id: format!("starter-{}", site.id),
        site: Some(v1::Site {
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
                .map(ToString::to_string)
                .unwrap_or_default(),
            offshore_enclave: site.offshore_enclave,
            grid_location_mg_per_kwh: site.grid_location_mg_per_kwh,
            grid_marginal_mg_per_kwh: site.grid_marginal_mg_per_kwh.clone(),
            water_ml_per_kwh: site.water_ml_per_kwh,
            tariff: site.tariff.iter().map(period).collect(),
            ..v1::Site::default()
        }),
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
    v1::Supply {
        supply_id: supply.id.to_string(),
        kind: kind.into(),
        nameplate_watts: supply.nameplate_watts,
        monthly_capacity_permille: supply.monthly_capacity_permille.map(u32::from).to_vec(),
        carbon_mg_per_kwh: supply.carbon_mg_per_kwh,
        price_micro_cny_per_kwh: supply.price_micro_cny_per_kwh,
    }
}

fn period(period: &TariffPeriod) -> v1::TariffPeriod {
    v1::TariffPeriod {
        months: period.months.iter().copied().map(u32::from).collect(),
        start_minute: period.start_minute.into(),
        end_minute: period.end_minute.into(),
        price_micro_cny_per_kwh: period.price_micro_cny_per_kwh,
    }
}

pub(super) fn put_link((gateway, bandwidth): &(GatewayId, u64)) -> v1::PutLinkRequest {
    v1::PutLinkRequest {
        request_id: format!("starter-{gateway}"),
        link: Some(v1::Link {
            gateway_id: gateway.to_string(),
            bandwidth_bits_per_second: *bandwidth,
            ..v1::Link::default()
        }),
        etag: String::new(),
    }
}

pub(super) fn zone(zone: &LatencyZone) -> v1::LatencyZone {
    v1::LatencyZone {
        zone_id: zone.id.to_string(),
        cities: zone
            .cities
            .iter()
            .map(|city| v1::City {
                city_id: city.id.to_string(),
                country: city.country.as_str().to_owned(),
            })
            .collect(),
        budget_us: zone.budget_us,
    }
}

/// A pair of site and city; times that are not known are 0 on the wire.
pub(crate) fn round_trip((site, city, times): &PairTimes) -> v1::Latency {
    v1::Latency {
        site_id: site.to_string(),
        city_id: city.to_string(),
        leased_p50_us: times.leased_p50_us.unwrap_or(0),
        leased_p95_us: times.leased_p95_us.unwrap_or(0),
        internet_p50_us: times.internet_p50_us.unwrap_or(0),
        internet_p95_us: times.internet_p95_us.unwrap_or(0),
    }
}
