//! The facts under which a poll is made. Pure.

use std::sync::Arc;

/// The facts under which a poll is made. Its result is usable only while all of them still hold.
///
/// Besides `attempt`, there is `ended`, so that a poll made while a run was active is not taken for news about the
/// world after that run, and `revision`, so that no response outlives a change of the source it was read from.
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
