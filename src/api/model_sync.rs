//! The ModelSync kind: schema and wire types. The field docs are the user's reference. No IO.

use std::collections::BTreeMap;

use jiff::Timestamp;
use kube::{CustomResource, KubeSchema, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{condition::Condition, needs_sync::MAX_PARAMETER_COUNT, raw::RawObject};

/// Keeps what is deployed equal to what is desired: asks an endpoint whether they differ, and starts exactly one
/// run when they do.
#[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[kube(
    group = "automl.cloudai.kubeflow.org",
    version = "v1alpha1",
    kind = "ModelSync",
    plural = "modelsyncs",
    singular = "modelsync",
    shortname = "msync",
    category = "automl",
    namespaced,
    derive = "PartialEq",
    status = "ModelSyncStatus",
    doc = "Keeps what is deployed equal to what is desired: asks an endpoint whether they differ, and starts exactly one run when they do.",
    printcolumn = r#"{"name":"In-Sync","type":"string","jsonPath":".status.conditions[?(@.type==\"InSync\")].status","description":"Do desired and actual agree?"}"#,
    printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"InSync\")].reason","description":"Why In-Sync has its value"}"#,
    printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status","description":"Can the operator do its job for this object?","priority":1}"#,
    printcolumn = r#"{"name":"Last-Run","type":"string","jsonPath":".status.lastRun.outcome","description":"How the last run ended"}"#,
    printcolumn = r#"{"name":"Attempt","type":"integer","jsonPath":".status.attempt","description":"Runs started so far","priority":1}"#,
    printcolumn = r#"{"name":"Next-Attempt","type":"date","jsonPath":".status.nextAttemptAt","description":"When the same target is tried again","priority":1}"#,
    printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.needsSyncUrl)").message("spec.needsSyncUrl is missing: set it to the http or https URL of the endpoint that answers whether a sync is needed"),
    validation = Rule::new("has(self.pipelineRunTemplate) || has(self.jobTemplate)").message("spec.pipelineRunTemplate and spec.jobTemplate are both missing: set one of them to say what is to be run"),
    validation = Rule::new("!(has(self.pipelineRunTemplate) && has(self.jobTemplate))").message("spec.pipelineRunTemplate and spec.jobTemplate are both set: keep one of them"),
)]
pub struct ModelSyncSpec {
    /// URL of the endpoint that is asked whether a sync is needed: `http` or `https`, without user information.
    /// It answers a GET with `{"needsSync": true, "parameters": {"name": "value"}}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 2048))]
    #[x_kube(validation = Rule::new(r"self.matches('^[hH][tT][tT][pP][sS]?://[^/?#@\\s\\\\]+([/?#][^\\s]*)?$')").message("spec.needsSyncUrl must be an http:// or https:// URL with a host, and without user information: put credentials nowhere in the URL"))]
    pub needs_sync_url: Option<String>,

    /// Time between two questions. Default 1m; at least 5s, at most 720h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = Rule::new(r"self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$') && duration(self) >= duration('5s') && duration(self) <= duration('720h')").message("spec.interval must be a duration such as 30s, 5m or 1h30m, at least 5s and at most 720h"))]
    pub interval: Option<Duration>,

    /// How parameters of the answer become parameters of the run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub parameters: Vec<ParameterMapping>,

    /// What happens to parameters of the answer that `parameters` does not name: `Ignore` (default) drops them,
    /// `Pass` hands them to the run under their own names, `Reject` makes such an answer an error.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unmapped_parameters: Option<UnmappedParameters>,

    /// The Tekton PipelineRun to create. Written for tekton.dev/v1; fields that moved since v1beta1 are moved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pipeline_run_template: Option<PipelineRunTemplate>,

    /// The batch/v1 Job to create. Parameters arrive as environment variables `PARAM_<NAME>`, and as
    /// `$(params.<name>)` in `command`, `args` and the values of `env`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub job_template: Option<JobTemplate>,

    /// How many succeeded runs are kept. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub successful_pipeline_runs_history_limit: Option<i32>,

    /// How many runs that did not succeed are kept. Default 100.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0, max = 10_000))]
    pub failed_pipeline_runs_history_limit: Option<i32>,

    /// Stop asking and starting. A run that is on its way goes on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
}

/// One parameter of the answer and the parameter of the run that it becomes. Either name may be left out when
/// both are equal.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.needsSyncName) && self.needsSyncName != '') || (has(self.pipelineName) && self.pipelineName != '')").message("an entry of spec.parameters names nothing: set needsSyncName, pipelineName or both"),
)]
pub struct ParameterMapping {
    /// Name of the parameter in the endpoint's answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub needs_sync_name: Option<String>,
    /// Name of the parameter of the run. It overwrites the template's parameter of that name, else is appended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pipeline_name: Option<String>,
}

/// What happens to parameters of an answer that no mapping names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UnmappedParameters {
    /// They are dropped.
    #[default]
    Ignore,
    /// They are handed to the run under their own names.
    Pass,
    /// The answer is an error.
    Reject,
}

/// What a PipelineRun is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PipelineRunTemplate {
    /// Labels and annotations of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,
    /// Spec of the PipelineRun (tekton.dev/v1).
    pub spec: RawObject,
}

/// What a Job is made from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct JobTemplate {
    /// Labels and annotations of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,
    /// Spec of the Job (batch/v1).
    pub spec: RawObject,
}

