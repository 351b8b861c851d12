//! Every acknowledged change is synced to the disk before its answer is sent, as strace sees it.
//!
//! One call after the other, so that each sync belongs to one answer.

use std::path::Path;

use lancang::proto::v1;

use super::{
    client::Clients,
    client_runtime,
    world::{SMALL_SITE, begin, named},
};
use crate::support::{
    fsync_order::{Trace, store_file, traced},
    process::ServerProcess,
};

/// A change: what stands in its record only, and what stands in its answer only.
struct Answered {
    record: String,
    answer: String,
}

/// Jobs of one server: with its other changes a few more than the records between two snapshots.
const JOBS_PER_SERVER: u32 = 100;

#[test]
fn every_change_is_durable_before_it_is_answered() {
    check_order(1);
}

/// Watches so many servers, one after the other on one store.
pub(super) fn check_order(n_servers: u32) {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("store");
    let mut base = None;
    for n in 0..n_servers {
        let trace_file = folder.path().join(format!("trace{n}"));
        let answered = serve_traced(&data_dir, &trace_file, &mut base, n);
        let trace = Trace::read(&trace_file);
        let file = store_file(&data_dir.join("gen-000001"));
        for Answered { record, answer } in answered {
            let checked = trace.check_durable_before_answer(&file, &record, &answer);
            assert_eq!(checked, Ok(()), "server {n}");
        }
    }
}

fn serve_traced(
    data_dir: &Path,
    trace_file: &Path,
    base: &mut Option<v1::JobSpec>,
    n: u32,
) -> Vec<Answered> {
    let mut command = traced(&ServerProcess::command(data_dir), trace_file);
    command.env("LANCANG_SNAPSHOT_EVERY_RECORDS", "100");
    let mut server = ServerProcess::launch(command).unwrap();
    let answered = client_runtime().block_on(async {
        let clients = match base {
            Some(_) => Clients::connect(&server).await,
            None => {
                let (clients, fresh) = begin(&server).await;
                *base = Some(fresh);
                clients
            }
        };
        change_all(&clients, base.as_ref().unwrap(), n).await
    });
    let status = server.terminate();
    assert!(status.success(), "{status}: {}", server.log());
    answered
}

/// Changes of every kind, one after the other.
async fn change_all(clients: &Clients, base: &v1::JobSpec, n: u32) -> Vec<Answered> {
    let mut answered = Vec::new();
    let mut last = v1::Job::default();
    for i in 0..JOBS_PER_SERVER {
        let name = format!("server{n}-job{i}-");
        let request = v1::SubmitJobRequest {
            idempotency_key: name.clone(),
            spec: Some(named(base, &name)),
            ..Default::default()
        };
        let answer = clients.jobs.clone().submit_job(request).await.unwrap();
        last = answer.into_inner().job.unwrap();
        answered.push(Answered {
            record: name,
            answer: last.job_id.clone(),
        });
    }
    let reason = format!("cancelled-by-server{n}");
    let cancel = v1::CancelJobRequest {
        job_id: last.job_id,
        reason: reason.clone(),
        ..Default::default()
    };
    clients.jobs.clone().cancel_job(cancel).await.unwrap();
    answered.push(Answered {
        record: reason.clone(),
        answer: reason,
    });
    let reason = format!("cordoned-by-server{n}");
    let cordon = v1::CordonSiteRequest {
        site_id: SMALL_SITE.to_owned(),
        reason: reason.clone(),
        ..Default::default()
    };
    clients.sites.clone().cordon_site(cordon).await.unwrap();
    answered.push(Answered {
        record: reason.clone(),
        answer: reason,
    });
    answered
}
