//! The only reader of time. Everything else takes `now` as an argument.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;

use crate::core::time::{MonotonicTime, Now, after};

/// Wall, monotonic and API server time of one process.
///
/// Tests may set it forward with [`Clock::advance`]. Every reading, and every server timestamp that passes through it,
/// moves by the same amount, and every sleeper on it checks the time again. With [`Clock::set_wall_error`] tests may set
/// the wall time wrong, and nothing else.
#[derive(Debug)]
pub struct Clock {
    start: Instant,
    offset: watch::Sender<Duration>,
    wall_error: Mutex<SignedDuration>,
    server: Mutex<Option<(Timestamp, Instant)>>,
}

impl Clock {
    /// The system's clocks.
    pub fn system() -> Arc<Self> {
        Arc::new(Self {
            start: instant(),
            offset: watch::Sender::new(Duration::ZERO),
            wall_error: Mutex::new(SignedDuration::ZERO),
            server: Mutex::new(None),
        })
    }

    /// One moment on all clocks.
    pub fn now(&self) -> Now {
        let (instant, offset) = (instant(), *self.offset.borrow());
        let server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        let error = *self.wall_error.lock().unwrap_or_else(PoisonError::into_inner);
        Now {
            wall: after(wall().saturating_add(error).unwrap_or_else(|_| wall()), offset),
            server: server
                .map(|(date, heard)| after(date, instant.saturating_duration_since(heard).saturating_add(offset))),
            mono: MonotonicTime::new(instant.saturating_duration_since(self.start).saturating_add(offset)),
        }
    }

    /// The present monotonic moment.
    pub fn mono(&self) -> MonotonicTime {
        self.now().mono
    }

    /// Time since the clock's start, unaffected by [`Clock::advance`]: the age of a connection does not depend on the
    /// date.
    pub fn uptime(&self) -> MonotonicTime {
        MonotonicTime::new(instant().saturating_duration_since(self.start))
    }

    /// Stores the `Date` header of a response of the API server.
    ///
    /// The header has whole seconds and is as old as the time that the response was in flight. So the time derived from
    /// it lags the server's clock a little and never leads it: deadlines that are counted from it are early rather than
    /// late.
    pub fn record_server_time(&self, date: Timestamp) {
        *self.server.lock().unwrap_or_else(PoisonError::into_inner) = Some((date, instant()));
    }

    /// Sleeps until `at`; returns at once if it has passed.
    pub async fn sleep_until(&self, at: MonotonicTime) {
        let mut offset = self.offset.subscribe();
        loop {
            let left = at.since(self.mono());
            if left.is_zero() {
                return;
            }
            // The sender lives as long as the clock, so `changed` cannot fail here; a failure would only end a wait
            // early.
            let _ = tokio::time::timeout(left, offset.changed()).await;
        }
    }

    /// Sets the clock forward, for tests.
    pub fn advance(&self, by: Duration) {
        self.offset.send_modify(|offset| *offset = offset.saturating_add(by));
    }

    /// Sets the wall time ahead of the system's by this much, or behind it, for tests: as on a machine whose date is
    /// wrong. A second call replaces the first.
    pub fn set_wall_error(&self, error: SignedDuration) {
        *self.wall_error.lock().unwrap_or_else(PoisonError::into_inner) = error;
    }
}

#[expect(clippy::disallowed_methods, reason = "this module is where time comes from")]
fn instant() -> Instant {
    Instant::now()
}

#[expect(clippy::disallowed_methods, reason = "this module is where time comes from")]
fn wall() -> Timestamp {
    Timestamp::now()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn wakes_sleepers_when_it_is_set_forward() {
        let clock = Clock::system();
        let far = clock.mono() + Duration::from_hours(1);
        let sleeper = {
            let clock = clock.clone();
            tokio::spawn(async move { clock.sleep_until(far).await })
        };
        tokio::task::yield_now().await;
        clock.advance(Duration::from_secs(3601));
        tokio::time::timeout(Duration::from_secs(5), sleeper).await.unwrap().unwrap();
    }

    #[test]
    fn wrong_wall_time_leaves_the_other_clocks_alone() {
        let clock = Clock::system();
        let date = Timestamp::from_second(1_000).unwrap();
        clock.record_server_time(date);
        for hours in [-1, 1] {
            let right = Clock::system().now().wall;
            clock.set_wall_error(SignedDuration::from_hours(hours));
            let now = clock.now();
            assert_eq!(now.wall.duration_since(right).as_mins() / 59, hours, "{}", now.wall);
            assert!(now.server.unwrap().as_second() < 1_010 && now.mono < MonotonicTime::new(Duration::from_secs(10)));
        }
    }

    #[test]
    fn advances_the_servers_time_with_its_own() {
        let clock = Clock::system();
        assert_eq!(clock.now().server, None);
        let date = Timestamp::from_second(1_000).unwrap();
        clock.record_server_time(date);
        clock.advance(Duration::from_secs(50));
        let server = clock.now().server.unwrap();
        assert!(server.as_second() >= 1_050 && server.as_second() < 1_060, "{server}");
    }
}
