//! The health and metrics pages: what they read from the components.

use std::sync::Arc;

use super::components::Components;
use crate::{
    kube_io::store::{MAX_AGE, StoreView},
    schedule::queue::Queue,
    telemetry::{health::Pages, metrics::GaugeValues},
};

/// The health and metrics pages, with the values at the moment of the request.
pub(super) fn health_pages(components: &Components, scopes: usize) -> Pages {
    let stores = components.store_view(scopes);
    let not_ready = {
        let stores = stores.clone();
        move || not_ready(&stores)
    };
    let queues = [components.syncs.queue.clone(), components.trains.queue.clone()];
    let (sync_poller, train_poller) = (components.syncs.poller.clone(), components.trains.poller.clone());
    let (controller, leadership) = (components.syncs.controller.clone(), components.leadership.clone());
    let lease = components.lease.clone();
    let snapshot = move || {
        let (last_response_age, oldest_demand_age) = controller.ages();
        GaugeValues {
            objects: stores.counts().to_vec(),
            undecodable: stores.undecodable(),
            queue_depth: queues.iter().map(Queue::depth).sum(),
            polls_in_flight: sync_poller.in_flight() + train_poller.in_flight(),
            leads: leadership.leads(),
            lease: lease.clone(),
            last_response_age,
            oldest_demand_age,
            watch_ages: stores.watch_ages(),
        }
    };
    Pages { not_ready: Arc::new(not_ready), snapshot: Arc::new(snapshot), metrics: components.metrics.clone() }
}

/// What is missing before the operator is ready.
fn not_ready(stores: &StoreView) -> Option<String> {
    if !stores.objects_are_known() {
        return Some(
            "ModelSyncs, ModelTrains and ModelVersions are not listed yet; are the CRDs installed?".to_owned(),
        );
    }
    if !stores.runs_are_known() {
        return Some("runs are not listed yet; may the operator list them?".to_owned());
    }
    let silent = stores.watch_ages().into_iter().find(|(_, age)| *age > MAX_AGE);
    silent.map(|(kind, age)| format!("the watch of {kind}s has been silent for {} s", age.as_secs()))
}
