//! Jobs and PipelineRuns train real models: scikit-learn, on data that is generated from a seed. A training has three
//! candidates; the gate chooses by R²; a ModelSync rolls out the accepted version. The tests simulate no part of it.

use std::process::Command;

use modelsync::api::{ModelTrainStatus, ModelVersion, Outcome, Verdict, keys};
use serde_json::{Value, json};

use super::world::{World, node_test, repository};

/// Images that `cargo xtask test node` builds: Python with scikit-learn, and a shell with kubectl.
const PYTHON: &str = "modelsync.local/training:1";
const KUBECTL: &str = "modelsync.local/kubectl:1.35";
const CANDIDATES: [&str; 3] = ["svm", "forest", "boost"];
/// Writes the version and its digest into the ConfigMap `serving`, which the ModelSync reads.
const ROLL_OUT: &str =
    r#"kubectl patch configmap serving --type merge -p "{\"data\":{\"model\":\"$NAME\",\"digest\":\"$DIGEST\"}}""#;

/// Writes the ConfigMap of the data: the more noise, the worse the model.
async fn data(world: &World, seed: u32, noise: &str) {
    let data = json!({ "seed": seed.to_string(), "noise": noise });
    world
        .apply(&json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "data" }, "data": data }))
        .await;
}

/// Creates the code, the ConfigMap of the served version, and an account that may change it.
async fn prepare(world: &World) {
    let code = std::fs::read_to_string(repository().join("tests/node/train.py")).unwrap();
    let meta = |name: &str| json!({ "name": name });
    let rule = json!({ "apiGroups": [""], "resources": ["configmaps"], "resourceNames": ["serving"], "verbs": ["get", "patch"] });
    for object in [
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("code"), "data": { "train.py": code } }),
        json!({ "apiVersion": "v1", "kind": "ConfigMap", "metadata": meta("serving") }),
        json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": meta("roll-out") }),
        json!({ "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "Role", "metadata": meta("roll-out"), "rules": [rule] }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding", "metadata": meta("roll-out"),
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "roll-out" },
            "subjects": [{ "kind": "ServiceAccount", "name": "roll-out" }],
        }),
    ] {
        world.apply(&object).await;
    }
}

/// A ModelTrain with three candidates whose model is stale when the code or the data has changed.
fn model_train(template: &str, spec: &Value) -> Value {
    let input = |name: &str, map: &str, key: &str, digest: bool| json!({ "name": name, "source": { "configMapKeyRef": { "name": map, "key": key, "digest": digest } } });
    let candidates =
        CANDIDATES.map(|name| json!({ "name": name, "parameters": [{ "name": "algorithm", "value": name }] }));
    json!({
        "apiVersion": keys::API_VERSION,
        "kind": "ModelTrain",
        "metadata": { "name": "model" },
        "spec": {
            "interval": "5s",
            "freshness": { "inputs": [
                input("code", "code", "train.py", true),
                input("seed", "data", "seed", false),
                input("noise", "data", "noise", false),
            ]},
            "parameters": [{ "name": "seed", "fromInput": "seed" }, { "name": "noise", "fromInput": "noise" }],
            "candidates": candidates,
            "gate": {
                "rules": [{ "name": "learned", "expression": "metrics.r2 > 0.0" }],
                "best": { "metric": "r2", "direction": "Maximize" },
            },
            template: { "spec": spec },
        },
    })
}

/// A ModelSync that serves what the ModelTrain has accepted.
fn model_sync(template: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": keys::API_VERSION,
        "kind": "ModelSync",
        "metadata": { "name": "serve" },
        "spec": {
            "interval": "5s",
            "compare": {
                "desired": { "modelTrain": { "name": "model" } },
                "actual": { "configMapKeyRef": { "name": "serving", "key": "model" } },
            },
            "parameters": [{ "needsSyncName": "name" }, { "needsSyncName": "digest" }],
            template: { "spec": spec },
        },
    })
}

fn job(mut pod: Value) -> Value {
    pod["restartPolicy"] = json!("Never");
    json!({ "backoffLimit": 0, "template": { "spec": pod } })
}

