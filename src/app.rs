//! The composition root: builds every part, starts the tasks, stops them. IO.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use kube::{Config, config::KubeConfigOptions};
use tokio::{
    net::TcpListener,
    sync::{mpsc::UnboundedReceiver, watch},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};
use url::Url;

use crate::{
    api::ModelSync,
    clock::Clock,
    controller::{Context, ModelSyncController, RunEffects, work},
    core::{effect::Inquiry, run::RunRecord},
    kube_io::{
        apply::{ApiServer, collection, objects},
        client::{Clients, Safeguards},
        credentials::ApiCredentials,
        events::Events,
        fence::FenceState,
        kinds::Kinds,
        lease::{Leadership, LeaseSettings},
        objects::LiveObjects,
        referenced::Referenced,
        store::{ObjectSink, Objects, RunSink, Runs, YOUNG},
        unlabelled::UnlabelledRuns,
        watch::{Scope, follow},
    },
    runs,
    schedule::{poller::Poller, queue::Queue},
    source::{
        address::AddressRules,
        compare::CompareValues,
        http::{GuardedClient, Setup, SetupError},
        needs_sync::NeedsSyncClient,
        questions::Questions,
        read::ValueReader,
        request::Requester,
    },
    telemetry::{
        health::{self, Pages},
        metrics::{Metrics, Snapshot},
    },
};

/// Passes that run at once. One pass holds at most one connection to the API server.
const WORKERS: usize = 32;
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
        let parts = Parts::new(&settings, config, &clients, &clock, (&stop, &tasks)).await?;
        // The first look comes before the first decision: an object with a lost run would else wait for it.
        parts.fence.refresh(&clients).await;
        tasks.spawn(until(stop.clone(), watch_fence(parts.fence.clone(), clients.clone(), clock.clone())));
        parts.start_watches(&settings, &clients, &clock, &stop, &tasks);
        tasks.spawn(until(stop.clone(), {
            let queue = parts.queue.clone();
            async move { queue.run_timers().await }
        }));
        tasks.spawn(until(stop.clone(), {
            let poller = parts.poller.clone();
            async move { poller.run().await }
        }));
        for _ in 0..WORKERS {
            tasks.spawn(work(parts.controller.clone(), parts.poller.clone(), parts.queue.clone(), stop.clone()));
        }
        tasks.spawn(serve(listener, parts.pages(scopes(&settings).len()), stop.clone()));
        tasks.spawn(until(stop.clone(), parts.take_turns()));
        tasks.close();
        let campaign = (CancellationToken::new(), TaskTracker::new());
        let leadership = parts.leadership.clone();
        campaign.1.spawn({
            let (leadership, stop) = (leadership.clone(), campaign.0.clone());
            async move { leadership.campaign(clients, stop).await }
        });
        campaign.1.close();
        info!(%address, namespaces = ?settings.namespaces, selector = settings.selector, "controller started");
        Ok(Self { stop, tasks, campaign, leadership, address })
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
        self.campaign.0.cancel();
        self.campaign.1.wait().await;
    }
}

/// Runs the controller until the process is told to stop.
pub async fn run(settings: Settings) -> Result<(), Error> {
    let config = cluster_config().await?;
    let operator = Operator::start(settings, &config, Clock::system()).await?;
    told_to_stop().await;
    info!("stopping");
    operator.stop().await;
    Ok(())
}

