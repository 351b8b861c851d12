//! SIGKILL under load, round after round.
//!
//! What the kernel was given survives; what the server held back must not have been acknowledged.

use super::{
    Rng, rounds,
    rounds::{Fault, Rounds},
};
use crate::support::process::ServerProcess;

struct Kill;

impl Fault for Kill {
    fn crash(&self, server: &mut ServerProcess, _: &mut Rng) {
        server.kill();
    }
}

#[test]
fn killed_servers_lose_nothing_and_do_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    Rounds::new("kill -9", &folder.path().join("store"))
        .run(rounds("CRASH_KILL_ROUNDS", 20), &Kill);
}
