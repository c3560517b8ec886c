//! The one HTTP client for URLs that come from objects. Network IO; reads the system's CA certificates once.
//!
//! What it guarantees, whatever the other side does: only permitted addresses are dialled; one deadline spans lookup,
//! connection, TLS, headers and body; redirects are not followed and proxy variables are ignored; the body is read up to
//! its limit and no further, counted after decompression. Headers that are marked as sensitive leave over https only, or
//! to a Service of this cluster. One host gets a bounded share of the requests, and an endpoint that cannot be reached is
//! paused. Failures are sentences for the user, never foreign content.

mod breaker;
mod clients;
mod failure;
mod head;
mod limiter;
mod resolver;

use std::{
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use reqwest::{Client, Response, Url};
use rustls::RootCertStore;
use url::Host;

use self::{
    breaker::{Endpoint, Outcome},
    clients::Clients,
    limiter::HostLimiter,
};
pub use self::{
    head::Head,
    resolver::{Lookup, system_lookup},
};
use super::{
    address::AddressRules,
    cluster_host::is_service,
    text::{at, poll_error, show_url},
};
use crate::{
    clock::Clock,
    core::poll::{
        request::POLL_TIMEOUT,
        response::{PollError, PollErrorKind},
    },
};

/// Sent with every request, so that a service's log tells who asks.
const USER_AGENT: &str = concat!("modelsync/", env!("CARGO_PKG_VERSION"));
/// Idle connections kept for each host. Many objects ask few hosts; more would only hold the services' sockets.
const IDLE_PER_HOST: usize = 8;
/// How long a connection is kept idle.
const IDLE_FOR: Duration = Duration::from_secs(90);
/// Ends connection attempts that outlive the request they were made for; the deadline of a request is its own.
const CONNECT_TIMEOUT: Duration = Duration::from_mins(1);
/// Largest entity tag that is kept, in bytes.
const MAX_ETAG: usize = 256;

/// Bounds of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Largest body, in bytes after decompression.
    pub body: usize,
    /// Largest sum of the header lines, in bytes.
    pub headers: usize,
}

/// Certificate authorities that are trusted instead of the operator's own.
#[derive(Clone, Copy)]
pub struct Authorities<'a> {
    /// Where they come from, for messages: `ConfigMap trust, key ca.crt`.
    pub from: &'a str,
    /// Their certificates. Text around them is ignored.
    pub pem: &'a [u8],
}

/// One request and what its answer may cost.
pub struct Exchange<'a> {
    /// Namespace of the object that asks. What fails for one namespace is not held against another.
    pub namespace: &'a str,
    /// The method.
    pub method: Method,
    /// An `http` or `https` URL without user information.
    pub url: &'a str,
    /// Headers beside `User-Agent` and `Accept-Encoding`. Those that nobody but the receiver may see are marked sensitive.
    pub headers: HeaderMap,
    /// The body.
    pub body: Vec<u8>,
    /// Deadline, from looking up the name to the last byte. Waiting for a turn comes before it.
    pub timeout: Duration,
    /// Bounds of the answer.
    pub limits: Limits,
    /// Whom to trust instead of the operator's own authorities.
    pub authorities: Option<Authorities<'a>>,
    /// Whether "nobody there" is an answer to this question. Then it does not pause the endpoint.
    pub absent_is_fine: bool,
    /// Whether the body of a refusal (status 4xx) is read too: some services tell only there what is missing.
    pub read_refusals: bool,
}

/// What came back, within its limits.
#[derive(Clone, PartialEq, Eq)]
pub struct Reply {
    /// The URL as messages may show it: without query, fragment and user.
    pub url: String,
    /// Status and headers, as far as they decide.
    pub head: Head,
    /// All headers. None where the body was not read.
    pub headers: HeaderMap,
    /// The body, decompressed. Empty where the status is not 200: such a body is not even read, but for refusals where
    /// [`Exchange::read_refusals`] says so.
    pub body: Vec<u8>,
}

