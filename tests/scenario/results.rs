//! Results of runs, read with the operator's own account. The Job controller is real; the test plays the kubelet and
//! Tekton.

use kube::{
    Resource, ResourceExt,
    api::{DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
};
use modelsync::{
    core::{
        results::Results,
        run::backend::{Phase, RunBackend},
    },
    kube_io::{
        client::{Clients, Safeguards},
        results::read_results,
    },
    runs,
};
use serde_json::{Value, json};

use crate::harness::{
    World, WorldOptions,
    cluster::{Cluster, api},
    world::scenario_with,
};

async fn results_scenario(name: &str, body: impl AsyncFnOnce(&mut World)) {
    let cluster = Cluster::complete().await;
    scenario_with(name, WorldOptions { cluster, operator: false, min_run_age: std::time::Duration::ZERO }, body).await;
}

impl World {
    async fn results(&self, backend: &dyn RunBackend, name: &str, uid: &str, container: Option<&str>) -> Results {
        let clients = Clients::new(&self.operator_config(), &self.clock, Safeguards::default()).unwrap();
        read_results(&clients.reads, backend, &self.namespace, name, uid, container).await.unwrap()
    }

    async fn job_results(&self, job: &DynamicObject, container: Option<&str>) -> Results {
        self.results(&runs::BatchJob, &job.name_any(), &job.uid().unwrap(), container).await
    }

    /// Creates a Job whose pods have these containers.
    async fn job(&self, name: &str, containers: &[&str], spec: Value) -> DynamicObject {
        let container = |name: &&str| json!({ "name": name, "image": "local.test/busybox:1" });
        let containers: Vec<_> = containers.iter().map(container).collect();
        let mut job = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": { "name": name },
            "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": containers } } },
        });
        job["spec"].as_object_mut().unwrap().extend(spec.as_object().unwrap().clone());
        self.jobs().create(&PostParams::default(), &serde_json::from_value(job).unwrap()).await.unwrap()
    }

    /// Waits until this many pods of the Job have not ended; returns them.
    pub async fn pods_at_work(&self, job: &DynamicObject, count: usize) -> Vec<DynamicObject> {
        let pods = api(&self.client, "v1", "Pod", Some(&self.namespace));
        let selector = ListParams::default().labels(&format!("batch.kubernetes.io/job-name={}", job.name_any()));
        self.wait("the Job's pods", async || {
            let mut listed = pods.list(&selector).await.unwrap().items;
            listed.retain(|pod| pod.data["status"]["phase"] == "Pending");
            (listed.len() == count).then_some(listed)
        })
        .await
    }

    /// Ends a pod as a kubelet would: each container with its exit code and its message.
    pub async fn end_pod(&self, pod: &DynamicObject, minute: u32, containers: &[(&str, i32, &str)]) {
        let end = |(name, code, message): &(&str, i32, &str)| {
            let at = format!("2026-11-02T10:{minute:02}:00Z");
            json!({
                "name": name, "image": "local.test/busybox:1", "imageID": "", "ready": false, "restartCount": 0,
                "state": { "terminated": { "exitCode": code, "finishedAt": at, "startedAt": at, "message": message } },
            })
        };
        let ends: Vec<_> = containers.iter().map(end).collect();
        let phase = if containers.iter().all(|(_, code, _)| *code == 0) { "Succeeded" } else { "Failed" };
        let status = json!({ "status": { "phase": phase, "containerStatuses": ends } });
        api(&self.client, "v1", "Pod", Some(&self.namespace))
            .patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status))
            .await
            .unwrap();
    }

    /// Waits until the Job has ended.
    async fn until_ended(&self, job: &DynamicObject) {
        self.wait("the Job's end", async || {
            let job = self.jobs().get(&job.name_any()).await.unwrap();
            let observed = runs::BatchJob.observe(&serde_json::to_string(&job).unwrap()).unwrap();
            matches!(observed.phase, Phase::Ended(_)).then_some(())
        })
        .await;
    }
}

fn metrics(results: &Results) -> Vec<(&str, Option<&str>)> {
    results.metrics.iter().map(|metric| (metric.name.as_str(), metric.value.as_deref())).collect()
}

