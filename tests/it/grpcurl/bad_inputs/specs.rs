//! Job descriptions that are wrong whatever the state.
//!
//! Each row changes one thing of a submission that would be accepted.

use serde_json::{Value, json};
use tonic::Code;

use super::{Case, Details, SUBMIT, check, refused, submission};
use crate::{
    grpcurl::{Shared, after, first, job_at},
    support::samples::{SITE, create_site, put_latencies, with},
};

/// One site, and a key that is used.
static WORLD: Shared = Shared::new(|client| {
    client.ok("SiteService/CreateSite", &create_site());
    client.ok("SiteService/PutLatencies", &put_latencies(&[SITE]));
    client.submit("used", &job_at(&[SITE]));
    // The tables would prove nothing if what they change were not accepted.
    let quote = client.ok("JobService/QuoteJob", &json!({ "spec": base()["spec"] }));
    assert_ne!(quote["quoteId"], Value::Null);
});

const QUOTE: &str = "JobService/QuoteJob";

/// The largest number of 64 bits.
const MAX: &str = "18446744073709551615";

/// The largest bandwidth of one transfer.
const RATE_MAX: &str = "1000000000000";

fn base() -> Value {
    submission(&job_at(&[SITE]))
}

changes! { keys_and_names, SUBMIT, base();
    "no key": "idempotency_key" = Value::Null;
    "empty key": "idempotency_key" = "";
    "key of 129 characters": "idempotency_key" = "k".repeat(129);
    "key with a line break": "idempotency_key" = "a\nb";
    "key with NUL": "idempotency_key" = "a\0b";
    "key in Cyrillic": "idempotency_key" = "ключ";
    "key with a zero-width space": "idempotency_key" = "a\u{200b}b";
    "no name": "spec.name" = Value::Null;
    "name of 64 characters": "spec.name" = "n".repeat(64);
    "name of a mebibyte": "spec.name" = "n".repeat(1 << 20);
    "name as a path": "spec.name" = "../../etc/passwd";
    "name as an option": "spec.name" = "-rf";
    "name with a space": "spec.name" = "a b";
    "name with NUL": "spec.name" = "a\0";
    "name with a line break": "spec.name" = "a\nb";
    "name that reads right to left": "spec.name" = "a\u{202e}b";
    "name with a zero-width joiner": "spec.name" = "a\u{200d}b";
    "name with a homoglyph": "spec.name" = "s\u{430}mple";
    "name not normalised": "spec.name" = "e\u{301}";
}

fn labels_33() -> Value {
    (0..33)
        .map(|i| (format!("k{i}"), json!("v")))
        .collect::<serde_json::Map<_, _>>()
        .into()
}

changes! { labels_and_origins, SUBMIT, base();
    "33 labels": "spec.labels" = labels_33();
    "label with an empty key": "spec.labels" = json!({ "": "v" });
    "label key with a space": "spec.labels" = json!({ "a b": "v" });
    "label key of 64 characters": "spec.labels" = json!({ "k".repeat(64): "v" });
    "label of 129 bytes": "spec.labels" = json!({ "k": "v".repeat(129) });
    "label with a line break": "spec.labels" = json!({ "k": "a\nb" });
    "label with an isolate": "spec.labels" = json!({ "k": "a\u{2066}b" });
    "no origin": "spec.origin" = Value::Null;
    "origin without a place": "spec.origin" = json!({}) => ["spec.origin.city_id"];
    "city and zone at once": "spec.origin.zone_id" = "mekong";
    "city in capitals": "spec.origin.city_id" = "Bangkok";
    "zone as a path": "spec.origin" = json!({ "zone_id": "../mekong" }) => ["spec.origin.zone_id"];
    "budget above 10 s": "spec.origin.max_rtt_us" = 10_000_001;
    "unknown kind of line": "spec.origin.path" = 99;
    "unknown quantile": "spec.origin.quantile" = -1;
}

fn gpu_model_with_a_space() -> Value {
    json!({ "cpu_cores": 1, "memory_mib": 1, "gpus": 1, "gpu_model": "h 100" })
}