/// Metadata that a template may give its runs.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.name)").message("a template's metadata.name must not be set: runs are named by the operator; remove it"),
    validation = Rule::new("!has(self.namespace)").message("a template's metadata.namespace must not be set: runs are made in the object's own namespace; remove it"),
)]
pub struct TemplateMetadata {
    /// Labels of the run. Keys below `automl.cloudai.kubeflow.org/` are the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the run. Keys below `automl.cloudai.kubeflow.org/` are the operator's.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
    /// Accepted and ignored: runs are named by the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub generate_name: Option<String>,
    /// Accepted and ignored: tools write it into templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub creation_timestamp: Option<String>,
    /// Refused: runs are named by the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,
    /// Refused: runs are made in the object's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub namespace: Option<String>,
}

/// What the operator knows and has done. Written by the operator alone.
#[derive(KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(oldSelf.attempt) || (has(self.attempt) && self.attempt >= oldSelf.attempt)").message("status.attempt never shrinks"),
)]
pub struct ModelSyncStatus {
    /// Generation of the spec that this status speaks of; -1 before the first pass.
    #[serde(default = "unobserved")]
    pub observed_generation: i64,
    /// Ready, InSync, Reconciling, Stalled.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["type".to_string()]))]
    pub conditions: Vec<Condition>,
    /// Number of the last reservation of a run. Never shrinks.
    #[serde(default, skip_serializing_if = "is_zero")]
    #[schemars(range(min = 0, max = 99_999_999))]
    pub attempt: i64,
    /// The run that is reserved or on its way. Only while open.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reservation: Option<Reservation>,
    /// What the object is working towards, while a sync is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<Target>,
    /// Runs that are on their way.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16))]
    pub active: Vec<ActiveRun>,
    /// The run that ended last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_run: Option<LastRun>,
    /// When the same target is tried again. Only while it waits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next_attempt_at: Option<Timestamp>,
    /// Value of the trigger annotation that was handled last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub last_handled_trigger: Option<String>,
}

impl Default for ModelSyncStatus {
    fn default() -> Self {
        Self {
            observed_generation: unobserved(),
            conditions: Vec::new(),
            attempt: 0,
            reservation: None,
            target: None,
            active: Vec::new(),
            last_run: None,
            next_attempt_at: None,
            last_handled_trigger: None,
        }
    }
}

const fn unobserved() -> i64 {
    -1
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde's skip_serializing_if passes a reference")]
const fn is_zero(value: &i64) -> bool {
    *value == 0
}

/// A claim on one attempt, made by a compare-and-swap before its run is created.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Reservation {
    /// The attempt that is reserved.
    pub attempt: i64,
    /// Differs for every reservation, so that two writers never write the same thing.
    #[schemars(length(max = 64))]
    pub nonce: String,
    /// Generation of the spec that the run is made from.
    pub generation: i64,
    /// Digest of the target that the run is to bring about.
    #[schemars(length(max = 128))]
    pub target: String,
    /// After this moment the admission policy refuses to create the run.
    pub not_after: Timestamp,
    /// How often the creation of this attempt was refused.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub create_failures: i64,
    /// The runs of this attempt.
    #[schemars(length(max = 16))]
    pub slots: Vec<RunSlot>,
}

/// One run of an attempt.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct RunSlot {
    /// `apiVersion` of the run.
    #[schemars(length(max = 128))]
    pub api_version: String,
    /// Kind of the run.
    #[schemars(length(max = 64))]
    pub kind: String,
    /// Name of the run, in the object's namespace.
    #[schemars(length(max = 63))]
    pub run_name: String,
}

/// What is to be brought about, and how it has gone so far.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Target {
    /// Identity of the target: digest of the mapped parameters and of the template.
    #[schemars(length(max = 128))]
    pub digest: String,
    /// Parameters that the run gets.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = MAX_PARAMETER_COUNT))]
    pub parameters: BTreeMap<String, String>,
    /// Consecutive runs for this target that did not succeed.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub failures: i64,
    /// Consecutive runs for this target that succeeded while a sync was still needed afterwards.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub successes: i64,
    /// When this target was first seen.
    pub since: Timestamp,
}

/// A run that is on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ActiveRun {
    /// `apiVersion` of the run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 128))]
    pub api_version: String,
    /// Kind of the run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 64))]
    pub kind: String,
    /// Namespace of the run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 63))]
    pub namespace: String,
    /// Name of the run.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 253))]
    pub name: String,
}

/// How a run ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Outcome {
    /// It did what it was to do.
    Succeeded,
    /// It failed.
    Failed,
    /// It took longer than allowed.
    TimedOut,
    /// Somebody cancelled it.
    Cancelled,
    /// It disappeared before its end was seen, or was never created.
    Gone,
    /// Written by another release of this operator.
    #[serde(other)]
    #[schemars(skip)]
    Unrecognised,
}

impl Outcome {
    /// The stable string.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::TimedOut => "TimedOut",
            Self::Cancelled => "Cancelled",
            Self::Gone => "Gone",
            Self::Unrecognised => "Unrecognised",
        }
    }
}

/// The run that ended last.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct LastRun {
    /// Its attempt.
    pub attempt: i64,
    /// Its name.
    #[schemars(length(max = 253))]
    pub name: String,
    /// Its uid; absent when it was never seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub uid: Option<String>,
    /// Digest of the target that it was to bring about.
    #[schemars(length(max = 128))]
    pub target: String,
    /// How it ended.
    pub outcome: Outcome,
    /// The run's own reason.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 256))]
    pub reason: String,
    /// The run's own message.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    #[schemars(length(max = 1024))]
    pub message: String,
    /// When it started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Timestamp,
}
