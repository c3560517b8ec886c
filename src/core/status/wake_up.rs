//! When an object is reconciled again without an event. Pure.

use crate::core::time::MonotonicTime;

/// When the object is reconciled again. There is no "never": an object that waits always says for what.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WakeUp {
    /// At this moment, or at an event.
    At(MonotonicTime),
    /// At an event of the object, of its runs, of the knowledge about runs, or at a poll result.
    OnEvent,
}

impl WakeUp {
    /// The earlier of this and `at`.
    #[must_use]
    pub fn or_at(self, at: MonotonicTime) -> Self {
        match self {
            Self::At(earlier) => Self::At(earlier.min(at)),
            Self::OnEvent => Self::At(at),
        }
    }
}
