//! The target and the time of a poll. Pure.

use std::{sync::Arc, time::Duration};

use super::{context::PollContext, response::PollResponse};
use crate::api::{Compare, Request};
use crate::core::time::MonotonicTime;

/// The target of a poll. `validate` has checked it, and the poll client relies on that.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PollTarget {
    /// Whether an endpoint says that a sync is needed.
    NeedsSync {
        /// URL of the endpoint.
        url: Box<str>,
        /// Settings of the request; it overrides the defaults.
        request: Option<Box<Request>>,
    },
    /// Whether two values differ.
    Compare(Box<Compare>),
}

/// A poll, with all that the poll client needs to send it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Poll<Q = PollTarget> {
    /// The target.
    pub target: Q,
    /// Namespace of the polled object.
    pub namespace: Arc<str>,
    /// Name of the polled object.
    pub name: Arc<str>,
    /// The facts under which the result counts.
    pub context: PollContext,
    /// The last response to the same poll, for endpoints that can say that it still holds.
    pub previous: Option<Arc<PollResponse>>,
}

/// When an object is to be polled, and in which context. The target is not stored: it is that of the spec of that
/// generation, and a copy would double the memory of ten thousand waiting objects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollRequest {
    /// When the poll is due.
    pub at: MonotonicTime,
    /// The facts under which the result counts.
    pub context: PollContext,
    /// The last response to the same poll, for endpoints that can say that it still holds.
    pub previous: Option<Arc<PollResponse>>,
}

/// Deadline of one exchange if the user sets none.
pub const POLL_TIMEOUT: Duration = Duration::from_secs(10);
/// Longest deadline of one exchange.
pub const MAX_POLL_TIMEOUT: Duration = Duration::from_mins(1);

/// Deadline of one exchange.
pub fn timeout(request: &Request) -> Duration {
    request.timeout.map_or(POLL_TIMEOUT, |given| Duration::from(given).min(MAX_POLL_TIMEOUT))
}
