//! The ModelTrain kind: schema and wire types. The field docs are the user's reference. No IO.

use kube::{CustomResource, KubeSchema, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    freshness::Freshness,
    gate::Gate,
    model_sync::DeletionPolicy,
    rule::{at_most, within},
    run_spec::run_spec,
    source::Source,
    train_status::ModelTrainStatus,
};

run_spec! {
    /// Keeps a model fresh: trains it when it is stale, judges the result, and accepts it or keeps what it has.
    #[derive(CustomResource, KubeSchema, Clone, Debug, PartialEq, Serialize, Deserialize)]
    #[kube(
        group = "automl.cloudai.kubeflow.org",
        version = "v1alpha1",
        kind = "ModelTrain",
        plural = "modeltrains",
        singular = "modeltrain",
        shortname = "mtrain",
        category = "automl",
        namespaced,
        derive = "PartialEq",
        status = "ModelTrainStatus",
        doc = "Keeps a model fresh: trains it when it is stale, judges the result, and accepts it or keeps what it has.",
        printcolumn = r#"{"name":"Fresh","type":"string","jsonPath":".status.conditions[?(@.type==\"Fresh\")].status","description":"Is the accepted model fresh enough?"}"#,
        printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Fresh\")].reason","description":"Why Fresh has its value"}"#,
        printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.acceptedVersion.name","description":"The accepted version"}"#,
        printcolumn = r#"{"name":"Score","type":"string","jsonPath":".status.acceptedVersion.score","description":"The accepted version's metric of spec.gate.best"}"#,
        printcolumn = r#"{"name":"Verdict","type":"string","jsonPath":".status.lastVerdict.verdict","description":"What the gate said last"}"#,
        printcolumn = r#"{"name":"Next","type":"date","jsonPath":".status.nextEvaluationAt","description":"The next moment that time alone determines"}"#,
        printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status","description":"Can the operator do its job for this object?","priority":1}"#,
        printcolumn = r#"{"name":"Attempt","type":"integer","jsonPath":".status.attempt","description":"Trainings started so far","priority":1}"#,
        printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
    )]
    #[serde(rename_all = "camelCase")]
    pub struct ModelTrainSpec {
        /// When the accepted model is stale. Without it a training is started by the trigger annotation alone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub freshness: Option<Box<Freshness>>,

        /// Parameters of the training's runs. Nothing is passed that is not named here.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 64))]
        #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
        pub parameters: Vec<TrainParameter>,

        /// What one training tries: a run for each. Without candidates a training is one run.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 16))]
        #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
        pub candidates: Vec<Candidate>,

        /// How many runs of a training may be on their way at once. Default: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1, max = 16))]
        pub parallelism: Option<i32>,

        /// Where the numbers come from that the gate judges.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub metrics: Option<Box<Metrics>>,

        /// How candidates are judged. Without a gate every run that succeeded passes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub gate: Option<Box<Gate>>,

        /// How many runs may be started in a span of time.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub budget: Option<Budget>,

        /// When a reason for training that has been answered by a training counts again, while it still stands.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub settle: Option<TrainSettle>,

        /// How many ModelVersions are kept besides the accepted, the held, the served and the newest one. Default 20.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 0, max = 1_000))]
        pub version_history_limit: Option<i32>,

        /// What becomes of the runs and of the ModelVersions when this object is deleted: `Orphan` (default) keeps them, for a
        /// training is costly and its record is evidence; `Delete` removes them with it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub deletion_policy: Option<DeletionPolicy>,
    }
}

