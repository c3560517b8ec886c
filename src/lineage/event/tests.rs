//! Every event here is checked twice: against the members that this release promises, and against the published schemas
//! if they exist beside the repository.

use std::{collections::HashMap, fs, path::Path, sync::LazyLock};

use jsonschema::{Registry, Validator};
use proptest::{collection::vec, prelude::*};

use super::*;
use crate::api::model_version::{RecordedParameter, RecordedRun, TrainRef};

const UID: &str = "6f1f2f0e-7d0b-4c60-9a51-3f4f0c7f4c11";
const COMMIT: &str = "0123456789abcdef0123456789abcdef01234567";

fn time(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn input(name: &str, value: &str, source: &str) -> RecordedInput {
    let digest = format!("sha256:{name}");
    RecordedInput { name: name.into(), value: value.into(), digest, source: source.into() }
}

fn reason(type_: StaleReasonType, name: &str, value: &str) -> StaleReason {
    StaleReason { type_, name: name.into(), value: value.into() }
}

fn rule(name: &str, verdict: Verdict, message: &str) -> RuleReport {
    RuleReport { name: name.into(), verdict, message: message.into() }
}

/// A record of a training with a candidate, three inputs and two rules.
fn record(outcome: Outcome) -> ModelVersionSpec {
    ModelVersionSpec {
        train_ref: TrainRef { name: "labelbot".into(), uid: "11111111-2222-4333-8444-555555555555".into() },
        attempt: 7,
        candidate: "small".into(),
        run: RecordedRun {
            api_version: "batch/v1".into(),
            kind: "Job".into(),
            name: "labelbot-0123456789abcdef-7-small".into(),
            uid: UID.into(),
            outcome,
            started_at: Some(time("2026-11-22T03:00:02Z")),
            finished_at: Some(time("2026-11-22T04:10:00Z")),
        },
        reasons: vec![
            reason(StaleReasonType::Schedule, "", "2026-11-22T03:00:00Z"),
            reason(StaleReasonType::Input, "code", "sha256:code"),
        ],
        inputs: vec![
            input("data", "s3-etag", "http https://data.example.com:8443/issues.csv"),
            input("code", COMMIT, "git https://git.example.com/team/labelbot refs/heads/main"),
            input("notebook", "sha256:abc", "configMapKeyRef notebooks train.ipynb"),
        ],
        parameters: vec![RecordedParameter { name: "epochs".into(), value: "3".into() }],
        artifact: Some(Artifact { uri: "s3://models/labelbot/7".into(), digest: "sha256:model".into() }),
        metrics: Vec::new(),
        outputs: Vec::new(),
        results_problem: String::new(),
        gate: GateReport {
            verdict: Verdict::Failed,
            compared_to: "labelbot-0123456789abcdef-6".into(),
            score: Some("0.81".into()),
            rules: vec![
                rule("good-enough", Verdict::Passed, ""),
                rule("no-worse", Verdict::Failed, "metrics.acc is less than accepted.acc"),
                rule("fair", Verdict::MetricsUnavailable, "metrics.gap is missing"),
            ],
        },
        previous: None,
        digest: "v1:sha256:0".into(),
    }
}

/// The events of a record: START and the end.
fn events(record: &ModelVersionSpec) -> [Value; 2] {
    let run = Run::of_record("team-a", record);
    let started = Event::started(&run, time("2026-11-22T03:00:02Z"), None).unwrap();
    let ended = Event::ended(&run, &End::of_record(record, Timestamp::UNIX_EPOCH), None).unwrap();
    [started, ended].map(|event| checked(&event))
}

/// The event, after both checks.
fn checked(event: &Event) -> Value {
    assert!(event.body.len() <= MAX_EVENT, "{} bytes", event.body.len());
    let value: Value = serde_json::from_str(&event.body).unwrap();
    assert_eq!(value["run"]["runId"], event.run);
    check_members(&value);
    if let Some(schemas) = &*SCHEMAS {
        schemas.check(&value);
    }
    value
}

/// Every facet of an event: the kind of its holder, its name, and the facet.
fn facets(event: &Value) -> Vec<(&'static str, &str, &Value)> {
    let datasets = ["inputs", "outputs"].into_iter().flat_map(|list| event[list].as_array().unwrap());
    let holders = [("run", &event["run"]), ("job", &event["job"])];
    let holders = holders.into_iter().chain(datasets.map(|dataset| ("dataset", dataset)));
    let facets =
        holders.flat_map(|(place, holder)| holder["facets"].as_object().unwrap().iter().map(move |f| (place, f)));
    facets.map(|(place, (name, facet))| (place, name.as_str(), facet)).collect()
}

/// The requirements of the schemas that this operator uses: holder and name of each facet, its schema, and those of its
/// members that must be texts.
const FACETS: &[(&str, &str, &str, &[&str])] = &[
    ("run", "executionParameters", "1-0-0/ExecutionParametersRunFacet", &[]),
    ("run", "tags", "1-0-0/TagsRunFacet", &[]),
    ("run", "nominalTime", "1-0-1/NominalTimeRunFacet", &["nominalStartTime"]),
    ("run", "parent", "1-2-0/ParentRunFacet", &[]),
    ("run", "errorMessage", "1-0-1/ErrorMessageRunFacet", &["message", "programmingLanguage"]),
    ("run", "test", "1-0-1/TestRunFacet", &[]),
    ("job", "jobType", "2-0-4/JobTypeJobFacet", &["processingType", "integration", "jobType"]),
    ("job", "sourceCodeLocation", "1-1-0/SourceCodeLocationJobFacet", &["type", "url"]),
    ("dataset", "version", "1-0-1/DatasetVersionDatasetFacet", &["datasetVersion"]),
    ("dataset", "datasetType", "1-0-1/DatasetTypeDatasetFacet", &["datasetType"]),
    ("dataset", "symlinks", "1-0-1/SymlinksDatasetFacet", &[]),
];
/// Lists in facets, and those of their items' members that must be texts.
const LISTS: &[(&str, &str, &[&str])] = &[
    ("executionParameters", "parameters", &["key", "value"]),
    ("tags", "tags", &["key", "value", "source"]),
    ("test", "tests", &["name", "status", "severity", "expected", "actual"]),
    ("symlinks", "identifiers", &["namespace", "name", "type"]),
];

fn check_members(event: &Value) {
    let texts = |value: &Value, members: &[&str]| {
        for member in members {
            assert!(value[member].as_str().is_some_and(|text| !text.is_empty()), "{member} of {value}");
        }
    };
    texts(event, &["eventType", "eventTime", "producer", "schemaURL"]);
    assert!(time(event["eventTime"].as_str().unwrap()) > Timestamp::MIN);
    texts(&event["job"], &["namespace", "name"]);
    for list in ["inputs", "outputs"] {
        event[list].as_array().unwrap().iter().for_each(|dataset| texts(dataset, &["namespace", "name"]));
    }
    for (place, name, facet) in facets(event) {
        let known = FACETS.iter().find(|(where_, known, ..)| (*where_, *known) == (place, name));
        let (_, _, schema, members) = known.unwrap_or_else(|| panic!("{name} is no facet of a {place}"));
        let title = schema.split('/').nth(1).unwrap();
        let url = format!("https://openlineage.io/spec/facets/{schema}.json#/$defs/{title}");
        assert_eq!((facet["_schemaURL"].as_str(), facet["_producer"].as_str()), (Some(url.as_str()), Some(PRODUCER)));
        // Values of parameters, digests and messages may be empty; names and types may not.
        for member in *members {
            assert!(facet[member].is_string(), "{member} of {facet}");
        }
        for (_, list, members) in LISTS.iter().filter(|(of, ..)| *of == name) {
            for item in facet[list].as_array().unwrap() {
                members.iter().for_each(|member| assert!(item[member].is_string(), "{member} of {item}"));
            }
        }
    }
}

/// The published schemas. Nothing is fetched: the schemas that they refer to must be among them.
struct Schemas {
    event: Validator,
    /// By the name of the facet and its `_schemaURL`.
    facets: HashMap<(String, String), Validator>,
}

static SCHEMAS: LazyLock<Option<Schemas>> = LazyLock::new(|| {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/fixtures/openlineage");
    dir.exists().then(|| Schemas::read(&dir))
});

impl Schemas {
    fn read(dir: &Path) -> Self {
        let facets = dir.join("facets");
        let files = [dir, &facets].into_iter().flat_map(|dir| fs::read_dir(dir).unwrap());
        let files = files.map(|entry| entry.unwrap().path()).filter(|path| path.is_file());
        let documents: Vec<Value> =
            files.map(|path| serde_json::from_str(&fs::read_to_string(path).unwrap()).unwrap()).collect();
        let id = |document: &Value| document["$id"].as_str().unwrap().to_owned();
        let builder = Registry::new();
        let builder = documents.iter().fold(builder, |all, one| all.add(id(one), one.clone()).unwrap());
        let registry = builder.prepare().unwrap();
        let validator = |url: &str| {
            let options = jsonschema::options().with_registry(&registry).should_validate_formats(true);
            options.build(&json!({ "$ref": url })).unwrap()
        };
        let mut facets = HashMap::new();
        for document in &documents {
            for (name, schema) in document["properties"].as_object().into_iter().flatten() {
                let Some(definition) = schema["$ref"].as_str() else { continue };
                let url = format!("{}{definition}", id(document));
                facets.insert((name.clone(), url.clone()), validator(&url));
            }
        }
        Self { event: validator(schema::EVENT), facets }
    }

    fn check(&self, event: &Value) {
        assert_eq!(event["schemaURL"], schema::EVENT);
        let complain = |validator: &Validator, value: &Value| {
            let problems: Vec<_> = validator.iter_errors(value).map(|error| error.to_string()).collect();
            assert!(problems.is_empty(), "{problems:?} in {value:#}");
        };
        complain(&self.event, event);
        for (_, name, facet) in facets(event) {
            let url = facet["_schemaURL"].as_str().unwrap().to_owned();
            let published = self.facets.get(&(name.to_owned(), url.clone()));
            complain(published.unwrap_or_else(|| panic!("{name} is not published as {url}")), facet);
        }
    }
}

#[test]
fn the_published_schemas_refuse_an_event_that_breaks_them() {
    let Some(schemas) = &*SCHEMAS else { return };
    let [_, mut ended] = events(&record(Outcome::Succeeded));
    assert!(schemas.event.is_valid(&ended));
    ended["run"]["runId"] = "no uuid".into();
    assert!(!schemas.event.is_valid(&ended), "formats are not checked");
    let test = ("test".to_owned(), schema::TEST.to_owned());
    assert!(!schemas.facets[&test].is_valid(&json!({ "_producer": PRODUCER, "_schemaURL": schema::TEST })));
}

#[test]
fn each_outcome_has_its_event_type_outputs_and_message() {
    for (outcome, type_, outputs, message) in [
        (Outcome::Succeeded, "COMPLETE", 1, None),
        (Outcome::Failed, "FAIL", 0, Some("the run failed")),
        (Outcome::TimedOut, "FAIL", 0, Some("the run took longer than allowed")),
        (Outcome::Cancelled, "ABORT", 0, None),
        (Outcome::Gone, "ABORT", 0, None),
    ] {
        let [started, ended] = events(&record(outcome));
        assert_eq!((&started["eventType"], &ended["eventType"]), (&json!("START"), &json!(type_)), "{outcome:?}");
        assert_eq!(ended["eventTime"], "2026-11-22T04:10:00Z");
        assert_eq!(started["outputs"], json!([]));
        assert_eq!(ended["outputs"].as_array().unwrap().len(), outputs, "{outcome:?}");
        assert_eq!(ended["run"]["facets"]["errorMessage"]["message"].as_str(), message, "{outcome:?}");
        for same in ["job", "inputs"] {
            assert_eq!(started[same], ended[same], "{outcome:?}: {same}");
        }
        assert_eq!(started["run"]["runId"], UID);
    }
}

#[test]
fn a_run_without_a_uuid_and_an_unknown_outcome_make_no_event() {
    let (now, mut unknown) = (Timestamp::UNIX_EPOCH, record(Outcome::Unrecognised));
    let run = Run::of_record("team-a", &unknown);
    assert_eq!(Event::ended(&run, &End::of_record(&unknown, now), None), None);
    for uid in ["", "abc", "6f1f2f0e-7d0b-4c60-9a51-3f4f0c7f4c1g", "6f1f2f0e07d0b-4c60-9a51-3f4f0c7f4c11"] {
        unknown.run = RecordedRun { uid: uid.into(), outcome: Outcome::Gone, ..unknown.run };
        let run = Run::of_record("team-a", &unknown);
        assert_eq!(Event::started(&run, now, None), None, "{uid}");
        assert_eq!(Event::ended(&run, &End::of_record(&unknown, now), None), None, "{uid}");
    }
}

#[test]
fn an_end_without_a_time_is_reported_with_the_current_time() {
    let mut gone = record(Outcome::Gone);
    gone.run.finished_at = None;
    let end = End::of_record(&gone, time("2026-12-01T00:00:00Z"));
    let event = Event::ended(&Run::of_record("team-a", &gone), &end, None).unwrap();
    assert_eq!(checked(&event)["eventTime"], "2026-12-01T00:00:00Z");
}

#[test]
fn jobs_models_and_data_have_stable_names() {
    let [started, ended] = events(&record(Outcome::Succeeded));
    let called =
        |value: &Value| format!("{} {}", value["namespace"].as_str().unwrap(), value["name"].as_str().unwrap());
    assert_eq!(called(&started["job"]), "team-a team-a.modeltrain.labelbot");
    let inputs: Vec<_> = started["inputs"].as_array().unwrap().iter().map(called).collect();
    assert_eq!(
        inputs,
        [
            "https://data.example.com:8443 issues.csv",
            "https://git.example.com team/labelbot@refs/heads/main",
            "team-a team-a.configMapKeyRef notebooks train.ipynb",
        ]
    );
    assert_eq!(started["inputs"][1]["facets"]["version"]["datasetVersion"], "sha256:code");
    let model = &ended["outputs"][0];
    assert_eq!(called(model), "team-a team-a.modeltrain.labelbot");
    assert_eq!(model["facets"]["datasetType"]["datasetType"], "MODEL");
    assert_eq!(model["facets"]["version"]["datasetVersion"], "sha256:model");
    assert_eq!(called(&model["facets"]["symlinks"]["identifiers"][0]), "s3://models labelbot/7");
}

#[test]
fn the_configured_namespace_replaces_the_kubernetes_namespace() {
    let mut record = record(Outcome::Succeeded);
    record.inputs = vec![input("own", "1", "")];
    let run = Run::of_record("team-a", &record);
    let event = Event::ended(&run, &End::of_record(&record, Timestamp::UNIX_EPOCH), Some("prod")).unwrap();
    let event = checked(&event);
    for (value, name) in [
        (&event["job"], "team-a.modeltrain.labelbot"),
        (&event["outputs"][0], "team-a.modeltrain.labelbot"),
        (&event["inputs"][0], "team-a.modeltrain.labelbot.own"),
    ] {
        assert_eq!((&value["namespace"], &value["name"]), (&json!("prod"), &json!(name)));
    }
}

#[test]
fn a_model_without_a_digest_has_the_name_of_its_record_as_version() {
    let mut record = record(Outcome::Succeeded);
    record.artifact = None;
    let [_, ended] = events(&record);
    let facets = &ended["outputs"][0]["facets"];
    assert_eq!(facets["version"]["datasetVersion"], record.run.name.as_str());
    assert_eq!(facets["symlinks"], Value::Null);
}

#[test]
fn rules_of_the_gate_are_tests_of_the_run() {
    let [started, ended] = events(&record(Outcome::Succeeded));
    assert_eq!(started["run"]["facets"]["test"], Value::Null);
    let tests = ended["run"]["facets"]["test"]["tests"].as_array().unwrap();
    let shown: Vec<_> =
        tests.iter().map(|test| ["name", "status", "actual"].map(|m| test[m].as_str().unwrap())).collect();
    assert_eq!(
        shown,
        [
            ["good-enough", "pass", "Passed"],
            ["no-worse", "fail", "Failed: metrics.acc is less than accepted.acc"],
            ["fair", "skip", "MetricsUnavailable: metrics.gap is missing"],
        ]
    );
}

#[test]
fn tags_show_the_reasons_and_the_result() {
    let [started, ended] = events(&record(Outcome::Succeeded));
    let tags = |event: &Value| -> Vec<String> {
        let tags = event["run"]["facets"]["tags"]["tags"].as_array().unwrap().iter();
        tags.map(|tag| format!("{}={}", tag["key"].as_str().unwrap(), tag["value"].as_str().unwrap())).collect()
    };
    let at_start = [
        "object=11111111-2222-4333-8444-555555555555",
        "run=Job labelbot-0123456789abcdef-7-small",
        "attempt=7",
        "candidate=small",
        "reasons=Schedule, Input code",
    ];
    assert_eq!(tags(&started), at_start);
    let at_end = ["outcome=Succeeded", "verdict=Failed", "score=0.81", "comparedTo=labelbot-0123456789abcdef-6"];
    assert_eq!(tags(&ended), [at_start.as_slice(), &at_end].concat());
}

#[test]
fn the_scheduled_time_is_the_nominal_time() {
    let mut record = record(Outcome::Succeeded);
    let nominal = |record: &ModelVersionSpec| events(record)[0]["run"]["facets"]["nominalTime"].clone();
    assert_eq!(nominal(&record)["nominalStartTime"], "2026-11-22T03:00:00Z");
    record.reasons[0].value = "yesterday".into();
    assert_eq!(nominal(&record), Value::Null);
    record.reasons.remove(0);
    assert_eq!(nominal(&record), Value::Null);
}

#[test]
fn the_first_git_input_is_the_source_code_location() {
    let shown = |source: &str, value: &str| {
        let mut record = record(Outcome::Succeeded);
        record.inputs = vec![input("data", "1", "http https://h/x"), input("code", value, source)];
        let code = events(&record)[0]["job"]["facets"]["sourceCodeLocation"].clone();
        ["url", "version", "branch", "tag"].map(|member| code[member].as_str().unwrap_or("-").to_owned()).join(" ")
    };
    for (source, value, expected) in [
        ("git https://h/team/repo main", COMMIT, format!("https://h/team/repo {COMMIT} main -")),
        ("git https://h/r refs/heads/main", COMMIT, format!("https://h/r {COMMIT} main -")),
        ("git https://h/r refs/tags/v1", COMMIT, format!("https://h/r {COMMIT} - v1")),
        ("git https://h/r main", "cut", "https://h/r - main -".to_owned()),
        ("git https://user:s3cret@h:8443/r?token=s3cret main", "", "https://h:8443/r - main -".to_owned()),
        ("git https://h/a|b main", COMMIT, "- - - -".to_owned()),
        ("git git@h:team/repo main", COMMIT, "- - - -".to_owned()),
        ("http https://h/r main", COMMIT, "- - - -".to_owned()),
    ] {
        assert_eq!(shown(source, value), expected, "{source}");
    }
}

#[test]
fn names_of_data_hold_neither_users_nor_queries() {
    let mut record = record(Outcome::Succeeded);
    record.inputs = vec![input("data", "1", "http https://user:s3cret@h/x?token=s3cret $.a")];
    record.artifact = Some(Artifact { uri: "https://user:s3cret@h/m?signature=s3cret".into(), digest: String::new() });
    let [_, ended] = events(&record);
    assert_eq!(ended["inputs"][0]["name"], "x@$.a");
    assert!(!ended.to_string().contains("s3cret"), "{ended:#}");
}

#[test]
fn a_run_of_a_sync_names_its_training_as_parent() {
    let job = Job { kind: JobKind::Sync, namespace: "team-a", name: "deploy", uid: "u" };
    let train = Job { kind: JobKind::Training, namespace: "team-a", name: "labelbot", uid: "t" };
    let parent = "AAAAAAAA-bbbb-4ccc-8ddd-eeeeeeeeeeee";
    let run = Run {
        job,
        kind: "PipelineRun",
        name: "deploy-1",
        uid: UID,
        attempt: 1,
        candidate: "",
        reasons: &[],
        inputs: &[],
        parameters: vec![("name", "m1")],
        parent: Some(Parent { job: train, run_uid: parent }),
    };
    let started = checked(&Event::started(&run, Timestamp::UNIX_EPOCH, None).unwrap());
    assert_eq!(started["job"]["name"], "team-a.modelsync.deploy");
    assert_eq!(started["job"]["facets"]["jobType"]["jobType"], "SYNC");
    let parent = &started["run"]["facets"]["parent"];
    assert_eq!(parent["run"]["runId"], "aaaaaaaa-bbbb-4ccc-8ddd-eeeeeeeeeeee");
    assert_eq!(parent["job"]["name"], "team-a.modeltrain.labelbot");
    let end = End { at: Timestamp::UNIX_EPOCH, outcome: Outcome::Succeeded, message: "", artifact: None, gate: None };
    let ended = checked(&Event::ended(&run, &end, None).unwrap());
    assert_eq!((&ended["eventType"], &ended["outputs"]), (&json!("COMPLETE"), &json!([])));
    let unknown = Run { parent: Some(Parent { job: train, run_uid: "" }), ..run };
    let started = checked(&Event::started(&unknown, Timestamp::UNIX_EPOCH, None).unwrap());
    assert_eq!(started["run"]["facets"]["parent"], Value::Null);
}

#[test]
fn the_largest_run_with_the_widest_texts_fits_and_texts_that_fit_stay_whole() {
    for wide in ["\u{1}", "\"", "€", "x"] {
        let text = wide.repeat(5000);
        let mut record = record(Outcome::TimedOut);
        record.parameters = (0..300).map(|_| RecordedParameter { name: text.clone(), value: text.clone() }).collect();
        record.inputs = (0..20).map(|_| input(&text, &text, &text)).collect();
        record.inputs[0].digest.clone_from(&text);
        record.reasons = (0..32).map(|_| reason(StaleReasonType::Metric, &text, &text)).collect();
        record.gate.rules = (0..40).map(|_| rule(&text, Verdict::Inconclusive, &text)).collect();
        (record.candidate, record.results_problem) = (text.clone(), text.clone());
        (record.gate.score, record.gate.compared_to) = (Some(text.clone()), text.clone());
        (record.train_ref.name, record.train_ref.uid) = (text.clone(), text.clone());
        (record.run.name, record.run.kind) = (text.clone(), text.clone());
        let [_, ended] = events(&record);
        assert_eq!(ended["run"]["facets"]["executionParameters"]["parameters"].as_array().unwrap().len(), 256);
    }
    let mut one = record(Outcome::Succeeded);
    one.parameters[0].value = "\n".repeat(4096);
    let [started, _] = events(&one);
    let parameters = &started["run"]["facets"]["executionParameters"]["parameters"];
    assert_eq!(parameters[0]["value"], one.parameters[0].value.as_str());
}

/// Short texts of any characters, and long ones of one character.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        3 => any::<String>(),
        1 => (any::<char>(), 0_usize..600).prop_map(|(one, times)| one.to_string().repeat(times)),
    ]
}

