//! Value sources: one vocabulary for every place where an object names a value. Wire types, no IO.

use kube::{KubeSchema, core::Rule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::Request;

/// Largest value of a source, in bytes, after one trailing newline is cut off.
pub const MAX_VALUE: usize = 1024;

/// Largest `candidates` attribute of the source `modelTrain`, in bytes.
pub const MAX_CANDIDATES: usize = 8 * 1024;

/// Calls the macro `$each` with every value source: its docs, its field, its name on the wire and its type. A new source
/// adds its lines here; the file of `source/` that implements it follows from the type.
macro_rules! each_source {
    ($each:ident) => {
        $each! {
            /// A fixed value, at most 1024 characters.
            #[schemars(length(max = 1024))]
            literal "literal": String,

            /// A key of a ConfigMap in this namespace.
            config_map_key_ref "configMapKeyRef": ConfigMapKey,

            /// A field of an object in this namespace. The operator needs permission to read the kind.
            object_field "objectField": ObjectField,

            /// The accepted version, or the last training, of a ModelTrain in this namespace.
            model_train "modelTrain": ModelTrainSource,

            /// A field of a JSON response, or a response header, of a URL.
            http "http": Box<HttpSource>,

            /// The commit of a branch, a tag or another ref of a Git repository.
            git "git": Box<GitSource>,

            /// A version of a model in an MLflow registry.
            mlflow "mlflow": Box<MlflowSource>,

            /// The result of a Prometheus query.
            prometheus "prometheus": Box<PrometheusSource>,
        }
    };
}

pub(crate) use each_source;

macro_rules! declare {
    ($($(#[$attribute:meta])* $field:ident $name:literal: $type:ty,)+) => {
        /// A source of one value. Exactly one member is set, or none beside `all`.
        #[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "camelCase")]
        pub struct SingleSource {
            $(
                $(#[$attribute])*
                #[serde(default, skip_serializing_if = "Option::is_none")]
                pub $field: Option<$type>,
            )+
        }

        /// The sources of one value by their names on the wire, in the order of the reference.
        pub const NAMES: &[&str] = &[$($name),+];
    };
}

each_source!(declare);

/// The rule that exactly one source is set: one of [`NAMES`], or one of `more`.
fn exactly_one(subject: &str, more: &[&str]) -> Rule {
    let names = [NAMES, more].concat();
    let set: Vec<_> = names.iter().map(|name| format!("has(self.{name})")).collect();
    Rule::new(format!("[{}].filter(x, x).size() == 1", set.join(", ")))
        .message(format!("{subject} needs exactly one of {}", listed(&names)).as_str())
}

/// Names as a sentence lists them: `a, b and c`.
pub fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// Where the operator reads a value: exactly one of the members.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one("a source", &["all"]))]
pub struct Source {
    /// A single source.
    #[serde(flatten)]
    pub single: SingleSource,
    /// Several sources as one value, at most 8: a JSON object with the name and the value of each, sorted by name.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(min = 1, max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub all: Vec<NamedSource>,
}

/// One of several sources.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = exactly_one("an entry of all", &[]))]
pub struct NamedSource {
    /// Name of the value in the JSON object, and before the dot in the names of its attributes: 1 to 63 letters, digits,
    /// `-` and `_`.
    #[schemars(length(min = 1, max = 63))]
    #[x_kube(validation = Rule::new("self.matches('^[A-Za-z0-9]([-_A-Za-z0-9]*[A-Za-z0-9])?$')").message("a name in all must be letters, digits, '-' and '_', beginning and ending with a letter or a digit"))]
    pub name: String,
    /// Where the operator reads the value.
    #[serde(flatten)]
    pub source: SingleSource,
}

/// A key of a ConfigMap: its text, or the digest of its bytes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConfigMapKey {
    /// Name of the ConfigMap, in the object's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in its `data` or `binaryData`.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
    /// If true, the value is `sha256:<hex>` of the bytes instead of the text. Use it for content above 1 KiB, such as a
    /// notebook. Default false.
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
    /// Kind of the object. A Secret is refused.
    #[schemars(length(min = 1, max = 64))]
    pub kind: String,
    /// Name of the object, in this namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// The field, as a singular JSONPath (RFC 9535) such as `$.spec.template.metadata.labels["model"]`. It must hold a
    /// scalar.
    #[schemars(length(min = 1, max = 512))]
    pub json_path: String,
}

/// A field of a JSON response, or a response header, of a URL.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.jsonPath) != has(self.header)").message("set exactly one of jsonPath and header"),
)]
pub struct HttpSource {
    /// URL to request with GET: `http` or `https`, without user information.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(r"self.matches('^[hH][tT][tT][pP][sS]?://[^/?#@\\s\\\\]+([/?#][^\\s]*)?$')").message("url must be an http:// or https:// URL with a host, and without user information"))]
    pub url: String,
    /// The value in the JSON body, as a singular JSONPath (RFC 9535) such as `$.model.version`. It must be a scalar. Set
    /// either this or `header`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 512))]
    pub json_path: Option<String>,
    /// Response header that holds the value. Set either this or `jsonPath`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 128))]
    pub header: Option<String>,
    /// If true, a server that has no DNS name or refuses the connection counts as one without a value, instead of an error:
    /// it is not up yet. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub absent_when_unreachable: bool,
    /// How the operator requests the URL: timeout, headers, certificates, token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
}

/// The commit of a ref of a Git repository, over http or https (protocol version 2).
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GitSource {
    /// URL of the repository: `http` or `https`, without user information.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(r"self.matches('^[hH][tT][tT][pP][sS]?://[^/?#@\\s\\\\]+([/?#][^\\s]*)?$')").message("url must be an http:// or https:// URL with a host, and without user information"))]
    pub url: String,
    /// A full ref such as `refs/heads/main`, or a short name: the operator tries it as a branch, then as a tag. The value
    /// of a tag is its commit.
    #[serde(rename = "ref")]
    #[schemars(length(min = 1, max = 255))]
    pub reference: String,
    /// How the operator requests the URL: timeout, headers, certificates, token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
}

/// The accepted version, or the last training, of a ModelTrain in this namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.field) || !has(self.select) || self.select == 'Accepted'").message("field is for select: Accepted; the value of LastAttempt is the training's number"),
)]
pub struct ModelTrainSource {
    /// Name of the ModelTrain, in this namespace.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// What of the accepted version is the value. Default Name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<VersionField>,
    /// `Accepted` (default): the accepted version. `LastAttempt`: the training that ended last, whatever its result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub select: Option<TrainSelect>,
}

