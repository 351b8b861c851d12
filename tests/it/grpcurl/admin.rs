//! `AdminService`, health and reflection.
//!
//! On a server whose every write is known, so that counts and revisions can be told in advance.

use std::process::Command;

use prost::Message;
use prost_reflect::{DescriptorPool, DynamicMessage};
use serde_json::{Value, json};
use tonic::Code;

use lancang::proto::v1::BackupResponse;

use super::{Client, Shared, World, column, exercises, job_at, number};
use crate::support::{
    grpcurl::{Grpcurl, program},
    process::ServerProcess,
    samples::{HYDRO, SITE, create_site, put_forecast, put_latencies},
};

exercises! {
    by crate::grpcurl::admin::SMALL.get();
    the_server_says_what_it_holds: "AdminService/GetServerInfo",
    a_sound_store_is_verified: "AdminService/Verify",
    a_backup_is_restored_and_served: "AdminService/Backup",
}

/// One site with two supplies, one forecast, one planned and one held job: five writes.
static SMALL: Shared = Shared::new(|client| {
    client.ok("SiteService/CreateSite", &create_site());
    client.ok("SiteService/PutLatencies", &put_latencies(&[SITE]));
    client.ok(
        "ForecastService/PutForecast",
        &put_forecast(HYDRO, 96, 30_000),
    );
    let spec = job_at(&[SITE]);
    client.submit("planned", &spec);
    let held = json!({ "idempotency_key": "held", "spec": spec, "hold": true });
    client.ok("JobService/SubmitJob", &held);
});

const N_WRITES: u64 = 5;

/// Services of the server, the health of which is told.
const SERVICES: [&str; 4] = [
    "lancang.v1.AdminService",
    "lancang.v1.ForecastService",
    "lancang.v1.JobService",
    "lancang.v1.SiteService",
];

