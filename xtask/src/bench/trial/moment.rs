//! The moment at which runs may begin. The operator's objects name it themselves, and the floor's loops wait for it as well:
//! what has rested for half a minute is slower at first than what was busy a moment ago. No IO but the clock.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::{Timestamp, ToSpan, tz::TimeZone};

/// A moment to come.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(Timestamp);

impl Moment {
    /// Far enough ahead that so many objects are prepared by then, and all has come to rest.
    pub(super) fn after_preparing(count: u32) -> Result<Self> {
        Ok(Self(Timestamp::now().checked_add((10 + i64::from(count) / 50).seconds())?))
    }

    /// A full minute, 30 to 90 s after it.
    pub(super) fn in_full_minutes(self) -> Result<Self> {
        let minute = self.0.to_zoned(TimeZone::UTC).round(jiff::Unit::Minute)?.checked_add(1.minute())?;
        Ok(Self(minute.timestamp()))
    }

    pub(super) fn timestamp(self) -> Timestamp {
        self.0
    }

    /// Waits for it. Fails where it has passed: then something was prepared too slowly.
    pub(super) async fn come(self) -> Result<Instant> {
        let wait =
            Duration::try_from(self.0.duration_since(Timestamp::now())).context("the moment has passed already")?;
        let instant = Instant::now() + wait;
        tokio::time::sleep_until(instant.into()).await;
        Ok(instant)
    }
}
