//! The composition root: builds every part, starts the tasks, stops them. IO.

mod components;
mod error;
mod health_pages;
mod kind_runtime;
mod leadership;
mod requester;
mod settings;
mod watches;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use kube::{
    Config,
    config::{KubeConfigOptions, Kubeconfig, KubeconfigError},
};
use tokio::{net::TcpListener, sync::watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use self::{
    components::Components,
    health_pages::health_pages,
    leadership::follow_leadership,
    settings::scopes,
    watches::{forward_source_changes, start_watches},
};
pub use self::{
    error::Error,
    settings::{ElectionSettings, Settings},
};
use crate::{
    clock::Clock,
    kube_io::{
        api_server::ApiServerAddresses,
        client::{Clients, Safeguards},
        fence::FenceState,
        lease::Leadership,
    },
    lineage::Lineage,
    telemetry::health,
};

/// How long a stop waits for the lineage events that are queued or in flight.
const LINEAGE_AT_STOP: Duration = Duration::from_secs(1);
/// How often the fence is read.
const FENCE_EVERY: Duration = Duration::from_mins(1);

/// A running controller.
pub struct Operator {
    stop: CancellationToken,
    tasks: TaskTracker,
    /// The campaign outlives the other tasks: it releases the lease after the last write.
    campaign: (CancellationToken, TaskTracker),
    leadership: Leadership,
    lineage: Lineage,
    address: SocketAddr,
}

/// The configuration of the API server: `KUBECONFIG` if set, else the in-cluster account, else the default kubeconfig.
/// Proxy variables are ignored.
pub async fn cluster_config() -> Result<Config, Error> {
    if std::env::var_os("KUBECONFIG").is_none()
        && let Ok(config) = Config::incluster()
    {
        return Ok(config);
    }
    config_of_file().await.map_err(|error| Error::Config(error.to_string()))
}

/// The configuration in the kubeconfig.
///
/// kube takes a cluster's proxy from the environment if the file names none, fails if that is not a URL, and cannot use one
/// if it is. So a cluster without a proxy gets a name that stands for none meanwhile.
async fn config_of_file() -> Result<Config, KubeconfigError> {
    const NONE: &str = "http://none.invalid/";
    let mut file = Kubeconfig::read()?;
    for cluster in file.clusters.iter_mut().filter_map(|named| named.cluster.as_mut()) {
        let named = cluster.proxy_url.take().filter(|url| !url.is_empty());
        cluster.proxy_url = Some(named.unwrap_or_else(|| NONE.to_owned()));
    }
    let mut config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    config.proxy_url = config.proxy_url.filter(|url| *url != NONE);
    Ok(config)
}

impl Operator {
    /// Starts every task. They run until [`Operator::stop`].
    pub async fn start(settings: Settings, config: &Config, clock: Arc<Clock>) -> Result<Self, Error> {
        Self::start_guarded(settings, config, clock, Safeguards::default()).await
    }

    /// The same, with safeguards that a test chooses.
    #[doc(hidden)]
    pub async fn start_guarded(
        settings: Settings,
        config: &Config,
        clock: Arc<Clock>,
        safeguards: Safeguards,
    ) -> Result<Self, Error> {
        let listener = listen(settings.listen).await.map_err(|error| Error::Listen(settings.listen, error))?;
        let address = listener.local_addr().map_err(|error| Error::Listen(settings.listen, error))?;
        let clients = Clients::new(config, &clock, safeguards)?;
        let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
        let (components, changes) = Components::new(&settings, config, &clients, &clock, (&stop, &tasks)).await?;
        let (syncs, trains) = (&components.syncs, &components.trains);
        // Read them before the first poll.
        let endpoints = settings.addresses.endpoints.clone();
        let report = move |addresses| endpoints.set(addresses);
        let mut addresses = ApiServerAddresses::new(clients.reads.clone(), clock.clone(), report);
        addresses.refresh().await;
        tasks.spawn(stop.clone().run_until_cancelled_owned(addresses.follow()));
        let sources = forward_source_changes(changes, syncs.controller.clone(), trains.controller.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(sources));
        // Read the fence before the first decision: an object with a lost run would otherwise have to wait for it.
        components.fence.refresh(&clients).await;
        let fence = watch_fence(components.fence.clone(), clients.clone(), clock.clone());
        tasks.spawn(stop.clone().run_until_cancelled_owned(fence));
        start_watches(&components, &settings, &clients, &clock, &stop, &tasks);
        syncs.start(&stop, &tasks);
        trains.start(&stop, &tasks);
        tasks.spawn(health::serve(listener, health_pages(&components, scopes(&settings).len()), stop.clone()));
        tasks.spawn(stop.clone().run_until_cancelled_owned(follow_leadership(&components)));
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

    /// The address of the health and metrics pages.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether this replica leads.
    pub fn leads(&self) -> bool {
        self.leadership.leads()
    }

    /// Receives every change of this replica's leadership.
    pub fn leadership(&self) -> watch::Receiver<bool> {
        self.leadership.changes()
    }

    /// Finishes the active reconciles, ends every task and releases the lease.
    pub async fn stop(self) {
        self.leadership.note_stop();
        self.stop.cancel();
        self.tasks.wait().await;
        self.lineage.stop(LINEAGE_AT_STOP).await;
        self.campaign.0.cancel();
        self.campaign.1.wait().await;
    }
}

/// Runs the controller until the process receives a stop signal.
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
            warn!(error = error.to_string(), "SIGTERM cannot be listened for");
            let _ = interrupt.await;
        }
    }
}

/// Listens on this address. `[::]` covers IPv4 as well; where the kernel has no IPv6, it is IPv4 alone.
async fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    use std::{io::ErrorKind, net::Ipv4Addr};
    let bound = TcpListener::bind(address).await;
    let all = address.is_ipv6() && address.ip().is_unspecified();
    match &bound {
        Err(error) if all && !matches!(error.kind(), ErrorKind::AddrInUse | ErrorKind::PermissionDenied) => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        _ => bound,
    }
}

async fn watch_fence(fence: FenceState, clients: Clients, clock: Arc<Clock>) {
    loop {
        clock.sleep_until(clock.mono() + FENCE_EVERY).await;
        fence.refresh(&clients).await;
    }
}
