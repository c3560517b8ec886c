//! When the polls of an object are due: a whole interval apart, at a phase that comes from its uid, so that neither a
//! restart nor an apply of many objects makes them all poll at once. Pure.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// Time from `wall` until the next poll of the object with this uid.
pub fn next_poll_in(uid: &str, interval: Duration, wall: Timestamp) -> Duration {
    let hash = Sha256::digest(uid.as_bytes());
    let seed = hash.iter().take(8).fold(0_u64, |seed, byte| (seed << 8) | u64::from(*byte));
    let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
    let phase = i128::from(seed % interval);
    let into = (i128::from(wall.as_millisecond()) - phase).rem_euclid(i128::from(interval));
    Duration::from_millis(u64::try_from(i128::from(interval) - into).unwrap_or(interval))
}
