//! The gate: rules for the candidates of a training, and their results. Wire types, no IO.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Rules that a candidate must pass, and which of those that pass is accepted.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// Rules, at most 32. A candidate passes if all of them hold. Without rules, every run that succeeds passes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub rules: Vec<GateRule>,
    /// Which of the candidates that pass is accepted. Default: the first in the order of `spec.candidates`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    /// What happens to a candidate for which a rule cannot be evaluated: `Reject` (default) it, or `AwaitApproval` by a
    /// person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_inconclusive: Option<OnUndecided>,
    /// What happens to a candidate that lacks a metric which the gate reads: `Reject` (default) it, or `AwaitApproval` by a
    /// person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_metrics_unavailable: Option<OnUndecided>,
}

/// One rule of a gate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateRule {
    /// Name of the rule in reports: 1 to 63 letters, digits, `-`, `_` and `.`.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$')").message("a rule's name must be letters, digits, '-', '_' and '.', beginning and ending with a letter or a digit"))]
    pub name: String,
    /// A CEL expression that is true if the rule holds, such as `metrics.val_acc > 0.8`. It may read `metrics`, `accepted`
    /// and `served` (numbers by name, of this candidate, of the accepted version and of the served version), `parameters`
    /// and `inputs` (strings by name), and `candidate`. At most 1024 characters.
    #[schemars(length(min = 1, max = 1024))]
    pub expression: String,
}

/// How the operator chooses among the candidates that pass.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Best {
    /// Name of the metric that decides.
    #[schemars(length(min = 1, max = 128))]
    pub metric: String,
    /// `Maximize` if a higher value is better, `Minimize` if a lower value is better.
    pub direction: Direction,
    /// What the best candidate must be better than: the `Accepted` version (default), the `Served` version, or only the
    /// other `Candidates`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Over>,
    /// By how much it must be better, as a decimal number such as `0.01`. Default 0: any improvement is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]+([.][0-9]+)?([eE][-+]?[0-9]{1,3})?$')").message("minImprovement must be a decimal number of at least 0, such as 0.01"))]
    pub min_improvement: Option<String>,
}

/// `Maximize` if a higher value is better, `Minimize` if a lower value is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Direction {
    /// A higher value is better.
    Maximize,
    /// A lower value is better.
    Minimize,
}

/// What the best candidate must be better than: the `Accepted` version (default), the `Served` version, or only the other
/// `Candidates`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Over {
    /// The accepted version.
    #[default]
    Accepted,
    /// The served version.
    Served,
    /// Only the other candidates.
    Candidates,
}

/// What happens to such a candidate: `Reject` (default) it, or `AwaitApproval` by a person.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnUndecided {
    /// It is not accepted.
    #[default]
    Reject,
    /// It waits for approval by a person.
    AwaitApproval,
}

/// Result of the gate for one candidate: `Passed`, `Failed` (a rule does not hold), `Inconclusive` (a rule cannot be
/// evaluated), `MetricsUnavailable` (a metric is missing or not finite), or `NotJudged` (the run did not succeed).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// Every rule holds.
    Passed,
    /// A rule does not hold.
    Failed,
    /// A rule cannot be evaluated.
    Inconclusive,
    /// A metric that a rule or `best` reads is missing, or is not a finite number.
    MetricsUnavailable,
    /// The run did not succeed.
    NotJudged,
    /// Written by another release of this operator.
    #[serde(other)]
    #[schemars(skip)]
    Unrecognised,
}

impl Verdict {
    /// The stable string.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Passed => "Passed",
            Self::Failed => "Failed",
            Self::Inconclusive => "Inconclusive",
            Self::MetricsUnavailable => "MetricsUnavailable",
            Self::NotJudged => "NotJudged",
            Self::Unrecognised => "Unrecognised",
        }
    }
}

/// The result of one rule for a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleReport {
    /// Name of the rule; `best` for the metric that chooses.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Result of the rule: `Passed`, `Failed`, `Inconclusive` or `MetricsUnavailable`.
    pub verdict: Verdict,
    /// Why it did not pass. Absent if it passed.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub message: String,
}
