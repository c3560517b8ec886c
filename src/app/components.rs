//! The parts that tasks share, and the tasks that make passes and follow watches. IO through them.

use std::{sync::Arc, time::Duration};

use kube::Config;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{Error, Settings, encode, lease_settings, process_id, requester, scopes, until};
use crate::{
    api::{Kind, ModelSync, ModelTrain, keys},
    clock::Clock,
    controller::{
        Context, ModelSyncController, ModelTrainController, Reconcile, RunEffects, TrainContext, TrainPoller, work,
    },
    core::{poll::request::PollRequest, run::backend::RunRecord},
    kube_io::{
        apply::{ApiServer, collection, objects},
        client::Clients,
        events::Events,
        fence::FenceState,
        kinds::Kinds,
        lease::Leadership,
        legacy_runs::LegacyRuns,
        objects::LiveObjects,
        referenced::Referenced,
        store::{Followers, ModelVersionSink, ModelVersions, ObjectSink, Objects, RunSink, Runs, YOUNG},
        versions::{Versions, model_versions},
        watch::{Scope, follow},
    },
    lineage::Lineage,
    runs,
    schedule::{poller::Poller, queue::Queue},
    source::{
        compare::CompareValues, needs_sync::NeedsSyncClient, read::ValueReader, sync_poll::SyncPollClient,
        train_poll::TrainPollClient,
    },
    telemetry::{
        health::Pages,
        metrics::{Metrics, Snapshot},
    },
};

/// Passes over one kind that run at once. One pass holds at most one connection to the API server.
const WORKERS: usize = 32;

/// The parts of one kind.
struct KindRuntime<C: Reconcile, K> {
    objects: Arc<Objects<K>>,
    queue: Queue,
    poller: C::Poller,
    controller: Arc<C>,
}

impl<C: Reconcile<Poller: Clone>, K: Kind> KindRuntime<C, K> {
    fn wake(&self) -> Arc<dyn Fn(&str) + Send + Sync> {
        let queue = self.queue.clone();
        Arc::new(move |uid| queue.wake(uid))
    }

    fn wake_all(&self) -> Arc<dyn Fn() + Send + Sync> {
        let (queue, objects) = (self.queue.clone(), self.objects.clone());
        Arc::new(move || objects.uids().iter().for_each(|uid| queue.wake(uid)))
    }

    fn wake_named(&self) -> impl Fn(&str, &str) + Send + Sync + use<C, K> {
        let (queue, objects) = (self.queue.clone(), self.objects.clone());
        move |namespace, name| {
            if let Some(uid) = objects.uid_of(namespace, name) {
                queue.wake(&uid);
            }
        }
    }

    /// A changed run concerns its object, and the present object of its object's name.
    fn wake_owner(&self) -> impl Fn(&RunRecord) + Send + Sync + use<C, K> {
        let (queue, objects) = (self.queue.clone(), self.objects.clone());
        move |run| {
            queue.wake(&run.owner_uid);
            if let Some(uid) = objects.uid_of(&run.namespace, &run.owner_name).filter(|uid| **uid != *run.owner_uid) {
                queue.wake(&uid);
            }
        }
    }

    fn start(&self, stop: &CancellationToken, tasks: &TaskTracker) {
        tasks.spawn(until(stop.clone(), {
            let queue = self.queue.clone();
            async move { queue.run_timers().await }
        }));
        for _ in 0..WORKERS {
            tasks.spawn(work(self.controller.clone(), self.poller.clone(), self.queue.clone(), stop.clone()));
        }
    }
}

/// The parts that tasks share.
pub(super) struct Components {
    syncs: KindRuntime<ModelSyncController, ModelSync>,
    trains: KindRuntime<ModelTrainController, ModelTrain>,
    runs: Arc<Runs>,
    versions: Arc<ModelVersions>,
    pub(super) fence: FenceState,
    pub(super) leadership: Leadership,
    pub(super) lineage: Lineage,
    metrics: Arc<Metrics>,
}

/// What both kinds of controller are made with.
struct Shared {
    runs: RunEffects,
    versions: Arc<ModelVersions>,
    followers: Arc<Followers>,
    fence: FenceState,
    referenced: Referenced,
    leadership: Leadership,
    lineage: Lineage,
    process: String,
    min_run_age: Duration,
    requests: NeedsSyncClient,
    values: ValueReader,
}

