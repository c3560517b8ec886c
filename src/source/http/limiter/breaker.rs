//! The circuit breakers of endpoints: which endpoints are paused, and which are slow. Pure: `now` is passed in.
//!
//! The operator pauses an endpoint that it could not reach five times in a row: for 30s, then twice as long after each
//! further failure, up to 5m. At the end of a pause it sends one request, the probe. A probe that reaches the endpoint closes
//! the breaker; one that does not begins the next pause. Any response, a status 500 included, shows that the endpoint can be
//! reached. An endpoint is slow if its last request timed out or took longer than the default deadline.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use crate::{
    core::{
        poll::{
            request::POLL_TIMEOUT,
            response::{PollError, PollErrorKind},
        },
        time::{MonotonicTime, Now, after, whole_seconds},
    },
    source::text::poll_error,
};

/// Failures in a row that pause an endpoint.
const TOLERATED: u32 = 5;
/// First and longest pause.
const PAUSES: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(5));
/// An endpoint whose last request took longer is slow. It is the default deadline: with it, an endpoint that responds is
/// never slow, and an object with a longer one gets patience, not more of what all share.
const SLOW: Duration = POLL_TIMEOUT;
/// Most failing and slow endpoints to remember. Beyond it, the one of which the operator heard least recently is forgotten.
const MAX_REMEMBERED: usize = 4096;

/// The key that failures count on: a URL as one namespace requests it.
///
/// The namespace, the deadline and the authorities are part of it, so that an object with a deadline that is too short, or
/// with the wrong authorities, does not pause the endpoint of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::source) struct Endpoint {
    /// Namespace of the object that polls.
    pub(in crate::source) namespace: String,
    /// Scheme, host, port and path; not the query.
    pub(in crate::source) url: String,
    /// Deadline of the exchange.
    pub(in crate::source) timeout: Duration,
    /// Digest of the authorities that are trusted instead of the operator's.
    pub(in crate::source) authorities: Option<[u8; 32]>,
}

/// The share of its host that an endpoint uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pool {
    /// The usual one.
    Fast,
    /// The small one, for slow endpoints.
    Slow,
}

/// The result of an exchange, as far as it says whether the endpoint can be reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::source) enum Reachability {
    /// It sent a response, or part of one.
    Reached,
    /// It could not be reached, for this reason.
    Failed(PollError),
    /// The exchange was dropped before its end, or never began.
    Unknown,
}

/// The endpoints that fail or are slow. Those that respond in time take no memory.
#[derive(Debug, Default)]
pub(super) struct Breakers(HashMap<Endpoint, Breaker>);

#[derive(Debug)]
struct Breaker {
    failures: u32,
    /// The last failure; `None` if the endpoint responds, but late.
    last: Option<PollError>,
    slow: bool,
    at: MonotonicTime,
    /// End of the pause, on both clocks.
    paused: Option<(MonotonicTime, Timestamp)>,
    /// Whether a probe is in flight.
    probed: bool,
}

impl Reachability {
    /// The outcome of this result. With `absent_is_fine`, a server that does not exist counts as reached.
    pub(in crate::source) fn of<T>(result: &Result<T, PollError>, absent_is_fine: bool) -> Self {
        use PollErrorKind::{Malformed, NotThere, Status, Timeout, Tls, TooLarge, Unreachable};
        match result {
            Err(failure) if failure.class == NotThere && absent_is_fine => Self::Reached,
            Err(failure) if matches!(failure.class, Unreachable | NotThere | Tls | Timeout) => {
                Self::Failed(failure.clone())
            }
            Err(failure) if !matches!(failure.class, Status | TooLarge | Malformed) => Self::Unknown,
            _ => Self::Reached,
        }
    }
}

impl Breakers {
    /// The pool for the next request to this endpoint.
    pub(super) fn pool(&self, endpoint: &Endpoint) -> Pool {
        if self.0.get(endpoint).is_some_and(|breaker| breaker.slow) { Pool::Slow } else { Pool::Fast }
    }