fn the_server_says_what_it_holds(client: &Client) {
    let info = client.info();
    assert_eq!(info["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(number(&info["revision"]), N_WRITES);
    assert_eq!(info["slotSeconds"], 900);
    // 14 days of 96 slots.
    assert_eq!(info["horizonSlots"], 1_344);
    assert_eq!((&info["sites"], &info["supplies"]), (&json!(1), &json!(2)));
    assert_eq!(info["forecasts"], 1);
    assert_eq!(info["suppliesWithoutForecast"], 1);
    let jobs = info["jobs"].as_array().unwrap();
    let count = |state: &str| {
        let entry = jobs.iter().find(|entry| entry["state"] == state);
        number(&entry.unwrap()["count"])
    };
    assert_eq!(
        ["PLANNED", "HELD", "QUEUED", "CANCELLED", "EXPIRED"].map(count),
        [1, 1, 0, 0, 0]
    );
    let limits = info["limits"].as_array().unwrap();
    let batch = limits.iter().find(|limit| limit["name"] == "batch_jobs");
    assert_eq!(batch.unwrap()["value"], "1000");
    assert!(info["startTime"].as_str() <= info["serverTime"].as_str());
}

fn a_sound_store_is_verified(client: &Client) {
    let report = client.ok("AdminService/Verify", &json!({}));
    assert_eq!(report["ok"], true);
    assert_eq!(report.get("problems"), None);
    assert_eq!(number(&report["revision"]), N_WRITES);
    assert_eq!(number(&report["jobs"]), 2);
    assert_eq!(
        number(&report["journalRecords"]) + number(&report["snapshotRevision"]),
        N_WRITES
    );
}

fn a_backup_is_restored_and_served(client: &Client) {
    let call = Grpcurl::new(client.port(), "AdminService/Backup").message(&json!({}));
    let output = client.run("AdminService/Backup", call);
    output.assert_code(Code::Ok);
    let parts: Vec<BackupResponse> = output.messages.iter().map(backup_part).collect();
    assert!(parts.iter().all(|part| part.revision == N_WRITES));
    let file: Vec<u8> = parts.into_iter().flat_map(|part| part.chunk).collect();

    let folder = tempfile::tempdir().unwrap();
    let (path, data_dir) = (folder.path().join("backup"), folder.path().join("restored"));
    std::fs::write(&path, &file).unwrap();
    let restored = Command::new(env!("CARGO_BIN_EXE_lancang"))
        .args(["restore", "-o", "json", "--file"])
        .arg(&path)
        .arg("--data-dir")
        .arg(&data_dir)
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&restored.stdout).unwrap();
    assert!(restored.status.success(), "{restored:?}");
    assert_eq!(number(&report["revision"]), N_WRITES);

    let server = ServerProcess::start(&data_dir);
    let other = Client::new(World::around(server, folder));
    for (list, request) in [
        ("JobService/ListJobs", json!({})),
        ("SiteService/ListSites", json!({})),
        ("ForecastService/ListForecasts", json!({})),
        ("SiteService/GetLatencies", json!({})),
    ] {
        assert_eq!(
            other.ok(list, &request),
            client.ok(list, &request),
            "{list}"
        );
    }
    // Keys are known and revisions go on.
    let jobs = other.ok(
        "JobService/ListJobs",
        &json!({ "filter": "state = PLANNED" }),
    );
    let job = &jobs["jobs"][0];
    let repeat = json!({ "idempotency_key": "planned", "spec": job["spec"] });
    let conflict = other.call("JobService/SubmitJob", &with_other_name(&repeat));
    conflict.assert_error(Code::AlreadyExists, "IDEMPOTENCY_KEY_REUSED");
    let held = other.ok("JobService/HoldJob", &json!({ "job_id": job["jobId"] }));
    assert_eq!(number(&held["job"]["revision"]), N_WRITES + 1);
}

fn with_other_name(request: &Value) -> Value {
    crate::support::samples::with(request.clone(), "/spec/name", "other")
}

/// Bytes are base64 in JSON.
#[track_caller]
fn backup_part(message: &Value) -> BackupResponse {
    let pool = DescriptorPool::decode(lancang::proto::FILE_DESCRIPTOR_SET).unwrap();
    let descriptor = pool
        .get_message_by_name("lancang.v1.BackupResponse")
        .unwrap();
    let message = DynamicMessage::deserialize(descriptor, message).unwrap();
    BackupResponse::decode(message.encode_to_vec().as_slice()).unwrap()
}

#[test]
fn health_is_told_for_the_server_and_each_service() {
    let client = SMALL.get();
    for service in SERVICES.into_iter().chain([""]) {
        let answer = client.ok(
            "grpc.health.v1.Health/Check",
            &json!({ "service": service }),
        );
        assert_eq!(answer["status"], "SERVING", "{service}");
    }
    let unknown = json!({ "service": "lancang.v1.NoService" });
    let unknown = client.call("grpc.health.v1.Health/Check", &unknown);
    unknown.assert_code(Code::NotFound);
}

/// What grpcurl says to a verb of its own, with templates of messages.
#[track_caller]
fn reflected(client: &Client, verb: &[&str]) -> String {
    let address = format!("127.0.0.1:{}", client.port());
    let output = Command::new(program())
        .args(["-plaintext", "-msg-template", &address])
        .args(verb)
        .output()
        .unwrap();
    assert!(output.status.success(), "{verb:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn reflection_lists_and_describes_everything() {
    let client = SMALL.get();
    let list = reflected(&client, &["list"]);
    let services: Vec<&str> = list.lines().collect();
    for service in SERVICES.into_iter().chain(["grpc.health.v1.Health"]) {
        assert!(services.contains(&service), "{services:?}");
    }
    let pool = DescriptorPool::decode(lancang::proto::FILE_DESCRIPTOR_SET).unwrap();
    for name in SERVICES {
        let service = pool.get_service_by_name(name).unwrap();
        let mut methods: Vec<String> = service
            .methods()
            .map(|method| method.full_name().to_owned())
            .collect();
        methods.sort();
        let listed = reflected(&client, &["list", name]);
        assert_eq!(listed.lines().collect::<Vec<_>>(), methods);
    }
    let method = reflected(&client, &["describe", "lancang.v1.JobService.QuoteJob"]);
    assert!(method.contains("rpc QuoteJob"), "{method}");
    // Comments are part of the descriptors, so that the API explains itself.
    let message = reflected(&client, &["describe", "lancang.v1.JobSpec"]);
    assert!(
        message.contains("uint64 task_power_watts = 6;"),
        "{message}"
    );
    assert!(
        message.contains("IT power of one task in watts"),
        "{message}"
    );
    let template = reflected(&client, &["describe", "lancang.v1.Site"]);
    assert!(template.contains("\"puePermille\": 0"), "{template}");
}

/// grpcurl 1.8 itself asks by version v1alpha; newer clients ask by v1.
#[test]
fn reflection_of_version_1_answers_too() {
    let client = SMALL.get();
    let folder = tempfile::tempdir().unwrap();
    let descriptors = folder.path().join("reflection.bin");
    std::fs::write(&descriptors, tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET).unwrap();
    let method = "grpc.reflection.v1.ServerReflection/ServerReflectionInfo";
    let call = Grpcurl::new(client.port(), method)
        .flag("-protoset", descriptors.to_str().unwrap())
        .message(&json!({ "list_services": "" }))
        .message(&json!({ "file_containing_symbol": "lancang.v1.JobService" }));
    let output = client.run(method, call);
    output.assert_code(Code::Ok);
    let services = column(
        &output.messages[0]["listServicesResponse"]["service"],
        "name",
    );
    for service in SERVICES {
        assert!(services.contains(&service), "{services:?}");
    }
    let files = &output.messages[1]["fileDescriptorResponse"]["fileDescriptorProto"];
    assert!(files.as_array().is_some_and(|files| !files.is_empty()));
}
