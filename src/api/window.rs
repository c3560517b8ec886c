//! When runs may start. Wire types, no IO.

use jiff::Timestamp;
use kube::{KubeSchema, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule::within;

/// A time at which runs may or may not start. It either recurs (`cron` and `duration`) or is open once (`from` and `to`).
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.cron) ? has(self.duration) && !has(self.from) && !has(self.to) : has(self.from) && has(self.to) && !has(self.duration) && !has(self.timeZone)").message("a window needs either cron and duration (and may have timeZone), or from and to"),
)]
pub struct Window {
    /// `Allow`: runs start only while an `Allow` window is open. `Deny`: no run starts while it is open, even if an `Allow`
    /// window is open too.
    pub kind: WindowKind,
    /// When the window opens: a cron expression of five fields, as in `0 22 * * 1-5`, with at most five years between two
    /// times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub cron: Option<String>,
    /// How long the window stays open. From 1m to 744h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("duration", "90m or 8h", "1m", "744h"))]
    pub duration: Option<Duration>,
    /// Time zone of the cron expression: an IANA name such as `Europe/Berlin`. Default `UTC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// When a window that is open once opens, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// When a window that is open once closes, in RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

/// What an open window means for runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WindowKind {
    /// Runs may start.
    Allow,
    /// No run starts.
    Deny,
}
