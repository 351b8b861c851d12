//! Backups taken under load: each restores to exactly the state of the revision that it states.
//!
//! The state of a revision is rebuilt from the watch history of the original.

use std::{fs, path::Path, process::Command};

use lancang::proto::v1;

use super::{
    Rng, client::Clients, client_runtime, history, load::Load, rounds::verify_offline, world::begin,
};
use crate::support::process::ServerProcess;

/// A backup file's bytes and the revision that it states.
struct Backup {
    bytes: Vec<u8>,
    revision: u64,
}

#[test]
fn a_backup_under_load_restores_the_revision_that_it_states() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("store");
    let runtime = client_runtime();
    let mut server = ServerProcess::start(&data_dir);
    let (clients, base) = runtime.block_on(begin(&server));
    let load = Load::start(&runtime, &server, &base, 0, &mut Rng::from_environment());
    let mut backups = Vec::new();
    for n_acknowledged in [50, 150, 100] {
        load.wait_for(n_acknowledged);
        backups.push(runtime.block_on(take(&clients)));
    }
    server.kill();
    load.finish(&runtime);
    let server = ServerProcess::start(&data_dir);
    let clients = runtime.block_on(Clients::connect(&server));
    let events = runtime.block_on(history::changes_after(&clients, 0));
    for (n, backup) in backups.iter().enumerate() {
        let file = folder.path().join(format!("backup{n}"));
        fs::write(&file, &backup.bytes).unwrap();
        let restored = folder.path().join(format!("restored{n}"));
        restore(&file, &restored, backup.revision);
        let server = ServerProcess::start(&restored);
        runtime.block_on(check_restored(&server, &events, backup.revision));
    }
    assert!(backups[0].revision < backups[1].revision);
}

/// The jobs are those of the revision, but for what the restored server has planned anew since.
async fn check_restored(server: &ServerProcess, events: &[v1::JobEvent], revision: u64) {
    let clients = Clients::connect(server).await;
    // Listed first: the server plans on meanwhile, and every change that the list shows is then among those read.
    let listed = clients.all_jobs().await;
    let since = history::changes_after(&clients, revision).await;
    let expected = history::last_of_each(events, revision);
    assert_eq!(
        listed.jobs.len(),
        expected.len(),
        "jobs of revision {revision}"
    );
    for job in &listed.jobs {
        let expected = expected[job.job_id.as_str()];
        let mut changes = since.iter().filter(|event| {
            event
                .job
                .as_ref()
                .is_some_and(|job| job.job_id == expected.job_id)
        });
        match changes.next() {
            None => assert_eq!(job, expected),
            Some(first) => {
                assert_eq!(first.from_state, expected.state, "{first:?}");
                assert_eq!(first.old_placement, expected.placement, "{first:?}");
                assert_eq!(job.spec, expected.spec, "{first:?}");
                assert_eq!(job.create_revision, expected.create_revision, "{first:?}");
            }
        }
    }
}

async fn take(clients: &Clients) -> Backup {
    let parts = clients.admin.clone().backup(v1::BackupRequest {}).await;
    let mut parts = parts.unwrap().into_inner();
    let mut backup = Backup {
        bytes: Vec::new(),
        revision: 0,
    };
    while let Some(part) = parts.message().await.unwrap() {
        assert!(backup.bytes.is_empty() || backup.revision == part.revision);
        backup.revision = part.revision;
        backup.bytes.extend(part.chunk);
    }
    backup
}

/// Restores into a fresh directory; a second time is refused and leaves the store as it is.
#[track_caller]
fn restore(file: &Path, data_dir: &Path, revision: u64) {
    let run = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lancang"));
        command.args(["restore", "-o", "json", "--file"]).arg(file);
        command.arg("--data-dir").arg(data_dir).output().unwrap()
    };
    let output = run();
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["revision"], revision.to_string());
    let again = run();
    assert_eq!(again.status.code(), Some(1), "{again:?}");
    let said = String::from_utf8_lossy(&again.stderr).into_owned();
    assert!(said.contains("there is one already"), "{said}");
    let verified = verify_offline(data_dir);
    assert!(
        verified.contains(&format!("\"revision\":\"{revision}\"")),
        "{verified}"
    );
}