async fn told_to_stop() {
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

/// The parts that tasks share.
struct Parts {
    objects: Arc<Objects<ModelSync>>,
    runs: Arc<Runs>,
    queue: Queue,
    poller: Poller,
    controller: Arc<ModelSyncController>,
    fence: FenceState,
    leadership: Leadership,
    metrics: Arc<Metrics>,
}

impl Parts {
    async fn new(
        settings: &Settings,
        config: &Config,
        clients: &Clients,
        clock: &Arc<Clock>,
        (stop, tasks): (&CancellationToken, &TaskTracker),
    ) -> Result<Self, Error> {
        let kinds = runs::backends().iter().flat_map(|backend| {
            scopes(settings).into_iter().map(|namespace| (backend.kind(), namespace)).collect::<Vec<_>>()
        });
        let (objects, queue) = (Arc::new(Objects::new(clock.clone())), Queue::new(clock.clone()));
        let runs = Arc::new(Runs::new(clock.clone(), kinds));
        let (fence, metrics) = (FenceState::default(), Arc::new(Metrics::default()));
        let process = process_id();
        let leadership = Leadership::new(clock.clone(), lease_settings(settings, config, &process));
        let kinds = Kinds::new(clients.reads.clone(), clock.clone());
        let (referenced, changes) = Referenced::new(
            clients.reads.clone(),
            clock.clone(),
            kinds.clone(),
            scopes(settings),
            (stop.clone(), tasks.clone()),
        );
        let run_effects = RunEffects {
            clock: clock.clone(),
            runs: runs.clone(),
            backends: runs::backends(),
            api: ApiServer::new(clients.clone()),
            events: Events::start(clients.writes.clone(), std::env::var("HOSTNAME").ok()),
            metrics: metrics.clone(),
        };
        let controller = Arc::new(ModelSyncController::new(Context {
            runs: run_effects,
            objects: objects.clone(),
            unlabelled: UnlabelledRuns::new(clients.reads.clone(), clock.clone()),
            fence: fence.clone(),
            referenced: referenced.clone(),
            queue: queue.clone(),
            leadership: leadership.clone(),
            process,
            min_run_age: settings.min_run_age,
        }));
        let requests = requester(settings, config, clients, clock).await?;
        let live = LiveObjects::new(clients.reads.clone(), kinds, referenced);
        let asker = Arc::new(Questions {
            needs_sync: NeedsSyncClient::new(requests.clone()),
            compare: CompareValues::new(ValueReader::new(requests, Arc::new(live))),
        });
        tasks.spawn(until(stop.clone(), pass_on(changes, controller.clone())));
        let deliver = {
            let controller = controller.clone();
            Arc::new(move |uid: &str, answered| controller.take_answer(uid, answered))
        };
        let pose = {
            let controller = controller.clone();
            Arc::new(move |inquiry: &Inquiry| controller.pose(inquiry))
        };
        let poller = Poller::new(clock.clone(), pose, asker, deliver);
        Ok(Self { objects, runs, queue, poller, controller, fence, leadership, metrics })
    }

    /// Begins and ends terms of leadership. A standby keeps its stores warm and asks nothing.
    fn take_turns(&self) -> impl Future<Output = ()> + use<> {
        let (mut changes, poller, controller, wake_all) =
            (self.leadership.changes(), self.poller.clone(), self.controller.clone(), self.wake_all());
        async move {
            while changes.changed().await.is_ok() {
                poller.clear();
                if *changes.borrow_and_update() {
                    controller.begin_term();
                    wake_all();
                }
            }
        }
    }

    fn start_watches(
        &self,
        settings: &Settings,
        clients: &Clients,
        clock: &Arc<Clock>,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) {
        for namespace in scopes(settings) {
            let wake = {
                let queue = self.queue.clone();
                Arc::new(move |uid: &str| queue.wake(uid))
            };
            let sink = ObjectSink::new(self.objects.clone(), namespace.clone(), wake);
            let scope = Scope::whole(objects::<ModelSync>(namespace.as_deref()), encode(&settings.selector));
            tasks.spawn(follow(clients.reads.clone(), clock.clone(), scope, sink, stop.clone()));
            for backend in runs::backends() {
                let sink =
                    RunSink::new(self.runs.clone(), *backend, namespace.clone(), self.wake_owner(), self.wake_all());
                let selector = encode(crate::api::keys::OWNER_UID);
                let scope = Scope::whole(collection(backend.kind(), namespace.as_deref()), selector);
                tasks.spawn(follow(clients.reads.clone(), clock.clone(), scope, sink, stop.clone()));
            }
        }
    }

    /// A changed run concerns its object, and the present object of its object's name.
    fn wake_owner(&self) -> Arc<dyn Fn(&RunRecord) + Send + Sync> {
        let (queue, objects) = (self.queue.clone(), self.objects.clone());
        Arc::new(move |run| {
            queue.wake(&run.owner_uid);
            if let Some(uid) = objects.uid_of(&run.namespace, &run.owner_name).filter(|uid| **uid != *run.owner_uid) {
                queue.wake(&uid);
            }
        })
    }

    fn wake_all(&self) -> Arc<dyn Fn() + Send + Sync> {
        let (queue, objects) = (self.queue.clone(), self.objects.clone());
        Arc::new(move || objects.uids().iter().for_each(|uid| queue.wake(uid)))
    }

    fn pages(&self, scopes: usize) -> Pages {
        let (objects, runs) = (self.objects.clone(), self.runs.clone());
        let not_ready = move || {
            if !objects.is_known(scopes) {
                return Some("ModelSyncs are not listed yet; are the CRDs installed?".to_owned());
            }
            if !runs.is_known() {
                return Some("runs are not listed yet; may the operator list them?".to_owned());
            }
            let silent = watch_ages(&objects, &runs).into_iter().find(|(_, age)| *age > YOUNG);
            silent.map(|(kind, age)| format!("the watch of {kind}s has been silent for {} s", age.as_secs()))
        };
        let (objects, runs, queue) = (self.objects.clone(), self.runs.clone(), self.queue.clone());
        let (poller, controller, leadership) = (self.poller.clone(), self.controller.clone(), self.leadership.clone());
        let snapshot = move || {
            let (last_answer_age, oldest_demand_age) = controller.ages();
            Snapshot {
                undecodable: objects.undecodable(),
                queue_depth: queue.depth(),
                questions_under_way: poller.under_way(),
                leads: leadership.leads(),
                last_answer_age,
                oldest_demand_age,
                watch_ages: watch_ages(&objects, &runs),
            }
        };
        Pages { not_ready: Arc::new(not_ready), snapshot: Arc::new(snapshot), metrics: self.metrics.clone() }
    }
}

/// Time since each watch was heard.
fn watch_ages(objects: &Objects<ModelSync>, runs: &Runs) -> Vec<(&'static str, Duration)> {
    let mut ages = runs.watch_ages();
    ages.extend(objects.watch_age().map(|age| ("ModelSync", age)));
    ages
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

/// A changed object concerns those who read their values from it.
async fn pass_on(mut changes: UnboundedReceiver<String>, controller: Arc<ModelSyncController>) {
    while let Some(uid) = changes.recv().await {
        controller.source_changed(&uid);
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
