//! Every question, each to whoever can answer it. IO through them only.

use futures::future::BoxFuture;

use super::{compare::CompareValues, needs_sync::NeedsSyncClient};
use crate::{
    core::{
        answer::{Answer, NoAnswer, Question},
        sync::Inquiry,
    },
    port::Ask,
};

/// Answers every question of an object.
#[derive(Clone)]
pub struct Questions {
    /// Asks endpoints.
    pub needs_sync: NeedsSyncClient,
    /// Compares values.
    pub compare: CompareValues,
}

impl Ask for Questions {
    fn ask<'a>(&'a self, inquiry: &'a Inquiry) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        match &*inquiry.question {
            Question::NeedsSync { .. } => self.needs_sync.ask(inquiry),
            Question::Compare(_) => self.compare.ask(inquiry),
        }
    }
}
