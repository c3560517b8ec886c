//! Why the controller could not start or had to end.

use std::net::SocketAddr;

use crate::source::http::SetupError;

/// Why the controller could not start or had to end.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// No way to the API server is configured.
    #[error("no cluster: {0}; set KUBECONFIG, or run inside a cluster")]
    Config(String),
    /// The clients could not be built.
    #[error("the API server's clients could not be built: {0}")]
    Client(#[from] kube::Error),
    /// The client for endpoints could not be built.
    #[error("the client for endpoints could not be built: {0}")]
    Endpoints(#[from] SetupError),
    /// The client for lineage could not be built.
    #[error("no lineage can be sent: {0}")]
    Lineage(#[from] crate::lineage::SetupError),
    /// The address could not be listened on.
    #[error("cannot listen on {0}: {1}")]
    Listen(SocketAddr, std::io::Error),
}
