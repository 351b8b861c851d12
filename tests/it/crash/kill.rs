//! SIGKILL under load, round after round.
//!
//! What the kernel was given survives; what the server held back must not have been acknowledged.

use super::{
    Rng,
    rounds::{Fault, run_rounds},
};
use crate::support::process::ServerProcess;

struct Kill;

impl Fault for Kill {
    fn crash(&self, server: &mut ServerProcess, rng: &mut Rng) {
        if rng.below(4) == 0 {
            // In the middle of a stop a crash is no worse.
            server.ask_to_stop();
        }
        server.kill();
    }
}

#[test]
fn killed_servers_lose_nothing_and_do_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    run_rounds("kill -9", "CRASH_KILL_ROUNDS", 20, folder.path(), &Kill);
}
