//! Reads the credentials that polls send: keys of Secrets and ConfigMaps, tokens of service accounts. IO.
//!
//! Nothing is listed or watched. The operator reads a Secret or ConfigMap when a poll needs it and caches it for a
//! minute, so it uses a rotated value within a minute. No message and no log line contains a value.

mod cache;

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use futures::future::BoxFuture;
use http::Request;
use jiff::Timestamp;
use k8s_openapi::ByteString;
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Value, json};

use self::cache::Cache;
use super::{
    call::{call, get_opt},
    client::{CallError, Guarded},
    read_turns::ReadTurns,
};
use crate::{
    api,
    clock::Clock,
    core::{
        confidential::Confidential,
        poll::response::{PollError, PollErrorKind},
        status::condition::truncated,
        time::{MonotonicTime, until},
    },
    port::Credentials,
};

/// How long a Secret or ConfigMap is cached.
const LIFE: Duration = Duration::from_mins(1);
/// How long it is remembered that a Secret or ConfigMap does not exist.
const MISSING_LIFE: Duration = Duration::from_secs(30);
/// How long the API server's own audiences are cached. They change only with its command line.
const AUDIENCES_LIFE: Duration = Duration::from_mins(10);
/// Requested lifetime of a token: the shortest that the API server grants.
const TOKEN_SECONDS: u32 = 600;
/// Bounds of the cache of objects and of the cache of tokens: entries, and bytes in total.
const MOST: (usize, usize) = (1024, 16 * 1024 * 1024);
/// Longest message of a failure, in bytes.
const MAX_MESSAGE: usize = 512;

/// Reads credentials from the API server.
pub struct ApiCredentials {
    client: Guarded,
    clock: Arc<Clock>,
    turns: ReadTurns,
    cached: Mutex<Caches>,
}

struct Caches {
    /// `None`: it does not exist.
    objects: Cache<ObjectKey, Option<Arc<Data>>>,
    /// By namespace, service account and audience.
    tokens: Cache<(String, String, String), Confidential>,
    audiences: Option<(MonotonicTime, Arc<[String]>)>,
}

