//! The contract of every run backend, over its fixtures: `fixtures/runs/<kind>/` has objects named by the phase that
//! they are in, `fixtures/templates/<kind>/` has templates that are good and templates that are bad. A backend without
//! fixtures fails here.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::{
    cell::Cell,
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use jiff::Timestamp;
use modelsync::{
    api::{
        Kind, ModelSync, ModelSyncSpec, ModelTrain, ModelTrainSpec, Outcome, RawObject, RunSpec, RunTemplate,
        TemplateMetadata,
    },
    core::{
        invalid::Invalid,
        results::{Results, RunPods},
        run::{
            backend::{
                Clue, Finding, Observed, OwnerReference, Phase, ResultsIn, RunBackend, RunKind, RunRequest, Template,
            },
            policy::RunPolicy,
        },
    },
    generate,
    kube_io::record,
    runs,
};
use proptest::{
    collection::vec,
    prelude::{ProptestConfig, Strategy, any},
    test_runner::{RngSeed, TestRunner},
};
use serde::Deserialize;
use serde_json::{Value, json};

/// One template of `good.yaml` or `bad.yaml`.
#[derive(Deserialize)]
struct Case<P> {
    name: String,
    metadata: Option<TemplateMetadata>,
    #[serde(default)]
    parameters: P,
    timeout: Option<kube::core::Duration>,
    spec: Value,
    #[serde(default)]
    run: Value,
    #[serde(default)]
    field: String,
    #[serde(default)]
    problem: String,
}

fn fixtures(below: &str, backend: &dyn RunBackend) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(below).join(backend.kind().kind.to_lowercase())
}

fn yaml(path: &Path) -> Value {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn cases<P: for<'de> Deserialize<'de> + Default>(backend: &dyn RunBackend, file: &str) -> Vec<Case<P>> {
    serde_json::from_value(yaml(&fixtures("templates", backend).join(file))).unwrap()
}

fn map(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
}

/// A request, owned.
struct OwnedRequest {
    field: &'static str,
    metadata: Option<TemplateMetadata>,
    spec: RawObject,
    parameters: BTreeMap<String, String>,
    timeout: Option<Duration>,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    owner: Option<OwnerReference>,
}

impl OwnedRequest {
    fn new(backend: &dyn RunBackend, spec: Value) -> Self {
        Self {
            field: backend.template_field(),
            metadata: None,
            spec: RawObject::try_from(spec).unwrap(),
            parameters: BTreeMap::new(),
            timeout: None,
            labels: map(&[("automl.cloudai.kubeflow.org/owner-uid", "u"), ("team", "operator")]),
            annotations: map(&[("automl.cloudai.kubeflow.org/target", "v1:sha256:00")]),
            owner: Some(OwnerReference {
                api_version: "automl.cloudai.kubeflow.org/v1alpha1",
                kind: "ModelSync",
                name: "labelbot".to_owned(),
                uid: "u".to_owned(),
            }),
        }
    }

    fn template(&self) -> Template<'_> {
        Template { field: self.field, metadata: self.metadata.as_ref(), spec: &self.spec }
    }

    fn check(&self, backend: &dyn RunBackend) -> Result<(), Invalid> {
        let names: Vec<_> = self.parameters.keys().map(String::as_str).collect();
        backend.check(self.template(), &names, self.timeout)
    }

    fn build(&self, backend: &dyn RunBackend) -> Result<Value, Invalid> {
        backend.build(&RunRequest {
            name: "labelbot-0123456789abcdef-3",
            namespace: "label-bot",
            template: self.template(),
            parameters: &self.parameters,
            labels: &self.labels,
            annotations: &self.annotations,
            owner: self.owner.as_ref(),
            timeout: self.timeout,
        })
    }
}

fn assert_placed(backend: &dyn RunBackend, run: &Value) {
    assert_eq!(run["apiVersion"], backend.kind().api_version());
    assert_eq!(run["kind"], backend.kind().kind);
    assert_eq!(run["metadata"]["name"], "labelbot-0123456789abcdef-3");
    assert_eq!(run["metadata"]["namespace"], "label-bot");
    let members: Vec<_> = run["metadata"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(members, ["annotations", "labels", "name", "namespace", "ownerReferences"]);
    assert_eq!(run.as_object().unwrap().len(), 4);
}

/// The phase that a fixture's name begins with.
fn phase(observed: &Observed) -> &'static str {
    match &observed.phase {
        Phase::Active => "active",
        Phase::Ended(ending) => match ending.outcome {
            Outcome::Succeeded => "succeeded",
            Outcome::Failed => "failed",
            Outcome::TimedOut => "timed-out",
            Outcome::Cancelled => "cancelled",
            Outcome::Gone | Outcome::Unrecognised => "not a run's own outcome",
        },
    }
}

#[test]
fn no_two_backends_have_the_same_kind() {
    let kinds: BTreeSet<_> = runs::backends().iter().map(|backend| backend.kind()).collect();
    assert_eq!(kinds.len(), runs::backends().len());
}

