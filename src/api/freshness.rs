//! When a model counts as stale. Wire types, no IO.

use kube::{KubeSchema, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    request::Request,
    rule::{at_most, within},
    source::Source,
};

/// When the accepted model is stale: when any of these says so.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.request) || has(self.needsTrainUrl)").message("spec.freshness.request is for needsTrainUrl: a source has a request of its own"),
)]
pub struct Freshness {
    /// Stale when the accepted version was trained longer ago; at least 1m, at most 87600h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("maxAge", "90m or 168h", "1m", "87600h"))]
    pub max_age: Option<Duration>,
    /// Stale at these times.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<Schedule>,
    /// Values that a training is made from, such as the digest of its data or the commit of its code: stale when one has
    /// changed since the training.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub inputs: Vec<Input>,
    /// Live metrics: stale when one has fallen.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub metrics: Vec<LiveMetric>,
    /// URL of an endpoint that says whether a training is needed. It answers like that of a ModelSync's `needsSyncUrl`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = Rule::new(r"self.matches('^[hH][tT][tT][pP][sS]?://[^/?#@\\s\\\\]+([/?#][^\\s]*)?$')").message("needsTrainUrl must be an http:// or https:// URL with a host, and without user information"))]
    pub needs_train_url: Option<String>,
    /// How the endpoint of `needsTrainUrl` is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
}

/// Recurring times.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Schedule {
    /// A cron expression of five fields.
    #[schemars(length(min = 1, max = 128))]
    pub cron: String,
    /// Zone of the cron expression: an IANA name such as Europe/Berlin. Default UTC.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 64))]
    pub time_zone: Option<String>,
    /// How late a training may still be started for a time that was missed; at least 10s, at most 8760h. Unset: however
    /// late. Of several missed times the last one counts, once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("startingDeadline", "30m or 6h", "10s", "8760h"))]
    pub starting_deadline: Option<Duration>,
}

/// A value that a training is made from.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Input {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$')").message("an input's name must be letters, digits, '-', '_' and '.', beginning and ending with a letter or a digit"))]
    pub name: String,
    /// Where the value comes from.
    pub source: Source,
    /// Whether a change makes the model stale. Default true; false only records what a training was made from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stale_on_change: Option<bool>,
}

/// A metric of the model that is live.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct LiveMetric {
    /// Its name.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$')").message("a metric's name must be letters, digits, '-', '_' and '.', beginning and ending with a letter or a digit"))]
    pub name: String,
    /// Where the number comes from.
    pub source: Source,
    /// A CEL expression over the number `value` that yields true where the model is stale: `value < 0.8`.
    #[schemars(length(min = 1, max = 256))]
    pub rule: String,
    /// How long the rule must hold without a break; at most 720h. Default: once is enough.
    #[serde(default, rename = "for", skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = at_most("for", "10m or 2h", "720h"))]
    pub holds_for: Option<Duration>,
}

/// What makes a model stale.
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
    /// What makes it stale.
    #[serde(rename = "type")]
    pub type_: StaleReasonType,
    /// Name of the input or of the metric; empty for the others.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub name: String,
    /// What stands against it: digest of an input, the scheduled time, the trigger's value. A reason of the same type and
    /// name with another value is another reason. Empty where the reason has none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub value: String,
}