impl Components {
    pub(super) async fn new(
        settings: &Settings,
        config: &Config,
        clients: &Clients,
        clock: &Arc<Clock>,
        (stop, tasks): (&CancellationToken, &TaskTracker),
    ) -> Result<Self, Error> {
        let kinds = Kinds::new(clients.reads.clone(), clock.clone());
        let token = (stop.clone(), tasks.clone());
        let (referenced, changes) =
            Referenced::new(clients.reads.clone(), clock.clone(), kinds.clone(), scopes(settings), token);
        let requests = requester(settings, config, clients, clock).await?;
        let live = LiveObjects::new(clients.reads.clone(), kinds, referenced.clone());
        let process = process_id();
        let metrics = Arc::new(Metrics::default());
        let runs = run_effects(settings, clients, clock, &metrics);
        let shared = Shared {
            versions: Arc::new(ModelVersions::new(clock.clone())),
            followers: Arc::default(),
            fence: FenceState::default(),
            referenced,
            leadership: Leadership::new(clock.clone(), lease_settings(settings, config, &process)),
            lineage: Lineage::start(settings.lineage.clone(), {
                let metrics = metrics.clone();
                move |delivery| metrics.lineage_event(delivery)
            })?,
            process,
            min_run_age: settings.min_run_age,
            requests: NeedsSyncClient::new(requests.clone()),
            values: ValueReader::new(requests, Arc::new(live)),
            runs,
        };
        let objects = Arc::new(Objects::new(clock.clone()));
        let trains = trains(&shared, &objects, clients, clock);
        let syncs = syncs(&shared, objects, &trains, clients, clock);
        let (of_syncs, of_trains) = (syncs.controller.clone(), trains.controller.clone());
        tasks.spawn(until(stop.clone(), forward_source_changes(changes, of_syncs, of_trains)));
        let Shared { runs, versions, fence, leadership, lineage, .. } = shared;
        Ok(Self { syncs, trains, runs: runs.runs, versions, fence, leadership, lineage, metrics })
    }

    /// Begins and ends terms of leadership. A standby keeps its stores warm and asks nothing.
    pub(super) fn follow_leadership(&self) -> impl Future<Output = ()> + use<> {
        let mut changes = self.leadership.changes();
        let (syncs, trains) = (self.syncs.controller.clone(), self.trains.controller.clone());
        let (sync_poller, train_poller) = (self.syncs.poller.clone(), self.trains.poller.clone());
        let (wake_syncs, wake_trains) = (self.syncs.wake_all(), self.trains.wake_all());
        async move {
            while changes.changed().await.is_ok() {
                sync_poller.clear();
                train_poller.clear();
                if *changes.borrow_and_update() {
                    syncs.on_elected();
                    trains.on_elected();
                    wake_syncs();
                    wake_trains();
                }
            }
        }
    }

    /// Starts asking, and passes.
    pub(super) fn start_workers(&self, stop: &CancellationToken, tasks: &TaskTracker) {
        let (syncs, trains) = (self.syncs.poller.clone(), self.trains.poller.clone());
        tasks.spawn(until(stop.clone(), async move { syncs.run().await }));
        tasks.spawn(until(stop.clone(), async move { trains.run().await }));
        self.syncs.start(stop, tasks);
        self.trains.start(stop, tasks);
    }

