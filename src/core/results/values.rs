//! Metrics that come from sources instead of results: the texts of a source that can name a run. Pure.
//!
//! `$(run.name)`, `$(run.uid)` and `$(version)` stand for a run. What they are replaced by is made of lower-case letters,
//! digits, `-` and `.` only, which mean themselves in a URL, a query, a path's quoted name and a name of an object.

use crate::{
    api::{SingleSource, Source},
    core::invalid::Invalid,
};

/// What stands for a run.
const RUN_NAME: &str = "$(run.name)";
const RUN_UID: &str = "$(run.uid)";
const VERSION: &str = "$(version)";

/// The source as it is to be asked for this run. `version` is the name of the ModelVersion that is made of it.
pub fn for_run(source: &Source, run_name: &str, run_uid: &str, version: &str) -> Source {
    let mut source = source.clone();
    for (_, text) in texts(&mut source) {
        for (placeholder, value) in [(RUN_NAME, run_name), (RUN_UID, run_uid), (VERSION, version)] {
            if text.contains(placeholder) {
                *text = text.replace(placeholder, value);
            }
        }
    }
    source
}

/// Whether the source names the run that it is asked for: else it may give the number of another one. `at` is its path, as
/// in `spec.metrics.values[0].source`.
///
/// Whether the source is good otherwise can be told of what [`for_run`] makes of it.
pub fn check(source: &Source, at: &str) -> Result<(), Invalid> {
    let mut source = source.clone();
    if source.single.literal.is_some() {
        let problem = "is the same for every run, and so no measurement: use a source that the run reports to";
        return Err(Invalid::new(format!("{at}.literal"), problem));
    }
    let texts = texts(&mut source);
    let names_run = |text: &String| [RUN_NAME, RUN_UID, VERSION].iter().any(|placeholder| text.contains(placeholder));
    if texts.iter().any(|(_, text)| names_run(text)) {
        return Ok(());
    }
    let members: Vec<_> = texts.iter().map(|(member, _)| *member).collect();
    Err(match members.as_slice() {
        [] => Invalid::new(at, "cannot name a run, and so may give the number of another one: use another source"),
        [first, others @ ..] => {
            let or = if others.is_empty() { String::new() } else { format!(" (or {})", others.join(", ")) };
            let problem = format!(
                "must name the run that is measured, else it may give the number of another one: put {RUN_NAME}, \
                 {RUN_UID} or {VERSION} into it{or}"
            );
            Invalid::new(format!("{at}.{first}"), problem)
        }
    })
}