/// A pipeline of one task with these parameters. `results` has the name of each result of the pipeline and of its task.
fn pipeline(parameters: &[&str], results: &[(&str, &str)], task: &Value) -> Value {
    let declared: Vec<_> = parameters.iter().map(|name| json!({ "name": name, "type": "string" })).collect();
    let passed: Vec<_> =
        parameters.iter().map(|name| json!({ "name": name, "value": format!("$(params.{name})") })).collect();
    let mut task = task.clone();
    task["params"] = json!(declared);
    task["results"] = results.iter().map(|(_, of_task)| json!({ "name": of_task })).collect();
    let results: Vec<_> = results
        .iter()
        .map(|(name, of_task)| json!({ "name": name, "value": format!("$(tasks.do.results.{of_task})") }))
        .collect();
    json!({
        "params": parameters.iter().map(|name| json!({ "name": name, "value": "" })).collect::<Vec<_>>(),
        "pipelineSpec": {
            "params": declared,
            "results": results,
            "tasks": [{ "name": "do", "params": passed, "taskSpec": task }],
        },
    })
}

/// The volumes of a training, and where they are mounted.
fn volumes() -> (Value, Value) {
    (
        json!([{ "name": "code", "configMap": { "name": "code" } }, { "name": "model", "emptyDir": {} }]),
        json!([{ "name": "code", "mountPath": "/code" }, { "name": "model", "mountPath": "/model" }]),
    )
}

/// Waits until this training has been decided and returns the status then. The status shows the training until the next
/// one is decided.
async fn trained(world: &World, attempt: i64) -> ModelTrainStatus {
    world
        .eventually(&format!("end of training {attempt}"), async || {
            let object = world.get(keys::API_VERSION, "ModelTrain", "model").await?;
            let status: ModelTrainStatus = serde_json::from_value(object["status"].clone()).unwrap();
            status.last_attempt.as_ref().is_some_and(|last| last.attempt == attempt).then_some(status)
        })
        .await
}

/// The records of a training. Asserts that each is of a successful run and holds all that the run reported.
async fn records(world: &World, attempt: i64) -> Vec<ModelVersion> {
    let mut records: Vec<ModelVersion> = world.list(keys::API_VERSION, "ModelVersion").await;
    records.retain(|record| record.spec.attempt == attempt);
    assert_eq!(records.len(), CANDIDATES.len());
    for record in &records {
        let spec = &record.spec;
        assert_eq!((spec.run.outcome, spec.gate.verdict), (Outcome::Succeeded, Verdict::Passed), "{spec:#?}");
        let artifact = spec.artifact.as_ref().unwrap();
        assert_eq!(artifact.uri, format!("file:///model/{}.pickle", spec.candidate));
        assert!(artifact.digest.starts_with("sha256:") && artifact.digest.len() == 71, "{artifact:?}");
        // The run reports which code it read. Any other than the pinned code would have made the verdict Inconclusive.
        assert!(spec.inputs.iter().any(|input| input.name == "code"), "{spec:#?}");
    }
    records
}

/// R² as the run reported it.
fn r2(record: &ModelVersion) -> f64 {
    let metric = record.spec.metrics.iter().find(|metric| metric.name == "r2").unwrap();
    metric.value.as_ref().unwrap().parse().unwrap()
}

/// The record with the highest R².
fn best(records: &[ModelVersion]) -> &ModelVersion {
    records.iter().max_by(|one, other| r2(one).total_cmp(&r2(other))).unwrap()
}

fn name(record: &ModelVersion) -> &str {
    record.metadata.name.as_deref().unwrap()
}

/// Name of the accepted version.
fn accepted(status: &ModelTrainStatus) -> &str {
    &status.accepted_version.as_ref().unwrap().name
}

/// Waits until this version is served and the ModelSync is in sync.
async fn served(world: &World, record: &ModelVersion) {
    world
        .eventually(&format!("{} to be served", name(record)), async || {
            let serving = world.get("v1", "ConfigMap", "serving").await.unwrap();
            (serving["data"]["model"] == name(record)).then(|| {
                assert_eq!(serving["data"]["digest"], record.spec.artifact.as_ref().unwrap().digest);
            })
        })
        .await;
    world.condition("serve", "InSync", "True", "UpToDate").await;
}

