//! Who leads, as far as one replica can know: decided from observations and local monotonic time alone. Pure.
//!
//! The safety of runs does not rest on this: the compare-and-swap of the reservation orders two leaders. Leading saves
//! work, and keeps a replica that lost its way from asking and writing.
//!
//! Wall clocks of different machines are never compared. A holder counts as dead when its lease has not *changed* for a
//! whole lease duration by our own clock. The holder itself stops [`Terms::step_down`] after it *sent* its last successful
//! renewal, which is earlier than any other replica can count: they began to count when they saw it. Both hold as long as
//! no replica's clock runs more than half as fast again as another's. `tests/model/lease` explores all of this.

use std::time::Duration;

use super::time::MonotonicTime;

/// Longest duration of a lease. One that says more was not written by a replica of ours.
pub const LONGEST: Duration = Duration::from_mins(5);

/// The times of an election.
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

    /// Pause between two looks at the lease, or two renewals.
    pub fn retry(&self) -> Duration {
        self.duration / 6
    }

    /// How long a call may take; a reply that comes later is none.
    pub fn call(&self) -> Duration {
        self.duration / 3
    }
}

/// The lease as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct StoredLease {
    /// Its uid. A write carries it: an update that arrives after the lease was deleted would else create it again.
    pub uid: String,
    /// Its resourceVersion: what a write is conditional on, and what tells that it changed.
    pub version: String,
    /// Who holds it; `None` when it was released.
    pub holder: Option<String>,
    /// How long its holder says that it holds.
    pub duration: Duration,
    /// How often it changed hands.
    pub transitions: i32,
}

