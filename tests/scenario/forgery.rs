//! Runs that look like the operator's and are not: with its label, in the same namespace or in another.

use kube::{
    Api, Client, ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use modelsync::{
    api::{
        ConditionStatus::{False, True},
        ConditionType::{Fresh, InSync, Ready, Stalled},
        keys,
    },
    core::run::name::run_name,
};
use serde_json::{Value, json};

use crate::harness::{
    Reply, World,
    cluster::{self, api},
    scenario, tekton,
    world::attempt_of,
};

/// A client of a user who may create and change Jobs and PipelineRuns in the world's namespace, and nothing else.
async fn tenant(world: &World) -> Client {
    let rules = [("batch", "jobs"), ("tekton.dev", "pipelineruns")].map(|(group, resource)| {
        json!({ "apiGroups": [group], "resources": [resource], "verbs": ["create", "get", "list", "patch", "update", "delete"] })
    });
    let metadata = json!({ "name": "tenant", "namespace": world.namespace });
    for object in [
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": metadata, "rules": rules }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": metadata,
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "tenant" },
            "subjects": [{ "apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": "tenant" }],
        }),
    ] {
        cluster::apply(&world.client, &object).await;
    }
    world.cluster.acting_as("tenant")
}

/// The object whose run is forged.
struct Owner {
    kind: &'static str,
    name: &'static str,
    uid: String,
}

/// An object of each kind, each with an active run of its first attempt.
async fn owners(world: &World) -> [Owner; 2] {
    world.model_sync_with_reply("sync", Reply::model("m1")).await;
    let mut spec = world.train_spec();
    spec["freshness"] = json!({ "maxAge": "24h" });
    spec["gate"] = json!({ "rules": [{ "name": "good", "expression": "metrics.r2 > 0.5" }] });
    world.apply_train("train", spec).await;
    for name in ["sync", "train"] {
        world.run(name, 1).await;
    }
    let sync = world.model_syncs().get("sync").await.unwrap().uid().unwrap();
    let train = world.model_trains().get("train").await.unwrap().uid().unwrap();
    [Owner { kind: "ModelSync", name: "sync", uid: sync }, Owner { kind: "ModelTrain", name: "train", uid: train }]
}

/// A run of this kind that carries the operator's label for an object.
fn forged((api_version, kind): (&str, &str), name: &str, owner: &Owner) -> Value {
    let spec = if kind == "Job" {
        json!({ "suspend": true, "template": { "spec": { "restartPolicy": "Never", "containers": [{ "name": "c", "image": "i" }] } } })
    } else {
        json!({ "pipelineRef": { "name": "p" } })
    };
    let (labels, annotations) = (
        json!({ keys::OWNER_UID: owner.uid, keys::OWNER_KIND: owner.kind, keys::ATTEMPT: "99999998" }),
        json!({ keys::NOT_AFTER: "2099-01-01T00:00:00Z", keys::OWNER_NAME: owner.name }),
    );
    json!({
        "apiVersion": api_version, "kind": kind,
        "metadata": { "name": name, "labels": labels, "annotations": annotations }, "spec": spec,
    })
}

fn object(value: Value) -> DynamicObject {
    serde_json::from_value(value).unwrap()
}

const KINDS: [(&str, &str); 2] = [("batch/v1", "Job"), ("tekton.dev/v1", "PipelineRun")];

