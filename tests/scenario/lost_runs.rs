//! Runs that disappear, cannot be created, or belong to another owner.

use std::time::Duration;

use kube::{
    ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use modelsync::{
    api::{
        ConditionStatus::{False, True, Unknown},
        ConditionType::{InSync, Ready, Stalled},
        Outcome, keys,
    },
    core::run::name::run_name,
};
use serde_json::{Value, json};

use crate::harness::{Reply, World, cluster::api, scenario, world::UNTIL_CERTAIN};

#[tokio::test]
async fn active_run_deleted_manually_is_recorded_as_gone_and_replaced() {
    scenario("deleted_mid_run", async |world| {
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let run = world.run("a", 1).await;
        world.pipeline_runs().delete(&run.name_any(), &DeleteParams::default()).await.unwrap();
        world.until("a", InSync, Unknown, "RunUnconfirmed").await;
        assert_eq!(world.runs("a").await.len(), 0, "a create may still be in flight: nothing is started yet");
        world.clock.advance(UNTIL_CERTAIN);
        let second = world.run("a", 2).await;
        let last = world.status("a").await.last_run.unwrap();
        assert_eq!((last.attempt, last.outcome, last.uid), (1, Outcome::Gone, run.uid()));
        assert_ne!(second.name_any(), run.name_any());
    })
    .await;
}

#[tokio::test]
async fn run_being_deleted_is_active_until_it_disappears() {
    scenario("finalizer", async |world| {
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let run = world.run("a", 1).await;
        let finalizers = |names: Value| Patch::Merge(json!({ "metadata": { "finalizers": names } }));
        let (runs, name) = (world.pipeline_runs(), run.name_any());
        runs.patch(&name, &PatchParams::default(), &finalizers(json!(["example.com/archive"]))).await.unwrap();
        runs.delete(&name, &DeleteParams::default()).await.unwrap();
        world.clock.advance(UNTIL_CERTAIN);
        world.trigger("a", "now").await;
        world.until("a", InSync, False, "RunActive").await;
        assert_eq!(world.runs("a").await.len(), 1);
        runs.patch(&name, &PatchParams::default(), &finalizers(Value::Null)).await.unwrap();
        world.run("a", 2).await;
    })
    .await;
}

#[tokio::test]
async fn finished_run_deleted_manually_changes_nothing() {
    scenario("deleted_after", async |world| {
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let run = world.run("a", 1).await;
        world.endpoint.says("a", Reply::NotNeeded);
        world.end_run(&run, "Succeeded").await;
        world.until("a", InSync, True, "UpToDate").await;
        world.pipeline_runs().delete(&run.name_any(), &DeleteParams::default()).await.unwrap();
        world.settle("a").await;
        let status = world.status("a").await;
        assert_eq!((status.attempt, status.last_run.unwrap().outcome), (1, Outcome::Succeeded));
    })
    .await;
}

/// The crash windows between the reservation and the create, and between the create and its reply: both leave the
/// reservation of a dead process.
#[tokio::test]
async fn reservation_of_a_dead_process_ends_only_when_its_run_cannot_be_created_any_more() {
    scenario("dead_process", async |world| {
        world.stop_operator().await;
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let name = reserve_manually(world, "a", "a-dead-process-0").await;
        world.start_operator().await;
        world.until("a", InSync, Unknown, "RunUnconfirmed").await;
        world.clock.advance(Duration::from_secs(20));
        let before = world.reconciles().await;
        world.trigger("a", "now").await;
        world.wait("a reconcile", async || (world.reconciles().await > before).then_some(())).await;
        assert!(world.runs("a").await.is_empty(), "not even a trigger shortens the wait");
        world.clock.advance(UNTIL_CERTAIN);
        world.run("a", 2).await;
        let last = world.status("a").await.last_run.unwrap();
        assert_eq!((last.attempt, last.outcome, last.name, last.uid), (1, Outcome::Gone, name, None));
    })
    .await;
}

#[tokio::test]
async fn run_that_a_dead_process_created_is_adopted() {
    scenario("adopted", async |world| {
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let run = world.run("a", 1).await;
        world.until("a", InSync, False, "RunActive").await;
        world.stop_operator().await;
        // As if the process had died before it received the reply.
        let patch = json!({ "status": { "reservation": { "nonce": "a-dead-process-0" } } });
        world.model_syncs().patch_status("a", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        world.start_operator().await;
        world.endpoint.says("a", Reply::NotNeeded);
        world.end_run(&run, "Succeeded").await;
        assert_eq!(world.until_recorded("a", 1).await.uid, run.uid());
        assert_eq!(world.runs("a").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn foreign_run_under_our_name_stalls_and_is_left_alone() {
    scenario("foreign", async |world| {
        world.stop_operator().await;
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let name = run_name("a", &world.model_syncs().get("a").await.unwrap().uid().unwrap(), 1);
        let foreign: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": { "name": name }, "spec": { "pipelineRef": { "name": "theirs" } },
        }))
        .unwrap();
        let foreign = world.pipeline_runs().create(&PostParams::default(), &foreign).await.unwrap();
        world.start_operator().await;
        let status = world.until("a", Stalled, True, "NameConflict").await;
        let message = &status.conditions.iter().find(|condition| condition.type_ == Stalled).unwrap().message;
        assert!(message.contains(&name), "{message}");
        let left = world.pipeline_runs().get(&name).await.unwrap();
        assert_eq!((left.uid(), left.resource_version()), (foreign.uid(), foreign.resource_version()));
        world.pipeline_runs().delete(&name, &DeleteParams::default()).await.unwrap();
        world.trigger("a", "try again").await;
        assert_eq!(world.run("a", 1).await.name_any(), name, "no attempt was lost");
    })
    .await;
}

#[tokio::test]
async fn refused_run_stalls_until_the_spec_changes() {
    scenario("refused", async |world| {
        world.endpoint.says("a", Reply::model("m1"));
        let mut spec = world.spec("a");
        spec["pipelineRunTemplate"]["spec"]["pipelineReef"] = json!({ "name": "typo" });
        world.apply("a", spec).await;
        let status = world.until("a", Stalled, True, "RunRefused").await;
        let message = &status.conditions.iter().find(|condition| condition.type_ == Ready).unwrap().message;
        assert!(message.contains("pipelineReef"), "the API server's message names the field: {message}");
        world.clock.advance(Duration::from_mins(30));
        world.patch_spec("a", json!({ "pipelineRunTemplate": { "spec": { "pipelineReef": null } } })).await;
        world.run("a", 1).await;
        let status = world.until("a", InSync, False, "RunActive").await;
        assert!(!status.conditions.iter().any(|condition| condition.type_ == Stalled));
        assert_eq!(status.attempt, 1, "no attempt was lost");
    })
    .await;
}

#[tokio::test]
async fn quota_hinders_without_spending_attempts_and_is_noticed_when_it_lifts() {
    scenario("quota", async |world| {
        let quotas = api(&world.client, "v1", "ResourceQuota", Some(&world.namespace));
        let quota: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "q" }, "spec": { "hard": { "count/pipelineruns.tekton.dev": "0" } },
        }))
        .unwrap();
        quotas.create(&PostParams::default(), &quota).await.unwrap();
        world.wait("the quota is counted", async || quotas.get("q").await.unwrap().data["status"]["hard"].is_object().then_some(())).await;
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        world.until("a", Ready, False, "QuotaExceeded").await;
        world.clock.advance(Duration::from_secs(61));
        world.until_status("a", "a second refusal", |status| status.reservation.as_ref().is_some_and(|open| open.create_failures > 0)).await;
        assert_eq!(world.status("a").await.attempt, 1);
        quotas.delete("q", &DeleteParams::default()).await.unwrap();
        world.wait("the run", async || {
            world.clock.advance(Duration::from_secs(10));
            world.runs("a").await.pop()
        })
        .await;
        let status = world.until("a", InSync, False, "RunActive").await;
        assert_eq!(status.attempt, 1);
    })
    .await;
}