/// Verifies the chain with the command that users have.
fn verify(world: &World) {
    let ran = Command::new(env!("CARGO_BIN_EXE_modelsync"))
        .args(["verify", "--namespace", &world.namespace, "model"])
        .output()
        .unwrap();
    let said = [ran.stdout, ran.stderr].map(|words| String::from_utf8_lossy(&words).into_owned()).concat();
    assert!(ran.status.success(), "{said}");
}

#[tokio::test]
async fn jobs_train_three_models_and_the_best_is_served_until_a_better_one_is_trained() {
    node_test("train-jobs", async |world| {
        prepare(world).await;
        data(world, 1, "4.0").await;
        let (volumes, mounts) = volumes();
        let trainer = job(json!({
            "containers": [{ "name": "train", "image": PYTHON, "command": ["python3", "/code/train.py"], "volumeMounts": mounts }],
            "volumes": volumes,
        }));
        let deployer = job(json!({
            "serviceAccountName": "roll-out",
            "containers": [{
                "name": "roll-out", "image": KUBECTL, "command": ["sh", "-c", ROLL_OUT],
                "env": [{ "name": "NAME", "value": "$(params.name)" }, { "name": "DIGEST", "value": "$(params.digest)" }],
            }],
        }));
        world.apply(&model_sync("jobTemplate", &deployer)).await;
        world.apply(&model_train("jobTemplate", &trainer)).await;
        let status = trained(world, 1).await;
        let first = records(world, 1).await;
        assert_eq!(accepted(&status), name(best(&first)));
        served(world, best(&first)).await;

        data(world, 2, "0.5").await;
        let status = trained(world, 2).await;
        let second = records(world, 2).await;
        assert!(r2(best(&second)) > r2(best(&first)));
        assert_eq!(accepted(&status), name(best(&second)));
        served(world, best(&second)).await;

        data(world, 3, "4.0").await;
        let status = trained(world, 3).await;
        let third = records(world, 3).await;
        assert!(r2(best(&third)) < r2(best(&second)));
        assert_eq!(accepted(&status), name(best(&second)), "a worse model is not accepted");
        served(world, best(&second)).await;
        assert_eq!(world.runs("serve").await.len(), 2);
        verify(world);
    })
    .await;
}

#[tokio::test]
async fn pipeline_runs_train_three_models_and_a_pipeline_run_serves_the_best() {
    node_test("train-pipelines", async |world| {
        prepare(world).await;
        data(world, 1, "1.0").await;
        let (volumes, mounts) = volumes();
        let variable = |name: &str| {
            json!({ "name": format!("PARAM_{}", name.to_uppercase()), "value": format!("$(params.{name})") })
        };
        let environment = ["algorithm", "seed", "noise"].map(variable);
        let reported = ["r2", "model-uri", "model-digest", "code"];
        let mut command = vec!["python3".to_owned(), "/code/train.py".to_owned()];
        command.extend(reported.map(|name| format!("{name}=$(results.{name}.path)")));
        let trainer = pipeline(
            &["algorithm", "seed", "noise"],
            &[("r2", "r2"), ("model-uri", "model-uri"), ("model-digest", "model-digest"), ("input.code", "code")],
            &json!({
                "volumes": volumes,
                "steps": [{
                    "name": "train", "image": PYTHON, "command": command, "volumeMounts": mounts,
                    "env": environment,
                }],
            }),
        );
        let mut deployer = pipeline(
            &["name", "digest"],
            &[],
            &json!({ "steps": [{
                "name": "roll-out", "image": KUBECTL, "command": ["sh", "-c", ROLL_OUT],
                "env": [{ "name": "NAME", "value": "$(params.name)" }, { "name": "DIGEST", "value": "$(params.digest)" }],
            }]}),
        );
        deployer["taskRunTemplate"] = json!({ "serviceAccountName": "roll-out" });
        world.apply(&model_sync("pipelineRunTemplate", &deployer)).await;
        world.apply(&model_train("pipelineRunTemplate", &trainer)).await;
        let status = trained(world, 1).await;
        let records = records(world, 1).await;
        assert_eq!(accepted(&status), name(best(&records)));
        served(world, best(&records)).await;
        assert_eq!(world.runs("serve").await.len(), 1);
        verify(world);
    })
    .await;
}
