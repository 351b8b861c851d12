//! Sites, zones, round-trip times and links that are refused.
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
    client.ok(PUT_LINK, &link());
});

const CREATE: &str = "SiteService/CreateSite";
const GET: &str = "SiteService/GetSite";
const UPDATE: &str = "SiteService/UpdateSite";
const CORDON: &str = "SiteService/CordonSite";
const UNCORDON: &str = "SiteService/UncordonSite";
const DRAIN: &str = "SiteService/DrainSite";
const WATCH: &str = "SiteService/WatchSites";
const PUT_WINDOW: &str = "SiteService/PutSiteWindow";
const DELETE_WINDOW: &str = "SiteService/DeleteSiteWindow";
const DECLARE_LOST: &str = "SiteService/DeclareSiteLost";
const PUT_LATENCIES: &str = "SiteService/PutLatencies";
const GET_LATENCIES: &str = "SiteService/GetLatencies";
const PUT_LINK: &str = "SiteService/PutLink";
const GET_LINK: &str = "SiteService/GetLink";

/// The largest number of 64 bits.
const MAX: &str = "18446744073709551615";

fn base() -> Value {
    create_site_named("dali")
}

/// A supply begins with the id of its site, so only without supplies a wrong id is all that is wrong.
fn without_supplies() -> Value {
    without(base(), "/site/supplies")
}

changes! { ids, CREATE, without_supplies();
    "no site": "site" = Value::Null;
    "no id": "site.site_id" = Value::Null;
    "id in capitals": "site.site_id" = "Dali";
    "id as a path": "site.site_id" = "../dali";
    "id as an option": "site.site_id" = "-dali";
    "id of 64 characters": "site.site_id" = "d".repeat(64);
    "id with a dot": "site.site_id" = "dali.cn";
    "id in Chinese": "site.site_id" = "大理";
    "request id of 129 characters": "request_id" = "r".repeat(129);
}

changes! { names_and_places, CREATE, base();
    "display name of 129 bytes": "site.display_name" = "d".repeat(129);
    "display name that turns round": "site.display_name" = "Dali\u{202e}";
    "display name with a line break": "site.display_name" = "Da\nli";
    "display name with a byte order mark": "site.display_name" = "\u{feff}Dali";
    "no country": "site.country" = Value::Null;
    "province for a country": "site.country" = "CN-53";
    "country in small letters": "site.country" = "cn";
    "country of three letters": "site.country" = "CHN";
    "north of the pole": "site.latitude_microdegrees" = 90_000_001;
    "west of the date line": "site.longitude_microdegrees" = -180_000_001;
    "latitude of 32 bits": "site.latitude_microdegrees" = i32::MIN;
    "civil time of nowhere": "site.utc_offset_minutes" = 841;
    "gateway in capitals": "site.gateway_id" = "Mohan";
    "etag of a new site": "site.etag" = "r1";
    "new site with an agent": "site.agent" = json!({ "state": 1 });
    "new site with power": "site.power" = json!({ "allowed_watts": 1 });
    "new site with a window": "site.windows" = json!([{ "window_id": "w" }]);
    "new site that is drained": "site.drain" = json!({ "mode": "DRAIN_MODE_KILL" });
    "new site that is cordoned": "site.cordon" = json!({ "cordoned": true });
    "time of a new site": "site.create_time" = "2026-01-01T00:00:00Z";
}

fn pool() -> Value {
    base()["site"]["pools"][0].clone()
}

fn pools_17() -> Vec<Value> {
    (0..17)
        .map(|i| with(pool(), "/pool_id", format!("p{i}")))
        .collect()
}

