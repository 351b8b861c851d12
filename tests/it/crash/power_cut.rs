//! Power cuts under load, round after round, on a disk that forgets what was not made durable.
//!
//! Where no disk can be cut, the order of system calls is checked instead, and the log says so.

use super::{
    Rng, fsync,
    rounds::{Fault, run_rounds},
    say,
};
use crate::support::{
    power_cut::{NotPossible, PowerCutDisk},
    process::ServerProcess,
};

/// Room for the stores of all rounds.
const DISK_MIB: u32 = 512;

struct PowerCut<'a> {
    disk: &'a PowerCutDisk,
}

impl Fault for PowerCut<'_> {
    fn crash(&self, server: &mut ServerProcess, rng: &mut Rng) {
        self.disk.cut();
        if rng.below(2) == 0 {
            // A disk that fails while the power is on: the server stops by itself and says that it failed.
            let status = server.wait_exit();
            assert!(!status.success(), "{status}: {}", server.log());
        } else {
            server.kill();
        }
        self.disk.restore();
    }

    fn after_killed_start(&self) {
        self.disk.cut();
        self.disk.restore();
    }
}

#[test]
fn servers_without_power_lose_nothing_and_do_nothing_twice() {
    match PowerCutDisk::new(DISK_MIB) {
        Ok(disk) => {
            say("power cuts: on an ext4 image that is cut off");
            let fault = PowerCut { disk: &disk };
            run_rounds("power cuts", "CRASH_POWER_ROUNDS", 10, &disk.path(), &fault);
        }
        Err(NotPossible { because }) => {
            say(&format!(
                "power cuts: {because}; the order of system calls is checked instead"
            ));
            fsync::check_order(3);
        }
    }
}
