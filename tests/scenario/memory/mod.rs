//! The memory of an operator that runs as a process of its own, under the limit of the shipped Deployment.

mod limit;
mod responses;

use std::time::Duration;

use crate::harness::{World, WorldOptions, cluster::Cluster, world::scenario_with};

/// Runs a scenario that starts the operator itself.
async fn memory_scenario(name: &str, body: impl AsyncFnOnce(&mut World)) {
    let cluster = Cluster::complete().await;
    scenario_with(name, WorldOptions { cluster, operator: false, min_run_age: Duration::ZERO }, body).await;
}
