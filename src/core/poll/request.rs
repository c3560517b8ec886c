//! What is polled, in which context, and when. Pure.

use std::{sync::Arc, time::Duration};

use super::response::PollResponse;
use crate::api::{Compare, Request};
use crate::core::time::MonotonicTime;

/// What is asked. Checked by `validate`: whoever asks relies on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PollTarget {
    /// Whether an endpoint says that a sync is needed.
    NeedsSync {
        /// URL of the endpoint.
        url: Box<str>,
        /// How it is asked; as by default where it says nothing.
        request: Option<Box<Request>>,
    },
    /// Whether two values differ.
    Compare(Box<Compare>),
}

/// A question as it is put to whoever can answer it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll<Q = PollTarget> {
    /// What is asked.
    pub target: Q,
    /// Namespace of the object that asks.
    pub namespace: Arc<str>,
    /// Name of the object that asks.
    pub name: Arc<str>,
    /// The facts that the answer is good for.
    pub context: PollContext,
    /// The last answer to the same question, for endpoints that can say that it still holds.
    pub previous: Option<Arc<PollResponse>>,
}

/// When the object's question is to be asked, and under which facts. The question itself is the spec's of that generation:
/// kept here as well, it would double what ten thousand waiting objects weigh.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollRequest {
    /// When.
    pub at: MonotonicTime,
    /// The facts that the answer is good for.
    pub context: PollContext,
    /// The last answer to the same question, for endpoints that can say that it still holds.
    pub previous: Option<Arc<PollResponse>>,
}

/// The facts under which an answer was asked for. It is usable only while all of them still hold.
///
/// `ended` stands beside `attempt` so that what was asked while a run was active is not taken for news about the world
/// after it; `revision` so that an answer does not outlive a change of what it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollContext {
    /// The object's uid.
    pub uid: Arc<str>,
    /// The object's generation.
    pub generation: i64,
    /// `status.attempt`.
    pub attempt: i64,
    /// Whether the reservation of that attempt was closed.
    pub ended: bool,
    /// Value of the trigger annotation.
    pub trigger: Option<Arc<str>>,
    /// How often a watched source of the object has changed since this process began.
    pub revision: u64,
}

/// Deadline of one exchange where the user gave none.
pub const POLL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest deadline of one exchange.
pub const MAX_POLL_TIMEOUT: Duration = Duration::from_mins(1);

/// Deadline of one exchange.
pub fn timeout(request: &Request) -> Duration {
    request.timeout.map_or(POLL_TIMEOUT, |given| Duration::from(given).min(MAX_POLL_TIMEOUT))
}
