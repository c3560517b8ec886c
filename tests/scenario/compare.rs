//! Comparison of two values from ConfigMaps, fields of objects, ModelTrains, HTTP responses and Git refs, with a real
//! API server and real Git. The tests write what the controller of ModelTrains would write.

use std::time::Duration;

use kube::{
    ResourceExt,
    api::{DeleteParams, DynamicObject, Patch, PatchParams},
};
use modelsync::{
    api::{
        ConditionStatus::{False, True, Unknown},
        ConditionType::{InSync, Ready},
        ModelSyncStatus, ModelVersionSpec, keys,
    },
    core::version::chain::next_record,
};
use serde_json::{Value, json};

use crate::{
    harness::{
        Reply, World,
        audit::Audit,
        cluster::{api, apply},
        scenario,
        world::parameter,
    },
    support::git_server::GitServer,
};

/// Applies a ConfigMap of the world's namespace.
async fn config_map(world: &World, name: &str, data: Value) {
    let metadata = json!({ "name": name, "namespace": world.namespace });
    apply(&world.client, &json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data })).await;
}

fn key(name: &str, key: &str) -> Value {
    json!({ "configMapKeyRef": { "name": name, "key": key } })
}

fn field(api_version: &str, kind: &str, name: &str, json_path: &str) -> Value {
    json!({ "objectField": { "apiVersion": api_version, "kind": kind, "name": name, "jsonPath": json_path } })
}

/// Spec of a ModelSync that compares these values and creates PipelineRuns, which get every parameter. Its interval is
/// an hour: an earlier effect comes from a change.
fn spec(desired: &Value, actual: &Value) -> Value {
    json!({
        "compare": { "desired": desired, "actual": actual },
        "interval": "1h",
        "unmappedParameters": "Pass",
        "pipelineRunTemplate": { "spec": { "pipelineRef": { "name": "deploy" } } },
    })
}

/// The parameters that a run got.
fn parameters(run: &DynamicObject, names: &[&str]) -> Vec<Option<String>> {
    names.iter().map(|name| parameter(run, name)).collect()
}

fn texts(values: &[&str]) -> Vec<Option<String>> {
    values.iter().map(|value| Some((*value).to_owned())).collect()
}

fn shown(status: &ModelSyncStatus) -> (Option<&str>, Option<&str>) {
    (status.desired.as_deref(), status.actual.as_deref())
}

/// The message about a failing source in the condition of the object.
async fn failure(world: &World, name: &str) -> String {
    let status = world.until(name, InSync, Unknown, "SourceFailing").await;
    let ready = modelsync::core::status::condition::find(&status.conditions, Ready).unwrap().clone();
    assert_eq!((ready.status, ready.reason.as_str()), (False, "SourceFailing"));
    assert_eq!((status.attempt, world.runs(name).await.len()), (0, 0), "never a run");
    ready.message
}

