//! Requests in flight: their sending, their effect and their reply.

use std::fmt;

use super::{Incarnation, Reply, Request, Tick, Types, Versioned};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage<K: Types> {
    /// In flight to the server.
    Sent,
    /// A POST that was admitted at this moment and is not stored yet.
    Admitted(Tick),
    /// It has taken effect or been refused; the reply is in flight.
    Replied(Reply<K>),
}

/// A request in flight. It outlives its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flight<K: Types> {
    pub owner: Incarnation,
    /// The replica whose reconcile waits for the reply; `None` if none waits.
    pub waiting: Option<u8>,
    pub request: Request<K>,
    pub stage: Stage<K>,
}

impl<K: Types> Flight<K> {
    /// The same request with this reply.
    pub fn replied(self, reply: Reply<K>) -> Self {
        Self { stage: Stage::Replied(reply), ..self }
    }

    /// The reply that is in flight to this replica.
    pub fn reply_to(&self, replica: usize) -> Option<Reply<K>> {
        match self.stage {
            Stage::Replied(reply) if self.waiting.is_some_and(|waiting| usize::from(waiting) == replica) => Some(reply),
            _ => None,
        }
    }
}

/// Removes a request from those in flight.
pub fn take<K: Types>(flights: &mut Vec<Flight<K>>, flight: &Flight<K>) {
    let at = flights.iter().position(|known| known == flight).unwrap();
    flights.remove(at);
}

/// Marks the requests of this replica as no longer waited for.
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