    /// Starts to follow what decisions look at.
    pub(super) fn start_watches(
        &self,
        settings: &Settings,
        clients: &Clients,
        clock: &Arc<Clock>,
        stop: &CancellationToken,
        tasks: &TaskTracker,
    ) {
        let reads = || (clients.reads.clone(), clock.clone());
        for namespace in scopes(settings) {
            let path = namespace.as_deref();
            // A ModelTrain goes by what its records say of ModelSyncs that may not be listed yet.
            let sink = ObjectSink::new(self.syncs.objects.clone(), namespace.clone(), self.syncs.wake())
                .telling(self.trains.wake_all());
            let scope = Scope::whole(objects::<ModelSync>(path), encode(&settings.selector));
            tasks.spawn(follow(reads().0, reads().1, scope, sink, stop.clone()));
            let sink = ObjectSink::new(self.trains.objects.clone(), namespace.clone(), self.trains.wake());
            let scope = Scope::whole(objects::<ModelTrain>(path), encode(&settings.selector));
            tasks.spawn(follow(reads().0, reads().1, scope, sink, stop.clone()));
            let (wake, wake_all) = (self.trains.wake(), self.trains.wake_all());
            let sink = ModelVersionSink::new(self.versions.clone(), namespace.clone(), wake, wake_all);
            let scope = Scope::whole(model_versions(path), String::new());
            tasks.spawn(follow(reads().0, reads().1, scope, sink, stop.clone()));
            for backend in runs::backends() {
                let (wake, wake_all) = (self.wake_owner(), self.wake_all());
                let sink = RunSink::new(self.runs.clone(), *backend, namespace.clone(), wake, wake_all);
                let scope = Scope::whole(collection(backend.kind(), path), encode(keys::OWNER_UID));
                tasks.spawn(follow(reads().0, reads().1, scope, sink, stop.clone()));
            }
        }
    }

    fn wake_owner(&self) -> Arc<dyn Fn(&RunRecord) + Send + Sync> {
        let (syncs, trains) = (self.syncs.wake_owner(), self.trains.wake_owner());
        Arc::new(move |run| if run.owner_kind == ModelTrain::KIND { trains(run) } else { syncs(run) })
    }

    fn wake_all(&self) -> Arc<dyn Fn() + Send + Sync> {
        let (syncs, trains) = (self.syncs.wake_all(), self.trains.wake_all());
        Arc::new(move || {
            syncs();
            trains();
        })
    }

    pub(super) fn pages(&self, scopes: usize) -> Pages {
        let known = {
            let (syncs, trains, versions) =
                (self.syncs.objects.clone(), self.trains.objects.clone(), self.versions.clone());
            move || syncs.is_known(scopes) && trains.is_known(scopes) && versions.is_known(scopes)
        };
        let (runs, ages) = (self.runs.clone(), self.watch_ages());
        let not_ready = move || {
            if !known() {
                return Some(
                    "ModelSyncs, ModelTrains and ModelVersions are not listed yet; are the CRDs installed?".to_owned(),
                );
            }
            if !runs.is_known() {
                return Some("runs are not listed yet; may the operator list them?".to_owned());
            }
            let silent = ages().into_iter().find(|(_, age)| *age > YOUNG);
            silent.map(|(kind, age)| format!("the watch of {kind}s has been silent for {} s", age.as_secs()))
        };
        let (syncs, trains, versions) =
            (self.syncs.objects.clone(), self.trains.objects.clone(), self.versions.clone());
        let queues = [self.syncs.queue.clone(), self.trains.queue.clone()];
        let (sync_poller, train_poller) = (self.syncs.poller.clone(), self.trains.poller.clone());
        let (controller, leadership, ages) =
            (self.syncs.controller.clone(), self.leadership.clone(), self.watch_ages());
        let snapshot = move || {
            let (last_response_age, oldest_demand_age) = controller.ages();
            Snapshot {
                undecodable: syncs.undecodable() + trains.undecodable() + versions.undecodable(),
                queue_depth: queues.iter().map(Queue::depth).sum(),
                polls_in_flight: sync_poller.in_flight() + train_poller.in_flight(),
                leads: leadership.leads(),
                last_response_age,
                oldest_demand_age,
                watch_ages: ages(),
            }
        };
        Pages { not_ready: Arc::new(not_ready), snapshot: Arc::new(snapshot), metrics: self.metrics.clone() }
    }

    /// Time since each watch was heard.
    fn watch_ages(&self) -> impl Fn() -> Vec<(&'static str, Duration)> + Send + Sync + use<> {
        let (syncs, trains) = (self.syncs.objects.clone(), self.trains.objects.clone());
        let (versions, runs) = (self.versions.clone(), self.runs.clone());
        move || {
            let mut ages = runs.watch_ages();
            ages.extend(syncs.watch_age().map(|age| (ModelSync::KIND, age)));
            ages.extend(trains.watch_age().map(|age| (ModelTrain::KIND, age)));
            ages.extend(versions.watch_age().map(|age| ("ModelVersion", age)));
            ages
        }
    }
}

