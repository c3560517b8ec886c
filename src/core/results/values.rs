//! Metrics that come from value sources instead of results: the placeholders by which a source names a run. Pure.
//!
//! The placeholders are `$(run.name)`, `$(run.uid)` and `$(version)`. Their values consist of lower-case letters,
//! digits, `-` and `.` only, which need no escaping in a URL, a query, a quoted name of a path, or the name of an
//! object.

use crate::{
    api::Source,
    core::{invalid::Invalid, source::members_mut},
};

/// Placeholders for a run.
const RUN_NAME: &str = "$(run.name)";
const RUN_UID: &str = "$(run.uid)";
const VERSION: &str = "$(version)";

/// The source with the placeholders filled in for this run. `version` is the name of the ModelVersion of the run.
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

/// Checks that the source names the run that is measured: otherwise it may return the number of another run. `at` is
/// the path of the source, as in `spec.metrics.values[0].source`.
///
/// All other checks of a source apply to the result of [`for_run`].
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
    let fields: Vec<_> = texts.iter().map(|(field, _)| field.as_str()).collect();
    Err(match fields.as_slice() {
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

/// The texts of a source that may name a run, by their paths in it, the most likely one first.
fn texts(source: &mut Source) -> Vec<(String, &mut String)> {
    let members = members_mut(&mut source.single);
    members
        .flat_map(|(name, member)| {
            member.texts().into_iter().map(move |(field, text)| (format!("{name}.{field}"), text))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    const AT: &str = "spec.metrics.values[0].source";

    fn source(value: Value) -> Source {
        serde_json::from_value(value).unwrap()
    }

    /// Sources that name their run in each text that can, and the results of [`for_run`].
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
    fn placeholders_are_filled_in_wherever_a_source_names_its_run() {
        for (given, expected) in per_run() {
            let given = source(given);
            assert_eq!(check(&given, AT), Ok(()), "{given:?}");
            assert_eq!(for_run(&given, "r-1", "u-1", "v-1"), source(expected));
        }
    }

    #[test]
    fn a_source_that_names_no_run_is_refused_and_the_error_says_where_to_name_it() {
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
    fn settings_of_the_request_do_not_name_the_run() {
        let token = json!({ "serviceAccountToken": { "serviceAccountName": "$(run.name)", "audience": "a" } });
        let given = source(json!({ "http": { "url": "http://s/latest", "header": "x", "request": token } }));
        assert!(check(&given, AT).is_err());
        assert_eq!(for_run(&given, "r-1", "u-1", "v-1"), given);
    }
}
