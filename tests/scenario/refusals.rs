//! Creates that the API server certainly refuses for a cause outside the object: a webhook that does not run, a policy. Such
//! a refusal is never a failed run: it spends no attempt, no retry, no budget and no record.

use std::time::Duration;

use kube::api::{DeleteParams, DynamicObject, PostParams};
use modelsync::api::{
    ConditionStatus::False,
    ConditionType::{InSync, Ready},
};
use serde_json::{Value, json};

use crate::harness::{
    Reply, World,
    cluster::{self, api},
    scenario,
};

const ADMISSION: &str = "admissionregistration.k8s.io/v1";

/// Applies an admission object that covers creates of PipelineRuns in the world's namespace, and waits until it refuses them.
async fn refuse_creates(world: &World, objects: &[Value], words: &str) {
    for object in objects {
        cluster::apply(&world.client, object).await;
    }
    let probe: DynamicObject = serde_json::from_value(json!({
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": { "name": "probe" },
        "spec": { "pipelineRef": { "name": "p" } },
    }))
    .unwrap();
    let dry = PostParams { dry_run: true, ..PostParams::default() };
    world
        .wait("creates are refused", async || {
            let refused = world.pipeline_runs().create(&dry, &probe).await.err()?;
            refused.to_string().contains(words).then_some(())
        })
        .await;
}

async fn delete(world: &World, objects: &[Value]) {
    for object in objects {
        let kind = object["kind"].as_str().unwrap();
        let name = object["metadata"]["name"].as_str().unwrap();
        api(&world.client, ADMISSION, kind, None).delete(name, &DeleteParams::default()).await.unwrap();
    }
}

fn here(world: &World) -> Value {
    json!({ "matchLabels": { "kubernetes.io/metadata.name": world.namespace } })
}

/// Covers creates of PipelineRuns.
fn run_creates() -> Value {
    json!({ "apiGroups": ["tekton.dev"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["pipelineruns"] })
}

/// A webhook for creates of PipelineRuns whose server does not run, as Tekton's when it is scaled to 0.
fn unreachable_webhook(world: &World) -> Value {
    json!({
        "apiVersion": ADMISSION, "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": format!("unreachable-{}", world.namespace) },
        "webhooks": [{
            "name": "webhook.example.com", "clientConfig": { "url": "https://127.0.0.1:1/" }, "rules": [run_creates()],
            "namespaceSelector": here(world), "failurePolicy": "Fail", "sideEffects": "None", "timeoutSeconds": 2,
            "admissionReviewVersions": ["v1"],
        }],
    })
}

/// How often the create of a run was refused, and whether the last refusal is stored.
struct Refused {
    times: i64,
    stored: bool,
}

/// The refusal of the open attempt of ModelSync `a`.
async fn open_sync(world: &World) -> Option<Refused> {
    let open = world.status("a").await.reservation?;
    Some(Refused { times: open.create_failures, stored: open.refusal.is_some() })
}

/// The refusal of the open attempt of ModelTrain `t`.
async fn open_slot(world: &World) -> Option<Refused> {
    let slot = world.train_status("t").await.reservation?.slots.pop()?;
    Some(Refused { times: slot.create_failures, stored: slot.refusal.is_some() })
}

/// Lets the operator try three times more, each time until it has stored the refusal. Until the clock is set forward again,
/// no other try is due.
async fn refused_thrice(world: &World, open: &impl AsyncFn(&World) -> Option<Refused>) {
    let stored = async |more_than: i64| {
        let refused = async || open(world).await.filter(|refused| refused.stored && refused.times > more_than);
        world.wait("the refusal is stored", refused).await.times
    };
    let mut times = stored(-1).await;
    for _ in 0..3 {
        world.clock.advance(Duration::from_secs(61));
        times = stored(times).await;
    }
}

/// Waits for a run, with the clock set forward until the next try is due.
async fn run_once_allowed(world: &World, runs: &impl AsyncFn() -> Vec<DynamicObject>) -> DynamicObject {
    let tried = async || {
        world.clock.advance(Duration::from_secs(10));
        runs().await.pop()
    };
    world.wait("the run", tried).await
}

