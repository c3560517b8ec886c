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
    /// Keeps a model fresh: trains it when it is stale, evaluates the result, and accepts it or keeps the current model.
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
        doc = "Keeps a model fresh: trains it when it is stale, evaluates the result, and accepts it or keeps the current model.",
        printcolumn = r#"{"name":"Fresh","type":"string","jsonPath":".status.conditions[?(@.type==\"Fresh\")].status","description":"Is the accepted model fresh enough?"}"#,
        printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"Fresh\")].reason","description":"Why Fresh has its value"}"#,
        printcolumn = r#"{"name":"Accepted","type":"string","jsonPath":".status.acceptedVersion.name","description":"The accepted version"}"#,
        printcolumn = r#"{"name":"Score","type":"string","jsonPath":".status.acceptedVersion.score","description":"The accepted version's metric of spec.gate.best"}"#,
        printcolumn = r#"{"name":"Verdict","type":"string","jsonPath":".status.lastVerdict.verdict","description":"The last result of the gate"}"#,
        printcolumn = r#"{"name":"Next","type":"date","jsonPath":".status.nextEvaluationAt","description":"The next time at which something changes by itself"}"#,
        printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status","description":"Can the operator do its job for this object?","priority":1}"#,
        printcolumn = r#"{"name":"Attempt","type":"integer","jsonPath":".status.attempt","description":"Trainings started so far","priority":1}"#,
        printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
    )]
    #[serde(rename_all = "camelCase")]
    pub struct ModelTrainSpec {
        /// When the accepted model is stale. Without it, only the trigger annotation starts a training.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub freshness: Option<Box<Freshness>>,

        /// Parameters of the training's runs, at most 64. Runs get no other parameters.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 64))]
        #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
        pub parameters: Vec<TrainParameter>,

        /// What a training tries, at most 16: it makes one run for each candidate. Without candidates, a training is one
        /// run.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 16))]
        #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
        pub candidates: Vec<Candidate>,

        /// Maximum number of active runs of a training. From 1 to 16; default: one for each candidate.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 1, max = 16))]
        pub parallelism: Option<i32>,

        /// Where the operator reads the metrics that the gate evaluates.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub metrics: Option<Box<MetricsSpec>>,

        /// Rules that a candidate must pass to be accepted. Without a gate, every run that succeeds passes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub gate: Option<Box<Gate>>,

        /// How many runs may start in a period of time. Default: no limit.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub budget: Option<Budget>,

        /// When a reason that a training has answered may start a training again, while it still holds.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub settle: Option<TrainSettle>,

        /// Number of ModelVersions to keep besides the accepted, the held, the served and the newest one. The operator
        /// deletes the oldest ones beyond it. From 0 to 1000; default 20.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(range(min = 0, max = 1_000))]
        pub version_history_limit: Option<i32>,

        /// What happens to the runs and the ModelVersions when this object is deleted: `Orphan` (default) keeps them,
        /// `Delete` deletes them too.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub deletion_policy: Option<DeletionPolicy>,
    }
}

/// A parameter of the training's runs. Exactly one of `value`, `fromInput`, `fromContext`, `fromAccepted` and `fromResponse`
/// gives its value.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.value), has(self.fromInput), has(self.fromContext), has(self.fromAccepted), has(self.fromResponse)].filter(x, x).size() == 1").message("a parameter needs exactly one of value, fromInput, fromContext, fromAccepted and fromResponse"),
    validation = Rule::new("!has(self.field) || has(self.fromInput)").message("field is for fromInput: the attribute of the input's source that is meant"),
)]
pub struct TrainParameter {
    /// Name of the parameter in the run. It replaces the template's parameter of that name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// A fixed value, at most 4096 characters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 4096))]
    pub value: Option<String>,
    /// Name of an input of `spec.freshness.inputs`. The value is the one that the training was reserved with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub from_input: Option<String>,
    /// Attribute of that input's source, such as `commit` of a Git source. Only with `fromInput`; default `value`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub field: Option<String>,
    /// A fact about the training.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_context: Option<FromContext>,
    /// A field of the accepted version. Empty while no version is accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from_accepted: Option<FromAccepted>,
    /// Name of a parameter in the response of `spec.freshness.needsTrainUrl`. Empty if no response has it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub from_response: Option<String>,
}

