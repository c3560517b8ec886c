//! The one HTTP client for URLs that come from objects. Network IO; reads the system's CA certificates once.
//!
//! Its guarantees hold for any behaviour of a server: only permitted addresses are dialled; one deadline spans lookup,
//! connection, TLS, headers and body; redirects are not followed and proxy variables are ignored; the body is read up
//! to its limit and no further, counted after decompression. Headers marked as sensitive are sent over https only, or
//! to a Service of this cluster. One host gets a bounded share of the requests, and an unreachable endpoint is paused.
//! All bodies together, what was received and not read, and the idle connections of all hosts are bounded; the common
//! HTTP clients bound none of these, so this one puts hyper's connections together itself. Errors are sentences for the
//! user and never repeat a response body.

mod body;
mod connections;
mod connectors;
mod deadline;
mod exchange;
mod failure;
mod head;
mod limiter;
mod resolver;
mod shares;

use std::{fmt, net::IpAddr, sync::Arc, time::Duration};

use http::{HeaderMap, HeaderValue, header};
use rustls::RootCertStore;
use url::{Host, Url};

use self::{
    body::{LARGE_WITHIN, STORE},
    connections::IdleConnections,
    connectors::ConnectorCache,
    exchange::{Route, within_deadline},
    limiter::{Endpoint, HostLimiter, Reachability},
    shares::{Part, Shares},
};
pub use self::{
    connectors::{Authorities, ClientSetupError},
    exchange::Exchange,
    head::{ContentCoding, Head, ResponseLimits},
    resolver::{NameLookup, system_lookup},
};
use super::{
    address::AddressRules,
    cluster_host::is_service,
    text::{at, poll_error, show_url},
};
use crate::{
    clock::Clock,
    core::poll::response::{PollError, PollErrorKind},
};

/// Largest entity tag that is kept, in bytes.
const MAX_ETAG: usize = 256;

/// A response within its limits.
pub struct Reply {
    /// The URL as messages may show it: without query, fragment and user.
    pub url: String,
    /// The status, and the facts that the operator needs from the headers.
    pub head: Head,
    /// All headers. Empty if the body was not read.
    pub headers: HeaderMap,
    /// The body, decompressed. It is read for status 200, and for 4xx if [`Exchange::read_refusals`] is set; otherwise
    /// it is empty.
    pub body: Vec<u8>,
    /// The right to keep a large body in memory. It ends with this reply: drop that before the next request.
    _memory: Option<Part>,
}

/// The parts of a [`GuardedClient`].
pub struct Setup {
    /// The clock, for pauses.
    pub clock: Arc<Clock>,
    /// Which addresses may be dialled.
    pub rules: AddressRules,
    /// DNS domain of this cluster.
    pub cluster_domain: String,
    /// Most requests in flight at once, over all hosts.
    pub most: usize,
    /// The operator's own authorities. May be empty; then only requests with authorities of their own can use `https`.
    pub roots: RootCertStore,
    /// Resolves names to addresses.
    pub lookup: NameLookup,
}

/// Sends requests to URLs that come from objects. Cheap to clone; clones share connections and limits.
#[derive(Clone, Debug)]
pub struct GuardedClient {
    clock: Arc<Clock>,
    rules: Arc<AddressRules>,
    cluster_domain: Arc<str>,
    connectors: Arc<ConnectorCache>,
    idle: IdleConnections,
    /// The memory for large bodies, in bytes.
    memory: Shares,
    /// How long the rest of a large body may take.
    large_within: Duration,
    limiter: HostLimiter,
}

impl Reply {
    /// Accepts status 200 only; any other status is an error.
    pub fn ok(self) -> Result<Self, PollError> {
        match self.head.must_be_ok() {
            Ok(()) => Ok(self),
            Err(failure) => Err(self.blame(&failure)),
        }
    }

    /// `failure` with the URL of this response in front of its message.
    pub fn blame(&self, failure: &PollError) -> PollError {
        at(&self.url, failure)
    }

    /// The entity tag, if it can be sent back: at most 256 visible ASCII characters.
    pub fn etag(&self) -> Option<String> {
        let tag = self.headers.get(header::ETAG)?.to_str().ok()?;
        (!tag.is_empty() && tag.len() <= MAX_ETAG).then(|| tag.to_owned())
    }
}

/// Omits body and headers, because they may repeat confidential parts of the request.
impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("url", &self.url).field("head", &self.head).finish_non_exhaustive()
    }
}

