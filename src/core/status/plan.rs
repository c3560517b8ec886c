//! What a decision says, whatever it is about: effects as data, and when to look again. Pure.

use super::wake_up::WakeUp;
use crate::core::{poll::request::PollRequest, time::MonotonicTime};

/// The decision. Every kind of object has rules and effects of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan<R, E> {
    /// Which rule decided.
    pub rule: R,
    /// What is to be done, in this order; what follows a failed effect is left out.
    pub effects: Vec<E>,
    /// What is to be asked. `None` stops questions.
    pub poll: Option<PollRequest>,
    /// When to look again.
    pub wake_up: WakeUp,
}

impl<R, E> Plan<R, E> {
    /// Does nothing and waits for an event.
    pub(in crate::core) const fn idle(rule: R) -> Self {
        Self { rule, effects: Vec::new(), poll: None, wake_up: WakeUp::OnEvent }
    }

    /// One effect.
    pub(in crate::core) fn doing(rule: R, effect: E) -> Self {
        Self { effects: vec![effect], ..Self::idle(rule) }
    }

    /// Wakes at `at`, or earlier where something earlier was planned.
    pub(in crate::core) fn waking_at(mut self, at: MonotonicTime) -> Self {
        self.wake_by(at);
        self
    }

    pub(in crate::core) fn wake_by(&mut self, at: MonotonicTime) {
        self.wake_up = self.wake_up.or_at(at);
    }
}
