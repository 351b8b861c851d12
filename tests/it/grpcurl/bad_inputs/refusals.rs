//! Jobs that no site can run: every typed reason, provoked, with its numbers and what would help.
//!
//! Each job is allowed at one site; the others refuse it at least for that.

use std::collections::BTreeSet;

use jiff::Timestamp;
use lancang::proto::v1::RefusalReason;
use serde_json::{Value, json};

use super::{Case, Details, check_all};
use crate::{
    grpcurl::{Client, after, first, from_now, hydro_of, hydro_site, job_at, job_from, time},
    support::samples::{put_forecast, put_latencies, with, without},
};

/// The sites, by id.
///
/// `closed` is cordoned, `shut` under maintenance and `dim` curtailed to 1,199 W, both for two days; `far` has no round-trip times, `full` and `hot` are taken, their capacity and their power;
/// `kunming` is as the samples make it, `mixed` the same without an enclave and with domestic data.
pub(super) const SITES: [&str; 8] = [
    "closed", "dim", "far", "full", "hot", "kunming", "mixed", "shut",
];

/// `full` and `hot` are taken from the earliest start of the usual job on; the jobs of this module are an hour later.
fn world() -> Client {
    let client = Client::alone();
    for id in SITES {
        let site = match id {
            "mixed" => {
                let site = with(hydro_site(id), "/site/offshore_enclave", false);
                with(site, "/site/pools/0/no_domestic_mix", false)
            }
            _ => hydro_site(id),
        };
        client.ok("SiteService/CreateSite", &site);
    }
    let near = ["closed", "dim", "full", "hot", "kunming", "mixed", "shut"];
    client.ok("SiteService/PutLatencies", &put_latencies(&near));
    let forecast = put_forecast(&hydro_of("kunming"), 192, 30_000);
    client.ok("ForecastService/PutForecast", &forecast);
    let cordon = json!({ "site_id": "closed", "reason": "flood" });
    client.ok("SiteService/CordonSite", &cordon);
    for (id, kind, watts) in [
        ("shut", "WINDOW_KIND_MAINTENANCE", 0),
        ("dim", "WINDOW_KIND_CURTAILMENT", 1_199),
    ] {
        let window = json!({
            "window_id": "two-days",
            "kind": kind,
            "end_time": from_now(2 * 86_400),
            "max_power_watts": watts,
            "reason": "new cables",
        });
        let put = json!({ "site_id": id, "window": window });
        client.ok("SiteService/PutSiteWindow", &put);
    }
    // All 640 cores, and 80,000 x 1.2 = 96,000 of 100,000 W, for ten days.
    let cores = json!({ "cpu_cores": 64, "memory_mib": 1 });
    for (id, resources, n_tasks, watts) in [
        ("full", cores, 10, 1),
        ("hot", json!({ "cpu_cores": 1, "memory_mib": 1 }), 1, 80_000),
    ] {
        let spec = with(job_at(&[id]), "/task_resources", resources);
        let spec = with(spec, "/task_count", n_tasks);
        let spec = with(spec, "/task_power_watts", watts);
        let spec = with(spec, "/timing/runtime", "864000s");
        let spec = with(spec, "/timing/earliest_start", first().to_string());
        let ten_days_later = after(first(), 960);
        client.submit(id, &with(spec, "/timing/finish_deadline", ten_days_later));
    }
    let link = json!({ "gateway_id": "mohan", "bandwidth_bits_per_second": RATE });
    client.ok("SiteService/PutLink", &json!({ "link": link }));
    // The link is taken for two days from now on; the job that it is for runs ten days later.
    let earliest: Timestamp = after(first(), 960).parse().unwrap();
    let spec = with(job_from(&["kunming"], earliest), "/staging", input(200));
    client.submit("sent", &spec);
    client
}

/// Bandwidth of the link of all sites, bits per second.
const RATE: u64 = 8_000_000;

/// Input that takes so many slots of the whole link.
fn input(slots: u64) -> Value {
    json!({ "input_bytes": slots * 900_000_000, "max_bits_per_second": RATE })
}

/// A job at this site, in the hours after its capacity and power were taken, within 16 slots.
fn at(site: &str) -> Value {
    job_from(&[site], later())
}

fn later() -> Timestamp {
    after(first(), 4).parse().unwrap()
}