#[tokio::test]
async fn change_of_a_config_map_is_seen_at_once_and_the_run_gets_both_values() {
    scenario("compare_maps", async |world| {
        config_map(world, "desired", json!({ "model": "m-1\n" })).await;
        config_map(world, "actual", json!({ "model": "m-1" })).await;
        world.apply("a", spec(&key("desired", "model"), &key("actual", "model"))).await;
        let status = world.until("a", InSync, True, "UpToDate").await;
        assert_eq!(shown(&status), (Some("m-1"), Some("m-1")));

        config_map(world, "desired", json!({ "model": "m-2" })).await;
        let run = world.run("a", 1).await;
        assert_eq!(parameters(&run, &["desired", "actual", "value"]), texts(&["m-2", "m-1", "m-2"]));
        assert!(parameter(&run, "digest").unwrap().starts_with("sha256:"));
        let status = world.status("a").await;
        assert_eq!(shown(&status), (Some("m-2"), Some("m-1")));

        world.end_run(&run, "Succeeded").await;
        world.until("a", InSync, False, "AwaitingEffect").await;
        config_map(world, "actual", json!({ "model": "m-2" })).await;
        let status = world.until("a", InSync, True, "UpToDate").await;
        assert_eq!(shown(&status), (Some("m-2"), Some("m-2")));
        assert_eq!(world.runs("a").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn absent_desired_value_starts_nothing_and_absent_actual_value_is_a_difference() {
    scenario("compare_absent", async |world| {
        world.apply("a", spec(&key("desired", "model"), &key("actual", "model"))).await;
        let status = world.until("a", InSync, Unknown, "DesiredUnknown").await;
        assert_eq!((status.attempt, shown(&status)), (0, (None, Some(""))));
        let ready = modelsync::core::status::condition::find(&status.conditions, Ready).unwrap();
        assert_eq!(ready.status, True, "an absent value is a valid response, not a failure");

        config_map(world, "desired", json!({ "other": "x" })).await;
        config_map(world, "actual", json!({ "other": "x" })).await;
        config_map(world, "desired", json!({ "model": "m-1" })).await;
        let run = world.run("a", 1).await;
        assert_eq!(parameters(&run, &["desired", "actual"]), texts(&["m-1", ""]));

        let maps = api(&world.client, "v1", "ConfigMap", Some(&world.namespace));
        maps.delete("desired", &DeleteParams::default()).await.unwrap();
        world.end_run(&run, "Succeeded").await;
        world.until("a", InSync, Unknown, "DesiredUnknown").await;
        assert_eq!(world.runs("a").await.len(), 1);
    })
    .await;
}

/// Allows the operator to read Deployments of its namespace.
async fn grant_deployments(world: &World) {
    let metadata = json!({ "name": "deployments", "namespace": world.namespace });
    let rule = json!({ "apiGroups": ["apps"], "resources": ["deployments"], "verbs": ["get", "list", "watch"] });
    let rbac = "rbac.authorization.k8s.io";
    let subject = json!({ "kind": "ServiceAccount", "name": "modelsync-controller", "namespace": world.namespace });
    for object in [
        json!({ "apiVersion": format!("{rbac}/v1"), "kind": "Role", "metadata": metadata, "rules": [rule] }),
        json!({ "apiVersion": format!("{rbac}/v1"), "kind": "RoleBinding", "metadata": metadata,
            "roleRef": { "apiGroup": rbac, "kind": "Role", "name": "deployments" }, "subjects": [subject] }),
    ] {
        apply(&world.client, &object).await;
    }
}

#[tokio::test]
async fn kind_without_permission_is_reported_with_the_missing_rule_and_watched_after_the_grant() {
    scenario("compare_fields", async |world| {
        let labels = json!({ "app": "server" });
        let deployment = json!({
            "apiVersion": "apps/v1", "kind": "Deployment",
            "metadata": { "name": "server", "namespace": world.namespace },
            "spec": { "replicas": 0, "selector": { "matchLabels": labels }, "template": {
                "metadata": { "labels": labels, "annotations": { "model": "m-1" } },
                "spec": { "containers": [{ "name": "server", "image": "server:1" }] },
            } },
        });
        apply(&world.client, &deployment).await;
        let actual = field("apps/v1", "Deployment", "server", r#"$.spec.template.metadata.annotations["model"]"#);
        let mut spec = spec(&json!({ "literal": "m-1" }), &actual);
        spec["interval"] = json!("5s");
        world.apply("a", spec).await;
        let message = failure(world, "a").await;
        let rule = r#"{apiGroups: ["apps"], resources: ["deployments"], verbs: ["get", "list", "watch"]}"#;
        assert!(message.contains("compare.actual: ") && message.contains(rule), "{message}");

        grant_deployments(world).await;
        world
            .wait("the source to be read", async || {
                // The API server sees the grant a moment later, through a watch of its own.
                world.clock.advance(Duration::from_secs(5));
                let status = world.status("a").await;
                (shown(&status) == (Some("m-1"), Some("m-1"))).then_some(())
            })
            .await;
        world.until("a", InSync, True, "UpToDate").await;

        world.patch_spec("a", json!({ "interval": "1h" })).await;
        world.until("a", InSync, True, "UpToDate").await;
        let patch = json!({ "spec": { "template": { "metadata": { "annotations": { "model": "m-0" } } } } });
        let deployments = api(&world.client, "apps/v1", "Deployment", Some(&world.namespace));
        deployments.patch("server", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
        let run = world.run("a", 1).await;
        assert_eq!(parameters(&run, &["desired", "actual"]), texts(&["m-1", "m-0"]));
    })
    .await;
}

/// Applies a ModelTrain that starts nothing by itself. Returns its uid.
async fn train(world: &World, name: &str) -> String {
    let container = json!({ "name": "train", "image": "local.test/busybox:1" });
    let pod = json!({ "restartPolicy": "Never", "containers": [container] });
    let spec = json!({ "suspend": true, "jobTemplate": { "spec": { "template": { "spec": pod } } } });
    let metadata = json!({ "name": name, "namespace": world.namespace });
    let object = json!({ "apiVersion": keys::API_VERSION, "kind": "ModelTrain", "metadata": metadata, "spec": spec });
    apply(&world.client, &object).await;
    let trains = api(&world.client, keys::API_VERSION, "ModelTrain", Some(&world.namespace));
    trains.get(name).await.unwrap().uid().unwrap()
}

/// Changes the status of a ModelTrain as its controller does.
async fn report(world: &World, name: &str, status: Value) {
    let trains = api(&world.client, keys::API_VERSION, "ModelTrain", Some(&world.namespace));
    let patch = Patch::Merge(json!({ "status": status }));
    trains.patch_status(name, &PatchParams::default(), &patch).await.unwrap();
}

async fn accept(world: &World, name: &str, version: &str) {
    let accepted = json!({
        "name": version, "uri": format!("s3://models/{version}"), "digest": format!("sha256:{version}"),
        "trainedAt": "2026-03-01T10:00:00Z", "acceptedAt": "2026-03-01T11:00:00Z",
    });
    report(world, name, json!({ "acceptedVersion": accepted })).await;
}

#[tokio::test]
async fn version_that_a_training_accepts_is_rolled_out_at_once_and_so_is_the_next_one() {
    scenario("compare_train", async |world| {
        train(world, "labels").await;
        config_map(world, "deployed", json!({ "model": "labels-1" })).await;
        let desired = json!({ "modelTrain": { "name": "labels" } });
        world.apply("serve", spec(&desired, &key("deployed", "model"))).await;
        world.until("serve", InSync, Unknown, "DesiredUnknown").await;

        accept(world, "labels", "labels-1").await;
        let status = world.until("serve", InSync, True, "UpToDate").await;
        assert_eq!(shown(&status), (Some("labels-1"), Some("labels-1")));

        accept(world, "labels", "labels-2").await;
        let run = world.run("serve", 1).await;
        let names = ["desired", "actual", "name", "uri", "digest", "trainedAt"];
        let expected =
            ["labels-2", "labels-1", "labels-2", "s3://models/labels-2", "sha256:labels-2", "2026-03-01T10:00:00Z"];
        assert_eq!(parameters(&run, &names), texts(&expected));
        world.end_run(&run, "Succeeded").await;
        world.until("serve", InSync, False, "AwaitingEffect").await;

        accept(world, "labels", "labels-3").await;
        let run = world.run("serve", 2).await;
        assert_eq!(parameters(&run, &["desired", "actual"]), texts(&["labels-3", "labels-1"]));
        world.end_run(&run, "Succeeded").await;
        config_map(world, "deployed", json!({ "model": "labels-3" })).await;
        world.until("serve", InSync, True, "UpToDate").await;
        assert_eq!(world.runs("serve").await.len(), 2);
    })
    .await;
}

/// Writes the record of the only run of a training, and then the result of the training.
async fn end_training(world: &World, uid: &str, attempt: i64, accuracy: &str, verdict: &str) {
    let run = format!("labels-{attempt}");
    let draft: ModelVersionSpec = serde_json::from_value(json!({
        "trainRef": { "name": "labels", "uid": uid },
        "attempt": attempt,
        "run": { "apiVersion": "batch/v1", "kind": "Job", "name": run, "uid": format!("run-{attempt}"), "outcome": "Succeeded" },
        "artifact": { "uri": format!("s3://models/{run}") },
        "metrics": [{ "name": "accuracy", "value": accuracy, "source": "Results" }],
        "gate": { "verdict": "Passed" },
        "digest": "",
    }))
    .unwrap();
    let metadata = json!({ "name": run, "namespace": world.namespace });
    let record = json!({ "apiVersion": keys::API_VERSION, "kind": "ModelVersion", "metadata": metadata, "spec": next_record(draft, None) });
    apply(&world.client, &record).await;
    let mut last =
        json!({ "attempt": attempt, "verdict": verdict, "generation": 1, "endedAt": "2026-03-01T11:00:00Z" });
    if verdict == "Accepted" {
        last["winner"] = json!(run);
    }
    let slot = json!({ "candidate": "", "run": run, "outcome": "Succeeded", "verdict": "Passed" });
    report(world, "labels", json!({ "attempt": attempt, "lastAttempt": last, "slots": [slot] })).await;
}

#[tokio::test]
async fn every_finished_training_is_reported_with_its_candidates_for_any_verdict() {
    scenario("compare_attempts", async |world| {
        let uid = train(world, "labels").await;
        config_map(world, "reported", json!({ "training": "0" })).await;
        let desired = json!({ "modelTrain": { "name": "labels", "select": "LastAttempt" } });
        world.apply("report", spec(&desired, &key("reported", "training"))).await;
        world.until("report", InSync, Unknown, "DesiredUnknown").await;
        for (attempt, accuracy, verdict, winner) in
            [(1, "0.75", "NotImproved", ""), (2, "0.875", "Accepted", "labels-2")]
        {
            end_training(world, &uid, attempt, accuracy, verdict).await;
            let run = world.run("report", attempt).await;
            let number = attempt.to_string();
            assert_eq!(parameters(&run, &["desired", "winner", "verdict"]), texts(&[&number, winner, verdict]));
            let candidates: Value = serde_json::from_str(&parameter(&run, "candidates").unwrap()).unwrap();
            let version = format!("labels-{attempt}");
            let expected = json!([{
                "candidate": "", "version": version, "outcome": "Succeeded", "verdict": "Passed",
                "metrics": { "accuracy": accuracy }, "artifact": { "uri": format!("s3://models/{version}") },
            }]);
            assert_eq!(candidates, expected);
            world.end_run(&run, "Succeeded").await;
            world.until("report", InSync, False, "AwaitingEffect").await;
        }
    })
    .await;
}

#[tokio::test]
async fn secrets_and_unusable_values_are_refused_with_the_reason() {
    scenario("compare_refused", async |world| {
        let secret = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "s", "namespace": world.namespace },
            "stringData": { "password": "hunter2" },
        });
        apply(&world.client, &secret).await;
        config_map(world, "long", json!({ "notebook": "x".repeat(2000) })).await;
        let refused = spec(&field("v1", "Secret", "s", "$.data.password"), &json!({ "literal": "x" }));
        let error = world.try_apply("secret", refused).await.unwrap_err();
        assert!(error.contains("never reads a Secret"), "{error}");
        for (name, desired, says) in [
            ("kind", field("apps/v1", "Deploymint", "s", "$.x"), "kind Deploymint of apps/v1 is not installed"),
            ("group", field("nowhere.example.com/v1", "Thing", "s", "$.x"), "is not installed in this cluster"),
            ("alias", field("v1", "secrets", "s", "$.data.password"), "kind secrets of v1 is not installed"),
            ("spelling", field("/v1", "Secret", "s", "$.data.password"), "kind Secret of /v1 is not installed"),
            ("cluster", field("v1", "Node", "s", "$.x"), "kind Node belongs to no namespace"),
            ("object", field("v1", "ConfigMap", "long", "$.data"), "$['data'] is an object"),
            ("long", key("long", "notebook"), "takes 2000 bytes; at most 1024 are allowed; digest: true"),
        ] {
            world.apply(name, spec(&desired, &json!({ "literal": "x" }))).await;
            let message = failure(world, name).await;
            assert!(message.starts_with("compare.desired: ") && message.contains(says), "{name}: {message}");
            assert!(!message.contains("hunter2"));
        }
        let digest = json!({ "configMapKeyRef": { "name": "long", "key": "notebook", "digest": true } });
        world.apply("digest", spec(&digest, &digest)).await;
        let status = world.until("digest", InSync, True, "UpToDate").await;
        assert!(status.desired.unwrap().starts_with("sha256:"));
    })
    .await;
}

#[tokio::test]
async fn http_and_git_values_are_polled_at_their_interval() {
    scenario("compare_servers", async |world| {
        let git = GitServer::start().await;
        git.init("models.git");
        let first = git.commit("models.git", "main");
        world.endpoint.says("served", Reply::Raw(200, json!({ "commit": first }).to_string()));
        let desired = json!({ "git": { "url": git.url("models.git"), "ref": "main" } });
        let actual = json!({ "http": { "url": world.endpoint.url("served"), "jsonPath": "$.commit" } });
        world.apply("a", spec(&desired, &actual)).await;
        let status = world.until("a", InSync, True, "UpToDate").await;
        assert_eq!(shown(&status), (Some(&*first), Some(&*first)));

        let second = git.commit("models.git", "main");
        let runs = async || {
            world.clock.advance(Duration::from_mins(30));
            world.runs("a").await.pop()
        };
        let run = world.wait("a run", runs).await;
        let names = ["desired", "actual", "commit", "ref"];
        assert_eq!(parameters(&run, &names), texts(&[&second, &first, &second, "refs/heads/main"]));

        // A server error is not an absent value: the operator starts no run for it. A 404 is an absent value.
        world.endpoint.says("down", Reply::Raw(503, String::new()));
        let broken = json!({ "http": { "url": world.endpoint.url("down"), "jsonPath": "$.commit" } });
        world.apply("b", spec(&desired, &broken)).await;
        let message = failure(world, "b").await;
        assert!(message.contains("compare.actual: http://") && message.contains("status 503"), "{message}");
        world.endpoint.says("down", Reply::Raw(404, String::new()));
        world.trigger("b", "now").await;
        let run = world.run("b", 1).await;
        assert_eq!(parameters(&run, &["desired", "actual"]), texts(&[&second, ""]));
    })
    .await;
}

#[tokio::test]
async fn restart_neither_polls_at_once_nor_writes() {
    scenario("compare_restart", async |world| {
        world.endpoint.says("served", Reply::Raw(200, r#"{"model":"m-1"}"#.to_owned()));
        config_map(world, "desired", json!({ "model": "m-1" })).await;
        let actual = json!({ "http": { "url": world.endpoint.url("served"), "jsonPath": "$.model" } });
        let mut slow = spec(&key("desired", "model"), &actual);
        slow["interval"] = json!("720h");
        world.apply("a", slow).await;
        world.until("a", InSync, True, "UpToDate").await;
        assert_eq!(world.endpoint.polls("served"), 1, "the first list of the watch is no change");
        let version = world.model_syncs().get("a").await.unwrap().resource_version();

        world.stop_operator().await;
        let audit = Audit::of(world.operator_user());
        world.start_operator().await;
        // A watch of ConfigMaps shows that the operator has reconciled the object and watches its references.
        world
            .wait("the watch of config maps", async || {
                audit
                    .requests()
                    .iter()
                    .any(|request| request.resource == "configmaps" && request.verb == "list")
                    .then_some(())
            })
            .await;
        assert_eq!(world.endpoint.polls("served"), 1, "not polled before its time");
        assert!(audit.writes().is_empty(), "{:?}", audit.writes());
        assert_eq!(world.model_syncs().get("a").await.unwrap().resource_version(), version);

        config_map(world, "other", json!({ "model": "m-9" })).await;
        config_map(world, "desired", json!({ "model": "m-2" })).await;
        world.run("a", 1).await;
        assert_eq!(world.endpoint.polls("served"), 2, "one poll for the change of its own reference");
    })
    .await;
}
