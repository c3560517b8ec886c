//! Events about objects of any kind. Pure.

use crate::api::Reason;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectEvent {
    /// Whether its type is Warning.
    pub warning: bool,
    /// Its reason.
    pub reason: Reason,
    /// What the operator did or tried, in one word.
    pub action: &'static str,
    /// Its message, one sentence.
    pub text: String,
}
