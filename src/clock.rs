//! The one place that reads the wall clock.
//!
//! Everything else gets its time as an argument, so that the same inputs give the same decisions.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::slot::TimeMs;

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> TimeMs;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    #[expect(
        clippy::disallowed_methods,
        reason = "this is the home of the wall clock"
    )]
    fn now(&self) -> TimeMs {
        let since_epoch = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        TimeMs(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

/// A clock that stands still until it is moved; for tests and simulation.
#[derive(Debug, Default)]
pub struct VirtualClock {
    now_ms: std::sync::atomic::AtomicI64,
}

impl VirtualClock {
    /// A clock that stands at `now`.
    #[must_use]
    pub fn at(now: TimeMs) -> Self {
        Self {
            now_ms: now.0.into(),
        }
    }

    /// Moves the clock to `now`.
    pub fn set(&self, now: TimeMs) {
        self.now_ms
            .store(now.0, std::sync::atomic::Ordering::SeqCst);
    }
}

impl Clock for VirtualClock {
    fn now(&self) -> TimeMs {
        TimeMs(self.now_ms.load(std::sync::atomic::Ordering::SeqCst))
    }
}