/// A job at `kunming` with one thing set.
fn with_one(pointer: &str, value: impl Into<Value>) -> Value {
    with(at("kunming"), pointer, value)
}

/// A job at `kunming` under other data rules.
fn under(policy: &Value) -> Value {
    with_one(
        "/data_policy",
        with(policy.clone(), "/allowed_sites", vec!["kunming"]),
    )
}

fn policy(class: &str, collected_in: &str, flow: &str, basis: &str, output_to: &[&str]) -> Value {
    json!({
        "data_class": format!("DATA_CLASS_{class}"),
        "collected_in": [collected_in],
        "subject_count": 5,
        "cn_flow": format!("CN_FLOW_{flow}"),
        "export_basis": format!("EXPORT_BASIS_{basis}"),
        "output_to": output_to,
    })
}

/// Foreign data that are processed in an enclave and sent out again.
fn inbound(class: &str, collected_in: &str, basis: &str, output_to: &[&str]) -> Value {
    policy(
        class,
        collected_in,
        "INBOUND_PROCESS_REEXPORT",
        basis,
        output_to,
    )
}

/// Domestic data of so many people the results of which leave.
fn outbound(class: &str, basis: &str, people: u32) -> Value {
    let policy = policy(class, "CN", "OUTBOUND", basis, &["LA"]);
    with(policy, "/subject_count", people)
}

/// Domestic data with a proof of the basis on which they leave, valid for so many seconds from now.
fn proven(class: &str, basis: &str, people: u32, valid_seconds: i64) -> Value {
    let evidence = json!({ "reference": "no 17", "valid_until": from_now(valid_seconds) });
    with(outbound(class, basis, people), "/export_evidence", evidence)
}

refusals! { rules_of_the_border;
    "core data leave" at "kunming": under(&outbound("CORE", "SECURITY_ASSESSMENT", 5)) =>
        DATA_POLICY_FORBIDS "core data never leave China", EXPORT_BASIS_INSUFFICIENT "needs a proof";
    "core data come in" at "kunming": under(&inbound("CORE", "LA", "NONE_NEEDED", &["LA"])) =>
        DATA_POLICY_FORBIDS "core data";
    "important data leave" at "kunming": under(&proven("IMPORTANT", "STANDARD_CONTRACT", 5, YEAR_S)) =>
        EXPORT_BASIS_INSUFFICIENT "SECURITY_ASSESSMENT only";
    "important data come in" at "kunming": under(&inbound("IMPORTANT", "LA", "ART4", &["LA"])) =>
        EXPORT_BASIS_INSUFFICIENT "SECURITY_ASSESSMENT only";
    "data outside China, here" at "kunming": under(&policy("NONE", "LA", "NO_CN", "NONE_NEEDED", &[])) =>
        DATA_POLICY_FORBIDS "sites outside China only";
    "data outside China, from China" at "kunming": under(&policy("NONE", "CN", "NO_CN", "NONE_NEEDED", &[])) =>
        DATA_POLICY_FORBIDS "contradict each other", DATA_POLICY_FORBIDS "sites outside China only";
    "domestic data with results abroad" at "kunming": under(&policy("NONE", "CN", "DOMESTIC_ONLY", "NONE_NEEDED", &["LA"])) =>
        DATA_POLICY_FORBIDS "output_to CN only";
    "incoming data from China" at "kunming": under(&inbound("NONE", "CN", "NONE_NEEDED", &["LA"])) =>
        DATA_POLICY_FORBIDS "take CN out of collected_in";
    "incoming data that stay" at "kunming": under(&inbound("NONE", "LA", "NONE_NEEDED", &["CN"])) =>
        DATA_POLICY_FORBIDS "take CN out of output_to";
    "incoming data without an output" at "kunming": under(&inbound("NONE", "LA", "NONE_NEEDED", &[])) =>
        DATA_POLICY_FORBIDS "states in output_to";
    "100000 people below the threshold" at "kunming": under(&outbound("PERSONAL", "BELOW_THRESHOLD", 100_000)) =>
        EXPORT_BASIS_INSUFFICIENT "(need 100000 people, have 99999)";
    "10000 sensitive people by certificate" at "kunming": under(&proven("SENSITIVE_PERSONAL", "CERTIFICATION", 10_000, YEAR_S)) =>
        EXPORT_BASIS_INSUFFICIENT "(need 10000 people, have 9999)";
    "contract without a proof" at "kunming": under(&outbound("PERSONAL", "STANDARD_CONTRACT", 5)) =>
        EXPORT_BASIS_INSUFFICIENT "needs a proof";
}

