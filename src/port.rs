//! Layer 1: what controllers consume of the outside world, as small traits. Implementations live in layer 2.

use futures::future::BoxFuture;

use crate::core::answer::{Answer, NoAnswer, Question};

/// Asks an endpoint whether a sync is needed.
pub trait Ask: Send + Sync {
    /// One exchange, within the question's deadline. Never panics; whatever is not a valid answer is a [`NoAnswer`].
    fn ask<'a>(&'a self, question: &'a Question) -> BoxFuture<'a, Result<Answer, NoAnswer>>;
}
