//! The operator as it is installed, on a real node: its Deployment from `config/`, real Tekton, real pods, real time.
//!
//! `cargo xtask test node` brings the cluster up, loads the images and runs this inside the cluster's network.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, reason = "tests fail by panicking")]

mod ancestor;
mod failover;
mod leader;
mod training;
mod world;

use serde_json::{Value, json};

use world::{BUSYBOX, World, node_test, node_test_alone, restart_operator};

/// A PipelineRun's spec: one step, which gets the model's name from the parameter.
fn pipeline_spec(script: &str) -> Value {
    json!({
        "params": [{ "name": "model", "value": "placeholder" }],
        "pipelineSpec": {
            "params": [{ "name": "model", "type": "string" }],
            "results": [{ "name": "model", "value": "$(tasks.deploy.results.model)" }],
            "tasks": [{
                "name": "deploy",
                "params": [{ "name": "model", "value": "$(params.model)" }],
                "taskSpec": {
                    "params": [{ "name": "model", "type": "string" }],
                    "results": [{ "name": "model" }],
                    "steps": [{
                        "name": "deploy",
                        "image": BUSYBOX,
                        "env": [
                            { "name": "MODEL", "value": "$(params.model)" },
                            { "name": "RESULT", "value": "$(results.model.path)" },
                        ],
                        "command": ["sh", "-c", format!("printf %s \"$MODEL\" > \"$RESULT\"; {script}")],
                    }],
                },
            }],
        },
    })
}

fn job_spec(script: &str) -> Value {
    json!({
        "backoffLimit": 0,
        "template": { "spec": {
            "restartPolicy": "Never",
            "terminationGracePeriodSeconds": 1,
            "containers": [{ "name": "deploy", "image": BUSYBOX, "command": ["sh", "-c", script] }],
        }},
    })
}

fn model_sync(world: &World, name: &str, template: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": "automl.cloudai.kubeflow.org/v1alpha1",
        "kind": "ModelSync",
        "metadata": { "name": name },
        "spec": {
            "needsSyncUrl": world.url(name),
            "interval": "5s",
            "parameters": [{ "needsSyncName": "name", "pipelineName": "model" }],
            template: { "spec": spec },
        },
    })
}

#[tokio::test]
async fn pipeline_run_succeeds_with_the_parameter_of_the_response_and_the_object_is_in_sync() {
    node_test("pipeline-ok", async |world| {
        world.wants("ok", "model-1");
        world.apply(&model_sync(world, "ok", "pipelineRunTemplate", &pipeline_spec("true"))).await;
        let run = world.run_ended("ok", 1, "Succeeded").await;
        let result = world.get("tekton.dev/v1", "PipelineRun", &run).await.unwrap();
        assert_eq!(result["status"]["results"], json!([{ "name": "model", "value": "model-1" }]));
        world.has("ok", "model-1");
        world.condition("ok", "InSync", "True", "UpToDate").await;
        world.condition("ok", "Ready", "True", "Operational").await;
        assert_eq!(world.runs("ok").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn pipeline_run_that_fails_is_reported_and_backs_off() {
    node_test("pipeline-fails", async |world| {
        world.wants("bad", "model-1");
        let mut object = model_sync(world, "bad", "pipelineRunTemplate", &pipeline_spec("exit 3"));
        object["spec"]["retry"] = json!({ "minBackoff": "10m" });
        world.apply(&object).await;
        world.run_ended("bad", 1, "Failed").await;
        world.condition("bad", "InSync", "False", "BackingOff").await;
        world.condition("bad", "Ready", "False", "RunFailing").await;
        let status = world.status("bad").await;
        assert_eq!(status["target"]["failures"], 1, "{status:#}");
        assert!(status["nextAttemptAt"].is_string(), "{status:#}");
        // The operator starts no other run during the next polls.
        world.polled_more("bad", 3).await;
        assert_eq!(world.runs("bad").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn job_gets_its_parameter_as_a_variable_and_as_text() {
    node_test("job-ok", async |world| {
        world.wants("job", "model $7");
        let script = "[ \"$PARAM_MODEL\" = 'model $7' ] && [ '$(params.model)' = 'model $7' ]";
        world.apply(&model_sync(world, "job", "jobTemplate", &job_spec(script))).await;
        world.run_ended("job", 1, "Succeeded").await;
        world.has("job", "model $7");
        world.condition("job", "InSync", "True", "UpToDate").await;
    })
    .await;
}

#[tokio::test]
async fn operator_that_is_restarted_mid_run_adopts_the_run_and_starts_no_other() {
    node_test_alone("restart", async |world| {
        world.wants("long", "model-1");
        world.apply(&model_sync(world, "long", "pipelineRunTemplate", &pipeline_spec("sleep 20"))).await;
        world.condition("long", "InSync", "False", "RunActive").await;
        let run = world.exists("long").await;
        restart_operator();
        assert_eq!(world.run_ended("long", 1, "Succeeded").await, run);
        world.has("long", "model-1");
        world.condition("long", "InSync", "True", "UpToDate").await;
        assert_eq!(world.runs("long").await, [run]);
    })
    .await;
}
