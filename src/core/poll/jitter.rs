//! When the polls of an object are due: a whole interval apart, at a phase that comes from its uid, so that neither a
//! restart nor an apply of many objects makes them all poll at once. Pure.

use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest, Sha256};

/// Longest time over which turns that were missed are made up for. Even if every object has missed its turn, an endpoint
/// then gets no more polls than the same objects send at the default interval.
const MAKE_UP: Duration = Duration::from_mins(1);

/// Time from `wall` until the next poll of the object with this uid.
pub fn next_poll_in(uid: &str, interval: Duration, wall: Timestamp) -> Duration {
    let hash = Sha256::digest(uid.as_bytes());
    let seed = hash.iter().take(8).fold(0_u64, |seed, byte| (seed << 8) | u64::from(*byte));
    let interval = u64::try_from(interval.as_millis()).unwrap_or(u64::MAX).max(1);
    let phase = i128::from(seed % interval);
    let into = (i128::from(wall.as_millisecond()) - phase).rem_euclid(i128::from(interval));
    Duration::from_millis(u64::try_from(i128::from(interval) - into).unwrap_or(interval))
}

/// Time from `wall` until the next poll of an object that no process has polled for `unpolled`.
///
/// If its last turn fell into that time, the turn was missed and is made up for: in the order of the turns, over as long as
/// they were missed for, but over a minute at most. So the rate of polls at most doubles after a short absence.
pub fn poll_in_after_absence(uid: &str, interval: Duration, wall: Timestamp, unpolled: Duration) -> Duration {
    let next = next_poll_in(uid, interval, wall);
    let (since_turn, absence) = (interval.saturating_sub(next), unpolled.min(interval));
    let Some(into_absence) = absence.checked_sub(since_turn) else { return next };
    let spread = absence.min(MAKE_UP);
    let scaled = into_absence.as_millis() * spread.as_millis() / absence.as_millis().max(1);
    Duration::from_millis(u64::try_from(scaled).unwrap_or(u64::MAX)).min(next)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_hours(1);

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    /// A moment at which the last turn of the object was this long ago.
    fn after_turn(uid: &str, interval: Duration, ago: Duration) -> Timestamp {
        at(0) + next_poll_in(uid, interval, at(0)) + ago
    }

    #[test]
    fn missed_turn_is_made_up_for_soon_and_any_other_waits_for_its_turn() {
        let minutes = Duration::from_mins;
        for (interval, since_turn, unpolled, expected) in [
            (24 * HOUR, minutes(30), HOUR, Duration::from_secs(30)), // half of the hour, in half of the minute
            (24 * HOUR, HOUR, HOUR, Duration::ZERO),                 // the first turn that was missed
            (24 * HOUR, Duration::ZERO, HOUR, minutes(1)),           // the last one
            (24 * HOUR, minutes(61), HOUR, minutes(24 * 60 - 61)),   // polled in time
            (24 * HOUR, minutes(61), Duration::ZERO, minutes(24 * 60 - 61)),
            (24 * HOUR, 12 * HOUR, 1000 * HOUR, Duration::from_secs(30)), // more than one turn was missed
            (24 * HOUR, Duration::from_secs(3), Duration::from_secs(8), Duration::from_secs(5)), // a mere restart
            (Duration::from_secs(5), Duration::from_secs(3), HOUR, Duration::from_secs(2)), // its turn comes as soon
        ] {
            let wall = after_turn("u", interval, since_turn);
            let found = poll_in_after_absence("u", interval, wall, unpolled);
            assert_eq!(found, expected, "{since_turn:?} after the turn, unpolled for {unpolled:?}");
        }
    }

    #[test]
    fn no_endpoint_sees_a_rush() {
        // 6,000 objects after a day without a leader, and after a restart of 10 seconds.
        for (unpolled, most) in [(24 * HOUR, 150), (Duration::from_secs(10), 4)] {
            let mut polls = vec![0; 70];
            for object in 0..6_000 {
                let wait = poll_in_after_absence(&object.to_string(), 24 * HOUR, at(0), unpolled).as_secs();
                if let Some(polls) = usize::try_from(wait).ok().and_then(|second| polls.get_mut(second)) {
                    *polls += 1;
                }
            }
            assert!(polls.iter().all(|polls| *polls <= most), "{polls:?}");
        }
    }

    proptest! {
        #[test]
        fn every_missed_turn_is_made_up_for_within_a_minute_and_no_other_object_polls_early(
            uid in "[a-f0-9]{8}",
            interval in 5_u64..2_592_000,
            unpolled in 0_u64..10_000_000,
            second in 0_i64..100_000_000,
        ) {
            let (interval, unpolled) = (Duration::from_secs(interval), Duration::from_secs(unpolled));
            let regular = next_poll_in(&uid, interval, at(second));
            let wait = poll_in_after_absence(&uid, interval, at(second), unpolled);
            let missed = interval <= unpolled + regular;
            if missed {
                prop_assert!(wait <= unpolled.min(MAKE_UP).min(regular), "{wait:?}");
            } else {
                prop_assert_eq!(wait, regular);
            }
        }
    }
}
