//! Requests on their way: from their sending over their effect to their reply.

use std::fmt;

use super::{object::Incarnation, time::Tick, versions::Versioned};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage<Reply> {
    /// On its way to the server.
    Sent,
    /// A POST that admission has let pass at this moment, and that is not stored yet.
    Admitted(Tick),
    /// It has taken effect or been refused; the reply is on its way.
    Replied(Reply),
}

/// A request on its way. It outlives its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flight<Request, Reply> {
    pub owner: Incarnation,
    /// The replica whose pass waits for the reply; `None` when nobody does any more.
    pub waiting: Option<u8>,
    pub request: Request,
    pub stage: Stage<Reply>,
}

impl<Request: Copy, Reply: Copy> Flight<Request, Reply> {
    /// The same with this reply.
    pub fn replied(self, reply: Reply) -> Self {
        Self { stage: Stage::Replied(reply), ..self }
    }

    /// The reply that is on its way to this replica.
    pub fn reply_to(&self, replica: usize) -> Option<Reply> {
        match self.stage {
            Stage::Replied(reply) if self.waiting.is_some_and(|waiting| usize::from(waiting) == replica) => Some(reply),
            _ => None,
        }
    }

    /// Where it arrives, in words.
    pub fn arrival(&self) -> &'static str {
        if matches!(self.stage, Stage::Admitted(_)) { "stored" } else { "at the server" }
    }
}

/// Takes one out of those that are on their way.
pub fn take<Request: PartialEq, Reply: PartialEq>(
    flights: &mut Vec<Flight<Request, Reply>>,
    flight: &Flight<Request, Reply>,
) {
    let at = flights.iter().position(|known| known == flight).unwrap();
    flights.remove(at);
}

/// Nobody in this replica waits for its requests any more.
pub fn abandon<Request, Reply>(flights: &mut [Flight<Request, Reply>], replica: u8) {
    for flight in flights.iter_mut().filter(|flight| flight.waiting == Some(replica)) {
        flight.waiting = None;
    }
}

impl<Request: Versioned, Reply: Versioned> Versioned for Flight<Request, Reply> {
    fn each_version(&mut self, visit: &mut dyn FnMut(&mut u8)) {
        self.request.each_version(visit);
        if let Stage::Replied(reply) = &mut self.stage {
            reply.each_version(visit);
        }
    }
}

impl<Reply: fmt::Display> fmt::Display for Stage<Reply> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Replied(reply) => write!(f, "the reply {reply} arrives"),
            Self::Sent | Self::Admitted(_) => write!(f, "no reply"),
        }
    }
}

impl<Request: fmt::Display, Reply> fmt::Display for Flight<Request, Reply> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.waiting {
            Some(replica) => write!(f, "{} of replica {replica}", self.request),
            None => write!(f, "{} that nobody waits for", self.request),
        }
    }
}
