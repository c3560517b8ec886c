//! The examples of the documents, as their readers would apply them.

use std::path::Path;

use kube::api::{Patch, PatchParams, ValidationDirective};
use modelsync::{
    api::{ModelSync, keys},
    core::sync::validate,
    runs,
};
use serde_json::{Value, json};

use crate::harness::{
    cluster::{api, repository},
    scenario,
};

/// Every YAML block of a document that is a ModelSync, or the `spec` of one.
fn examples(document: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(document).unwrap();
    let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let parsed =
        blocks.map(|block| serde_saphyr::from_str::<Value>(block).unwrap_or_else(|error| panic!("{block}: {error}")));
    // Records are no examples of a ModelSync: `records.rs` looks after them.
    let ours = |value: &Value| value["kind"] == "ModelSync" || value.get("spec").is_some();
    parsed.filter(|value| ours(value) && value["kind"] != "ModelVersion").collect()
}

/// A part of a spec becomes a whole object by what it leaves out.
fn whole(example: &Value) -> Value {
    let mut spec = example["spec"].clone();
    if spec.get("compare").is_none() && spec.get("needsSyncUrl").is_none() {
        spec["needsSyncUrl"] = json!("http://endpoint/needsSync");
    }
    if spec.get("pipelineRunTemplate").is_none() && spec.get("jobTemplate").is_none() {
        spec["pipelineRunTemplate"] = json!({ "spec": { "pipelineRef": { "name": "p" } } });
    }
    json!({ "apiVersion": keys::API_VERSION, "kind": "ModelSync", "metadata": { "name": "example" }, "spec": spec })
}

#[tokio::test]
async fn every_example_of_the_documents_is_accepted_and_can_be_carried_out() {
    scenario("documents", async |world| {
        let mut count = 0;
        let mut documents: Vec<_> =
            std::fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
        documents.push(repository().join("README.md"));
        for document in documents.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
            for example in examples(document) {
                let object = whole(&example);
                let params = PatchParams {
                    field_validation: Some(ValidationDirective::Strict),
                    ..PatchParams::apply("reader").dry_run()
                };
                let stored = api(&world.client, keys::API_VERSION, "ModelSync", Some(&world.namespace))
                    .patch("example", &params, &Patch::Apply(&object))
                    .await
                    .unwrap_or_else(|error| panic!("{}: {object:#}: {error}", document.display()));
                let stored: ModelSync = stored.try_parse().unwrap();
                if let Err(invalid) = validate(&stored.spec, runs::backends()) {
                    panic!("{}: {object:#}: {invalid}", document.display());
                }
                count += 1;
            }
        }
        assert!(count >= 8, "{count} examples");
    })
    .await;
}
