//! Settings of the controller, and values derived from them. No IO but reading the host's name.

use std::{net::SocketAddr, time::Duration};

use kube::Config;

use crate::{kube_io::lease::LeaseSettings, lineage::settings::LineageSettings, source::address::AddressRules};

/// Settings of the controller.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespaces to watch; none = all.
    pub namespaces: Vec<String>,
    /// Label selector of the objects to manage; empty = all.
    pub selector: String,
    /// Address of health and metrics pages.
    pub listen: SocketAddr,
    /// Which addresses endpoints may have.
    pub addresses: AddressRules,
    /// DNS domain of this cluster.
    pub cluster_domain: String,
    /// Minimum age of a finished run before it is deleted.
    pub min_run_age: Duration,
    /// Maximum number of poll requests in flight.
    pub max_polls: usize,
    /// The election to take part in; without one, this replica leads.
    pub lease: Option<ElectionSettings>,
    /// The lineage service that receives events about runs; `None` = none are sent.
    pub lineage: Option<LineageSettings>,
}

/// The Lease by which replicas elect the leader.
#[derive(Clone, Debug)]
pub struct ElectionSettings {
    /// Name of the Lease.
    pub name: String,
    /// Namespace of the Lease; default: the operator's own.
    pub namespace: Option<String>,
    /// How long it is valid without a renewal.
    pub duration: Duration,
}

/// The namespaces to watch; `None` means all.
pub(super) fn scopes(settings: &Settings) -> Vec<Option<String>> {
    if settings.namespaces.is_empty() { vec![None] } else { settings.namespaces.iter().cloned().map(Some).collect() }
}

/// The lease of this replica's election. The holder's identity names the pod and differs for every process in it.
pub(super) fn lease_settings(settings: &Settings, config: &Config, process: &str) -> Option<LeaseSettings> {
    let election = settings.lease.as_ref()?;
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "modelsync".to_owned());
    Some(LeaseSettings {
        name: election.name.clone(),
        namespace: election.namespace.clone().unwrap_or_else(|| config.default_namespace.clone()),
        duration: election.duration,
        identity: format!("{host}_{process}"),
    })
}

/// A label selector as part of a URL.
pub(super) fn encode(selector: &str) -> String {
    url::form_urlencoded::byte_serialize(selector.as_bytes()).collect()
}
