//! The examples of the documents, as their readers would apply them.

use std::{collections::BTreeMap, path::Path};

use kube::api::{Patch, PatchParams, ValidationDirective};
use modelsync::{
    api::{JobTemplate, ModelSync, ModelTrain, PipelineRunTemplate, keys},
    core::{
        invalid::Invalid,
        results::values,
        run::{RunBackend, Template},
        sync::validate,
    },
    runs,
};
use serde_json::{Value, json};

use crate::harness::{
    cluster::{api, repository},
    scenario,
};

/// Every YAML block of a document that is an object of ours, or the `spec` of a ModelSync.
fn examples(document: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(document).unwrap();
    let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
    let parsed =
        blocks.map(|block| serde_saphyr::from_str::<Value>(block).unwrap_or_else(|error| panic!("{block}: {error}")));
    // Records are no examples of a ModelSync: `records.rs` looks after them.
    let ours = |value: &Value| value["kind"] == "ModelSync" || value.get("spec").is_some();
    parsed.filter(|value| ours(value) && value["kind"] != "ModelVersion" && value["kind"] != "ModelTrain").collect()
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

/// A ModelSync can be carried out if it is valid.
fn check_model_sync(object: &ModelSync) -> Result<(), Invalid> {
    validate(&object.spec, runs::backends()).map(drop)
}

/// A ModelTrain can be carried out if runs can be made from its template, and its metrics can be read.
fn check_model_train(ModelTrain { spec, .. }: &ModelTrain) -> Result<(), Invalid> {
    let (backend, template): (&dyn RunBackend, _) = match (&spec.pipeline_run_template, &spec.job_template) {
        (Some(PipelineRunTemplate { metadata, spec }), _) => {
            (&runs::PipelineRun, Template { field: "spec.pipelineRunTemplate", metadata: metadata.as_ref(), spec })
        }
        (_, Some(JobTemplate { metadata, spec })) => {
            (&runs::BatchJob, Template { field: "spec.jobTemplate", metadata: metadata.as_ref(), spec })
        }
        _ => panic!("the schema asks for a template"),
    };
    let parameters: Vec<_> = spec.parameters.iter().map(|parameter| parameter.name.as_str()).collect();
    backend.check(template, &parameters, None)?;
    let metrics = spec.metrics.as_deref();
    backend.check_results(template, metrics.and_then(|metrics| metrics.container.as_deref()))?;
    let values = metrics.into_iter().flat_map(|metrics| &metrics.values).enumerate();
    for (index, value) in values {
        values::check(&value.source, &format!("spec.metrics.values[{index}].source"))?;
    }
    Ok(())
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
                let object = if example["kind"] == "ModelTrain" { example } else { whole(&example) };
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