const YEAR_S: i64 = 365 * 86_400;

/// People's data from a country that come in on Article 4.
fn personal(country: &str) -> Value {
    inbound("PERSONAL", country, "ART4", &["LA"])
}

/// The same with the people's consent.
fn by_consent(country: &str) -> Value {
    let basis = json!({ "country": country, "kind": "ORIGIN_BASIS_KIND_CONSENT" });
    with(personal(country), "/origin_bases", vec![basis])
}

fn brief_consent() -> Value {
    let brief = json!({ "reference": "no 2", "valid_until": from_now(3_600) });
    with(by_consent("LA"), "/origin_bases/0/evidence", brief)
}

/// Results that stay for ten days after the end, and a proof that is valid for 40 hours.
fn retained() -> Value {
    with(
        proven("PERSONAL", "STANDARD_CONTRACT", 5, 40 * 3_600),
        "/retention",
        "864000s",
    )
}

refusals! { rules_of_origin_and_evidence;
    "foreign people without Article 4" at "kunming": under(&with(by_consent("LA"), "/export_basis", "EXPORT_BASIS_ART3")) =>
        EXPORT_BASIS_INSUFFICIENT "Article 4";
    "people of Laos who were not asked" at "kunming": under(&personal("LA")) =>
        ORIGIN_BASIS_MISSING "add CONSENT or";
    "people of Viet Nam by consent" at "kunming": under(&by_consent("VN")) =>
        ORIGIN_BASIS_MISSING "add CTIA to";
    "bank customers of Bangladesh by consent" at "kunming": under(&with(by_consent("BD"), "/sector", "SECTOR_FINANCE")) =>
        ORIGIN_BASIS_MISSING "add REGULATOR_APPROVAL to";
    "contract that has expired" at "kunming": under(&proven("PERSONAL", "STANDARD_CONTRACT", 5, -86_400)) =>
        EVIDENCE_EXPIRES "(need 3600 seconds, have 0)";
    "contract that expires before the results go" at "kunming": under(&retained()) =>
        EVIDENCE_EXPIRES "(need 867600 seconds, have 0)";
    "consent that expires before the start" at "kunming": under(&brief_consent()) =>
        EVIDENCE_EXPIRES "(need 3600 seconds, have 0)";
}

fn denied_everywhere() -> Value {
    let anywhere = without(at("kunming"), "/data_policy/allowed_sites");
    with(anywhere, "/data_policy/denied_sites", SITES.to_vec())
}

fn leased_line_by_internet() -> Value {
    let leased = with_one("/data_policy/require_leased_line", true);
    with(leased, "/origin/path", "NETWORK_PATH_INTERNET")
}

refusals! { rules_of_sites;
    "sites all denied" at "kunming": denied_everywhere() => SITE_DENIED "names kunming";
    "another site allowed" at "kunming": at("closed") => SITE_NOT_ALLOWED "leaves kunming out";
    "countries not allowed" at "kunming": with_one("/data_policy/allowed_countries", vec!["SG", "LA"]) =>
        COUNTRY_NOT_ALLOWED "leaves CN out";
    "country denied" at "kunming": with_one("/data_policy/denied_countries", vec!["CN"]) => COUNTRY_DENIED "names CN";
    "incoming data without an enclave" at "mixed": at("mixed") =>
        ENCLAVE_REQUIRED "mixed has no offshore enclave", DOMESTIC_MIX "kept free of domestic data";
    "another gateway" at "kunming": with_one("/data_policy/require_gateway_id", "ruili") =>
        GATEWAY_MISMATCH "kunming has mohan";
    "internet for a leased line" at "kunming": leased_line_by_internet() => LEASED_LINE_REQUIRED "LEASED";
    "encryption in use" at "kunming": with_one("/data_policy/require_encrypted_in_use", true) =>
        ENCRYPTION_IN_USE_REQUIRED "encrypts memory in use";
    "no agent" at "kunming": with_one("/execution", json!({ "argv": ["run"] })) => NO_AGENT "no agent runs work";
    "cordoned site" at "closed": at("closed") => SITE_CORDONED "flood";
}