/// Writes the reservation of attempt 1 as another process would have written it. Returns the name of its run.
async fn reserve_manually(world: &World, name: &str, nonce: &str) -> String {
    let object = world.model_syncs().get(name).await.unwrap();
    let run_name = run_name(name, &object.uid().unwrap(), 1);
    let now = modelsync::core::time::whole_seconds(world.clock.now().wall);
    let not_after = modelsync::core::time::after(now, Duration::from_secs(30)).to_string();
    let status = json!({
        "observedGeneration": object.metadata.generation,
        "attempt": 1,
        "reservation": {
            "attempt": 1, "nonce": nonce, "generation": object.metadata.generation, "target": "v1:sha256:0", "notAfter": not_after,
            "slots": [{ "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "runName": run_name }],
        },
        "active": [{ "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "namespace": world.namespace, "name": run_name }],
        "target": { "digest": "v1:sha256:0", "since": now.to_string() },
    });
    world
        .model_syncs()
        .patch_status(name, &PatchParams::default(), &Patch::Merge(json!({ "status": status })))
        .await
        .unwrap();
    run_name
}

#[tokio::test]
async fn fence_refuses_a_create_that_comes_after_its_deadline() {
    scenario("fence", async |world| {
        let job = |name: &str, not_after: &str| -> DynamicObject {
            serde_json::from_value(json!({
                "apiVersion": "batch/v1", "kind": "Job",
                "metadata": { "name": name, "labels": { keys::OWNER_UID: "some-uid" }, "annotations": { keys::NOT_AFTER: not_after } },
                "spec": { "suspend": true, "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] } } },
            }))
            .unwrap()
        };
        // A policy takes effect a moment after it is stored.
        world.wait("the fence works", async || {
            let late = world.jobs().create(&PostParams { dry_run: true, ..PostParams::default() }, &job("late", "2026-01-01T00:00:00Z")).await;
            late.is_err_and(|error| error.to_string().contains(keys::FENCE)).then_some(())
        })
        .await;
        world.jobs().create(&PostParams { dry_run: true, ..PostParams::default() }, &job("early", "2099-01-01T00:00:00Z")).await.unwrap();
    })
    .await;
}