/// A parameter of the training's runs and where its value comes from: exactly one of the members besides the name.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.value), has(self.fromInput), has(self.fromContext), has(self.fromAccepted), has(self.fromAnswer)].filter(x, x).size() == 1").message("a parameter needs exactly one of value, fromInput, fromContext, fromAccepted and fromAnswer"),
    validation = Rule::new("!has(self.field) || has(self.fromInput)").message("field is for fromInput: the attribute of the input's source that is meant"),
)]
pub struct TrainParameter {
    /// Name of the parameter in the run. It overwrites the template's parameter of that name, else is appended.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The value itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
    /// Name of an input of `spec.freshness.inputs`: the value that the training was reserved with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub from_input: Option<String>,
    /// Attribute of that input's source, such as `commit` of a Git source. Default `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub field: Option<String>,
    /// Something about the training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_context: Option<FromContext>,
    /// Something about the accepted version; empty as long as there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_accepted: Option<FromAccepted>,
    /// A parameter of the answer of `spec.freshness.needsTrainUrl`; empty where no answer gave it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub from_answer: Option<String>,
}

/// What a training knows about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FromContext {
    /// Name of the ModelVersion that will be made of the run; the run's own name.
    Version,
    /// Number of the training.
    Attempt,
    /// Name of the candidate; empty without candidates.
    Candidate,
    /// Why the model is stale, separated by commas: `Input:data,MaxAge`.
    Reasons,
    /// Name of the ModelTrain.
    ObjectName,
    /// Its namespace.
    Namespace,
}

/// What is known of an accepted version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FromAccepted {
    /// Its name.
    Name,
    /// URI of its artifact.
    Uri,
    /// Digest of its artifact.
    Digest,
}

/// One thing that a training tries.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// Its name; part of the run's name.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]{0,14}[a-z0-9])?$')").message("a candidate's name must be 1 to 16 lower-case letters, digits and '-', beginning and ending with a letter or a digit"))]
    pub name: String,
    /// Parameters of its run. They go before those of `spec.parameters` and of the template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub parameters: Vec<TrainParameter>,
}

/// Where the numbers come from that the gate judges.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.from) || !has(self.values)").message("spec.metrics.from and spec.metrics.values are both set: keep one of them"),
    validation = Rule::new("!has(self.wait) || has(self.values)").message("spec.metrics.wait is for values: results are final when a run ends"),
)]
pub struct Metrics {
    /// `Results` (default): the run's own results. Those of a PipelineRun that read as a number are metrics; a Job writes a
    /// JSON object `{"metrics": {"r2": 0.8}}` as its termination message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<MetricsFrom>,
    /// The Job's container that writes the results, where it has several.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// Values that are read once a run has succeeded, instead of results. A URL or a query must contain `$(run.name)`,
    /// `$(run.uid)` or `$(version)`: else it may give the number of another run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub values: Vec<MetricValue>,
    /// How long a value that is not there yet is asked for again, counted from the end of the run. Default 2m; at most 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = at_most("spec.metrics.wait", "30s or 10m", "1h"))]
    pub wait: Option<Duration>,
}

/// Where metrics come from without sources of their own.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MetricsFrom {
    /// The run's results.
    #[default]
    Results,
}

/// A metric and where its value comes from.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricValue {
    /// Name of the metric.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$')").message("a metric's name must be letters, digits, '-', '_' and '.', beginning and ending with a letter or a digit"))]
    pub name: String,
    /// Where its value comes from.
    pub source: Source,
}

/// How many runs may be started in a span of time. A training that does not fit waits whole.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// How many; each candidate is a run.
    #[schemars(range(min = 1, max = 100))]
    pub runs: i32,
    /// In which span; at least 1m, at most 8760h.
    #[schemars(with = "String", length(max = 32))]
    #[x_kube(validation = within("spec.budget.window", "24h or 168h", "1m", "8760h"))]
    pub window: Duration,
}

/// When a reason that has been answered counts again.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrainSettle {
    /// Wait after the first training; doubles with each. Default 1h; at least 1s, at most 8760h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("initial", "1h or 24h", "1s", "8760h"))]
    pub initial: Option<Duration>,
    /// Longest wait. Default 24h; at least 1s, at most 8760h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("max", "24h or 168h", "1s", "8760h"))]
    pub max: Option<Duration>,
}
