//! When runs may be started. Wire types, no IO.

use jiff::Timestamp;
use kube::{KubeSchema, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule::within;

/// A time in which runs may, or may not, be started: recurring (`cron` and `duration`) or once (`from` and `to`).
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.cron) ? has(self.duration) && !has(self.from) && !has(self.to) : has(self.from) && has(self.to) && !has(self.duration) && !has(self.timeZone)").message("a window needs either cron and duration (and may have timeZone), or from and to"),
)]
pub struct Window {
    /// `Allow`: runs start only while such a window is open. `Deny`: none starts while it is open, whatever is allowed.
    pub kind: WindowKind,
    /// When it opens: a cron expression of five fields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub cron: Option<String>,
    /// How long it stays open; at least 1m, at most 744h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("duration", "90m or 8h", "1m", "744h"))]
    pub duration: Option<Duration>,
    /// Zone of the cron expression: an IANA name such as Europe/Berlin. Default UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// When it opens, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Timestamp>,
    /// When it closes, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Timestamp>,
}

/// What an open window says about starting runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum WindowKind {
    /// They may be started.
    Allow,
    /// They may not.
    Deny,
}
