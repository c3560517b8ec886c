//! Resolves names and hands on only addresses that may be dialled. Network IO.
//!
//! The connector dials exactly what this returns. There is no second lookup between check and connect, so a name server
//! that alternates its answers achieves nothing.

use std::{
    io,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use tokio::sync::Semaphore;

use crate::source::address::{AddressRules, Refusal};

/// Looks up the addresses of a name.
pub type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Lookups under way at once. Each takes a thread of the runtime's blocking pool (512), in which the Kubernetes client
/// resolves names too: a name server that never answers must not take them all.
const MAX_LOOKUPS: usize = 128;
/// Addresses of one name that are tried. Each may cost a part of the deadline.
const MAX_ADDRESSES: usize = 8;

/// The operating system's resolver, with at most 128 lookups at a time.
///
/// The returned function must be called inside a Tokio runtime.
pub fn system_lookup() -> Lookup {
    let slots = Arc::new(Semaphore::new(MAX_LOOKUPS));
    Arc::new(move |name| {
        let slots = Arc::clone(&slots);
        Box::pin(async move {
            let slot = slots.acquire_owned().await.map_err(io::Error::other)?;
            // A lookup cannot be cancelled. In a task of its own it keeps its slot when the request that wants it ends.
            let lookup = tokio::spawn(async move {
                let _slot = slot;
                tokio::net::lookup_host((name, 0)).await.map(|found| found.map(|address| address.ip()).collect())
            });
            lookup.await?
        })
    })
}

/// The resolver that the HTTP client uses.
pub(super) struct Guarded {
    rules: Arc<AddressRules>,
    lookup: Lookup,
}

impl Guarded {
    pub(super) fn new(rules: Arc<AddressRules>, lookup: Lookup) -> Self {
        Self { rules, lookup }
    }
}

impl Resolve for Guarded {
    fn resolve(&self, name: Name) -> Resolving {
        let rules = Arc::clone(&self.rules);
        let found = (self.lookup)(name.as_str().to_owned());
        Box::pin(async move {
            let permitted = permitted(&rules, found.await?)?;
            if permitted.is_empty() {
                return Err("the name has no address".into());
            }
            // Port 0 stands for the port of the URL.
            let addresses: Addrs = Box::new(permitted.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

/// The permitted ones among `found`, or the first refusal if none is.
fn permitted(rules: &AddressRules, found: Vec<IpAddr>) -> Result<Vec<IpAddr>, Refusal> {
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
