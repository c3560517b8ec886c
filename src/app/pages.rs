//! The pages of health and metrics: what they read of the components.

use std::{sync::Arc, time::Duration};

use super::components::Components;
use crate::{
    api::{Kind, ModelSync, ModelTrain},
    kube_io::store::YOUNG,
    schedule::queue::Queue,
    telemetry::{health::Pages, metrics::Snapshot},
};

/// Health and metrics, with what is true at the moment of the request.
pub(super) fn pages(components: &Components, scopes: usize) -> Pages {
    let known = {
        let (syncs, trains, versions) =
            (components.syncs.objects.clone(), components.trains.objects.clone(), components.versions.clone());
        move || syncs.is_known(scopes) && trains.is_known(scopes) && versions.is_known(scopes)
    };
    let (runs, ages) = (components.runs.clone(), watch_ages(components));
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
        (components.syncs.objects.clone(), components.trains.objects.clone(), components.versions.clone());
    let queues = [components.syncs.queue.clone(), components.trains.queue.clone()];
    let (sync_poller, train_poller) = (components.syncs.poller.clone(), components.trains.poller.clone());
    let (controller, leadership, ages) =
        (components.syncs.controller.clone(), components.leadership.clone(), watch_ages(components));
    let lease = components.lease.clone();
    let snapshot = move || {
        let (last_response_age, oldest_demand_age) = controller.ages();
        Snapshot {
            undecodable: syncs.undecodable() + trains.undecodable() + versions.undecodable(),
            queue_depth: queues.iter().map(Queue::depth).sum(),
            polls_in_flight: sync_poller.in_flight() + train_poller.in_flight(),
            leads: leadership.leads(),
            lease: lease.clone(),
            last_response_age,
            oldest_demand_age,
            watch_ages: ages(),
        }
    };
    Pages { not_ready: Arc::new(not_ready), snapshot: Arc::new(snapshot), metrics: components.metrics.clone() }
}

/// Time since each watch was heard.
fn watch_ages(components: &Components) -> impl Fn() -> Vec<(&'static str, Duration)> + Send + Sync + use<> {
    let (syncs, trains) = (components.syncs.objects.clone(), components.trains.objects.clone());
    let (versions, runs) = (components.versions.clone(), components.runs.clone());
    move || {
        let mut ages = runs.watch_ages();
        ages.extend(syncs.watch_age().map(|age| (ModelSync::KIND, age)));
        ages.extend(trains.watch_age().map(|age| (ModelTrain::KIND, age)));
        ages.extend(versions.watch_age().map(|age| ("ModelVersion", age)));
        ages
    }
}
