//! Which objects of its namespace a question reads. Pure.

use std::collections::BTreeSet;

use crate::{api::Source, core::answer::Question};

/// An object of the same namespace that a question reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

/// The objects that this question reads, each once.
pub fn references(question: &Question) -> BTreeSet<Reference> {
    match question {
        Question::NeedsSync { .. } => BTreeSet::new(),
        Question::Compare(compare) => [&compare.desired, &compare.actual].into_iter().filter_map(reference).collect(),
    }
}

fn reference(source: &Source) -> Option<Reference> {
    match source {
        Source { config_map_key_ref: Some(key), .. } => {
            Some(Reference { api_version: "v1".to_owned(), kind: "ConfigMap".to_owned(), name: key.name.clone() })
        }
        Source { object_field: Some(field), .. } => Some(Reference {
            api_version: field.api_version.clone(),
            kind: field.kind.clone(),
            name: field.name.clone(),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn found(desired: &serde_json::Value, actual: &serde_json::Value) -> Vec<String> {
        let compare = serde_json::from_value(json!({ "desired": desired, "actual": actual })).unwrap();
        let found = references(&Question::Compare(Box::new(compare)));
        found.into_iter().map(|Reference { api_version, kind, name }| format!("{api_version} {kind} {name}")).collect()
    }

    #[test]
    fn names_each_object_once_and_nothing_outside_the_api_server() {
        let map = json!({ "configMapKeyRef": { "name": "a", "key": "k" } });
        let other_key = json!({ "configMapKeyRef": { "name": "a", "key": "l", "digest": true } });
        let field =
            json!({ "objectField": { "apiVersion": "apps/v1", "kind": "Deployment", "name": "a", "jsonPath": "$.x" } });
        let http = json!({ "http": { "url": "http://h/", "jsonPath": "$.x" } });
        assert_eq!(found(&map, &field), ["apps/v1 Deployment a", "v1 ConfigMap a"]);
        assert_eq!(found(&map, &other_key), ["v1 ConfigMap a"]);
        assert!(found(&http, &json!({ "literal": "x" })).is_empty());
        let endpoint = Question::NeedsSync { url: "http://h/".into(), request: None };
        assert!(references(&endpoint).is_empty());
    }
}
