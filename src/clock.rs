//! The one place that reads the clocks: the wall clock, and the one that only goes forward.
//!
//! Everything else gets its time as an argument, so that the same inputs give the same decisions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::slot::TimeMs;

/// Where the time comes from.
pub trait Clock: Send + Sync {
    /// The present moment.
    fn now(&self) -> TimeMs;

    /// Milliseconds on the clock of [`Mono`]: never runs backwards, whatever is done to the wall clock.
    fn monotonic_ms(&self) -> u64;
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

    fn monotonic_ms(&self) -> u64 {
        Mono::now().0
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

    fn monotonic_ms(&self) -> u64 {
        u64::try_from(self.now().0).unwrap_or(0)
    }
}

/// A moment of the clock that only goes forward, in milliseconds since the machine started; processes of one boot
/// share it, and nobody can set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Mono(pub u64);

impl Mono {
    /// The present moment. The clock goes on while the machine sleeps, so that a lease runs out then as well.
    #[must_use]
    pub fn now() -> Self {
        let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(time.tv_sec).unwrap_or_default();
        let ms = u64::try_from(time.tv_nsec / 1_000_000).unwrap_or_default();
        Self(seconds.saturating_mul(1_000).saturating_add(ms))
    }

    /// The moment so much later, in whole milliseconds.
    #[must_use]
    pub fn after(self, time: Duration) -> Self {
        let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(ms))
    }

    /// The time since an earlier moment; 0 when it is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}
