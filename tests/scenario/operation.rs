//! Metrics and health pages of an operator, and two operators that share a namespace by labels.

use modelsync::api::{
    ConditionStatus::{False, True},
    ConditionType::InSync,
    keys,
};
use serde_json::json;

use crate::harness::{Reply, World, cluster::api, scenario};
use kube::api::{Patch, PatchParams};

/// The value of a metric on the operator's page; `series` includes the labels.
async fn metric(world: &World, series: &str) -> Option<f64> {
    let page = world.page("/metrics").await;
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

async fn until_metric(world: &World, series: &str, wanted: impl Fn(f64) -> bool) {
    world.wait(series, async || metric(world, series).await.filter(|value| wanted(*value))).await;
}

#[tokio::test]
async fn metrics_follow_a_demand_from_poll_to_run() {
    scenario("metrics", async |world| {
        until_metric(world, "modelsync_leader{lease=\"\"}", |leader| leader > 0.0).await;
        assert_eq!(metric(world, "modelsync_last_response_age_seconds").await, Some(-1.0));
        world.endpoint.says("a", Reply::model("m1"));
        world.apply("a", world.patient_spec("a")).await;
        let run = world.run("a", 1).await;
        until_metric(world, "modelsync_runs_started_total{kind=\"PipelineRun\"}", |count| (1.0..2.0).contains(&count))
            .await;
        until_metric(world, "modelsync_oldest_demand_age_seconds", |age| age <= 0.0).await;
        world.end_run(&run, "Failed").await;
        world.until("a", InSync, False, "BackingOff").await;
        world.clock.advance(std::time::Duration::from_secs(50));
        until_metric(world, "modelsync_runs_ended_total{outcome=\"Failed\"}", |count| (1.0..2.0).contains(&count))
            .await;
        // One event each: the run was created, and it failed.
        until_metric(world, "modelsync_events_total{result=\"sent\"}", |count| (2.0..3.0).contains(&count)).await;
        until_metric(world, "modelsync_oldest_demand_age_seconds", |age| age >= 50.0).await;
        until_metric(world, "modelsync_polls_total{outcome=\"needed\"}", |count| count >= 2.0).await;
        until_metric(world, "modelsync_last_response_age_seconds", |age| (0.0..60.0).contains(&age)).await;
        until_metric(world, "modelsync_watch_age_seconds{kind=\"ModelSync\"}", |age| age < 60.0).await;
        world.endpoint.says("a", Reply::NotNeeded);
        world.clock.advance(std::time::Duration::from_secs(10));
        world.until("a", InSync, True, "UpToDate").await;
        until_metric(world, "modelsync_oldest_demand_age_seconds", |age| age <= 0.0).await;
        let page = world.page("/metrics").await;
        assert!(!page.contains(&world.namespace), "an object is named: {page}");
        assert_eq!(world.page("/readyz").await, "ok\n");
        assert_eq!(world.page("/healthz").await, "ok\n");
    })
    .await;
}

#[tokio::test]
async fn two_copies_share_a_namespace_by_labels_and_hand_objects_over() {
    scenario("two_copies", async |world| {
        world.stop_operator().await;
        world.select("tier!=canary");
        world.start_operator().await;
        let canary = world.another_operator_that_selects("tier=canary").await;
        world.model_sync_with_reply("stable", Reply::model("m1")).await;
        world.endpoint.says("canary", Reply::model("m1"));
        let object = json!({
            "apiVersion": keys::API_VERSION, "kind": "ModelSync",
            "metadata": { "name": "canary", "labels": { "tier": "canary" } },
            "spec": world.spec("canary"),
        });
        let objects = api(&world.client, keys::API_VERSION, "ModelSync", Some(&world.namespace));
        objects.patch("canary", &PatchParams::apply("scenario"), &Patch::Apply(&object)).await.unwrap();
        world.run("stable", 1).await;
        let run = world.run("canary", 1).await;
        until_metric(world, "modelsync_runs_started_total{kind=\"PipelineRun\"}", |count| (1.0..2.0).contains(&count))
            .await;
        // The object changes to the other operator while its run is active.
        let patch = json!({ "metadata": { "labels": { "tier": "stable" } } });
        objects.patch("canary", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        canary.stop().await;
        world.endpoint.says("canary", Reply::NotNeeded);
        world.end_run(&run, "Succeeded").await;
        world.until("canary", InSync, True, "UpToDate").await;
        assert_eq!((world.runs("canary").await.len(), world.runs("stable").await.len()), (1, 1));
    })
    .await;
}
