//! The ModelSync kind: schema and wire types. The field docs are the user's reference. No IO.

use kube::{CustomResource, KubeSchema};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{request::Request, retry::Settle, run_spec::run_spec, source::Source, status::ModelSyncStatus};

run_spec! {
    /// Keeps what is deployed equal to what is desired: polls an endpoint, or compares two values, and starts exactly one run
    /// when a sync is needed.
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
        doc = "Keeps what is deployed equal to what is desired: polls an endpoint, or compares two values, and starts exactly one run when a sync is needed.",
        printcolumn = r#"{"name":"In-Sync","type":"string","jsonPath":".status.conditions[?(@.type==\"InSync\")].status","description":"Do desired and actual agree?"}"#,
        printcolumn = r#"{"name":"Reason","type":"string","jsonPath":".status.conditions[?(@.type==\"InSync\")].reason","description":"Why In-Sync has its value"}"#,
        printcolumn = r#"{"name":"Ready","type":"string","jsonPath":".status.conditions[?(@.type==\"Ready\")].status","description":"Can the operator do its job for this object?","priority":1}"#,
        printcolumn = r#"{"name":"Desired","type":"string","jsonPath":".status.desired","description":"The desired value of spec.compare"}"#,
        printcolumn = r#"{"name":"Actual","type":"string","jsonPath":".status.actual","description":"The actual value of spec.compare"}"#,
        printcolumn = r#"{"name":"Last-Run","type":"string","jsonPath":".status.lastRun.outcome","description":"How the last run ended"}"#,
        printcolumn = r#"{"name":"Attempt","type":"integer","jsonPath":".status.attempt","description":"Runs started so far","priority":1}"#,
        printcolumn = r#"{"name":"Next-Attempt","type":"date","jsonPath":".status.nextAttemptAt","description":"When the operator tries the same target again","priority":1}"#,
        printcolumn = r#"{"name":"Age","type":"date","jsonPath":".metadata.creationTimestamp"}"#
    )]
    #[serde(rename_all = "camelCase")]
    #[x_kube(
        validation = Rule::new("has(self.needsSyncUrl) || has(self.compare)").message("spec.needsSyncUrl is missing: set it to the http or https URL of the endpoint that says whether a sync is needed, or set spec.compare to compare two values"),
        validation = Rule::new("!(has(self.needsSyncUrl) && has(self.compare))").message("spec.needsSyncUrl and spec.compare are both set: keep one of them"),
        validation = Rule::new("!has(self.request) || has(self.needsSyncUrl)").message("spec.request is for spec.needsSyncUrl: a source of spec.compare has a request of its own"),
    )]
    pub struct ModelSyncSpec {
        /// URL of the needs-sync endpoint: `http` or `https`, without user information. The operator polls it with GET. It
        /// responds with `{"needsSync": true, "parameters": {"name": "value"}}`. Set either this or `compare`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        #[schemars(length(max = 2048))]
        #[x_kube(validation = Rule::new(r"self.matches('^[hH][tT][tT][pP][sS]?://[^/?#@\\s\\\\]+([/?#][^\\s]*)?$')").message("spec.needsSyncUrl must be an http:// or https:// URL with a host, and without user information: put credentials nowhere in the URL"))]
        pub needs_sync_url: Option<String>,

        /// Two values that the operator compares instead of polling an endpoint. A sync is needed while they differ. The
        /// parameters are then `desired`, `actual` and the attributes of the desired source. Set either this or
        /// `needsSyncUrl`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub compare: Option<Box<Compare>>,

        /// How the operator requests `needsSyncUrl`: timeout, headers, certificates, token.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub request: Option<Box<Request>>,

        /// Which parameters of the response become which parameters of the run, at most 64. Default: none; see
        /// `unmappedParameters`.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        #[schemars(length(max = 64))]
        pub parameters: Vec<ParameterMapping>,

        /// What happens to parameters of the response that `parameters` does not name: `Ignore` (default) drops them,
        /// `Pass` gives them to the run under their own names, `Reject` makes the response an error.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub unmapped_parameters: Option<UnmappedParameters>,

        /// When the operator runs the same target again after a success, while a sync is still needed. For example, the run
        /// opened a pull request that is not merged yet.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub settle: Option<Box<Settle>>,

        /// Which ModelVersion counts as served while no sync is needed. Not needed if `compare.desired` is the accepted
        /// version of a ModelTrain: that version counts as served.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub serves: Option<Box<Serves>>,

        /// What happens to the runs when this object is deleted: `Delete` (default) deletes them too, `Orphan` keeps them.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pub deletion_policy: Option<DeletionPolicy>,
    }
}

/// Two values that should be equal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Compare {
    /// The desired value. While the source has no value, the operator starts no run.
    pub desired: Source,
    /// The actual value. If the source has no value, it is the empty string.
    pub actual: Source,
}

/// Which ModelVersion counts as served while no sync is needed.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.disabled) && self.disabled) || (has(self.modelTrain) && has(self.parameter))").message("spec.serves needs modelTrain and parameter, or disabled: true"),
)]
pub struct Serves {
    /// Name of the ModelTrain, in the same namespace. Required unless `disabled` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub model_train: Option<String>,
    /// Parameter of the response, or of the comparison, whose value is the name of the served ModelVersion. Required unless
    /// `disabled` is true.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 253))]
    pub parameter: Option<String>,
    /// If true, no version counts as served: this object keeps for example a report or a copy in sync. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub disabled: bool,
}

/// What happens to runs when their object is deleted: `Delete` deletes them too, `Orphan` keeps them. The default differs:
/// `Delete` for a ModelSync, `Orphan` for a ModelTrain and its ModelVersions.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum DeletionPolicy {
    /// They are deleted too.
    #[default]
    Delete,
    /// They are kept.
    Orphan,
}

/// A parameter of the response and the parameter of the run that it becomes. If both have the same name, one of the two
/// fields is enough.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("(has(self.needsSyncName) && self.needsSyncName != '') || (has(self.pipelineName) && self.pipelineName != '')").message("an entry of spec.parameters names nothing: set needsSyncName, pipelineName or both"),
)]
pub struct ParameterMapping {
    /// Name of the parameter in the response. Default: `pipelineName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub needs_sync_name: Option<String>,
    /// Name of the parameter of the run. It replaces the template's parameter of that name. Default: `needsSyncName`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub pipeline_name: Option<String>,
}

/// What happens to parameters of the response that `parameters` does not name: `Ignore` (default) drops them, `Pass` gives
/// them to the run under their own names, `Reject` makes the response an error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum UnmappedParameters {
    /// They are dropped.
    #[default]
    Ignore,
    /// They are given to the run under their own names.
    Pass,
    /// The response is an error.
    Reject,
}