fn task_of(cpu_cores: u32, memory_mib: u32) -> Value {
    json!({ "cpu_cores": cpu_cores, "memory_mib": memory_mib })
}

fn gpus() -> Value {
    json!({ "cpu_cores": 1, "memory_mib": 1, "gpus": 1, "gpu_model": "h100" })
}

fn whole_nodes(n_tasks: u32) -> Value {
    with(
        with_one("/task_resources/exclusive_node", true),
        "/task_count",
        n_tasks,
    )
}

/// The largest that the fields allow: the products stay below 64 bits.
fn largest() -> Value {
    let largest = with_one("/task_resources", task_of(4_096, 64 << 20));
    let largest = with(largest, "/task_count", 1_000_000);
    with(largest, "/task_power_watts", 1_000_000)
}

refusals! { sizes;
    "GPUs that nobody has" at "kunming": with_one("/task_resources", gpus()) =>
        GPU_MODEL_MISSING "h100", TASK_EXCEEDS_NODE "(need 1 gpus, have 0)";
    "task wider than a node" at "kunming": with_one("/task_resources", task_of(65, 1)) =>
        TASK_EXCEEDS_NODE "(need 65 cpu_cores, have 64)";
    "task deeper than a node" at "kunming": with_one("/task_resources", task_of(1, 262_145)) =>
        TASK_EXCEEDS_NODE "(need 262145 mib, have 262144)";
    // 10 nodes of 64 cores hold 160 tasks of 4.
    "one task more than fit" at "kunming": with_one("/task_count", 161) =>
        JOB_EXCEEDS_POOL "(need 644 cpu_cores, have 640)";
    "one whole node more than there are" at "kunming": whole_nodes(11) => JOB_EXCEEDS_POOL "holds more than 10";
    // 2 x 50,000 x 1.2.
    "power above the cap" at "kunming": with_one("/task_power_watts", 50_000) =>
        POWER_EXCEEDS_CAP "(need 120000 watts, have 100000)";
    "everything at its most" at "kunming": largest() =>
        TASK_EXCEEDS_NODE "(need 4096 cpu_cores, have 64)",
        POWER_EXCEEDS_CAP "(need 1200000000000 watts, have 100000)";
}

/// A job without an earliest start and with this deadline, seconds from now.
fn by(finish_seconds: i64) -> Value {
    let spec = without(at("kunming"), "/timing/earliest_start");
    with(spec, "/timing/finish_deadline", from_now(finish_seconds))
}

fn beyond_the_horizon() -> Value {
    let spec = with_one("/timing/earliest_start", time(20 * 96));
    with(spec, "/timing/finish_deadline", time(21 * 96))
}

/// A job with this budget over this kind of line.
fn within(rtt_us: u32, field: &str, kind: &str) -> Value {
    with(with_one("/origin/max_rtt_us", rtt_us), field, kind)
}

refusals! { times_and_lines;
    "deadline that has passed" at "kunming": by(-3_600) =>
        WINDOW_TOO_SHORT "(need 3600 seconds, have 0)" + "s later";
    "start deadline that has passed" at "kunming": with(by(-3_600), "/timing/start_deadline", from_now(-7_200)) =>
        WINDOW_TOO_SHORT "later start deadline";
    "start in twenty days" at "kunming": beyond_the_horizon() => BEYOND_HORIZON "plans reach 1209600 s ahead";
    "site without round-trip times" at "far": at("far") => LATENCY_UNKNOWN "far";
    "leased line a microsecond too long" at "kunming": within(19_999, "/origin/path", "NETWORK_PATH_LEASED") =>
        LATENCY_EXCEEDED "(need 19999 microseconds, have 20000)" + "20000 us";
    "tail of the line too long" at "kunming": within(24_999, "/origin/quantile", "RTT_QUANTILE_P95") =>
        LATENCY_EXCEEDED "(need 24999 microseconds, have 25000)" + "25000 us";
    "internet too long" at "kunming": within(39_999, "/origin/path", "NETWORK_PATH_INTERNET") =>
        LATENCY_EXCEEDED "(need 39999 microseconds, have 40000)" + "40000 us";
}

