//! A cluster without Tekton and without the fence.

use std::time::Duration;

use kube::{
    ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use modelsync::api::{
    ConditionStatus::{False, True, Unknown},
    ConditionType::{InSync, Ready},
    keys,
};
use serde_json::{Value, json};

use crate::harness::{
    Reply, World, WorldOptions,
    cluster::{Cluster, api, apply, repository, yaml_file},
    world::scenario_with,
};

async fn bare_scenario(name: &str, body: impl AsyncFnOnce(&mut World)) {
    let cluster = Cluster::bare().await;
    scenario_with(name, WorldOptions { cluster, operator: true, min_run_age: Duration::ZERO }, body).await;
}

/// Spec of a ModelSync that makes Jobs, which every cluster has.
fn job_spec(world: &World, name: &str) -> Value {
    let container = json!({ "name": "train", "image": "local.test/busybox:1", "command": ["true"] });
    json!({
        "needsSyncUrl": world.endpoint.url(name),
        "interval": "5s",
        "jobTemplate": { "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [container] } } } },
    })
}

#[tokio::test]
async fn missing_tekton_delays_its_own_objects_only_and_is_picked_up_once_installed() {
    bare_scenario("no_tekton", async |world| {
        world.model_sync_with_reply("tekton", Reply::model("m1")).await;
        world.until("tekton", Ready, False, "RunKindMissing").await;
        world.endpoint.says("job", Reply::Needed(Vec::new()));
        world.apply("job", job_spec(world, "job")).await;
        let job = world.run("job", 1).await;
        world.endpoint.says("job", Reply::NotNeeded);
        world.end_job(&job, true).await;
        world.until("job", InSync, True, "UpToDate").await;
        assert_eq!(world.page("/readyz").await, "ok\n", "a missing kind does not make the operator unready");
        let crds = std::env::var_os("MODELSYNC_TEST_BARE_KUBECONFIG")
            .map_or_else(
                || repository().join("target/cluster/bare"),
                |path| std::path::PathBuf::from(path).parent().unwrap().to_owned(),
            )
            .join("tekton-crds.yaml");
        for crd in yaml_file(&crds) {
            apply(&world.client, &crd).await;
        }
        let run = world.run("tekton", 1).await;
        world.endpoint.says("tekton", Reply::NotNeeded);
        world.end_run(&run, "Succeeded").await;
        world.until("tekton", InSync, True, "UpToDate").await;
    })
    .await;
}

/// The API server does not validate stored objects again, so an object can be older than the schema.
#[tokio::test]
async fn undecodable_object_is_reported_on_itself_and_delays_no_other() {
    bare_scenario("undecodable", async |world| {
        let crds = api(&world.client, "apiextensions.k8s.io/v1", "CustomResourceDefinition", None);
        let strict = modelsync::api::crd::all().remove(0);
        let mut loose = strict.clone();
        let spec = loose.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap();
        *spec = json!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true });
        apply(&world.client, &loose).await;
        let mut bad = job_spec(world, "bad");
        bad["suspend"] = json!("no");
        world.wait("the loose schema is in force", async || world.create_unread("bad", &bad).await.ok()).await;
        crds.patch(
            strict["metadata"]["name"].as_str().unwrap(),
            &PatchParams::apply("scenario").force(),
            &Patch::Apply(&strict),
        )
        .await
        .unwrap();
        world.endpoint.says("good", Reply::Needed(Vec::new()));
        world.apply("good", job_spec(world, "good")).await;
        world.run("good", 1).await;
        let raw = api(&world.client, keys::API_VERSION, "ModelSync", Some(&world.namespace));
        let message = world
            .wait("the condition of the bad object", async || {
                let conditions = raw.get("bad").await.unwrap().data["status"]["conditions"].clone();
                conditions
                    .as_array()?
                    .iter()
                    .find(|c| c["type"] == "Stalled" && c["status"] == "True")
                    .map(|c| c["message"].as_str().unwrap().to_owned())
            })
            .await;
        assert!(message.contains("spec.suspend"), "{message}");
        assert!(world.page("/metrics").await.contains("modelsync_undecodable_objects 1"));
        world.stop_operator().await;
        world.start_operator().await;
        world
            .wait("it is counted after a list too", async || {
                world.page("/metrics").await.contains("modelsync_undecodable_objects 1").then_some(())
            })
            .await;
    })
    .await;
}

#[tokio::test]
async fn without_the_fence_the_same_attempt_is_reserved_again() {
    bare_scenario("no_fence", async |world| {
        world.endpoint.says("a", Reply::Needed(Vec::new()));
        world.apply("a", job_spec(world, "a")).await;
        let job = world.run("a", 1).await;
        world.jobs().delete(&job.name_any(), &DeleteParams::background()).await.unwrap();
        world.until("a", InSync, Unknown, "RunUnconfirmed").await;
        world.clock.advance(Duration::from_secs(91));
        let again = world.run("a", 1).await;
        assert_eq!(again.name_any(), job.name_any(), "the name is the only lock");
        assert_ne!(again.uid(), job.uid());
        assert_eq!(world.status("a").await.attempt, 1);
    })
    .await;
}

impl World {
    /// Creates a ModelSync that the types of this crate possibly cannot read.
    async fn create_unread(&self, name: &str, spec: &Value) -> Result<DynamicObject, kube::Error> {
        let object =
            json!({ "apiVersion": keys::API_VERSION, "kind": "ModelSync", "metadata": { "name": name }, "spec": spec });
        let object = serde_json::from_value(object).unwrap();
        api(&self.client, keys::API_VERSION, "ModelSync", Some(&self.namespace))
            .create(&PostParams::default(), &object)
            .await
    }
}
