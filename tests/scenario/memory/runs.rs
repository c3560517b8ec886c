//! Large Jobs that carry the operator's label.

use modelsync::api::{ConditionStatus::True, ConditionType::InSync, keys};
use serde_json::json;

use super::{above_idle, assert_small, create, memory_scenario, noise};
use crate::harness::{Reply, World, process::Process};

/// Creates eight suspended Jobs of 1.4 MB with the operator's label.
pub(super) async fn large_jobs(world: &World) {
    let text = noise(1_400_000);
    for number in 0..8 {
        let container = json!({ "name": "c", "image": "local.test/x:1", "env": [{ "name": "A", "value": text }] });
        let spec = json!({
            "suspend": true,
            "template": { "spec": { "restartPolicy": "Never", "containers": [container] } },
        });
        let metadata = json!({
            "labels": { keys::OWNER_UID: "0b7c0f5e-3f0a-4a53-9d2c-94f2d3a7b0c1" },
            "annotations": { keys::NOT_AFTER: "2099-01-01T00:00:00Z" },
        });
        create(world, "batch/v1", "Job", &format!("job{number}"), json!({ "metadata": metadata, "spec": spec })).await;
    }
}

/// Waits until the operator has seen the end of a run that ended after the Jobs were created.
async fn until_seen(world: &World, _: &Process) {
    world.endpoint.says("a", Reply::NotNeeded);
    world.trigger("a", &format!("{:?}", world.clock.mono())).await;
    world.until("a", InSync, True, "UpToDate").await;
}

#[tokio::test]
async fn large_jobs_with_the_operators_label_take_little_memory() {
    memory_scenario("memory_jobs", async |world| {
        world.endpoint.says("a", Reply::Needed(Vec::new()));
        let container = json!({ "name": "train", "image": "local.test/busybox:1", "command": ["true"] });
        let spec = json!({
            "needsSyncUrl": world.endpoint.url("a"),
            "interval": "5s",
            "jobTemplate": { "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [container] } } } },
        });
        world.apply("a", spec).await;
        let attack = async |world: &World| {
            let job = world.run("a", 1).await;
            large_jobs(world).await;
            world.endpoint.says("a", Reply::NotNeeded);
            // The watch of Jobs shows this end after the large Jobs.
            world.end_job(&job, true).await;
            world.until_recorded("a", 1).await;
        };
        assert_small(above_idle(world, attack, until_seen).await);
    })
    .await;
}
