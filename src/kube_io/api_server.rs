//! Finds the addresses at which the API server listens. IO.
//!
//! Clients reach it through the Service `kubernetes`. The addresses behind it are in an EndpointSlice that each API server
//! keeps up to date itself. A connection to one of them passes the Service by.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc, time::Duration};

use serde::Deserialize;
use tracing::{debug, info, warn};

use super::{
    call::get_opt,
    client::{CallError, Guarded},
};
use crate::clock::Clock;

/// The EndpointSlice of the Service `kubernetes`.
const SLICE: &str = "/apis/discovery.k8s.io/v1/namespaces/default/endpointslices/kubernetes";
/// How often the addresses are read. A control-plane node is replaced in minutes.
const EVERY: Duration = Duration::from_mins(1);

/// The addresses of the API server, as they were last read.
pub struct ApiServerAddresses {
    client: Guarded,
    clock: Arc<Clock>,
    found: BTreeSet<IpAddr>,
    report: Box<dyn Fn(Vec<IpAddr>) + Send + Sync>,
    /// Whether the log says that the addresses cannot be read.
    warned: bool,
}

impl ApiServerAddresses {
    /// Reads through this client. Calls `report` with the addresses when they have changed.
    pub fn new(client: Guarded, clock: Arc<Clock>, report: impl Fn(Vec<IpAddr>) + Send + Sync + 'static) -> Self {
        Self { client, clock, found: BTreeSet::new(), report: Box::new(report), warned: false }
    }

    /// Reads them once. An error leaves them as they were.
    pub async fn refresh(&mut self) {
        let error = match get_opt::<Slice>(&self.client, SLICE).await {
            Ok(Some(slice)) => return self.take(slice),
            Ok(None) => "there is no EndpointSlice kubernetes in the namespace default".to_owned(),
            Err(CallError::Unknown(error)) if self.warned || !self.found.is_empty() => {
                return debug!(error, "the API server's addresses were not read");
            }
            Err(error) => error.to_string(),
        };
        if !std::mem::replace(&mut self.warned, true) {
            warn!(
                error,
                "the API server's own addresses are not known: endpoints there are refused only at the address that the \
                 operator itself connects to; install the roles of config/rbac, or use --deny-address"
            );
        }
    }

    /// Reads them for ever.
    pub async fn follow(mut self) {
        loop {
            self.clock.sleep_until(self.clock.mono() + EVERY).await;
            self.refresh().await;
        }
    }

    fn take(&mut self, slice: Slice) {
        self.warned = false;
        let found = slice.addresses();
        if found != self.found {
            info!(addresses = ?found, "endpoints at the addresses of the API server are refused");
            (self.report)(found.iter().copied().collect());
            self.found = found;
        }
    }
}

#[derive(Deserialize)]
struct Slice {
    /// Go encodes a nil slice as null.
    endpoints: Option<Vec<SliceEndpoint>>,
}

#[derive(Deserialize)]
struct SliceEndpoint {
    addresses: Option<Vec<String>>,
}

impl Slice {
    /// Every address, ready or not. A text that is none is left out: a slice may also have names.
    fn addresses(self) -> BTreeSet<IpAddr> {
        let all = self.endpoints.into_iter().flatten().flat_map(|endpoint| endpoint.addresses.unwrap_or_default());
        all.filter_map(|address| address.parse().ok()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_every_address_of_the_slice() {
        let addresses = |text: &str| {
            let found = serde_json::from_str::<Slice>(text).unwrap().addresses();
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        let two =
            r#"{"endpoints":[{"addresses":["10.0.0.2","x"],"conditions":{"ready":false}},{"addresses":["fd00::1"]}]}"#;
        assert_eq!(addresses(two), ["10.0.0.2", "fd00::1"]);
        assert!(addresses(r#"{"endpoints":null}"#).is_empty() && addresses("{}").is_empty());
    }
}
