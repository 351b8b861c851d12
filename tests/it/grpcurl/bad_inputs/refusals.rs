//! Jobs that no site can run: every typed reason, provoked, with its numbers and what would help.
//!
//! Each job is allowed at one site; the others refuse it at least for that.

use std::collections::BTreeSet;

use lancang::proto::v1::RefusalReason;
use serde_json::{Value, json};
use tonic::Code;

use super::{Case, Details, Refused, SUBMIT, check, refused, submission};
use crate::{
    grpcurl::{Client, after, from_now, hydro_of, hydro_site, job_at, job_from, time},
    support::samples::{put_forecast, put_latencies, slot_start, with, without},
};

/// The sites, by id.
///
/// `closed` is cordoned, `far` has no round-trip times, `full` and `hot` are taken, their capacity and their power;
/// `kunming` is as the samples make it, `mixed` the same without an enclave and with domestic data.
pub(super) const SITES: [&str; 6] = ["closed", "far", "full", "hot", "kunming", "mixed"];

/// Beginning of the time in which `full` and `hot` are taken; the jobs of this module are later.
const TAKEN_FROM: i64 = 8;

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
    let near = ["closed", "full", "hot", "kunming", "mixed"];
    client.ok("SiteService/PutLatencies", &put_latencies(&near));
    let forecast = put_forecast(&hydro_of("kunming"), 192, 30_000);
    client.ok("ForecastService/PutForecast", &forecast);
    let cordon = json!({ "site_id": "closed", "reason": "flood" });
    client.ok("SiteService/CordonSite", &cordon);
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
        let spec = with(spec, "/timing/earliest_start", time(TAKEN_FROM));
        let ten_days_later = TAKEN_FROM + 960;
        client.submit(
            id,
            &with(spec, "/timing/finish_deadline", time(ten_days_later)),
        );
    }
    client
}

/// A job at this site, in the hours after its capacity and power were taken, within 16 slots.
fn at(site: &str) -> Value {
    job_from(&[site], slot_start(TAKEN_FROM + 4))
}