type Data = BTreeMap<String, Confidential>;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct ObjectKey {
    kind: CredentialKind,
    namespace: String,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum CredentialKind {
    Secret,
    ConfigMap,
}

/// The part of a Secret that is read. Its `Debug` output shows no values.
#[derive(Deserialize)]
struct SecretData {
    #[serde(default)]
    data: Option<BTreeMap<String, ByteString>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ConfigMapData {
    #[serde(default)]
    data: Option<BTreeMap<String, String>>,
    #[serde(default)]
    binary_data: Option<BTreeMap<String, ByteString>>,
}

/// The response to a TokenRequest.
#[derive(Deserialize)]
struct Issued {
    spec: IssuedSpec,
    status: IssuedStatus,
}

#[derive(Deserialize)]
struct IssuedSpec {
    #[serde(default)]
    audiences: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IssuedStatus {
    #[serde(default)]
    token: String,
    expiration_timestamp: Option<Timestamp>,
}

impl ApiCredentials {
    /// Reads through this client, by these turns.
    pub fn new(client: Guarded, clock: Arc<Clock>, turns: ReadTurns) -> Self {
        let cached =
            Caches { objects: Cache::new(MOST.0, MOST.1), tokens: Cache::new(MOST.0, MOST.1), audiences: None };
        Self { client, clock, turns, cached: Mutex::new(cached) }
    }

    async fn key(
        &self,
        kind: CredentialKind,
        namespace: &str,
        name: &str,
        key: &str,
    ) -> Result<Confidential, PollError> {
        let what = kind.word();
        check_name(what, name)?;
        let object = self.object(ObjectKey { kind, namespace: namespace.to_owned(), name: name.to_owned() }).await?;
        object
            .get(key)
            .cloned()
            .ok_or_else(|| refuse(&format!("{what} {name} of namespace {namespace} has no key {key}")))
    }

    async fn object(&self, key: ObjectKey) -> Result<Arc<Data>, PollError> {
        let known = || self.cached().objects.get(&key, self.clock.mono());
        let missing = || refuse(&format!("{} does not exist", key.described()));
        if let Some(cached) = known() {
            return cached.ok_or_else(missing);
        }
        let _turn = self.turns.take(&key.namespace).await;
        // During the wait, another task may have read the object.
        if let Some(cached) = known() {
            return cached.ok_or_else(missing);
        }
        let read = self.clock.mono();
        let data = self.read(&key).await?.map(Arc::new);
        let (bytes, life) = data.as_ref().map_or((0, MISSING_LIFE), |data| (size(data), LIFE));
        self.cached().objects.put(key.clone(), data.clone(), bytes, read + life, read);
        data.ok_or_else(missing)
    }

    async fn read(&self, key: &ObjectKey) -> Result<Option<Data>, PollError> {
        Ok(match key.kind {
            CredentialKind::Secret => self.get::<SecretData>("secrets", key).await?.map(|SecretData { data }| {
                data.into_iter().flatten().map(|(name, ByteString(bytes))| (name, bytes.into())).collect()
            }),
            CredentialKind::ConfigMap => {
                self.get("configmaps", key).await?.map(|ConfigMapData { data, binary_data }| {
                    let text = data.into_iter().flatten().map(|(name, text)| (name, text.into_bytes().into()));
                    let binary =
                        binary_data.into_iter().flatten().map(|(name, ByteString(bytes))| (name, bytes.into()));
                    text.chain(binary).collect()
                })
            }
        })
    }

    async fn get<T: DeserializeOwned>(&self, plural: &str, key: &ObjectKey) -> Result<Option<T>, PollError> {
        let path = format!("/api/v1/namespaces/{}/{plural}/{}", key.namespace, key.name);
        get_opt(&self.client, &path).await.map_err(|error| explain(&key.described(), error))
    }

    async fn issue(&self, namespace: &str, account: &str, audience: &str) -> Result<Confidential, PollError> {
        check_name("service account", account)?;
        let key = (namespace.to_owned(), account.to_owned(), audience.to_owned());
        let known = || self.cached().tokens.get(&key, self.clock.mono());
        if let Some(cached) = known() {
            return Ok(cached);
        }
        let _turn = self.turns.take(namespace).await;
        if let Some(cached) = known() {
            return Ok(cached);
        }
        let now = self.clock.now();
        if self.own_audiences(namespace, account).await?.iter().any(|own| own == audience) {
            let message = format!(
                "the audience {audience} is one of the API server's own: a receiver of such a token could use the \
                 cluster as the service account. Choose the receiver's own"
            );
            return Err(refuse(&message));
        }
        let issued = self.request_token(namespace, account, Some(audience)).await?;
        let expires = issued.status.expiration_timestamp.ok_or_else(|| refuse("the API server gave no token"))?;
        let token = Confidential::from(issued.status.token.into_bytes());
        // A fifth of the lifetime is the margin for delivery and for clocks that differ.
        let life = until(now.server_or_wall(), expires).mul_f64(0.8);
        self.cached().tokens.put(key, token.clone(), token.expose().len(), now.mono + life, now.mono);
        Ok(token)
    }

    /// Returns the API server's own audiences: those of a token that is requested without audiences.
    ///
    /// The request is a dry run, so no token that the API server accepts is created.
    async fn own_audiences(&self, namespace: &str, account: &str) -> Result<Arc<[String]>, PollError> {
        let now = self.clock.mono();
        if let Some((read, known)) = &self.cached().audiences
            && now.since(*read) < AUDIENCES_LIFE
        {
            return Ok(known.clone());
        }
        let own_audiences: Arc<[String]> = self.request_token(namespace, account, None).await?.spec.audiences.into();
        if own_audiences.is_empty() {
            return Err(refuse(
                "the API server does not report its own audiences, so the requested one cannot be checked",
            ));
        }
        self.cached().audiences = Some((now, own_audiences.clone()));
        Ok(own_audiences)
    }

    async fn request_token(&self, namespace: &str, account: &str, audience: Option<&str>) -> Result<Issued, PollError> {
        let dry = if audience.is_some() { "" } else { "?dryRun=All" };
        let path = format!("/api/v1/namespaces/{namespace}/serviceaccounts/{account}/token{dry}");
        let body: Value = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenRequest",
            "spec": { "audiences": audience.into_iter().collect::<Vec<_>>(), "expirationSeconds": TOKEN_SECONDS },
        });
        let what = format!("a token of service account {account} of namespace {namespace}");
        let request = Request::post(path).header("Content-Type", "application/json");
        self.call(&what, request, body.to_string().into_bytes()).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        what: &str,
        request: http::request::Builder,
        body: Vec<u8>,
    ) -> Result<T, PollError> {
        let request = request.body(body).map_err(|_| refuse(&format!("{what} cannot be requested")))?;
        call(&self.client, request).await.map_err(|error| explain(what, error))
    }

    fn cached(&self) -> MutexGuard<'_, Caches> {
        self.cached.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ObjectKey {
    /// The object, as messages name it.
    fn described(&self) -> String {
        format!("{} {} of namespace {}", self.kind.word(), self.name, self.namespace)
    }
}

/// The message of a failed call about `what`.
fn explain(what: &str, error: CallError) -> PollError {
    match error {
        CallError::Refused(status) if status.code == 404 => refuse(&format!("{what} does not exist")),
        CallError::Refused(status) => refuse(&format!("{what} is refused: {}", status.message)),
        CallError::Unknown(_) => refuse(&format!("{what} cannot be read now: the API server gives no reply")),
        // The parser's error may repeat what it read.
        CallError::Unreadable(_) => refuse(&format!("{what} cannot be read: the reply has an unexpected format")),
    }
}

impl Credentials for ApiCredentials {
    fn secret<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Confidential, PollError>> {
        Box::pin(self.key(CredentialKind::Secret, namespace, name, key))
    }

    fn config_map<'a>(
        &'a self,
        namespace: &'a str,
        name: &'a str,
        key: &'a str,
    ) -> BoxFuture<'a, Result<Confidential, PollError>> {
        Box::pin(self.key(CredentialKind::ConfigMap, namespace, name, key))
    }

    fn token<'a>(
        &'a self,
        namespace: &'a str,
        service_account: &'a str,
        audience: &'a str,
    ) -> BoxFuture<'a, Result<Confidential, PollError>> {
        Box::pin(self.issue(namespace, service_account, audience))
    }

    fn invalidate(&self, namespace: &str, request: &api::Request) {
        let mut cached = self.cached();
        for key in objects_of(namespace, request) {
            cached.objects.remove(&key);
        }
        if let Some(token) = &request.service_account_token {
            let key = (namespace.to_owned(), token.service_account_name.clone(), token.audience.clone());
            cached.tokens.remove(&key);
        }
    }
}