#[tokio::test]
async fn webhook_that_cannot_be_called_delays_a_sync_and_spends_nothing() {
    scenario("webhook_down", async |world| {
        let webhook = [unreachable_webhook(world)];
        refuse_creates(world, &webhook, "failed calling webhook").await;
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let status = world.until("a", Ready, False, "ApiUnavailable").await;
        assert!(status.conditions[0].message.contains("webhook.example.com"), "{status:?}");
        // Far beyond the deadline of the create: an attempt whose create is unknown would be given up here.
        refused_thrice(world, &open_sync).await;
        let status = world.until("a", Ready, False, "ApiUnavailable").await;
        assert_eq!((status.attempt, &status.last_run), (1, &None));
        // Another process knows from the reservation that nothing was created.
        world.stop_operator().await;
        world.start_operator().await;
        refused_thrice(world, &open_sync).await;
        let status = world.until("a", Ready, False, "ApiUnavailable").await;
        assert_eq!((status.attempt, &status.last_run), (1, &None), "the restart made no lost run of it");
        delete(world, &webhook).await;
        run_once_allowed(world, &async || world.runs("a").await).await;
        let status = world.until("a", InSync, False, "RunActive").await;
        assert_eq!((status.attempt, status.target.map(|target| target.failures)), (1, Some(0)), "nothing was counted");
    })
    .await;
}

#[tokio::test]
async fn webhook_that_cannot_be_called_delays_a_training_and_spends_nothing() {
    scenario("webhook_down_train", async |world| {
        let webhook = [unreachable_webhook(world)];
        refuse_creates(world, &webhook, "failed calling webhook").await;
        let mut spec = world.train_spec();
        spec["budget"] = json!({ "runs": 2, "window": "24h" });
        world.apply_train("t", spec).await;
        world.trigger_train("t", "one").await;
        let status = world.until_train("t", Ready, False, "ApiUnavailable").await;
        assert_eq!(status.attempt, 1);
        refused_thrice(world, &open_slot).await;
        let status = world.until_train("t", Ready, False, "ApiUnavailable").await;
        assert_eq!((status.attempt, &status.last_attempt), (1, &None));
        world.stop_operator().await;
        world.start_operator().await;
        refused_thrice(world, &open_slot).await;
        let status = world.until_train("t", Ready, False, "ApiUnavailable").await;
        assert_eq!((status.attempt, &status.last_attempt), (1, &None), "the restart made no lost run of it");
        assert!(world.versions("t").await.is_empty(), "a run that never existed has no record");
        delete(world, &webhook).await;
        let run = run_once_allowed(world, &async || world.train_runs("t", 1).await).await;
        world.end_with(&run, "Succeeded", &[]).await;
        let status = world.until_trained("t", 1).await;
        let started = status.budget.map(|budget| budget.started_at.len());
        assert_eq!(started, Some(1), "the run that was refused counts once: when it was started");
    })
    .await;
}

/// A policy that denies creates of PipelineRuns. Without a `reason` the API server replies with status 422.
fn denying_policy(world: &World, message: &str, reason: Option<&str>) -> [Value; 2] {
    let name = format!("deny-{}", world.namespace);
    let mut validation = json!({ "expression": "false", "message": message });
    if let Some(reason) = reason {
        validation["reason"] = json!(reason);
    }
    let policy = json!({
        "apiVersion": ADMISSION, "kind": "ValidatingAdmissionPolicy", "metadata": { "name": name },
        "spec": {
            "failurePolicy": "Fail", "validations": [validation],
            "matchConstraints": { "namespaceSelector": here(world), "resourceRules": [run_creates()] },
        },
    });
    let binding = json!({
        "apiVersion": ADMISSION, "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": name },
        "spec": { "policyName": name, "validationActions": ["Deny"] },
    });
    [policy, binding]
}

/// Asserts that a sync waits while a policy denies its run, says the policy's message, and spends no attempt.
async fn denied_until_the_policy_lifts(world: &World, message: &str, reason: Option<&str>) {
    let policy = denying_policy(world, message, reason);
    refuse_creates(world, &policy, message).await;
    world.model_sync_with_reply("a", Reply::model("m1")).await;
    let status = world.until("a", Ready, False, "Forbidden").await;
    assert!(status.conditions[0].message.contains(message), "{status:?}");
    delete(world, &policy).await;
    run_once_allowed(world, &async || world.runs("a").await).await;
    assert_eq!(world.until("a", InSync, False, "RunActive").await.attempt, 1, "no attempt was spent");
}

#[tokio::test]
async fn policy_that_forbids_runs_hinders_and_is_noticed_when_it_lifts() {
    scenario("policy", async |world| {
        denied_until_the_policy_lifts(world, "no runs on Sundays", Some("Forbidden")).await;
    })
    .await;
}

#[tokio::test]
async fn denial_of_a_policy_is_tried_again_whatever_its_status() {
    scenario("policy_422", async |world| denied_until_the_policy_lifts(world, "images must be signed", None).await)
        .await;
}