#[test]
fn every_run_is_in_the_phase_that_its_fixture_is_named_after() {
    for backend in runs::backends() {
        let mut seen: BTreeMap<_, u32> = BTreeMap::new();
        for entry in fs::read_dir(fixtures("runs", *backend)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_stem().unwrap().to_str().unwrap();
            let observed = backend.observe(&yaml(&path).to_string()).unwrap();
            let phase = phase(&observed);
            assert!(name.starts_with(phase), "{} is {phase}", path.display());
            if let Phase::Ended(ending) = &observed.phase {
                assert!(ending.finished_at.is_some(), "{} says when it ended", path.display());
            }
            *seen.entry(phase).or_default() += 1;
        }
        for phase in ["active", "succeeded", "failed", "timed-out"] {
            assert!(seen.contains_key(phase), "{} has no fixture that is {phase}", backend.kind());
        }
    }
}

#[test]
fn a_run_without_an_owner_stays_when_its_object_goes() {
    for backend in runs::backends() {
        let good = cases::<BTreeMap<String, String>>(*backend, "good.yaml").remove(0);
        let run = OwnedRequest { owner: None, ..OwnedRequest::new(*backend, good.spec) }.build(*backend).unwrap();
        assert_eq!(run["metadata"].get("ownerReferences"), None);
    }
}

#[test]
fn the_outputs_of_a_pipeline_run_are_its_first_string_results_cut_to_their_limits() {
    let result = |name: &str, value: Value| json!({ "name": name, "value": value });
    let mut results = vec![result("url", json!("http://pull/1")), result("list", json!(["a"])), json!("nonsense")];
    results.extend((0..20).map(|number| result(&format!("r{number}"), json!("ä".repeat(200)))));
    let status = json!({
        "conditions": [{ "type": "Succeeded", "status": "True", "lastTransitionTime": "2026-11-02T10:05:01Z" }],
        "results": results,
    });
    let observed = runs::PipelineRun.observe(&json!({ "status": status }).to_string()).unwrap();
    let Phase::Ended(ending) = observed.phase else { panic!("{observed:?}") };
    assert_eq!((ending.outputs[0].name.as_str(), ending.outputs[0].value.as_str()), ("url", "http://pull/1"));
    assert_eq!(ending.outputs[1].name, "r0");
    assert_eq!((ending.outputs.len(), ending.outputs[1].value.len()), (8, 256));
}

