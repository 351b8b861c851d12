//! Crashes of real servers: killed, without power, without disk, stopped, restarted.
//!
//! The oracle is what the clients were told: nothing acknowledged is ever lost, nothing is ever applied twice.
//! For a long run set `CRASH_KILL_ROUNDS` and `CRASH_POWER_ROUNDS`; `CRASH_SEED` repeats what a failure printed.

mod backup;
mod client;
mod disk_full;
mod fsync;
mod history;
mod kill;
mod ledger;
mod load;
mod oracle;
mod power_cut;
mod refused;
mod restart;
mod rounds;
mod stop;
mod world;

use std::{
    env,
    io::{self, Write},
    time::Duration,
};

use jiff::Timestamp;
use tokio::runtime::{self, Runtime};

/// Long enough for anything a test waits for on a machine that also compiles.
const PATIENCE: Duration = Duration::from_secs(120);

/// A small generator of numbers that follow from a seed (splitmix64).
struct Rng(u64);

impl Rng {
    /// The seed is new in every run; the variable `CRASH_SEED` repeats one.
    fn from_environment() -> Self {
        let fresh = Timestamp::now().as_microsecond().unsigned_abs();
        Self(number_from("CRASH_SEED").unwrap_or(fresh))
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number from 0 to below `end`.
    fn below(&mut self, end: u64) -> u64 {
        self.next() % end
    }

    /// One of these.
    fn pick<T: Copy>(&mut self, items: &[T]) -> Option<T> {
        let n = u64::try_from(items.len()).unwrap();
        (n > 0).then(|| items[usize::try_from(self.below(n)).unwrap()])
    }

    /// Another generator that follows from this one.
    fn fork(&mut self) -> Self {
        Self(self.next())
    }
}

/// A number that the environment sets.
fn number_from(variable: &str) -> Option<u64> {
    env::var(variable).ok()?.parse().ok()
}

/// Says something in the log of a run that passes too, where the test's own output is not shown.
fn say(what: &str) {
    // A closed output is no failure of the test.
    let _closed = writeln!(io::stderr(), "crash tests: {what}");
}

/// Where the clients of a test run.
fn client_runtime() -> Runtime {
    runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}
