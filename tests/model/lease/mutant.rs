//! The mutants. Each alters what the shipped code sees, or what is done with its steps.

use modelsync::core::{
    election::{Election, Step, StoredLease, Terms},
    time::MonotonicTime,
};

use super::world::{Lease, Replica, Units, duration, stored};
use crate::common::mutants;

mutants! {
    /// A renewal counts from its reply.
    RenewedWhenReplied,
    /// The holder is judged by `renewTime` and the own wall clock.
    ExpiryByWallClock,
    /// An update replaces whatever lease there is.
    WriteWithoutVersion,
    /// An update that comes after the lease was deleted creates it again.
    WriteWithoutUid,
    /// A leader stops after the end of its lease.
    StepDownAfterExpiry,
    /// A new process takes what it sees first as unchanged for a long time.
    TakeoverWithoutWait,
    /// A replica that ends releases the lease even if another one holds it.
    ReleaseUnchecked,
    /// What a look brings counts from its sending.
    SeenWhenAsked,
    /// A lease is waited for as long as the waiting replica's own would hold.
    OwnDuration,
    /// A lease that is deleted is taken at once.
    VanishedIsFree,
    /// The wait begins anew with every look, changed or not.
    WaitsAnewWithEachLook,
    /// The shipped one, with a clock that runs twice as fast as the other: more than the terms allow.
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

    /// When a claim that was sent and answered at these moments counts from.
    pub fn renewed(self, sent: MonotonicTime, replied: MonotonicTime) -> MonotonicTime {
        if self == Self::RenewedWhenReplied { replied } else { sent }
    }

    /// Takes in what a look brought that was sent at `sent`.
    pub fn observe(self, replica: &mut Replica, found: Option<Lease>, sent: Units, terms: Terms) {
        let mut lease = found.map(stored);
        let mut now = replica.now();
        let leads = replica.election.leads(terms, now);
        let identity = replica.election.identity().to_owned();
        match self {
            Self::TakeoverWithoutWait if !replica.met => {
                replica.election.observe(lease.clone(), MonotonicTime::new(duration(0)));
            }
            Self::SeenWhenAsked => now = MonotonicTime::new(duration(sent)),
            Self::OwnDuration => lease = lease.map(|lease| StoredLease { duration: duration(0), ..lease }),
            Self::VanishedIsFree if lease.is_none() && !leads => replica.election = Election::new(identity),
            Self::WaitsAnewWithEachLook if !leads => replica.election = Election::new(identity),
            _ => {}
        }
        replica.sight = found;
        replica.election.observe(lease, now);
    }

    /// Alters the next step; `wall` is the replica's wall clock.
    pub fn step(self, step: Step, replica: &Replica, wall: Units) -> Step {
        match (self, step, replica.sight) {
            (Self::ExpiryByWallClock, Step::Watch(_), Some(lease)) if lease.renew_time + lease.duration <= wall => {
                Step::Claim(Some(stored(lease)))
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
