//! Why the controller could not start or had to end.

use std::net::SocketAddr;

use crate::{lineage::LineageSetupError, source::http::ClientSetupError};

/// Why the controller could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No API server is configured.
    #[error("no cluster: {0}; set KUBECONFIG, or run inside a cluster")]
    Config(String),
    /// The clients could not be built.
    #[error("the API server's clients could not be built: {0}")]
    Client(#[from] kube::Error),
    /// The client for endpoints could not be built.
    #[error("the client for endpoints could not be built: {0}")]
    Endpoints(#[from] ClientSetupError),
    /// The client for lineage could not be built.
    #[error("no lineage can be sent: {0}")]
    Lineage(#[from] LineageSetupError),
    /// The system has no random bytes.
    #[error("the system gives no random bytes")]
    NoRandomBytes,
    /// The operator cannot listen on the address.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
}
