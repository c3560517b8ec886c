//! What is told in events, whatever the kind of object. Pure.

use crate::api::Reason;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEvent {
    /// Whether it asks for attention.
    pub warning: bool,
    /// Why.
    pub reason: Reason,
    /// What the operator did or tried, in one word.
    pub action: &'static str,
    /// The sentence.
    pub text: String,
}
