//! Sites, jobs and forecasts small enough to reason about by hand.
//!
//! A site is 10 nodes of 64 cores under a cap of 100 kW with a PUE of 1 and one hydro contract of 10 kW that gives
//! nothing but what a forecast says; a job is 1 kW for an hour, so that it is 1 kWh.

use lancang::proto::v1;
use prost_types::{Duration, FieldMask, Timestamp};

use crate::support::in_memory::{SLOT_S, START_S};

/// The client city of all jobs; 10 ms from every site of [`latencies`].
pub(super) const CITY: &str = "vientiane";
/// The latency zone of the city.
pub(super) const ZONE: &str = "mekong";
/// Round-trip budget of the zone, microseconds.
pub(super) const BUDGET_US: u32 = 50_000;
/// Energy of the usual job.
pub(super) const KWH_WATT_SECONDS: u64 = 3_600_000;
/// Life-cycle carbon of hydro power and average carbon of the grid, mg/kWh.
pub(super) const HYDRO_MG: u64 = 24_000;
pub(super) const GRID_MG: u64 = 600_000;
/// Prices of hydro power and of the grid at any time, micro-CNY/kWh.
pub(super) const HYDRO_PRICE: u64 = 250_000;
pub(super) const GRID_PRICE: u64 = 500_000;
/// Contracted power of the supply of a site.
pub(super) const NAMEPLATE_WATTS: u64 = 10_000;

/// The moment `seconds` after the start of the tests' time.
pub(super) fn at_second(seconds: i64) -> Timestamp {
    Timestamp {
        seconds: START_S + seconds,
        nanos: 0,
    }
}

/// The start of a slot; slot 0 begins at the start of the tests' time.
pub(super) fn at(slot: i64) -> Timestamp {
    at_second(slot * SLOT_S)
}

/// The slot that begins at this moment.
#[track_caller]
pub(super) fn slot_of(time: Option<Timestamp>) -> i64 {
    let seconds = time.unwrap().seconds - START_S;
    assert_eq!(seconds % SLOT_S, 0, "a moment on a slot boundary");
    seconds / SLOT_S
}

pub(super) fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

pub(super) fn supply(supply_id: &str, kind: v1::SupplyKind) -> v1::Supply {
    v1::Supply {
        supply_id: supply_id.into(),
        kind: kind.into(),
        nameplate_watts: NAMEPLATE_WATTS,
        monthly_capacity_permille: vec![0; 12],
        carbon_mg_per_kwh: 24_000,
        price_micro_cny_per_kwh: HYDRO_PRICE,
    }
}

/// Id of the one supply of a [`site`].
pub(super) fn hydro(site_id: &str) -> String {
    format!("{site_id}/hydro")
}

pub(super) fn pool(pool_id: &str, nodes: u32) -> v1::Pool {
    v1::Pool {
        pool_id: pool_id.into(),
        nodes,
        cpu_cores_per_node: 64,
        memory_mib_per_node: 262_144,
        no_domestic_mix: true,
        ..v1::Pool::default()
    }
}

pub(super) fn site(site_id: &str) -> v1::Site {
    v1::Site {
        site_id: site_id.into(),
        country: "CN".into(),
        latitude_microdegrees: 25_040_000,
        longitude_microdegrees: 102_720_000,
        utc_offset_minutes: 480,
        pools: vec![pool("general", 10)],
        power_cap_watts: 100_000,
        grid_limit_watts: 200_000,
        pue_permille: 1_000,
        supplies: vec![supply(&hydro(site_id), v1::SupplyKind::Hydro)],
        gateway_id: "mohan".into(),
        offshore_enclave: true,
        grid_location_mg_per_kwh: 600_000,
        tariff: vec![v1::TariffPeriod {
            months: vec![],
            start_minute: 0,
            end_minute: 1_440,
            price_micro_cny_per_kwh: GRID_PRICE,
        }],
        ..v1::Site::default()
    }
}

