//! Sends requests as an object's `request` says: deadline, headers from Secrets, authorities, a token. IO through
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
/// Largest PEM text of authorities, in bytes. A bundle of everything that browsers trust has a quarter of a mebibyte.
const MAX_AUTHORITIES: usize = 512 * 1024;

/// Sends requests with what they need. Cheap to clone; clones share connections.
#[derive(Clone)]
pub struct Requester {
    http: GuardedClient,
    credentials: Arc<dyn Credentials>,
}

impl Requester {
    /// Sends through `http` what `credentials` gives.
    pub fn new(http: GuardedClient, credentials: Arc<dyn Credentials>) -> Self {
        Self { http, credentials }
    }

    /// Sends `exchange` as `request` says. Deadline, authorities and confidential headers of `exchange` are replaced.
    ///
    /// Any status is a [`Reply`]. A missing or unusable credential is [`PollErrorKind::Credentials`], with a message that
    /// names the field, the object and the key. When the service turns the request away (401, 403), or its certificate is
    /// not vouched for, the credentials are read anew for the next one.
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
        let turned_away = match &result {
            Ok(reply) => matches!(reply.head.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN),
            Err(failure) => failure.class == PollErrorKind::Tls,
        };
        if turned_away {
            self.credentials.turned_away(namespace, request);
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

    /// The authorities' PEM text, and where it comes from.
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

/// What editors and `echo` put behind a value is not part of it.
fn without_newline(value: &[u8]) -> &[u8] {
    let value = value.strip_suffix(b"\n").unwrap_or(value);
    value.strip_suffix(b"\r").unwrap_or(value)
}

/// A header's value that no log shows, or what is wrong with it.
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
