//! Sites, zones and round-trip times that are refused.
//!
//! Each row changes one thing of a site that would be accepted.

use serde_json::{Value, json};
use tonic::Code;

use super::{Case, Details, check, invalid, missing, refused};
use crate::{
    grpcurl::Shared,
    support::samples::{SITE, create_site, create_site_named, put_latencies, with, without},
};

static WORLD: Shared = Shared::new(|client| {
    client.ok("SiteService/CreateSite", &create_site());
    client.ok("SiteService/PutLatencies", &put_latencies(&[SITE]));
});

const CREATE: &str = "SiteService/CreateSite";
const UPDATE: &str = "SiteService/UpdateSite";
const CORDON: &str = "SiteService/CordonSite";
const UNCORDON: &str = "SiteService/UncordonSite";
const LATENCIES: &str = "SiteService/PutLatencies";

const MAX: &str = "18446744073709551615";

fn base() -> Value {
    create_site_named("dali")
}

/// A new site with one thing set, and the fields that are then wrong.
fn set(
    name: &'static str,
    pointer: &str,
    value: impl Into<Value>,
    fields: &[&'static str],
) -> Case {
    let pointer = format!("/site/{pointer}");
    invalid(name, CREATE, with(base(), &pointer, value), fields)
}

#[test]
fn names_and_places() {
    let client = WORLD.get();
    let id = &["site.site_id"];
    // A supply begins with the id of its site, so a wrong id is the only thing wrong without supplies.
    let named = |name, text: &str| {
        let site = with(base(), "/site/supplies", json!([]));
        invalid(name, CREATE, with(site, "/site/site_id", text), id)
    };
    let display = |name, text: &str| set(name, "display_name", text, &["site.display_name"]);
    let country = |name, text: &str| set(name, "country", text, &["site.country"]);
    check(
        &client,
        &[
            invalid("no site", CREATE, json!({}), &["site"]),
            named("no id", ""),
            named("id in capitals", "Dali"),
            named("id as a path", "../dali"),
            named("id as an option", "-dali"),
            named("id of 64 characters", &"d".repeat(64)),
            named("id with a dot", "dali.cn"),
            named("id in Chinese", "大理"),
            display("display name of 129 bytes", &"d".repeat(129)),
            display("display name that turns round", "Dali\u{202e}"),
            display("display name with a line break", "Da\nli"),
            display("display name with a byte order mark", "\u{feff}Dali"),
            country("no country", ""),
            country("province for a country", "CN-53"),
            country("country in small letters", "cn"),
            country("country of three letters", "CHN"),
            set(
                "north of the pole",
                "latitude_microdegrees",
                90_000_001,
                &["site.latitude_microdegrees"],
            ),
            set(
                "west of the date line",
                "longitude_microdegrees",
                -180_000_001,
                &["site.longitude_microdegrees"],
            ),
            set(
                "civil time of nowhere",
                "utc_offset_minutes",
                841,
                &["site.utc_offset_minutes"],
            ),
            set(
                "gateway in capitals",
                "gateway_id",
                "Mohan",
                &["site.gateway_id"],
            ),
            set("etag of a new site", "etag", "r1", &["site.etag"]),
            set(
                "new site that is cordoned",
                "cordon",
                json!({ "cordoned": true }),
                &["site.cordon"],
            ),
            set(
                "time of a new site",
                "create_time",
                "2026-01-01T00:00:00Z",
                &["site.create_time"],
            ),
            invalid(
                "request id of 129 characters",
                CREATE,
                with(base(), "/request_id", "r".repeat(129)),
                &["request_id"],
            ),
            refused(
                "id that is taken",
                CREATE,
                with(create_site(), "/site/display_name", "other"),
                (Code::AlreadyExists, "SITE_EXISTS"),
                Details::Resource(SITE.to_owned()),
            ),
        ],
    );
}

#[test]
fn pools_and_power() {
    let client = WORLD.get();
    let pool = base()["site"]["pools"][0].clone();
    let pools: Vec<Value> = (0..17)
        .map(|i| with(pool.clone(), "/pool_id", format!("p{i}")))
        .collect();
    let in_pool = |name, field: &str, value: Value, wrong: &'static str| {
        set(name, &format!("pools/0/{field}"), value, &[wrong])
    };
    let cap = &["site.power_cap_watts"];
    let pue = &["site.pue_permille"];
    let limit = "site.grid_limit_watts";
    let marginal = "grid_marginal_mg_per_kwh";
    check(
        &client,
        &[
            set("no pools", "pools", json!([]), &["site.pools"]),
            set("17 pools", "pools", pools, &["site.pools"]),
            set(
                "pool twice",
                "pools",
                json!([pool, pool]),
                &["site.pools[1].pool_id"],
            ),
            in_pool(
                "pool without an id",
                "pool_id",
                json!(""),
                "site.pools[0].pool_id",
            ),
            in_pool(
                "pool without nodes",
                "nodes",
                json!(0),
                "site.pools[0].nodes",
            ),
            in_pool(
                "pool of 32 bits of nodes",
                "nodes",
                json!(u32::MAX),
                "site.pools[0].nodes",
            ),
            in_pool(
                "nodes without cores",
                "cpu_cores_per_node",
                json!(0),
                "site.pools[0].cpu_cores_per_node",
            ),
            in_pool(
                "nodes of 64 bits of memory",
                "memory_mib_per_node",
                json!(MAX),
                "site.pools[0].memory_mib_per_node",
            ),
            in_pool(
                "GPUs without a model",
                "gpus_per_node",
                json!(8),
                "site.pools[0].gpu_model",
            ),
            in_pool(
                "model without GPUs",
                "gpu_model",
                json!("h100"),
                "site.pools[0].gpu_model",
            ),
            set("cap above the connection", "power_cap_watts", 200_001, cap),
            set("cap of 64 bits", "power_cap_watts", MAX, cap),
            set("no connection", "grid_limit_watts", 0, &[limit, cap[0]]),
            set("connection of 64 bits", "grid_limit_watts", MAX, &[limit]),
            set("PUE of 0", "pue_permille", 0, pue),
            set("PUE below 1", "pue_permille", 999, pue),
            set("PUE above 3", "pue_permille", 3_001, pue),
            set(
                "carbon above any plant",
                "grid_location_mg_per_kwh",
                2_000_001,
                &["site.grid_location_mg_per_kwh"],
            ),
            set(
                "marginal carbon of 5 months",
                marginal,
                vec![1; 5],
                &["site.grid_marginal_mg_per_kwh"],
            ),
        ],
    );
}