/// What a [`GuardedClient`] is made of.
pub struct Setup {
    /// Time, for pauses.
    pub clock: Arc<Clock>,
    /// Which addresses may be dialled.
    pub rules: AddressRules,
    /// DNS domain of this cluster.
    pub cluster_domain: String,
    /// Requests under way at once, in all.
    pub most: usize,
    /// Who may vouch for a server. Empty is fine; then no `https` URL can be asked without authorities of its own.
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

/// Sends requests to URLs that come from objects. Cheap to clone; clones share connections and limits.
#[derive(Clone, Debug)]
pub struct GuardedClient {
    clock: Arc<Clock>,
    rules: Arc<AddressRules>,
    cluster_domain: Arc<str>,
    clients: Arc<Clients>,
    limiter: HostLimiter,
}

impl<'a> Exchange<'a> {
    /// `GET url`, accepting JSON, with the usual deadline and the operator's own authorities.
    pub fn get(namespace: &'a str, url: &'a str, limits: Limits) -> Self {
        Self {
            namespace,
            method: Method::GET,
            url,
            headers: HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static("application/json"))]),
            body: Vec::new(),
            timeout: POLL_TIMEOUT,
            limits,
            authorities: None,
            absent_is_fine: false,
            read_refusals: false,
        }
    }
}

impl Reply {
    /// The strict reading: only status 200 is an answer.
    pub fn ok(self) -> Result<Self, PollError> {
        match self.head.must_be_ok() {
            Ok(()) => Ok(self),
            Err(failure) => Err(self.blame(&failure)),
        }
    }

    /// `failure` as one of this answer: with the URL in front.
    pub fn blame(&self, failure: &PollError) -> PollError {
        at(&self.url, failure)
    }

    /// The entity tag, where there is one that can be sent back: at most 256 visible ASCII characters.
    pub fn etag(&self) -> Option<String> {
        let tag = self.headers.get(header::ETAG)?.to_str().ok()?;
        (!tag.is_empty() && tag.len() <= MAX_ETAG).then(|| tag.to_owned())
    }
}

/// A body and headers may repeat what was sent, so they are left out.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("url", &self.url).field("head", &self.head).finish_non_exhaustive()
    }
}

impl Setup {
    /// The system's resolver and CA certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured).
    ///
    /// An image without CA certificates is no error, only a warning in the log: endpoints inside a cluster mostly speak
    /// plain HTTP.
    pub fn system(clock: Arc<Clock>, rules: AddressRules, cluster_domain: String, most: usize) -> Self {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, ignored) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            tracing::warn!(ignored, errors = ?found.errors, "no CA certificates found: https endpoints cannot be asked");
        }
        Self { clock, rules, cluster_domain, most, roots, lookup: system_lookup() }
    }
}

impl GuardedClient {
    /// A client of these parts. No IO.
    pub fn new(setup: Setup) -> Result<Self, SetupError> {
        let Setup { clock, rules, cluster_domain, most, roots, lookup } = setup;
        let rules = Arc::new(rules);
        let clients = Arc::new(Clients::new(Arc::clone(&rules), lookup, roots)?);
        let limiter = HostLimiter::new(clock.clone(), most);
        Ok(Self { clock, rules, cluster_domain: cluster_domain.into(), clients, limiter })
    }

    /// Sends one request and reads its answer. Any status is a [`Reply`]; the body is read of status 200 only, and
    /// where the exchange says so of a refusal.
    ///
    /// The message of a failure names the URL without its query. An endpoint that is paused fails at once; one whose host is
    /// busy waits for its turn. Neither is dialled meanwhile.
    pub async fn send(&self, exchange: Exchange<'_>) -> Result<Reply, PollError> {
        let url = parse(exchange.url)?;
        let shown = show_url(&url);
        let sent = async {
            self.check_literal(&url)?;
            self.check_confidential(&url, &exchange.headers)?;
            let (client, authorities) = self.clients.trusting(exchange.authorities.as_ref(), self.clock.mono())?;
            let permit = self.limiter.take(host(&url), endpoint(&url, &exchange, authorities)).await?;
            let absent_is_fine = exchange.absent_is_fine;
            // Boxed, because many questions may wait for their turn and need no room for an answer yet.
            let result = Box::pin(within_deadline(client, url, exchange)).await;
            permit.settle(Outcome::of(&result, absent_is_fine));
            result
        };
        match sent.await {
            Ok((head, headers, body)) => Ok(Reply { url: shown, head, headers, body }),
            Err(failure) => Err(at(&shown, &failure)),
        }
    }