#[tokio::test]
async fn user_who_may_only_create_runs_cannot_give_one_to_an_object() {
    scenario("forged_label", async |world| {
        let owners = owners(world).await;
        let tenant = tenant(world).await;
        let refused =
            |error: kube::Error| assert!(error.to_string().contains("only the modelsync operator"), "{error}");
        let dry = PostParams { dry_run: true, ..PostParams::default() };
        for (owner, (api_version, kind)) in owners.iter().flat_map(|owner| KINDS.map(|kind| (owner, kind))) {
            let runs: Api<DynamicObject> = api(&tenant, api_version, kind, Some(&world.namespace));
            let with_label = object(forged((api_version, kind), "forged", owner));
            // A policy takes effect a moment after it is stored.
            world.wait("the policy works", async || runs.create(&dry, &with_label).await.is_err().then_some(())).await;
            refused(runs.create(&PostParams::default(), &with_label).await.unwrap_err());
            let name = format!("plain-{}", owner.name);
            let mut plain = forged((api_version, kind), &name, owner);
            plain["metadata"]["labels"] = json!({ "team": "a" });
            plain["metadata"]["annotations"] = json!({});
            runs.create(&PostParams::default(), &object(plain)).await.unwrap();
            let later = json!({ "metadata": { "labels": { keys::OWNER_UID: owner.uid } } });
            refused(runs.patch(&name, &PatchParams::default(), &Patch::Merge(later)).await.unwrap_err());
        }
        let runs: Api<DynamicObject> = api(&tenant, "tekton.dev/v1", "PipelineRun", Some(&world.namespace));
        for owner in &owners {
            let run = world.run(owner.name, 1).await;
            let name = run.name_any();
            for change in [
                json!({ "labels": { keys::ATTEMPT: "99999998" } }),
                json!({ "labels": { keys::OWNER_UID: null } }),
                json!({ "labels": { keys::CANDIDATE: "another" } }),
                json!({ "annotations": { keys::TARGET: "v1:sha256:0" } }),
                json!({ "annotations": { keys::STOPPED: "TimedOut" } }),
            ] {
                let patch = Patch::Merge(json!({ "metadata": change }));
                refused(runs.patch(&name, &PatchParams::default(), &patch).await.unwrap_err());
            }
            let own = Patch::Merge(json!({ "metadata": { "labels": { "team": "a" } } }));
            runs.patch(&name, &PatchParams::default(), &own).await.expect("other labels are the user's");
            world.end_with(&run, "Succeeded", &[("r2", "0.9")]).await;
        }
        world.until_recorded("sync", 1).await;
        world.until_trained("train", 1).await;
    })
    .await;
}

/// A finished run under the name of an object's next run, with everything that a user can copy or compute. An administrator
/// makes it; without the policy, a user who may create Jobs can.
async fn take_the_next_name(world: &World, owner: &Owner, attempt: i64) -> DynamicObject {
    let Owner { kind, name, uid } = owner;
    let mut run = forged(KINDS[1], &run_name(name, uid, attempt), owner);
    run["metadata"]["labels"][keys::ATTEMPT] = attempt.to_string().into();
    run["metadata"]["annotations"][keys::CLAIM] = "1bc29b36f623ba82aaf6724fd3b16718".into();
    run["metadata"]["ownerReferences"] =
        json!([{ "apiVersion": keys::API_VERSION, "kind": kind, "name": name, "uid": uid, "controller": true }]);
    let stored = world.pipeline_runs().create(&PostParams::default(), &object(run)).await.unwrap();
    world.end_with(&stored, "Succeeded", &[("r2", "0.99"), ("model-uri", "s3://models/forged")]).await;
    stored
}

#[tokio::test]
async fn run_that_took_the_name_of_a_model_syncs_next_run_is_not_its_success() {
    scenario("forged_name", async |world| {
        world.model_sync_with_reply("a", Reply::NotNeeded).await;
        world.until("a", InSync, True, "UpToDate").await;
        let uid = world.model_syncs().get("a").await.unwrap().uid().unwrap();
        let forged = take_the_next_name(world, &Owner { kind: "ModelSync", name: "a", uid }, 1).await;
        world.endpoint.says("a", Reply::model("m1"));
        world.trigger("a", "now").await;
        world.until("a", Stalled, True, "NameConflict").await;
        assert!(world.status("a").await.last_run.is_none());
        // A restart only finds the reservation, and believes the run no more.
        world.stop_operator().await;
        world.start_operator().await;
        world.until("a", Stalled, True, "NameConflict").await;
        world.pipeline_runs().delete(&forged.name_any(), &DeleteParams::default()).await.unwrap();
        world.trigger("a", "the name is free").await;
        let run = world.run("a", 1).await;
        assert_ne!(run.uid(), forged.uid());
        world.end_run(&run, "Succeeded").await;
        assert_eq!(world.until_recorded("a", 1).await.uid, run.uid());
    })
    .await;
}

#[tokio::test]
async fn run_that_took_the_name_of_a_model_trains_next_run_is_never_judged() {
    scenario("forged_training", async |world| {
        world.apply_train("model", world.train_spec()).await;
        world.until_train("model", Ready, True, "Operational").await;
        let uid = world.model_trains().get("model").await.unwrap().uid().unwrap();
        let forged = take_the_next_name(world, &Owner { kind: "ModelTrain", name: "model", uid }, 1).await;
        world.trigger_train("model", "now").await;
        world.until_train("model", Stalled, True, "NameConflict").await;
        world.stop_operator().await;
        world.start_operator().await;
        world.until_train("model", Stalled, True, "NameConflict").await;
        assert!(world.versions("model").await.is_empty(), "nothing is recorded");
        assert!(world.train_status("model").await.accepted_version.is_none());
        world.pipeline_runs().delete(&forged.name_any(), &DeleteParams::default()).await.unwrap();
        world.trigger_train("model", "the name is free").await;
        let status = world.train("model", 1, &[("r2", "0.7")]).await;
        assert!(status.accepted_version.is_some());
    })
    .await;
}

