//! The ModelVersion kind: one immutable record for each candidate of a training. No IO.

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    condition::Condition,
    freshness::StaleReason,
    gate::{RuleReport, Verdict},
    status::Outcome,
};

/// What was tried, from what, and how it was judged. Written once by the operator; never changed afterwards.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[kube(
    group = "automl.cloudai.kubeflow.org",
    version = "v1alpha1",
    kind = "ModelVersion",
    plural = "modelversions",
    singular = "modelversion",
    shortname = "mver",
    category = "automl",
    namespaced,
    derive = "PartialEq",
    status = "ModelVersionStatus",
    doc = "One candidate of a training: what was tried, from what, and how it was judged. Written once by the operator; never changed afterwards.",
    printcolumn = r#"{"name":"Train","type":"string","jsonPath":".spec.trainRef.name","description":"The ModelTrain"}"#,
    printcolumn = r#"{"name":"Candidate","type":"string","jsonPath":".spec.candidate","description":"The candidate"}"#,
    printcolumn = r#"{"name":"Verdict","type":"string","jsonPath":".spec.gate.verdict","description":"What the gate said"}"#,
    printcolumn = r#"{"name":"Score","type":"string","jsonPath":".spec.gate.score","description":"Its metric of spec.gate.best"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].reason","description":"What became of it"}"#,
    printcolumn = r#"{"name":"Served","type":"string","jsonPath":".status.conditions[?(@.type==\"Served\")].status","description":"Is it served?"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("spec of a ModelVersion never changes: it is a record"),
)]
pub struct ModelVersionSpec {
    /// The ModelTrain that it belongs to.
    pub train_ref: TrainRef,
    /// Number of the training.
    #[schemars(range(min = 1, max = 99_999_999))]
    pub attempt: i64,
    /// The candidate; empty for a training without candidates.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16))]
    pub candidate: String,
    /// The run.
    pub run: RecordedRun,
    /// Why the training was started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub reasons: Vec<StaleReason>,
    /// What it was made from, pinned before the run was created.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub inputs: Vec<RecordedInput>,
    /// Parameters of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub parameters: Vec<RecordedParameter>,
    /// The model that came out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// What was measured.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub metrics: Vec<RecordedMetric>,
    /// What else the run gave out. Names that end in `-uri` are links to reports and plots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub outputs: Vec<RecordedOutput>,
    /// What was wrong with the results, if they could not be read whole.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub results_problem: String,
    /// How this candidate alone was judged.
    pub gate: GateReport,
    /// The record before this one in the chain of the ModelTrain; absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<RecordRef>,
    /// `v1:sha256:` and the SHA-256 over the RFC 8785 form of the rest of the spec.
    #[schemars(length(max = 128))]
    pub digest: String,
}

/// The ModelTrain of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrainRef {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its uid: another ModelTrain of the same name has another.
    #[schemars(length(max = 64))]
    pub uid: String,
}

/// The run of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedRun {
    /// Its `apiVersion`.
    #[schemars(length(max = 128))]
    pub api_version: String,
    /// Its kind.
    #[schemars(length(max = 64))]
    pub kind: String,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its uid; empty for one that was never seen.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub uid: String,
    /// How it ended.
    pub outcome: Outcome,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended: the moment at which the model counts as trained.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// An input as it was pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedInput {
    /// Its name.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Its value, cut at 256 bytes.
    #[schemars(length(max = 256))]
    pub value: String,
    /// `sha256:` and the SHA-256 of the whole value.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// What it was read from: `git https://host/repo main`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub source: String,
}

/// A parameter as the run got it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedParameter {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its value.
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// A model as a run left it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    /// Where it is.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub uri: String,
    /// What it is, by content.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub digest: String,
}

/// A metric as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedMetric {
    /// Its name.
    #[schemars(length(max = 128))]
    pub name: String,
    /// Its value, verbatim. Absent where there was none, or where it was not a finite number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub value: Option<String>,
    /// Where it came from: `Results`, or the source.
    #[schemars(length(max = 512))]
    pub source: String,
}

/// An output of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedOutput {
    /// Its name.
    #[schemars(length(max = 128))]
    pub name: String,
    /// Its value, cut at 1024 bytes.
    #[schemars(length(max = 1024))]
    pub value: String,
}

/// How one candidate was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateReport {
    /// The verdict.
    pub verdict: Verdict,
    /// The accepted version at that time.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub compared_to: String,
    /// The metric that `spec.gate.best` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub score: Option<String>,
    /// What each rule said.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 33))]
    pub rules: Vec<RuleReport>,
}

/// A record in the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordRef {
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its digest.
    #[schemars(length(max = 128))]
    pub digest: String,
}

/// What became of the candidate. Derived, and repaired where it was lost.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelVersionStatus {
    /// Accepted, Served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
    /// The ModelSyncs that serve it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["uid".to_string()]))]
    pub served_by: Vec<ServedBy>,
    /// The annotation by which a person approved it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub approved_by: Option<String>,
}

/// A ModelSync that serves a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServedBy {
    /// Its name.
    #[schemars(length(max = 253))]
    pub model_sync: String,
    /// Its uid.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// Since when.
    pub since: Timestamp,
}
