//! Writes that the API server certainly refuses for a cause outside the object: a webhook that does not run, a policy, a
//! quota. Such a refusal is never a failed run: it spends no attempt, no retry, no budget and no record. The object says it.

use std::time::Duration;

use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use modelsync::{
    api::{
        ConditionStatus::{False, True},
        ConditionType::{InSync, Ready},
    },
    core::status::condition::find,
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
    denying(world, message, reason, &[run_creates()])
}

/// A policy that denies these requests.
fn denying(world: &World, message: &str, reason: Option<&str>, rules: &[Value]) -> [Value; 2] {
    let name = format!("deny-{}", world.namespace);
    let mut validation = json!({ "expression": "false", "message": message });
    if let Some(reason) = reason {
        validation["reason"] = json!(reason);
    }
    let policy = json!({
        "apiVersion": ADMISSION, "kind": "ValidatingAdmissionPolicy", "metadata": { "name": name },
        "spec": {
            "failurePolicy": "Fail", "validations": [validation],
            "matchConstraints": { "namespaceSelector": here(world), "resourceRules": rules },
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

/// Denies writes of the status of a kind in the world's namespace, and waits until they are denied.
async fn deny_status(world: &World, plural: &str) -> [Value; 2] {
    let rule = |group: &str, resource: &str, operation: &str| json!({ "apiGroups": [group], "apiVersions": ["*"], "operations": [operation], "resources": [resource] });
    let status = rule("automl.cloudai.kubeflow.org", &format!("{plural}/status"), "UPDATE");
    let policy = denying(world, "no status today", Some("Forbidden"), &[status, rule("", "configmaps", "CREATE")]);
    for object in &policy {
        cluster::apply(&world.client, object).await;
    }
    let probe: DynamicObject =
        serde_json::from_value(json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "probe" } }))
            .unwrap();
    let (dry, config_maps) = (
        PostParams { dry_run: true, ..PostParams::default() },
        api(&world.client, "v1", "ConfigMap", Some(&world.namespace)),
    );
    let denied = async || config_maps.create(&dry, &probe).await.err().map(drop);
    world.wait("the policy is enforced", denied).await;
    policy
}

/// Waits until training 1 has been decided, with the clock set forward until the next try is due.
async fn trained_once_allowed(world: &World) {
    let decided = async || {
        world.clock.advance(Duration::from_secs(5));
        world.train_status("t").await.last_attempt
    };
    assert_eq!(world.wait("the training is decided", decided).await.attempt, 1);
}

#[tokio::test]
async fn quota_on_records_is_shown_and_noticed_when_it_lifts() {
    scenario("record_quota", async |world| {
        let counted = "count/modelversions.automl.cloudai.kubeflow.org";
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none", "namespace": world.namespace },
            "spec": { "hard": { counted: "0" } },
        });
        cluster::apply(&world.client, &quota).await;
        // The quota controller would write this status, some minutes after it has found a new kind.
        let quotas = api(&world.client, "v1", "ResourceQuota", Some(&world.namespace));
        let status = json!({ "status": { "hard": { counted: "0" }, "used": { counted: "0" } } });
        quotas.patch_status("none", &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        world.apply_train("t", world.train_spec()).await;
        world.trigger_train("t", "one").await;
        let run = world.train_run("t", 1, "").await;
        world.end_with(&run, "Succeeded", &[]).await;
        let status = world.until_train("t", Ready, False, "QuotaExceeded").await;
        let message = &find(&status.conditions, Ready).unwrap().message;
        assert!(message.starts_with("the record ") && message.contains("exceeded quota: none"), "{message}");
        assert_eq!(status.active, [], "the run has ended, and waits for its record");
        // Further refusals write nothing.
        let version = world.model_trains().get("t").await.unwrap().metadata.resource_version;
        let refused = async || {
            world.page("/metrics").await.contains("refused_writes_total{kind=\"ModelVersion\"} 3").then_some(())
        };
        world
            .wait("further refusals", async || {
                world.clock.advance(Duration::from_secs(5));
                refused().await
            })
            .await;
        assert_eq!(world.model_trains().get("t").await.unwrap().metadata.resource_version, version);
        assert!(world.versions("t").await.is_empty());
        // Another process meets the same quota.
        world.stop_operator().await;
        world.start_operator().await;
        quotas.delete("none", &DeleteParams::default()).await.unwrap();
        trained_once_allowed(world).await;
        world.until_train("t", Ready, True, "Operational").await;
        assert_eq!(world.versions("t").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn refused_status_of_a_record_is_shown_and_noticed_when_it_is_allowed() {
    scenario("record_status", async |world| {
        let policy = deny_status(world, "modelversions").await;
        world.apply_train("t", world.train_spec()).await;
        world.trigger_train("t", "one").await;
        let run = world.train_run("t", 1, "").await;
        world.end_with(&run, "Succeeded", &[]).await;
        let status = world.until_train("t", Ready, False, "Forbidden").await;
        let message = &find(&status.conditions, Ready).unwrap().message;
        assert!(message.starts_with("the status of the record ") && message.contains("no status today"), "{message}");
        assert_eq!(status.last_attempt.unwrap().attempt, 1, "the training is decided");
        // The next training would replace the decision that is not published yet.
        world.trigger_train("t", "two").await;
        world.until_train("t", Ready, False, "Forbidden").await;
        assert_eq!(world.train_status("t").await.attempt, 1);
        delete(world, &policy).await;
        let second = async || {
            world.clock.advance(Duration::from_secs(5));
            world.train_runs("t", 2).await.pop()
        };
        world.wait("the second training", second).await;
        world.until_train("t", Ready, True, "Operational").await;
        world.until_decided(&run.metadata.name.unwrap(), "Best").await;
    })
    .await;
}

#[tokio::test]
async fn refused_status_of_an_object_is_an_event_and_a_metric() {
    scenario("status_refused", async |world| {
        let policy = deny_status(world, "modelsyncs").await;
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let (reason, note) = world.until_events("a", 1).await.remove(0);
        assert_eq!(reason, "StatusRefused");
        assert!(note.contains("no status today"), "{note}");
        let refused = async || {
            world.clock.advance(Duration::from_secs(10));
            let page = world.page("/metrics").await;
            let line =
                page.lines().find(|line| line.starts_with("modelsync_refused_writes_total{kind=\"ModelSync\"}"))?;
            (line.rsplit(' ').next()?.parse::<u32>().unwrap() > 3).then_some(())
        };
        world.wait("more refusals", refused).await;
        assert_eq!(world.until_events("a", 1).await.len(), 1, "one event reports them all");
        assert_eq!(world.runs("a").await.len(), 0, "no run without a reservation");
        delete(world, &policy).await;
        run_once_allowed(world, &async || world.runs("a").await).await;
        world.until("a", Ready, True, "Operational").await;
    })
    .await;
}
