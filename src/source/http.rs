//! The one HTTP client for URLs that come from objects. Network IO; reads the system's CA certificates once.
//!
//! What it guarantees, whatever the other side does: only permitted addresses are dialled; one deadline spans lookup,
//! connection, TLS, headers and body; redirects are not followed and proxy variables are ignored; the body is read up to
//! its limit and no further, counted after decompression. Failures are sentences for the user, never foreign content.

mod failure;
mod head;
mod resolver;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use reqwest::{Client, Response, Url, header, redirect, retry};
use rustls::{ClientConfig, RootCertStore, crypto::ring};
use url::Host;

pub use self::{
    head::Head,
    resolver::{Lookup, system_lookup},
};
use super::{
    address::AddressRules,
    text::{at, no_answer, show_url},
};
use crate::core::answer::{NoAnswer, NoAnswerClass};

/// Sent with every request, so that a service's log tells who asks.
const USER_AGENT: &str = concat!("modelsync/", env!("CARGO_PKG_VERSION"));
/// Idle connections kept for each host. Many objects ask few hosts; more would only hold the services' sockets.
const IDLE_PER_HOST: usize = 8;
/// How long a connection is kept idle.
const IDLE_FOR: Duration = Duration::from_secs(90);
/// Ends connection attempts that outlive the request they were made for; the deadline of a request is its own.
const CONNECT_TIMEOUT: Duration = Duration::from_mins(1);

/// Bounds of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest body, in bytes after decompression.
    pub body: usize,
    /// Largest sum of the header lines, in bytes.
    pub headers: usize,
}

/// A complete answer of status 200 within its limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// The URL as messages may show it: without query, fragment and user.
    pub url: String,
    /// Status and headers.
    pub head: Head,
    /// The body, decompressed.
    pub body: Vec<u8>,
}

/// What a [`GuardedClient`] is made of.
pub struct Setup {
    /// Which addresses may be dialled.
    pub rules: AddressRules,
    /// Who may vouch for a server. Empty is fine; then no `https` URL can be asked.
    pub roots: RootCertStore,
    /// How names become addresses.
    pub lookup: Lookup,
}

/// A client cannot be built: a defect of this binary, not of its surroundings.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The cipher suites and protocol versions do not go together.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// The HTTP library refuses its configuration.
    #[error("the HTTP client cannot be set up: {0}")]
    Client(#[from] reqwest::Error),
}

/// Sends requests to URLs that come from objects. Cheap to clone; clones share connections.
#[derive(Clone, Debug)]
pub struct GuardedClient {
    client: Client,
    rules: Arc<AddressRules>,
}

impl Reply {
    /// `failure` as one of this answer: with the URL in front.
    pub fn blame(&self, failure: &NoAnswer) -> NoAnswer {
        at(&self.url, failure)
    }
}

impl Setup {
    /// The system's resolver and CA certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured).
    ///
    /// An image without CA certificates is no error, only a warning in the log: endpoints inside a cluster mostly speak
    /// plain HTTP.
    pub fn system(rules: AddressRules) -> Self {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, ignored) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            tracing::warn!(ignored, errors = ?found.errors, "no CA certificates found: https endpoints cannot be asked");
        }
        Self { rules, roots, lookup: system_lookup() }
    }
}

impl GuardedClient {
    /// A client of these parts. No IO.
    pub fn new(setup: Setup) -> Result<Self, SetupError> {
        let Setup { rules, roots, lookup } = setup;
        let rules = Arc::new(rules);
        let mut tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        let client = Client::builder()
            .tls_backend_preconfigured(tls)
            .dns_resolver(resolver::Guarded::new(Arc::clone(&rules), lookup))
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .referer(false)
            .gzip(true)
            .user_agent(USER_AGENT)
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_max_idle_per_host(IDLE_PER_HOST)
            .pool_idle_timeout(IDLE_FOR)
            .build()?;
        Ok(Self { client, rules })
    }

    /// `GET url`, accepting JSON, within `timeout` in all. Only status 200 is a [`Reply`]; the body of any other status is
    /// not even read.
    ///
    /// The message of a failure names the URL without its query.
    pub async fn get(&self, url: &str, timeout: Duration, limits: &Limits) -> Result<Reply, NoAnswer> {
        let parsed = parse(url)?;
        let shown = show_url(&parsed);
        let answering = AtomicBool::new(false);
        let exchange = async {
            self.check_literal(&parsed)?;
            self.exchange(parsed, limits, &answering).await
        };
        match tokio::time::timeout(timeout, exchange).await {
            Ok(Ok((head, body))) => Ok(Reply { url: shown, head, body }),
            Ok(Err(failure)) => Err(at(&shown, &failure)),
            Err(_) => Err(at(&shown, &late(timeout, answering.load(Ordering::Relaxed)))),
        }
    }

    /// Refuses a host that is a forbidden address already. Such a host never reaches the resolver.
    fn check_literal(&self, url: &Url) -> Result<(), NoAnswer> {
        let address = match url.host() {
            Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
            Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        self.rules.check(address).map_err(|refusal| failure::refused(&refusal))
    }

    /// Request, headers, body. Sets `answering` when the headers are there.
    async fn exchange(&self, url: Url, limits: &Limits, answering: &AtomicBool) -> Result<(Head, Vec<u8>), NoAnswer> {
        let request = self.client.get(url).header(header::ACCEPT, "application/json");
        let response = request.send().await.map_err(|error| failure::classify(&error))?;
        answering.store(true, Ordering::Relaxed);
        let head = Head::new(response.status(), response.headers());
        head.check(limits)?;
        let body = read(response, &head, limits.body).await?;
        Ok((head, body))
    }
}

/// The URL, if it is of a kind that can be asked. The message does not repeat it: what does not parse cannot be masked.
fn parse(url: &str) -> Result<Url, NoAnswer> {
    let refuse = |reason: &str| no_answer(NoAnswerClass::Refused, &format!("the URL cannot be asked: {reason}"));
    let parsed = Url::parse(url).map_err(|error| refuse(&error.to_string()))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(refuse("only http and https are supported"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(refuse("it must not contain a user or a password"));
    }
    Ok(parsed)
}

/// The whole body, or a refusal as soon as it exceeds `max` bytes; what follows is never read.
async fn read(mut response: Response, head: &Head, max: usize) -> Result<Vec<u8>, NoAnswer> {
    let mut body = Vec::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) if chunk.len() > max - body.len() => return Err(head.body_too_large(max)),
            Ok(Some(chunk)) => body.extend_from_slice(&chunk),
            Ok(None) => return Ok(body),
            Err(error) => return Err(failure::broken_body(&error, head, body.len())),
        }
    }
}

fn late(timeout: Duration, answering: bool) -> NoAnswer {
    let what = if answering { "the answer was not complete" } else { "no answer began" };
    no_answer(NoAnswerClass::Timeout, &format!("{what} within {timeout:?}"))
}

#[cfg(test)]
mod tests;
