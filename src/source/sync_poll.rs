//! Every question, each to whoever can answer it. IO through them only.

use futures::future::BoxFuture;

use super::{compare::CompareValues, needs_sync::NeedsSyncClient};
use crate::{
    core::poll::{
        request::{Poll, PollTarget},
        response::{PollError, PollResponse},
    },
    port::PollClient,
};

/// Answers every question of an object.
#[derive(Clone)]
pub struct SyncPollClient {
    /// Asks endpoints.
    pub needs_sync: NeedsSyncClient,
    /// Compares values.
    pub compare: CompareValues,
}

impl PollClient for SyncPollClient {
    fn poll<'a>(&'a self, poll: &'a Poll) -> BoxFuture<'a, Result<PollResponse, PollError>> {
        match &poll.target {
            PollTarget::NeedsSync { .. } => self.needs_sync.poll(poll),
            PollTarget::Compare(_) => self.compare.poll(poll),
        }
    }
}
