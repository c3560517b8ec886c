//! Leader election as one replica sees it: decided from its observations and local monotonic time alone. Pure.
//!
//! The safety of runs does not depend on this: the compare-and-swap of the reservation orders two leaders. The election
//! saves work, and keeps a replica that is cut off from polling and writing.
//!
//! Wall clocks of different machines are never compared. A holder counts as dead when its lease has not *changed* for a
//! whole lease duration by our own clock. The holder itself stops [`Terms::step_down`] after it *sent* its last
//! successful renewal, which is before any other replica can take over: they count from the moment when they saw the
//! renewal. Both hold as long as no replica's clock runs more than 1.5 times as fast as another's. `tests/model/lease`
//! explores all of this.

use std::time::Duration;

use jiff::Timestamp;

use super::time::{MonotonicTime, until};

/// Longest duration of a lease. A lease with a longer duration was not written by this operator.
pub const MAX_DURATION: Duration = Duration::from_mins(5);

/// Longest time without a leader that counts: the longest interval between two polls. After it every object has missed a
/// turn, so a `renewTime` that is further in the past, or wrong, changes nothing more.
const MAX_UNLED: Duration = Duration::from_hours(720);

/// The durations of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Terms {
    /// How long a lease holds without being renewed.
    pub duration: Duration,
}

impl Terms {
    /// A leader that could not renew for this long stops leading.
    pub fn step_down(&self) -> Duration {
        self.duration * 2 / 3
    }

    /// Pause between two reads of the lease, or two renewals.
    pub fn retry(&self) -> Duration {
        self.duration / 6
    }

    /// How long a call may take; a later response is ignored.
    pub fn call(&self) -> Duration {
        self.duration / 3
    }
}

/// The lease as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredLease {
    /// Its uid. A write carries it: otherwise an update that arrives after the lease was deleted would create it again.
    pub uid: String,
    /// Its resourceVersion: the precondition of every write. A new one means that the lease has changed.
    pub version: String,
    /// Identity of its holder; `None` if it was released.
    pub holder: Option<String>,
    /// The duration that its holder states.
    pub duration: Duration,
    /// How often its holder has changed.
    pub transitions: i32,
    /// When its holder renewed it last, or stopped acting before it released it. By the API server's clock, as that holder
    /// knew it. The election ignores it.
    pub renewed_at: Option<Timestamp>,
}

impl StoredLease {
    /// How long no replica has led at `now`, by the API server's clock, if the holder of this lease leads no more. Zero if that
    /// is not known, or if the lease says that it was renewed after `now`.
    pub fn unled_for(&self, now: Timestamp) -> Duration {
        self.renewed_at.map_or(Duration::ZERO, |renewed| until(renewed, now)).min(MAX_UNLED)
    }
}

/// The election as one replica knows it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Election {
    identity: String,
    /// The result of the last successful read or claim; `None` before the first.
    seen: Option<SeenLease>,
    /// When the last successful renewal was sent.
    renewed: Option<MonotonicTime>,
    /// When the last claim or failed call was sent, or the last successful read returned. The pause between calls
    /// counts from it.
    called: Option<MonotonicTime>,
    /// Whether the last call failed. Then `seen` may be out of date, so the next step is to read the lease.
    failed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct SeenLease {
    /// The lease; `None` if there is none.
    stored: Option<StoredLease>,
    /// The replica that may believe that it leads, and for how long after `since`. Kept when the lease is deleted.
    holder: Option<(String, Duration)>,
    /// Since when this has not changed, by the local clock.
    since: MonotonicTime,
}

/// The next step of a replica.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ElectionStep {
    /// Read the lease.
    Read,
    /// Write this replica as the holder: into a new lease (`None`), or in place of this one.
    Claim(Option<StoredLease>),
    /// Wait until this moment: a leader until its next renewal, any replica after a failed call.
    Rest(MonotonicTime),
    /// Wait until this moment, but read the lease as soon as it seems to have changed.
    Watch(MonotonicTime),
}

impl Election {
    /// A replica that knows nothing yet. No other process may have, or ever have had, the same identity.
    pub const fn new(identity: String) -> Self {
        Self { identity, seen: None, renewed: None, called: None, failed: false }
    }

    /// The identity of this replica.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Stores the result of a read at `now`, the moment of its response; `None` if there is no lease.
    pub fn observe(&mut self, stored: Option<StoredLease>, now: MonotonicTime) {
        (self.called, self.failed) = (Some(now), false);
        let before = self.seen.take();
        if let Some(before) = &before
            && before.stored == stored
        {
            self.seen = Some(before.clone());
            return;
        }
        let holder = match &stored {
            Some(stored) => stored.holder.clone().map(|holder| (holder, stored.duration.min(MAX_DURATION))),
            // A lease without a holder may have been claimed before it was deleted.
            None => before.and_then(|before| {
                before.holder.or(before.stored.map(|stored| (String::new(), stored.duration.min(MAX_DURATION))))
            }),
        };
        if holder.as_ref().is_some_and(|(holder, _)| *holder != self.identity) {
            self.resign();
        }
        self.seen = Some(SeenLease { stored, holder, since: now });
    }

