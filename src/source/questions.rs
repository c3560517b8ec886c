//! Every question, each to whoever can answer it. IO through them only.

use futures::future::BoxFuture;

use super::{compare::CompareValues, needs_sync::NeedsSyncClient};
use crate::{
    core::answer::{Answer, NoAnswer, Query, Question},
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
    fn ask<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Result<Answer, NoAnswer>> {
        match &query.question {
            Question::NeedsSync { .. } => self.needs_sync.ask(query),
            Question::Compare(_) => self.compare.ask(query),
        }
    }
}
