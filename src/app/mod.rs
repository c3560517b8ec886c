//! The composition root: builds every part, starts the tasks, stops them. IO.

mod components;
mod kind_runtime;
mod leadership;
mod pages;
mod watches;

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use kube::{Config, config::KubeConfigOptions};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};
use url::Url;

use self::{
    components::Components,
    leadership::follow_leadership,
    pages::pages,
    watches::{forward_source_changes, start_watches},
};
use crate::{
    clock::Clock,
    kube_io::credentials::ApiCredentials,
    kube_io::{
        client::{Clients, Safeguards},
        fence::FenceState,
        lease::{Leadership, LeaseSettings},
    },
    lineage::{Lineage, settings::Settings as LineageSettings},
    source::{
        address::AddressRules,
        http::{GuardedClient, Setup, SetupError},
        request::Requester,
    },
    telemetry::health::{self, Pages},
};

/// How long a stop waits for lineage events that are on their way.
const LINEAGE_AT_STOP: Duration = Duration::from_secs(1);
/// How often the fence is looked up.
const FENCE_EVERY: Duration = Duration::from_mins(1);

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

/// A running controller.
pub struct Operator {
    stop: CancellationToken,
    tasks: TaskTracker,
    /// Outlives the other tasks: the lease is released when nothing is written any more.
    campaign: (CancellationToken, TaskTracker),
    leadership: Leadership,
    lineage: Lineage,
    address: SocketAddr,
}

/// Where the API server is: inside a cluster its account, else `KUBECONFIG`.
pub async fn cluster_config() -> Result<Config, Error> {
    if std::env::var_os("KUBECONFIG").is_none()
        && let Ok(config) = Config::incluster()
    {
        return Ok(config);
    }
    Config::from_kubeconfig(&KubeConfigOptions::default()).await.map_err(|error| Error::Config(error.to_string()))
}

impl Operator {
    /// Starts every task. They run until [`Operator::stop`].
    pub async fn start(settings: Settings, config: &Config, clock: Arc<Clock>) -> Result<Self, Error> {
        Self::start_guarded(settings, config, clock, Safeguards::default()).await
    }

    /// The same with safeguards that a test has chosen.
    #[doc(hidden)]
    pub async fn start_guarded(
        settings: Settings,
        config: &Config,
        clock: Arc<Clock>,
        safeguards: Safeguards,
    ) -> Result<Self, Error> {
        let listener =
            TcpListener::bind(settings.listen).await.map_err(|error| Error::Listen(settings.listen, error))?;
        let address = listener.local_addr().map_err(|error| Error::Listen(settings.listen, error))?;
        let clients = Clients::new(config, &clock, safeguards)?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (components, changes) = Components::new(&settings, config, &clients, &clock, (&stop, &tasks)).await?;
        let (syncs, trains) = (&components.syncs, &components.trains);
        let changed = forward_source_changes(changes, syncs.controller.clone(), trains.controller.clone());
        tasks.spawn(until(stop.clone(), changed));
        // The fence is looked up before the first decision: an object with a lost run would have to wait for it.
        components.fence.refresh(&clients).await;
        tasks.spawn(until(stop.clone(), watch_fence(components.fence.clone(), clients.clone(), clock.clone())));
        start_watches(&components, &settings, &clients, &clock, &stop, &tasks);
        syncs.start(&stop, &tasks);
        trains.start(&stop, &tasks);
        tasks.spawn(serve(listener, pages(&components, scopes(&settings).len()), stop.clone()));
        tasks.spawn(until(stop.clone(), follow_leadership(&components)));
        tasks.close();
        let campaign = (CancellationToken::new(), TaskTracker::new());
        let leadership = components.leadership.clone();
        campaign.1.spawn({
            let (leadership, stop) = (leadership.clone(), campaign.0.clone());
            async move { leadership.campaign(clients, stop).await }
        });
        campaign.1.close();
        info!(%address, namespaces = ?settings.namespaces, selector = settings.selector, "controller started");
        Ok(Self { stop, tasks, campaign, leadership, lineage: components.lineage, address })
    }

