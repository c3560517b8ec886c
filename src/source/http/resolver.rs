//! Resolves names and returns only addresses that may be dialled. Network IO.
//!
//! The connector dials exactly what this returns. There is no second lookup between check and connect, so a name server
//! that alternates its responses gains nothing.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    task::{Context, Poll},
    vec,
};

use futures::future::BoxFuture;
use hyper_util::client::legacy::connect::dns::Name;
use tokio::sync::Semaphore;
use tower::Service;

use crate::source::address::{AddressRefusal, AddressRules};

/// Looks up the addresses of a name.
pub type NameLookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Most lookups in flight at once. Each takes a thread of the runtime's blocking pool (512), where the Kubernetes
/// client resolves names too: a name server that never responds must not take them all.
const MAX_LOOKUPS: usize = 128;
/// Most addresses of one name that are tried. Each may take a part of the time until the deadline.
const MAX_ADDRESSES: usize = 8;

/// The operating system's resolver, with at most 128 lookups at a time.
///
/// The returned function must be called inside a Tokio runtime.
pub fn system_lookup() -> NameLookup {
    let slots = Arc::new(Semaphore::new(MAX_LOOKUPS));
    Arc::new(move |name| {
        let slots = Arc::clone(&slots);
        Box::pin(async move {
            let slot = slots.acquire_owned().await.map_err(io::Error::other)?;
            // A lookup cannot be cancelled. Its own task keeps the slot until it ends, even if its request ends
            // earlier.
            let lookup = tokio::spawn(async move {
                let _slot = slot;
                tokio::net::lookup_host((name, 0)).await.map(|found| found.map(|address| address.ip()).collect())
            });
            lookup.await?
        })
    })
}

/// The resolver that the connectors use.
#[derive(Clone)]
pub(super) struct GuardedResolver {
    rules: Arc<AddressRules>,
    lookup: NameLookup,
}

/// Why a name has no address that may be dialled.
#[derive(Debug, thiserror::Error)]
pub(super) enum ResolveError {
    #[error(transparent)]
    Refused(#[from] AddressRefusal),
    /// The resolver's words, or that there is no address.
    #[error("{0}")]
    Failed(String),
}

impl GuardedResolver {
    pub(super) fn new(rules: Arc<AddressRules>, lookup: NameLookup) -> Self {
        Self { rules, lookup }
    }
}

impl Service<Name> for GuardedResolver {
    type Response = vec::IntoIter<SocketAddr>;
    type Error = ResolveError;
    type Future = BoxFuture<'static, Result<Self::Response, ResolveError>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), ResolveError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: Name) -> Self::Future {
        let rules = Arc::clone(&self.rules);
        let found = (self.lookup)(name.as_str().to_owned());
        Box::pin(async move {
            let found = found.await.map_err(|error| ResolveError::Failed(error.to_string()))?;
            let permitted = permitted(&rules, found)?;
            if permitted.is_empty() {
                return Err(ResolveError::Failed("the name has no address".to_owned()));
            }
            // Port 0 means the port of the URL.
            Ok(permitted.into_iter().map(|address| SocketAddr::new(address, 0)).collect::<Vec<_>>().into_iter())
        })
    }
}

/// The permitted addresses among `found`, at most 8; the first refusal if every address is refused.
fn permitted(rules: &AddressRules, found: Vec<IpAddr>) -> Result<Vec<IpAddr>, AddressRefusal> {
    let mut refusal = None;
    let mut permitted = Vec::new();
    for address in found {
        match rules.check(address) {
            Ok(()) => permitted.push(address),
            Err(refused) => refusal = refusal.or(Some(refused)),
        }
    }
    permitted.truncate(MAX_ADDRESSES);
    match refusal {
        Some(refusal) if permitted.is_empty() => Err(refusal),
        _ => Ok(permitted),
    }
}