changes! { sizes, SUBMIT, base();
    "no resources": "spec.task_resources" = Value::Null;
    "no cores": "spec.task_resources.cpu_cores" = 0;
    "4097 cores": "spec.task_resources.cpu_cores" = 4_097;
    "cores of 32 bits": "spec.task_resources.cpu_cores" = u32::MAX;
    "no memory": "spec.task_resources.memory_mib" = Value::Null;
    "memory of 64 bits": "spec.task_resources.memory_mib" = MAX;
    "257 GPUs": "spec.task_resources.gpus" = 257;
    "GPU model without GPUs": "spec.task_resources.gpu_model" = "h100";
    "GPU model with a space": "spec.task_resources" = gpu_model_with_a_space() => ["spec.task_resources.gpu_model"];
    "no tasks": "spec.task_count" = 0;
    "1000001 tasks": "spec.task_count" = 1_000_001;
    "tasks of 32 bits": "spec.task_count" = u32::MAX;
    "no power": "spec.task_power_watts" = 0;
    "a watt above the bound": "spec.task_power_watts" = 1_000_001;
    "power of 64 bits": "spec.task_power_watts" = MAX;
    "share above all": "spec.green.min_share_permille" = 1_001;
    "confidence without a quantile": "spec.green.confidence_permille" = 700;
    "priority above the highest": "spec.priority" = 11;
    "priority of 32 bits": "spec.priority" = u32::MAX;
    "rate without input": "spec.staging" = json!({ "max_bits_per_second": 5 }) => ["spec.staging.max_bits_per_second"];
    "a byte of input above the bound": "spec.staging" = json!({ "input_bytes": "1125899906842625", "max_bits_per_second": RATE_MAX }) => ["spec.staging.input_bytes"];
    "input of 64 bits": "spec.staging" = json!({ "input_bytes": MAX }) => ["spec.staging.input_bytes"];
    "a bit per second above the bound": "spec.staging" = json!({ "input_bytes": 1, "max_bits_per_second": "1000000000001" }) => ["spec.staging.max_bits_per_second"];
    "input and rate of 64 bits": "spec.staging" = json!({ "input_bytes": MAX, "max_bits_per_second": MAX }) => ["spec.staging.input_bytes", "spec.staging.max_bits_per_second"];
    // A megabyte at a bit per second takes 93 days.
    "input that is never there": "spec.staging" = json!({ "input_bytes": 1_000_000, "max_bits_per_second": 1 }) => ["spec.staging.input_bytes"];
    "weights of nothing": "spec.weights" = json!({});
    "weight of 64 bits": "spec.weights.carbon_micro_cny_per_kg" = MAX;
    "weight of cost above a thousandfold": "spec.weights.cost_permille" = 1_000_001;
}

/// A program that would be accepted at a site with an agent, with one field set.
fn execution(field: &str, value: Value) -> Value {
    let mut execution = json!({ "argv": ["/bin/true"] });
    execution[field] = value;
    execution
}

changes! { executions, SUBMIT, base();
    "no program": "spec.execution" = json!({}) => ["spec.execution.argv"];
    "unknown pause mode": "spec.execution" = execution("pause_mode", json!(99)) => ["spec.execution.pause_mode"];
    "attempts that end with pauses for a job in one piece": "spec.execution" = execution("pause_mode", json!("PAUSE_MODE_REQUEUE")) => ["spec.execution.pause_mode"];
    "checkpoint without a signal": "spec.execution" = execution("checkpoint", json!({})) => ["spec.execution.checkpoint.signal"];
    "checkpoint by an unknown signal": "spec.execution" = execution("checkpoint", json!({ "signal": 9 })) => ["spec.execution.checkpoint.signal"];
    "checkpoint of more than an hour": "spec.execution" = execution("checkpoint", json!({ "signal": 1, "grace": "3600.001s" })) => ["spec.execution.checkpoint.grace"];
    "checkpoint of less than nothing": "spec.execution" = execution("checkpoint", json!({ "signal": 1, "grace": "-1s" })) => ["spec.execution.checkpoint.grace"];
}

/// An hour between two slots, to be started by a third.
fn window(earliest: i64, start_by: i64, finish_by: i64) -> Value {
    json!({
        "runtime": "3600s",
        "earliest_start": after(first(), earliest),
        "start_deadline": after(first(), start_by),
        "finish_deadline": after(first(), finish_by),
    })
}

fn pieces(min_chunk: &str, resume_cost: &str) -> Value {
    json!({ "interruptible": { "min_chunk": min_chunk, "resume_cost": resume_cost } })
}