    /// Where health and metrics are served.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether this replica leads.
    pub fn leads(&self) -> bool {
        self.leadership.leads()
    }

    /// Tells of every change of who leads, as far as this replica is concerned.
    pub fn leadership(&self) -> watch::Receiver<bool> {
        self.leadership.changes()
    }

    /// Finishes the passes that are under way, ends every task and releases the lease.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.wait().await;
        self.lineage.stop(LINEAGE_AT_STOP).await;
        self.campaign.0.cancel();
        self.campaign.1.wait().await;
    }
}

/// Runs the controller until the process is told to stop.
pub async fn run(settings: Settings) -> Result<(), Error> {
    let config = cluster_config().await?;
    let operator = Operator::start(settings, &config, Clock::system()).await?;
    stop_signal().await;
    info!("stopping");
    operator.stop().await;
    Ok(())
}

async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let interrupt = tokio::signal::ctrl_c();
    match signal(SignalKind::terminate()) {
        Ok(mut terminate) => tokio::select! {
            _ = interrupt => {}
            _ = terminate.recv() => {}
        },
        Err(error) => {
            warn!(%error, "SIGTERM cannot be listened for");
            let _ = interrupt.await;
        }
    }
}

/// The namespaces that watches are made for; `None` stands for all.
fn scopes(settings: &Settings) -> Vec<Option<String>> {
    if settings.namespaces.is_empty() { vec![None] } else { settings.namespaces.iter().cloned().map(Some).collect() }
}

async fn until(stop: CancellationToken, task: impl Future<Output = ()>) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = task => {}
    }
}

async fn watch_fence(fence: FenceState, clients: Clients, clock: Arc<Clock>) {
    loop {
        clock.sleep_until(clock.mono() + FENCE_EVERY).await;
        fence.refresh(&clients).await;
    }
}

async fn serve(listener: TcpListener, pages: Pages, stop: CancellationToken) {
    if let Err(error) = health::serve(listener, pages, stop).await {
        warn!(%error, "the health pages ended");
    }
}

/// The lease of this replica's election. The holder's name tells which pod it is, and differs for every process in it.
fn lease_settings(settings: &Settings, config: &Config, process: &str) -> Option<LeaseSettings> {
    let election = settings.lease.as_ref()?;
    let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "modelsync".to_owned());
    Some(LeaseSettings {
        name: election.name.clone(),
        namespace: election.namespace.clone().unwrap_or_else(|| config.default_namespace.clone()),
        duration: election.duration,
        identity: format!("{host}_{process}"),
    })
}

/// What sends the requests whose URLs come from objects.
async fn requester(
    settings: &Settings,
    config: &Config,
    clients: &Clients,
    clock: &Arc<Clock>,
) -> Result<Requester, SetupError> {
    let mut addresses = settings.addresses.clone();
    addresses.api_server.extend(api_server_addresses(config).await);
    let setup = Setup::system(clock.clone(), addresses, settings.cluster_domain.clone(), settings.max_polls);
    let credentials = ApiCredentials::new(clients.reads.clone(), clock.clone());
    Ok(Requester::new(GuardedClient::new(setup)?, Arc::new(credentials)))
}

/// What every nonce of this process begins with: random, because a pid or a start time may come back after a restart.
fn process_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    // Each RandomState is seeded by the operating system.
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// Addresses that endpoints must not have: a question sent there would carry the operator into its own API server.
async fn api_server_addresses(config: &Config) -> Vec<IpAddr> {
    let url = Url::parse(&config.cluster_url.to_string()).ok();
    let target = url
        .as_ref()
        .and_then(|url| Some((url.host_str()?.trim_matches(['[', ']']).to_owned(), url.port_or_known_default()?)));
    let Some(target) = target else { return Vec::new() };
    match tokio::net::lookup_host(target).await {
        Ok(found) => found.map(|address| address.ip()).collect(),
        Err(error) => {
            warn!(%error, "the API server's address is not known: endpoints at its address are not refused");
            Vec::new()
        }
    }
}

/// A label selector as part of a URL.
fn encode(selector: &str) -> String {
    url::form_urlencoded::byte_serialize(selector.as_bytes()).collect()
}
