//! The watches, and which objects each of them wakes.

use std::sync::Arc;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    components::Components,
    settings::{Settings, encode, scopes},
};
use crate::{
    api::{Kind, ModelSync, ModelTrain, keys},
    clock::Clock,
    controller::{Controller, ModelSyncs, ModelTrains},
    core::run::backend::RunRecord,
    kube_io::{
        apply::{collection, objects},
        client::Clients,
        sieve::Shape,
        store::{ModelVersionSink, ObjectSink, RunSink},
        versions::model_versions,
        watch::{Scope, follow},
    },
    runs,
};

/// Starts a watch of every kind that decisions depend on, in every scope.
pub(super) fn start_watches(
    components: &Components,
    settings: &Settings,
    clients: &Clients,
    clock: &Arc<Clock>,
    stop: &CancellationToken,
    tasks: &TaskTracker,
) {
    let reads = || (clients.reads.clone(), clock.clone());
    for namespace in scopes(settings) {
        let path = namespace.as_deref();
        // Until ModelSyncs are listed, a ModelTrain relies on what its records say about them. It is woken once they
        // are.
        let sink = ObjectSink::new(components.syncs.objects.clone(), namespace.clone(), components.syncs.wake())
            .on_known(components.trains.wake_all());
        let scope = Scope::new(objects::<ModelSync>(path), encode(&settings.selector), Shape::Object);
        tasks.spawn(follow(reads().0, reads().1, scope, sink, stop.clone()));
        let sink = ObjectSink::new(components.trains.objects.clone(), namespace.clone(), components.trains.wake());
        let scope = Scope::new(objects::<ModelTrain>(path), encode(&settings.selector), Shape::Object);
        tasks.spawn(follow(reads().0, reads().1, scope, sink, stop.clone()));
        let (wake, wake_all) = (components.trains.wake(), components.trains.wake_all());
        let sink = ModelVersionSink::new(components.versions.clone(), namespace.clone(), wake, wake_all);
        let scope = Scope::new(model_versions(path), String::new(), Shape::Object);
        tasks.spawn(follow(reads().0, reads().1, scope, sink, stop.clone()));
        for backend in runs::backends() {
            let (wake, wake_all) = (wake_owner(components), wake_everything(components));
            let sink = RunSink::new(&components.runs, *backend, namespace.clone(), wake, wake_all);
            let scope = Scope::new(collection(backend.kind(), path), encode(keys::OWNER_UID), Shape::Run);
            tasks.spawn(follow(reads().0, reads().1, scope, sink, stop.clone()));
        }
    }
}

fn wake_owner(components: &Components) -> Arc<dyn Fn(&RunRecord) + Send + Sync> {
    let (syncs, trains) = (components.syncs.wake_owner(), components.trains.wake_owner());
    Arc::new(move |run| if run.owner_kind == ModelTrain::KIND { trains(run) } else { syncs(run) })
}

fn wake_everything(components: &Components) -> Arc<dyn Fn() + Send + Sync> {
    let (syncs, trains) = (components.syncs.wake_all(), components.trains.wake_all());
    Arc::new(move || {
        syncs();
        trains();
    })
}

/// Polls the objects that read their values from an object that has changed.
pub(super) async fn forward_source_changes(
    mut changes: UnboundedReceiver<String>,
    syncs: Arc<Controller<ModelSyncs>>,
    trains: Arc<Controller<ModelTrains>>,
) {
    while let Some(uid) = changes.recv().await {
        syncs.poll_now(&uid);
        trains.poll_now(&uid);
    }
}