impl Setup {
    /// The system's resolver and CA certificates (`SSL_CERT_FILE` and `SSL_CERT_DIR` are honoured).
    ///
    /// An image without CA certificates is not an error, only a warning in the log: endpoints inside a cluster mostly
    /// speak plain HTTP.
    pub fn system(clock: Arc<Clock>, rules: AddressRules, cluster_domain: String, most: usize) -> Self {
        let found = rustls_native_certs::load_native_certs();
        let mut roots = RootCertStore::empty();
        let (added, ignored) = roots.add_parsable_certificates(found.certs);
        if added == 0 {
            tracing::warn!(ignored, errors = ?found.errors, "no CA certificates found: https endpoints cannot be polled");
        }
        Self { clock, rules, cluster_domain, most, roots, lookup: system_lookup() }
    }
}

impl GuardedClient {
    /// Builds a client from these parts. No IO.
    pub fn new(setup: Setup) -> Result<Self, ClientSetupError> {
        let Setup { clock, rules, cluster_domain, most, roots, lookup } = setup;
        let rules = Arc::new(rules);
        let connectors = Arc::new(ConnectorCache::new(Arc::clone(&rules), lookup, roots)?);
        let limiter = HostLimiter::new(clock.clone(), most);
        let (idle, memory) = (IdleConnections::new(clock.clone()), Shares::new(STORE));
        let (cluster_domain, large_within) = (cluster_domain.into(), LARGE_WITHIN);
        Ok(Self { clock, rules, cluster_domain, connectors, idle, memory, large_within, limiter })
    }

    /// Sends one request and reads its response. Any status is a [`Reply`]. The body is read for status 200, and for
    /// 4xx if [`Exchange::read_refusals`] is set.
    ///
    /// The message of an error names the URL without its query, unless the URL is invalid. A request to a paused
    /// endpoint fails at once; a request to a busy host waits for its turn. Neither dials anything meanwhile.
    pub async fn send(&self, exchange: Exchange<'_>) -> Result<Reply, PollError> {
        let url = parse(exchange.url)?;
        let shown = show_url(&url);
        let sent = async {
            self.check_literal(&url)?;
            self.check_confidential(&url, &exchange.headers)?;
            let (connector, authorities) =
                self.connectors.trusting(exchange.authorities.as_ref(), self.clock.mono())?;
            let permit = self.limiter.take(host(&url), endpoint(&url, &exchange, authorities)).await?;
            let absent_is_fine = exchange.absent_is_fine;
            let (idle, memory, large_within) = (&self.idle, &self.memory, self.large_within);
            let route = Route { connector, authorities, idle, memory, large_within };
            // Boxed, because many requests may wait for their turn and need no memory for a response yet.
            let result = Box::pin(within_deadline(route, &url, exchange)).await;
            permit.settle(Reachability::of(&result, absent_is_fine));
            result
        };
        match sent.await {
            Ok(received) => {
                let exchange::Received { head, headers, body } = received;
                Ok(Reply { url: shown, head, headers, body: body.bytes, _memory: body.memory })
            }
            Err(failure) => Err(at(&shown, &failure)),
        }
    }

    /// Refuses a host that is a forbidden IP address. Such a host never reaches the resolver, which checks all others.
    fn check_literal(&self, url: &Url) -> Result<(), PollError> {
        let address = match url.host() {
            Some(Host::Ipv4(v4)) => IpAddr::V4(v4),
            Some(Host::Ipv6(v6)) => IpAddr::V6(v6),
            Some(Host::Domain(_)) | None => return Ok(()),
        };
        self.rules.check(address).map_err(|refusal| failure::refused(&refusal))
    }

    /// Refuses to send sensitive headers over a connection that others may read.
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

/// The host with its port: the key of the limits.
fn host(url: &Url) -> String {
    format!("{}:{}", url.host_str().unwrap_or_default(), url.port_or_known_default().unwrap_or_default())
}

fn endpoint(url: &Url, exchange: &Exchange<'_>, authorities: Option<[u8; 32]>) -> Endpoint {
    let mut bare = url.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    Endpoint { namespace: exchange.namespace.to_owned(), url: bare.into(), timeout: exchange.timeout, authorities }
}

/// Parses a supported URL. The error does not repeat the text: a URL that does not parse cannot be masked.
fn parse(url: &str) -> Result<Url, PollError> {
    let refuse = |reason: &str| poll_error(PollErrorKind::Refused, &format!("the URL cannot be used: {reason}"));
    let parsed = Url::parse(url).map_err(|error| refuse(&error.to_string()))?;
    if !matches!(parsed.scheme(), "http" | "https") {
        return Err(refuse("only http and https are supported"));
    }
    if !parsed.username().is_empty() || parsed.password().is_some() {
        return Err(refuse("it must not contain a user or a password"));
    }
    Ok(parsed)
}

#[cfg(test)]
pub(in crate::source) mod tests;