#[test]
fn supplies_and_tariffs() {
    let client = WORLD.get();
    let hydro = base()["site"]["supplies"][0].clone();
    let in_supply = |name, field: &str, value: Value, wrong: &'static str| {
        set(name, &format!("supplies/0/{field}"), value, &[wrong])
    };
    let period = |start: u32, end: u32| json!({ "start_minute": start, "end_minute": end });
    let tariff = |name, periods: &[Value], wrong: &'static str| {
        set(name, "tariff", periods.to_vec(), &[wrong])
    };
    let january = with(period(0, 1_440), "/months", vec![1]);
    let id = "site.supplies[0].supply_id";
    let months = "site.supplies[0].monthly_capacity_permille";
    check(
        &client,
        &[
            in_supply(
                "supply of another site",
                "supply_id",
                json!("kunming/wind"),
                id,
            ),
            in_supply("supply without a site", "supply_id", json!("hydro"), id),
            in_supply("supply as a path", "supply_id", json!("dali/../hydro"), id),
            set(
                "supply twice",
                "supplies",
                json!([hydro, hydro]),
                &["site.supplies[1].supply_id"],
            ),
            in_supply(
                "supply of no kind",
                "kind",
                json!(0),
                "site.supplies[0].kind",
            ),
            in_supply(
                "supply of an unknown kind",
                "kind",
                json!(4),
                "site.supplies[0].kind",
            ),
            in_supply(
                "supply without power",
                "nameplate_watts",
                json!(0),
                "site.supplies[0].nameplate_watts",
            ),
            in_supply(
                "supply of 64 bits",
                "nameplate_watts",
                json!(MAX),
                "site.supplies[0].nameplate_watts",
            ),
            in_supply(
                "year of 11 months",
                "monthly_capacity_permille",
                vec![500; 11].into(),
                months,
            ),
            in_supply(
                "month above all",
                "monthly_capacity_permille",
                vec![1_001; 12].into(),
                months,
            ),
            in_supply(
                "price above the caps",
                "price_micro_cny_per_kwh",
                json!(2_000_001),
                "site.supplies[0].price_micro_cny_per_kwh",
            ),
            tariff(
                "tariff with a gap",
                &[period(0, 480), period(481, 1_440)],
                "site.tariff",
            ),
            tariff(
                "tariff that overlaps",
                &[period(0, 481), period(480, 1_440)],
                "site.tariff",
            ),
            tariff(
                "tariff without an evening",
                &[period(0, 1_439)],
                "site.tariff",
            ),
            tariff("tariff for January only", &[january], "site.tariff"),
            tariff(
                "tariff beyond the day",
                &[period(0, 1_441)],
                "site.tariff[0].end_minute",
            ),
            tariff(
                "tariff backwards",
                &[period(8, 8)],
                "site.tariff[0].end_minute",
            ),
            tariff(
                "tariff for a 13th month",
                &[with(period(0, 1_440), "/months", vec![13])],
                "site.tariff[0].months",
            ),
            tariff(
                "tariff above the caps",
                &[with(period(0, 1_440), "/price_micro_cny_per_kwh", MAX)],
                "site.tariff[0].price_micro_cny_per_kwh",
            ),
        ],
    );
}

