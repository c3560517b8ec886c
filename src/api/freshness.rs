//! When a model counts as stale. Wire types, no IO.

use kube::{KubeSchema, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    request::Request,
    rule::{at_most, within},
    source::Source,
};

/// When the accepted model is stale: as soon as one of the members says so.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.request) || has(self.needsTrainUrl)").message("spec.freshness.request is for needsTrainUrl: a source has a request of its own"),
)]
pub struct Freshness {
    /// The model is stale if the accepted version was trained longer ago than this. From 1m to 87600h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("maxAge", "90m or 168h", "1m", "87600h"))]
    pub max_age: Option<Duration>,
    /// Times at which the model becomes stale.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Values that a training uses, such as the digest of its data or the commit of its code, at most 16. The model is
    /// stale if one of them has changed since the training.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub inputs: Vec<Input>,
    /// Metrics of the live model, at most 8. The model is stale if the rule of one of them holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub metrics: Vec<LiveMetric>,
    /// URL of an endpoint that says whether a training is needed: `http` or `https`, without user information. It responds
    /// like the `needsSyncUrl` of a ModelSync.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = Rule::new(r"self.matches('^[hH][tT][tT][pP][sS]?://[^/?#@\\s\\\\]+([/?#][^\\s]*)?$')").message("needsTrainUrl must be an http:// or https:// URL with a host, and without user information"))]
    pub needs_train_url: Option<String>,
    /// How the operator requests `needsTrainUrl`: timeout, headers, certificates, token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
}

/// Recurring times.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// A cron expression of five fields, as in `0 3 * * 1`, with at most five years between two times.
    #[schemars(length(min = 1, max = 128))]
    pub cron: String,
    /// Time zone of the cron expression: an IANA name such as `Europe/Berlin`. Default `UTC`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// How late a training may start for a missed time. From 10s to 8760h; default: no limit. If several times were missed,
    /// only the last one counts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("startingDeadline", "30m or 6h", "10s", "8760h"))]
    pub starting_deadline: Option<Duration>,
}

/// A value that a training uses.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// Name of the input: 1 to 63 letters, digits, `-`, `_` and `.`.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$')").message("an input's name must be letters, digits, '-', '_' and '.', beginning and ending with a letter or a digit"))]
    pub name: String,
    /// Where the operator reads the value.
    pub source: Source,
    /// Whether a change makes the model stale. If false, the operator only records the value. Default true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_on_change: Option<bool>,
}

/// A metric of the live model.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveMetric {
    /// Name of the metric: 1 to 63 letters, digits, `-`, `_` and `.`.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$')").message("a metric's name must be letters, digits, '-', '_' and '.', beginning and ending with a letter or a digit"))]
    pub name: String,
    /// Where the operator reads the number.
    pub source: Source,
    /// A CEL expression over the number `value` that is true if the model is stale, such as `value < 0.8`.
    #[schemars(length(min = 1, max = 256))]
    pub rule: String,
    /// How long the rule must hold without interruption. At most 720h; default: one poll is enough.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = at_most("for", "10m or 2h", "720h"))]
    pub holds_for: Option<Duration>,
}

/// Type of the reason: `NeverAccepted`, `MaxAge`, `Schedule`, `Input`, `Metric`, `Endpoint` or `Trigger` (the trigger
/// annotation).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub enum StaleReasonType {
    /// There is no accepted version yet.
    NeverAccepted,
    /// The accepted version was trained too long ago.
    MaxAge,
    /// The schedule says so.
    Schedule,
    /// An input has changed since the last training.
    Input,
    /// A live metric has fallen.
    Metric,
    /// The endpoint says so.
    Endpoint,
    /// The trigger annotation has a new value.
    Trigger,
    /// Written by another release of this operator.
    #[serde(other)]
    #[schemars(skip)]
    Unrecognised,
}

impl StaleReasonType {
    /// The stable string.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NeverAccepted => "NeverAccepted",
            Self::MaxAge => "MaxAge",
            Self::Schedule => "Schedule",
            Self::Input => "Input",
            Self::Metric => "Metric",
            Self::Endpoint => "Endpoint",
            Self::Trigger => "Trigger",
            Self::Unrecognised => "Unrecognised",
        }
    }
}

/// One reason why the model is stale.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct StaleReason {
    /// Type of the reason.
    #[serde(rename = "type")]
    pub type_: StaleReasonType,
    /// Name of the input or of the metric. Empty for other types.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub name: String,
    /// What distinguishes it from other reasons of the same type and name: the digest of an input, the scheduled time, or
    /// the value of the trigger annotation. Empty for other types.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub value: String,
}
