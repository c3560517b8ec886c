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

/// A webhook for creates of PipelineRuns whose server does not run, as Tekton's when it is scaled to 0.
fn unreachable_webhook(world: &World) -> Value {
    let rule = json!({ "apiGroups": ["tekton.dev"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["pipelineruns"] });
    json!({
        "apiVersion": ADMISSION, "kind": "ValidatingWebhookConfiguration",
        "metadata": { "name": format!("unreachable-{}", world.namespace) },
        "webhooks": [{
            "name": "webhook.example.com", "clientConfig": { "url": "https://127.0.0.1:1/" }, "rules": [rule],
            "namespaceSelector": here(world), "failurePolicy": "Fail", "sideEffects": "None", "timeoutSeconds": 2,
            "admissionReviewVersions": ["v1"],
        }],
    })
}

/// Lets the operator try once more, and waits until it has stored the refusal. `open` returns how often the create was refused,
/// and whether the last refusal is stored. Until the clock is set forward again, no other try is due.
async fn refused_again(world: &World, open: &impl AsyncFn() -> Option<(i64, bool)>) {
    let stored = async |more_than: i64| {
        let refused = async || open().await.filter(|(failures, stored)| *stored && *failures > more_than);
        world.wait("the refusal is stored", refused).await.0
    };
    let before = stored(-1).await;
    world.clock.advance(Duration::from_secs(61));
    stored(before).await;
}

#[tokio::test]
async fn webhook_that_cannot_be_called_delays_a_sync_and_spends_nothing() {
    scenario("webhook_down", async |world| {
        let webhook = [unreachable_webhook(world)];
        refuse_creates(world, &webhook, "failed calling webhook").await;
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let status = world.until("a", Ready, False, "ApiUnavailable").await;
        assert!(status.conditions[0].message.contains("webhook.example.com"), "{status:?}");
        let open =
            async || world.status("a").await.reservation.map(|open| (open.create_failures, open.refusal.is_some()));
        // Far beyond the deadline of the create: an attempt whose create is unknown would be given up here.
        for _ in 0..3 {
            refused_again(world, &open).await;
        }
        let status = world.until("a", Ready, False, "ApiUnavailable").await;
        assert_eq!((status.attempt, &status.last_run), (1, &None));
        // Another process knows from the reservation that nothing was created.
        world.stop_operator().await;
        world.start_operator().await;
        let open =
            async || world.status("a").await.reservation.map(|open| (open.create_failures, open.refusal.is_some()));
        for _ in 0..3 {
            refused_again(world, &open).await;
        }
        let status = world.until("a", Ready, False, "ApiUnavailable").await;
        assert_eq!((status.attempt, &status.last_run), (1, &None), "the restart made no lost run of it");
        delete(world, &webhook).await;
        world
            .wait("the run", async || {
                world.clock.advance(Duration::from_secs(10));
                world.runs("a").await.pop()
            })
            .await;
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
        let open = async || {
            let slot = world.train_status("t").await.reservation?.slots.pop()?;
            Some((slot.create_failures, slot.refusal.is_some()))
        };
        for _ in 0..3 {
            refused_again(world, &open).await;
        }
        let status = world.until_train("t", Ready, False, "ApiUnavailable").await;
        assert_eq!((status.attempt, &status.last_attempt), (1, &None));
        world.stop_operator().await;
        world.start_operator().await;
        let open = async || {
            let slot = world.train_status("t").await.reservation?.slots.pop()?;
            Some((slot.create_failures, slot.refusal.is_some()))
        };
        for _ in 0..3 {
            refused_again(world, &open).await;
        }
        let status = world.until_train("t", Ready, False, "ApiUnavailable").await;
        assert_eq!((status.attempt, &status.last_attempt), (1, &None), "the restart made no lost run of it");
        assert!(world.versions("t").await.is_empty(), "a run that never existed has no record");
        delete(world, &webhook).await;
        let run = world
            .wait("the run", async || {
                world.clock.advance(Duration::from_secs(10));
                world.train_runs("t", 1).await.pop()
            })
            .await;
        world.end_with(&run, "Succeeded", &[]).await;
        let status = world.until_trained("t", 1).await;
        let started = status.budget.map(|budget| budget.started_at.len());
        assert_eq!(started, Some(1), "the run that was refused counts once: when it was started");
    })
    .await;
}

#[tokio::test]
async fn denial_of_a_policy_is_tried_again_whatever_its_status() {
    scenario("policy_422", async |world| {
        let name = format!("deny-{}", world.namespace);
        let rule = json!({ "apiGroups": ["tekton.dev"], "apiVersions": ["*"], "operations": ["CREATE"], "resources": ["pipelineruns"] });
        let objects = [
            json!({
                "apiVersion": ADMISSION, "kind": "ValidatingAdmissionPolicy", "metadata": { "name": name },
                "spec": {
                    "failurePolicy": "Fail",
                    "matchConstraints": { "namespaceSelector": here(world), "resourceRules": [rule] },
                    // Without a reason the API server replies with status 422.
                    "validations": [{ "expression": "false", "message": "images must be signed" }],
                },
            }),
            json!({
                "apiVersion": ADMISSION, "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": name },
                "spec": { "policyName": name, "validationActions": ["Deny"] },
            }),
        ];
        refuse_creates(world, &objects, "images must be signed").await;
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let status = world.until("a", Ready, False, "Forbidden").await;
        assert!(status.conditions[0].message.contains("images must be signed"), "{status:?}");
        delete(world, &objects).await;
        world
            .wait("the run", async || {
                world.clock.advance(Duration::from_secs(10));
                world.runs("a").await.pop()
            })
            .await;
        assert_eq!(world.until("a", InSync, False, "RunActive").await.attempt, 1, "no attempt was spent");
    })
    .await;
}
