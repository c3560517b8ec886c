//! The store of runs, fed by a watch and by replies.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::sync::{Arc, Mutex};

use modelsync::{
    api::keys,
    clock::Clock,
    core::run::backend::{Phase, RunBackend, RunRecord},
    kube_io::{
        record,
        sieve::{Piece, Shape, Sieve, Wrapping},
        store::{RunSink, Runs, RunsOf},
        watch::Sink,
    },
    runs,
};
use serde_json::json;

type Woken = Arc<Mutex<Vec<String>>>;

fn job() -> &'static dyn RunBackend {
    runs::backends().iter().copied().find(|backend| backend.kind().kind == "Job").unwrap()
}

/// A store, the sink of its one scope, and the names that the sink has woken.
fn world() -> (Arc<Runs>, RunSink, Woken) {
    let scope = (job().kind(), Some("team".to_owned()));
    let (store, woken) = (Arc::new(Runs::new(Clock::system(), [scope])), Woken::default());
    let (one, all) = (woken.clone(), woken.clone());
    let wake = Arc::new(move |run: &RunRecord| one.lock().unwrap().push(run.name.clone()));
    let wake_all = Arc::new(move || all.lock().unwrap().push("all".to_owned()));
    let sink = RunSink::new(&store, job(), Some("team".to_owned()), wake, wake_all);
    (store, sink, woken)
}

fn object(name: &str, owner: (&str, &str), version: u64, ended: bool) -> String {
    let condition = json!([{ "type": "Complete", "status": "True", "lastTransitionTime": "2026-11-01T10:00:00Z" }]);
    json!({
        "metadata": {
            "namespace": "team", "name": name, "uid": format!("uid-{name}"), "resourceVersion": version.to_string(),
            "ownerReferences":
                [{ "apiVersion": "v1", "uid": owner.0, "kind": "ModelSync", "name": owner.1, "controller": true }],
        },
        "status": { "conditions": if ended { condition } else { json!([]) } },
    })
    .to_string()
}

fn record(name: &str, owner: (&str, &str), version: u64, ended: bool) -> RunRecord {
    record::run(job(), &object(name, owner, version, ended)).unwrap()
}

/// Names of the object's own runs, and of its predecessors'.
fn names(store: &Runs, uid: &str, name: &str) -> Option<(Vec<String>, Vec<String>)> {
    let names = |runs: Vec<Arc<RunRecord>>| runs.iter().map(|run| run.name.clone()).collect();
    match store.of(uid, "team", "ModelSync", name) {
        RunsOf::Unknown => None,
        RunsOf::Known { own, predecessors, .. } => Some((names(own), names(predecessors))),
    }
}

#[test]
fn runs_are_unknown_until_listed_and_none_if_the_kind_is_missing() {
    let (store, mut sink, woken) = world();
    sink.begin();
    sink.listed(&object("a-1", ("one", "a"), 5, true));
    assert_eq!(names(&store, "one", "a"), None, "the list may go on");
    sink.commit("9");
    assert_eq!(names(&store, "one", "a"), Some((vec!["a-1".into()], vec![])));
    assert_eq!(*woken.lock().unwrap(), ["a-1", "all"]);
    sink.missing();
    let RunsOf::Known { own, missing, .. } = store.of("one", "team", "ModelSync", "a") else { panic!("unknown") };
    assert!(own.is_empty() && missing == [job().kind()]);
}

#[test]
fn unfinished_runs_of_an_earlier_object_of_the_name_are_predecessors_until_they_end() {
    let (store, mut sink, _) = world();
    sink.begin();
    sink.listed(&object("a-1", ("one", "a"), 5, false));
    sink.listed(&object("b-1", ("three", "b"), 6, false));
    sink.commit("9");
    assert_eq!(names(&store, "two", "a"), Some((vec![], vec!["a-1".into()])));
    assert_eq!(names(&store, "one", "a"), Some((vec!["a-1".into()], vec![])));
    sink.applied(&object("a-1", ("one", "a"), 10, true));
    assert_eq!(names(&store, "two", "a"), Some((vec![], vec![])));
    let ended = store.named("team", "one", "a-1").unwrap();
    assert!(!matches!(ended.observed.phase, Phase::Active), "its end is known");
}

#[test]
fn watch_event_that_a_reply_has_already_brought_wakes_nothing() {
    let (store, mut sink, woken) = world();
    sink.begin();
    sink.commit("9");
    store.insert(record("a-1", ("one", "a"), 10, false));
    woken.lock().unwrap().clear();
    sink.applied(&object("a-1", ("one", "a"), 10, false));
    assert!(woken.lock().unwrap().is_empty());
    sink.applied(&object("a-1", ("one", "a"), 11, true));
    assert_eq!(*woken.lock().unwrap(), ["a-1"]);
}