/// Field of the accepted version that is the value: `Name` (default), `Uri` or `Digest` of its artifact, or `TrainedAt`.
/// Only with `select: Accepted`.
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

/// `Accepted` (default): the accepted version. `LastAttempt`: the number of the training that ended last, whatever its
/// result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum TrainSelect {
    /// The accepted version.
    #[default]
    Accepted,
    /// The training that ended last.
    LastAttempt,
}

/// A version of a registered model of an MLflow server.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.alias) != (has(self.latest) && self.latest)").message("set exactly one of alias and latest: true"),
)]
pub struct MlflowSource {
    /// URL of the MLflow server: `http` or `https`, without user information and without `/api`.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(r"self.matches('^[hH][tT][tT][pP][sS]?://[^/?#@\\s\\\\]+([/?#][^\\s]*)?$')").message("url must be an http:// or https:// URL with a host, and without user information"))]
    pub url: String,
    /// Name of the registered model.
    #[schemars(length(min = 1, max = 256))]
    pub model: String,
    /// Alias of the version. Set either this or `latest`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 256))]
    pub alias: Option<String>,
    /// If true, the value is the highest version number that is ready. Set either this or `alias`. Default false.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub latest: bool,
    /// How the operator requests the URL: timeout, headers, certificates, token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
}

/// An instant query of a Prometheus server, or of one with the same API.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PrometheusSource {
    /// URL of the Prometheus server: `http` or `https`, without user information and without `/api`.
    #[schemars(length(min = 1, max = 2048))]
    #[x_kube(validation = Rule::new(r"self.matches('^[hH][tT][tT][pP][sS]?://[^/?#@\\s\\\\]+([/?#][^\\s]*)?$')").message("url must be an http:// or https:// URL with a host, and without user information"))]
    pub url: String,
    /// A PromQL expression that returns one sample: a scalar, or a vector of one element.
    #[schemars(length(min = 1, max = 2048))]
    pub query: String,
    /// How the operator requests the URL: timeout, headers, certificates, token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request: Option<Request>,
}