changes! { times, SUBMIT, base();
    "no timing": "spec.timing" = Value::Null;
    "no runtime": "spec.timing.runtime" = Value::Null;
    "runtime of nothing": "spec.timing.runtime" = "0s";
    "runtime below a second": "spec.timing.runtime" = "0.999s";
    "negative runtime": "spec.timing.runtime" = "-3600s";
    // What is too long for any plan is too long for this deadline as well.
    "runtime of 100 years": "spec.timing.runtime" = "3155760000s" => ["spec.timing.runtime", "spec.timing.finish_deadline"];
    "a second more than 14 days": "spec.timing.runtime" = "1209601s" => ["spec.timing.runtime", "spec.timing.finish_deadline"];
    // An hour does not fit into three slots.
    "deadline before the end": "spec.timing.finish_deadline" = after(first(), 3);
    "deadline before the start": "spec.timing.finish_deadline" = after(first(), -1);
    "start deadline before the start": "spec.timing" = window(1, 0, 9) => ["spec.timing.start_deadline"];
    "start deadline after the deadline": "spec.timing" = window(0, 9, 8) => ["spec.timing.start_deadline"];
    "start in the year 1": "spec.timing.earliest_start" = "0001-01-01T00:00:00Z";
    "pieces of nothing": "spec.flexibility" = json!({ "interruptible": {} }) => ["spec.flexibility.interruptible.min_chunk"];
    "pieces longer than the job": "spec.flexibility" = pieces("3601s", "0s") => ["spec.flexibility.interruptible.min_chunk"];
    "negative pieces": "spec.flexibility" = pieces("-900s", "0s") => ["spec.flexibility.interruptible.min_chunk"];
    "resuming longer than the job": "spec.flexibility" = pieces("900s", "3601s") => ["spec.flexibility.interruptible.resume_cost"];
}

fn speeds(permille: &[u32]) -> Value {
    json!({ "malleable": { "speed_permille": permille } })
}

changes! { numbers_of_units, SUBMIT, base();
    "no speeds": "spec.flexibility" = speeds(&[]) => ["spec.flexibility.malleable.speed_permille"];
    "the speed of one unit alone": "spec.flexibility" = speeds(&[1_000]) => ["spec.flexibility.malleable.speed_permille"];
    "65 speeds": "spec.flexibility" = speeds(&(1..=65).map(|n| n * 1_000).collect::<Vec<_>>()) => ["spec.flexibility.malleable.speed_permille"];
    "half a speed for one unit": "spec.flexibility" = speeds(&[500, 1_000]) => ["spec.flexibility.malleable.speed_permille"];
    "a speed of nothing": "spec.flexibility" = speeds(&[0, 0]) => ["spec.flexibility.malleable.speed_permille"];
    "a speed that falls": "spec.flexibility" = speeds(&[1_000, 1_500, 1_499]) => ["spec.flexibility.malleable.speed_permille"];
    "a second unit better than the first": "spec.flexibility" = speeds(&[1_000, 2_001]) => ["spec.flexibility.malleable.speed_permille"];
    "a third unit better than the second": "spec.flexibility" = speeds(&[1_000, 1_500, 2_001]) => ["spec.flexibility.malleable.speed_permille"];
    "speeds of 32 bits": "spec.flexibility" = speeds(&[u32::MAX, u32::MAX]) => ["spec.flexibility.malleable.speed_permille"];
    "too few speeds of the wrong kind": "spec.flexibility" = speeds(&[7]) => ["spec.flexibility.malleable.speed_permille"];
}

fn origin_basis(country: &str, kind: &str) -> Value {
    json!([{ "country": country, "kind": format!("ORIGIN_BASIS_KIND_{kind}") }])
}

fn evidence(reference: &str) -> Value {
    json!({ "reference": reference })
}

fn with_country_allowed() -> Value {
    with(base(), "/spec/data_policy/allowed_countries", vec!["CN"])
}

changes! { labels_of_data, SUBMIT, base();
    "no policy": "spec.data_policy" = Value::Null;
    "no class": "spec.data_policy.data_class" = Value::Null;
    "class that is unspecified": "spec.data_policy.data_class" = "DATA_CLASS_UNSPECIFIED";
    "unknown class": "spec.data_policy.data_class" = 99;
    "no flow": "spec.data_policy.cn_flow" = Value::Null;
    "unknown flow": "spec.data_policy.cn_flow" = -7;
    "unknown basis": "spec.data_policy.export_basis" = 99;
    "unknown sector": "spec.data_policy.sector" = 99;
    "province for a country": "spec.data_policy.collected_in[0]" = "CN-53";
    "country in small letters": "spec.data_policy.collected_in[0]" = "la";
    "country with a homoglyph": "spec.data_policy.collected_in[0]" = "\u{421}N";
    "65 countries": "spec.data_policy.output_to" = vec!["LA"; 65];
    "personal data from nowhere": "spec.data_policy" = json!({
        "data_class": "DATA_CLASS_PERSONAL", "cn_flow": "CN_FLOW_NO_CN",
    }) => ["spec.data_policy.collected_in", "spec.data_policy.subject_count"];
    "personal data of nobody": "spec.data_policy.data_class" = "DATA_CLASS_PERSONAL" => ["spec.data_policy.subject_count"];
    "site as a path": "spec.data_policy.allowed_sites[0]" = "../kunming";
    "site allowed and denied": "spec.data_policy.denied_sites" = vec![SITE];
    "evidence without a reference": "spec.data_policy.export_evidence" = evidence("") => ["spec.data_policy.export_evidence.reference"];
    "evidence with an escape sequence": "spec.data_policy.export_evidence.reference" = "\u{1b}[31m";
    "evidence of 257 bytes": "spec.data_policy.export_evidence.reference" = "e".repeat(257);
    "origin basis without a kind": "spec.data_policy.origin_bases" = origin_basis("LA", "UNSPECIFIED") => ["spec.data_policy.origin_bases[0].kind"];
    "origin basis without a country": "spec.data_policy.origin_bases" = origin_basis("", "CONSENT") => ["spec.data_policy.origin_bases[0].country"];
    "gateway in capitals": "spec.data_policy.require_gateway_id" = "Mohan";
    "negative retention": "spec.data_policy.retention" = "-1s";
}