    /// Refuses a host that is a forbidden address already. Such a host never reaches the resolver.
    fn check_literal(&self, url: &Url) -> Result<(), PollError> {
        let address = match url.host() {
            Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
            Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        self.rules.check(address).map_err(|refusal| failure::refused(&refusal))
    }

    /// Refuses to send what is confidential where others may read it.
    fn check_confidential(&self, url: &Url, headers: &HeaderMap) -> Result<(), PollError> {
        let confidential = headers.values().any(HeaderValue::is_sensitive);
        if !confidential || url.scheme() == "https" || is_service(url, &self.cluster_domain) {
            return Ok(());
        }
        let message = format!(
            "headers from Secrets and tokens are sent over https only, or to a Service of this cluster, written as \
             NAME.NAMESPACE.svc or NAME.NAMESPACE.svc.{}",
            self.cluster_domain
        );
        Err(poll_error(PollErrorKind::Refused, &message))
    }
}

type PollResult = (Head, HeaderMap, Vec<u8>);

async fn within_deadline(client: Client, url: Url, exchange: Exchange<'_>) -> Result<PollResult, PollError> {
    let (timeout, answering) = (exchange.timeout, AtomicBool::new(false));
    tokio::time::timeout(timeout, send(client, url, exchange, &answering))
        .await
        .unwrap_or_else(|_| Err(late(timeout, answering.load(Ordering::Relaxed))))
}

/// Request, headers, body. Sets `answering` when the headers are there.
async fn send(
    client: Client,
    url: Url,
    exchange: Exchange<'_>,
    answering: &AtomicBool,
) -> Result<PollResult, PollError> {
    let mut request = client.request(exchange.method, url).headers(exchange.headers);
    if !exchange.body.is_empty() {
        request = request.body(exchange.body);
    }
    let response = request.send().await.map_err(|error| failure::classify(&error))?;
    answering.store(true, Ordering::Relaxed);
    let head = Head::new(response.status(), response.headers());
    let refusal = exchange.read_refusals && head.status.is_client_error();
    if head.status != StatusCode::OK && !refusal {
        return Ok((head, HeaderMap::new(), Vec::new()));
    }
    head.check_body(&exchange.limits)?;
    let headers = response.headers().clone();
    let body = read(response, &head, exchange.limits.body).await?;
    Ok((head, headers, body))
}

/// The host with its port, as the limits count it.
fn host(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

fn endpoint(url: &Url, exchange: &Exchange<'_>, authorities: Option<[u8; 32]>) -> Endpoint {
    let mut bare = url.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    Endpoint { namespace: exchange.namespace.to_owned(), url: bare.into(), timeout: exchange.timeout, authorities }
}

/// The URL, if it is of a kind that can be asked. The message does not repeat it: what does not parse cannot be masked.
fn parse(url: &str) -> Result<Url, PollError> {
    let refuse = |reason: &str| poll_error(PollErrorKind::Refused, &format!("the URL cannot be asked: {reason}"));
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
async fn read(mut response: Response, head: &Head, max: usize) -> Result<Vec<u8>, PollError> {
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

fn late(timeout: Duration, answering: bool) -> PollError {
    let what = if answering { "the answer was not complete" } else { "no answer began" };
    poll_error(PollErrorKind::Timeout, &format!("{what} within {timeout:?}"))
}

#[cfg(test)]
pub(in crate::source) mod tests;