#[tokio::test]
async fn results_of_a_job_are_read_from_its_pod_and_lost_with_it() {
    results_scenario("job_results", async |world| {
        let job = world.job("train", &["train", "proxy"], json!({})).await;
        let pod = world.pods_at_work(&job, 1).await.remove(0);
        let message = r#"{"metrics": {"r2": 0.80}, "artifact": {"uri": "s3://models/7"}}"#;
        world.end_pod(&pod, 1, &[("proxy", 0, "bye"), ("train", 0, message)]).await;
        world.until_ended(&job).await;

        let results = world.job_results(&job, Some("train")).await;
        assert_eq!(metrics(&results), [("r2", Some("0.80"))]);
        assert_eq!(results.artifact.unwrap().uri, "s3://models/7");
        assert_eq!(results.problem, "");
        let proxy = world.job_results(&job, Some("proxy")).await;
        assert_eq!(proxy.problem, "the termination message is not a JSON object");
        let unnamed = world.job_results(&job, None).await;
        assert!(unnamed.problem.contains("spec.metrics.container"), "{unnamed:?}");

        let pods = api(&world.client, "v1", "Pod", Some(&world.namespace));
        pods.delete(&pod.name_any(), &DeleteParams::default().grace_period(0)).await.unwrap();
        world
            .wait("the pod is gone", async || pods.get_opt(&pod.name_any()).await.unwrap().is_none().then_some(()))
            .await;
        let lost = world.job_results(&job, Some("train")).await;
        assert_eq!(lost, Results::unreadable("the pods of the Job are gone, and with them what they reported"));

        let another = world.results(&runs::BatchJob, "train", "another-uid", Some("train")).await;
        assert_eq!(another, Results::unreadable("the run is gone, and with it what it reported"));
        world.jobs().delete("train", &DeleteParams::background()).await.unwrap();
        world
            .wait("the Job is gone", async || world.jobs().get_opt("train").await.unwrap().is_none().then_some(()))
            .await;
        assert_eq!(world.job_results(&job, Some("train")).await, another);
    })
    .await;
}

#[tokio::test]
async fn results_of_a_failed_job_are_read_from_the_pod_that_failed_last() {
    results_scenario("failed_job_results", async |world| {
        // The first failure does not end the Job, which would delete the other pod.
        let spec = json!({ "backoffLimit": 1, "parallelism": 2, "completions": 2 });
        let job = world.job("train", &["train"], spec).await;
        let pods = world.pods_at_work(&job, 2).await;
        world.end_pod(&pods[0], 2, &[("train", 1, r#"{"metrics": {"loss": "NaN"}}"#)]).await;
        world.end_pod(&pods[1], 1, &[("train", 1, r#"{"metrics": {"loss": 7}}"#)]).await;
        world.until_ended(&job).await;
        let results = world.job_results(&job, None).await;
        assert_eq!(metrics(&results), [("loss", None)]);
        assert_eq!(results.problem, r#"the metric "loss" has no value: "NaN" is not finite"#);
    })
    .await;
}

#[tokio::test]
async fn results_of_an_indexed_job_are_read_from_the_pod_of_index_0() {
    results_scenario("indexed_job_results", async |world| {
        let spec = json!({ "completionMode": "Indexed", "parallelism": 3, "completions": 3 });
        let job = world.job("train", &["train"], spec).await;
        for pod in world.pods_at_work(&job, 3).await {
            let index = &pod.annotations()["batch.kubernetes.io/job-completion-index"];
            let message = format!(r#"{{"metrics": {{"index": {index}}}}}"#);
            world.end_pod(&pod, index.parse().unwrap(), &[("train", 0, &message)]).await;
        }
        world.until_ended(&job).await;
        assert_eq!(metrics(&world.job_results(&job, None).await), [("index", Some("0"))]);
    })
    .await;
}

/// The API server lists pods by name, so the pod with the results is on the second page.
#[tokio::test]
async fn pods_of_a_job_are_read_to_the_last_page() {
    results_scenario("job_with_many_pods", async |world| {
        let job = world.job("train", &["train"], json!({ "parallelism": 55, "completions": 55 })).await;
        let mut pods = world.pods_at_work(&job, 55).await;
        pods.sort_by_key(ResourceExt::name_any);
        for (number, pod) in (0..).zip(&pods) {
            let message = format!(r#"{{"metrics": {{"number": {number}}}}}"#);
            world.end_pod(pod, number, &[("train", 0, &message)]).await;
        }
        world.until_ended(&job).await;
        assert_eq!(metrics(&world.job_results(&job, None).await), [("number", Some("54"))]);
    })
    .await;
}

#[tokio::test]
async fn results_of_a_pipeline_run_are_read_from_the_run() {
    results_scenario("pipeline_run_results", async |world| {
        let run = json!({
            "apiVersion": "tekton.dev/v1",
            "kind": "PipelineRun",
            "metadata": { "name": "train" },
            "spec": { "pipelineRef": { "name": "train" } },
        });
        let run = serde_json::from_value(run).unwrap();
        let run = world.pipeline_runs().create(&PostParams::default(), &run).await.unwrap();
        let given = [("r2", json!("0.80\n")), ("model-uri", json!("s3://models/7")), ("classes", json!(["a", "b"]))];
        let given: Vec<_> = given.into_iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        world.set_run_status(&run, json!({ "results": given })).await;
        let uid = run.meta().uid.clone().unwrap();
        let results = world.results(&runs::PipelineRun, "train", &uid, None).await;
        assert_eq!(metrics(&results), [("r2", Some("0.80"))]);
        assert_eq!(results.artifact.unwrap().uri, "s3://models/7");
        assert_eq!((&*results.outputs[0].name, &*results.outputs[0].value), ("classes", r#"["a","b"]"#));
        assert_eq!(results.problem, "");
    })
    .await;
}
