//! Job descriptions that are wrong whatever the state.
//!
//! Each row changes one thing of a submission that would be accepted.

use serde_json::{Value, json};
use tonic::Code;

use super::{Case, Details, SUBMIT, check, invalid, missing, refused, submission};
use crate::{
    grpcurl::{Client, Shared, after, job_at},
    support::samples::{SITE, create_site, put_latencies, slot_start, with, without},
};

/// One site, and a key that is used.
static WORLD: Shared = Shared::new(|client| {
    client.ok("SiteService/CreateSite", &create_site());
    client.ok("SiteService/PutLatencies", &put_latencies(&[SITE]));
    client.submit("used", &job_at(&[SITE]));
});

fn base() -> Value {
    submission(&job_at(&[SITE]))
}

/// A submission with one thing set, and the fields that are then wrong.
fn set(
    name: &'static str,
    pointer: &str,
    value: impl Into<Value>,
    fields: &[&'static str],
) -> Case {
    invalid(name, SUBMIT, with(base(), pointer, value), fields)
}

/// A submission without one thing, and the field that is then wrong.
fn unset(name: &'static str, pointer: &str, field: &'static str) -> Case {
    invalid(name, SUBMIT, without(base(), pointer), &[field])
}

/// A submission accepted but for the row: the table would prove nothing otherwise.
#[track_caller]
fn assert_base_is_good(client: &Client) {
    let quote = json!({ "spec": base()["spec"] });
    let quote = client.ok("JobService/QuoteJob", &quote);
    assert_ne!(quote["quoteId"], Value::Null);
}

#[test]
fn keys_and_names() {
    let client = WORLD.get();
    assert_base_is_good(&client);
    let (key, name) = ("/idempotency_key", "/spec/name");
    let wrong_key = &["idempotency_key"];
    let wrong_name = &["spec.name"];
    check(
        &client,
        &[
            unset("no key", key, "idempotency_key"),
            set("empty key", key, "", wrong_key),
            set("key of 129 characters", key, "k".repeat(129), wrong_key),
            set("key with a line break", key, "a\nb", wrong_key),
            set("key with NUL", key, "a\0b", wrong_key),
            set("key in Cyrillic", key, "ключ", wrong_key),
            set("key with a zero-width space", key, "a\u{200b}b", wrong_key),
            unset("no name", name, "spec.name"),
            set("name of 64 characters", name, "n".repeat(64), wrong_name),
            set("name of a mebibyte", name, "n".repeat(1 << 20), wrong_name),
            set("name as a path", name, "../../etc/passwd", wrong_name),
            set("name as an option", name, "-rf", wrong_name),
            set("name with a space", name, "a b", wrong_name),
            set("name with NUL", name, "a\0", wrong_name),
            set("name with a line break", name, "a\nb", wrong_name),
            set(
                "name that reads right to left",
                name,
                "a\u{202e}b",
                wrong_name,
            ),
            set(
                "name with a zero-width joiner",
                name,
                "a\u{200d}b",
                wrong_name,
            ),
            set("name with a homoglyph", name, "sаmple", wrong_name),
            set("name not normalised", name, "e\u{301}", wrong_name),
        ],
    );
}

#[test]
fn labels_and_origins() {
    let many: serde_json::Map<String, Value> =
        (0..33).map(|i| (format!("k{i}"), json!("v"))).collect();
    let (labels, origin) = ("/spec/labels", "/spec/origin");
    let wrong = &["spec.labels"];
    let client = WORLD.get();
    check(
        &client,
        &[
            set("33 labels", labels, many, wrong),
            set("label with an empty key", labels, json!({ "": "v" }), wrong),
            set(
                "label key with a space",
                labels,
                json!({ "a b": "v" }),
                wrong,
            ),
            set(
                "label key of 64 characters",
                labels,
                json!({ "k".repeat(64): "v" }),
                wrong,
            ),
            set(
                "label of 129 bytes",
                labels,
                json!({ "k": "v".repeat(129) }),
                wrong,
            ),
            set(
                "label with a line break",
                labels,
                json!({ "k": "a\nb" }),
                wrong,
            ),
            set(
                "label with an isolate",
                labels,
                json!({ "k": "a\u{2066}b" }),
                wrong,
            ),
            unset("no origin", origin, "spec.origin"),
            set(
                "origin without a place",
                origin,
                json!({}),
                &["spec.origin.city_id"],
            ),
            set(
                "city and zone at once",
                "/spec/origin/zone_id",
                "mekong",
                &["spec.origin.zone_id"],
            ),
            set(
                "city in capitals",
                "/spec/origin/city_id",
                "Bangkok",
                &["spec.origin.city_id"],
            ),
            set(
                "zone as a path",
                origin,
                json!({ "zone_id": "../mekong" }),
                &["spec.origin.zone_id"],
            ),
            set(
                "budget above 10 s",
                "/spec/origin/max_rtt_us",
                10_000_001,
                &["spec.origin.max_rtt_us"],
            ),
            set(
                "unknown kind of line",
                "/spec/origin/path",
                99,
                &["spec.origin.path"],
            ),
            set(
                "unknown quantile",
                "/spec/origin/quantile",
                -1,
                &["spec.origin.quantile"],
            ),
            missing(
                "unknown city",
                SUBMIT,
                with(base(), origin, json!({ "city_id": "atlantis" })),
                "CITY_NOT_FOUND",
                "atlantis",
            ),
            missing(
                "unknown zone",
                SUBMIT,
                with(base(), origin, json!({ "zone_id": "arctic" })),
                "ZONE_NOT_FOUND",
                "arctic",
            ),
        ],
    );
}

#[test]
fn sizes() {
    let client = WORLD.get();
    let cores = "spec.task_resources.cpu_cores";
    let memory = "spec.task_resources.memory_mib";
    let model = "spec.task_resources.gpu_model";
    let resources = |field: &str| format!("/spec/task_resources/{field}");
    let max = "18446744073709551615";
    check(
        &client,
        &[
            unset(
                "no resources",
                "/spec/task_resources",
                "spec.task_resources",
            ),
            set("no cores", &resources("cpu_cores"), 0, &[cores]),
            set("4097 cores", &resources("cpu_cores"), 4_097, &[cores]),
            set(
                "cores of 32 bits",
                &resources("cpu_cores"),
                u32::MAX,
                &[cores],
            ),
            unset("no memory", &resources("memory_mib"), memory),
            set(
                "memory of 64 bits",
                &resources("memory_mib"),
                max,
                &[memory],
            ),
            set(
                "257 GPUs",
                &resources("gpus"),
                257,
                &["spec.task_resources.gpus"],
            ),
            set(
                "GPU model without GPUs",
                &resources("gpu_model"),
                "h100",
                &[model],
            ),
            set(
                "GPU model with a space",
                "/spec/task_resources",
                json!({ "cpu_cores": 1, "memory_mib": 1, "gpus": 1, "gpu_model": "h 100" }),
                &[model],
            ),
            set("no tasks", "/spec/task_count", 0, &["spec.task_count"]),
            set(
                "1000001 tasks",
                "/spec/task_count",
                1_000_001,
                &["spec.task_count"],
            ),
            set(
                "tasks of 32 bits",
                "/spec/task_count",
                u32::MAX,
                &["spec.task_count"],
            ),
            set(
                "no power",
                "/spec/task_power_watts",
                0,
                &["spec.task_power_watts"],
            ),
            set(
                "power of 64 bits",
                "/spec/task_power_watts",
                max,
                &["spec.task_power_watts"],
            ),
            set(
                "share above all",
                "/spec/green/min_share_permille",
                1_001,
                &["spec.green.min_share_permille"],
            ),
            set(
                "confidence without a quantile",
                "/spec/green/confidence_permille",
                700,
                &["spec.green.confidence_permille"],
            ),
            set(
                "weights of nothing",
                "/spec/weights",
                json!({}),
                &["spec.weights"],
            ),
            set(
                "weight of 64 bits",
                "/spec/weights/carbon_micro_cny_per_kg",
                max,
                &["spec.weights.carbon_micro_cny_per_kg"],
            ),
            set(
                "weight of cost above a thousandfold",
                "/spec/weights/cost_permille",
                1_000_001,
                &["spec.weights.cost_permille"],
            ),
        ],
    );
}

#[test]
fn times() {
    let client = WORLD.get();
    let first = slot_start(8);
    let timing = |field: &str| format!("/spec/timing/{field}");
    let runtime = &["spec.timing.runtime"];
    let finish = &["spec.timing.finish_deadline"];
    // What is too long for any plan is too long for this deadline as well.
    let too_long = &["spec.timing.runtime", "spec.timing.finish_deadline"];
    let start = &["spec.timing.start_deadline"];
    let window = |earliest: i64, start_by: i64, finish_by: i64| {
        json!({
            "runtime": "3600s",
            "earliest_start": after(first, earliest),
            "start_deadline": after(first, start_by),
            "finish_deadline": after(first, finish_by),
        })
    };
    let pieces = |min_chunk: &str, resume_cost: &str| json!({ "interruptible": { "min_chunk": min_chunk, "resume_cost": resume_cost } });
    check(
        &client,
        &[
            unset("no timing", "/spec/timing", "spec.timing"),
            unset("no runtime", &timing("runtime"), "spec.timing.runtime"),
            set("runtime of nothing", &timing("runtime"), "0s", runtime),
            set(
                "runtime below a second",
                &timing("runtime"),
                "0.999s",
                runtime,
            ),
            set("negative runtime", &timing("runtime"), "-3600s", runtime),
            set(
                "runtime of 100 years",
                &timing("runtime"),
                "3155760000s",
                too_long,
            ),
            set(
                "runtime of a horizon and a second",
                &timing("runtime"),
                "1209601s",
                too_long,
            ),
            // An hour does not fit into three slots.
            set(
                "deadline before the end",
                &timing("finish_deadline"),
                after(first, 3),
                finish,
            ),
            set(
                "deadline before the start",
                &timing("finish_deadline"),
                after(first, -1),
                finish,
            ),
            set(
                "start deadline before the start",
                "/spec/timing",
                window(1, 0, 9),
                start,
            ),
            set(
                "start deadline after the deadline",
                "/spec/timing",
                window(0, 9, 8),
                start,
            ),
            set(
                "start in the year 1",
                &timing("earliest_start"),
                "0001-01-01T00:00:00Z",
                &["spec.timing.earliest_start"],
            ),
            set(
                "pieces of nothing",
                "/spec/flexibility",
                json!({ "interruptible": {} }),
                &["spec.flexibility.interruptible.min_chunk"],
            ),
            set(
                "pieces longer than the job",
                "/spec/flexibility",
                pieces("3601s", "0s"),
                &["spec.flexibility.interruptible.min_chunk"],
            ),
            set(
                "resuming longer than the job",
                "/spec/flexibility",
                pieces("900s", "3601s"),
                &["spec.flexibility.interruptible.resume_cost"],
            ),
            set(
                "negative pieces",
                "/spec/flexibility",
                pieces("-900s", "0s"),
                &["spec.flexibility.interruptible.min_chunk"],
            ),
        ],
    );
}

#[test]
fn labels_of_data() {
    let client = WORLD.get();
    let policy = |field: &str| format!("/spec/data_policy/{field}");
    let evidence = |reference: &str| json!({ "reference": reference });
    let basis = |country: &str, kind: &str| json!([{ "country": country, "kind": kind }]);
    let consent = "ORIGIN_BASIS_KIND_CONSENT";
    let collected = &["spec.data_policy.collected_in[0]"];
    let countries: Vec<&str> = std::iter::repeat_n("LA", 65).collect();
    check(
        &client,
        &[
            unset("no policy", "/spec/data_policy", "spec.data_policy"),
            unset(
                "no class",
                &policy("data_class"),
                "spec.data_policy.data_class",
            ),
            set(
                "unknown class",
                &policy("data_class"),
                99,
                &["spec.data_policy.data_class"],
            ),
            unset("no flow", &policy("cn_flow"), "spec.data_policy.cn_flow"),
            set(
                "unknown flow",
                &policy("cn_flow"),
                -7,
                &["spec.data_policy.cn_flow"],
            ),
            set(
                "unknown basis",
                &policy("export_basis"),
                99,
                &["spec.data_policy.export_basis"],
            ),
            set(
                "unknown sector",
                &policy("sector"),
                99,
                &["spec.data_policy.sector"],
            ),
            set(
                "province for a country",
                &policy("collected_in"),
                vec!["CN-53"],
                collected,
            ),
            set(
                "country in small letters",
                &policy("collected_in"),
                vec!["la"],
                collected,
            ),
            set(
                "country with a homoglyph",
                &policy("collected_in"),
                vec!["СN"],
                collected,
            ),
            set(
                "65 countries",
                &policy("output_to"),
                countries,
                &["spec.data_policy.output_to"],
            ),
            set(
                "personal data of nobody",
                &policy("data_class"),
                "DATA_CLASS_PERSONAL",
                &["spec.data_policy.subject_count"],
            ),
            set(
                "site as a path",
                &policy("denied_sites"),
                vec!["../kunming"],
                &["spec.data_policy.denied_sites[0]"],
            ),
            set(
                "site allowed and denied",
                &policy("denied_sites"),
                vec![SITE],
                &["spec.data_policy.denied_sites"],
            ),
            invalid(
                "country allowed and denied",
                SUBMIT,
                with(
                    with(base(), &policy("allowed_countries"), vec!["CN"]),
                    &policy("denied_countries"),
                    vec!["CN"],
                ),
                &["spec.data_policy.denied_countries"],
            ),
            set(
                "evidence without a reference",
                &policy("export_evidence"),
                evidence(""),
                &["spec.data_policy.export_evidence.reference"],
            ),
            set(
                "evidence with an escape sequence",
                &policy("export_evidence"),
                evidence("\u{1b}[31m"),
                &["spec.data_policy.export_evidence.reference"],
            ),
            set(
                "evidence of 257 bytes",
                &policy("export_evidence"),
                evidence(&"e".repeat(257)),
                &["spec.data_policy.export_evidence.reference"],
            ),
            set(
                "origin basis without a kind",
                &policy("origin_bases"),
                basis("LA", "ORIGIN_BASIS_KIND_UNSPECIFIED"),
                &["spec.data_policy.origin_bases[0].kind"],
            ),
            set(
                "origin basis without a country",
                &policy("origin_bases"),
                basis("", consent),
                &["spec.data_policy.origin_bases[0].country"],
            ),
            set(
                "gateway in capitals",
                &policy("require_gateway_id"),
                "Mohan",
                &["spec.data_policy.require_gateway_id"],
            ),
            set(
                "negative retention",
                &policy("retention"),
                "-1s",
                &["spec.data_policy.retention"],
            ),
            missing(
                "unknown site allowed",
                SUBMIT,
                with(base(), &policy("allowed_sites"), vec!["nowhere"]),
                "SITE_NOT_FOUND",
                "nowhere",
            ),
            missing(
                "unknown site denied",
                SUBMIT,
                with(base(), &policy("denied_sites"), vec!["nowhere"]),
                "SITE_NOT_FOUND",
                "nowhere",
            ),
        ],
    );
}

#[test]
fn whole_requests() {
    let client = WORLD.get();
    let spec = json!({
        "name": "",
        "origin": {},
        "task_resources": { "memory_mib": 1 },
        "task_count": 0,
        "timing": { "runtime": "0s" },
        "data_policy": { "cn_flow": "CN_FLOW_DOMESTIC_ONLY" },
    });
    let all_wrong = [
        "idempotency_key",
        "spec.name",
        "spec.origin.city_id",
        "spec.task_resources.cpu_cores",
        "spec.task_count",
        "spec.task_power_watts",
        "spec.timing.runtime",
        "spec.data_policy.data_class",
    ];
    let too_large = with(base(), "/spec/labels", json!({ "k": "v".repeat(4 << 20) }));
    let taken = with(base(), "/idempotency_key", "used");
    check(
        &client,
        &[
            unset("no description", "/spec", "spec"),
            invalid("nothing", SUBMIT, json!({}), &["idempotency_key", "spec"]),
            invalid("all at once", SUBMIT, json!({ "spec": spec }), &all_wrong),
            invalid(
                "quote of all at once",
                "JobService/QuoteJob",
                json!({ "spec": spec }),
                &all_wrong[1..],
            ),
            invalid(
                "quote of nothing",
                "JobService/QuoteJob",
                json!({}),
                &["spec"],
            ),
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
        ],
    );
}
