//! Verbs on jobs that are refused: ids, etags, masks, states and keys.
//!
//! One job of each state waits for them.

use serde_json::{Value, json};
use tonic::Code;

use super::{Case, Details, check, invalid, missing, refused};
use crate::{
    grpcurl::{Client, after, from_now, job_from},
    support::samples::{SITE, create_site, put_latencies, slot_start, with},
};

const GET: &str = "JobService/GetJob";
const EXPLAIN: &str = "JobService/ExplainJob";
const UPDATE: &str = "JobService/UpdateJob";
const HOLD: &str = "JobService/HoldJob";
const RELEASE: &str = "JobService/ReleaseJob";
const CANCEL: &str = "JobService/CancelJob";

/// A UUID of version 7 that no job has.
const NOBODY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// A planned job between the eighth slot from now and the 24th, and a cancelled one.
fn set_up() -> (Client, Value, Value) {
    let client = Client::alone();
    client.ok("SiteService/CreateSite", &create_site());
    client.ok("SiteService/PutLatencies", &put_latencies(&[SITE]));
    let spec = job_from(&[SITE], slot_start(8));
    let planned = client.submit("planned", &spec);
    let cancelled = client.submit("cancelled", &spec);
    let request = json!({ "job_id": cancelled["jobId"] });
    let cancelled = client.ok(CANCEL, &request)["job"].clone();
    (client, planned, cancelled)
}

#[test]
fn ids_and_etags() {
    let (client, planned, _) = set_up();
    let id = planned["jobId"].as_str().unwrap();
    let by_id =
        |name, method, id: &str| invalid(name, method, json!({ "job_id": id }), &["job_id"]);
    let nobody = json!({ "job_id": NOBODY });
    let not_found = |name, method| missing(name, method, nobody.clone(), "JOB_NOT_FOUND", NOBODY);
    let with_etag = |etag: &str| json!({ "job_id": id, "etag": etag });
    let labels = json!({
        "job_id": NOBODY,
        "spec": { "labels": { "a": "b" } },
        "update_mask": { "paths": ["labels"] },
    });
    let stale = |name, method| {
        let etag = planned["etag"].as_str().unwrap().to_owned();
        let why = (Code::Aborted, "STALE_ETAG");
        refused(
            name,
            method,
            with_etag("r1"),
            why,
            Details::Metadata("etag", etag),
        )
    };
    check(
        &client,
        &[
            invalid("no id", GET, json!({}), &["job_id"]),
            by_id("id in capitals", GET, &id.to_uppercase()),
            by_id("id as a path", GET, "../jobs"),
            by_id("id without hyphens", GET, &id.replace('-', "")),
            by_id("id of a mebibyte", GET, &"0".repeat(1 << 20)),
            by_id("id with NUL", EXPLAIN, &format!("{id}\0")),
            by_id("id that is a key", CANCEL, "planned"),
            invalid("cancel of nothing", CANCEL, json!({}), &["job_id"]),
            not_found("get of nobody", GET),
            not_found("explanation of nobody", EXPLAIN),
            not_found("hold of nobody", HOLD),
            not_found("release of nobody", RELEASE),
            not_found("cancel of nobody", CANCEL),
            missing("update of nobody", UPDATE, labels, "JOB_NOT_FOUND", NOBODY),
            invalid("etag of nobody", HOLD, with_etag("abc"), &["etag"]),
            invalid("etag with a sign", CANCEL, with_etag("r-1"), &["etag"]),
            invalid(
                "etag above 64 bits",
                RELEASE,
                with_etag("r18446744073709551616"),
                &["etag"],
            ),
            stale("hold by a stale etag", HOLD),
            stale("release by a stale etag", RELEASE),
            stale("cancel by a stale etag", CANCEL),
        ],
    );
}