#[test]
fn the_results_of_a_pipeline_run_are_read_from_the_run_itself() {
    let run = json!({ "status": { "results": [
        { "name": "r2", "value": "0.80\n" },
        { "name": "model-uri", "value": "s3://models/7" },
        { "name": "classes", "value": ["a", "b"] },
        { "name": "shape", "value": { "rows": "3" } },
        { "name": "input.data", "value": "v7" },
        "nonsense",
        { "name": "no-value" },
    ] } });
    let ResultsIn::Object(results) = runs::PipelineRun.results(&run.to_string()).unwrap() else { panic!("in the run") };
    let metrics: Vec<_> = results.metrics.iter().map(|metric| (&*metric.name, metric.value.as_deref())).collect();
    assert_eq!(metrics, [("r2", Some("0.80"))]);
    assert_eq!(results.artifact.map(|artifact| artifact.uri).as_deref(), Some("s3://models/7"));
    let outputs: Vec<_> = results.outputs.iter().map(|output| (&*output.name, &*output.value)).collect();
    assert_eq!(outputs, [("classes", r#"["a","b"]"#), ("shape", r#"{"rows":"3"}"#)]);
    assert_eq!(results.read_inputs, map(&[("data", "v7")]));
    assert_eq!(results.problem, "");
}

#[test]
fn the_results_of_a_job_are_in_its_pods() {
    let container = |name: &str| json!({ "name": name });
    let mut job = json!({
        "metadata": { "uid": "2f1c" },
        "spec": { "template": { "spec": { "containers": [container("train"), container("proxy")] } } },
        "status": { "conditions": [{ "type": "Complete", "status": "True" }] },
    });
    let mut pods = RunPods {
        uid: "2f1c".to_owned(),
        succeeded: true,
        indexed: false,
        containers: vec!["train".to_owned(), "proxy".to_owned()],
    };
    assert_eq!(pods.selector(), "batch.kubernetes.io/controller-uid=2f1c");
    assert_eq!(runs::BatchJob.results(&job.to_string()).unwrap(), ResultsIn::Pods(pods.clone()));
    job["status"]["conditions"][0]["type"] = json!("Failed");
    job["spec"]["completionMode"] = json!("Indexed");
    (pods.succeeded, pods.indexed) = (false, true);
    assert_eq!(runs::BatchJob.results(&job.to_string()).unwrap(), ResultsIn::Pods(pods));
}

#[test]
fn results_can_be_read_from_any_run() {
    for backend in runs::backends() {
        for entry in fs::read_dir(fixtures("runs", *backend)).unwrap() {
            let path = entry.unwrap().path();
            let results = backend.results(&yaml(&path).to_string()).unwrap();
            if let ResultsIn::Object(results) = results {
                assert_eq!(results, Results::default(), "{} has no results", path.display());
            }
        }
        for text in ["", "{", "[]", "7", "null", r#"{"status":{}} x"#] {
            assert!(backend.results(text).is_err(), "{text}");
        }
        for text in ["{}", r#"{"status":null}"#, r#"{"metadata":[],"spec":{"template":7},"status":{"results":{}}}"#] {
            assert!(backend.results(text).is_ok(), "{text}");
        }
    }
}

#[test]
fn a_job_with_several_containers_needs_the_name_of_the_one_with_the_results() {
    let containers = |names: &[&str]| {
        let containers: Vec<_> = names.iter().map(|name| json!({ "name": name })).collect();
        let init = json!([{ "name": "fetch" }]);
        OwnedRequest::new(
            &runs::BatchJob,
            json!({ "template": { "spec": { "initContainers": init, "containers": containers } } }),
        )
    };
    let check = |names: &[&str], container| runs::BatchJob.check_results(containers(names).template(), container);
    assert_eq!(check(&["train"], None), Ok(()));
    assert_eq!(check(&["train"], Some("train")), Ok(()));
    assert_eq!(check(&["train", "proxy"], Some("proxy")), Ok(()));
    for (names, container, problem) in [
        (&["train", "proxy"][..], None, r#"is missing: spec.jobTemplate has the containers ["train", "proxy"]; name"#),
        (&["train", "proxy"], Some("judge"), r#"names "judge", which is no container of spec.jobTemplate; it has ["#),
        (&["train"], Some("fetch"), r#"names "fetch", which is no container of spec.jobTemplate; it has ["train"]"#),
    ] {
        let invalid = check(names, container).unwrap_err();
        assert_eq!(invalid.field, "spec.metrics.container");
        assert!(invalid.problem.starts_with(problem), "{invalid}");
    }
}

#[test]
fn a_pipeline_run_has_no_container_with_results() {
    let request = OwnedRequest::new(&runs::PipelineRun, json!({ "pipelineRef": { "name": "train" } }));
    assert_eq!(runs::PipelineRun.check_results(request.template(), None), Ok(()));
    let invalid = runs::PipelineRun.check_results(request.template(), Some("train")).unwrap_err();
    assert_eq!(invalid.field, "spec.metrics.container");
    assert!(invalid.problem.contains("is for Jobs"), "{invalid}");
}

#[test]
fn a_good_template_comes_out_as_its_fixture_says() {
    for backend in runs::backends() {
        for case in cases::<BTreeMap<String, String>>(*backend, "good.yaml") {
            let timeout = case.timeout.map(Duration::from);
            let request = OwnedRequest {
                metadata: case.metadata,
                parameters: case.parameters,
                timeout,
                ..OwnedRequest::new(*backend, case.spec)
            };
            request.check(*backend).unwrap_or_else(|invalid| panic!("{}: {invalid}", case.name));
            let run = request.build(*backend).unwrap_or_else(|invalid| panic!("{}: {invalid}", case.name));
            assert_eq!(run["spec"], case.run, "{}", case.name);
            assert_eq!(run.to_string(), request.build(*backend).unwrap().to_string(), "{}", case.name);
            assert_placed(*backend, &run);
        }
    }
}

#[test]
fn a_bad_template_is_refused_with_its_field_and_the_remedy() {
    let mut count = 0;
    for backend in runs::backends() {
        for case in cases::<Vec<String>>(*backend, "bad.yaml") {
            let parameters = case.parameters.into_iter().map(|name| (name, "value".to_owned())).collect();
            let timeout = case.timeout.map(Duration::from);
            let request =
                OwnedRequest { metadata: case.metadata, parameters, timeout, ..OwnedRequest::new(*backend, case.spec) };
            let invalid = request.check(*backend).expect_err(&case.name);
            assert_eq!(invalid.field, case.field, "{}: {invalid}", case.name);
            assert!(invalid.problem.contains(&case.problem), "{}: {invalid}", case.name);
            assert!(!case.problem.is_empty() && invalid.to_string().len() < 512, "{}: {invalid}", case.name);
            assert_eq!(request.build(*backend), Err(invalid), "{}", case.name);
            count += 1;
        }
    }
    assert!(count >= 40, "{count}");
}

#[test]
fn a_run_carries_the_users_metadata_and_the_operators_whose_values_win() {
    for backend in runs::backends() {
        let good = cases::<BTreeMap<String, String>>(*backend, "good.yaml").remove(0);
        let metadata = TemplateMetadata {
            labels: map(&[("team", "user"), ("kueue.x-k8s.io/queue-name", "gpu")]),
            annotations: map(&[("note", "anything at all")]),
            generate_name: Some("ignored-".to_owned()),
            creation_timestamp: Some("2020-01-01T00:00:00Z".to_owned()),
            ..TemplateMetadata::default()
        };
        let mut request = OwnedRequest { metadata: Some(metadata), ..OwnedRequest::new(*backend, good.spec) };
        let run = request.build(*backend).unwrap();
        let labels = json!({
            "automl.cloudai.kubeflow.org/owner-uid": "u",
            "team": "operator",
            "kueue.x-k8s.io/queue-name": "gpu",
        });
        assert_eq!(run["metadata"]["labels"], labels);
        let annotations = json!({"automl.cloudai.kubeflow.org/target": "v1:sha256:00", "note": "anything at all"});
        assert_eq!(run["metadata"]["annotations"], annotations);
        let owner = json!([{
            "apiVersion": "automl.cloudai.kubeflow.org/v1alpha1",
            "kind": "ModelSync",
            "name": "labelbot",
            "uid": "u",
            "controller": true,
            "blockOwnerDeletion": true,
        }]);
        assert_eq!(run["metadata"]["ownerReferences"], owner);
        request.owner = None;
        assert_eq!(request.build(*backend).unwrap()["metadata"].get("ownerReferences"), None);
    }
}

#[test]
fn the_metadata_of_a_job_gets_parameters_in_its_values() {
    let backend: &dyn RunBackend = &runs::BatchJob;
    let pod = json!({ "restartPolicy": "Never", "containers": [{ "name": "main" }] });
    let metadata = TemplateMetadata {
        labels: map(&[("model", "m-$(params.x)")]),
        annotations: map(&[("note", "$(params.x) and $$(params.x)")]),
        ..TemplateMetadata::default()
    };
    let spec = json!({ "template": { "spec": pod } });
    let mut request = OwnedRequest { metadata: Some(metadata), ..OwnedRequest::new(backend, spec) };
    request.parameters = map(&[("x", "v")]);
    let run = request.build(backend).unwrap();
    assert_eq!(run["metadata"]["labels"]["model"], "m-v");
    assert_eq!(run["metadata"]["annotations"]["note"], "v and $(params.x)");
    // Only the value shows that no label can have it.
    request.parameters = map(&[("x", "a value")]);
    assert_eq!(request.check(backend), Ok(()));
    let invalid = request.build(backend).unwrap_err();
    assert_eq!(invalid.field, "spec.jobTemplate.metadata.labels[\"model\"]");
}

#[test]
fn labels_of_tekton_are_left_out_of_a_run_and_named() {
    let metadata = TemplateMetadata {
        labels: map(&[("tekton.dev/pipeline", "x"), ("tekton.dev/b", "not a value"), ("team", "user")]),
        ..TemplateMetadata::default()
    };
    for (backend, left_out) in
        [(&runs::PipelineRun as &dyn RunBackend, &["tekton.dev/b", "tekton.dev/pipeline"][..]), (&runs::BatchJob, &[])]
    {
        let good = cases::<BTreeMap<String, String>>(backend, "good.yaml").remove(0);
        let request = OwnedRequest { metadata: Some(metadata.clone()), ..OwnedRequest::new(backend, good.spec) };
        assert_eq!(backend.left_out(request.template()), left_out);
        if !left_out.is_empty() {
            request.check(backend).unwrap();
            let run = request.build(backend).unwrap();
            let labels: Vec<_> = run["metadata"]["labels"].as_object().unwrap().keys().collect();
            assert_eq!(labels, ["automl.cloudai.kubeflow.org/owner-uid", "team"]);
        }
    }
}

#[test]
fn a_run_is_idle_while_it_is_meant_to_run_and_shows_nothing_that_does() {
    let job =
        |spec: Value, status: Value| (&runs::BatchJob as &dyn RunBackend, json!({ "spec": spec, "status": status }));
    let pipeline =
        |spec: Value, status: Value| (&runs::PipelineRun as &dyn RunBackend, json!({ "spec": spec, "status": status }));
    let ended = |name: &str| json!({ "ready": 0, "conditions": [{ "type": name, "status": "True" }] });
    for ((backend, object), idle) in [
        (job(json!({}), json!({})), true),
        (job(json!({ "suspend": false }), json!({ "active": 1, "ready": 0 })), true),
        (job(json!({}), json!({ "active": 2, "ready": 1 })), false),
        (job(json!({ "suspend": true }), json!({ "active": 0 })), false),
        (job(json!({}), ended("Complete")), false),
        (pipeline(json!({}), json!({})), true),
        (pipeline(json!({ "status": "" }), json!({})), true),
        (pipeline(json!({ "status": "PipelineRunPending" }), json!({})), false),
        (pipeline(json!({ "status": "CancelledRunFinally" }), json!({})), false),
        (pipeline(json!({}), ended("Succeeded")), false),
    ] {
        assert_eq!(backend.observe(&object.to_string()).unwrap().idle, idle, "{object}");
    }
}

#[test]
fn a_spec_cannot_change_what_or_where_the_run_is() {
    for backend in runs::backends() {
        let mut spec = cases::<BTreeMap<String, String>>(*backend, "good.yaml").remove(0).spec;
        for (key, value) in
            [("apiVersion", "v1"), ("kind", "Pod"), ("namespace", "kube-system"), ("generateName", "x-")]
        {
            spec[key] = value.into();
        }
        spec["metadata"] = json!({"name": "other", "namespace": "kube-system"});
        assert_placed(*backend, &OwnedRequest::new(*backend, spec).build(*backend).unwrap());
    }
}

#[test]
fn reason_and_message_are_cut_at_a_character_and_times_are_read() {
    let objects = [("PipelineRun", "Succeeded", "False"), ("Job", "Failed", "True")];
    for (kind, condition, status) in objects {
        let backend = runs::backends().iter().find(|backend| backend.kind().kind == kind).unwrap();
        let object = json!({"status": {
            "startTime": "2026-11-02T10:00:00Z",
            "completionTime": "2026-11-02T10:05:00Z",
            "conditions": [{
                "type": condition,
                "status": status,
                "reason": "é".repeat(300),
                "message": format!("a\n{}", "é".repeat(2000)),
                "lastTransitionTime": "2026-11-02T10:05:09Z",
            }],
        }});
        let observed = backend.observe(&object.to_string()).unwrap();
        let Phase::Ended(ending) = observed.phase else { panic!("ended") };
        assert_eq!(ending.reason, "é".repeat(128));
        assert_eq!(ending.message, format!("a\n{}", "é".repeat(511)));
        assert_eq!(observed.started_at, Some("2026-11-02T10:00:00Z".parse::<Timestamp>().unwrap()));
        assert_eq!(ending.finished_at, Some("2026-11-02T10:05:00Z".parse::<Timestamp>().unwrap()));
    }
}

#[test]
fn every_json_object_can_be_observed_and_nothing_else() {
    for backend in runs::backends() {
        for text in ["", "{", "[]", "7", "null", r#"{"status":{}} x"#, r#"{"status":{"conditions":[}}"#] {
            assert!(backend.observe(text).is_err(), "{text}");
        }
        let listed = r#"{"status":{"conditions":[["Succeeded","True"],["Complete","True"]]}}"#;
        for text in [listed, "{}", r#"{"status":null}"#, r#"{"status":[]}"#, r#"{"status":{"conditions":null}}"#] {
            assert_eq!(
                backend.observe(text).unwrap(),
                Observed { phase: Phase::Active, started_at: None, idle: true },
                "{text}"
            );
        }
    }
}

#[test]
fn the_ancestors_templates_are_refused_for_their_resources_alone() {
    let backend: &dyn RunBackend = &runs::PipelineRun;
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures/labelbot");
    let own = fixtures("templates", backend).join("ancestor");
    let folder = if shared.is_dir() { shared } else { own };
    for file in ["modelsync.yaml", "modelsync_local.yaml", "retrain-model.yaml"] {
        let object: ModelSync = serde_json::from_str(&yaml(&folder.join(file)).to_string()).unwrap();
        let template = object.spec.pipeline_run_template.unwrap();
        let mut spec: Value = serde_json::from_str(template.spec.get()).unwrap();
        let with = OwnedRequest::new(backend, spec.clone());
        let invalid = with.check(backend).unwrap_err();
        assert_eq!(invalid.field, "spec.pipelineRunTemplate.spec.resources");
        for part in ["PipelineResources left Tekton in 2023", "Params and workspaces", "git-clone"] {
            assert!(invalid.problem.contains(part), "{invalid}");
        }

        spec.as_object_mut().unwrap().remove("resources");
        let mut without = OwnedRequest::new(backend, spec.clone());
        without.parameters = map(&[("automl-model", "projects/1/models/TCN2")]);
        without.check(backend).unwrap();
        let run = &without.build(backend).unwrap()["spec"];
        assert_eq!(run["taskRunTemplate"]["serviceAccountName"], spec["serviceAccountName"]);
        assert_eq!(run.get("serviceAccountName"), None);
        assert_eq!(run["pipelineRef"], spec["pipelineRef"]);
        let value = |name: &str| {
            run["params"]
                .as_array()
                .unwrap()
                .iter()
                .find(|param| param["name"] == name)
                .map(|param| param["value"].clone())
        };
        assert_eq!(value("automl-model"), Some("projects/1/models/TCN2".into()));
        for param in spec["params"].as_array().unwrap().iter().filter(|param| param["name"] != "automl-model") {
            assert_eq!(value(param["name"].as_str().unwrap()).as_ref(), Some(&param["value"]));
        }
    }
}

#[test]
fn a_value_that_no_run_can_take_is_refused_when_it_is_known() {
    for backend in runs::backends() {
        let mut request =
            OwnedRequest::new(*backend, cases::<BTreeMap<String, String>>(*backend, "good.yaml").remove(0).spec);
        request.parameters = map(&[("model", "a\0b")]);
        assert_eq!(backend.check(request.template(), &["model"], None), Ok(()));
        assert_eq!(request.build(*backend).unwrap_err().field, "spec.parameters");
    }
}

#[test]
fn a_template_that_is_nested_too_deeply_is_refused_and_not_followed() {
    for backend in runs::backends() {
        let mut spec = json!(1);
        for _ in 0..200 {
            spec = json!({ "a": spec });
        }
        let invalid = OwnedRequest::new(*backend, spec).check(*backend).unwrap_err();
        assert!(invalid.problem.starts_with("cannot be read"), "{invalid}");
    }
}

// ---- What a container sees -------------------------------------------------------------------------------------

/// The kubelet's expansion (`third_party/forked/golang/expansion` of Kubernetes), with one variable.
fn kubelet(text: &str, name: &str, value: &str) -> String {
    let mut seen = String::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        seen.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(escaped) = after.strip_prefix('$') {
            seen.push('$');
            rest = escaped;
        } else if let Some((reference, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            seen.extend(if reference == name { ["", value, ""] } else { ["$(", reference, ")"] });
            rest = tail;
        } else {
            seen.push('$');
            rest = after;
        }
    }
    seen + rest
}

/// What a container of a Job sees of one argument and of its parameter's variable.
fn in_the_container(arg: &str, value: &str) -> (String, String) {
    let backend: &dyn RunBackend = &runs::BatchJob;
    let container = json!({"name": "main", "args": [arg], "env": [{"name": "X", "value": arg}]});
    let pod = json!({"restartPolicy": "Never", "containers": [container]});
    let mut request = OwnedRequest::new(backend, json!({"template": {"spec": pod}}));
    request.parameters = map(&[("x", value)]);
    let run = request.build(backend).unwrap();
    let container = &run["spec"]["template"]["spec"]["containers"][0];
    assert_eq!(container["args"][0], container["env"][1]["value"]);
    let variable = kubelet(container["env"][0]["value"].as_str().unwrap(), "HOME", "/root");
    (kubelet(container["args"][0].as_str().unwrap(), "HOME", "/root"), variable)
}

#[test]
fn an_escaped_placeholder_reaches_the_container_as_text() {
    let value = "a)$(HOME)$$b$";
    for (arg, seen) in [
        ("$(params.x)", "a)$(HOME)$$b$"),
        ("<$(params.x)|$(params.x)>", "<a)$(HOME)$$b$|a)$(HOME)$$b$>"),
        ("$$(params.x)", "$(params.x)"),
        ("$$$(params.x)", "$a)$(HOME)$$b$"),
        ("$$$$(params.x)", "$$(params.x)"),
        ("$(HOME)/$(params.x)/$$(HOME)", "/root/a)$(HOME)$$b$/$(HOME)"),
        ("$(basename $(params.x)) $(HOME)", "$(basename a)$(HOME)$$b$) /root"),
        ("$(echo $$(params.x)) $(params.x)", "$(echo $(params.x)) a)$(HOME)$$b$"),
        ("$(echo $(params.x)", "$(echo a)$(HOME)$$b$"),
        ("$é$(params.x)$(params.x", "$éa)$(HOME)$$b$$(params.x"),
        ("$(params.x)$", "a)$(HOME)$$b$$"),
        ("cost: $5 $(unknown) $", "cost: $5 $(unknown) $"),
    ] {
        assert_eq!(in_the_container(arg, value).0, seen, "{arg}");
    }
}

#[test]
fn any_value_reaches_the_container_as_it_is() {
    let text = || "([$()a]|\\$\\(HOME\\)|\\$\\(params\\.x\\)){0,8}";
    runner(2_000)
        .run(&(text(), "[)(a é]{0,4}", "[)(a é]{0,4}"), |(value, before, after)| {
            let (argument, variable) = in_the_container(&format!("{before}$(params.x){after}"), &value);
            assert_eq!(argument, format!("{before}{value}{after}"));
            assert_eq!(variable, value);
            Ok(())
        })
        .unwrap();
}

#[test]
fn a_text_without_placeholders_stays_as_the_user_wrote_it() {
    runner(1_000)
        .run(&"([$()aé]|\\$\\(HOME\\)|\\$\\(param\\.x\\)){0,10}", |text| {
            assert_eq!(in_the_container(&text, "v").0, kubelet(&text, "HOME", "/root"));
            Ok(())
        })
        .unwrap();
}

// ---- Anything at all -------------------------------------------------------------------------------------------

/// Proptest with a fixed seed: the cases are the same on every machine.
fn runner(cases: u32) -> TestRunner {
    TestRunner::new(ProptestConfig {
        cases,
        rng_seed: RngSeed::Fixed(7),
        failure_persistence: None,
        ..ProptestConfig::default()
    })
}

/// Field names that the backends read, and some that they do not.
const NAMES: &[&str] = &[
    "pipelineRef",
    "pipelineSpec",
    "params",
    "name",
    "value",
    "resources",
    "status",
    "serviceAccountName",
    "podTemplate",
    "timeout",
    "timeouts",
    "pipeline",
    "taskRunTemplate",
    "taskRunSpecs",
    "taskServiceAccountName",
    "stepOverrides",
    "bundle",
    "resolver",
    "tasks",
    "finally",
    "taskSpec",
    "taskRef",
    "steps",
    "type",
    "default",
    "template",
    "spec",
    "metadata",
    "labels",
    "restartPolicy",
    "containers",
    "initContainers",
    "env",
    "command",
    "args",
    "selector",
    "manualSelector",
    "ttlSecondsAfterFinished",
    "conditions",
    "reason",
    "message",
    "startTime",
    "completionTime",
    "lastTransitionTime",
    "results",
    "other",
];
const TEXTS: &[&str] = &[
    "",
    "a",
    "x",
    "PARAM_X",
    "Never",
    "Always",
    "PipelineRunPending",
    "array",
    "$(params.x)",
    "$$(params.x)",
    "$(params.y)",
    "$(a $(params.x))",
    "$",
    "Succeeded",
    "Complete",
    "Failed",
    "True",
    "False",
    "DeadlineExceeded",
    "2026-11-02T10:00:00Z",
    "é\u{0}\u{7f}",
    "job-name",
];

/// Choices, taken one by one from a list that proptest generates and shrinks. After the end of the list, each is 0.
struct Decisions<'a>(std::slice::Iter<'a, u8>);

impl Decisions<'_> {
    fn next(&mut self, among: usize) -> usize {
        usize::from(self.0.next().copied().unwrap_or_default()) % among
    }

    fn value(&mut self, depth: u8) -> Value {
        match self.next(if depth == 0 { 5 } else { 9 }) {
            0 => Value::Null,
            1 => Value::from(self.next(2) == 1),
            2 => Value::from(self.next(256)),
            3 | 4 => TEXTS[self.next(TEXTS.len())].into(),
            5 | 6 => (0..self.next(4)).map(|_| self.value(depth - 1)).collect(),
            _ => (0..self.next(5)).map(|_| (NAMES[self.next(NAMES.len())].to_owned(), self.value(depth - 1))).collect(),
        }
    }

    /// Changes `value` in one place, somewhere inside.
    fn mutate(&mut self, value: &mut Value) {
        let stop = self.next(4) == 0;
        match value {
            Value::Object(map) if !map.is_empty() && !stop => {
                let at = self.next(map.len());
                map.values_mut().nth(at).into_iter().for_each(|member| self.mutate(member));
            }
            Value::Object(map) => {
                map.insert(NAMES[self.next(NAMES.len())].to_owned(), self.value(3));
            }
            Value::Array(list) if !list.is_empty() && !stop => {
                let at = self.next(list.len());
                self.mutate(&mut list[at]);
            }
            Value::Array(list) => list.push(self.value(3)),
            other => *other = self.value(3),
        }
    }
}

fn decisions() -> impl Strategy<Value = Vec<u8>> {
    vec(any::<u8>(), 0..48)
}

#[test]
fn any_template_is_refused_or_built_and_never_panics() {
    for backend in runs::backends() {
        let good: Vec<_> =
            cases::<BTreeMap<String, String>>(*backend, "good.yaml").into_iter().map(|case| case.spec).collect();
        let (built, refused) = (Cell::new(0), Cell::new(0));
        let check = |decided: Vec<u8>| {
            let mut decisions = Decisions(decided.iter());
            let mut spec = good[decisions.next(good.len())].clone();
            for _ in 0..decisions.next(4) {
                decisions.mutate(&mut spec);
            }
            if decisions.next(8) == 7 {
                spec = decisions.value(5);
            }
            let mut request = OwnedRequest::new(*backend, spec);
            let parameters = [("x", "$(HOME)"), ("model", "m"), ("a.b", "v"), ("", "empty")];
            request.parameters = map(&parameters[..[3, 2, 1, 0, 3, 3, 3, 4][decisions.next(8)]]);
            let run = request.build(*backend);
            assert_eq!(request.check(*backend).err(), run.as_ref().err().cloned());
            // The operator calls it for templates that can be built. For others it may return anything, but must not
            // panic.
            let named = backend.check_results(request.template(), Some("main"));
            assert!(named.is_ok() || !named.unwrap_err().field.is_empty());
            match run {
                Ok(run) => {
                    assert_placed(*backend, &run);
                    built.set(built.get() + 1);
                }
                Err(invalid) => {
                    assert!(invalid.field.starts_with("spec.") && !invalid.problem.is_empty());
                    refused.set(refused.get() + 1);
                }
            }
            Ok(())
        };
        runner(6_000).run(&decisions(), check).unwrap();
        assert!(built.get() > 600 && refused.get() > 600, "built {}, refused {}", built.get(), refused.get());
    }
}

#[test]
fn any_object_is_in_some_phase() {
    for backend in runs::backends() {
        let good: Vec<_> =
            fs::read_dir(fixtures("runs", *backend)).unwrap().map(|entry| yaml(&entry.unwrap().path())).collect();
        let ended = Cell::new(0);
        let check = |decided: Vec<u8>| {
            let mut decisions = Decisions(decided.iter());
            let mut object = good[decisions.next(good.len())].clone();
            for _ in 0..decisions.next(4) {
                decisions.mutate(&mut object["status"]);
            }
            let text = object.to_string();
            let observed = backend.observe(&text).unwrap();
            if let Phase::Ended(ending) = observed.phase {
                assert!(ending.reason.len() <= 256 && ending.message.len() <= 1024);
                ended.set(ended.get() + 1);
            }
            // A text that is cut anywhere is an error and not a panic.
            let cut = text.floor_char_boundary(decisions.next(256) * text.len() / 256);
            assert!(backend.observe(&text[..cut]).is_err() && backend.results(&text[..cut]).is_err());
            assert!(backend.results(&text).is_ok());
            Ok(())
        };
        runner(4_000).run(&decisions(), check).unwrap();
        assert!(ended.get() > 400, "{}", ended.get());
    }
}

// ---- A third kind ----------------------------------------------------------------------------------------------

/// A kind of run that only this test knows.
#[derive(Debug)]
struct TrainJob;

const TRAIN_JOB: RunKind =
    RunKind { group: "trainer.kubeflow.org", version: "v1", kind: "TrainJob", plural: "trainjobs" };

impl RunBackend for TrainJob {
    fn kind(&self) -> RunKind {
        TRAIN_JOB
    }

    fn template_field(&self) -> &'static str {
        "trainJobTemplate"
    }

    fn summary(&self) -> &'static str {
        "It has no parameters."
    }

    fn check(&self, template: Template<'_>, parameters: &[&str], _: Option<Duration>) -> Result<(), Invalid> {
        let problem = || Err(Invalid::new(format!("{}.spec", template.path()), "has no parameters"));
        if parameters.is_empty() { Ok(()) } else { problem() }
    }

    fn build(&self, request: &RunRequest<'_>) -> Result<Value, Invalid> {
        let spec: Value = serde_json::from_str(request.template.spec.get()).unwrap();
        let metadata = json!({ "name": request.name, "namespace": request.namespace });
        Ok(json!({ "apiVersion": TRAIN_JOB.api_version(), "kind": TRAIN_JOB.kind, "metadata": metadata, "spec": spec }))
    }

    fn stop(&self, _: Option<Duration>) -> Value {
        json!({ "suspend": true })
    }

    fn observe(&self, _: &str) -> Result<Observed, serde_json::Error> {
        Ok(Observed { phase: Phase::Active, started_at: None, idle: false })
    }

    fn left_out(&self, _: Template<'_>) -> Vec<String> {
        Vec::new()
    }

    fn clues(&self) -> &'static [Clue] {
        &[]
    }

    fn read_clue(&self, _: &Clue, _: &str, _: &str) -> Finding {
        Finding::Unrelated
    }

    fn check_results(&self, _: Template<'_>, _: Option<&str>) -> Result<(), Invalid> {
        Ok(())
    }

    fn results(&self, _: &str) -> Result<ResultsIn, serde_json::Error> {
        Ok(ResultsIn::Object(Results::default()))
    }
}

/// The registry with one more backend.
fn with_a_third() -> Vec<&'static dyn RunBackend> {
    [runs::backends(), &[&TrainJob]].concat()
}

