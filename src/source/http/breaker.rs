//! Which endpoints are left alone for a while, and which are slow. Pure: `now` is passed in.
//!
//! An endpoint that cannot be reached five times in a row is paused: 30s, then twice as long after each attempt that fails
//! too, up to 5m. When a pause is over, one question goes through; it ends the trouble or begins the next pause. Whatever
//! the endpoint answers, a status 500 included, shows that it can be reached and ends the trouble.

use std::{collections::HashMap, time::Duration};

use jiff::Timestamp;

use crate::{
    core::{
        poll::response::{PollError, PollErrorKind},
        time::{MonotonicTime, Now, after, whole_seconds},
    },
    source::text::poll_error,
};

/// Failures in a row that pause an endpoint.
const TOLERATED: u32 = 5;
/// First and longest pause.
const PAUSES: (Duration, Duration) = (Duration::from_secs(30), Duration::from_mins(5));
/// Endpoints in trouble that are remembered. Beyond that the one that failed the longest time ago is forgotten.
const MAX_REMEMBERED: usize = 4096;

/// What a failure is held against: who asks what, in which way.
///
/// The namespace, the deadline and the authorities belong to it. An object with a deadline that is too short or with the
/// wrong authorities must not pause the endpoint of another.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Endpoint {
    /// Namespace of the object that asks.
    pub(super) namespace: String,
    /// Scheme, host, port and path; not the query.
    pub(super) url: String,
    /// Deadline of the exchange.
    pub(super) timeout: Duration,
    /// Digest of the authorities that are trusted instead of the operator's.
    pub(super) authorities: Option<[u8; 32]>,
}

/// Which share of its host an endpoint gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Pool {
    /// The usual one.
    Fast,
    /// The small one, for endpoints whose last question timed out.
    Slow,
}

/// How an exchange ended, as far as it tells of the endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It answered something.
    Reached,
    /// It did not answer, for this reason.
    Failed(PollError),
    /// It was not tried to the end.
    Unknown,
}

/// The endpoints in trouble. Those that answer cost nothing.
#[derive(Debug, Default)]
pub(super) struct Endpoints(HashMap<Endpoint, EndpointHealth>);

#[derive(Debug)]
struct EndpointHealth {
    failures: u32,
    last: PollError,
    at: MonotonicTime,
    /// End of the pause, on both clocks.
    paused: Option<(MonotonicTime, Timestamp)>,
    /// A question is finding out whether the trouble is over.
    probed: bool,
}