changes! { pools_and_power, CREATE, base();
    "no pools": "site.pools" = Value::Null;
    "17 pools": "site.pools" = pools_17();
    "pool twice": "site.pools" = vec![pool(), pool()] => ["site.pools[1].pool_id"];
    "pool without an id": "site.pools[0].pool_id" = "";
    "pool without nodes": "site.pools[0].nodes" = 0;
    "pool of 32 bits of nodes": "site.pools[0].nodes" = u32::MAX;
    "nodes without cores": "site.pools[0].cpu_cores_per_node" = 0;
    "nodes of 64 bits of memory": "site.pools[0].memory_mib_per_node" = MAX;
    "257 GPUs": "site.pools[0]" = with(with(pool(), "/gpus_per_node", 257), "/gpu_model", "h100") => ["site.pools[0].gpus_per_node"];
    "GPUs without a model": "site.pools[0].gpus_per_node" = 8 => ["site.pools[0].gpu_model"];
    "model without GPUs": "site.pools[0].gpu_model" = "h100";
    "cap above the connection": "site.power_cap_watts" = 200_001;
    "cap of 64 bits": "site.power_cap_watts" = MAX;
    "no connection": "site.grid_limit_watts" = 0 => ["site.grid_limit_watts", "site.power_cap_watts"];
    "connection of 64 bits": "site.grid_limit_watts" = MAX;
    "PUE of 0": "site.pue_permille" = 0;
    "PUE below 1": "site.pue_permille" = 999;
    "PUE above 3": "site.pue_permille" = 3_001;
    "carbon above any plant": "site.grid_location_mg_per_kwh" = 2_000_001;
    "marginal carbon of 5 months": "site.grid_marginal_mg_per_kwh" = vec![1; 5];
}

fn supply() -> Value {
    base()["site"]["supplies"][0].clone()
}

changes! { supplies, CREATE, base();
    "supply of another site": "site.supplies[0].supply_id" = "kunming/wind";
    "supply without a site": "site.supplies[0].supply_id" = "hydro";
    "supply as a path": "site.supplies[0].supply_id" = "dali/../hydro";
    "supply twice": "site.supplies" = vec![supply(), supply()] => ["site.supplies[1].supply_id"];
    "supply of no kind": "site.supplies[0].kind" = 0;
    "supply of an unknown kind": "site.supplies[0].kind" = 4;
    "supply without power": "site.supplies[0].nameplate_watts" = 0;
    "supply of 64 bits": "site.supplies[0].nameplate_watts" = MAX;
    "year of 11 months": "site.supplies[0].monthly_capacity_permille" = vec![500; 11];
    "month above all": "site.supplies[0].monthly_capacity_permille" = vec![1_001; 12];
    "price above the caps": "site.supplies[0].price_micro_cny_per_kwh" = 2_000_001;
}

fn period(start: u32, end: u32) -> Value {
    json!({ "start_minute": start, "end_minute": end })
}

/// A period of all days with one thing set.
fn all_day(field: &str, value: impl Into<Value>) -> Vec<Value> {
    vec![with(period(0, 1_440), field, value)]
}

changes! { tariffs, CREATE, base();
    "tariff with a gap": "site.tariff" = vec![period(0, 480), period(481, 1_440)];
    "tariff that overlaps": "site.tariff" = vec![period(0, 481), period(480, 1_440)];
    "tariff without an evening": "site.tariff" = vec![period(0, 1_439)];
    "tariff for January only": "site.tariff" = all_day("/months", vec![1]);
    "tariff beyond the day": "site.tariff" = vec![period(0, 1_441)] => ["site.tariff[0].end_minute"];
    "tariff backwards": "site.tariff" = vec![period(8, 8)] => ["site.tariff[0].end_minute"];
    "tariff for a 13th month": "site.tariff" = all_day("/months", vec![13]) => ["site.tariff[0].months"];
    "tariff above the caps": "site.tariff" = all_day("/price_micro_cny_per_kwh", MAX) => ["site.tariff[0].price_micro_cny_per_kwh"];
}

#[test]
fn new_sites_are_checked() {
    let taken = with(create_site(), "/site/display_name", "other");
    let taken = refused(
        "id that is taken",
        CREATE,
        taken,
        (Code::AlreadyExists, "SITE_EXISTS"),
        Details::Resource(SITE.to_owned()),
    );
    check(
        &WORLD.get(),
        [ids(), names_and_places(), vec![taken]].concat(),
    );
}

#[test]
fn pools_supplies_and_tariffs_are_checked() {
    check(
        &WORLD.get(),
        [pools_and_power(), supplies(), tariffs()].concat(),
    );
}

