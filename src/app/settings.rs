//! How the controller is to run, and what follows from it. No IO but reading the host's name.

use std::{net::SocketAddr, time::Duration};

use kube::Config;

use crate::{
    kube_io::lease::LeaseSettings, lineage::settings::Settings as LineageSettings, source::address::AddressRules,
};

/// How the controller is to run.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Namespaces to look after; none = all.
    pub namespaces: Vec<String>,
    /// Label selector of the objects to look after; empty = all.
    pub selector: String,
    /// Address of health and metrics pages.
    pub listen: SocketAddr,
    /// Which addresses endpoints may have.
    pub addresses: AddressRules,
    /// DNS domain of this cluster.
    pub cluster_domain: String,
    /// Minimum age of a finished run before it is deleted.
    pub min_run_age: Duration,
    /// Requests of questions under way at once.
    pub max_polls: usize,
    /// The election to take part in; without one, this replica leads.
    pub lease: Option<Election>,
    /// Who is told of runs.
    pub lineage: Option<LineageSettings>,
}

/// Which lease replicas take turns by.
#[derive(Clone, Debug)]
pub struct Election {
    /// Name of the Lease.
    pub name: String,
    /// Namespace of the Lease; default: the operator's own.
    pub namespace: Option<String>,
    /// How long it holds without being renewed.
    pub duration: Duration,
}

/// The namespaces that watches are made for; `None` stands for all.
pub(super) fn scopes(settings: &Settings) -> Vec<Option<String>> {
    if settings.namespaces.is_empty() { vec![None] } else { settings.namespaces.iter().cloned().map(Some).collect() }
}

/// The lease of this replica's election. The holder's name tells which pod it is, and differs for every process in it.
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