/// The zone with its city, and the round trip from it to each of the sites.
pub(super) fn latencies(rtt_us: u32, site_ids: &[&str]) -> v1::PutLatenciesRequest {
    let latency = |site_id: &&str| v1::Latency {
        site_id: (*site_id).into(),
        city_id: CITY.into(),
        leased_p50_us: rtt_us,
        leased_p95_us: 2 * rtt_us,
        internet_p50_us: 3 * rtt_us,
        internet_p95_us: 4 * rtt_us,
    };
    v1::PutLatenciesRequest {
        zones: vec![v1::LatencyZone {
            zone_id: ZONE.into(),
            cities: vec![v1::City {
                city_id: CITY.into(),
                country: "LA".into(),
            }],
            budget_us: BUDGET_US,
        }],
        latencies: site_ids.iter().map(latency).collect(),
        ..v1::PutLatenciesRequest::default()
    }
}

/// An issue with one step a slot and a band of no width: just so many watts.
pub(super) fn forecast(supply_id: &str, issued_at: i64, from: i64, watts: &[u64]) -> v1::Forecast {
    let sure: Vec<_> = watts.iter().map(|&watts| (watts, watts, watts)).collect();
    banded_forecast(supply_id, issued_at, from, &sure)
}

/// An issue with one step a slot; a band is p10, p50 and p90. `issued_at` is in seconds, `from` a slot.
pub(super) fn banded_forecast(
    supply_id: &str,
    issued_at: i64,
    from: i64,
    bands: &[(u64, u64, u64)],
) -> v1::Forecast {
    v1::Forecast {
        forecast_id: String::new(),
        supply_id: supply_id.into(),
        product: v1::ForecastProduct::DayAhead.into(),
        issued_at: Some(at_second(issued_at)),
        start_time: Some(at(from)),
        step_seconds: 900,
        p10_watts: bands.iter().map(|band| band.0).collect(),
        p50_watts: bands.iter().map(|band| band.1).collect(),
        p90_watts: bands.iter().map(|band| band.2).collect(),
    }
}

/// `total` slots that give nothing, but `watts` from the first slot to before the second.
pub(super) fn green_between(total: usize, from: usize, to: usize, watts: u64) -> Vec<u64> {
    let mut series = vec![0; total];
    series[from..to].fill(watts);
    series
}

/// 1 task of 8 cores and 1 kW for an hour, whenever it is best, with data under no rule.
pub(super) fn job() -> v1::JobSpec {
    v1::JobSpec {
        name: "sample".into(),
        origin: Some(v1::Origin {
            city_id: CITY.into(),
            ..v1::Origin::default()
        }),
        task_resources: Some(v1::TaskResources {
            cpu_cores: 8,
            memory_mib: 1_024,
            ..v1::TaskResources::default()
        }),
        task_count: 1,
        task_power_watts: 1_000,
        timing: Some(v1::Timing {
            runtime: seconds(3_600),
            ..v1::Timing::default()
        }),
        data_policy: Some(v1::DataPolicy {
            data_class: v1::DataClass::None.into(),
            collected_in: vec!["LA".into()],
            output_to: vec!["LA".into()],
            cn_flow: v1::CnFlow::InboundProcessReexport.into(),
            export_basis: v1::ExportBasis::NoneNeeded.into(),
            ..v1::DataPolicy::default()
        }),
        ..v1::JobSpec::default()
    }
}

/// The usual job, not before one slot and done by another.
pub(super) fn job_between(from: i64, to: i64) -> v1::JobSpec {
    let mut spec = job();
    let timing = spec.timing.as_mut().unwrap();
    timing.earliest_start = Some(at(from));
    timing.finish_deadline = Some(at(to));
    spec
}

/// The usual job with a green share at a confidence, both in thousandths.
pub(super) fn green_job(min_share_permille: u32, confidence_permille: u32) -> v1::JobSpec {
    v1::JobSpec {
        green: Some(v1::GreenRequirement {
            min_share_permille,
            confidence_permille,
        }),
        ..job()
    }
}

/// A submission of a job under a key.
pub(super) fn submission(key: &str, spec: v1::JobSpec) -> v1::SubmitJobRequest {
    v1::SubmitJobRequest {
        idempotency_key: key.into(),
        spec: Some(spec),
        ..v1::SubmitJobRequest::default()
    }
}

pub(super) fn mask(paths: &[&str]) -> Option<FieldMask> {
    let paths = paths.iter().map(|path| (*path).into()).collect();
    Some(FieldMask { paths })
}