    /// Stores the result of a successful claim that was sent at `sent`.
    pub fn claimed(&mut self, stored: StoredLease, sent: MonotonicTime) {
        (self.called, self.failed, self.renewed) = (Some(sent), false, Some(sent));
        let holder = Some((self.identity.clone(), stored.duration));
        self.seen = Some(SeenLease { stored: Some(stored), holder, since: sent });
    }

    /// Records that a read or a claim that was sent at `sent` was refused, or got no response.
    pub fn failed(&mut self, sent: MonotonicTime) {
        (self.called, self.failed) = (Some(sent), true);
    }

    /// Stops leading, regardless of the lease.
    pub fn resign(&mut self) {
        self.renewed = None;
    }

    /// Whether this replica leads at `now`.
    pub fn leads(&self, terms: Terms, now: MonotonicTime) -> bool {
        self.renewed.is_some_and(|sent| now < sent + terms.step_down())
    }

    /// The lease that a release replaces; `None` unless this replica holds it.
    pub fn held(&self) -> Option<&StoredLease> {
        let stored = self.seen.as_ref().and_then(|seen| seen.stored.as_ref());
        stored.filter(|stored| stored.holder.as_ref() == Some(&self.identity))
    }

    /// Whether this is the lease that was seen last, so that no read is needed.
    pub fn is_last_seen(&self, found: Option<&StoredLease>) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.stored.as_ref() == found)
    }

    /// How long a call that is sent at `now` may take. The call of a leader ends no later than its leadership.
    pub fn call_timeout(&self, terms: Terms, now: MonotonicTime) -> Duration {
        match self.renewed.filter(|_| self.leads(terms, now)) {
            Some(sent) => (sent + terms.step_down()).since(now).min(terms.call()),
            None => terms.call(),
        }
    }

    /// What to do at `now`.
    pub fn next(&self, terms: Terms, now: MonotonicTime) -> ElectionStep {
        let read = self.called.map_or(now, |called| called + terms.retry());
        let Some(seen) = self.seen.as_ref().filter(|_| !self.failed) else {
            return if read <= now { ElectionStep::Read } else { ElectionStep::Rest(read) };
        };
        let leads = self.leads(terms, now);
        let due = match &seen.holder {
            None => seen.since,
            Some((holder, _)) if *holder == self.identity && (leads || seen.stored.is_some()) => {
                self.renewed.map_or(seen.since, |sent| sent + terms.retry())
            }
            Some((_, duration)) => seen.since + terms.duration.max(*duration),
        };
        match () {
            // A replica that does not lead decides only on a recent read.
            () if !leads && read <= now => ElectionStep::Read,
            () if due <= now => ElectionStep::Claim(seen.stored.clone()),
            () if leads => ElectionStep::Rest(due),
            () => ElectionStep::Watch(due.min(read)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { duration: Duration::from_secs(15) };

    fn at(second: u64) -> MonotonicTime {
        MonotonicTime::new(Duration::from_secs(second))
    }

    fn lease(version: &str, holder: Option<&str>) -> StoredLease {
        StoredLease {
            uid: "u".into(),
            version: version.into(),
            holder: holder.map(str::to_owned),
            duration: TERMS.duration,
            transitions: 0,
            renewed_at: None,
        }
    }

    fn election(identity: &str) -> Election {
        Election::new(identity.into())
    }

    /// The first second from `from` on at which the replica claims, if it reads every second and finds this.
    fn claims(election: &mut Election, found: Option<&StoredLease>, from: u64) -> u64 {
        let claims = |second: &u64| {
            election.observe(found.cloned(), at(*second));
            matches!(election.next(TERMS, at(*second)), ElectionStep::Claim(_))
        };
        (from..from + 1000).find(claims).unwrap()
    }

    #[test]
    fn lease_tells_how_long_no_replica_led_within_bounds() {
        let now: Timestamp = "2026-06-01T12:00:00Z".parse().unwrap();
        let unled = |renewed_at: Option<&str>| {
            let renewed_at = renewed_at.map(|text| text.parse().unwrap());
            StoredLease { renewed_at, ..lease("1", Some("b")) }.unled_for(now)
        };
        for (renewed, expected) in [
            (None, Duration::ZERO),
            (Some("2026-06-01T11:59:40.5Z"), Duration::from_millis(19_500)),
            (Some("2026-05-31T11:00:00Z"), Duration::from_hours(25)),
            (Some("2026-06-01T12:00:01Z"), Duration::ZERO),
            (Some("9999-01-01T00:00:00Z"), Duration::ZERO),
            (Some("0001-01-01T00:00:00Z"), MAX_UNLED),
        ] {
            assert_eq!(unled(renewed), expected, "{renewed:?}");
        }
    }

    #[test]
    fn reads_the_lease_first_and_claims_a_free_one_at_once() {
        let mut a = election("a");
        assert_eq!(a.next(TERMS, at(0)), ElectionStep::Read);
        a.observe(None, at(0));
        assert_eq!(a.next(TERMS, at(0)), ElectionStep::Claim(None));
        a.observe(Some(lease("1", None)), at(5));
        assert_eq!(a.next(TERMS, at(5)), ElectionStep::Claim(Some(lease("1", None))));
    }

    #[test]
    fn waits_a_whole_duration_after_the_last_change_of_the_lease() {
        let mut a = election("a");
        a.observe(Some(lease("1", Some("b"))), at(0));
        assert!(matches!(a.next(TERMS, at(0)), ElectionStep::Watch(_)));
        assert_eq!(claims(&mut a, Some(&lease("2", Some("b"))), 14), 29);
    }

    #[test]
    fn waits_as_long_as_the_holder_states_within_bounds() {
        let says = |seconds| StoredLease { duration: Duration::from_secs(seconds), ..lease("1", Some("b")) };
        for (seconds, waits) in [(1, 15), (60, 60), (9999, MAX_DURATION.as_secs())] {
            assert_eq!(claims(&mut election("a"), Some(&says(seconds)), 0), waits, "{seconds} s");
        }
    }

    #[test]
    fn waits_for_a_deleted_lease_as_if_it_still_existed() {
        for holder in [Some("b"), None] {
            let mut a = election("a");
            a.observe(Some(lease("1", holder)), at(0));
            assert_eq!(claims(&mut a, None, 10), 25, "held by {holder:?}");
        }
    }

    #[test]
    fn stops_leading_before_another_replica_can_begin() {
        let mut leader = election("a");
        leader.claimed(lease("1", Some("a")), at(100));
        // The other replica sees the renewal no earlier than it was sent.
        let begins = claims(&mut election("b"), Some(&lease("1", Some("a"))), 100);
        let ends = (100..200).find(|second| !leader.leads(TERMS, at(*second))).unwrap();
        assert_eq!((ends, begins), (110, 115));
    }

    #[test]
    fn stops_leading_when_it_sees_another_holder() {
        let mut a = election("a");
        a.claimed(lease("1", Some("a")), at(0));
        a.observe(Some(lease("2", Some("b"))), at(1));
        assert!(!a.leads(TERMS, at(1)));
    }

    #[test]
    fn renews_well_before_it_would_have_to_step_down() {
        let mut a = election("a");
        a.claimed(lease("1", Some("a")), at(0));
        assert_eq!(a.next(TERMS, at(2)), ElectionStep::Rest(MonotonicTime::new(Duration::from_millis(2500))));
        assert!(matches!(a.next(TERMS, at(3)), ElectionStep::Claim(Some(_))));
    }

    #[test]
    fn leader_whose_renewal_got_no_response_reads_and_renews_without_another_pause() {
        let mut a = election("a");
        a.claimed(lease("1", Some("a")), at(0));
        a.failed(at(3));
        assert_eq!(a.next(TERMS, at(4)), ElectionStep::Rest(MonotonicTime::new(Duration::from_millis(5500))));
        assert_eq!(a.next(TERMS, at(8)), ElectionStep::Read);
        a.observe(Some(lease("2", Some("a"))), at(8));
        assert_eq!(a.next(TERMS, at(8)), ElectionStep::Claim(Some(lease("2", Some("a")))));
    }

    #[test]
    fn leader_waits_for_no_response_beyond_its_leadership() {
        let mut a = election("a");
        assert_eq!(a.call_timeout(TERMS, at(0)), Duration::from_secs(5));
        a.claimed(lease("1", Some("a")), at(0));
        assert_eq!(a.call_timeout(TERMS, at(3)), Duration::from_secs(5));
        assert_eq!(a.call_timeout(TERMS, at(8)), Duration::from_secs(2));
        assert_eq!(a.call_timeout(TERMS, at(20)), Duration::from_secs(5));
    }

    #[test]
    fn releases_only_a_lease_that_it_holds() {
        let mut a = election("a");
        a.observe(Some(lease("1", Some("b"))), at(0));
        assert_eq!(a.held(), None);
        a.claimed(lease("2", Some("a")), at(20));
        a.resign();
        assert_eq!(a.held(), Some(&lease("2", Some("a"))));
        assert!(!a.leads(TERMS, at(20)));
    }
}
