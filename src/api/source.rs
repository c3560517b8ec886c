//! Value sources: one vocabulary for every place where an object names a value. Wire types, no IO.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::Request;

/// Largest value of a source, in bytes, after one trailing newline is cut off.
pub const MAX_VALUE: usize = 1024;

/// Largest `candidates` attribute of the source `modelTrain`, in bytes.
pub const MAX_CANDIDATES: usize = 8 * 1024;

/// Where a value comes from: exactly one of the members.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.literal), has(self.configMapKeyRef), has(self.objectField), has(self.modelTrain), has(self.http), has(self.git), has(self.mlflow), has(self.prometheus), has(self.all)].filter(x, x).size() == 1").message("a source needs exactly one of literal, configMapKeyRef, objectField, modelTrain, http, git, mlflow, prometheus and all"),
)]
pub struct Source {
    /// One place.
    #[serde(flatten)]
    pub single: SingleSource,
    /// Several values as one: a JSON object with the name and the value of each, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub all: Vec<NamedSource>,
}

/// A source of one place. Exactly one member is set where it stands alone, none beside `all`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SingleSource {
    /// The value itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 1024))]
    pub literal: Option<String>,
    /// A key of a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<ConfigMapKey>,
    /// A field of an object of this namespace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object_field: Option<ObjectField>,
    /// What a ModelTrain of this namespace has accepted, or tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub model_train: Option<ModelTrainSource>,
    /// Part of what a URL answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Box<HttpSource>>,
    /// The commit that a branch, a tag or another ref of a Git repository stands at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<Box<GitSource>>,
    /// A version in an MLflow model registry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mlflow: Option<Box<MlflowSource>>,
    /// The one sample that a Prometheus query yields.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prometheus: Option<Box<PrometheusSource>>,
}

/// One of several sources.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.literal), has(self.configMapKeyRef), has(self.objectField), has(self.modelTrain), has(self.http), has(self.git), has(self.mlflow), has(self.prometheus)].filter(x, x).size() == 1").message("an entry of all needs exactly one of literal, configMapKeyRef, objectField, modelTrain, http, git, mlflow and prometheus"),
)]
pub struct NamedSource {
    /// Its name in the JSON object, and before the dot in the names of its attributes.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([-_A-Za-z0-9]*[A-Za-z0-9])?$')").message("a name in all must be letters, digits, '-' and '_', beginning and ending with a letter or a digit"))]
    pub name: String,
    /// Where its value comes from.
    #[serde(flatten)]
    pub source: SingleSource,
}

/// A key of a ConfigMap: its text, or the digest of its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigMapKey {
    /// Name of the ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in its `data` or `binaryData`.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// Take `sha256:<hex>` of the bytes instead of the text: for what is longer than 1 KiB, such as a notebook.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub digest: bool,
}

/// A scalar field of an object. The operator needs permission to read objects of this kind; Secrets are never read.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(self.kind == 'Secret' && self.apiVersion == 'v1')").message("objectField never reads a Secret: a secret value would end up in status and in runs"),
)]
pub struct ObjectField {
    /// `apiVersion` of the object, as in `apps/v1`.
    #[schemars(length(min = 1, max = 128))]
    pub api_version: String,
    /// Kind of the object.
    #[schemars(length(min = 1, max = 64))]
    pub kind: String,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The field, as a singular JSONPath (RFC 9535): `$.spec.template.metadata.labels["model"]`.
    #[schemars(length(min = 1, max = 512))]
    pub json_path: String,
}

/// Part of what a URL answers.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.jsonPath) != has(self.header)").message("set exactly one of jsonPath and header"),
)]
pub struct HttpSource {
    /// `http` or `https` URL, without user information.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(r"self.matches('^[hH][tT][tT][pP][sS]?://[^/?#@\\s\\\\]+([/?#][^\\s]*)?$')").message("url must be an http:// or https:// URL with a host, and without user information"))]
    pub url: String,
    /// A scalar of the JSON body, as a singular JSONPath (RFC 9535): `$.model.version`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub json_path: Option<String>,
    /// A header of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub header: Option<String>,
    /// Take a server that cannot be connected to, or has no name yet, for one without a value: it is not up yet.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent_when_unreachable: bool,
    /// How it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
}

/// The commit that a ref of a Git repository stands at, asked over http or https (protocol version 2).
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitSource {
    /// `http` or `https` URL of the repository, without user information.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(r"self.matches('^[hH][tT][tT][pP][sS]?://[^/?#@\\s\\\\]+([/?#][^\\s]*)?$')").message("url must be an http:// or https:// URL with a host, and without user information"))]
    pub url: String,
    /// A full ref (`refs/heads/main`), or a short name, which is tried as a branch, then as a tag. Tags are followed to
    /// their commit.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 255))]
    pub reference: String,
    /// How it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
}

/// What a ModelTrain of this namespace has accepted, or tried last.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.field) || !has(self.select) || self.select == 'Accepted'").message("field is for select: Accepted; the value of LastAttempt is the training's number"),
)]
pub struct ModelTrainSource {
    /// Name of the ModelTrain.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// What of the accepted version is the value. Default Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<VersionField>,
    /// The accepted version (default), or the training that ended last, whatever came of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<TrainSelect>,
}

/// A field of an accepted version.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum VersionField {
    /// Name of the ModelVersion.
    #[default]
    Name,
    /// Where the model is.
    Uri,
    /// What the model is, by content.
    Digest,
    /// When it was trained.
    TrainedAt,
}

/// What of a ModelTrain is meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrainSelect {
    /// The version that it stands for.
    #[default]
    Accepted,
    /// The training that ended last.
    LastAttempt,
}

/// A version of a registered model, asked of an MLflow server.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.alias) != (has(self.latest) && self.latest)").message("set exactly one of alias and latest: true"),
)]
pub struct MlflowSource {
    /// `http` or `https` URL of the MLflow server, without user information and without `/api`.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(r"self.matches('^[hH][tT][tT][pP][sS]?://[^/?#@\\s\\\\]+([/?#][^\\s]*)?$')").message("url must be an http:// or https:// URL with a host, and without user information"))]
    pub url: String,
    /// Name of the registered model.
    #[schemars(length(min = 1, max = 256))]
    pub model: String,
    /// The version that has this alias.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub alias: Option<String>,
    /// The newest version that is ready, by number.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub latest: bool,
    /// How it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
}

/// An instant query, asked of a Prometheus server or of one that speaks its API.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusSource {
    /// `http` or `https` URL of the server, without user information and without `/api`.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(r"self.matches('^[hH][tT][tT][pP][sS]?://[^/?#@\\s\\\\]+([/?#][^\\s]*)?$')").message("url must be an http:// or https:// URL with a host, and without user information"))]
    pub url: String,
    /// A PromQL expression that yields one sample: a scalar, or a vector of one element.
    #[schemars(length(min = 1, max = 2048))]
    pub query: String,
    /// How it is asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
}
