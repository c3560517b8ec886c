//! The state: the Lease, the replicas with their clocks, and the requests in flight. Small, ordered and hashable.

use std::{fmt, time::Duration};

use modelsync::core::{
    election::{Election, StoredLease},
    time::MonotonicTime,
};

/// The unit of the clocks.
pub type Units = u16;

/// A process: its replica, and how often the replica has restarted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Process {
    pub replica: u8,
    pub life: u8,
}

/// The Lease in the API server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Lease {
    pub uid: u8,
    pub version: u8,
    pub holder: Option<Process>,
    pub duration: Units,
    /// The writer's wall clock; set only for the mutant that reads it.
    pub renew_time: Units,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Request {
    Get,
    /// Creates the lease, or replaces the one of this uid and version.
    Write {
        old: Option<(u8, u8)>,
        holder: Option<Process>,
        duration: Units,
        renew_time: Units,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// In flight to the server.
    Sent,
    /// The reply is in flight: the lease as it was found or stored.
    Found(Option<Lease>),
    Refused,
}

/// A request in flight. It outlives its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flight {
    pub from: Process,
    pub request: Request,
    pub stage: Stage,
    /// Whether the sender still waits for the reply.
    pub waited: bool,
}

/// The call that a replica waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// When it was sent, and when the replica gives up, by its own clock.
    pub sent: Units,
    pub until: Units,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    pub life: u8,
    /// Its monotonic clock.
    pub clock: Units,
    pub election: Election,
    pub call: Option<Call>,
    /// It has resigned and waits for the reply to its release, if it sent one.
    pub stopping: bool,
    /// It has seen the lease in this life.
    pub met: bool,
    /// The lease as it last saw it.
    pub sight: Option<Lease>,
}

impl Replica {
    pub fn started(process: Process, clock: Units) -> Self {
        Self {
            life: process.life,
            clock,
            election: Election::new(process.to_string()),
            call: None,
            stopping: false,
            met: false,
            sight: None,
        }
    }

    pub fn now(&self) -> MonotonicTime {
        MonotonicTime::new(duration(self.clock))
    }
}

/// How often each fault may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    pub crashes: u8,
    /// Orderly stops, each followed by a new process.
    pub stops: u8,
    /// Calls that are given up early: a broken connection. Late replies need no budget.
    pub breaks: u8,
    pub deletions: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub tick: u8,
    pub lease: Option<Lease>,
    /// Numbers of versions and uids assigned so far.
    pub given: (u8, u8),
    pub replicas: Vec<Replica>,
    pub flights: Vec<Flight>,
    pub budget: Budget,
    /// Whether another process has taken a held lease; whether one has taken a released lease.
    pub taken: (bool, bool),
    pub deleted: bool,
}

pub fn duration(units: Units) -> Duration {
    Duration::from_secs(units.into())
}

/// The lease as a reader gets it.
pub fn stored(lease: Lease) -> StoredLease {
    StoredLease {
        uid: lease.uid.to_string(),
        version: lease.version.to_string(),
        holder: lease.holder.map(|holder| holder.to_string()),
        duration: duration(lease.duration),
        transitions: 0,
        renewed_at: None,
    }
}

impl fmt::Display for Process {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.replica, self.life)
    }
}

impl fmt::Display for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.request {
            Request::Get => write!(f, "the read of {}", self.from)?,
            Request::Write { old: None, .. } => write!(f, "the create of {}", self.from)?,
            Request::Write { old: Some((_, version)), holder, .. } => {
                let what = if holder.is_some() { "claim" } else { "release" };
                write!(f, "the {what} of {} on version {version}", self.from)?;
            }
        }
        if self.waited { Ok(()) } else { write!(f, ", whose sender does not wait,") }
    }
}