    /// Refuses while the endpoint is paused; the error says why and until when.
    pub(super) fn check(&self, endpoint: &Endpoint, now: Now) -> Result<(), PollError> {
        let Some(Breaker { failures, last: Some(last), paused: Some((until, wall)), probed, .. }) =
            self.0.get(endpoint)
        else {
            return Ok(());
        };
        let when = if now.mono < *until {
            format!("paused until {}", whole_seconds(*wall))
        } else if *probed {
            "paused while one request checks whether it can be reached again".to_owned()
        } else {
            return Ok(());
        };
        let message = format!("{when}, after {failures} failures in a row; the last: {}", last.message);
        Err(poll_error(PollErrorKind::Paused, &message))
    }

    /// Like [`Self::check`], for a request that the caller sends now. Returns `true` if the request is the probe: no other
    /// is sent before it is settled.
    pub(super) fn begin(&mut self, endpoint: &Endpoint, now: Now) -> Result<bool, PollError> {
        self.check(endpoint, now)?;
        let paused = self.0.get_mut(endpoint).filter(|breaker| breaker.paused.is_some());
        Ok(paused.is_some_and(|breaker| {
            breaker.probed = true;
            true
        }))
    }

    /// Stores the outcome of a request that took this long; `probe` as [`Self::begin`] returned it.
    pub(super) fn settle(&mut self, endpoint: &Endpoint, probe: bool, outcome: Reachability, took: Duration, now: Now) {
        match outcome {
            Reachability::Reached if took > SLOW => {
                let late = Breaker { failures: 0, last: None, slow: true, at: now.mono, paused: None, probed: false };
                *self.remembered(endpoint, now) = late;
            }
            Reachability::Reached => drop(self.0.remove(endpoint)),
            Reachability::Failed(failure) => self.fail(endpoint, probe, failure, now),
            Reachability::Unknown if probe => {
                if let Some(breaker) = self.0.get_mut(endpoint) {
                    breaker.probed = false;
                }
            }
            Reachability::Unknown => {}
        }
    }

    fn fail(&mut self, endpoint: &Endpoint, probe: bool, last: PollError, now: Now) {
        let breaker = self.remembered(endpoint, now);
        // Requests that were in flight when the pause began fail for the same reason: they count as one failure.
        if breaker.paused.is_some() && !probe {
            return;
        }
        breaker.failures = breaker.failures.saturating_add(1);
        breaker.slow = last.class == PollErrorKind::Timeout;
        (breaker.last, breaker.at, breaker.probed) = (Some(last), now.mono, false);
        if breaker.failures >= TOLERATED {
            let pause = pause(breaker.failures - TOLERATED);
            breaker.paused = Some((now.mono + pause, after(now.wall, pause)));
        }
    }

    /// The entry of this endpoint; a new one if there is none.
    fn remembered(&mut self, endpoint: &Endpoint, now: Now) -> &mut Breaker {
        if !self.0.contains_key(endpoint) {
            self.make_room();
        }
        let new = || Breaker { failures: 0, last: None, slow: false, at: now.mono, paused: None, probed: false };
        self.0.entry(endpoint.clone()).or_insert_with(new)
    }

    fn make_room(&mut self) {
        if self.0.len() < MAX_REMEMBERED {
            return;
        }
        let oldest = self.0.iter().min_by_key(|(_, breaker)| breaker.at).map(|(endpoint, _)| endpoint.clone());
        if let Some(oldest) = oldest {
            self.0.remove(&oldest);
        }
    }
}

