//! Verbs on jobs that are refused: ids, etags, masks, states and keys.
//!
//! One job of each state waits for them.

use serde_json::{Value, json};
use tonic::Code;

use super::{Case, Details, check, invalid, refused};
use crate::{
    grpcurl::{Client, after, first, from_now, job_at},
    support::samples::{SITE, create_site, put_latencies, with},
};

const GET: &str = "JobService/GetJob";
const EXPLAIN: &str = "JobService/ExplainJob";
const UPDATE: &str = "JobService/UpdateJob";
const HOLD: &str = "JobService/HoldJob";
const RELEASE: &str = "JobService/ReleaseJob";
const CANCEL: &str = "JobService/CancelJob";
const RESUBMIT: &str = "JobService/ResubmitJob";
const LOGS: &str = "JobService/ReadJobLogs";

/// A UUID of version 7 that no job has.
const NOBODY: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

/// A planned job between the eighth slot from now and the 24th, and a cancelled one.
fn set_up() -> (Client, Value, Value) {
    let client = Client::alone();
    client.ok("SiteService/CreateSite", &create_site());
    client.ok("SiteService/PutLatencies", &put_latencies(&[SITE]));
    let spec = job_at(&[SITE]);
    let planned = client.submit("planned", &spec);
    let cancelled = client.submit("cancelled", &spec);
    let request = json!({ "job_id": cancelled["jobId"] });
    let cancelled = client.ok(CANCEL, &request)["job"].clone();
    (client, planned, cancelled)
}

calls! { ids(id: &str);
    "no id": GET {} => ["job_id"];
    "id in capitals": GET { "job_id": id.to_uppercase() } => ["job_id"];
    "id as a path": GET { "job_id": "../jobs" } => ["job_id"];
    "id without hyphens": GET { "job_id": id.replace('-', "") } => ["job_id"];
    "id of a mebibyte": GET { "job_id": "0".repeat(1 << 20) } => ["job_id"];
    "id with NUL": EXPLAIN { "job_id": format!("{id}\0") } => ["job_id"];
    "id that is a key": CANCEL { "job_id": "planned" } => ["job_id"];
    "cancel of nothing": CANCEL {} => ["job_id"];
    "get of nobody": GET { "job_id": NOBODY } => (JOB_NOT_FOUND of NOBODY);
    "explanation of nobody": EXPLAIN { "job_id": NOBODY } => (JOB_NOT_FOUND of NOBODY);
    "hold of nobody": HOLD { "job_id": NOBODY } => (JOB_NOT_FOUND of NOBODY);
    "release of nobody": RELEASE { "job_id": NOBODY } => (JOB_NOT_FOUND of NOBODY);
    "cancel of nobody": CANCEL { "job_id": NOBODY } => (JOB_NOT_FOUND of NOBODY);
    "update of nobody": UPDATE {
        "job_id": NOBODY, "spec": {}, "update_mask": { "paths": ["labels"] },
    } => (JOB_NOT_FOUND of NOBODY);
    "etag of nobody": HOLD { "job_id": id, "etag": "abc" } => ["etag"];
    "etag with a sign": CANCEL { "job_id": id, "etag": "r-1" } => ["etag"];
    "etag above 64 bits": RELEASE { "job_id": id, "etag": "r18446744073709551616" } => ["etag"];
    "reason of 513 bytes": HOLD { "job_id": id, "reason": "r".repeat(513) } => ["reason"];
    "reason with an escape": CANCEL { "job_id": id, "reason": "\u{1b}[2J" } => ["reason"];
    "reason that turns round": HOLD { "job_id": id, "reason": "\u{202e}" } => ["reason"];
    "request id of 129 characters": RELEASE { "job_id": id, "request_id": "r".repeat(129) } => ["request_id"];
    "resubmission of nothing": RESUBMIT {} => ["idempotency_key", "job_id"];
    "resubmission without a key": RESUBMIT { "job_id": id } => ["idempotency_key"];
    "resubmission of nobody": RESUBMIT {
        "job_id": NOBODY, "idempotency_key": "again",
    } => (JOB_NOT_FOUND of NOBODY);
    "resubmission with what no mask names": RESUBMIT {
        "job_id": id, "idempotency_key": "again", "spec": { "priority": 3 },
    } => ["spec"];
    "resubmission with an empty mask": RESUBMIT {
        "job_id": id, "idempotency_key": "again", "spec": {}, "update_mask": {},
    } => ["update_mask"];
    "resubmission of another program": RESUBMIT {
        "job_id": id, "idempotency_key": "again", "spec": {}, "update_mask": { "paths": ["execution"] },
    } => ["update_mask"];
    "resubmission with a mask for nothing": RESUBMIT {
        "job_id": id, "idempotency_key": "again", "update_mask": { "paths": ["labels"] },
    } => ["spec"];
    "logs of nothing": LOGS {} => ["job_id"];
    "logs of a path": LOGS { "job_id": "../../etc/passwd" } => ["job_id"];
    "logs of nobody": LOGS { "job_id": NOBODY } => (JOB_NOT_FOUND of NOBODY);
    "logs of no output": LOGS { "job_id": id, "output": 3 } => ["output"];
    "logs of a million lines and one": LOGS { "job_id": id, "tail_lines": 1_000_001 } => ["tail_lines"];
    "all wrong in a verb": CANCEL {
        "job_id": "x", "reason": "\0", "etag": "x", "request_id": "\n",
    } => ["job_id", "reason", "etag", "request_id"];
}

