//! What an exchange did when its deadline came. Pure.

use std::{
    sync::atomic::{AtomicU8, Ordering},
    time::Duration,
};

use crate::{
    core::poll::response::{PollError, PollErrorKind},
    source::text::poll_error,
};

/// What an exchange waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// For the head of the response.
    Head = 0,
    /// For the rest of the response.
    Body = 1,
    /// For memory for a large body.
    Memory = 2,
}

/// The stage of one exchange.
#[derive(Debug, Default)]
pub(super) struct Progress(AtomicU8);

impl Progress {
    pub(super) fn set(&self, stage: Stage) {
        self.0.store(stage as u8, Ordering::Relaxed);
    }

    /// The error of an exchange that its deadline ended.
    pub(super) fn late(&self, timeout: Duration) -> PollError {
        let stage = self.0.load(Ordering::Relaxed);
        let (class, message) = if stage == Stage::Head as u8 {
            (PollErrorKind::Timeout, format!("no response began within {timeout:?}"))
        } else if stage == Stage::Body as u8 {
            (PollErrorKind::Timeout, format!("the response was not complete within {timeout:?}"))
        } else {
            // The server is not to blame, so this must not pause it.
            let message = format!(
                "the body is large, and other large bodies used all memory for them until {timeout:?} had passed: request \
                 less than 32 KiB, or set a longer request.timeout"
            );
            (PollErrorKind::TooLarge, message)
        };
        poll_error(class, &message)
    }
}