calls! { verbs();
    "get of nowhere": GET { "site_id": "nowhere" } => (SITE_NOT_FOUND of "nowhere");
    "get of a path": GET { "site_id": "../kunming" } => ["site_id"];
    "cordon of nowhere": CORDON { "site_id": "nowhere" } => (SITE_NOT_FOUND of "nowhere");
    "cordon of nothing": CORDON {} => ["site_id"];
    "cordon for 513 bytes": CORDON { "site_id": SITE, "reason": "r".repeat(513) } => ["reason"];
    "cordon for an escape sequence": CORDON { "site_id": SITE, "reason": "\u{1b}[2J" } => ["reason"];
    "uncordon of nowhere": UNCORDON { "site_id": "nowhere" } => (SITE_NOT_FOUND of "nowhere");
    "uncordon in capitals": UNCORDON { "site_id": "KUNMING" } => ["site_id"];
    "drain of nowhere": DRAIN { "site_id": "nowhere", "mode": 1 } => (SITE_NOT_FOUND of "nowhere");
    "drain of nothing": DRAIN {} => ["mode", "site_id"];
    "drain in no mode": DRAIN { "site_id": SITE } => ["mode"];
    "drain in an unknown mode": DRAIN { "site_id": SITE, "mode": 4 } => ["mode"];
    "drain that is over": DRAIN { "site_id": SITE, "mode": 1, "deadline": "2020-01-01T00:00:00Z" } => ["deadline"];
    "drain before all time": DRAIN { "site_id": SITE, "mode": 1, "deadline": "1969-12-31T23:59:59Z" } => ["deadline"];
    "drain for 513 bytes": DRAIN { "site_id": SITE, "mode": 1, "reason": "r".repeat(513) } => ["reason"];
    "drain with a request id of 129 characters": DRAIN { "site_id": SITE, "mode": 1, "request_id": "r".repeat(129) } => ["request_id"];
    "window of nowhere": DELETE_WINDOW { "site_id": "nowhere", "window_id": "w" } => (SITE_NOT_FOUND of "nowhere");
    "window that is not there": DELETE_WINDOW { "site_id": SITE, "window_id": "w" } => (WINDOW_NOT_FOUND of "w");
    "end of no window": DELETE_WINDOW { "site_id": SITE } => ["window_id"];
    "put of no window": PUT_WINDOW { "site_id": SITE } => ["window"];
    "loss of nothing": DECLARE_LOST {} => ["nothing_runs_there", "site_id"];
    "loss without a word": DECLARE_LOST { "site_id": SITE } => ["nothing_runs_there"];
    "loss of nowhere": DECLARE_LOST { "site_id": "nowhere", "nothing_runs_there": true } => (SITE_NOT_FOUND of "nowhere");
    "loss for 513 bytes": DECLARE_LOST { "site_id": SITE, "nothing_runs_there": true, "reason": "r".repeat(513) } => ["reason"];
    "watch of nowhere": WATCH { "site_id": "nowhere" } => (SITE_NOT_FOUND of "nowhere");
    "watch in capitals": WATCH { "site_id": "KUNMING" } => ["site_id"];
    "watch from a revision and from all sites": WATCH { "after_revision": 1, "initial_sites": true } => ["initial_sites"];
    "watch with bookmarks all the time": WATCH { "bookmark_interval": "0.5s" } => ["bookmark_interval"];
}

/// A window of less power for a day to come.
fn window() -> Value {
    json!({
        "site_id": SITE,
        "window": {
            "window_id": "peak",
            "kind": "WINDOW_KIND_CURTAILMENT",
            "start_time": "2090-01-01T00:00:00Z",
            "end_time": "2090-01-02T00:00:00Z",
            "max_power_watts": 5_000,
        },
    })
}

