//! Time of the models: its steps, and the moments and clock values that they represent.

use std::time::Duration;

use jiff::Timestamp;
use modelsync::core::time::MonotonicTime;

/// Time in steps of [`TICK`].
pub type Tick = i16;

/// One step of time, as a duration and in seconds.
pub const TICK: Duration = Duration::from_secs(SECONDS.unsigned_abs());
const SECONDS: i64 = 15;
/// Tick 0, in seconds since 1970.
const START: i64 = 1_800_000_000;
/// The initial value of every process's monotonic clock: large enough that "long ago" is a valid moment.
const PROCESS_START: Duration = Duration::from_secs(1_000_000);
/// Older than any request that is in flight: the reservation's window and the server's timeout.
pub const MIN_AGE: Tick = 4;
/// The window of a reservation.
pub const CLAIM_WINDOW: Tick = 1;
/// How long the server may take to store an admitted request.
pub const SERVER_TIMEOUT: Tick = 2;

pub fn moment(tick: Tick) -> Timestamp {
    Timestamp::from_second(START + i64::from(tick) * SECONDS).unwrap()
}

/// The last tick that is not after `at`.
pub fn tick_of(at: Timestamp) -> Tick {
    Tick::try_from((at.as_second() - START).div_euclid(SECONDS)).unwrap_or(Tick::MAX)
}

pub fn mono(tick: Tick) -> MonotonicTime {
    MonotonicTime::new(PROCESS_START + TICK * u32::try_from(tick).unwrap())
}

/// The first tick at which `at` has come.
pub fn tick_from(at: MonotonicTime) -> Tick {
    let ticks = at.since(MonotonicTime::new(PROCESS_START)).as_millis().div_ceil(TICK.as_millis());
    Tick::try_from(ticks).unwrap_or(Tick::MAX)
}

pub fn min_run_age() -> Duration {
    TICK * u32::try_from(MIN_AGE).unwrap()
}
