//! Value sources: one vocabulary for every place where an object names a value. Wire types, no IO.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::request::Request;

/// Largest value of a source, in bytes, after one trailing newline is cut off.
pub const MAX_VALUE: usize = 1024;

/// Where a value comes from: exactly one of the members.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("[has(self.literal), has(self.configMapKeyRef), has(self.objectField), has(self.http), has(self.git)].filter(x, x).size() == 1").message("a source needs exactly one of literal, configMapKeyRef, objectField, http and git"),
)]
pub struct Source {
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
    /// Part of what a URL answers.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Box<HttpSource>>,
    /// The commit that a branch, a tag or another ref of a Git repository stands at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub git: Option<Box<GitSource>>,
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
