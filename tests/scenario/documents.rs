//! The examples of the documents, applied as a reader would apply them.

use std::{collections::BTreeMap, path::Path};

use kube::api::{Patch, PatchParams, ValidationDirective};
use modelsync::{
    api::{ModelSync, ModelTrain, keys},
    core::{
        invalid::Invalid,
        sync::validate,
        train::{self, Compiled},
    },
    runs,
};
use serde_json::{Value, json};

use crate::harness::{
    cluster::{api, repository},
    scenario,
};

/// Documents in which a part of a spec belongs to a ModelTrain.
const OF_TRAINS: [&str; 4] = ["modeltrain", "freshness", "gates", "results"];

/// Every YAML block of a document that is a ModelSync, a ModelTrain or a part of their `spec`. `records.rs` tests the
/// records.
fn examples(document: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(document).unwrap();
    let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let parsed =
        blocks.map(|block| serde_saphyr::from_str::<Value>(block).unwrap_or_else(|error| panic!("{block}: {error}")));
    let ours = |value: &Value| match value["kind"].as_str() {
        Some(kind) => ["ModelSync", "ModelTrain"].contains(&kind),
        None => value.get("spec").is_some(),
    };
    parsed.filter(ours).collect()
}

/// Completes a part of a spec to a ModelTrain.
fn whole_train(example: &Value) -> Value {
    let mut spec = example["spec"].clone();
    if spec.get("pipelineRunTemplate").is_none() && spec.get("jobTemplate").is_none() {
        spec["pipelineRunTemplate"] = json!({ "spec": { "pipelineRef": { "name": "p" } } });
    }
    json!({ "apiVersion": keys::API_VERSION, "kind": "ModelTrain", "metadata": { "name": "example" }, "spec": spec })
}

/// Completes a part of a spec to a ModelSync.
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

/// Validates a ModelSync as the operator does.
fn check_model_sync(object: &ModelSync) -> Result<(), Invalid> {
    validate(&object.spec, runs::backends()).map(drop)
}

/// Validates a ModelTrain as the operator does.
fn check_model_train(ModelTrain { spec, .. }: &ModelTrain) -> Result<(), Invalid> {
    train::validate(spec, &Compiled::of(spec)?, runs::backends()).map(drop)
}

#[tokio::test]
async fn every_example_of_the_documents_is_accepted_and_can_be_carried_out() {
    scenario("documents", async |world| {
        let mut counts = BTreeMap::from([("ModelSync", 0), ("ModelTrain", 0)]);
        let mut documents: Vec<_> =
            std::fs::read_dir(repository().join("docs")).unwrap().map(|entry| entry.unwrap().path()).collect();
        documents.push(repository().join("README.md"));
        for document in documents.iter().filter(|path| path.extension().is_some_and(|extension| extension == "md")) {
            for example in examples(document) {
                let whole_object = example.get("kind").is_some();
                let of_train = OF_TRAINS.contains(&document.file_stem().unwrap().to_str().unwrap());
                let object = match example["kind"].as_str() {
                    Some("ModelTrain") => example,
                    None if of_train => whole_train(&example),
                    _ => whole(&example),
                };
                let kind = if object["kind"] == "ModelTrain" { "ModelTrain" } else { "ModelSync" };
                let params = PatchParams {
                    field_validation: Some(ValidationDirective::Strict),
                    ..PatchParams::apply("reader").dry_run()
                };
                let name = object["metadata"]["name"].as_str().unwrap();
                let stored = api(&world.client, keys::API_VERSION, kind, Some(&world.namespace))
                    .patch(name, &params, &Patch::Apply(&object))
                    .await
                    .unwrap_or_else(|error| panic!("{}: {object:#}: {error}", document.display()));
                let checked = match kind {
                    // A part may refer to fields that only the rest of its object has.
                    "ModelTrain" if !whole_object => Ok(()),
                    "ModelTrain" => check_model_train(&stored.try_parse().unwrap()),
                    _ => check_model_sync(&stored.try_parse().unwrap()),
                };
                checked.unwrap_or_else(|invalid| panic!("{}: {object:#}: {invalid}", document.display()));
                *counts.get_mut(kind).unwrap() += 1;
            }
        }
        assert!(counts["ModelSync"] >= 8 && counts["ModelTrain"] >= 3, "{counts:?}");
    })
    .await;
}