impl Outcome {
    /// What this result says of the endpoint. `absent_is_fine` takes a server that is not there for an answer.
    pub(super) fn of<T>(result: &Result<T, PollError>, absent_is_fine: bool) -> Self {
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

impl Endpoints {
    /// The lane for the next question to this endpoint.
    pub(super) fn pool(&self, endpoint: &Endpoint) -> Pool {
        let slow = self.0.get(endpoint).is_some_and(|health| health.last.class == PollErrorKind::Timeout);
        if slow { Pool::Slow } else { Pool::Fast }
    }

    /// Whether this endpoint may be asked now, or why not and until when.
    pub(super) fn check(&self, endpoint: &Endpoint, now: Now) -> Result<(), PollError> {
        let Some(EndpointHealth { failures, last, paused: Some((until, wall)), probed, .. }) = self.0.get(endpoint)
        else {
            return Ok(());
        };
        let when = if now.mono < *until {
            format!("not asked before {}", whole_seconds(*wall))
        } else if *probed {
            "not asked while another question finds out whether it answers again".to_owned()
        } else {
            return Ok(());
        };
        let message = format!("{when}, after {failures} failures in a row; the last: {}", last.message);
        Err(poll_error(PollErrorKind::Paused, &message))
    }

    /// Like [`Self::check`], and the question goes out now. `true` where it is the one that ends a pause: until it is
    /// settled no other goes out.
    pub(super) fn begin(&mut self, endpoint: &Endpoint, now: Now) -> Result<bool, PollError> {
        self.check(endpoint, now)?;
        let paused = self.0.get_mut(endpoint).filter(|health| health.paused.is_some());
        Ok(paused.is_some_and(|health| {
            health.probed = true;
            true
        }))
    }

    /// Takes in how a question ended; `probe` as [`Self::begin`] said.
    pub(super) fn settle(&mut self, endpoint: &Endpoint, probe: bool, outcome: Outcome, now: Now) {
        match outcome {
            Outcome::Reached => drop(self.0.remove(endpoint)),
            Outcome::Failed(failure) => self.fail(endpoint, probe, failure, now),
            Outcome::Unknown if probe => {
                if let Some(health) = self.0.get_mut(endpoint) {
                    health.probed = false;
                }
            }
            Outcome::Unknown => {}
        }
    }

    fn fail(&mut self, endpoint: &Endpoint, probe: bool, last: PollError, now: Now) {
        if !self.0.contains_key(endpoint) {
            self.make_room();
        }
        let health = self.0.entry(endpoint.clone()).or_insert_with(|| EndpointHealth {
            failures: 0,
            last: last.clone(),
            at: now.mono,
            paused: None,
            probed: false,
        });
        // Questions that were under way when the pause began fail for the same reason; they are one failure.
        if health.paused.is_some() && !probe {
            return;
        }
        health.failures = health.failures.saturating_add(1);
        (health.last, health.at, health.probed) = (last, now.mono, false);
        if health.failures >= TOLERATED {
            let pause = pause(health.failures - TOLERATED);
            health.paused = Some((now.mono + pause, after(now.wall, pause)));
        }
    }

    fn make_room(&mut self) {
        if self.0.len() < MAX_REMEMBERED {
            return;
        }
        let oldest = self.0.iter().min_by_key(|(_, health)| health.at).map(|(endpoint, _)| endpoint.clone());
        if let Some(oldest) = oldest {
            self.0.remove(&oldest);
        }
    }
}

/// The pause after this many pauses before it.
fn pause(before: u32) -> Duration {
    PAUSES.0.saturating_mul(1_u32.checked_shl(before).unwrap_or(u32::MAX)).min(PAUSES.1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(url: &str) -> Endpoint {
        Endpoint { namespace: "a".into(), url: url.into(), timeout: Duration::from_secs(10), authorities: None }
    }

    fn at(seconds: u64) -> Now {
        let wall = Timestamp::from_second(i64::try_from(seconds).unwrap()).unwrap();
        Now { wall, server: None, mono: MonotonicTime::new(Duration::from_secs(seconds)) }
    }

    fn failed(class: PollErrorKind) -> Outcome {
        Outcome::Failed(poll_error(class, "no connection: refused"))
    }

    /// Asks at each of these seconds and fails; how many questions went out.
    fn fail_at(endpoints: &mut Endpoints, endpoint: &Endpoint, seconds: impl IntoIterator<Item = u64>) -> usize {
        let mut asked = 0;
        for second in seconds {
            if let Ok(probe) = endpoints.begin(endpoint, at(second)) {
                asked += 1;
                endpoints.settle(endpoint, probe, failed(PollErrorKind::Unreachable), at(second));
            }
        }
        asked
    }

    #[test]
    fn pauses_after_five_failures_and_doubles_the_pause_up_to_five_minutes() {
        let (mut endpoints, one) = (Endpoints::default(), endpoint("http://h/"));
        assert_eq!(fail_at(&mut endpoints, &one, 0..5), 5);
        let mut now = 4;
        for pause in [30, 60, 120, 240, 300, 300] {
            assert_eq!(fail_at(&mut endpoints, &one, now..now + pause), 0, "asked within a pause of {pause} s");
            now += pause;
            assert_eq!(fail_at(&mut endpoints, &one, [now]), 1, "not asked after a pause of {pause} s");
        }
    }

    #[test]
    fn says_why_it_does_not_ask_and_until_when() {
        let (mut endpoints, one) = (Endpoints::default(), endpoint("http://h/"));
        fail_at(&mut endpoints, &one, 0..5);
        let refusal = endpoints.check(&one, at(10)).unwrap_err();
        assert_eq!(refusal.class, PollErrorKind::Paused);
        assert_eq!(
            refusal.message,
            "not asked before 1970-01-01T00:00:34Z, after 5 failures in a row; the last: no connection: refused"
        );
    }

    #[test]
    fn lets_one_question_through_when_the_pause_is_over() {
        let (mut endpoints, one) = (Endpoints::default(), endpoint("http://h/"));
        fail_at(&mut endpoints, &one, 0..5);
        assert_eq!(endpoints.begin(&one, at(34)), Ok(true));
        let other = endpoints.begin(&one, at(35)).unwrap_err();
        assert!(other.message.starts_with("not asked while another question finds out"), "{}", other.message);
        // One that is given up leaves the turn to the next.
        endpoints.settle(&one, true, Outcome::Unknown, at(35));
        assert_eq!(endpoints.begin(&one, at(36)), Ok(true));
        endpoints.settle(&one, true, Outcome::Reached, at(36));
        assert_eq!(endpoints.begin(&one, at(36)), Ok(false));
        assert_eq!(fail_at(&mut endpoints, &one, 37..41), 4, "the count began anew");
    }

    #[test]
    fn an_answer_between_failures_ends_the_count() {
        let (mut endpoints, one) = (Endpoints::default(), endpoint("http://h/"));
        for round in 0..10 {
            assert_eq!(fail_at(&mut endpoints, &one, round * 5..round * 5 + 4), 4);
            endpoints.settle(&one, false, Outcome::Reached, at(round * 5 + 4));
        }
    }

    #[test]
    fn failures_of_questions_that_were_under_way_together_are_one_pause() {
        let (mut endpoints, one) = (Endpoints::default(), endpoint("http://h/"));
        for _ in 0..32 {
            assert_eq!(endpoints.begin(&one, at(0)), Ok(false));
        }
        for _ in 0..32 {
            endpoints.settle(&one, false, failed(PollErrorKind::Timeout), at(10));
        }
        assert!(endpoints.check(&one, at(39)).is_err() && endpoints.check(&one, at(40)).is_ok());
    }

    #[test]
    fn an_endpoint_is_slow_from_its_time_out_to_its_next_answer() {
        let (mut endpoints, one) = (Endpoints::default(), endpoint("http://h/"));
        for (outcome, pool) in [
            (failed(PollErrorKind::Unreachable), Pool::Fast),
            (failed(PollErrorKind::Timeout), Pool::Slow),
            (Outcome::Unknown, Pool::Slow),
            (Outcome::Reached, Pool::Fast),
        ] {
            endpoints.settle(&one, false, outcome.clone(), at(0));
            assert_eq!(endpoints.pool(&one), pool, "after {outcome:?}");
        }
    }

    #[test]
    fn who_asks_otherwise_is_not_paused() {
        let (mut endpoints, one) = (Endpoints::default(), endpoint("http://h/"));
        fail_at(&mut endpoints, &one, 0..5);
        for other in [
            Endpoint { namespace: "b".into(), ..one.clone() },
            Endpoint { timeout: Duration::from_mins(1), ..one.clone() },
            Endpoint { authorities: Some([1; 32]), ..one.clone() },
            endpoint("http://h/other"),
        ] {
            assert_eq!(endpoints.check(&other, at(5)), Ok(()), "{other:?}");
        }
    }

    #[test]
    fn only_failures_to_reach_the_endpoint_count() {
        use PollErrorKind::{
            Credentials, Errors, Malformed, NotThere, Parameters, Paused, Refused, Source, Status, Timeout, Tls,
            TooLarge, Unreachable,
        };
        let of = |class, absent_is_fine| Outcome::of::<()>(&Err(poll_error(class, "x")), absent_is_fine);
        for class in [Unreachable, NotThere, Tls, Timeout] {
            assert_eq!(of(class, false), Outcome::Failed(poll_error(class, "x")));
        }
        for class in [Status, TooLarge, Malformed] {
            assert_eq!(of(class, false), Outcome::Reached);
        }
        for class in [Refused, Credentials, Errors, Parameters, Source, Paused] {
            assert_eq!(of(class, false), Outcome::Unknown);
        }
        assert_eq!(of(NotThere, true), Outcome::Reached);
        assert_eq!(of(Unreachable, true), Outcome::Failed(poll_error(Unreachable, "x")));
        assert_eq!(Outcome::of(&Ok(()), false), Outcome::Reached);
    }

    #[test]
    fn remembers_a_bounded_number_of_endpoints_and_forgets_the_oldest() {
        let mut endpoints = Endpoints::default();
        for n in 0..=MAX_REMEMBERED {
            let second = u64::try_from(n).unwrap();
            fail_at(&mut endpoints, &endpoint(&format!("http://h/{n}")), [second]);
        }
        assert_eq!(endpoints.0.len(), MAX_REMEMBERED);
        assert!(!endpoints.0.contains_key(&endpoint("http://h/0")));
    }
}