/// A template of the third kind.
fn train_job() -> RunTemplate {
    serde_json::from_value(json!({ "spec": { "trainer": { "numNodes": 2 } } })).unwrap()
}

#[test]
fn every_template_field_of_the_specs_has_a_backend_and_every_backend_has_a_field() {
    let spec = json!({ "pipelineRunTemplate": { "spec": {} }, "jobTemplate": { "spec": {} } });
    let sync: ModelSyncSpec = serde_json::from_value(spec.clone()).unwrap();
    let train: ModelTrainSpec = serde_json::from_value(spec).unwrap();
    let registered: Vec<_> = runs::backends().iter().map(|backend| backend.template_field()).collect();
    for templates in [sync.templates(), train.templates()] {
        assert!(templates.iter().all(|(_, template)| template.is_some()));
        assert_eq!(templates.map(|(field, _)| field).to_vec(), registered);
    }
}

#[test]
fn a_third_kind_is_found_by_its_template_field_and_built_by_the_same_path() {
    let (template, backends) = (train_job(), with_a_third());
    let templates = [("pipelineRunTemplate", None), ("jobTemplate", None), ("trainJobTemplate", Some(&template))];
    let policy = RunPolicy::parse(&templates, RunSpec::default(), Arc::default(), &backends).unwrap();
    assert_eq!((policy.template.path().as_str(), policy.kind()), ("spec.trainJobTemplate", TRAIN_JOB));
    assert_eq!(policy.check_template(&[]), Ok(()));
    assert_eq!(policy.check_template(&["x"]).unwrap_err().field, "spec.trainJobTemplate.spec");

    let spec = json!({ "trainer": { "numNodes": 2 } });
    let run = OwnedRequest::new(policy.backend, spec.clone()).build(policy.backend).unwrap();
    assert_eq!((&run["kind"], &run["spec"]), (&json!("TrainJob"), &spec));
}