/// A fact about the training: `Version` (name of the run and of its ModelVersion), `Attempt` (number of the training),
/// `Candidate` (its name, or empty), `Reasons` (such as `Input:data,MaxAge`), `ObjectName` and `Namespace` (of the
/// ModelTrain).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FromContext {
    /// Name of the run and of its ModelVersion.
    Version,
    /// Number of the training.
    Attempt,
    /// Name of the candidate; empty without candidates.
    Candidate,
    /// Why the model is stale, separated by commas, as in `Input:data,MaxAge`.
    Reasons,
    /// Name of the ModelTrain.
    ObjectName,
    /// Namespace of the ModelTrain.
    Namespace,
}

/// A field of the accepted version: `Name`, or `Uri` or `Digest` of its artifact. Empty while no version is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum FromAccepted {
    /// Name of the version.
    Name,
    /// URI of its artifact.
    Uri,
    /// Digest of its artifact.
    Digest,
}

/// One run of a training, with parameters of its own.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Candidate {
    /// Name of the candidate, a part of the run's name: 1 to 16 lower-case letters, digits and `-`.
    #[schemars(length(min = 1, max = 16))]
    #[x_kube(validation = Rule::new("self.matches('^[a-z0-9]([-a-z0-9]{0,14}[a-z0-9])?$')").message("a candidate's name must be 1 to 16 lower-case letters, digits and '-', beginning and ending with a letter or a digit"))]
    pub name: String,
    /// Parameters of its run, at most 32. They take precedence over those of `spec.parameters` and of the template.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub parameters: Vec<TrainParameter>,
}

/// Where the operator reads the metrics that the gate evaluates.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.from) || !has(self.values)").message("spec.metrics.from and spec.metrics.values are both set: keep one of them"),
    validation = Rule::new("!has(self.wait) || has(self.values)").message("spec.metrics.wait is for values: results are final when a run ends"),
)]
pub struct MetricsSpec {
    /// `Results` (default): the run's own results. Numeric results of a PipelineRun are metrics. A Job writes a JSON object
    /// such as `{"metrics": {"r2": 0.8}}` as its termination message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<MetricsFrom>,
    /// Name of the Job's container that writes the results. Required if metrics come from results and the Job has several
    /// containers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub container: Option<String>,
    /// Metrics that the operator reads from sources after a run succeeds, instead of results, at most 32. A URL or query
    /// must contain `$(run.name)`, `$(run.uid)` or `$(version)`, because it could otherwise return the metric of another
    /// run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 32))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub values: Vec<MetricValue>,
    /// How long the operator waits for a value that is not there yet, counted from the end of the run. Only with `values`.
    /// At most 1h; default 2m.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = at_most("spec.metrics.wait", "30s or 10m", "1h"))]
    pub wait: Option<Duration>,
}

/// Where metrics come from: `Results` (default) means the run's own results. Numeric results of a PipelineRun are metrics.
/// A Job writes a JSON object such as `{"metrics": {"r2": 0.8}}` as its termination message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum MetricsFrom {
    /// The run's results.
    #[default]
    Results,
}

/// A metric and its source.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct MetricValue {
    /// Name of the metric: 1 to 63 letters, digits, `-`, `_` and `.`.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?$')").message("a metric's name must be letters, digits, '-', '_' and '.', beginning and ending with a letter or a digit"))]
    pub name: String,
    /// Source of the value, which must be a number.
    pub source: Source,
}

/// How many runs may start in a period of time. A training starts only if all its runs fit.
#[derive(KubeSchema, Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Budget {
    /// Maximum number of runs to start in the period. Each candidate is a run. From 1 to 100.
    #[schemars(range(min = 1, max = 100))]
    pub runs: i32,
    /// Length of the period, which ends now. From 1m to 8760h.
    #[schemars(with = "String", length(max = 32))]
    #[x_kube(validation = within("spec.budget.window", "24h or 168h", "1m", "8760h"))]
    pub window: Duration,
}

/// How long an answered reason waits until it may start a training again.
#[derive(KubeSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TrainSettle {
    /// Wait after the first training. It doubles with each training in a row. From 1s to 8760h; default 1h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("initial", "1h or 24h", "1s", "8760h"))]
    pub initial: Option<Duration>,
    /// Longest wait. From 1s to 8760h; default 24h.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("max", "24h or 168h", "1s", "8760h"))]
    pub max: Option<Duration>,
}