#[test]
fn changes() {
    let client = WORLD.get();
    let read = client.ok("SiteService/GetSite", &json!({ "site_id": SITE }));
    let etag = read["site"]["etag"].as_str().unwrap().to_owned();
    let update = |paths: &[&str], site: Value| {
        let site = with(site, "/site_id", SITE);
        json!({ "site": site, "update_mask": { "paths": paths } })
    };
    let cap = update(&["power_cap_watts"], json!({ "power_cap_watts": 5 }));
    let frozen =
        |name, path: &str| invalid(name, UPDATE, update(&[path], json!({})), &["update_mask"]);
    let nowhere = |name, method| {
        let request = json!({ "site_id": "nowhere" });
        missing(name, method, request, "SITE_NOT_FOUND", "nowhere")
    };
    let by_id =
        |name, method, id: &str| invalid(name, method, json!({ "site_id": id }), &["site_id"]);
    check(
        &client,
        &[
            nowhere("get of nowhere", "SiteService/GetSite"),
            by_id("get of a path", "SiteService/GetSite", "../kunming"),
            nowhere("cordon of nowhere", CORDON),
            by_id("cordon of nothing", CORDON, ""),
            nowhere("uncordon of nowhere", UNCORDON),
            by_id("uncordon in capitals", UNCORDON, "KUNMING"),
            invalid(
                "cordon for 513 bytes",
                CORDON,
                json!({ "site_id": SITE, "reason": "r".repeat(513) }),
                &["reason"],
            ),
            invalid(
                "update of no site",
                UPDATE,
                without(cap.clone(), "/site"),
                &["site"],
            ),
            missing(
                "update of nowhere",
                UPDATE,
                with(cap.clone(), "/site/site_id", "nowhere"),
                "SITE_NOT_FOUND",
                "nowhere",
            ),
            invalid(
                "update of nothing",
                UPDATE,
                update(&[], json!({})),
                &["update_mask"],
            ),
            frozen("update of an unknown field", "colour"),
            frozen("update of the id", "site_id"),
            frozen("update of the country", "country"),
            frozen("update of the cordon", "cordon"),
            frozen("update of the etag", "etag"),
            invalid(
                "update by a cap above the connection",
                UPDATE,
                with(cap.clone(), "/site/power_cap_watts", 200_001),
                &["site.power_cap_watts"],
            ),
            invalid(
                "update to no pools",
                UPDATE,
                update(&["pools"], json!({})),
                &["site.pools"],
            ),
            invalid(
                "update by a wrong etag",
                UPDATE,
                with(cap.clone(), "/etag", "W/1"),
                &["etag"],
            ),
            refused(
                "update by a stale etag",
                UPDATE,
                with(cap, "/etag", "r0"),
                (Code::Aborted, "STALE_ETAG"),
                Details::Metadata("etag", etag),
            ),
        ],
    );
}

