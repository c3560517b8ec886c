//! Builds the client for requests whose URLs come from objects. IO: resolves the API server's addresses.

use std::{net::IpAddr, sync::Arc};

use kube::Config;
use tracing::warn;
use url::Url;

use super::settings::Settings;
use crate::{
    clock::Clock,
    kube_io::{client::Clients, credentials::ApiCredentials, read_turns::ReadTurns},
    source::{
        http::{ClientSetupError, GuardedClient, Setup},
        request::Requester,
    },
};

/// Builds the client for requests whose URLs come from objects.
pub(super) async fn requester(
    settings: &Settings,
    config: &Config,
    clients: &Clients,
    clock: &Arc<Clock>,
    turns: &ReadTurns,
) -> Result<Requester, ClientSetupError> {
    let mut addresses = settings.addresses.clone();
    addresses.api_server.extend(api_server_addresses(config).await);
    let setup = Setup::system(clock.clone(), addresses, settings.cluster_domain.clone(), settings.max_polls);
    let credentials = ApiCredentials::new(clients.reads.clone(), clock.clone(), turns.clone());
    Ok(Requester::new(GuardedClient::new(setup)?, Arc::new(credentials)))
}

/// Addresses that endpoints must not have: through a poll to them, a tenant could make the operator call its own API
/// server.
async fn api_server_addresses(config: &Config) -> Vec<IpAddr> {
    let url = Url::parse(&config.cluster_url.to_string()).ok();
    let target = url
        .as_ref()
        .and_then(|url| Some((url.host_str()?.trim_matches(['[', ']']).to_owned(), url.port_or_known_default()?)));
    let Some(target) = target else { return Vec::new() };
    match tokio::net::lookup_host(target).await {
        Ok(found) => found.map(|address| address.ip()).collect(),
        Err(error) => {
            warn!(
                error = error.to_string(),
                "the API server's address is not known: endpoints at its address are not refused"
            );
            Vec::new()
        }
    }
}
