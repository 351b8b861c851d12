//! Requests as JSON that a fresh server accepts, small enough to reason about by hand.
//!
//! One site `kunming` with 10 nodes, hydro and solar; cities `vientiane` and `bangkok` within its reach; a job of
//! one hour. A test changes the one field it is about with `with` or `without`.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// Length of a slot by default.
pub(crate) const SLOT_S: i64 = 900;

pub(crate) const SITE: &str = "kunming";
pub(crate) const HYDRO: &str = "kunming/hydro";
pub(crate) const SOLAR: &str = "kunming/solar";
pub(crate) const CITY: &str = "vientiane";
pub(crate) const ZONE: &str = "mekong";

/// Nodes, cores and power of every sample site: 10 nodes of 64 cores, 100 kW at a PUE of 1.2.
pub(crate) const SITE_NODES: u64 = 10;
pub(crate) const SITE_CORES_PER_NODE: u64 = 64;
pub(crate) const SITE_POWER_CAP_WATTS: u64 = 100_000;
pub(crate) const SITE_PUE_PERMILLE: u64 = 1200;

/// The beginning of the slot that is this many slots after the present one.
pub(crate) fn slot_start(slots_ahead: i64) -> Timestamp {
    let now_s = Timestamp::now().as_second();
    let slot = now_s.div_euclid(SLOT_S) + slots_ahead;
    Timestamp::from_second(slot * SLOT_S).unwrap()
}

/// The same value with the field at a JSON pointer set; objects on the way are made.
pub(crate) fn with(mut value: Value, pointer: &str, field: impl Into<Value>) -> Value {
    let mut place = &mut value;
    for key in pointer.split('/').skip(1) {
        place = match place {
            Value::Array(list) => &mut list[key.parse::<usize>().unwrap()],
            other => &mut other[key],
        };
    }
    *place = field.into();
    value
}

/// The same value without the field at a JSON pointer.
#[track_caller]
pub(crate) fn without(mut value: Value, pointer: &str) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let object = value.pointer_mut(parent).and_then(Value::as_object_mut);
    let removed = object.and_then(|object| object.remove(key));
    assert!(removed.is_some(), "there is no {pointer}");
    value
}

/// `CreateSiteRequest` of the usual site.
pub(crate) fn create_site() -> Value {
    create_site_named(SITE)
}

/// `CreateSiteRequest` of a site like the usual one under another id.
pub(crate) fn create_site_named(site_id: &str) -> Value {
    json!({
        "site": {
            "site_id": site_id,
            "country": "CN",
            "latitude_microdegrees": 25_040_000,
            "longitude_microdegrees": 102_720_000,
            "utc_offset_minutes": 480,
            "pools": [{
                "pool_id": "general",
                "nodes": SITE_NODES,
                "cpu_cores_per_node": SITE_CORES_PER_NODE,
                "memory_mib_per_node": 262_144,
                "no_domestic_mix": true,
            }],
            "power_cap_watts": SITE_POWER_CAP_WATTS,
            "grid_limit_watts": 200_000,
            "pue_permille": SITE_PUE_PERMILLE,
            "supplies": [
                supply(site_id, "hydro", "SUPPLY_KIND_HYDRO", 60_000),
                supply(site_id, "solar", "SUPPLY_KIND_SOLAR", 30_000),
            ],
            "gateway_id": "mohan",
            "offshore_enclave": true,
            "grid_location_mg_per_kwh": 300_000,
        }
    })
}

/// `PutLatenciesRequest`: both cities 20 ms from each of the sites by leased line, 40 ms by internet.
pub(crate) fn put_latencies(site_ids: &[&str]) -> Value {
    let cities = [(CITY, "LA"), ("bangkok", "TH")];
    let latencies: Vec<Value> = site_ids
        .iter()
        .flat_map(|site_id| cities.map(|(city_id, _)| latency(site_id, city_id)))
        .collect();
    json!({
        "zones": [{
            "zone_id": ZONE,
            "budget_us": 50_000,
            "cities": cities.map(|(city_id, country)| json!({"city_id": city_id, "country": country})),
        }],
        "latencies": latencies,
    })
}

