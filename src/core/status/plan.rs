//! The plan that a decision about any kind of object returns: effects as data, the next poll and the wake-up. Pure.

use super::wake_up::WakeUp;
use crate::core::{poll::request::PollRequest, time::MonotonicTime};

/// The decision. Every kind of object has rules and effects of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<R, E> {
    /// Which rule decided.
    pub rule: R,
    /// The effects, in the order in which they are applied; those after a failed effect are left out.
    pub effects: Vec<E>,
    /// The next poll. `None` stops polling.
    pub poll: Option<PollRequest>,
    /// When the object is reconciled again.
    pub wake_up: WakeUp,
}

impl<R, E> Plan<R, E> {
    /// Does nothing and waits for an event.
    pub(in crate::core) const fn idle(rule: R) -> Self {
        Self { rule, effects: Vec::new(), poll: None, wake_up: WakeUp::OnEvent }
    }

    /// Applies one effect and waits for an event.
    pub(in crate::core) fn doing(rule: R, effect: E) -> Self {
        Self { effects: vec![effect], ..Self::idle(rule) }
    }

    /// Wakes at `at`, or earlier if an earlier wake-up was planned.
    pub(in crate::core) fn waking_at(mut self, at: MonotonicTime) -> Self {
        self.wake_by(at);
        self
    }

    pub(in crate::core) fn wake_by(&mut self, at: MonotonicTime) {
        self.wake_up = self.wake_up.or_at(at);
    }
}
