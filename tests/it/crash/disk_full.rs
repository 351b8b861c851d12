//! A disk that takes no more: the server stops acknowledging and ends with a failure; with room it goes on.
//!
//! The limit on the size of files works everywhere; a disk that is full needs root and a loop device.

use std::{
    fs::{self, File},
    io::Write,
    path::Path,
    process::Command,
};

use lancang::proto::v1;
use tokio::runtime::Runtime;

use super::{
    Rng, client::Clients, client_runtime, ledger::Ledger, load::Load, oracle,
    rounds::verify_offline, say, world::begin,
};
use crate::support::{
    power_cut::{NotPossible, PowerCutDisk},
    process::ServerProcess,
};

/// How often the room runs out.
const CYCLES: u64 = 3;

/// Room that is left for a server, bytes.
const ROOM_BYTES: u64 = 512 << 10;

/// Bytes of a block of `ulimit -f`, which the shell counts in.
const ULIMIT_BLOCK_BYTES: u64 = 512;

/// Where a server is given too little room.
struct Cycles {
    runtime: Runtime,
    rng: Rng,
    base: v1::JobSpec,
    ledger: Ledger,
}

impl Cycles {
    fn begin(data_dir: &Path) -> Self {
        let runtime = client_runtime();
        let mut server = ServerProcess::start(data_dir);
        let (_, base) = runtime.block_on(begin(&server));
        server.terminate();
        Self {
            runtime,
            rng: Rng::from_environment(),
            base,
            ledger: Ledger::default(),
        }
    }

    /// Load on a server until it ends by itself: with a failure, and not by a signal.
    fn run_out_of_room(&mut self, mut server: ServerProcess, cycle: u64) {
        let load = Load::start(&self.runtime, &server, &self.base, cycle, &mut self.rng);
        let status = server.wait_exit();
        let log = server.log();
        assert_eq!(status.code(), Some(1), "{status}: {log}");
        assert!(log.contains("the writer has stopped"), "{log}");
        self.ledger.merge(load.finish(&self.runtime));
    }

    /// With room again everything acknowledged is there.
    fn recover(&mut self, data_dir: &Path) {
        let mut server = ServerProcess::start(data_dir);
        self.runtime.block_on(async {
            let clients = Clients::connect(&server).await;
            oracle::check(&clients, &mut self.ledger).await;
        });
        assert!(server.terminate().success());
        verify_offline(data_dir);
    }
}

#[test]
fn a_file_that_may_not_grow_stops_the_server_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let data_dir = folder.path().join("store");
    let mut cycles = Cycles::begin(&data_dir);
    for cycle in 0..CYCLES {
        let size = fs::metadata(data_dir.join("gen-000001/db")).unwrap().len();
        let server = ServerProcess::launch(with_file_limit(&data_dir, size + ROOM_BYTES));
        cycles.run_out_of_room(server.unwrap(), cycle);
        cycles.recover(&data_dir);
    }
    let n = cycles.ledger.n_acknowledged;
    say(&format!(
        "file limit: {CYCLES} times, {n} acknowledgements, none lost"
    ));
}

#[test]
fn a_full_disk_stops_the_server_and_loses_nothing() {
    let disk = match PowerCutDisk::new(64) {
        Ok(disk) => disk,
        Err(NotPossible { because }) => {
            say(&format!(
                "full disk: {because}; only the limit on the size of files was tested"
            ));
            return;
        }
    };
    let data_dir = disk.path().join("store");
    let ballast = disk.path().join("ballast");
    let mut cycles = Cycles::begin(&data_dir);
    for cycle in 0..CYCLES {
        let server = ServerProcess::start(&data_dir);
        fill(&ballast);
        cycles.run_out_of_room(server, cycle);
        fs::remove_file(&ballast).unwrap();
        cycles.recover(&data_dir);
    }
    let n = cycles.ledger.n_acknowledged;
    say(&format!(
        "full disk: {CYCLES} times, {n} acknowledgements, none lost"
    ));
}

/// The server's command in a shell that lets no file grow beyond this; a write beyond fails and kills nobody.
fn with_file_limit(data_dir: &Path, bytes: u64) -> Command {
    let serve = ServerProcess::command(data_dir);
    let blocks = bytes / ULIMIT_BLOCK_BYTES;
    let mut command = Command::new("sh");
    let script = format!("trap '' XFSZ; ulimit -f {blocks}; exec \"$0\" \"$@\"");
    command.args(["-c", &script]);
    command.arg(serve.get_program()).args(serve.get_args());
    command
}

/// Fills the disk but for a little room.
fn fill(ballast: &Path) {
    let mut file = File::create(ballast).unwrap();
    let block = vec![0xa5; 1 << 16];
    let mut size: u64 = 0;
    // An error is what this waits for: the disk is full.
    while file.write_all(&block).is_ok() && file.sync_data().is_ok() {
        size += 1 << 16;
    }
    file.set_len(size.saturating_sub(ROOM_BYTES)).unwrap();
    file.sync_all().unwrap();
}