changes! { countries_that_contradict, SUBMIT, with_country_allowed();
    "country allowed and denied": "spec.data_policy.denied_countries" = vec!["CN"];
}

/// The usual description with one thing set.
fn spec_with(pointer: &str, value: impl Into<Value>) -> Value {
    with(job_at(&[SITE]), pointer, value)
}

fn all_wrong() -> Value {
    json!({
        "name": "",
        "origin": {},
        "task_resources": { "memory_mib": 1 },
        "task_count": 0,
        "timing": { "runtime": "0s" },
        "data_policy": { "cn_flow": "CN_FLOW_DOMESTIC_ONLY" },
    })
}

calls! { whole_requests();
    "nothing": SUBMIT {} => ["idempotency_key", "spec"];
    "key without a description": SUBMIT { "idempotency_key": "k" } => ["spec"];
    "all at once": SUBMIT { "spec": all_wrong() } => [
        "idempotency_key", "spec.name", "spec.origin.city_id", "spec.task_resources.cpu_cores", "spec.task_count",
        "spec.task_power_watts", "spec.timing.runtime", "spec.data_policy.data_class"
    ];
    "quote of all at once": QUOTE { "spec": all_wrong() } => [
        "spec.name", "spec.origin.city_id", "spec.task_resources.cpu_cores", "spec.task_count", "spec.task_power_watts",
        "spec.timing.runtime", "spec.data_policy.data_class"
    ];
    "quote of nothing": QUOTE {} => ["spec"];
    "quote from an unknown city": QUOTE { "spec": spec_with("/origin/city_id", "atlantis") } => (CITY_NOT_FOUND of "atlantis");
}

calls! { unknown_things();
    "unknown city": SUBMIT { "idempotency_key": "k", "spec": spec_with("/origin/city_id", "atlantis") } => (CITY_NOT_FOUND of "atlantis");
    "unknown zone": SUBMIT { "idempotency_key": "k", "spec": spec_with("/origin", json!({ "zone_id": "arctic" })) } => (ZONE_NOT_FOUND of "arctic");
    "unknown site allowed": SUBMIT { "idempotency_key": "k", "spec": spec_with("/data_policy/allowed_sites", vec!["nowhere"]) } => (SITE_NOT_FOUND of "nowhere");
    "unknown site denied": SUBMIT { "idempotency_key": "k", "spec": spec_with("/data_policy/denied_sites", vec!["nowhere"]) } => (SITE_NOT_FOUND of "nowhere");
}

fn bounds_and_keys() -> Vec<Case> {
    let too_large = with(base(), "/spec/labels", json!({ "k": "v".repeat(4 << 20) }));
    let taken = with(base(), "/idempotency_key", "used");
    vec![
        refused(
            "message above 4 MiB",
            SUBMIT,
            too_large,
            (Code::ResourceExhausted, "MESSAGE_TOO_LARGE"),
            Details::None,
        ),
        refused(
            "key used with other content",
            SUBMIT,
            with(taken, "/spec/task_count", 3),
            (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED"),
            Details::Metadata("key", "used".to_owned()),
        ),
    ]
}

#[test]
fn keys_names_labels_and_origins_are_checked() {
    check(
        &WORLD.get(),
        [keys_and_names(), labels_and_origins()].concat(),
    );
}

#[test]
fn sizes_and_times_are_checked() {
    check(
        &WORLD.get(),
        [sizes(), executions(), times(), numbers_of_units()].concat(),
    );
}

#[test]
fn labels_of_data_are_checked() {
    check(
        &WORLD.get(),
        [labels_of_data(), countries_that_contradict()].concat(),
    );
}

#[test]
fn whole_requests_are_checked() {
    check(
        &WORLD.get(),
        [whole_requests(), unknown_things(), bounds_and_keys()].concat(),
    );
}
