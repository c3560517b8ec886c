//! The polls of a ModelSync: an endpoint or a comparison. IO through their clients only.

use futures::future::BoxFuture;

use super::{compare::CompareValues, needs_sync::NeedsSyncClient};
use crate::{
    core::poll::{
        request::{Poll, PollTarget},
        response::{PollError, PollResponse},
    },
    port::PollClient,
};

/// Polls for ModelSyncs.
#[derive(Clone)]
pub struct SyncPollClient {
    /// Polls endpoints.
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
