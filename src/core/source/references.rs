//! Which objects of its namespace a value source reads. Pure.

use std::collections::BTreeSet;

use super::value_source::{Reference, members};
use crate::api::{SingleSource, Source};

/// The objects that these sources read, each once. A change of one of them may change a value.
///
/// The ModelVersions that `modelTrain` reads too are not among them: they never change, and the ModelTrain does when one
/// is added.
pub fn references_of<'a>(sources: impl IntoIterator<Item = &'a Source>) -> BTreeSet<Reference> {
    let singles =
        |source: &'a Source| std::iter::once(&source.single).chain(source.all.iter().map(|member| &member.source));
    sources.into_iter().flat_map(singles).flat_map(of_single).collect()
}

fn of_single(source: &SingleSource) -> impl Iterator<Item = Reference> {
    members(source).filter_map(|(_, member)| member.reference())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::api::keys;

    fn found(sources: serde_json::Value) -> Vec<String> {
        let sources: Vec<Source> = serde_json::from_value(sources).unwrap();
        let found = references_of(&sources);
        found.into_iter().map(|Reference { api_version, kind, name }| format!("{api_version} {kind} {name}")).collect()
    }

    #[test]
    fn names_each_object_once_and_nothing_outside_the_api_server() {
        let map = json!({ "configMapKeyRef": { "name": "a", "key": "k" } });
        let other_key = json!({ "configMapKeyRef": { "name": "a", "key": "l", "digest": true } });
        let field =
            json!({ "objectField": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "a", "jsonPath": "$.x" } });
        let http = json!({ "http": { "url": "http://h/", "jsonPath": "$.x" } });
        assert_eq!(found(json!([map, field])), ["apps/v1 Deployment a", "v1 ConfigMap a"]);
        assert_eq!(found(json!([map, other_key])), ["v1 ConfigMap a"]);
        assert!(found(json!([http, { "literal": "x" }])).is_empty());
    }

    #[test]
    fn names_trainings_and_the_objects_of_all() {
        let all = json!({ "all": [
            { "name": "train", "modelTrain": { "name": "t", "select": "LastAttempt" } },
            { "name": "map", "configMapKeyRef": { "name": "a", "key": "k" } },
            { "name": "word", "literal": "x" },
        ] });
        let train = json!({ "modelTrain": { "name": "t" } });
        assert_eq!(
            found(json!([all, train])),
            [format!("{} ModelTrain t", keys::API_VERSION), "v1 ConfigMap a".into()]
        );
    }
}
