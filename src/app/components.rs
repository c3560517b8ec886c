//! The components that tasks share, built once at the start.

use std::{sync::Arc, time::Duration};

use kube::Config;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    error::Error,
    kind_runtime::KindRuntime,
    requester::requester,
    settings::{Settings, lease_settings, scopes},
};
use crate::{
    api::{Kind, ModelSync},
    clock::Clock,
    controller::{CompiledSpecs, Context, Controller, ModelSyncs, ModelTrains, RunEffects},
    core::run::proof::ClaimKey,
    kube_io::{
        apply::ApiServer,
        client::Clients,
        events::Events,
        fence::FenceState,
        kinds::Kinds,
        lease::Leadership,
        legacy_runs::LegacyRuns,
        objects::LiveObjects,
        obstacles::Obstacles,
        read_turns::ReadTurns,
        referenced::Referenced,
        store::{Followers, ModelVersions, Objects, Runs, StoreView},
        versions::Versions,
    },
    lineage::Lineage,
    runs,
    schedule::queue::Queue,
    source::{
        compare::CompareValues, needs_sync::NeedsSyncClient, read::ValueReader, sync_poll::SyncPollClient,
        train_poll::TrainPollClient,
    },
    telemetry::metrics::Metrics,
};

/// The components that tasks share.
pub(super) struct Components {
    pub(super) syncs: KindRuntime<ModelSyncs>,
    pub(super) trains: KindRuntime<ModelTrains>,
    pub(super) runs: Arc<Runs>,
    pub(super) versions: Arc<ModelVersions>,
    pub(super) fence: FenceState,
    pub(super) leadership: Leadership,
    /// Namespace and name of the Lease, as a label of a metric; empty without an election.
    pub(super) lease: String,
    pub(super) lineage: Lineage,
    pub(super) metrics: Arc<Metrics>,
}

/// What the controllers of both kinds share.
struct Shared {
    clock: Arc<Clock>,
    runs: RunEffects,
    versions: Arc<ModelVersions>,
    followers: Arc<Followers>,
    fence: FenceState,
    referenced: Referenced,
    leadership: Leadership,
    process: String,
    claim_key: ClaimKey,
    min_run_age: Duration,
    requests: NeedsSyncClient,
    values: ValueReader,
}

impl Components {
    /// Builds every component. The receiver yields the uid of each object whose source has changed.
    pub(super) async fn new(
        settings: &Settings,
        config: &Config,
        clients: &Clients,
        clock: &Arc<Clock>,
        (stop, tasks): (&CancellationToken, &TaskTracker),
    ) -> Result<(Self, UnboundedReceiver<String>), Error> {
        let turns = ReadTurns::new(clock.clone());
        let kinds = Kinds::new(clients.reads.clone(), clock.clone(), turns.clone());
        let token = (stop.clone(), tasks.clone());
        let (referenced, changes) =
            Referenced::new(clients.reads.clone(), clock.clone(), kinds.clone(), scopes(settings), token);
        let requests = requester(settings, config, clients, clock, &turns).await?;
        let live = LiveObjects::new(clients.reads.clone(), kinds, turns, referenced.clone());
        let process = process_id();
        let metrics = Arc::new(Metrics::default());
        let lineage = Lineage::start(settings.lineage.clone(), {
            let metrics = metrics.clone();
            move |delivery| metrics.lineage_event(delivery)
        })?;
        let lease = lease_settings(settings, config, &process);
        let shared = Shared {
            clock: clock.clone(),
            runs: run_effects(settings, clients, clock, (&metrics, &lineage)),
            versions: Arc::new(ModelVersions::new(clock.clone())),
            followers: Arc::default(),
            fence: FenceState::default(),
            referenced,
            leadership: Leadership::new(clock.clone(), lease.clone()),
            process,
            claim_key: claim_key()?,
            min_run_age: settings.min_run_age,
            requests: NeedsSyncClient::new(requests.clone()),
            values: ValueReader::new(requests, Arc::new(live)),
        };
        let objects = Arc::new(Objects::new(clock.clone()));
        let trains = shared.trains(objects.clone(), clients);
        let syncs = shared.syncs(objects, &trains, clients);
        let lease = lease.map_or_else(String::new, |lease| format!("{}/{}", lease.namespace, lease.name));
        let Shared { runs, versions, fence, leadership, .. } = shared;
        Ok((Self { syncs, trains, runs: runs.runs, versions, fence, leadership, lease, lineage, metrics }, changes))
    }
}

