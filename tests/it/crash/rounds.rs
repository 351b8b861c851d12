//! Rounds of load and crash on one store, each checked against what all clients of all rounds know.
//!
//! In a quarter of the rounds recovery itself crashes.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use lancang::proto::v1;
use tokio::runtime::Runtime;

use super::{
    Rng, client::Clients, client_runtime, ledger::Ledger, load::Load, number_from, oracle, say,
    world::begin,
};
use crate::support::process::{ServerProcess, StartFailure};

/// Recovery crashes in every such round.
const CRASH_IN_RECOVERY_EVERY: u64 = 4;

/// Rounds on one store: every check reads all jobs that there are.
const ROUNDS_PER_STORE: u64 = 20;

/// Longest wait for a crash in recovery, milliseconds: most starts take longer.
const RECOVERY_MS_MAX: u64 = 150;
const FIRST_RECOVERY_MS_MAX: u64 = 5;

/// Records between snapshots: at the small end a round writes several.
const SNAPSHOT_EVERY_RECORDS: [u64; 4] = [100, 100, 400, 100_000];

/// A way to crash.
pub(super) trait Fault {
    /// Crashes a server under load; it has ended and its disk can be used again afterwards.
    fn crash(&self, server: &mut ServerProcess, rng: &mut Rng);

    /// What else happens when a server was killed while it started.
    fn after_killed_start(&self) {}
}

/// Runs as many rounds as CI has time for, or as a variable says, on a few stores in a folder.
pub(super) fn run_rounds(
    name: &'static str,
    variable: &str,
    in_ci: u64,
    folder: &Path,
    fault: &dyn Fault,
) {
    let mut left = number_from(variable).unwrap_or(in_ci);
    while left > 0 {
        let n_rounds = left.min(ROUNDS_PER_STORE);
        let data_dir = folder.join("store");
        Rounds::new(name, &data_dir).run(n_rounds, fault);
        fs::remove_dir_all(data_dir).unwrap();
        left -= n_rounds;
    }
}

/// The store, what is known of it, and what has happened so far.
struct Rounds {
    name: &'static str,
    seed: u64,
    /// Where it is, for the log of a failure.
    place: String,
    rng: Rng,
    data_dir: PathBuf,
    runtime: Runtime,
    base: Option<v1::JobSpec>,
    ledger: Ledger,
    n_crashes_in_recovery: u64,
}

impl Rounds {
    /// Rounds on a store that is made in `data_dir`.
    fn new(name: &'static str, data_dir: &Path) -> Self {
        let rng = Rng::from_environment();
        say(&format!("{name}: CRASH_SEED={} repeats this run", rng.0));
        Self {
            name,
            seed: rng.0,
            place: String::new(),
            rng,
            data_dir: data_dir.to_owned(),
            runtime: client_runtime(),
            base: None,
            ledger: Ledger::default(),
            n_crashes_in_recovery: 0,
        }
    }

    /// Runs the rounds, and checks everything once more at the end.
    fn run(mut self, n_rounds: u64, fault: &dyn Fault) {
        for round in 0..n_rounds {
            self.place = format!("round {round}");
            let (mut server, base) = self.start_and_check();
            let load = Load::start(&self.runtime, &server, &base, round, &mut self.rng);
            load.wait_for(50 + self.rng.below(250));
            fault.crash(&mut server, &mut self.rng);
            self.ledger.merge(load.finish(&self.runtime));
            if round % CRASH_IN_RECOVERY_EVERY == 0 {
                self.crash_in_recovery(fault);
            }
        }
        "the end".clone_into(&mut self.place);
        self.repeat_all();
        let (mut server, _) = self.start_and_check();
        let status = server.terminate();
        assert!(status.success(), "{status}: {}", server.log());
        let verified = verify_offline(&self.data_dir);
        say(&format!(
            "{}: {n_rounds} rounds, {} crashes in recovery, {} acknowledgements, {} jobs, none lost; {verified}",
            self.name,
            self.n_crashes_in_recovery,
            self.ledger.n_acknowledged,
            self.ledger.jobs.len(),
        ));
        assert!(n_rounds < CRASH_IN_RECOVERY_EVERY || self.n_crashes_in_recovery > 0);
    }

    fn command(&mut self) -> Command {
        let mut command = ServerProcess::command(&self.data_dir);
        let every = self.rng.pick(&SNAPSHOT_EVERY_RECORDS).unwrap();
        command.env("LANCANG_SNAPSHOT_EVERY_RECORDS", every.to_string());
        command
    }

    /// A server that has recovered and been found right; the first is made ready for load.
    fn start_and_check(&mut self) -> (ServerProcess, v1::JobSpec) {
        let server = ServerProcess::launch(self.command()).unwrap();
        let base = self.runtime.block_on(async {
            match &self.base {
                Some(base) => {
                    let clients = Clients::connect(&server).await;
                    oracle::check(&clients, &mut self.ledger).await;
                    base.clone()
                }
                None => begin(&server).await.1,
            }
        });
        self.base = Some(base.clone());
        (server, base)
    }

    fn crash_in_recovery(&mut self, fault: &dyn Fault) {
        // The first for certain: no server is ready so soon.
        let is_first = self.n_crashes_in_recovery == 0;
        let longest = if is_first {
            FIRST_RECOVERY_MS_MAX
        } else {
            RECOVERY_MS_MAX
        };
        let patience = Duration::from_millis(self.rng.below(longest));
        match ServerProcess::launch_within(patience, self.command()) {
            // It was faster; then it is an idle server that crashes.
            Ok(mut server) => drop(server.kill()),
            Err(StartFailure { status: None, .. }) => self.n_crashes_in_recovery += 1,
            Err(failure) => panic!("{failure:?}"),
        }
        fault.after_killed_start();
    }

    /// Lets the next check repeat the submissions of all rounds.
    fn repeat_all(&mut self) {
        for entry in self.ledger.jobs.values_mut() {
            entry.is_repeated = false;
        }
        for entry in &mut self.ledger.forecasts {
            entry.is_repeated = false;
        }
    }
}

impl Drop for Rounds {
    fn drop(&mut self) {
        if thread::panicking() {
            let Self {
                name, place, seed, ..
            } = self;
            say(&format!("{name}: FAILED in {place} with CRASH_SEED={seed}"));
        }
    }
}

/// What `lancang verify` says of a store that no server has open; it must be well.
#[track_caller]
pub(super) fn verify_offline(data_dir: &Path) -> String {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lancang"));
    let output = command
        .args(["verify", "-o", "json", "--data-dir"])
        .arg(data_dir)
        .output();
    let output = output.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{}: {text} {errors}",
        output.status
    );
    let report: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(report["ok"], true, "{report}");
    report.to_string()
}
