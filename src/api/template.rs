//! Templates of runs. Wire types, no IO.

use std::collections::BTreeMap;

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::raw::RawObject;

/// What runs are made from. The field that holds it says the kind of run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RunTemplate {
    /// Labels and annotations of the runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub metadata: Option<TemplateMetadata>,
    /// Spec of the runs, in the form of their kind.
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
    /// Labels of the runs, at most 64. Keys that begin with `automl.cloudai.kubeflow.org/` are reserved for the operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the runs, at most 64. Keys that begin with `automl.cloudai.kubeflow.org/` are reserved for the
    /// operator.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    #[schemars(extend("maxProperties" = 64))]
    pub annotations: BTreeMap<String, String>,
    /// Ignored: the operator names the runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub generate_name: Option<String>,
    /// Ignored. Some tools write it into templates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 64))]
    pub creation_timestamp: Option<String>,
    /// Must not be set: the operator names the runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub name: Option<String>,
    /// Must not be set: the operator creates runs in the object's own namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 253))]
    pub namespace: Option<String>,
}
