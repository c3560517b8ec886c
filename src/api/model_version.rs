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

/// The run, inputs, metrics and gate result of one candidate. The operator writes them once and never changes them.
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
    doc = "The record of one candidate of a training: its run, inputs, metrics and gate result. The operator writes it once and never changes it.",
    printcolumn = r#"{"name":"Train","type":"string","jsonPath":".spec.trainRef.name","description":"The ModelTrain"}"#,
    printcolumn = r#"{"name":"Candidate","type":"string","jsonPath":".spec.candidate","description":"The candidate"}"#,
    printcolumn = r#"{"name":"Verdict","type":"string","jsonPath":".spec.gate.verdict","description":"Result of the gate"}"#,
    printcolumn = r#"{"name":"Score","type":"string","jsonPath":".spec.gate.score","description":"Value of the metric of spec.gate.best"}"#,
    printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.conditions[?(@.type==\"Accepted\")].reason","description":"How the operator decided about it"}"#,
    printcolumn = r#"{"name":"Served","type":"string","jsonPath":".status.conditions[?(@.type==\"Served\")].status","description":"Is it served?"}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("self == oldSelf").message("spec of a ModelVersion never changes: it is a record"),
)]
pub struct ModelVersionSpec {
    /// The ModelTrain that the record belongs to.
    pub train_ref: TrainRef,
    /// Number of the training.
    #[schemars(range(min = 1, max = 99_999_999))]
    pub attempt: i64,
    /// Name of the candidate. Empty for a training without candidates.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 16))]
    pub candidate: String,
    /// The run that produced the candidate.
    pub run: RecordedRun,
    /// Why the training was started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    pub reasons: Vec<StaleReason>,
    /// Inputs of the training, read before its run was created.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub inputs: Vec<RecordedInput>,
    /// Parameters of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 128))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub parameters: Vec<RecordedParameter>,
    /// The model that the run produced.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact: Option<Artifact>,
    /// Metrics of the candidate.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub metrics: Vec<RecordedMetric>,
    /// Other results of the run. Names that end in `-uri` are links to reports and plots.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub outputs: Vec<RecordedOutput>,
    /// Why the operator could not read all results. Empty if it could.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub results_problem: String,
    /// Result of the gate for this candidate alone.
    pub gate: GateReport,
    /// The previous record in the chain of the ModelTrain. Absent for the first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<RecordRef>,
    /// `v1:sha256:` and the SHA-256 of the rest of the spec in the form of RFC 8785.
    #[schemars(length(max = 128))]
    pub digest: String,
}

/// The ModelTrain of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TrainRef {
    /// Name of the ModelTrain.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Uid of the ModelTrain. It differs if a ModelTrain is deleted and created again.
    #[schemars(length(max = 64))]
    pub uid: String,
}

/// The run of a record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RecordedRun {
    /// `apiVersion` of the run.
    #[schemars(length(max = 128))]
    pub api_version: String,
    /// Kind of the run.
    #[schemars(length(max = 64))]
    pub kind: String,
    /// Name of the run.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Uid of the run. Empty if the operator never saw the run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub uid: String,
    /// How the run ended.
    pub outcome: Outcome,
    /// When the run started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When the run ended. The model counts as trained at this time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<Timestamp>,
}

/// An input as it was pinned.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedInput {
    /// Name of the input.
    #[schemars(length(max = 63))]
    pub name: String,
    /// Value of the input, cut at 256 bytes.
    #[schemars(length(max = 256))]
    pub value: String,
    /// `sha256:` and the SHA-256 of the whole value.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// Source of the value, as in `git https://host/repo main`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 512))]
    pub source: String,
}

/// A parameter as the run got it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedParameter {
    /// Name of the parameter.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Value of the parameter.
    #[schemars(length(max = 4096))]
    pub value: String,
}

/// A model as a run left it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Artifact {
    /// URI of the model.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub uri: String,
    /// Digest of the model.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub digest: String,
}

/// A metric as it was read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedMetric {
    /// Name of the metric.
    #[schemars(length(max = 128))]
    pub name: String,
    /// Value of the metric, verbatim. Absent if there was none or if it was not a finite number.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub value: Option<String>,
    /// Source of the value: `Results`, or the source in the spec.
    #[schemars(length(max = 512))]
    pub source: String,
}

/// An output of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordedOutput {
    /// Name of the result.
    #[schemars(length(max = 128))]
    pub name: String,
    /// Value of the result, cut at 1024 bytes.
    #[schemars(length(max = 1024))]
    pub value: String,
}

/// How one candidate was judged.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct GateReport {
    /// Result of the gate.
    pub verdict: Verdict,
    /// Name of the version that was accepted at that time. Empty if there was none.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub compared_to: String,
    /// Value of the metric that `spec.gate.best` names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub score: Option<String>,
    /// Result of each rule.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 33))]
    pub rules: Vec<RuleReport>,
}

/// A record in the chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RecordRef {
    /// Name of the record.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Digest of the record.
    #[schemars(length(max = 128))]
    pub digest: String,
}

/// How the operator decided about the candidate. The operator derives it from the ModelTrain and restores it if it is lost.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ModelVersionStatus {
    /// Conditions of the types Accepted and Served.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
    /// ModelSyncs that serve this version.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["uid".to_string()]))]
    pub served_by: Vec<ServedBy>,
    /// Annotation by which a person approved this version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub approved_by: Option<String>,
}

/// A ModelSync that serves a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ServedBy {
    /// Name of the ModelSync.
    #[schemars(length(max = 253))]
    pub model_sync: String,
    /// Uid of the ModelSync.
    #[schemars(length(max = 64))]
    pub uid: String,
    /// When the ModelSync began to serve this version.
    pub since: Timestamp,
}
