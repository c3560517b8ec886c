//! Requests on their way: from their sending over their effect to their reply.

use std::fmt;

use super::{Incarnation, Reply, Request, Tick, Types, Versioned};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage<K: Types> {
    /// On its way to the server.
    Sent,
    /// A POST that admission has let pass at this moment, and that is not stored yet.
    Admitted(Tick),
    /// It has taken effect or been refused; the reply is on its way.
    Replied(Reply<K>),
}

/// A request on its way. It outlives its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flight<K: Types> {
    pub owner: Incarnation,
    /// The replica whose reconcile waits for the reply; `None` once it does not wait any more.
    pub waiting: Option<u8>,
    pub request: Request<K>,
    pub stage: Stage<K>,
}

impl<K: Types> Flight<K> {
    /// The same with this reply.
    pub fn replied(self, reply: Reply<K>) -> Self {
        Self { stage: Stage::Replied(reply), ..self }
    }

    /// The reply that is on its way to this replica.
    pub fn reply_to(&self, replica: usize) -> Option<Reply<K>> {
        match self.stage {
            Stage::Replied(reply) if self.waiting.is_some_and(|waiting| usize::from(waiting) == replica) => Some(reply),
            _ => None,
        }
    }
}

/// Takes one out of those that are on their way.
pub fn take<K: Types>(flights: &mut Vec<Flight<K>>, flight: &Flight<K>) {
    let at = flights.iter().position(|known| known == flight).unwrap();
    flights.remove(at);
}

/// This replica does not wait for its requests any more.
pub fn abandon<K: Types>(flights: &mut [Flight<K>], replica: u8) {
    for flight in flights.iter_mut().filter(|flight| flight.waiting == Some(replica)) {
        flight.waiting = None;
    }
}

impl<K: Types> Versioned for Flight<K> {
    fn each_version(&mut self, visit: &mut dyn FnMut(&mut u8)) {
        self.request.each_version(visit);
        if let Stage::Replied(reply) = &mut self.stage {
            reply.each_version(visit);
        }
    }
}

/// The request and its sender.
impl<K: Types> fmt::Display for Flight<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.waiting {
            Some(replica) => write!(f, "{} of replica {replica}", self.request),
            None => write!(f, "{} without a waiting sender", self.request),
        }
    }
}
