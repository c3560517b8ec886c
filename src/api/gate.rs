//! How a training's candidates are judged. Wire types, no IO.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Judges the candidates of a training: rules that each must keep, and which of them is accepted.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Gate {
    /// All of them must hold for a candidate to pass. Without rules every run that succeeded passes.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub rules: Vec<GateRule>,
    /// Which of the candidates that passed is accepted. Unset: the first in the order of `spec.candidates`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub best: Option<Best>,
    /// What becomes of a candidate about which the rules cannot be decided: `Reject` (default), or `AwaitApproval` by a
    /// person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_inconclusive: Option<OnUndecided>,
    /// What becomes of a candidate without a metric that the gate reads: `Reject` (default), or `AwaitApproval` by a
    /// person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_metrics_unavailable: Option<OnUndecided>,
}

/// One rule of a gate.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateRule {
    /// Its name, for reports.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$')").message("a rule's name must be letters, digits, '-', '_' and '.', beginning and ending with a letter or a digit"))]
    pub name: String,
    /// A CEL expression that yields true where the rule holds. It may read `metrics`, `accepted` and `served` (numbers by
    /// name: of this candidate, of the accepted version, of the version that is served), `parameters` and `inputs` (text by
    /// name), and `candidate`: `metrics.val_acc > 0.8`.
    #[schemars(length(min = 1, max = 1024))]
    pub expression: String,
}

/// Choosing among the candidates that passed.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Best {
    /// The metric that decides.
    #[schemars(length(min = 1, max = 128))]
    pub metric: String,
    /// Whether more or less of it is better.
    pub direction: Direction,
    /// What the best candidate must improve on: the `Accepted` version (default), the `Served` one, or nothing but the other
    /// `Candidates`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub over: Option<Over>,
    /// By how much it must be better, as a decimal number such as `0.01`. It must be better in any case. Default 0.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 32))]
    #[x_kube(validation = Rule::new("self.matches('^[0-9]+([.][0-9]+)?([eE][-+]?[0-9]{1,3})?$')").message("minImprovement must be a decimal number of at least 0, such as 0.01"))]
    pub min_improvement: Option<String>,
}

/// Which way a metric is better.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Direction {
    /// More is better.
    Maximize,
    /// Less is better.
    Minimize,
}

/// What the best candidate is compared with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Over {
    /// The accepted version.
    #[default]
    Accepted,
    /// The version that is served.
    Served,
    /// The other candidates alone.
    Candidates,
}

/// What becomes of a candidate that the gate cannot judge.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum OnUndecided {
    /// It is not accepted.
    #[default]
    Reject,
    /// It waits for a person.
    AwaitApproval,
}

/// What the gate says about one candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Verdict {
    /// Every rule holds.
    Passed,
    /// A rule does not hold.
    Failed,
    /// A rule cannot be decided.
    Inconclusive,
    /// A metric that a rule or `best` reads is missing, or is not a finite number.
    MetricsUnavailable,
    /// The run did not succeed: there is nothing to judge.
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

/// What one rule said about a candidate.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuleReport {
    /// Its name; `best` for the metric that chooses.
    #[schemars(length(max = 63))]
    pub name: String,
    /// What it said: `Passed`, `Failed`, `Inconclusive` or `MetricsUnavailable`.
    pub verdict: Verdict,
    /// Why, where it did not pass.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub message: String,
}