/// A row: the job that is refused at the site for these reasons, and what is suggested.
fn row(
    name: &'static str,
    site: &'static str,
    spec: &Value,
    reasons: &[(&'static str, &'static str)],
    suggestions: &[&'static str],
) -> Case {
    let expected = Refused {
        site,
        reasons: reasons.to_vec(),
        suggestions: suggestions.to_vec(),
    };
    let why = (Code::FailedPrecondition, "JOB_INFEASIBLE");
    refused(
        name,
        SUBMIT,
        submission(spec),
        why,
        Details::Refusals(expected),
    )
}

/// A job at a site under other data rules.
fn under(site: &str, policy: &Value) -> Value {
    let policy = with(policy.clone(), "/allowed_sites", vec![site]);
    with(at(site), "/data_policy", policy)
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
fn inbound(class: &str, collected_in: &str, basis: &str) -> Value {
    policy(
        class,
        collected_in,
        "INBOUND_PROCESS_REEXPORT",
        basis,
        &["LA"],
    )
}

/// Domestic data the results of which leave.
fn outbound(class: &str, basis: &str) -> Value {
    policy(class, "CN", "OUTBOUND", basis, &["LA"])
}

fn rules_of_the_border() -> Vec<Case> {
    let here = |name, policy: Value, reasons: &[(&'static str, &'static str)]| {
        row(name, "kunming", &under("kunming", &policy), reasons, &[])
    };
    let forbids = |sentence| ("DATA_POLICY_FORBIDS", sentence);
    let too_weak = |sentence| ("EXPORT_BASIS_INSUFFICIENT", sentence);
    let foreign = |basis: &str| inbound("NONE", "LA", basis);
    let no_cn = |from: &str| policy("NONE", from, "NO_CN", "NONE_NEEDED", &[]);
    let people = with(
        outbound("PERSONAL", "BELOW_THRESHOLD"),
        "/subject_count",
        100_000,
    );
    let many = with(
        outbound("SENSITIVE_PERSONAL", "CERTIFICATION"),
        "/subject_count",
        10_000,
    );
    let many = with(many, "/export_evidence", json!({ "reference": "no 17" }));
    vec![
        here(
            "core data leave",
            outbound("CORE", "SECURITY_ASSESSMENT"),
            &[
                forbids("core data never leave China"),
                too_weak("needs a proof"),
            ],
        ),
        here(
            "core data come in",
            inbound("CORE", "LA", "NONE_NEEDED"),
            &[forbids("core data")],
        ),
        here(
            "important data leave",
            outbound("IMPORTANT", "STANDARD_CONTRACT"),
            &[
                too_weak("SECURITY_ASSESSMENT only"),
                too_weak("needs a proof"),
            ],
        ),
        here(
            "important data come in",
            inbound("IMPORTANT", "LA", "ART4"),
            &[too_weak("SECURITY_ASSESSMENT only")],
        ),
        here(
            "data outside China, here",
            no_cn("LA"),
            &[forbids("sites outside China only")],
        ),
        here(
            "data outside China, from China",
            no_cn("CN"),
            &[
                forbids("contradict each other"),
                forbids("sites outside China only"),
            ],
        ),
        here(
            "domestic data with results abroad",
            policy("NONE", "CN", "DOMESTIC_ONLY", "NONE_NEEDED", &["LA"]),
            &[forbids("output_to CN only")],
        ),
        here(
            "incoming data from China",
            inbound("NONE", "CN", "NONE_NEEDED"),
            &[forbids("take CN out of collected_in")],
        ),
        here(
            "incoming data that stay",
            with(foreign("NONE_NEEDED"), "/output_to", vec!["CN"]),
            &[forbids("take CN out of output_to")],
        ),
        here(
            "incoming data without an output",
            with(foreign("NONE_NEEDED"), "/output_to", json!([])),
            &[forbids("states in output_to")],
        ),
        here(
            "100000 people below the threshold",
            people,
            &[too_weak("(need 100000 people, have 99999)")],
        ),
        here(
            "10000 sensitive people by certificate",
            many,
            &[too_weak("(need 10000 people, have 9999)")],
        ),
        here(
            "contract without a proof",
            outbound("PERSONAL", "STANDARD_CONTRACT"),
            &[too_weak("needs a proof")],
        ),
    ]
}

fn rules_of_origin_and_evidence() -> Vec<Case> {
    let consent =
        |country: &str| json!([{ "country": country, "kind": "ORIGIN_BASIS_KIND_CONSENT" }]);
    let here = |name, policy: Value, reasons: &[(&'static str, &'static str)]| {
        row(name, "kunming", &under("kunming", &policy), reasons, &[])
    };
    let personal = |country: &str| inbound("PERSONAL", country, "ART4");
    let by_consent = |country: &str| with(personal(country), "/origin_bases", consent(country));
    let contract = |valid_until: String| {
        let evidence = json!({ "reference": "no 1", "valid_until": valid_until });
        with(
            outbound("PERSONAL", "STANDARD_CONTRACT"),
            "/export_evidence",
            evidence,
        )
    };
    let retained = with(contract(from_now(40 * 3_600)), "/retention", "864000s");
    let brief = json!({ "reference": "no 2", "valid_until": from_now(3_600) });
    let missing = |sentence| ("ORIGIN_BASIS_MISSING", sentence);
    vec![
        here(
            "foreign people without Article 4",
            with(by_consent("LA"), "/export_basis", "EXPORT_BASIS_ART3"),
            &[("EXPORT_BASIS_INSUFFICIENT", "Article 4")],
        ),
        here(
            "people of Laos who were not asked",
            personal("LA"),
            &[missing("add CONSENT or")],
        ),
        here(
            "people of Viet Nam by consent",
            by_consent("VN"),
            &[missing("add CTIA to")],
        ),
        here(
            "bank customers of Bangladesh by consent",
            with(by_consent("BD"), "/sector", "SECTOR_FINANCE"),
            &[missing("add REGULATOR_APPROVAL to")],
        ),
        here(
            "contract that has expired",
            contract(from_now(-86_400)),
            &[("EVIDENCE_EXPIRES", "(need 3600 seconds, have 0)")],
        ),
        here(
            "contract that expires before the results are deleted",
            retained,
            &[("EVIDENCE_EXPIRES", "(need 867600 seconds, have 0)")],
        ),
        here(
            "consent that expires before the start",
            with(by_consent("LA"), "/origin_bases/0/evidence", brief),
            &[("EVIDENCE_EXPIRES", "(need 3600 seconds, have 0)")],
        ),
    ]
}

fn rules_of_sites() -> Vec<Case> {
    let anywhere = without(at("kunming"), "/data_policy/allowed_sites");
    let denied = with(
        anywhere.clone(),
        "/data_policy/denied_sites",
        SITES.to_vec(),
    );
    let elsewhere = with(
        at("kunming"),
        "/data_policy/allowed_countries",
        vec!["SG", "LA"],
    );
    let not_here = with(at("kunming"), "/data_policy/denied_countries", vec!["CN"]);
    let gateway = with(at("kunming"), "/data_policy/require_gateway_id", "ruili");
    let leased = with(at("kunming"), "/data_policy/require_leased_line", true);
    let leased = with(leased, "/origin/path", "NETWORK_PATH_INTERNET");
    let encrypted = with(at("kunming"), "/data_policy/require_encrypted_in_use", true);
    let not_allowed = [("SITE_NOT_ALLOWED", "leaves kunming out")];
    let closed = at("closed");
    vec![
        row(
            "sites all denied",
            "kunming",
            &denied,
            &[("SITE_DENIED", "names kunming")],
            &[],
        ),
        row(
            "only a closed site allowed",
            "kunming",
            &closed,
            &not_allowed,
            &[],
        ),
        row(
            "countries not allowed",
            "kunming",
            &elsewhere,
            &[("COUNTRY_NOT_ALLOWED", "leaves CN out")],
            &[],
        ),
        row(
            "country denied",
            "kunming",
            &not_here,
            &[("COUNTRY_DENIED", "names CN")],
            &[],
        ),
        row(
            "incoming data without an enclave",
            "mixed",
            &at("mixed"),
            &[
                ("ENCLAVE_REQUIRED", "mixed has no offshore enclave"),
                ("DOMESTIC_MIX", "kept free of domestic data"),
            ],
            &[],
        ),
        row(
            "another gateway",
            "kunming",
            &gateway,
            &[("GATEWAY_MISMATCH", "kunming has mohan")],
            &[],
        ),
        row(
            "internet for a leased line",
            "kunming",
            &leased,
            &[("LEASED_LINE_REQUIRED", "")],
            &[],
        ),
        row(
            "encryption in use",
            "kunming",
            &encrypted,
            &[("ENCRYPTION_IN_USE_REQUIRED", "encrypts memory in use")],
            &[],
        ),
        row(
            "cordoned site",
            "closed",
            &closed,
            &[("SITE_CORDONED", "flood")],
            &[],
        ),
    ]
}

fn sizes() -> Vec<Case> {
    let here = |name, spec: &Value, reasons: &[(&'static str, &'static str)]| {
        row(name, "kunming", spec, reasons, &[])
    };
    let resources = |value: Value| with(at("kunming"), "/task_resources", value);
    let gpus = json!({ "cpu_cores": 1, "memory_mib": 1, "gpus": 1, "gpu_model": "h100" });
    let wide = json!({ "cpu_cores": 65, "memory_mib": 1 });
    let deep = json!({ "cpu_cores": 1, "memory_mib": 262_145 });
    let most = with(
        resources(json!({ "cpu_cores": 4_096, "memory_mib": 64 << 20 })),
        "/task_count",
        1_000_000,
    );
    let most = with(most, "/task_power_watts", 1_000_000);
    let whole = with(at("kunming"), "/task_resources/exclusive_node", true);
    vec![
        here(
            "GPUs that nobody has",
            &resources(gpus),
            &[
                ("GPU_MODEL_MISSING", "h100"),
                ("TASK_EXCEEDS_NODE", "(need 1 gpus, have 0)"),
            ],
        ),
        here(
            "task wider than a node",
            &resources(wide),
            &[("TASK_EXCEEDS_NODE", "(need 65 cpu_cores, have 64)")],
        ),
        here(
            "task deeper than a node",
            &resources(deep),
            &[("TASK_EXCEEDS_NODE", "(need 262145 mib, have 262144)")],
        ),
        // 10 nodes of 64 cores hold 160 tasks of 4.
        here(
            "one task more than fit",
            &with(at("kunming"), "/task_count", 161),
            &[("JOB_EXCEEDS_POOL", "(need 644 cpu_cores, have 640)")],
        ),
        here(
            "one whole node more than there are",
            &with(whole, "/task_count", 11),
            &[("JOB_EXCEEDS_POOL", "holds more than 10")],
        ),
        // 2 x 50,000 x 1.2.
        here(
            "power above the cap",
            &with(at("kunming"), "/task_power_watts", 50_000),
            &[("POWER_EXCEEDS_CAP", "(need 120000 watts, have 100000)")],
        ),
        // The largest that the fields allow: the products stay below 64 bits and are told.
        here(
            "everything at its most",
            &most,
            &[
                ("TASK_EXCEEDS_NODE", "(need 4096 cpu_cores, have 64)"),
                (
                    "POWER_EXCEEDS_CAP",
                    "(need 1200000000000 watts, have 100000)",
                ),
            ],
        ),
    ]
}

fn times_and_lines() -> Vec<Case> {
    let here = |name, spec: &Value, reason, suggestion| {
        row(name, "kunming", spec, &[reason], &[suggestion])
    };
    let past = without(at("kunming"), "/timing/earliest_start");
    let past = with(past, "/timing/finish_deadline", from_now(-3_600));
    let late_start = with(past.clone(), "/timing/start_deadline", from_now(-7_200));
    let beyond = with(at("kunming"), "/timing/earliest_start", time(20 * 96));
    let beyond = with(beyond, "/timing/finish_deadline", time(21 * 96));
    let near = with(at("kunming"), "/origin/max_rtt_us", 19_999);
    let tail = with(at("kunming"), "/origin/max_rtt_us", 24_999);
    let tail = with(tail, "/origin/quantile", "RTT_QUANTILE_P95");
    let internet = with(at("kunming"), "/origin/path", "NETWORK_PATH_INTERNET");
    let internet = with(internet, "/origin/max_rtt_us", 39_999);
    vec![
        here(
            "deadline that has passed",
            &past,
            ("WINDOW_TOO_SHORT", "(need 3600 seconds, have 0)"),
            "s later",
        ),
        row(
            "start deadline that has passed",
            "kunming",
            &late_start,
            &[("WINDOW_TOO_SHORT", "later start deadline")],
            &[],
        ),
        row(
            "start in twenty days",
            "kunming",
            &beyond,
            &[("BEYOND_HORIZON", "plans reach 1209600 s ahead")],
            &[],
        ),
        row(
            "site without round-trip times",
            "far",
            &at("far"),
            &[("LATENCY_UNKNOWN", "far")],
            &[],
        ),
        here(
            "leased line a microsecond too long",
            &near,
            ("LATENCY_EXCEEDED", "(need 19999 microseconds, have 20000)"),
            "20000 us",
        ),
        here(
            "tail of the line too long",
            &tail,
            ("LATENCY_EXCEEDED", "(need 24999 microseconds, have 25000)"),
            "25000 us",
        ),
        here(
            "internet too long",
            &internet,
            ("LATENCY_EXCEEDED", "(need 39999 microseconds, have 40000)"),
            "40000 us",
        ),
    ]
}

fn what_others_hold() -> Vec<Case> {
    let hot = with(at("hot"), "/task_power_watts", 2_000);
    let hungry = with(at("kunming"), "/task_power_watts", 20_000);
    let greedy = |confidence: u32| {
        let green = json!({ "min_share_permille": 1_000, "confidence_permille": confidence });
        with(hungry.clone(), "/green", green)
    };
    vec![
        // Ten days after the twelfth slot from now minus its four: the taken time ends 956 slots later.
        row(
            "capacity that is taken",
            "full",
            &at("full"),
            &[("CAPACITY_BUSY", "(need 8 cpu_cores, have 0) until ")],
            &["s later the job would run at full"],
        ),
        // 2 x 2,000 x 1.2 = 4,800 of the 4,000 W that are left.
        row(
            "power that is taken",
            "hot",
            &hot,
            &[("POWER_BUSY", "(need 4800 watts, have 4000) until ")],
            &["s later the job would run at hot"],
        ),
        // 2 x 20,000 x 1.2 = 48,000 W, of which hydro gives 30,000, and 15,000 for certain.
        row(
            "more green power than there is",
            "kunming",
            &greedy(500),
            &[("GREEN_SHARE_UNREACHABLE", "(need 1000 permille, have 625)")],
            &["a green share of 625 per mille"],
        ),
        row(
            "more green power than is certain",
            "kunming",
            &greedy(900),
            &[("GREEN_SHARE_UNREACHABLE", "(need 1000 permille, have 312)")],
            &["a green share of 312 per mille"],
        ),
    ]
}

#[test]
fn every_reason_is_told_with_its_numbers() {
    let client = world();
    // The table is about what it changes only if this is accepted.
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
    check(&client, &cases);

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
    let first = slot_start(TAKEN_FROM + 4);
    let busy = job_from(&["full"], first);
    let suggestion = quoted(&busy)["suggestions"][0].clone();
    let later = suggestion["finishDeadline"].as_str().unwrap();
    // `full` is free again ten days after the eighth slot from now, which is 956 slots after `first`.
    assert_eq!(later, after(first, 956 + 4));
    let plan = quoted(&with(busy, "/timing/finish_deadline", later))["placement"].clone();
    assert_eq!(
        plan["runs"],
        json!([{ "startTime": after(first, 956), "endTime": later }])
    );

    let near = with(at("kunming"), "/origin/max_rtt_us", 1);
    let suggestion = quoted(&near)["suggestions"][0].clone();
    let farther = with(near, "/origin/max_rtt_us", suggestion["maxRttUs"].clone());
    assert_eq!(quoted(&farther)["placement"]["rttUs"], 20_000);
}
