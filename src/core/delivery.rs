//! The delivery of events to their receivers. Pure.

/// The outcome of sending an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Delivery {
    /// The receiver accepted it.
    Sent,
    /// It was not sent: the queue was full, or the operator ended first.
    Dropped,
    /// The receiver did not accept it, or the outcome is unknown.
    Failed,
}

/// Counts the delivery of each event.
pub type CountDelivery = dyn Fn(Delivery) + Send + Sync;

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
