//! Objects of the ancestor's users, unchanged.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use modelsync::api::{
    ConditionStatus::{False, True},
    ConditionType::{InSync, Stalled},
};
use serde_json::{Value, json};

use crate::harness::{
    Reply, World,
    cluster::{repository, yaml_file},
    scenario,
    world::parameter,
};

/// The ancestor's own files if they are on this machine, else fixtures with the same fields.
fn files() -> Vec<PathBuf> {
    let real = repository().join("../shared/fixtures/labelbot");
    let folder = if real.is_dir() { real } else { repository().join("tests/fixtures/templates/pipelinerun/ancestor") };
    ["modelsync", "modelsync_local", "retrain-model"].iter().map(|name| folder.join(format!("{name}.yaml"))).collect()
}

/// Runs kubectl against the test cluster; returns its exit code and output.
fn kubectl(world: &World, arguments: &[&str], file: &Path) -> (Option<i32>, String) {
    let kubeconfig = std::env::var_os("MODELSYNC_TEST_KUBECONFIG")
        .map_or_else(|| repository().join("target/cluster/default/kubeconfig"), PathBuf::from);
    let kubectl = kubeconfig.parent().unwrap().join("../bin/kubectl");
    let output = Command::new(&kubectl)
        .args(arguments)
        .args(["--namespace", &world.namespace, "--filename"])
        .arg(file)
        .env("KUBECONFIG", &kubeconfig)
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}", kubectl.display()));
    (
        output.status.code(),
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ancestors_objects_apply_unchanged_and_show_no_drift() {
    for (name, server_side) in [("drift_plain", false), ("drift_ssa", true)] {
        scenario(name, async |world| {
            let flag = format!("--server-side={server_side}");
            for file in files() {
                let (code, output) = kubectl(world, &["apply", &flag], &file);
                assert_eq!(code, Some(0), "{output}");
                assert!(!output.contains("Warning"), "{output}");
            }
            for file in files() {
                let object = yaml_file(&file).remove(0);
                let name = object["metadata"]["name"].as_str().unwrap().to_owned();
                let status = world.until(&name, Stalled, True, "InvalidSpec").await;
                let message = &status.conditions.iter().find(|c| c.type_ == Stalled).unwrap().message;
                for fragment in ["spec.pipelineRunTemplate.spec.resources", "2023", "workspaces"] {
                    assert!(message.contains(fragment), "{fragment} is missing: {message}");
                }
                // The operator has written its status by now; the fields that the user owns equal the file.
                let (code, output) = kubectl(world, &["diff", &flag], &file);
                assert_eq!(code, Some(0), "drift of {name}:\n{output}");
            }
        })
        .await;
    }
}

#[tokio::test]
async fn ancestors_objects_without_pipeline_resources_run() {
    scenario("ancestor", async |world| {
        for file in files() {
            let mut object: Value = yaml_file(&file).remove(0);
            let name = object["metadata"]["name"].as_str().unwrap().to_owned();
            world.endpoint.says(&name, Reply::model("projects/1/models/TCN2"));
            object["spec"]["needsSyncUrl"] = json!(world.endpoint.url(&name));
            object["spec"]["pipelineRunTemplate"]["spec"]
                .as_object_mut()
                .unwrap()
                .remove("resources")
                .expect("the ancestor's block");
            world.apply(&name, object["spec"].clone()).await;
            let run = world.run(&name, 1).await;
            let given = &object["spec"]["pipelineRunTemplate"]["spec"];
            assert_eq!(run.data["spec"]["pipelineRef"], given["pipelineRef"]);
            assert_eq!(run.data["spec"]["taskRunTemplate"]["serviceAccountName"], given["serviceAccountName"]);
            if given["pipelineRef"]["name"] == "update-model-pr" {
                assert_eq!(
                    parameter(&run, "automl-model").as_deref(),
                    Some("projects/1/models/TCN2"),
                    "not the placeholder"
                );
            }
            let active = &world.until(&name, InSync, False, "RunActive").await.active[0];
            assert_eq!((active.kind.as_str(), active.namespace.as_str()), ("PipelineRun", world.namespace.as_str()));
        }
    })
    .await;
}
