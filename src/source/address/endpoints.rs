//! The addresses at which the API server itself listens. They change when a control-plane node is replaced. No IO.

use std::{
    net::IpAddr,
    sync::{Arc, PoisonError, RwLock},
};

/// The last known addresses. Clones share them, so that rules which are in use follow a change.
#[derive(Clone, Debug, Default)]
pub struct ApiServerEndpoints(Arc<RwLock<Vec<IpAddr>>>);

impl ApiServerEndpoints {
    /// Replaces the addresses.
    pub fn set(&self, addresses: Vec<IpAddr>) {
        *self.0.write().unwrap_or_else(PoisonError::into_inner) = addresses;
    }

    /// Whether this is one of the addresses.
    pub(super) fn contains(&self, address: IpAddr) -> bool {
        self.0.read().unwrap_or_else(PoisonError::into_inner).iter().any(|known| known.to_canonical() == address)
    }
}
