//! Sends requests as an object's `request` specifies: deadline, headers from Secrets, authorities, a token. IO through
//! [`Credentials`] and [`GuardedClient`].

use std::sync::Arc;

use futures::future::try_join_all;
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

use super::{
    http::{Authorities, Exchange, GuardedClient, Reply},
    text::poll_error,
};
use crate::{
    api::{CertificateAuthority, HeaderFrom, Request, ServiceAccountToken},
    core::{
        confidential::Confidential,
        poll::{
            request::timeout,
            response::{PollError, PollErrorKind},
        },
    },
    port::Credentials,
};

/// Largest value of a header that comes from a Secret, in bytes.
const MAX_HEADER: usize = 8 * 1024;
/// Largest PEM text of authorities, in bytes. A bundle of all authorities that browsers trust takes about 256 KiB.
const MAX_AUTHORITIES: usize = 512 * 1024;

/// Sends requests with their credentials. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Requester {
    http: GuardedClient,
    credentials: Arc<dyn Credentials>,
}

impl Requester {
    /// Sends requests through `http` and reads their credentials through `credentials`.
    pub fn new(http: GuardedClient, credentials: Arc<dyn Credentials>) -> Self {
        Self { http, credentials }
    }

    /// Sends `exchange` as `request` specifies. Replaces its deadline and authorities, and adds the confidential
    /// headers; they replace headers of the same name.
    ///
    /// Any status is a [`Reply`]. A missing or unusable credential is [`PollErrorKind::Credentials`], with a message
    /// that names the field, the object and the key. When the service rejects the request (401, 403), or TLS fails, the
    /// credentials are read anew for the next request.
    pub async fn send(&self, request: &Request, exchange: Exchange<'_>) -> Result<Reply, PollError> {
        let namespace = exchange.namespace;
        let mut headers = exchange.headers;
        headers.extend(self.headers(namespace, request).await?);
        let authorities = match &request.ca {
            Some(ca) => Some(self.authorities(namespace, ca).await?),
            None => None,
        };
        let authorities = authorities.as_ref().map(|(from, pem)| Authorities { from, pem: pem.expose() });
        let result = self.http.send(Exchange { headers, authorities, timeout: timeout(request), ..exchange }).await;
        let invalidate = match &result {
            Ok(reply) => matches!(reply.head.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
            Err(failure) => failure.class == PollErrorKind::Tls,
        };
        if invalidate {
            self.credentials.invalidate(namespace, request);
        }
        result
    }

    /// The headers that come from Secrets and tokens, marked as sensitive.
    async fn headers(&self, namespace: &str, request: &Request) -> Result<HeaderMap, PollError> {
        let from_secrets = request.headers_from.iter().map(|header| self.header(namespace, header));
        let mut headers: HeaderMap = try_join_all(from_secrets).await?.into_iter().collect();
        if let Some(token) = &request.service_account_token {
            headers.insert(header::AUTHORIZATION, self.bearer(namespace, token).await?);
        }
        Ok(headers)
    }

    async fn header(&self, namespace: &str, from: &HeaderFrom) -> Result<(HeaderName, HeaderValue), PollError> {
        let reference = &from.secret_key_ref;
        let refuse = |reason: &str| refuse(&format!("request.headersFrom {}", from.name), reason);
        let name = HeaderName::try_from(&from.name).map_err(|_| refuse("this cannot be the name of a header"))?;
        let secret = self.credentials.secret(namespace, &reference.name, &reference.key).await;
        let secret = secret.map_err(|failure| refuse(&failure.message))?;
        let value = sensitive(without_newline(secret.expose())).map_err(|reason| {
            refuse(&format!("Secret {}, key {}: the value {reason}", reference.name, reference.key))
        })?;
        Ok((name, value))
    }

    async fn bearer(&self, namespace: &str, of: &ServiceAccountToken) -> Result<HeaderValue, PollError> {
        let refuse = |reason: &str| refuse("request.serviceAccountToken", reason);
        let token = self.credentials.token(namespace, &of.service_account_name, &of.audience).await;
        let token = token.map_err(|failure| refuse(&failure.message))?;
        sensitive(&[b"Bearer ", token.expose()].concat()).map_err(|reason| refuse(&format!("the token {reason}")))
    }

    /// The origin of the authorities, for messages, and their PEM text.
    async fn authorities(
        &self,
        namespace: &str,
        ca: &CertificateAuthority,
    ) -> Result<(String, Confidential), PollError> {
        let refuse = |reason: &str| refuse("request.ca", reason);
        let (kind, reference, read) = match (&ca.config_map_key_ref, &ca.secret_key_ref) {
            (Some(map), None) => ("ConfigMap", map, self.credentials.config_map(namespace, &map.name, &map.key)),
            (None, Some(secret)) => ("Secret", secret, self.credentials.secret(namespace, &secret.name, &secret.key)),
            _ => return Err(refuse("set exactly one of configMapKeyRef and secretKeyRef")),
        };
        let pem = read.await.map_err(|failure| refuse(&failure.message))?;
        let from = format!("request.ca: {kind} {}, key {}", reference.name, reference.key);
        if pem.expose().len() > MAX_AUTHORITIES {
            return Err(poll_error(PollErrorKind::Credentials, &format!("{from}: it takes more than 512 KiB")));
        }
        Ok((from, pem))
    }
}

fn refuse(field: &str, reason: &str) -> PollError {
    poll_error(PollErrorKind::Credentials, &format!("{field}: {reason}"))
}

/// Removes one line break from the end: editors and `echo` add it, and it is not part of the value.
fn without_newline(value: &[u8]) -> &[u8] {
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    value.strip_suffix(b"\r").unwrap_or(value)
}

/// The header value, marked as sensitive so that logs do not show it; or what is wrong with it.
fn sensitive(value: &[u8]) -> Result<HeaderValue, &'static str> {
    if value.len() > MAX_HEADER {
        return Err("takes more than 8 KiB");
    }
    let mut value =
        HeaderValue::from_bytes(value).map_err(|_| "has a line break or another control character in it")?;
    value.set_sensitive(true);
    Ok(value)
}

#[cfg(test)]
mod tests;
