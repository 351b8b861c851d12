//! The one place that reads the clocks: the wall clock, and the one that only goes forward.
//!
//! Everything else gets its time as an argument, so that the same inputs give the same decisions.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::slot::TimeMs;

/// Where the time comes from.
pub trait Clock: Send + Sync + std::fmt::Debug {
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

/// A wall clock that goes faster than the machine's; for demonstrations. The one that only goes forward stays true, so that
/// leases last as long as ever.
#[derive(Debug, Clone, Copy)]
pub struct ScaledClock {
    began: TimeMs,
    began_at: Mono,
    pace: u32,
}

impl ScaledClock {
    /// A clock that goes so many times as fast, from the begin of the present quarter of an hour on.
    #[must_use]
    pub fn from_slot_start(pace: u32) -> Self {
        const SLOT_MS: i64 = 900_000;
        let TimeMs(now) = SystemClock.now();
        Self {
            began: TimeMs(now - now.rem_euclid(SLOT_MS)),
            began_at: Mono::now(),
            pace,
        }
    }

    /// How many times as fast it goes.
    #[must_use]
    pub fn pace(&self) -> u32 {
        self.pace
    }

    fn at(&self, mono: Mono) -> TimeMs {
        let real_ms = mono.since(self.began_at).as_millis();
        let ms = real_ms.saturating_mul(u128::from(self.pace));
        self.began.plus_ms(i64::try_from(ms).unwrap_or(i64::MAX))
    }
}

impl Clock for ScaledClock {
    fn now(&self) -> TimeMs {
        self.at(Mono::now())
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scaled_clock_goes_at_its_pace_from_the_begin_of_a_slot() {
        let clock = ScaledClock::from_slot_start(300);
        assert_eq!(clock.began.0 % 900_000, 0);
        let later = clock.began_at.after(Duration::from_millis(2_500));
        assert_eq!(clock.at(later).0 - clock.began.0, 750_000);
        // A moment before it began is none.
        assert_eq!(clock.at(Mono(0)), clock.began);
        assert!(Mono(clock.monotonic_ms()) >= clock.began_at);
    }
}