/// `PutForecastRequest`, day-ahead, issued now: the same median in every slot from the present one on, the band
/// from half of it to one and a half.
pub(crate) fn put_forecast(supply_id: &str, n_slots: usize, p50_watts: u64) -> Value {
    json!({
        "forecast": {
            "supply_id": supply_id,
            "product": "FORECAST_PRODUCT_DAY_AHEAD",
            "issued_at": Timestamp::now().to_string(),
            "start_time": slot_start(0).to_string(),
            "step_seconds": SLOT_S,
            "p10_watts": vec![p50_watts / 2; n_slots],
            "p50_watts": vec![p50_watts; n_slots],
            "p90_watts": vec![p50_watts + p50_watts / 2; n_slots],
        }
    })
}

/// `SubmitJobRequest` of the usual job under this key.
pub(crate) fn submit_job(idempotency_key: &str) -> Value {
    json!({ "idempotency_key": idempotency_key, "spec": job_spec() })
}

/// The usual job: 2 tasks of 4 cores and 500 W for an hour, within a day, from Vientiane, no data under any rule.
pub(crate) fn job_spec() -> Value {
    let finish = Timestamp::now() + SignedDuration::from_hours(24);
    json!({
        "name": "sample",
        "origin": { "city_id": CITY },
        "task_resources": { "cpu_cores": 4, "memory_mib": 8192 },
        "task_count": 2,
        "task_power_watts": 500,
        "timing": { "runtime": "3600s", "finish_deadline": finish.to_string() },
        "data_policy": {
            "data_class": "DATA_CLASS_NONE",
            "collected_in": ["LA"],
            "output_to": ["LA"],
            "cn_flow": "CN_FLOW_INBOUND_PROCESS_REEXPORT",
            "export_basis": "EXPORT_BASIS_NONE_NEEDED",
        },
    })
}

fn supply(site_id: &str, name: &str, kind: &str, nameplate_watts: u64) -> Value {
    json!({
        "supply_id": format!("{site_id}/{name}"),
        "kind": kind,
        "nameplate_watts": nameplate_watts,
        "monthly_capacity_permille": vec![500; 12],
        "carbon_mg_per_kwh": 24_000,
        "price_micro_cny_per_kwh": 250_000,
    })
}

fn latency(site_id: &str, city_id: &str) -> Value {
    json!({
        "site_id": site_id,
        "city_id": city_id,
        "leased_p50_us": 20_000,
        "leased_p95_us": 25_000,
        "internet_p50_us": 40_000,
        "internet_p95_us": 60_000,
    })
}

#[cfg(test)]
mod tests {
    use prost_reflect::{DescriptorPool, DynamicMessage};

    use super::*;

    #[track_caller]
    fn check(message: &str, value: Value) {
        let pool = DescriptorPool::decode(lancang::proto::FILE_DESCRIPTOR_SET).unwrap();
        let descriptor = pool
            .get_message_by_name(&format!("lancang.v1.{message}"))
            .unwrap();
        DynamicMessage::deserialize(descriptor, value).unwrap();
    }

    #[test]
    fn every_sample_is_a_message_of_the_api() {
        check("CreateSiteRequest", create_site());
        check("PutLatenciesRequest", put_latencies(&[SITE, "dali"]));
        check("PutForecastRequest", put_forecast(HYDRO, 96, 30_000));
        check("PutForecastRequest", put_forecast(SOLAR, 4, 0));
        check("SubmitJobRequest", submit_job("key-1"));
    }

    #[test]
    fn fields_are_set_and_taken_out() {
        let job = with(submit_job("a"), "/spec/timing/runtime", "60s");
        let job = with(job, "/spec/green/min_share_permille", 900);
        assert_eq!(job["spec"]["timing"]["runtime"], "60s");
        assert_eq!(job["spec"]["green"]["min_share_permille"], 900);
        let site = with(create_site(), "/site/pools/0/nodes", 1);
        assert_eq!(site["site"]["pools"][0]["nodes"], 1);
        let job = without(job, "/spec/data_policy");
        assert!(job["spec"].get("data_policy").is_none());
    }

    #[test]
    fn slots_begin_at_multiples_of_their_length() {
        let (now, next) = (slot_start(0), slot_start(1));
        assert_eq!(now.as_second() % SLOT_S, 0);
        assert!(now <= Timestamp::now() && now < next);
    }
}
