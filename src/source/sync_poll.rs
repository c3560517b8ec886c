//! Every question, each to whoever can answer it. IO through them only.

use futures::future::BoxFuture;

use super::{compare::CompareValues, needs_sync::NeedsSyncClient};
use crate::{
    core::answer::{Answer, NoAnswer, Poll, PollTarget},
    port::Ask,
};

/// Answers every question of an object.
#[derive(Clone)]
pub struct SyncPollClient {
    /// Asks endpoints.
    pub needs_sync: NeedsSyncClient,
    /// Compares values.
    pub compare: CompareValues,
}

impl Ask for SyncPollClient {
    fn ask<'a>(&'a self, poll: &'a Poll) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        match &poll.target {
            PollTarget::NeedsSync { .. } => self.needs_sync.ask(poll),
            PollTarget::Compare(_) => self.compare.ask(poll),
        }
    }
}
