//! Reads whether the fence is installed: if it is, the API server refuses late creates. IO.

use std::sync::{Arc, PoisonError, RwLock};

use tracing::{info, warn};

use super::{
    call::text_opt,
    client::{CallError, Clients},
    sieve::Shape,
};
use crate::{api::keys, core::run::knowledge::Fence};

/// The last known state of the fence.
#[derive(Clone)]
pub struct FenceState(Arc<RwLock<Fence>>);

impl Default for FenceState {
    fn default() -> Self {
        Self(Arc::new(RwLock::new(Fence::Unknown)))
    }
}

impl FenceState {
    /// The state.
    pub fn get(&self) -> Fence {
        *self.0.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the policy and its binding, by name, and logs a change of the state.
    ///
    /// An error leaves the state unchanged, except at the first read: without permission, the fence counts as absent.
    pub async fn refresh(&self, clients: &Clients) {
        let found = match (
            exists(clients, "validatingadmissionpolicies").await,
            exists(clients, "validatingadmissionpolicybindings").await,
        ) {
            (Ok(policy), Ok(binding)) => {
                if policy && binding {
                    Fence::Installed
                } else {
                    Fence::Absent
                }
            }
            _ if self.get() == Fence::Unknown => Fence::Absent,
            _ => return,
        };
        let mut state = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if *state != found {
            *state = found;
            if found == Fence::Installed {
                info!(policy = keys::FENCE, "the fence is installed: late creates are refused");
            } else {
                warn!(
                    policy = keys::FENCE,
                    "the fence is not installed, or may not be read: runs are still started once, but a run that is deleted \
                     while its create request is in flight may be created again; install config/fence.yaml"
                );
            }
        }
    }
}

async fn exists(clients: &Clients, plural: &str) -> Result<bool, CallError> {
    let path = format!("/apis/admissionregistration.k8s.io/v1/{plural}/{}", keys::FENCE);
    Ok(text_opt(&clients.reads, &path, Shape::Names).await?.is_some())
}
