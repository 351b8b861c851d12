//! Sites and latencies.
//!
//! A round-trip time that is not known is 0, as in requests.

use std::sync::Arc;

use super::{etag, time};
use crate::{
    controller::Heard,
    domain::{
        agent::Agent,
        ids::{CityId, SiteId},
        latency::{LatencyZone, RoundTrip},
        restriction::{Drain, DrainMode, Window, WindowKind},
        site::{Pool, Site, Supply, SupplyKind, TariffPeriod},
    },
    proto::v1,
    slot::{SlotGrid, TimeMs},
    state::{SiteLoad, State},
};

/// A site as it is: with what is there, and its power now.
pub(in crate::service) fn site_now(
    site: &Site,
    state: &State,
    heard: Option<(Heard, bool)>,
    now: TimeMs,
) -> v1::Site {
    let grid = state.settings().grid;
    let slot = grid.slot_at(now);
    let mut described = self::site(site, state.load(&site.id), grid);
    let open = site.restrictions.windows.iter();
    let open = open.filter(|one| slot < one.slots.end);
    described.windows = open.map(|one| window(one, grid)).collect();
    described.power = Some(v1::SitePower {
        allowed_watts: site.power_allowed(slot),
        running_watts: state.running_watts(&site.id, slot),
    });
    let agent = state.agent(&site.id).map(Arc::as_ref);
    described.agent = Some(agent_status(agent, heard));
    described
}

fn agent_status(agent: Option<&Agent>, heard: Option<(Heard, bool)>) -> v1::AgentStatus {
    let member = agent.and_then(|agent| agent.member.as_ref());
    let is_live = heard.as_ref().is_some_and(|(_, is_live)| *is_live);
    let state = match (agent, member) {
        (None, _) => v1::AgentState::NeverEnrolled,
        (Some(agent), None) if agent.epoch == 0 => v1::AgentState::NeverEnrolled,
        (Some(_), None) => v1::AgentState::GivenUp,
        (Some(agent), Some(_)) if agent.is_lost => v1::AgentState::GivenUp,
        (Some(_), Some(_)) if is_live => v1::AgentState::Connected,
        (Some(_), Some(_)) => v1::AgentState::Silent,
    };
    let heard = heard.map(|(heard, _)| heard);
    v1::AgentStatus {
        state: state.into(),
        site_epoch: agent.map_or(0, |agent| agent.epoch),
        instance_id: member.map_or_else(String::new, |member| member.instance.to_string()),
        enroll_time: member.map(|member| time(member.enrolled_at)),
        report_time: heard.as_ref().map(|heard| time(heard.at)),
        held_attempts: heard
            .as_ref()
            .map_or(0, |heard| u32::try_from(heard.n_held).unwrap_or(u32::MAX)),
        version: heard.map_or_else(String::new, |heard| heard.version.to_string()),
    }
}

/// A site with what is there.
pub(in crate::service) fn site(site: &Site, load: SiteLoad, grid: SlotGrid) -> v1::Site {
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
        windows: (site.restrictions.windows.iter())
            .map(|one| window(one, grid))
            .collect(),
        power: None,
        agent: None,
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

fn window(window: &Window, grid: SlotGrid) -> v1::SiteWindow {
    let kind = match window.kind {
        WindowKind::Maintenance => v1::WindowKind::Maintenance,
        WindowKind::Curtailment => v1::WindowKind::Curtailment,
        WindowKind::Emergency => v1::WindowKind::Emergency,
    };
    v1::SiteWindow {
        window_id: window.id.to_string(),
        kind: kind.into(),
        start_time: Some(time(grid.start_of(window.slots.start))),
        end_time: Some(time(grid.start_of(window.slots.end))),
        max_power_watts: window.max_watts,
        reason: window.reason.to_string(),
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