/// The texts of a source that say what is read, by their paths in it, the most likely one first. Not those that say how it
/// is asked.
fn texts(source: &mut Source) -> Vec<(&'static str, &mut String)> {
    let mut texts = Vec::new();
    let Source { single, all: _ } = source;
    // The constant is refused, not filled in; what a ModelTrain accepted is no measurement of a run.
    let SingleSource { literal: _, model_train: _, config_map_key_ref, object_field, http, git, mlflow, prometheus } =
        single;
    if let Some(key) = config_map_key_ref {
        texts.extend([("configMapKeyRef.name", &mut key.name), ("configMapKeyRef.key", &mut key.key)]);
    }
    if let Some(field) = object_field {
        texts.extend([("objectField.name", &mut field.name), ("objectField.jsonPath", &mut field.json_path)]);
    }
    if let Some(http) = http.as_deref_mut() {
        texts.push(("http.url", &mut http.url));
        texts.extend(http.json_path.as_mut().map(|path| ("http.jsonPath", path)));
    }
    if let Some(git) = git.as_deref_mut() {
        texts.extend([("git.ref", &mut git.reference), ("git.url", &mut git.url)]);
    }
    if let Some(prometheus) = prometheus.as_deref_mut() {
        texts.extend([("prometheus.query", &mut prometheus.query), ("prometheus.url", &mut prometheus.url)]);
    }
    if let Some(mlflow) = mlflow.as_deref_mut() {
        texts.push(("mlflow.model", &mut mlflow.model));
        texts.extend(mlflow.alias.as_mut().map(|alias| ("mlflow.alias", alias)));
        texts.push(("mlflow.url", &mut mlflow.url));
    }
    texts
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const AT: &str = "spec.metrics.values[0].source";

    fn source(value: Value) -> Source {
        serde_json::from_value(value).unwrap()
    }

    /// Sources that name their run in each of the texts that can, and what becomes of them.
    fn per_run() -> Vec<(Value, Value)> {
        vec![
            (
                json!({ "configMapKeyRef": { "name": "scores-$(run.name)", "key": "r2" } }),
                json!({ "configMapKeyRef": { "name": "scores-r-1", "key": "r2" } }),
            ),
            (
                json!({ "configMapKeyRef": { "name": "scores", "key": "$(version).r2" } }),
                json!({ "configMapKeyRef": { "name": "scores", "key": "v-1.r2" } }),
            ),
            (
                json!({ "objectField": { "apiVersion": "a/v1", "kind": "K", "name": "$(run.name)", "jsonPath": "$.r2" } }),
                json!({ "objectField": { "apiVersion": "a/v1", "kind": "K", "name": "r-1", "jsonPath": "$.r2" } }),
            ),
            (
                json!({ "objectField": { "apiVersion": "a/v1", "kind": "K", "name": "n", "jsonPath": "$.runs['$(run.uid)']" } }),
                json!({ "objectField": { "apiVersion": "a/v1", "kind": "K", "name": "n", "jsonPath": "$.runs['u-1']" } }),
            ),
            (
                json!({ "http": { "url": "http://s/$(run.name)/$(run.uid)?v=$(version)&again=$(run.name)", "header": "x" } }),
                json!({ "http": { "url": "http://s/r-1/u-1?v=v-1&again=r-1", "header": "x" } }),
            ),
            (
                json!({ "http": { "url": "http://s/all", "jsonPath": "$.runs['$(run.name)'].r2" } }),
                json!({ "http": { "url": "http://s/all", "jsonPath": "$.runs['r-1'].r2" } }),
            ),
            (
                json!({ "git": { "url": "http://s/repo", "ref": "refs/runs/$(run.uid)" } }),
                json!({ "git": { "url": "http://s/repo", "ref": "refs/runs/u-1" } }),
            ),
        ]
    }

    #[test]
    fn a_source_is_asked_about_its_run_wherever_it_names_it() {
        for (given, expected) in per_run() {
            let given = source(given);
            assert_eq!(check(&given, AT), Ok(()), "{given:?}");
            assert_eq!(for_run(&given, "r-1", "u-1", "v-1"), source(expected));
        }
    }

    #[test]
    fn a_source_that_names_no_run_is_refused_and_told_where_to_name_it() {
        for (given, field) in [
            (json!({ "configMapKeyRef": { "name": "scores", "key": "r2" } }), "configMapKeyRef.name"),
            (
                json!({ "objectField": { "apiVersion": "v1", "kind": "K", "name": "n", "jsonPath": "$.r2" } }),
                "objectField.name",
            ),
            (json!({ "http": { "url": "http://s/latest?run=$(run.id)", "jsonPath": "$.r2" } }), "http.url"),
            (json!({ "git": { "url": "http://s/repo", "ref": "main" } }), "git.ref"),
        ] {
            let invalid = check(&source(given), AT).unwrap_err();
            assert_eq!(invalid.field, format!("{AT}.{field}"));
            for part in ["another one", RUN_NAME, RUN_UID, VERSION] {
                assert!(invalid.problem.contains(part), "{invalid}");
            }
        }
    }

    #[test]
    fn a_constant_is_no_measurement() {
        let invalid = check(&source(json!({ "literal": "$(run.name)" })), AT).unwrap_err();
        assert_eq!(invalid.field, format!("{AT}.literal"));
        assert!(invalid.problem.contains("no measurement"), "{invalid}");
    }

    #[test]
    fn how_a_source_is_asked_does_not_name_the_run() {
        let token = json!({ "serviceAccountToken": { "serviceAccountName": "$(run.name)", "audience": "a" } });
        let given = source(json!({ "http": { "url": "http://s/latest", "header": "x", "request": token } }));
        assert!(check(&given, AT).is_err());
        assert_eq!(for_run(&given, "r-1", "u-1", "v-1"), given);
    }
}