#[test]
fn a_third_kind_without_its_line_in_the_registry_is_refused() {
    let template = train_job();
    let templates = [("jobTemplate", None), ("trainJobTemplate", Some(&template))];
    let invalid =
        RunPolicy::parse(&templates, RunSpec::default(), Arc::default(), runs::backends()).map(|_| ()).unwrap_err();
    assert_eq!(invalid.to_string(), "spec.trainJobTemplate is not supported by this operator: use another template");
}

#[test]
fn the_roles_the_fence_and_the_reference_include_a_third_kind() {
    let text = |path: &str| {
        let file = generate::files(&with_a_third()).into_iter().find(|file| file.path == path).unwrap();
        file.text(|object| serde_saphyr::to_string(object).unwrap())
    };
    let role = text("config/rbac/role.yaml");
    let verbs = ["create", "delete", "get", "list", "patch", "watch"].map(|verb| format!("  - {verb}\n")).concat();
    let granted = "- apiGroups:\n  - trainer.kubeflow.org\n  resources:\n  - trainjobs\n  verbs:\n";
    assert!(role.contains(&format!("{granted}{verbs}")), "{role}");

    let fence: Vec<Value> = serde_saphyr::from_multiple(&text("config/fence.yaml")).unwrap();
    let matched = fence[0]["spec"]["matchConstraints"]["resourceRules"].as_array().unwrap();
    let of = |group: &str, plural: &str| json!({ "apiGroups": [group], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": [plural] });
    let expected = [("tekton.dev", "pipelineruns"), ("batch", "jobs"), ("trainer.kubeflow.org", "trainjobs")]
        .map(|(group, plural)| of(group, plural));
    assert_eq!(matched[..], expected);

    let row = "| `spec.trainJobTemplate` | trainer.kubeflow.org/v1 TrainJob | It has no parameters. |";
    assert!(text("docs/api-reference.md").contains(row));
}

#[test]
fn a_field_of_the_runs_that_cannot_be_read_is_named_in_both_kinds() {
    fn invalid<K: Kind>(spec: &Value) -> Invalid {
        let object =
            json!({ "metadata": { "name": "a", "namespace": "b", "uid": "u", "resourceVersion": "1" }, "spec": spec });
        record::object::<K>(&object.to_string()).unwrap().read().0.map(|_| ()).unwrap_err()
    }
    for (spec, field) in [
        (json!({ "runTimeout": "soon" }), "spec.runTimeout"),
        (json!({ "suspend": "yes" }), "spec.suspend"),
        (json!({ "retry": { "maxAttempts": "x" } }), "spec.retry.maxAttempts"),
        (json!({ "windows": [{ "kind": "Sometimes" }] }), "spec.windows[0].kind"),
        (json!({ "jobTemplate": { "metadata": { "labels": [] }, "spec": {} } }), "spec.jobTemplate.metadata.labels"),
    ] {
        for invalid in [invalid::<ModelSync>(&spec), invalid::<ModelTrain>(&spec)] {
            assert_eq!(invalid.field, field);
        }
    }
}