#[test]
fn ids_etags_and_reasons_are_checked() {
    let (client, planned, _) = set_up();
    let id = planned["jobId"].as_str().unwrap();
    let stale = |name, method| {
        let request = json!({ "job_id": id, "etag": "r1" });
        let etag = planned["etag"].as_str().unwrap().to_owned();
        let why = (Code::Aborted, "STALE_ETAG");
        refused(name, method, request, why, Details::Metadata("etag", etag))
    };
    let stale = vec![
        stale("hold by a stale etag", HOLD),
        stale("release by a stale etag", RELEASE),
        stale("cancel by a stale etag", CANCEL),
    ];
    let never = refused(
        "logs of a job that has not begun",
        LOGS,
        json!({ "job_id": id, "attempt": 1 }),
        (Code::FailedPrecondition, "NOT_BEGUN"),
        Details::Precondition(id.to_owned()),
    );
    check(&client, [ids(id), stale, vec![never]].concat());
}

#[test]
fn keys_and_states_are_checked() {
    let (client, planned, cancelled) = set_up();
    // Used for the one job, asked for again with another reason.
    let used = json!({ "job_id": planned["jobId"], "request_id": "once", "reason": "a" });
    client.ok(HOLD, &used);
    client.ok(RELEASE, &json!({ "job_id": planned["jobId"] }));
    let id = cancelled["jobId"].as_str().unwrap();
    let ended = |name, method, request: Value| -> Case {
        let why = (Code::FailedPrecondition, "WRONG_JOB_STATE");
        refused(
            name,
            method,
            with(request, "/job_id", id),
            why,
            Details::Precondition(id.to_owned()),
        )
    };
    let update = json!({ "spec": {}, "update_mask": { "paths": ["labels"] } });
    let rows = vec![
        refused(
            "request id with another reason",
            HOLD,
            with(used, "/reason", "b"),
            (Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED"),
            Details::Metadata("key", "once".to_owned()),
        ),
        ended("hold of a cancelled job", HOLD, json!({})),
        ended("release of a cancelled job", RELEASE, json!({})),
        ended("update of a cancelled job", UPDATE, update),
    ];
    check(&client, rows);
}

/// An update of these fields to what the description says.
fn update(id: &Value, paths: &[&str], spec: &Value) -> Value {
    json!({ "job_id": id, "spec": spec, "update_mask": { "paths": paths } })
}

calls! { masks(id: &Value);
    "update without a mask": UPDATE { "job_id": id, "spec": {} } => ["update_mask"];
    "update of nothing": UPDATE { "job_id": id, "spec": {}, "update_mask": { "paths": [] } } => ["update_mask"];
    "update of an unknown field": UPDATE { "job_id": id, "spec": {}, "update_mask": { "paths": ["colour"] } } => ["update_mask"];
    "update of the name": UPDATE { "job_id": id, "spec": {}, "update_mask": { "paths": ["name"] } } => ["update_mask"];
    "update of the size": UPDATE { "job_id": id, "spec": {}, "update_mask": { "paths": ["task_count"] } } => ["update_mask"];
    "update of the state": UPDATE { "job_id": id, "spec": {}, "update_mask": { "paths": ["state"] } } => ["update_mask"];
    "update of the data rules": UPDATE { "job_id": id, "spec": {}, "update_mask": { "paths": ["data_policy"] } } => ["update_mask"];
    "update of all timing": UPDATE { "job_id": id, "spec": {}, "update_mask": { "paths": ["timing"] } } => ["update_mask"];
    "update by a star": UPDATE { "job_id": id, "spec": {}, "update_mask": { "paths": ["*"] } } => ["update_mask"];
    "update by a path with dots": UPDATE { "job_id": id, "spec": {}, "update_mask": { "paths": ["green..share"] } } => ["update_mask"];
    "update by three wrong paths": UPDATE {
        "job_id": id, "spec": {}, "update_mask": { "paths": ["a", "b", "labels", "c"] },
    } => ["update_mask", "update_mask", "update_mask"];
    "update without a description": UPDATE { "job_id": id, "update_mask": { "paths": ["labels"] } } => ["spec"];
}

#[test]
fn updates_are_checked() {
    let (client, planned, _) = set_up();
    let id = &planned["jobId"];
    let to = |name, path: &str, spec: Value, field| {
        invalid(name, UPDATE, update(id, &[path], &spec), &[field])
    };
    let finish = "timing.finish_deadline";
    let short = json!({ "timing": { "finish_deadline": after(first(), 3) } });
    let share = json!({ "green": { "min_share_permille": 1_001 } });
    let label = json!({ "labels": { "a b": "c" } });
    let labels = update(id, &["labels"], &json!({ "labels": { "a": "b" } }));
    let etag = planned["etag"].as_str().unwrap().to_owned();
    let rows = vec![
        to("update by a wrong label", "labels", label, "spec.labels"),
        to(
            "update by a share above all",
            "green",
            share,
            "spec.green.min_share_permille",
        ),
        to(
            "update by too short a time",
            finish,
            short,
            "spec.timing.finish_deadline",
        ),
        to(
            "update by weights of nothing",
            "weights",
            json!({ "weights": {} }),
            "spec.weights",
        ),
        to(
            "update by a priority above the highest",
            "priority",
            json!({ "priority": 11 }),
            "spec.priority",
        ),
        to(
            "update by speeds that fall",
            "flexibility",
            json!({ "flexibility": { "malleable": { "speed_permille": [1_000, 900] } } }),
            "spec.flexibility.malleable.speed_permille",
        ),
        invalid(
            "update by a wrong etag",
            UPDATE,
            with(labels.clone(), "/etag", "2"),
            &["etag"],
        ),
        refused(
            "update by a stale etag",
            UPDATE,
            with(labels, "/etag", "r2"),
            (Code::Aborted, "STALE_ETAG"),
            Details::Metadata("etag", etag),
        ),
    ];
    check(&client, [masks(id), rows].concat());

    // What cannot be done is refused, and the job keeps the place it has.
    let past = json!({ "timing": { "finish_deadline": from_now(-60) } });
    let paths = ["timing.earliest_start", "timing.finish_deadline"];
    let output = client.call(UPDATE, &update(id, &paths, &past));
    output.assert_error(Code::FailedPrecondition, "JOB_INFEASIBLE");
    assert_eq!(client.job(id), planned);
}
