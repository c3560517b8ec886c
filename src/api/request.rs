//! How the operator requests a URL: timeout, headers, certificates, tokens. Wire types, no IO.

use kube::{KubeSchema, core::Duration};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::rule::within;

/// How the operator requests a URL. Secrets and ConfigMaps are those of the object's own namespace.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Time limit of a request, from the DNS lookup to the last byte of the response. From 100ms to 60s; default 10s.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>", length(max = 32))]
    #[x_kube(validation = within("timeout", "500ms, 10s or 1m", "100ms", "60s"))]
    pub timeout: Option<Duration>,

    /// Headers whose values come from Secrets, at most 8. The operator sends them only over https or to a Service of this
    /// cluster.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 8))]
    #[x_kube(merge_strategy = ListMerge::Map(vec!["name".to_string()]))]
    pub headers_from: Vec<HeaderFrom>,

    /// Certificate authorities (PEM) to verify the server with. Default: the operator's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca: Option<CertificateAuthority>,

    /// Service account whose token the operator sends as `Authorization: Bearer`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_account_token: Option<ServiceAccountToken>,
}

/// A header whose value comes from a Secret.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct HeaderFrom {
    /// Name of the header: letters, digits and `-`. Headers that HTTP itself or the operator uses are refused.
    #[schemars(length(min = 1, max = 128))]
    #[x_kube(validation = Rule::new(r"self.matches('^[A-Za-z0-9-]+$') && !(self.lowerAscii() in ['host', 'content-length', 'transfer-encoding', 'connection', 'upgrade', 'te', 'trailer', 'expect', 'accept-encoding']) && !self.lowerAscii().startsWith('modelsync-')").message("a header's name must be letters, digits and '-', and none that HTTP itself or this operator uses"))]
    pub name: String,
    /// Key of a Secret that holds the whole value of the header.
    pub secret_key_ref: KeyRef,
}

/// A key of a Secret or of a ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct KeyRef {
    /// Name of the Secret or ConfigMap.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Key in its `data`.
    #[schemars(length(min = 1, max = 253))]
    pub key: String,
}

/// Where the certificate authorities are: exactly one of the members.
#[derive(KubeSchema, Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.configMapKeyRef) != has(self.secretKeyRef)").message("set exactly one of configMapKeyRef and secretKeyRef"),
)]
pub struct CertificateAuthority {
    /// Key of a ConfigMap that holds the certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_map_key_ref: Option<KeyRef>,
    /// Key of a Secret that holds the certificates.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_key_ref: Option<KeyRef>,
}

/// A token that the API server issues for a service account of the object's namespace.
#[derive(KubeSchema, Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceAccountToken {
    /// Name of the service account, in the object's namespace.
    #[schemars(length(min = 1, max = 253))]
    pub service_account_name: String,
    /// Audience of the token. An audience that the API server itself accepts is refused.
    #[schemars(length(min = 1, max = 253))]
    pub audience: String,
}
