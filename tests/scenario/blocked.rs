//! Active runs whose pods do not start: the object says so in the cluster's words, and stops saying it once the run
//! progresses.

use std::time::Duration;

use kube::{
    Api, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams},
};
use modelsync::{
    api::{
        Condition,
        ConditionStatus::{False, True},
        ConditionType::{InSync, Ready},
        Reason,
    },
    core::status::condition::find,
};
use serde_json::{Value, json};

use crate::harness::{
    Reply, World,
    cluster::{api, apply},
    scenario,
};

/// A Job whose pod a restricted namespace forbids.
fn job_template() -> Value {
    let pod = json!({ "restartPolicy": "Never", "containers": [{ "name": "main", "image": "local.test/busybox:1" }] });
    json!({ "spec": { "template": { "spec": pod } } })
}

fn pods(world: &World) -> Api<DynamicObject> {
    api(&world.client, "v1", "Pod", Some(&world.namespace))
}

/// The message of Ready, once it says that the run is blocked, with these words. Sets the clock forward until the run is inspected.
async fn until_blocked(world: &World, conditions: &impl AsyncFn(&World) -> Vec<Condition>, words: &str) -> String {
    let blocked = async || {
        world.clock.advance(Duration::from_secs(20));
        let conditions = conditions(world).await;
        let ready = find(&conditions, Ready).filter(|ready| ready.reason == Reason::RunBlocked)?;
        assert_eq!(ready.status, False);
        Some(ready.message.clone()).filter(|message| message.contains(words))
    };
    world.wait("the run is blocked", blocked).await
}

async fn of_sync(world: &World) -> Vec<Condition> {
    world.status("a").await.conditions
}

async fn of_train(world: &World) -> Vec<Condition> {
    world.train_status("t").await.conditions
}

/// Waits until the Job controller has made a pod for the run. A change of the Job ends its wait before another try.
async fn pod_of(world: &World, job: &DynamicObject) -> DynamicObject {
    let jobs = api(&world.client, "batch/v1", "Job", Some(&world.namespace));
    let touch = Patch::Merge(json!({ "metadata": { "annotations": { "touched": "yes" } } }));
    jobs.patch(&job.name_any(), &PatchParams::default(), &touch).await.unwrap();
    let selector = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={}", job.name_any()));
    world.wait("the Job's pod", async || pods(world).list(&selector).await.unwrap().items.pop()).await
}

/// Sets the clock forward until the next inspection is due, and waits for the reconcile that decides on its result.
async fn inspected_again(world: &World) {
    let before = world.reconciles().await;
    world.clock.advance(Duration::from_mins(11));
    world.wait("an inspection", async || (world.reconciles().await >= before + 2).then_some(())).await;
}

async fn set_pod(world: &World, pod: &DynamicObject, status: Value) {
    let patch = Patch::Merge(json!({ "status": status }));
    pods(world).patch_status(&pod.name_any(), &PatchParams::default(), &patch).await.unwrap();
}

/// Plays the kubelet: the pod runs.
async fn run_pod(world: &World, pod: &DynamicObject) {
    let running = json!([{ "name": "main", "image": "x", "imageID": "x", "ready": true, "restartCount": 0,
        "state": { "running": { "startedAt": "2026-11-01T10:00:00Z" } } }]);
    let ready = json!([{ "type": "Ready", "status": "True" }]);
    set_pod(world, pod, json!({ "phase": "Running", "conditions": ready, "containerStatuses": running })).await;
}

