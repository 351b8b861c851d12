//! SIGTERM: everything accepted is answered, streams end with a status to resume by, the process ends well and soon.
//!
//! What a client got no answer to was not applied; that is more than a crash promises.

use std::{sync::mpsc, thread, time::Duration};

use lancang::proto::v1;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::{
    PATIENCE, Rng,
    client::{Clients, detail, reason},
    client_runtime, history,
    ledger::{Ledger, Phase},
    load::Load,
    oracle,
    rounds::verify_offline,
    world::{LEARNT_FROM, begin},
};
use crate::support::process::ServerProcess;

/// The server gives its open calls 10 s, and needs far less when its clients read their answers.
const STOP_MAX: Duration = Duration::from_secs(15);

#[test]
fn a_stop_under_load_applies_nothing_that_it_does_not_answer() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("store");
    let runtime = client_runtime();
    let mut server = ServerProcess::start(&data_dir);
    let (clients, base) = runtime.block_on(begin(&server));
    let mut watch = runtime.block_on(history::watch_after(&clients, 0)).unwrap();
    let watching = runtime.spawn(async move { read_to_the_end(&mut watch).await });
    let load = Load::start(&runtime, &server, &base, 0, &mut Rng::from_environment());
    load.wait_for(150);
    stop(&mut server);
    let mut ledger = load.finish(&runtime);
    let stopping = (Code::Unavailable, "SHUTTING_DOWN".to_owned());
    assert_eq!(ledger.stream_ends, [stopping]);
    let (seen, end) = runtime.block_on(watching).unwrap();
    let resume = resume_revision(&end);
    verify_offline(&data_dir);
    let server = ServerProcess::start(&data_dir);
    runtime.block_on(async {
        let clients = Clients::connect(&server).await;
        check_nothing_unanswered(&clients, &ledger).await;
        let unseen = history::changes_after(&clients, resume).await;
        let all: Vec<_> = seen.into_iter().chain(unseen).collect();
        assert_eq!(all, history::changes_after(&clients, 0).await);
        oracle::check(&clients, &mut ledger).await;
    });
}

#[test]
fn a_stop_ends_idle_streams_with_a_status() {
    let folder = tempfile::tempdir().unwrap();
    let runtime = client_runtime();
    let mut server = ServerProcess::start(folder.path());
    let clients = runtime.block_on(Clients::connect(&server));
    let mut watch = runtime.block_on(history::watch_after(&clients, 0)).unwrap();
    // Held open on this side until the end of the test.
    let (_requests, idle) = tokio::sync::mpsc::channel::<v1::SubmitJobStreamRequest>(1);
    let idle = ReceiverStream::new(idle);
    let answers = runtime.block_on(clients.jobs.clone().submit_job_stream(idle));
    let mut answers = answers.unwrap().into_inner();
    stop(&mut server);
    let (events, end) = runtime.block_on(read_to_the_end(&mut watch));
    assert_eq!((events.len(), resume_revision(&end)), (0, 0));
    let end = runtime.block_on(answers.message()).unwrap_err();
    assert_eq!(
        (end.code(), reason(&end).as_str()),
        (Code::Unavailable, "SHUTTING_DOWN")
    );
}

/// Ends the server by SIGTERM: well, and in bounded time.
#[track_caller]
fn stop(server: &mut ServerProcess) {
    let (sender, ended) = mpsc::channel();
    let status = thread::scope(|scope| {
        scope.spawn(|| sender.send(server.terminate()));
        ended.recv_timeout(STOP_MAX)
    });
    let status = status.expect("the stop takes too long");
    assert!(status.success(), "{status}: {}", server.log());
}

/// All changes of a watch, and the status that it ended with.
async fn read_to_the_end(
    watch: &mut Streaming<v1::WatchJobsResponse>,
) -> (Vec<v1::JobEvent>, Status) {
    use v1::watch_jobs_response::Item;
    let mut events = Vec::new();
    loop {
        let next = timeout(PATIENCE, watch.message()).await;
        match next.expect("a watch does not end") {
            Ok(Some(item)) => match item.item {
                Some(Item::Event(event)) => events.push(event),
                Some(Item::Bookmark(_)) | None => {}
            },
            Ok(None) => panic!("a watch ended without a status"),
            Err(status) => return (events, status),
        }
    }
}

/// Where a watch that the stop has ended can be resumed.
#[track_caller]
fn resume_revision(end: &Status) -> u64 {
    assert_eq!(
        (end.code(), reason(end).as_str()),
        (Code::Unavailable, "SHUTTING_DOWN")
    );
    detail(end, "resume_revision")
}

/// Whatever was applied was answered, and the answer arrived.
async fn check_nothing_unanswered(clients: &Clients, ledger: &Ledger) {
    for job in clients.all_jobs().await.jobs {
        let name = job.spec.as_ref().unwrap().name.as_str();
        if name == LEARNT_FROM {
            continue;
        }
        let entry = &ledger.jobs[name];
        assert!(
            entry.known.is_some(),
            "{name} was accepted and not answered"
        );
        assert_eq!(
            Phase::of(&job),
            entry.phase,
            "{name} was changed and not answered"
        );
    }
    let n_forecasts = clients.all_forecasts().await.len();
    let acknowledged = ledger.forecasts.iter();
    let acknowledged = acknowledged.filter(|entry| entry.forecast_id.is_some());
    assert_eq!(n_forecasts, acknowledged.count());
}
