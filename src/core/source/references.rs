//! Which objects of its namespace a value source reads. Pure.

use std::collections::BTreeSet;

use crate::api::{SingleSource, Source, keys};

/// An object of the same namespace that a source reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// The objects that these sources read, each once. A change of one of them may change a value.
///
/// The ModelVersions that `modelTrain` reads too are not among them: they never change, and the ModelTrain does when one
/// is added.
pub fn of_sources<'a>(sources: impl IntoIterator<Item = &'a Source>) -> BTreeSet<Reference> {
    let singles = |source: &'a Source| {
        std::iter::once(&source.single).chain(source.all.iter().map(|member| &member.source)).filter_map(of_single)
    };
    sources.into_iter().flat_map(singles).collect()
}

fn of_single(source: &SingleSource) -> Option<Reference> {
    let (api_version, kind, name) = match source {
        SingleSource { config_map_key_ref: Some(key), .. } => ("v1", "ConfigMap", &key.name),
        SingleSource { object_field: Some(field), .. } => (&*field.api_version, &*field.kind, &field.name),
        SingleSource { model_train: Some(train), .. } => (keys::API_VERSION, "ModelTrain", &train.name),
        _ => return None,
    };
    Some(Reference { api_version: api_version.to_owned(), kind: kind.to_owned(), name: name.clone() })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(sources: serde_json::Value) -> Vec<String> {
        let sources: Vec<Source> = serde_json::from_value(sources).unwrap();
        let found = of_sources(&sources);
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
    fn names_trainings_and_what_stands_within_all() {
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