#[test]
fn reasons_keys_and_states() {
    let (client, planned, cancelled) = set_up();
    // Used for the one job, asked for again with the other reason.
    let used = json!({ "job_id": planned["jobId"], "request_id": "once", "reason": "a" });
    client.ok(HOLD, &used);
    client.ok(RELEASE, &json!({ "job_id": planned["jobId"] }));
    let on_planned = |field: &str, value: &str| json!({ "job_id": planned["jobId"], field: value });
    let ended = |name, method, more: &Value| -> Case {
        let mut request = json!({ "job_id": cancelled["jobId"] });
        request
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().cloned().unwrap());
        let subject = cancelled["jobId"].as_str().unwrap().to_owned();
        let why = (Code::FailedPrecondition, "WRONG_JOB_STATE");
        refused(name, method, request, why, Details::Precondition(subject))
    };
    let update = json!({ "spec": { "labels": {} }, "update_mask": { "paths": ["labels"] } });
    check(
        &client,
        &[
            invalid(
                "reason of 513 bytes",
                HOLD,
                on_planned("reason", &"r".repeat(513)),
                &["reason"],
            ),
            invalid(
                "reason with an escape",
                CANCEL,
                on_planned("reason", "\u{1b}[2J"),
                &["reason"],
            ),
            invalid(
                "reason that turns round",
                HOLD,
                on_planned("reason", "\u{202e}"),
                &["reason"],
            ),
            invalid(
                "request id of 129 characters",
                RELEASE,
                on_planned("request_id", &"r".repeat(129)),
                &["request_id"],
            ),
            invalid(
                "all wrong in a verb",
                CANCEL,
                json!({ "job_id": "x", "reason": "\0", "etag": "x", "request_id": "\n" }),
                &["job_id", "reason", "etag", "request_id"],
            ),
            refused(
                "request id with another reason",
                HOLD,
                with(used, "/reason", "b"),
                (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED"),
                Details::Metadata("key", "once".to_owned()),
            ),
            ended("hold of a cancelled job", HOLD, &json!({})),
            ended("release of a cancelled job", RELEASE, &json!({})),
            ended("update of a cancelled job", UPDATE, &update),
        ],
    );
}

#[test]
fn updates() {
    let (client, planned, _) = set_up();
    let first = planned["placement"]["runs"][0]["startTime"]
        .as_str()
        .unwrap();
    let first: jiff::Timestamp = first.parse().unwrap();
    let update = |paths: &[&str], spec: Value| json!({ "job_id": planned["jobId"], "spec": spec, "update_mask": { "paths": paths } });
    let labels = update(&["labels"], json!({ "labels": { "a": "b" } }));
    let mask = &["update_mask"];
    let frozen = |name, path: &str| invalid(name, UPDATE, update(&[path], json!({})), mask);
    let earlier = json!({ "timing": { "finish_deadline": after(first, 3) } });
    let past = json!({ "timing": { "earliest_start": null, "finish_deadline": from_now(-60) } });
    let unmasked = json!({ "job_id": planned["jobId"], "spec": {} });
    check(
        &client,
        &[
            invalid("update without a mask", UPDATE, unmasked, mask),
            invalid("update of nothing", UPDATE, update(&[], json!({})), mask),
            frozen("update of an unknown field", "colour"),
            frozen("update of the name", "name"),
            frozen("update of the size", "task_count"),
            frozen("update of the state", "state"),
            frozen("update of the data rules", "data_policy"),
            frozen("update of all timing", "timing"),
            frozen("update by a star", "*"),
            frozen("update by a path with dots", "timing..earliest_start"),
            invalid(
                "update by three wrong paths",
                UPDATE,
                update(&["a", "b", "labels", "c"], json!({})),
                &["update_mask", "update_mask", "update_mask"],
            ),
            invalid(
                "update without a description",
                UPDATE,
                json!({ "job_id": planned["jobId"], "update_mask": { "paths": ["labels"] } }),
                &["spec"],
            ),
            invalid(
                "update by a wrong label",
                UPDATE,
                update(&["labels"], json!({ "labels": { "a b": "c" } })),
                &["spec.labels"],
            ),
            invalid(
                "update by a share above all",
                UPDATE,
                update(
                    &["green"],
                    json!({ "green": { "min_share_permille": 1_001 } }),
                ),
                &["spec.green.min_share_permille"],
            ),
            invalid(
                "update by a deadline before the end",
                UPDATE,
                update(&["timing.finish_deadline"], earlier),
                &["spec.timing.finish_deadline"],
            ),
            invalid(
                "update by weights of nothing",
                UPDATE,
                update(&["weights"], json!({ "weights": {} })),
                &["spec.weights"],
            ),
            refused(
                "update by a stale etag",
                UPDATE,
                with(labels.clone(), "/etag", "r2"),
                (Code::Aborted, "STALE_ETAG"),
                Details::Metadata("etag", planned["etag"].as_str().unwrap().to_owned()),
            ),
            invalid(
                "update by a wrong etag",
                UPDATE,
                with(labels, "/etag", "2"),
                &["etag"],
            ),
        ],
    );
    // What cannot be done is refused, and the job keeps the place it has.
    let paths = ["timing.earliest_start", "timing.finish_deadline"];
    let output = client.call(UPDATE, &update(&paths, past));
    output.assert_error(Code::FailedPrecondition, "JOB_INFEASIBLE");
    assert_eq!(client.job(&planned["jobId"]), planned);
}
