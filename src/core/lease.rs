//! Who leads, as far as one replica can know: decided from observations and local monotonic time alone. Pure.
//!
//! The safety of runs does not rest on this: the compare-and-swap of the reservation orders two leaders. Leading saves
//! work, and keeps a replica that lost its way from asking and writing.
//!
//! Wall clocks of different machines are never compared. A holder counts as dead when its lease has not *changed* for a
//! whole lease duration by our own clock. The holder itself stops [`Terms::step_down`] after it *sent* its last successful
//! renewal, which is earlier than any other replica can count: they began to count when they saw it.

use std::time::Duration;

use super::time::Mono;

/// The times of an election.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
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
}

/// The lease as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its resourceVersion: what a write is conditional on, and what tells that it changed.
    pub version: String,
    /// Who holds it; `None` when it was released.
    pub holder: Option<String>,
    /// How often it changed hands.
    pub transitions: i32,
}

/// What one replica knows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Election {
    /// The lease as last seen, and since when it is like that by our clock. `None`: there is none.
    seen: Option<(Stored, Mono)>,
    /// When the last successful renewal was sent.
    renewed: Option<Mono>,
}

/// What is to be done next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Write ourselves as holder: as a new lease (`None`), or in place of this one.
    Claim(Option<Stored>),
    /// Look again at this moment.
    Wait(Mono),
}

impl Election {
    /// Takes in what a read brought; `None` where there is no lease.
    pub fn observe(&mut self, stored: Option<Stored>, now: Mono) {
        self.seen = stored.map(|stored| match self.seen.take() {
            Some((old, since)) if old == stored => (stored, since),
            _ => (stored, now),
        });
    }

    /// Takes in a successful claim that was sent at `sent`.
    pub fn claimed(&mut self, stored: Stored, sent: Mono) {
        self.seen = Some((stored, sent));
        self.renewed = Some(sent);
    }

    /// Gives up leading, whatever the lease says.
    pub fn resign(&mut self) {
        self.renewed = None;
    }

    /// Whether this replica leads at `now`.
    pub fn leads(&self, terms: Terms, now: Mono) -> bool {
        self.renewed.is_some_and(|sent| now < sent + terms.step_down())
    }

    /// The lease that a release replaces: only while it is ours.
    pub fn held(&self, identity: &str) -> Option<&Stored> {
        self.seen.as_ref().map(|(stored, _)| stored).filter(|stored| stored.holder.as_deref() == Some(identity))
    }

    /// What to do at `now`, as `identity`.
    pub fn next(&self, identity: &str, terms: Terms, now: Mono) -> Step {
        let Some((stored, since)) = &self.seen else { return Step::Claim(None) };
        let due = match &stored.holder {
            None => *since,
            Some(holder) if holder == identity => self.renewed.map_or(*since, |sent| sent + terms.retry()),
            Some(_) => *since + terms.duration,
        };
        if due <= now { Step::Claim(Some(stored.clone())) } else { Step::Wait(due.min(now + terms.retry())) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERMS: Terms = Terms { duration: Duration::from_secs(15) };

    fn at(second: u64) -> Mono {
        Mono::new(Duration::from_secs(second))
    }

    fn lease(version: &str, holder: Option<&str>) -> Stored {
        Stored { version: version.into(), holder: holder.map(str::to_owned), transitions: 0 }
    }

    #[test]
    fn claims_a_lease_that_nobody_holds_at_once() {
        let mut election = Election::default();
        assert_eq!(election.next("a", TERMS, at(0)), Step::Claim(None));
        election.observe(Some(lease("1", None)), at(5));
        assert_eq!(election.next("a", TERMS, at(5)), Step::Claim(Some(lease("1", None))));
    }

    #[test]
    fn waits_a_whole_duration_after_the_lease_last_changed_and_counts_anew_with_each_change() {
        let mut election = Election::default();
        election.observe(Some(lease("1", Some("b"))), at(0));
        assert!(matches!(election.next("a", TERMS, at(14)), Step::Wait(_)));
        election.observe(Some(lease("2", Some("b"))), at(14));
        assert!(matches!(election.next("a", TERMS, at(28)), Step::Wait(_)));
        election.observe(Some(lease("2", Some("b"))), at(28));
        assert_eq!(election.next("a", TERMS, at(29)), Step::Claim(Some(lease("2", Some("b")))));
    }

    #[test]
    fn stops_leading_before_anybody_else_may_begin() {
        let mut leader = Election::default();
        leader.claimed(lease("1", Some("a")), at(100));
        // The other replica can have seen the lease no earlier than it was sent.
        let mut other = Election::default();
        other.observe(Some(lease("1", Some("a"))), at(100));
        let begins = (100..200).find(|second| matches!(other.next("b", TERMS, at(*second)), Step::Claim(_))).unwrap();
        let ends = (100..200).find(|second| !leader.leads(TERMS, at(*second))).unwrap();
        assert_eq!((ends, begins), (110, 115));
    }

    #[test]
    fn renews_well_before_it_would_have_to_step_down() {
        let mut election = Election::default();
        election.claimed(lease("1", Some("a")), at(0));
        assert!(matches!(election.next("a", TERMS, at(2)), Step::Wait(_)));
        assert!(matches!(election.next("a", TERMS, at(3)), Step::Claim(Some(_))));
    }

    /// A restarted replica under its old name must not wait for itself, nor believe that it leads.
    #[test]
    fn takes_up_its_own_lease_after_a_restart_without_leading_before_it_renewed() {
        let mut election = Election::default();
        election.observe(Some(lease("1", Some("a"))), at(0));
        assert!(!election.leads(TERMS, at(0)));
        assert!(matches!(election.next("a", TERMS, at(0)), Step::Claim(Some(_))));
    }
}