#[tokio::test]
async fn job_whose_pods_are_forbidden_says_so_until_they_run() {
    scenario("pod_security", async |world| {
        let namespaces = api(&world.client, "v1", "Namespace", None);
        let enforce = async |level: Option<&str>| {
            let patch = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": level } } });
            namespaces.patch(&world.namespace, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        };
        enforce(Some("restricted")).await;
        world.endpoint.says("a", Reply::model("m1"));
        let spec = json!({ "needsSyncUrl": world.endpoint.url("a"), "interval": "5s", "jobTemplate": job_template() });
        world.apply("a", spec).await;
        let job = world.run("a", 1).await;
        let message = until_blocked(world, &of_sync, "violates PodSecurity \"restricted:latest\"").await;
        let head = format!("run {} is active, and does not start its work (FailedCreate): ", job.name_any());
        assert!(message.starts_with(&head), "{message}");
        assert_eq!(world.until("a", InSync, False, "RunActive").await.attempt, 1);
        let said = async || {
            let events = world.until_events("a", 1).await;
            events.iter().any(|(reason, note)| reason == "RunBlocked" && note.contains("PodSecurity")).then_some(())
        };
        world.wait("the event", said).await;
        // Further inspections find the same, and nothing is written.
        let version = world.model_syncs().get("a").await.unwrap().resource_version();
        for _ in 0..3 {
            inspected_again(world).await;
        }
        assert_eq!(world.model_syncs().get("a").await.unwrap().resource_version(), version);

        enforce(None).await;
        let pod = pod_of(world, &job).await;
        run_pod(world, &pod).await;
        world.until("a", Ready, True, "Operational").await;
        assert_eq!(world.until("a", InSync, False, "RunActive").await.attempt, 1);
    })
    .await;
}

#[tokio::test]
async fn training_whose_pods_exceed_a_quota_says_so_until_they_run() {
    scenario("pod_quota", async |world| {
        let quota = json!({
            "apiVersion": "v1", "kind": "ResourceQuota", "metadata": { "name": "none", "namespace": world.namespace },
            "spec": { "hard": { "pods": "0" } },
        });
        apply(&world.client, &quota).await;
        let quotas = api(&world.client, "v1", "ResourceQuota", Some(&world.namespace));
        let enforced = async || quotas.get("none").await.unwrap().data["status"]["used"].get("pods").map(drop);
        world.wait("the quota is enforced", enforced).await;
        world.apply_train("t", json!({ "interval": "5s", "jobTemplate": job_template() })).await;
        world.trigger_train("t", "one").await;
        let job = world.train_run("t", 1, "").await;
        until_blocked(world, &of_train, "(QuotaExceeded): Error creating: pods ").await;

        // The pod is made, and its image cannot be pulled.
        quotas.delete("none", &DeleteParams::default()).await.unwrap();
        let pod = pod_of(world, &job).await;
        let waiting = json!([{ "name": "main", "image": "x", "imageID": "", "ready": false, "restartCount": 0,
            "state": { "waiting": { "reason": "ImagePullBackOff", "message": "Back-off pulling image" } } }]);
        set_pod(world, &pod, json!({ "phase": "Pending", "containerStatuses": waiting })).await;
        until_blocked(world, &of_train, "(ImagePullBackOff): pod ").await;
        world.stop_operator().await;
        world.start_operator().await;
        until_blocked(world, &of_train, "(ImagePullBackOff): pod ").await;

        run_pod(world, &pod).await;
        world.until_train("t", Ready, True, "Operational").await;
        world.end_job(&job, true).await;
        assert_eq!(world.until_trained("t", 1).await.active, []);
    })
    .await;
}

/// A TaskRun of the run, with this condition. Tekton would make it.
async fn task_run(world: &World, run: &DynamicObject, reason: &str, message: &str) {
    let tasks = api(&world.client, "tekton.dev/v1", "TaskRun", Some(&world.namespace));
    let name = format!("{}-fit", run.name_any());
    let owner = json!({
        "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "name": run.name_any(), "uid": run.uid(), "controller": true,
    });
    let metadata = json!({
        "name": name, "namespace": world.namespace, "labels": { "tekton.dev/pipelineRun": run.name_any() },
        "ownerReferences": [owner],
    });
    let spec = json!({ "taskRef": { "name": "fit" } });
    let object = json!({ "apiVersion": "tekton.dev/v1", "kind": "TaskRun", "metadata": metadata, "spec": spec });
    apply(&world.client, &object).await;
    let condition = json!({ "type": "Succeeded", "status": "Unknown", "reason": reason, "message": message });
    let status = Patch::Merge(json!({ "status": { "podName": "", "conditions": [condition] } }));
    tasks.patch_status(&name, &PatchParams::default(), &status).await.unwrap();
}

#[tokio::test]
async fn pipeline_run_whose_task_cannot_start_says_so_until_it_does() {
    scenario("task_pending", async |world| {
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let run = world.run("a", 1).await;
        task_run(world, &run, "ExceededResourceQuota", "TaskRun Pod \"x\" exceeded available resources").await;
        let message = until_blocked(world, &of_sync, "(ExceededResourceQuota): TaskRun ").await;
        assert!(message.contains(&format!("TaskRun {}-fit: TaskRun Pod", run.name_any())), "{message}");

        task_run(world, &run, "Running", "Not all Steps in the Task have finished executing").await;
        let operational = async || {
            world.clock.advance(Duration::from_secs(20));
            let conditions = world.status("a").await.conditions;
            find(&conditions, Ready).is_some_and(|ready| ready.status == True).then_some(())
        };
        world.wait("the run progresses", operational).await;
        world.until("a", InSync, False, "RunActive").await;
    })
    .await;
}

#[tokio::test]
async fn run_whose_pods_are_not_forbidden_causes_no_write() {
    scenario("not_blocked", async |world| {
        world.endpoint.says("a", Reply::model("m1"));
        let spec = json!({ "needsSyncUrl": world.endpoint.url("a"), "interval": "5s", "jobTemplate": job_template() });
        world.apply("a", spec).await;
        let job = world.run("a", 1).await;
        pod_of(world, &job).await;
        inspected_again(world).await;
        let version = world.model_syncs().get("a").await.unwrap().resource_version();
        for _ in 0..3 {
            inspected_again(world).await;
        }
        assert_eq!(world.model_syncs().get("a").await.unwrap().resource_version(), version);
    })
    .await;
}