#[test]
fn zones_and_round_trips() {
    let client = WORLD.get();
    let zone = |id: &str, city: &str| {
        let cities = json!([{ "city_id": city, "country": "VN" }]);
        json!({ "zones": [{ "zone_id": id, "budget_us": 1, "cities": cities }] })
    };
    let trip = |site: &str, city: &str| {
        let trip =
            json!({ "site_id": site, "city_id": city, "leased_p50_us": 20, "leased_p95_us": 20 });
        json!({ "latencies": [trip] })
    };
    let wrong =
        |name, message: Value, field: &'static str| invalid(name, LATENCIES, message, &[field]);
    let good = trip(SITE, "bangkok")["latencies"][0].clone();
    check(
        &client,
        &[
            wrong("latencies of nothing", json!({}), "zones"),
            wrong("zone without an id", zone("", "hue"), "zones[0].zone_id"),
            wrong("zone in capitals", zone("East", "hue"), "zones[0].zone_id"),
            wrong(
                "zone without a budget",
                with(zone("east", "hue"), "/zones/0/budget_us", 0),
                "zones[0].budget_us",
            ),
            wrong(
                "zone with a budget above 10 s",
                with(zone("east", "hue"), "/zones/0/budget_us", 10_000_001),
                "zones[0].budget_us",
            ),
            wrong(
                "city as a path",
                zone("east", "../hue"),
                "zones[0].cities[0].city_id",
            ),
            wrong(
                "city in a country in small letters",
                with(zone("east", "hue"), "/zones/0/cities/0/country", "vn"),
                "zones[0].cities[0].country",
            ),
            wrong("city of another zone", zone("east", "bangkok"), "zones"),
            wrong(
                "zone twice",
                json!({ "zones": [zone("east", "hue")["zones"][0], zone("east", "danang")["zones"][0]] }),
                "zones",
            ),
            wrong(
                "quantile below the median",
                with(trip(SITE, "bangkok"), "/latencies/0/leased_p95_us", 19),
                "latencies[0].leased_p95_us",
            ),
            wrong(
                "round trip above 10 s",
                with(
                    trip(SITE, "bangkok"),
                    "/latencies/0/internet_p95_us",
                    10_000_001,
                ),
                "latencies[0].internet_p95_us",
            ),
            wrong(
                "round trip twice",
                json!({ "latencies": [good, good] }),
                "latencies",
            ),
            missing(
                "round trip to nowhere",
                LATENCIES,
                trip("nowhere", "bangkok"),
                "SITE_NOT_FOUND",
                "nowhere",
            ),
            missing(
                "round trip from an unknown city",
                LATENCIES,
                trip(SITE, "atlantis"),
                "CITY_NOT_FOUND",
                "atlantis",
            ),
            missing(
                "latencies of nowhere",
                "SiteService/GetLatencies",
                json!({ "site_id": "nowhere" }),
                "SITE_NOT_FOUND",
                "nowhere",
            ),
        ],
    );
}