impl Components {
    /// A read-only view of what the watches have shown, for pages. `scopes` watches feed each kind.
    pub(super) fn store_view(&self, scopes: usize) -> StoreView {
        let (syncs, trains) = (self.syncs.objects.clone(), self.trains.objects.clone());
        StoreView::new(syncs, trains, self.versions.clone(), self.runs.clone(), scopes)
    }
}

impl Shared {
    fn context<K: Kind>(&self, objects: Arc<Objects<K>>) -> Context<K> {
        Context {
            runs: self.runs.clone(),
            objects,
            fence: self.fence.clone(),
            referenced: self.referenced.clone(),
            queue: Queue::new(self.clock.clone()),
            leadership: self.leadership.clone(),
            process: self.process.clone(),
            claim_key: self.claim_key.clone(),
            min_run_age: self.min_run_age,
        }
    }

    fn syncs(
        &self,
        objects: Arc<Objects<ModelSync>>,
        trains: &KindRuntime<ModelTrains>,
        clients: &Clients,
    ) -> KindRuntime<ModelSyncs> {
        let kind = ModelSyncs {
            legacy_runs: LegacyRuns::new(clients.reads.clone(), self.clock.clone()),
            followers: self.followers.clone(),
            wake_train: trains.wake_named(),
            versions: self.versions.clone(),
            windows: CompiledSpecs::default(),
            last_response: std::sync::Mutex::default(),
        };
        let compare = CompareValues::new(self.values.clone());
        let client = Arc::new(SyncPollClient { needs_sync: self.requests.clone(), compare });
        KindRuntime::new(self.clock.clone(), Controller::new(self.context(objects), kind), client)
    }

    fn trains(&self, model_syncs: Arc<Objects<ModelSync>>, clients: &Clients) -> KindRuntime<ModelTrains> {
        let kind = ModelTrains {
            versions: self.versions.clone(),
            records: Versions::new(clients.clone()),
            model_syncs,
            followers: self.followers.clone(),
            reads: clients.reads.clone(),
            compiled: CompiledSpecs::default(),
        };
        let objects = Arc::new(Objects::new(self.clock.clone()));
        let client = Arc::new(TrainPollClient { needs_sync: self.requests.clone(), values: self.values.clone() });
        KindRuntime::new(self.clock.clone(), Controller::new(self.context(objects), kind), client)
    }
}

fn run_effects(
    settings: &Settings,
    clients: &Clients,
    clock: &Arc<Clock>,
    (metrics, lineage): (&Arc<Metrics>, &Lineage),
) -> RunEffects {
    let kinds = runs::backends()
        .iter()
        .flat_map(|backend| scopes(settings).into_iter().map(|namespace| (backend.kind(), namespace)));
    RunEffects {
        clock: clock.clone(),
        runs: Arc::new(Runs::new(clock.clone(), kinds.collect::<Vec<_>>())),
        backends: runs::backends(),
        api: ApiServer::new(clients.clone()),
        obstacles: Obstacles::new(clients.reads.clone()),
        events: Events::start(clients.writes.clone(), clock.clone(), std::env::var("HOSTNAME").ok().as_deref(), {
            let metrics = metrics.clone();
            move |delivery| metrics.event(delivery)
        }),
        metrics: metrics.clone(),
        lineage: lineage.clone(),
    }
}

/// The beginning of every nonce of this process. Random, because a pid or a start time may repeat after a restart.
fn process_id() -> String {
    use std::hash::{BuildHasher, RandomState};
    // Each RandomState is seeded by the operating system.
    format!("{:016x}", RandomState::new().hash_one(std::process::id()))
}

/// The key of this process. Random, and stored nowhere: after a restart a run is known by its proof in status.
fn claim_key() -> Result<ClaimKey, Error> {
    let mut random = [0; 32];
    rustls::crypto::ring::default_provider().secure_random.fill(&mut random).map_err(|_| Error::NoRandomBytes)?;
    Ok(ClaimKey::new(random))
}
