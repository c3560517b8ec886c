//! Invalid input: the API server refuses it, or a condition of the object names the field to change. The objects are
//! data in `tests/fixtures/objects`.

use std::collections::BTreeSet;

use kube::{
    api::{Patch, PatchParams},
    client::Body,
};
use modelsync::{
    api::{
        ConditionStatus::{False, True},
        ConditionType::{Ready, Reconciling, Stalled},
        ModelSyncStatus, keys,
    },
    core::status::condition::find,
};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::harness::{Reply, World, cluster::repository, scenario};

/// One object of a fixture file.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    #[serde(default)]
    template: Template,
    #[serde(default)]
    change: Value,
    long: Option<Long>,
    many: Option<Many>,
    r#where: Option<Where>,
    #[serde(default)]
    says: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Template {
    #[default]
    Pipeline,
    Job,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Long {
    at: String,
    #[serde(default)]
    before: String,
    unit: String,
    times: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Many {
    at: String,
    /// Makes a map instead of a list.
    key: Option<String>,
    item: Value,
    times: usize,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Where {
    Admission,
    Stalled,
}

fn cases(file: &str) -> Vec<Case> {
    let path = repository().join("tests/fixtures/objects").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let cases: Vec<Case> = serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let names: BTreeSet<_> = cases.iter().map(|case| case.name.as_str()).collect();
    assert_eq!(names.len(), cases.len(), "{file}: two cases have one name");
    cases
}

impl Case {
    fn spec(&self, world: &World, name: &str) -> Value {
        let mut spec = world.spec(name);
        if matches!(self.template, Template::Job) {
            let container = json!({ "name": "train", "image": "local.test/busybox:1", "command": ["true"] });
            let pod = json!({ "restartPolicy": "Never", "containers": [container] });
            merge(
                &mut spec,
                &json!({ "pipelineRunTemplate": null, "jobTemplate": { "spec": { "template": { "spec": pod } } } }),
            );
            spec["parameters"] = json!([{ "needsSyncName": "name", "pipelineName": "model" }]);
        }
        merge(&mut spec, &self.change);
        if let Some(Long { at, before, unit, times }) = &self.long {
            put(&mut spec, at, json!(format!("{before}{}", unit.repeat(*times))));
        }
        if let Some(Many { at, key, item, times }) = &self.many {
            let numbered = |text: &str, n: usize| text.replace("$n", &n.to_string());
            let items = (0..*times).map(|n| serde_json::from_str::<Value>(&numbered(&item.to_string(), n)).unwrap());
            let value = match key {
                Some(key) => items.enumerate().map(|(n, item)| (numbered(key, n), item)).collect::<Map<_, _>>().into(),
                None => items.collect::<Vec<_>>().into(),
            };
            put(&mut spec, at, value);
        }
        spec
    }
}

/// Merges a patch as RFC 7396 defines it.
fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        if !patch.is_null() {
            *target = patch.clone();
        }
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

/// Writes a value at a JSON pointer and creates the missing objects above it.
fn put(target: &mut Value, pointer: &str, value: Value) {
    let mut at = target;
    for key in pointer.split('/').skip(1) {
        at = match key.parse::<usize>() {
            Ok(index) => &mut at[index],
            Err(_) => &mut at[key],
        };
    }
    *at = value;
}

/// The status of an object once the operator has reconciled it for the first time.
async fn reconciled(world: &World, name: &str) -> ModelSyncStatus {
    world.until_status(name, "reconciled", |status| find(&status.conditions, Ready).is_some()).await
}

#[tokio::test]
async fn every_bad_object_is_refused_or_stalled_with_the_field_and_the_remedy() {
    scenario("bad_objects", async |world| {
        let cases = cases("bad.yaml");
        assert!(cases.len() >= 60, "{}", cases.len());
        assert!(
            cases.iter().all(|case| case.says.starts_with("spec.") || case.says.contains(' ')),
            "a case expects nothing"
        );
        let mut wrong = Vec::new();
        let mut stalled = Vec::new();
        for (n, case) in cases.iter().enumerate() {
            let name = format!("bad-{n}");
            world.endpoint.says(&name, Reply::model("m1"));
            match (world.try_apply(&name, case.spec(world, &name)).await, case.r#where.unwrap()) {
                (Ok(_), Where::Stalled) => stalled.push((name, case)),
                (Err(message), Where::Admission) if message.contains(&case.says) => {}
                (Ok(_), Where::Admission) => wrong.push(format!("{}: accepted", case.name)),
                (Err(message), _) => {
                    wrong.push(format!("{}: refused with: {message}\n    expected {:?}", case.name, case.says));
                }
            }
        }
        assert!(stalled.len() >= 30, "{}", stalled.len());
        for (name, case) in &stalled {
            let status = reconciled(world, name).await;
            let shown = |type_| find(&status.conditions, type_).map(|c| (c.status, c.reason.as_str()));
            let said = find(&status.conditions, Stalled).map_or("", |condition| condition.message.as_str());
            let as_expected = shown(Stalled) == Some((True, "InvalidSpec"))
                && shown(Ready) == Some((False, "InvalidSpec"))
                && find(&status.conditions, Ready).unwrap().message == said
                && shown(Reconciling).is_none()
                && said.starts_with("spec.")
                && said.contains(&case.says);
            if !as_expected {
                wrong.push(format!("{}: {:?}\n    expected {:?}", case.name, status.conditions, case.says));
            }
        }
        assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
        for (name, case) in &stalled {
            assert_eq!(
                (world.endpoint.polls(name), world.runs(name).await.len()),
                (0, 0),
                "{}: neither polled nor run",
                case.name
            );
        }
    })
    .await;
}

#[tokio::test]
async fn every_good_object_is_accepted_without_a_warning_and_not_stalled() {
    scenario("good_objects", async |world| {
        let cases = cases("good.yaml");
        assert!(cases.len() >= 15, "{}", cases.len());
        for (n, case) in cases.iter().enumerate() {
            let (name, mut spec) = (format!("good-{n}"), case.spec(world, &format!("good-{n}")));
            if case.name == "what generators leave behind" {
                // A merge patch cannot set an explicit null.
                spec["pipelineRunTemplate"]["metadata"]["creationTimestamp"] = Value::Null;
            }
            let warnings = create_as_kubectl_does(world, &name, &spec)
                .await
                .unwrap_or_else(|refused| panic!("{}: {refused}", case.name));
            assert!(warnings.is_empty(), "{}: {warnings:?}", case.name);
        }
        for (n, case) in cases.iter().enumerate() {
            let status = reconciled(world, &format!("good-{n}")).await;
            assert!(find(&status.conditions, Stalled).is_none(), "{}: {:?}", case.name, status.conditions);
        }
    })
    .await;
}

/// Creates a ModelSync with strict validation of fields. Returns the API server's warnings, or its refusal.
async fn create_as_kubectl_does(world: &World, name: &str, spec: &Value) -> Result<Vec<String>, String> {
    let object =
        json!({ "apiVersion": keys::API_VERSION, "kind": "ModelSync", "metadata": { "name": name }, "spec": spec });
    let path = format!("/apis/{}/namespaces/{}/modelsyncs?fieldValidation=Strict", keys::API_VERSION, world.namespace);
    let request = http::Request::post(path)
        .header("Content-Type", "application/json")
        .body(Body::from(serde_json::to_vec(&object).unwrap()))
        .unwrap();
    let reply = world.client.send(request).await.map_err(|error| error.to_string())?;
    let (status, headers) = (reply.status(), reply.headers().clone());
    if !status.is_success() {
        return Err(String::from_utf8_lossy(&reply.into_body().collect_bytes().await.unwrap()).into_owned());
    }
    Ok(headers.get_all("Warning").iter().map(|warning| warning.to_str().unwrap().to_owned()).collect())
}

#[tokio::test]
async fn object_without_a_spec_is_refused() {
    scenario("no_spec", async |world| {
        let refused = create_as_kubectl_does(world, "a", &Value::Null).await.unwrap_err();
        assert!(refused.contains("spec: Required value"), "{refused}");
        let refused = create_as_kubectl_does(world, "a", &json!("http://labelbot/")).await.unwrap_err();
        assert!(refused.contains("spec in body must be of type object"), "{refused}");
        let refused = create_as_kubectl_does(world, "a", &json!({})).await.unwrap_err();
        for field in ["spec.needsSyncUrl is missing", "spec.pipelineRunTemplate and spec.jobTemplate are both missing"]
        {
            assert!(refused.contains(field), "{refused}");
        }
    })
    .await;
}

#[tokio::test]
async fn unknown_field_is_refused_under_strict_validation() {
    scenario("unknown_fields", async |world| {
        for (field, spec) in [
            ("spec.neesSyncUrl", json!({ "neesSyncUrl": "http://x/" })),
            ("spec.parameters[0].name", json!({ "parameters": [{ "needsSyncName": "a", "name": "b" }] })),
            (
                "spec.pipelineRunTemplate.metadata.finalizers",
                json!({ "pipelineRunTemplate": { "metadata": { "finalizers": [] } } }),
            ),
        ] {
            let mut whole = world.spec("a");
            merge(&mut whole, &spec);
            let refused = create_as_kubectl_does(world, "a", &whole).await.unwrap_err();
            assert!(refused.contains(&format!("unknown field \\\"{field}\\\"")), "{field}: {refused}");
        }
    })
    .await;
}

#[tokio::test]
async fn stalled_object_continues_once_its_spec_is_fixed() {
    scenario("fixed", async |world| {
        world.endpoint.says("a", Reply::model("m1"));
        let mut spec = world.spec("a");
        spec["pipelineRunTemplate"]["spec"]["resources"] = json!([{ "name": "repo" }]);
        world.apply("a", spec).await;
        world.until("a", Stalled, True, "InvalidSpec").await;
        world.apply("a", world.spec("a")).await;
        world.run("a", 1).await;
        let status = world.until("a", Ready, True, "Operational").await;
        assert!(find(&status.conditions, Stalled).is_none());
        // A valid object that becomes invalid: the active run continues, and a condition names the mistake at once.
        world.patch_spec("a", json!({ "pipelineRunTemplate": { "spec": { "status": "Cancelled" } } })).await;
        let status = world.until("a", Stalled, True, "InvalidSpec").await;
        assert_eq!((status.attempt, status.active.len()), (1, 1));
        world.end_run(&world.run("a", 1).await, "Succeeded").await;
        world.until_recorded("a", 1).await;
        world.until("a", Stalled, True, "InvalidSpec").await;
        assert_eq!(world.runs("a").await.len(), 1);
    })
    .await;
}

#[tokio::test]
async fn status_that_a_user_writes_at_create_is_dropped() {
    scenario("forged_status", async |world| {
        world.stop_operator().await;
        let mut object = json!({ "apiVersion": keys::API_VERSION, "kind": "ModelSync", "metadata": { "name": "a" }, "spec": world.spec("a") });
        object["status"] = json!({ "observedGeneration": 1, "attempt": 7, "lastHandledTrigger": "x" });
        let object = serde_json::from_value(object).unwrap();
        let stored = world.model_syncs().create(&kube::api::PostParams::default(), &object).await.unwrap();
        assert_eq!(stored.status, Some(ModelSyncStatus::default()), "as if the operator had never seen it");
        let patch = Patch::Merge(json!({ "status": { "attempt": 7 } }));
        world.model_syncs().patch("a", &PatchParams::default(), &patch).await.unwrap();
        assert_eq!(world.status("a").await.attempt, 0, "the object's own endpoint does not write status either");
    })
    .await;
}

#[tokio::test]
async fn attempt_in_status_never_shrinks_for_any_writer() {
    scenario("attempt_shrinks", async |world| {
        world.stop_operator().await;
        world.apply("a", world.spec("a")).await;
        let write = async |attempt: Value| {
            let patch = Patch::Merge(json!({ "status": { "attempt": attempt } }));
            world
                .model_syncs()
                .patch_status("a", &PatchParams::default(), &patch)
                .await
                .map_err(|error| error.to_string())
        };
        write(json!(5)).await.unwrap();
        for lower in [json!(4), json!(0), Value::Null] {
            let refused = write(lower.clone()).await.unwrap_err();
            assert!(refused.contains("status.attempt never shrinks"), "{lower}: {refused}");
        }
        for bad in [json!(-1), json!(100_000_000), json!("6")] {
            let refused = write(bad.clone()).await.unwrap_err();
            assert!(refused.contains("status.attempt"), "{bad}: {refused}");
        }
        let removed = Patch::Merge(json!({ "status": null }));
        let whole = world.model_syncs().patch_status("a", &PatchParams::default(), &removed).await;
        assert_eq!(world.status("a").await.attempt, 5, "the whole status cannot be taken away: {whole:?}");
        write(json!(6)).await.unwrap();
    })
    .await;
}
