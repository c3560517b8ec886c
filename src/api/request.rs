//! How a URL is asked: deadline, headers, certificates, tokens. Wire types, no IO.

use kube::{KubeSchema, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule::within;

/// How a URL is asked. Secrets and config maps are those of the object's own namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Deadline of the whole exchange, from looking up the name to the last byte. Default 10s; at least 100ms, at most 60s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("timeout", "500ms, 10s or 1m", "100ms", "60s"))]
    pub timeout: Option<Duration>,

    /// Headers whose values come from Secrets. They are sent over https only, unless the host is a Service of this cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub headers_from: Vec<HeaderFrom>,

    /// Certificate authorities (PEM) that may vouch for the server, instead of the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<CertificateAuthority>,

    /// Sends a token of a service account as `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_token: Option<ServiceAccountToken>,
}

/// A header and the Secret that its value comes from.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderFrom {
    /// Name of the header.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new(r"self.matches('^[A-Za-z0-9-]+$') && !(self.lowerAscii() in ['host', 'content-length', 'transfer-encoding', 'connection', 'upgrade', 'te', 'trailer', 'expect', 'accept-encoding']) && !self.lowerAscii().startsWith('modelsync-')").message("a header's name must be letters, digits and '-', and none that HTTP itself or this operator uses"))]
    pub name: String,
    /// Where the whole value of the header is.
    pub secret_key_ref: KeyRef,
}

/// One key of a Secret or of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRef {
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in its data.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Where certificate authorities are.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.configMapKeyRef) != has(self.secretKeyRef)").message("set exactly one of configMapKeyRef and secretKeyRef"),
)]
pub struct CertificateAuthority {
    /// In a ConfigMap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
    /// In a Secret.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
}

/// A token that the API server issues for a service account of the object's namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountToken {
    /// Name of the service account.
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: String,
    /// Whom the token is for. One that the API server itself would accept is refused.
    #[schemars(length(min = 1, max = 253))]
    pub audience: String,
}