/// The length of a pause that follows this many others.
fn pause(before: u32) -> Duration {
    PAUSES.0.saturating_mul(1_u32.checked_shl(before).unwrap_or(u32::MAX)).min(PAUSES.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Less than it takes to be slow.
    const SOON: Duration = Duration::from_secs(1);

    fn endpoint(url: &str) -> Endpoint {
        Endpoint { namespace: "a".into(), url: url.into(), timeout: Duration::from_secs(10), authorities: None }
    }

    fn at(seconds: u64) -> Now {
        let wall = Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap();
        Now { wall, server: None, mono: MonotonicTime::new(Duration::from_secs(seconds)) }
    }

    fn failed(class: PollErrorKind) -> Reachability {
        Reachability::Failed(poll_error(class, "no connection: refused"))
    }

    /// Sends a request at each of these seconds, which fails. Returns how many were allowed.
    fn fail_at(breakers: &mut Breakers, endpoint: &Endpoint, seconds: impl IntoIterator<Item = u64>) -> usize {
        let mut sent = 0;
        for second in seconds {
            if let Ok(probe) = breakers.begin(endpoint, at(second)) {
                sent += 1;
                breakers.settle(endpoint, probe, failed(PollErrorKind::Unreachable), SOON, at(second));
            }
        }
        sent
    }

    #[test]
    fn pauses_after_five_failures_and_doubles_the_pause_up_to_five_minutes() {
        let (mut breakers, one) = (Breakers::default(), endpoint("http://h/"));
        assert_eq!(fail_at(&mut breakers, &one, 0..5), 5);
        let mut now = 4;
        for pause in [30, 60, 120, 240, 300, 300] {
            assert_eq!(fail_at(&mut breakers, &one, now..now + pause), 0, "sent within a pause of {pause} s");
            now += pause;
            assert_eq!(fail_at(&mut breakers, &one, [now]), 1, "not sent after a pause of {pause} s");
        }
    }

    #[test]
    fn says_why_an_endpoint_is_paused_and_until_when() {
        let (mut breakers, one) = (Breakers::default(), endpoint("http://h/"));
        fail_at(&mut breakers, &one, 0..5);
        let refusal = breakers.check(&one, at(10)).unwrap_err();
        assert_eq!(refusal.class, PollErrorKind::Paused);
        assert_eq!(
            refusal.message,
            "paused until 1970-01-01T00:00:34Z, after 5 failures in a row; the last: no connection: refused"
        );
    }

    #[test]
    fn sends_one_probe_at_the_end_of_a_pause() {
        let (mut breakers, one) = (Breakers::default(), endpoint("http://h/"));
        fail_at(&mut breakers, &one, 0..5);
        assert_eq!(breakers.begin(&one, at(34)), Ok(true));
        let other = breakers.begin(&one, at(35)).unwrap_err();
        assert!(other.message.starts_with("paused while one request checks"), "{}", other.message);
        // A probe that is dropped makes way for the next.
        breakers.settle(&one, true, Reachability::Unknown, SOON, at(35));
        assert_eq!(breakers.begin(&one, at(36)), Ok(true));
        breakers.settle(&one, true, Reachability::Reached, SOON, at(36));
        assert_eq!(breakers.begin(&one, at(36)), Ok(false));
        assert_eq!(fail_at(&mut breakers, &one, 37..41), 4, "the count began anew");
    }

    #[test]
    fn response_between_failures_resets_the_count() {
        let (mut breakers, one) = (Breakers::default(), endpoint("http://h/"));
        for round in 0..10 {
            assert_eq!(fail_at(&mut breakers, &one, round * 5..round * 5 + 4), 4);
            breakers.settle(&one, false, Reachability::Reached, SOON, at(round * 5 + 4));
        }
    }

    #[test]
    fn failures_of_requests_in_flight_together_are_one_pause() {
        let (mut breakers, one) = (Breakers::default(), endpoint("http://h/"));
        for _ in 0..32 {
            assert_eq!(breakers.begin(&one, at(0)), Ok(false));
        }
        for _ in 0..32 {
            breakers.settle(&one, false, failed(PollErrorKind::Timeout), SOON, at(10));
        }
        assert!(breakers.check(&one, at(39)).is_err() && breakers.check(&one, at(40)).is_ok());
    }

    #[test]
    fn endpoint_is_slow_from_a_timeout_or_a_late_response_to_its_next_response_in_time() {
        let (mut breakers, one) = (Breakers::default(), endpoint("http://h/"));
        for (outcome, seconds, pool) in [
            (failed(PollErrorKind::Unreachable), 50, Pool::Fast),
            (failed(PollErrorKind::Timeout), 1, Pool::Slow),
            (Reachability::Unknown, 50, Pool::Slow),
            (Reachability::Reached, 10, Pool::Fast),
            (Reachability::Reached, 11, Pool::Slow),
            (failed(PollErrorKind::Unreachable), 1, Pool::Fast),
            (Reachability::Reached, 50, Pool::Slow),
            (Reachability::Reached, 1, Pool::Fast),
        ] {
            breakers.settle(&one, false, outcome.clone(), Duration::from_secs(seconds), at(0));
            assert_eq!(breakers.pool(&one), pool, "after {outcome:?} in {seconds} s");
        }
        assert!(breakers.0.is_empty(), "an endpoint that responds in time takes no memory");
    }

    #[test]
    fn late_response_ends_a_pause_and_its_count() {
        let (mut breakers, one) = (Breakers::default(), endpoint("http://h/"));
        fail_at(&mut breakers, &one, 0..5);
        assert_eq!(breakers.begin(&one, at(34)), Ok(true));
        breakers.settle(&one, true, Reachability::Reached, Duration::from_secs(50), at(84));
        assert_eq!(breakers.begin(&one, at(84)), Ok(false));
        assert_eq!(fail_at(&mut breakers, &one, 85..89), 4, "the count began anew");
    }

    #[test]
    fn other_namespaces_deadlines_and_authorities_are_not_paused() {
        let (mut breakers, one) = (Breakers::default(), endpoint("http://h/"));
        fail_at(&mut breakers, &one, 0..5);
        for other in [
            Endpoint { namespace: "b".into(), ..one.clone() },
            Endpoint { timeout: Duration::from_mins(1), ..one.clone() },
            Endpoint { authorities: Some([1; 32]), ..one.clone() },
            endpoint("http://h/other"),
        ] {
            assert_eq!(breakers.check(&other, at(5)), Ok(()), "{other:?}");
        }
    }

    #[test]
    fn only_failures_to_reach_the_endpoint_count() {
        use PollErrorKind::{
            Credentials, Errors, Malformed, NotThere, Parameters, Paused, Refused, Source, Status, Timeout, Tls,
            TooLarge, Unreachable,
        };
        let of = |class, absent_is_fine| Reachability::of::<()>(&Err(poll_error(class, "x")), absent_is_fine);
        for class in [Unreachable, NotThere, Tls, Timeout] {
            assert_eq!(of(class, false), Reachability::Failed(poll_error(class, "x")));
        }
        for class in [Status, TooLarge, Malformed] {
            assert_eq!(of(class, false), Reachability::Reached);
        }
        for class in [Refused, Credentials, Errors, Parameters, Source, Paused] {
            assert_eq!(of(class, false), Reachability::Unknown);
        }
        assert_eq!(of(NotThere, true), Reachability::Reached);
        assert_eq!(of(Unreachable, true), Reachability::Failed(poll_error(Unreachable, "x")));
        assert_eq!(Reachability::of(&Ok(()), false), Reachability::Reached);
    }

    #[test]
    fn remembers_a_bounded_number_of_endpoints_and_forgets_the_oldest() {
        let mut breakers = Breakers::default();
        for n in 0..=MAX_REMEMBERED {
            let second = u64::try_from(n).unwrap();
            fail_at(&mut breakers, &endpoint(&format!("http://h/{n}")), [second]);
        }
        assert_eq!(breakers.0.len(), MAX_REMEMBERED);
        assert!(!breakers.0.contains_key(&endpoint("http://h/0")));
    }
}
