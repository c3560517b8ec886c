//! The mutants. Each alters what the shipped code sees, or how its steps are carried out.

use modelsync::core::{
    election::{Election, ElectionStep, StoredLease, Terms},
    time::MonotonicTime,
};

use super::world::{Lease, Replica, Units, duration, stored};
use crate::common::mutants;

mutants! {
    /// A renewal counts from its reply.
    RenewedWhenReplied,
    /// The holder is judged by `renewTime` and the own wall clock.
    ExpiryByWallClock,
    /// An update ignores the version of the lease.
    WriteWithoutVersion,
    /// An update that arrives after the lease was deleted creates it again.
    WriteWithoutUid,
    /// A leader stops only after the end of its lease.
    StepDownAfterExpiry,
    /// A new process treats the first lease that it sees as unchanged for a long time.
    TakeoverWithoutWait,
    /// A replica that stops releases the lease even if another one holds it.
    ReleaseUnchecked,
    /// An observation counts from the sending of its read.
    SeenWhenSent,
    /// A standby waits for the duration of its own lease, not for that of the lease it sees.
    OwnDuration,
    /// A replica takes a deleted lease at once.
    VanishedIsFree,
    /// The wait begins again with every read, whether the lease has changed or not.
    WaitsAnewWithEachRead,
    /// The shipped election, with one clock twice as fast as the other: more than the terms allow.
    ClockTooFast,
}

impl Mutant {
    /// The terms by which a replica judges itself.
    pub fn own_terms(self, terms: Terms) -> Terms {
        match self {
            Self::StepDownAfterExpiry => Terms { duration: terms.duration * 2 },
            _ => terms,
        }
    }

    /// The moment from which a claim counts that was sent and replied to at these moments.
    pub fn renewed(self, sent: MonotonicTime, replied: MonotonicTime) -> MonotonicTime {
        if self == Self::RenewedWhenReplied { replied } else { sent }
    }

    /// Stores the result of a read that was sent at `sent`.
    pub fn observe(self, replica: &mut Replica, found: Option<Lease>, sent: Units, terms: Terms) {
        let mut lease = found.map(stored);
        let mut now = replica.now();
        let leads = replica.election.leads(terms, now);
        let identity = replica.election.identity().to_owned();
        match self {
            Self::TakeoverWithoutWait if !replica.met => {
                replica.election.observe(lease.clone(), MonotonicTime::new(duration(0)));
            }
            Self::SeenWhenSent => now = MonotonicTime::new(duration(sent)),
            Self::OwnDuration => lease = lease.map(|lease| StoredLease { duration: duration(0), ..lease }),
            Self::VanishedIsFree if lease.is_none() && !leads => replica.election = Election::new(identity),
            Self::WaitsAnewWithEachRead if !leads => replica.election = Election::new(identity),
            _ => {}
        }
        replica.sight = found;
        replica.election.observe(lease, now);
    }

    /// Alters the next step; `wall` is the replica's wall clock.
    pub fn step(self, step: ElectionStep, replica: &Replica, wall: Units) -> ElectionStep {
        match (self, step, replica.sight) {
            (Self::ExpiryByWallClock, ElectionStep::Watch(_), Some(lease))
                if lease.renew_time + lease.duration <= wall =>
            {
                ElectionStep::Claim(Some(stored(lease)))
            }
            (_, step, _) => step,
        }
    }

    /// The lease that a release replaces.
    pub fn released(self, replica: &Replica) -> Option<StoredLease> {
        match (self, replica.election.held()) {
            (Self::ReleaseUnchecked, None) => replica.sight.map(stored),
            (_, held) => held.cloned(),
        }
    }
}