fn run_effects(settings: &Settings, clients: &Clients, clock: &Arc<Clock>, metrics: &Arc<Metrics>) -> RunEffects {
    let kinds = runs::backends()
        .iter()
        .flat_map(|backend| scopes(settings).into_iter().map(|namespace| (backend.kind(), namespace)));
    RunEffects {
        clock: clock.clone(),
        runs: Arc::new(Runs::new(clock.clone(), kinds.collect::<Vec<_>>())),
        backends: runs::backends(),
        api: ApiServer::new(clients.clone()),
        events: Events::start(clients.writes.clone(), clock.clone(), std::env::var("HOSTNAME").ok(), {
            let metrics = metrics.clone();
            move |delivery| metrics.event(delivery)
        }),
        metrics: metrics.clone(),
    }
}

fn syncs(
    shared: &Shared,
    objects: Arc<Objects<ModelSync>>,
    trains: &KindRuntime<ModelTrainController, ModelTrain>,
    clients: &Clients,
    clock: &Arc<Clock>,
) -> KindRuntime<ModelSyncController, ModelSync> {
    let queue = Queue::new(clock.clone());
    let controller = Arc::new(ModelSyncController::new(Context {
        runs: shared.runs.clone(),
        objects: objects.clone(),
        legacy_run: LegacyRuns::new(clients.reads.clone(), clock.clone()),
        fence: shared.fence.clone(),
        referenced: shared.referenced.clone(),
        followers: shared.followers.clone(),
        wake_train: Arc::new(trains.wake_named()),
        queue: queue.clone(),
        leadership: shared.leadership.clone(),
        process: shared.process.clone(),
        min_run_age: shared.min_run_age,
    }));
    let client = Arc::new(SyncPollClient {
        needs_sync: shared.requests.clone(),
        compare: CompareValues::new(shared.values.clone()),
    });
    let (on_result, build_poll) = (controller.clone(), controller.clone());
    let poller = Poller::new(
        clock.clone(),
        Arc::new(move |request: &PollRequest| build_poll.build_poll(request)),
        client,
        Arc::new(move |uid: &str, polled| on_result.record_poll_result(uid, polled)),
    );
    KindRuntime { objects, queue, poller, controller }
}

fn trains(
    shared: &Shared,
    model_syncs: &Arc<Objects<ModelSync>>,
    clients: &Clients,
    clock: &Arc<Clock>,
) -> KindRuntime<ModelTrainController, ModelTrain> {
    let (objects, queue) = (Arc::new(Objects::new(clock.clone())), Queue::new(clock.clone()));
    let controller = Arc::new(ModelTrainController::new(TrainContext {
        runs: shared.runs.clone(),
        objects: objects.clone(),
        versions: shared.versions.clone(),
        records: Versions::new(clients.clone()),
        model_syncs: model_syncs.clone(),
        followers: shared.followers.clone(),
        reads: clients.reads.clone(),
        fence: shared.fence.clone(),
        referenced: shared.referenced.clone(),
        queue: queue.clone(),
        lineage: shared.lineage.clone(),
        leadership: shared.leadership.clone(),
        process: shared.process.clone(),
        min_run_age: shared.min_run_age,
    }));
    let client = Arc::new(TrainPollClient { needs_sync: shared.requests.clone(), values: shared.values.clone() });
    let (on_result, build_poll) = (controller.clone(), controller.clone());
    let poller = TrainPoller::new(
        clock.clone(),
        Arc::new(move |request: &PollRequest| build_poll.build_poll(request)),
        client,
        Arc::new(move |uid: &str, polled| on_result.record_poll_result(uid, polled)),
    );
    KindRuntime { objects, queue, poller, controller }
}

/// A changed object concerns those who read their values from it.
async fn forward_source_changes(
    mut changes: UnboundedReceiver<String>,
    syncs: Arc<ModelSyncController>,
    trains: Arc<ModelTrainController>,
) {
    while let Some(uid) = changes.recv().await {
        syncs.source_changed(&uid);
        trains.source_changed(&uid);
    }
}
