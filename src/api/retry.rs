//! When the same target runs again. Wire types, no IO.

use kube::{KubeSchema, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule::within;

/// When the operator tries again after a failure.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// Number of failures in a row for one target after which the object is stalled. A new target, an edit of the spec or
    /// the trigger annotation ends this. From 1 to 1000; default 5.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_attempts: Option<i32>,
    /// Wait after the first failure. It doubles with each failure in a row. From 1s to 720h; default 1m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("minBackoff", "30s or 5m", "1s", "720h"))]
    pub min_backoff: Option<Duration>,
    /// Longest wait. From 1s to 720h; default 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("maxBackoff", "30m or 6h", "1s", "720h"))]
    pub max_backoff: Option<Duration>,
}

/// When the operator runs the same target again after a success, while a sync is still needed.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settle {
    /// Wait after the first success. It doubles with each success in a row. From 1s to 720h; default 10m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("initial", "10m or 2h", "1s", "720h"))]
    pub initial: Option<Duration>,
    /// Longest wait. From 1s to 720h; default 6h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("max", "6h or 24h", "1s", "720h"))]
    pub max: Option<Duration>,
    /// `Backoff` (default) runs the same target again after the wait. `Never` waits for another target or for the trigger
    /// annotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat>,
}

/// Whether the same target runs again after a success, while a sync is still needed: `Backoff` (default) after the wait,
/// `Never` only after another target or the trigger annotation.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Repeat {
    /// After the wait.
    #[default]
    Backoff,
    /// Only for another target or after the trigger annotation.
    Never,
}
