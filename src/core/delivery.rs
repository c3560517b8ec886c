//! What becomes of what is told to others. Pure.

/// What became of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The receiver has taken it.
    Sent,
    /// Too many were waiting, or the operator ended before its turn.
    Dropped,
    /// The receiver did not take it, or did not say whether it did.
    Failed,
}

impl Delivery {
    /// The stable string, for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sent => "sent",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
        }
    }
}