impl CredentialKind {
    const fn word(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

/// The Secrets and ConfigMaps that a request names.
fn objects_of(namespace: &str, request: &api::Request) -> Vec<ObjectKey> {
    let key = |kind, name: &str| ObjectKey { kind, namespace: namespace.to_owned(), name: name.to_owned() };
    let headers = request.headers_from.iter().map(|header| key(CredentialKind::Secret, &header.secret_key_ref.name));
    let ca = request.ca.iter().flat_map(|ca| {
        let secret = ca.secret_key_ref.iter().map(|secret| key(CredentialKind::Secret, &secret.name));
        secret.chain(ca.config_map_key_ref.iter().map(|map| key(CredentialKind::ConfigMap, &map.name)))
    });
    headers.chain(ca).collect()
}

/// Refuses a name that no object can have: it becomes part of a URL path, and must not lead to another object.
fn check_name(what: &str, name: &str) -> Result<(), PollError> {
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let valid = name.len() <= 253
        && name.bytes().all(|byte| inner(byte) || byte == b'-' || byte == b'.')
        && name.bytes().next().is_some_and(inner)
        && name.bytes().last().is_some_and(inner);
    if valid { Ok(()) } else { Err(refuse(&format!("{name:?} is not the name of a {what}"))) }
}

fn size(data: &Data) -> usize {
    data.iter().map(|(key, value)| key.len() + value.expose().len()).sum()
}

fn refuse(message: &str) -> PollError {
    PollError { class: PollErrorKind::Credentials, message: truncated(message, MAX_MESSAGE) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_cannot_lead_to_another_object() {
        for name in ["a", "a-b.c", "0", &"x".repeat(253)] {
            assert_eq!(check_name("Secret", name), Ok(()), "{name}");
        }
        for name in
            ["", ".", "..", "../b", "a/../../b", "a?x=y", "a%2fb", "a#b", "A", "a b", "-a", "a.", &"x".repeat(254)]
        {
            let refusal = check_name("Secret", name).unwrap_err();
            assert!(refusal.message.ends_with("is not the name of a Secret"), "{}", refusal.message);
        }
    }

    #[test]
    fn a_request_names_its_secrets_and_its_authorities() {
        let request: api::Request = serde_json::from_value(json!({
            "headersFrom": [{ "name": "X", "secretKeyRef": { "name": "one", "key": "k" } }],
            "ca": { "configMapKeyRef": { "name": "two", "key": "k" } },
        }))
        .unwrap();
        let named: Vec<_> = objects_of("a", &request).into_iter().map(|key| (key.kind, key.name)).collect();
        assert_eq!(named, [(CredentialKind::Secret, "one".to_owned()), (CredentialKind::ConfigMap, "two".to_owned())]);
    }
}
