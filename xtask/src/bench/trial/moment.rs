//! The moment at which runs may begin. The specs of the operator's objects name it, and the loops of the floor wait for it
//! too: programs that have rested for half a minute are slower at first than those that were busy a moment ago. No IO but the
//! clock.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use jiff::{Timestamp, ToSpan, tz::TimeZone};

/// A moment in the future.
#[derive(Clone, Copy, Debug)]
pub(super) struct Moment(Timestamp);

impl Moment {
    /// Late enough that `count` objects are prepared by then and all programs have come to rest.
    pub(super) fn after_preparing(count: u32) -> Result<Self> {
        Ok(Self(Timestamp::now().checked_add((10 + i64::from(count) / 50).seconds())?))
    }

    /// A full minute, 30 to 90 s later.
    pub(super) fn in_full_minutes(self) -> Result<Self> {
        let minute = self.0.to_zoned(TimeZone::UTC).round(jiff::Unit::Minute)?.checked_add(1.minute())?;
        Ok(Self(minute.timestamp()))
    }

    /// The moment as a timestamp.
    pub(super) fn timestamp(self) -> Timestamp {
        self.0
    }

    /// Waits for it. Fails if it has passed already, because preparing took too long.
    pub(super) async fn come(self) -> Result<Instant> {
        let wait =
            Duration::try_from(self.0.duration_since(Timestamp::now())).context("the moment has passed already")?;
        let instant = Instant::now() + wait;
        tokio::time::sleep_until(instant.into()).await;
        Ok(instant)
    }
}