/// A job of 2 x 20,000 x 1.2 = 48,000 W that must be all green.
fn all_green(confidence_permille: u32) -> Value {
    let green = json!({
        "min_share_permille": 1_000,
        "confidence_permille": confidence_permille,
    });
    with(with_one("/task_power_watts", 20_000), "/green", green)
}

refusals! { what_others_hold;
    "capacity that is taken" at "full": at("full") =>
        CAPACITY_BUSY "(need 8 cpu_cores, have 0) until " + "s later the job would run at full";
    // 2 x 2,000 x 1.2 = 4,800 of the 4,000 W that are left.
    "power that is taken" at "hot": with(at("hot"), "/task_power_watts", 2_000) =>
        POWER_BUSY "(need 4800 watts, have 4000) until " + "s later the job would run at hot";
    "a site under maintenance" at "shut": at("shut") =>
        MAINTENANCE "new cables" + "s later the job would run at shut";
    // It draws 1,200 W.
    "a site that is curtailed" at "dim": at("dim") =>
        CURTAILED "(need 1200 watts, have 1199) until " + "s later the job would run at dim";
    // There are less than 40 slots before the last start.
    "input that takes too long" at "kunming": with_one("/staging", input(40)) =>
        STAGE_IN_TOO_LONG "takes 36000 s in whole slots" + "s later the job would run at kunming";
    "link that is taken" at "kunming": with_one("/staging", input(1)) =>
        LINK_BUSY "(need 8000000 bits_per_second, have 0) until " + "s later the job would run at kunming";
    // Hydro gives 30,000 of 48,000 W, and 15,000 for certain.
    "more green power than there is" at "kunming": all_green(500) =>
        GREEN_SHARE_UNREACHABLE "(need 1000 permille, have 625)" + "a green share of 625 per mille";
    "more green power than is certain" at "kunming": all_green(900) =>
        GREEN_SHARE_UNREACHABLE "(need 1000 permille, have 312)" + "a green share of 312 per mille";
}

#[test]
fn every_reason_is_told_with_its_numbers() {
    let client = world();
    // The tables would prove nothing if what they change were not accepted.
    let quote = client.ok("JobService/QuoteJob", &json!({ "spec": at("kunming") }));
    assert_ne!(quote["quoteId"], Value::Null);
    let cases: Vec<Case> = [
        rules_of_the_border(),
        rules_of_origin_and_evidence(),
        rules_of_sites(),
        sizes(),
        times_and_lines(),
        what_others_hold(),
    ]
    .into_iter()
    .flatten()
    .collect();
    check_all(&client, &cases);

    let provoked: BTreeSet<&str> = cases
        .iter()
        .flat_map(|case| match &case.details {
            Details::Refusals(refused) => refused.reasons.as_slice(),
            _ => &[],
        })
        .map(|(reason, _)| *reason)
        .collect();
    let known: BTreeSet<&str> = (1..)
        .map_while(|number| RefusalReason::try_from(number).ok())
        .map(|reason| {
            reason
                .as_str_name()
                .strip_prefix("REFUSAL_REASON_")
                .unwrap()
        })
        .collect();
    assert_eq!(provoked, known, "every reason of the API stands in a row");
}

#[test]
fn a_suggestion_that_is_followed_works() {
    let client = world();
    let quoted = |spec: &Value| client.ok("JobService/QuoteJob", &json!({ "spec": spec }));
    let busy = at("full");
    let suggestion = quoted(&busy)["suggestions"][0].clone();
    let by = suggestion["finishDeadline"].as_str().unwrap();
    // `full` is free again 960 slots after its job began, which is 956 slots after the earliest start.
    assert_eq!(by, after(later(), 956 + 4));
    let plan = quoted(&with(busy, "/timing/finish_deadline", by))["placement"].clone();
    assert_eq!(
        plan["runs"],
        json!([{ "startTime": after(later(), 956), "endTime": by, "units": 1 }])
    );

    let near = with(at("kunming"), "/origin/max_rtt_us", 1);
    let suggestion = quoted(&near)["suggestions"][0].clone();
    let farther = with(near, "/origin/max_rtt_us", suggestion["maxRttUs"].clone());
    assert_eq!(quoted(&farther)["placement"]["rttUs"], 20_000);
}
