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

#[tokio::test]
async fn webhook_that_cannot_be_called_delays_a_sync_and_spends_nothing() {
    scenario("webhook_down", async |world| {
        let webhook = [unreachable_webhook(world)];
        refuse_creates(world, &webhook, "failed calling webhook").await;
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let status = world.until("a", Ready, False, "ApiUnavailable").await;
        assert!(status.conditions[0].message.contains("webhook.example.com"), "{status:?}");
        // Far beyond the deadline of the create: an attempt whose create is unknown would be given up here.
        world
            .wait("three refusals", async || {
                world.clock.advance(Duration::from_secs(61));
                let open = world.status("a").await.reservation;
                open.is_none_or(|open| open.create_failures > 2).then_some(())
            })
            .await;
        let status = world.until("a", Ready, False, "ApiUnavailable").await;
        assert_eq!((status.attempt, &status.last_run), (1, &None));
        // Another process knows from the reservation that nothing was created.
        // A reservation that is not answered yet has no refusal: after a crash in that moment the run counts as unknown.
        let refusals = world
            .wait("the refusal is stored", async || {
                let open = world.status("a").await.reservation?;
                open.refusal.is_some().then_some(open.create_failures)
            })
            .await;
        world.stop_operator().await;
        world.start_operator().await;
        world.clock.advance(Duration::from_mins(3));
        world
            .wait("a refusal after the restart", async || {
                world.clock.advance(Duration::from_secs(61));
                let open = world.status("a").await.reservation;
                open.is_none_or(|open| open.create_failures > refusals + 1).then_some(())
            })
            .await;
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
        world
            .wait("three refusals", async || {
                world.clock.advance(Duration::from_secs(61));
                let open = world.train_status("t").await.reservation;
                open.is_none_or(|open| open.slots[0].create_failures > 2).then_some(())
            })
            .await;
        let status = world.until_train("t", Ready, False, "ApiUnavailable").await;
        assert_eq!((status.attempt, &status.last_attempt), (1, &None));
        let refusals = world
            .wait("the refusal is stored", async || {
                let open = world.train_status("t").await.reservation?;
                open.slots[0].refusal.is_some().then_some(open.slots[0].create_failures)
            })
            .await;
        world.stop_operator().await;
        world.start_operator().await;
        world
            .wait("a refusal after the restart", async || {
                world.clock.advance(Duration::from_secs(61));
                let open = world.train_status("t").await.reservation;
                open.is_none_or(|open| open.slots[0].create_failures > refusals + 1).then_some(())
            })
            .await;
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
