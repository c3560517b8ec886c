//! Moments, passed in as arguments: wall-clock time for what users see, monotonic time for waiting. Pure.

use std::{ops::Add, time::Duration};

use jiff::{Timestamp, TimestampRound, Unit};

/// Nanosecond-exact moment of this process's monotonic clock. Means nothing in another process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MonotonicTime(Duration);

impl MonotonicTime {
    /// A moment that is `since_start` after the clock's start.
    pub const fn new(since_start: Duration) -> Self {
        Self(since_start)
    }

    /// Time from `earlier` to this moment; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        self.0.saturating_sub(earlier.0)
    }

    /// Time since the clock's start.
    pub const fn since_start(self) -> Duration {
        self.0
    }
}

impl Add<Duration> for MonotonicTime {
    type Output = Self;

    fn add(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(duration))
    }
}

/// One moment on all the clocks that decisions need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Now {
    /// This machine's wall clock.
    pub wall: Timestamp,
    /// The API server's clock: its last `Date` header, advanced by the monotonic clock. `None` before the first
    /// response.
    pub server: Option<Timestamp>,
    /// This process's monotonic clock.
    pub mono: MonotonicTime,
}

impl Now {
    /// The API server's time, or the wall clock's before the API server's first response.
    pub fn server_or_wall(&self) -> Timestamp {
        self.server.unwrap_or(self.wall)
    }
}

/// `at` plus `duration`, or the latest timestamp instead of an overflow.
pub fn after(at: Timestamp, duration: Duration) -> Timestamp {
    jiff::SignedDuration::try_from(duration)
        .ok()
        .and_then(|signed| at.checked_add(signed).ok())
        .unwrap_or(Timestamp::MAX)
}

/// Time from `now` until `at`; zero when `at` has passed.
pub fn until(now: Timestamp, at: Timestamp) -> Duration {
    Duration::try_from(at.duration_since(now)).unwrap_or_default()
}

/// `at` without its fraction of a second, as Kubernetes writes timestamps into objects.
pub fn whole_seconds(at: Timestamp) -> Timestamp {
    at.round(TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Trunc)).unwrap_or(at)
}