/// What one replica knows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Election {
    identity: String,
    /// What the last look or claim brought; `None` before the first.
    seen: Option<Seen>,
    /// When the last successful renewal was sent.
    renewed: Option<MonotonicTime>,
    /// When the last call that failed was sent, or the last one that did not was known: calls keep a pause.
    called: Option<MonotonicTime>,
    /// Whether the last call failed: what is known may be old, so a look comes before anything else.
    failed: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Seen {
    /// The lease; `None` where there is none.
    stored: Option<StoredLease>,
    /// Who may believe to lead, and how long it takes until nobody does. Outlives a lease that is deleted.
    holder: Option<(String, Duration)>,
    /// Since when it is like that, by our clock.
    since: MonotonicTime,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Step {
    /// Read the lease.
    Look,
    /// Write ourselves as holder: as a new lease (`None`), or in place of this one.
    Claim(Option<StoredLease>),
    /// Nothing until this moment: a leader renews then, and a call that failed is followed by a pause.
    Rest(MonotonicTime),
    /// Nothing until this moment, or look as soon as the lease seems to have changed.
    Watch(MonotonicTime),
}

impl Election {
    /// A replica that knows nothing. The identity is one that no other process has, or had.
    pub const fn new(identity: String) -> Self {
        Self { identity, seen: None, renewed: None, called: None, failed: false }
    }

    /// Who we are.
    pub fn identity(&self) -> &str {
        &self.identity
    }

    /// Takes in what a look brought at `now`, the moment of its reply; `None` where there is no lease.
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
            Some(stored) => stored.holder.clone().map(|holder| (holder, stored.duration.min(LONGEST))),
            // A lease that nobody held may have been taken before it was deleted.
            None => before.and_then(|before| {
                before.holder.or(before.stored.map(|stored| (String::new(), stored.duration.min(LONGEST))))
            }),
        };
        if holder.as_ref().is_some_and(|(holder, _)| *holder != self.identity) {
            self.resign();
        }
        self.seen = Some(Seen { stored, holder, since: now });
    }

    /// Takes in a successful claim that was sent at `sent`.
    pub fn claimed(&mut self, stored: StoredLease, sent: MonotonicTime) {
        (self.called, self.failed, self.renewed) = (Some(sent), false, Some(sent));
        let holder = Some((self.identity.clone(), stored.duration));
        self.seen = Some(Seen { stored: Some(stored), holder, since: sent });
    }

    /// Takes in that a look or a claim that was sent at `sent` was refused, or brought no reply.
    pub fn failed(&mut self, sent: MonotonicTime) {
        (self.called, self.failed) = (Some(sent), true);
    }

    /// Gives up leading, whatever the lease says.
    pub fn resign(&mut self) {
        self.renewed = None;
    }

    /// Whether this replica leads at `now`.
    pub fn leads(&self, terms: Terms, now: MonotonicTime) -> bool {
        self.renewed.is_some_and(|sent| now < sent + terms.step_down())
    }

    /// The lease that a release replaces: only while it is ours.
    pub fn held(&self) -> Option<&StoredLease> {
        let stored = self.seen.as_ref().and_then(|seen| seen.stored.as_ref());
        stored.filter(|stored| stored.holder.as_ref() == Some(&self.identity))
    }

    /// Whether this is what was seen last: then there is nothing to look at.
    pub fn knows(&self, found: Option<&StoredLease>) -> bool {
        self.seen.as_ref().is_some_and(|seen| seen.stored.as_ref() == found)
    }

    /// How long a call that is sent at `now` may take. A leader is back when its belief ends.
    pub fn patience(&self, terms: Terms, now: MonotonicTime) -> Duration {
        match self.renewed.filter(|_| self.leads(terms, now)) {
            Some(sent) => (sent + terms.step_down()).since(now).min(terms.call()),
            None => terms.call(),
        }
    }

    /// What to do at `now`.
    pub fn next(&self, terms: Terms, now: MonotonicTime) -> Step {
        let look = self.called.map_or(now, |called| called + terms.retry());
        let Some(seen) = self.seen.as_ref().filter(|_| !self.failed) else {
            return if look <= now { Step::Look } else { Step::Rest(look) };
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
            // Who does not lead decides on what it saw lately.
            () if !leads && look <= now => Step::Look,
            () if due <= now => Step::Claim(seen.stored.clone()),
            () if leads => Step::Rest(due),
            () => Step::Watch(due.min(look)),
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
        }
    }

    fn election(identity: &str) -> Election {
        Election::new(identity.into())
    }

    /// The first second from `from` on at which the replica claims, if it looks every second and finds this.
    fn claims(election: &mut Election, found: Option<&StoredLease>, from: u64) -> u64 {
        let claims = |second: &u64| {
            election.observe(found.cloned(), at(*second));
            matches!(election.next(TERMS, at(*second)), Step::Claim(_))
        };
        (from..from + 1000).find(claims).unwrap()
    }

    #[test]
    fn looks_before_anything_else_and_claims_at_once_what_nobody_holds() {
        let mut a = election("a");
        assert_eq!(a.next(TERMS, at(0)), Step::Look);
        a.observe(None, at(0));
        assert_eq!(a.next(TERMS, at(0)), Step::Claim(None));
        a.observe(Some(lease("1", None)), at(5));
        assert_eq!(a.next(TERMS, at(5)), Step::Claim(Some(lease("1", None))));
    }

    #[test]
    fn waits_a_whole_duration_after_the_lease_last_changed_and_counts_anew_with_each_change() {
        let mut a = election("a");
        a.observe(Some(lease("1", Some("b"))), at(0));
        assert!(matches!(a.next(TERMS, at(0)), Step::Watch(_)));
        assert_eq!(claims(&mut a, Some(&lease("2", Some("b"))), 14), 29);
    }

    #[test]
    fn waits_as_long_as_the_holder_says_within_reason() {
        let says = |seconds| StoredLease { duration: Duration::from_secs(seconds), ..lease("1", Some("b")) };
        for (seconds, waits) in [(1, 15), (60, 60), (9999, LONGEST.as_secs())] {
            assert_eq!(claims(&mut election("a"), Some(&says(seconds)), 0), waits, "{seconds} s");
        }
    }

    #[test]
    fn lease_that_vanishes_is_waited_for_as_if_it_were_there() {
        for holder in [Some("b"), None] {
            let mut a = election("a");
            a.observe(Some(lease("1", holder)), at(0));
            assert_eq!(claims(&mut a, None, 10), 25, "held by {holder:?}");
        }
    }

    #[test]
    fn stops_leading_before_anybody_else_may_begin() {
        let mut leader = election("a");
        leader.claimed(lease("1", Some("a")), at(100));
        // The other replica can have seen the lease no earlier than it was sent.
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
        assert_eq!(a.next(TERMS, at(2)), Step::Rest(MonotonicTime::new(Duration::from_millis(2500))));
        assert!(matches!(a.next(TERMS, at(3)), Step::Claim(Some(_))));
    }

    #[test]
    fn leader_whose_renewal_brought_no_reply_looks_and_renews_without_another_pause() {
        let mut a = election("a");
        a.claimed(lease("1", Some("a")), at(0));
        a.failed(at(3));
        assert_eq!(a.next(TERMS, at(4)), Step::Rest(MonotonicTime::new(Duration::from_millis(5500))));
        assert_eq!(a.next(TERMS, at(8)), Step::Look);
        a.observe(Some(lease("2", Some("a"))), at(8));
        assert_eq!(a.next(TERMS, at(8)), Step::Claim(Some(lease("2", Some("a")))));
    }

    #[test]
    fn leader_waits_for_no_reply_beyond_its_belief() {
        let mut a = election("a");
        assert_eq!(a.patience(TERMS, at(0)), Duration::from_secs(5));
        a.claimed(lease("1", Some("a")), at(0));
        assert_eq!(a.patience(TERMS, at(3)), Duration::from_secs(5));
        assert_eq!(a.patience(TERMS, at(8)), Duration::from_secs(2));
        assert_eq!(a.patience(TERMS, at(20)), Duration::from_secs(5));
    }

    #[test]
    fn releases_only_what_is_its_own() {
        let mut a = election("a");
        a.observe(Some(lease("1", Some("b"))), at(0));
        assert_eq!(a.held(), None);
        a.claimed(lease("2", Some("a")), at(20));
        a.resign();
        assert_eq!(a.held(), Some(&lease("2", Some("a"))));
        assert!(!a.leads(TERMS, at(20)));
    }
}
