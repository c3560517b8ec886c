//! The label bot's objects of 2020, without the `resources` that Tekton removed, on Pipelines of the same names and
//! parameters.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::world::{BUSYBOX, World, node_test, repository};

/// Name of the model in the responses of the bot's own endpoint.
const MODEL: &str = "projects/976279526634/locations/us-central1/models/TCN654213816573231104";

/// The folder of the objects' files: the originals if they are beside the repository, otherwise copies with the same
/// fields.
fn files() -> PathBuf {
    let originals = repository().join("../shared/fixtures/labelbot");
    if originals.is_dir() { originals } else { repository().join("tests/fixtures/templates/pipelinerun/ancestor") }
}

fn object(file: &str) -> Value {
    let text = std::fs::read_to_string(files().join(file)).unwrap();
    let mut object: Value = serde_saphyr::from_str(&text).unwrap();
    object["spec"]["pipelineRunTemplate"]["spec"].as_object_mut().unwrap().remove("resources");
    object
}

/// A Pipeline that takes these parameters and returns one of them as its result.
fn pipeline(name: &str, parameters: &[&str], result: &str) -> Value {
    let declared: Vec<_> =
        parameters.iter().map(|name| json!({ "name": name, "type": "string", "default": "" })).collect();
    json!({
        "apiVersion": "tekton.dev/v1",
        "kind": "Pipeline",
        "metadata": { "name": name },
        "spec": {
            "params": declared,
            "results": [{ "name": "seen", "value": "$(tasks.do.results.seen)" }],
            "tasks": [{
                "name": "do",
                "params": [{ "name": "value", "value": format!("$(params.{result})") }],
                "taskSpec": {
                    "params": [{ "name": "value", "type": "string" }],
                    "results": [{ "name": "seen" }],
                    "steps": [{
                        "name": "do",
                        "image": BUSYBOX,
                        "command": ["sh", "-c", "printf %s \"$0\" > $(results.seen.path)", "$(params.value)"],
                    }],
                },
            }],
        },
    })
}

/// Waits for the end of the object's first run and returns the value that the run received.
async fn first_run(world: &World, object: &Value) -> Value {
    let run = world.run_ended(name(object), 1, "Succeeded").await;
    let run = world.get("tekton.dev/v1", "PipelineRun", &run).await.unwrap();
    let account = &object["spec"]["pipelineRunTemplate"]["spec"]["serviceAccountName"];
    assert_eq!(run["spec"]["taskRunTemplate"]["serviceAccountName"], *account);
    run["status"]["results"][0]["value"].clone()
}

fn name(object: &Value) -> &str {
    object["metadata"]["name"].as_str().unwrap()
}

#[tokio::test]
async fn ancestors_objects_run_on_pipelines_of_their_names_and_parameters() {
    node_test("ancestor", async |world| {
        world.publish("labelbot-diff", "label-bot-prod").await;
        let parameters = ["automl-model", "branchName", "fork", "forkName", "upstreamName"];
        world.apply(&pipeline("update-model-pr", &parameters, "automl-model")).await;
        world.apply(&pipeline("run-notebook", &["notebook-path", "output", "requirements"], "notebook-path")).await;
        for account in ["auto-update", "default-editor"] {
            world
                .apply(&json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": account } }))
                .await;
        }
        for path in ["needsSync", "needsTrain"] {
            world.wants(path, MODEL);
        }

        let deploy = object("modelsync.yaml");
        // The sample for a developer's machine polls localhost, which is the operator itself.
        let mut sample = object("modelsync_local.yaml");
        sample["spec"]["needsSyncUrl"] = deploy["spec"]["needsSyncUrl"].clone();
        let train = object("retrain-model.yaml");
        for object in [&deploy, &sample, &train] {
            world.apply(object).await;
        }
        for object in [&deploy, &sample, &train] {
            world.exists(name(object)).await;
        }
        // The operator polls once a minute and after each run: by then it must see the change.
        for path in ["needsSync", "needsTrain"] {
            world.has(path, MODEL);
        }

        assert_eq!(first_run(world, &deploy).await, MODEL);
        assert_eq!(first_run(world, &sample).await, MODEL);
        // It maps no parameters, so its run has the template's.
        assert_eq!(first_run(world, &train).await, "Label_Microservice/notebooks/automl.ipynb");
        for object in [&deploy, &sample, &train] {
            world.condition(name(object), "InSync", "True", "UpToDate").await;
            assert_eq!(world.runs(name(object)).await.len(), 1, "{}", name(object));
        }
    })
    .await;
}