#[test]
fn change_wakes_the_object_if_versions_are_not_comparable_numbers() {
    let (store, mut sink, woken) = world();
    sink.begin();
    sink.commit("0");
    sink.applied(&object("a-1", ("one", "a"), 0, false));
    woken.lock().unwrap().clear();
    sink.applied(&object("a-1", ("one", "a"), 0, true));
    assert_eq!(*woken.lock().unwrap(), ["a-1"]);
    assert!(!store.named("team", "one", "a-1").unwrap().is_active());
}

#[test]
fn missing_kind_removes_only_its_own_runs() {
    let (store, mut sink, woken) = world();
    sink.begin();
    sink.listed(&object("a-1", ("one", "a"), 5, true));
    sink.commit("9");
    let other = runs::backends().iter().copied().find(|backend| backend.kind() != job().kind()).unwrap();
    let no_wake = || Arc::new(|_: &RunRecord| {});
    RunSink::new(&store, other, Some("team".to_owned()), no_wake(), Arc::new(|| {})).missing();
    assert_eq!(names(&store, "one", "a").unwrap().0, ["a-1"]);
    woken.lock().unwrap().clear();
    sink.missing();
    assert_eq!(*woken.lock().unwrap(), ["a-1", "all"]);
}

#[test]
fn reply_after_the_event_of_a_deletion_does_not_bring_the_run_back() {
    let (store, mut sink, _) = world();
    sink.begin();
    sink.listed(&object("a-1", ("one", "a"), 5, false));
    sink.commit("9");
    sink.deleted(&object("a-1", ("one", "a"), 12, false));
    store.insert(record("a-1", ("one", "a"), 11, false));
    assert_eq!(names(&store, "one", "a"), Some((vec![], vec![])));
    assert_eq!(names(&store, "two", "a"), Some((vec![], vec![])));
}

#[test]
fn list_drops_the_runs_that_it_lacks_but_not_those_created_since() {
    let (store, mut sink, _) = world();
    sink.begin();
    sink.listed(&object("a-1", ("one", "a"), 5, true));
    sink.commit("9");
    store.insert(record("a-2", ("one", "a"), 20, false));
    sink.begin();
    sink.commit("15");
    assert_eq!(names(&store, "one", "a"), Some((vec!["a-2".into()], vec![])));
}

#[test]
fn run_of_another_namespace_belongs_to_no_object_of_this_one() {
    let (store, mut sink, _) = world();
    sink.begin();
    sink.listed(&object("a-1", ("one", "a"), 5, false));
    sink.commit("9");
    let mut forged = record("a-2", ("one", "a"), 10, false);
    forged.namespace = "stranger".to_owned();
    store.insert(forged);
    assert_eq!(names(&store, "one", "a"), Some((vec!["a-1".to_owned()], Vec::new())));
    assert_eq!(names(&store, "two", "a"), Some((Vec::new(), vec!["a-1".to_owned()])), "as a predecessor, too");
    assert!(store.named("team", "one", "a-2").is_none());
}

#[test]
fn controller_reference_to_another_object_does_not_give_it_the_run() {
    let run = |label: Option<&str>| {
        let mut run: serde_json::Value = serde_json::from_str(&object("a-1", ("two", "b"), 7, false)).unwrap();
        if let Some(uid) = label {
            run["metadata"]["labels"] = json!({ (keys::OWNER_UID): uid });
        }
        let run = record::run(job(), &run.to_string()).unwrap();
        (run.owner_uid, run.controlled)
    };
    assert_eq!(run(Some("one")), ("one".into(), false), "the label says whose it is");
    assert_eq!(run(Some("two")), ("two".into(), true));
    assert_eq!(run(None), ("two".into(), true), "a run of the controller before this operator");
}

/// Each backend reads whether a run waits or works from what the sieve lets through.
#[test]
fn run_that_waits_on_purpose_or_works_is_not_idle_behind_the_sieve() {
    for (kind, spec, status, idle) in [
        ("Job", json!({ "suspend": true, "template": {} }), json!({ "active": 0 }), false),
        ("Job", json!({ "parallelism": 2 }), json!({ "active": 2, "ready": 1 }), false),
        ("Job", json!({ "parallelism": 2 }), json!({ "active": 2, "ready": 0 }), true),
        ("PipelineRun", json!({ "status": "PipelineRunPending" }), json!({}), false),
        ("PipelineRun", json!({ "pipelineRef": { "name": "p" } }), json!({}), true),
    ] {
        let backend = runs::backends().iter().copied().find(|backend| backend.kind().kind == kind).unwrap();
        let metadata = json!({ "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7" });
        let run = json!({ "metadata": metadata, "spec": spec, "status": status }).to_string();
        let mut sieve = Sieve::new(Shape::Run, Wrapping::None);
        let mut sifted = String::new();
        let mut see = |piece: Piece<'_>| {
            if let Piece::Whole(text) = piece {
                text.clone_into(&mut sifted);
            }
        };
        sieve.push(run.as_bytes(), &mut see).unwrap();
        let observed = backend.observe(&sifted).unwrap();
        assert_eq!(observed, backend.observe(&run).unwrap(), "the sieve changes nothing: {run}");
        assert_eq!(observed.idle, idle, "{run}");
    }
}