/// Texts of sources, also ones that resemble URLs.
fn source() -> impl Strategy<Value = String> {
    prop_oneof![
        text(),
        (text(), text()).prop_map(|(path, reference)| format!("git https://h/{path} {reference}")),
        text().prop_map(|host| format!("git http://{host}/x main")),
        text().prop_map(|path| format!("http s3://bucket/{path}")),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn any_text_makes_a_valid_event_within_the_bound(
        parameters in vec((text(), text()), 0..200),
        sources in vec((text(), source()), 0..16),
        reasons in vec((text(), text()), 0..8),
        messages in vec(text(), 0..8),
        (uri, name, problem, namespace) in (source(), text(), text(), text()),
    ) {
        let mut record = record(Outcome::Succeeded);
        record.parameters = parameters.into_iter().map(|(name, value)| RecordedParameter { name, value }).collect();
        record.inputs = sources.iter().map(|(value, source)| input("data", value, source)).collect();
        record.reasons = reasons.iter().map(|(name, value)| reason(StaleReasonType::Schedule, name, value)).collect();
        record.gate.rules = messages.iter().map(|message| rule(message, Verdict::Failed, message)).collect();
        record.artifact = Some(Artifact { uri, digest: name.clone() });
        record.run.name = name;
        record.results_problem = problem;
        events(&record);
        record.run.outcome = Outcome::Failed;
        let run = Run::of_record("team-a", &record);
        let end = End::of_record(&record, Timestamp::UNIX_EPOCH);
        checked(&Event::ended(&run, &end, Some(&format!("x{namespace}"))).unwrap());
    }
}