#[tokio::test]
async fn unfinished_run_with_only_a_label_blocks_only_an_object_that_makes_such_runs() {
    scenario("label_only", async |world| {
        for (name, policy) in [("a", "Delete"), ("b", "Orphan")] {
            let mut spec = world.spec(name);
            spec["deletionPolicy"] = policy.into();
            world.endpoint.says(name, Reply::NotNeeded);
            world.apply(name, spec).await;
            world.until(name, InSync, True, "UpToDate").await;
            let uid = world.model_syncs().get(name).await.unwrap().uid().unwrap();
            let run = forged(KINDS[1], &format!("forged-{name}"), &Owner { kind: "ModelSync", name, uid });
            world.pipeline_runs().create(&PostParams::default(), &object(run)).await.unwrap();
        }
        world.until("b", InSync, False, "RunActive").await;
        for name in ["a", "b"] {
            world.endpoint.says(name, Reply::model("m1"));
            world.trigger(name, "now").await;
        }
        world.wait("run 1 of a", async || world.status("a").await.active.first().map(|run| run.name.clone())).await;
        assert_eq!(world.status("a").await.attempt, 1);
        let blocked = world.status("b").await;
        assert_eq!((blocked.attempt, blocked.active[0].name.as_str()), (0, "forged-b"));
    })
    .await;
}

#[tokio::test]
async fn run_in_another_namespace_is_never_the_objects_own() {
    scenario("forged_elsewhere", async |world| {
        let stranger = format!("{}-b", world.namespace);
        world.manage_also(&stranger).await;
        let owners = owners(world).await;
        let jobs: Api<DynamicObject> = api(&world.client, "batch/v1", "Job", Some(&stranger));
        let pipelines: Api<DynamicObject> = api(&world.client, "tekton.dev/v1", "PipelineRun", Some(&stranger));
        for owner in &owners {
            let name = format!("forged-{}", owner.name);
            // An administrator can make them; the policy refuses them for everyone else.
            jobs.create(&PostParams::default(), &object(forged(KINDS[0], &name, owner))).await.unwrap();
            // One that has the name of the next run, and has succeeded with results that pass the gate.
            let first = world.run(owner.name, 1).await.name_any();
            let next = format!("{}-2", first.strip_suffix("-1").unwrap());
            let mut taken = object(forged(KINDS[1], &next, owner));
            taken.types = Some(kube::api::TypeMeta { api_version: KINDS[1].0.into(), kind: KINDS[1].1.into() });
            taken.labels_mut().insert(keys::ATTEMPT.into(), "2".into());
            pipelines.create(&PostParams::default(), &taken).await.unwrap();
            let now = world.now().to_string();
            let mut status = tekton::ended("Succeeded", Some(&now), &now);
            status["results"] = json!([{ "name": "r2", "value": "1" }]);
            let status = Patch::Merge(json!({ "status": status }));
            pipelines.patch_status(&next, &PatchParams::default(), &status).await.unwrap();
            let run = world.run(owner.name, 1).await;
            world.end_with(&run, "Succeeded", &[("r2", "0.9")]).await;
        }
        world.until_recorded("sync", 1).await;
        let accepted = world.until_trained("train", 1).await.accepted_version.unwrap();
        // The forged runs are unfinished, have a greater attempt, or look like the next run. None of them delays the next
        // run, changes its number or stands in for it.
        world.endpoint.says("sync", Reply::model("m2"));
        world.trigger("sync", "again").await;
        world.trigger_train("train", "again").await;
        for owner in &owners {
            let next = world.run(owner.name, 2).await;
            assert_eq!((attempt_of(&next), next.namespace()), (2, Some(world.namespace.clone())));
        }
        world.until("sync", InSync, False, "RunActive").await;
        let status = world.until_train("train", Fresh, False, "RunActive").await;
        assert_eq!(status.accepted_version.unwrap().name, accepted.name);
        assert_eq!(world.versions("train").await.len(), 1, "the forged run has no record");
        let namespaces: Api<k8s_openapi::api::core::v1::Namespace> = Api::all(world.client.clone());
        let _ = namespaces.delete(&stranger, &DeleteParams::background()).await;
    })
    .await;
}