changes! { windows, PUT_WINDOW, window();
    "window of a site in capitals": "site_id" = "KUNMING";
    "window without an id": "window.window_id" = "";
    "window with a path for an id": "window.window_id" = "../peak";
    "window of no kind": "window.kind" = 0;
    "window of an unknown kind": "window.kind" = 4;
    "window without an end": "window.end_time" = Value::Null;
    "window that ends as it begins": "window.end_time" = "2090-01-01T00:00:00Z";
    "window that is over": "window" = with(with(window()["window"].clone(), "/start_time", "2020-01-01T00:00:00Z"), "/end_time", "2020-01-02T00:00:00Z") => ["window.end_time"];
    "window before all time": "window.start_time" = "1969-12-31T23:59:59Z";
    "window of 64 bits": "window.max_power_watts" = MAX;
    "maintenance with power": "window.kind" = "WINDOW_KIND_MAINTENANCE" => ["window.max_power_watts"];
    "window for 513 bytes": "window.reason" = "r".repeat(513);
    "window with a request id of 129 characters": "request_id" = "r".repeat(129);
}

#[test]
fn windows_are_checked() {
    check(&WORLD.get(), windows());
}

/// An update of the power cap of the one site to what it is.
fn cap() -> Value {
    mask(vec!["power_cap_watts"])
}

fn mask(paths: Vec<&str>) -> Value {
    json!({
        "site": { "site_id": SITE, "power_cap_watts": 100_000 },
        "update_mask": { "paths": paths },
    })
}

changes! { updates, UPDATE, cap();
    "update of no site": "site" = Value::Null;
    "update of nothing": "update_mask" = json!({ "paths": [] });
    "update of an unknown field": "update_mask" = json!({ "paths": ["colour"] });
    "update of the id": "update_mask" = json!({ "paths": ["site_id"] });
    "update of the country": "update_mask" = json!({ "paths": ["country"] });
    "update of the drain": "update_mask" = json!({ "paths": ["drain"] });
    "update of the cordon": "update_mask" = json!({ "paths": ["cordon"] });
    "update of the etag": "update_mask" = json!({ "paths": ["etag"] });
    "update by a star": "update_mask" = json!({ "paths": ["*"] });
    "update by a cap above the connection": "site.power_cap_watts" = 200_001;
    "update by a wrong etag": "etag" = "W/1";
    "update by an etag with a space": "etag" = "r1 ";
}

#[test]
fn changes_of_sites_are_checked() {
    let client = WORLD.get();
    let read = client.ok(GET, &json!({ "site_id": SITE }));
    let etag = read["site"]["etag"].as_str().unwrap().to_owned();
    let stale = refused(
        "update by a stale etag",
        UPDATE,
        with(with(cap(), "/site/power_cap_watts", 5), "/etag", "r0"),
        (Code::Aborted, "STALE_ETAG"),
        Details::Metadata("etag", etag),
    );
    let nowhere = with(cap(), "/site/site_id", "nowhere");
    let others = vec![
        stale,
        missing(
            "update of nowhere",
            UPDATE,
            nowhere,
            "SITE_NOT_FOUND",
            "nowhere",
        ),
        invalid(
            "update to no pools",
            UPDATE,
            mask(vec!["pools"]),
            &["site.pools"],
        ),
    ];
    check(&client, [verbs(), updates(), others].concat());
}

/// A new zone of one city.
fn zone() -> Value {
    let cities = json!([{ "city_id": "hue", "country": "VN" }]);
    json!({ "zones": [{ "zone_id": "east", "budget_us": 1, "cities": cities }] })
}

/// The round-trip times between the one site and a city.
fn trip() -> Value {
    let (p50, p95) = (20, 20);
    json!({ "latencies": [{
        "site_id": SITE, "city_id": "bangkok", "leased_p50_us": p50, "leased_p95_us": p95,
    }] })
}

changes! { zones, PUT_LATENCIES, zone();
    "zone without an id": "zones[0].zone_id" = "";
    "zone in capitals": "zones[0].zone_id" = "East";
    "zone without a budget": "zones[0].budget_us" = 0;
    "zone with a budget above 10 s": "zones[0].budget_us" = 10_000_001;
    "city as a path": "zones[0].cities[0].city_id" = "../hue";
    "city in small letters of a country": "zones[0].cities[0].country" = "vn";
    "city of another zone": "zones[0].cities[0].city_id" = "bangkok" => ["zones"];
    "zone twice": "zones" = vec![zone()["zones"][0].clone(), with(zone()["zones"][0].clone(), "/cities", json!([]))];
    "city twice in a zone": "zones[0].cities" = vec![json!({ "city_id": "hue", "country": "VN" }); 2] => ["zones"];
    "257 cities": "zones[0].cities" = vec![json!({ "city_id": "hue", "country": "VN" }); 257];
}

