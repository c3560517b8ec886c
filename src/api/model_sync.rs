//! The ModelSync kind: schema and wire types. The field docs are the user's reference. No IO.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{request::Request, retry::Settle, run_spec::run_spec, source::Source, status::ModelSyncStatus};

run_spec! {
    /// Keeps what is deployed equal to what is desired: asks an endpoint whether they differ, or compares two values, and
    /// starts exactly one run when they do.
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
        doc = "Keeps what is deployed equal to what is desired: asks an endpoint whether they differ, or compares two values, and starts exactly one run when they do.",
        printcolumn = r#"{"name":"In-Sync","type":"string","jsonPath":".status.conditions[?(@.type==\"InSync\")].status","description":"Do desired and actual agree?"}"#,
        printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"InSync\")].reason","description":"Why In-Sync has its value"}"#,
        printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status","description":"Can the operator do its job for this object?","priority":1}"#,
        printcolumn = r#"{"name":"Desired","type":"string","jsonPath":".status.desired","description":"The desired value of spec.compare"}"#,
        printcolumn = r#"{"name":"Actual","type":"string","jsonPath":".status.actual","description":"The actual value of spec.compare"}"#,
        printcolumn = r#"{"name":"Last-Run","type":"string","jsonPath":".status.lastRun.outcome","description":"How the last run ended"}"#,
        printcolumn = r#"{"name":"Attempt","type":"integer","jsonPath":".status.attempt","description":"Runs started so far","priority":1}"#,
        printcolumn = r#"{"name":"Next-Attempt","type":"date","jsonPath":".status.nextAttemptAt","description":"When the same target is tried again","priority":1}"#,
        printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
    )]
    #[serde(rename_all = "camelCase")]
    #[x_kube(
        validation = Rule::new("has(self.needsSyncUrl) || has(self.compare)").message("spec.needsSyncUrl is missing: set it to the http or https URL of the endpoint that answers whether a sync is needed, or set spec.compare to compare two values"),
        validation = Rule::new("!(has(self.needsSyncUrl) && has(self.compare))").message("spec.needsSyncUrl and spec.compare are both set: keep one of them"),
        validation = Rule::new("!has(self.request) || has(self.needsSyncUrl)").message("spec.request is for spec.needsSyncUrl: a source of spec.compare has a request of its own"),
    )]
    pub struct ModelSyncSpec {
        /// URL of the endpoint that is asked whether a sync is needed: `http` or `https`, without user information.
        /// It answers a GET with `{"needsSync": true, "parameters": {"name": "value"}}`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(length(max = 2048))]
        #[x_kube(validation = Rule::new(r"self.matches('^[hH][tT][tT][pP][sS]?://[^/?#@\\s\\\\]+([/?#][^\\s]*)?$')").message("spec.needsSyncUrl must be an http:// or https:// URL with a host, and without user information: put credentials nowhere in the URL"))]
        pub needs_sync_url: Option<String>,

        /// Two values to compare instead of asking an endpoint: out of sync while they differ. The parameters of the answer
        /// are `desired`, `actual` and the attributes of the desired source.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub compare: Option<Box<Compare>>,

        /// How the endpoint of `needsSyncUrl` is asked.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub request: Option<Box<Request>>,

        /// How parameters of the answer become parameters of the run.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 64))]
        pub parameters: Vec<ParameterMapping>,

        /// What happens to parameters of the answer that `parameters` does not name: `Ignore` (default) drops them,
        /// `Pass` hands them to the run under their own names, `Reject` makes such an answer an error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub unmapped_parameters: Option<UnmappedParameters>,

        /// How long a target is left alone after a run that succeeded, while a sync is still needed: the pull request is not
        /// merged yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub settle: Option<Box<Settle>>,

        /// Which ModelTrain's versions are served by what this object keeps in sync. Where `compare.desired` is the accepted
        /// version of a ModelTrain it need not be set: its versions are.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub serves: Option<Box<Serves>>,

        /// What becomes of the runs when this object is deleted: `Delete` (default) removes them with it, `Orphan` keeps them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub deletion_policy: Option<DeletionPolicy>,
    }
}

/// Two values that ought to be equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Compare {
    /// The value that ought to be. Where there is none yet, nothing is started.
    pub desired: Source,
    /// The value that is. Where there is none, it is the empty text.
    pub actual: Source,
}

/// Which versions are served once in sync.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.disabled) && self.disabled) || (has(self.modelTrain) && has(self.parameter))").message("spec.serves needs modelTrain and parameter, or disabled: true"),
)]
pub struct Serves {
    /// Name of the ModelTrain, in the same namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub model_train: Option<String>,
    /// The parameter of an answer, or of a comparison, whose value is the name of the ModelVersion that is served while no
    /// sync is needed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub parameter: Option<String>,
    /// Nothing is served: what is kept in sync is a report, a test or a copy.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

/// What becomes of runs whose object is deleted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They go with it.
    #[default]
    Delete,
    /// They stay.
    Orphan,
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
