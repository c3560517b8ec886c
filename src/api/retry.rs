//! When the same thing is run again. Wire types, no IO.

use kube::{KubeSchema, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule::within;

/// Trying again after runs that did not succeed.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Retry {
    /// How many runs in a row may fail for one target before the object is stalled. Default 5. A new target, an edit of
    /// the spec or the trigger annotation revives it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1, max = 1000))]
    pub max_attempts: Option<i32>,
    /// Wait after the first failure; doubles with each. Default 1m; at least 1s, at most 720h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("minBackoff", "30s or 5m", "1s", "720h"))]
    pub min_backoff: Option<Duration>,
    /// Longest wait. Default 1h; at least 1s, at most 720h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("maxBackoff", "30m or 6h", "1s", "720h"))]
    pub max_backoff: Option<Duration>,
}

/// Leaving a target alone after a run that succeeded.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settle {
    /// Wait after the first success; doubles with each. Default 10m; at least 1s, at most 720h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("initial", "10m or 2h", "1s", "720h"))]
    pub initial: Option<Duration>,
    /// Longest wait. Default 6h; at least 1s, at most 720h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("max", "6h or 24h", "1s", "720h"))]
    pub max: Option<Duration>,
    /// `Backoff` (default) runs the same target again after the wait, `Never` does not: it waits for another target, or
    /// for the trigger annotation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<Repeat>,
}

/// Whether a target that was reached by a run is run again while a sync is still needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Repeat {
    /// After the wait.
    #[default]
    Backoff,
    /// Not by itself.
    Never,
}