changes! { trips, PUT_LATENCIES, trip();
    "quantile below the median": "latencies[0].leased_p95_us" = 19;
    "round trip above 10 s": "latencies[0].internet_p95_us" = 10_000_001;
    "round trip to a path": "latencies[0].site_id" = "../kunming";
    "round trip twice": "latencies" = vec![trip()["latencies"][0].clone(), trip()["latencies"][0].clone()];
}

calls! { latencies();
    "latencies of nothing": PUT_LATENCIES {} => ["zones"];
    "round trip to nowhere": PUT_LATENCIES { "latencies": [{ "site_id": "nowhere", "city_id": "bangkok" }] } => (SITE_NOT_FOUND of "nowhere");
    "round trip from an unknown city": PUT_LATENCIES { "latencies": [{ "site_id": SITE, "city_id": "atlantis" }] } => (CITY_NOT_FOUND of "atlantis");
    "latencies of nowhere": GET_LATENCIES { "site_id": "nowhere" } => (SITE_NOT_FOUND of "nowhere");
    "latencies in capitals": GET_LATENCIES { "site_id": "KUNMING" } => ["site_id"];
}

#[test]
fn zones_and_round_trips_are_checked() {
    let all: Vec<Case> = [zones(), trips(), latencies()].concat();
    check(&WORLD.get(), all);
}

fn link() -> Value {
    json!({ "link": { "gateway_id": "mohan", "bandwidth_bits_per_second": 1_000_000 } })
}

changes! { links, PUT_LINK, link();
    "no link": "link" = Value::Null;
    "link of no gateway": "link.gateway_id" = "";
    "link of a gateway in capitals": "link.gateway_id" = "Mohan";
    "link of a gateway as a path": "link.gateway_id" = "../mohan";
    "link of a gateway in Chinese": "link.gateway_id" = "磨憨";
    "link of a gateway of 64 characters": "link.gateway_id" = "g".repeat(64);
    "link without bandwidth": "link.bandwidth_bits_per_second" = Value::Null;
    "link of nothing": "link.bandwidth_bits_per_second" = 0;
    "link of a bit above the bound": "link.bandwidth_bits_per_second" = "1000000000000001";
    "link of 64 bits": "link.bandwidth_bits_per_second" = MAX;
    "etag within a link": "link.etag" = "r1";
    "time of a link": "link.update_time" = "2026-01-01T00:00:00Z";
    "etag of words": "etag" = "newest";
    "link with a request id of 129 characters": "request_id" = "r".repeat(129);
}

calls! { links_by_name();
    "link of nowhere": GET_LINK { "gateway_id": "nowhere" } => (LINK_NOT_FOUND of "nowhere");
    "link of an empty name": GET_LINK {} => ["gateway_id"];
    "link in capitals": GET_LINK { "gateway_id": "MOHAN" } => ["gateway_id"];
    "all wrong about a link": PUT_LINK { "link": { "gateway_id": "-", "bandwidth_bits_per_second": 0 }, "etag": "x" } => ["etag", "link.gateway_id", "link.bandwidth_bits_per_second"];
}

#[test]
fn links_are_checked() {
    let client = WORLD.get();
    let read = client.ok(GET_LINK, &json!({ "gateway_id": "mohan" }));
    let etag = read["link"]["etag"].as_str().unwrap().to_owned();
    let narrower = with(link(), "/link/bandwidth_bits_per_second", 5);
    let new = with(with(link(), "/link/gateway_id", "ruili"), "/etag", "r1");
    let others = vec![
        refused(
            "put by a stale etag",
            PUT_LINK,
            with(narrower, "/etag", "r0"),
            (Code::Aborted, "STALE_ETAG"),
            Details::Metadata("etag", etag),
        ),
        missing(
            "put of a link that is not there by its etag",
            PUT_LINK,
            new,
            "LINK_NOT_FOUND",
            "ruili",
        ),
    ];
    check(&client, [links(), links_by_name(), others].concat());
}
