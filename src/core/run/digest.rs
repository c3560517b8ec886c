//! The digest that identifies a target, stable across releases. Pure.

use std::{collections::BTreeMap, fmt::Write as _};

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::backend::Template;

/// Lower-case hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Digest of a target: the parameters of its runs, and the template as the user wrote it.
///
/// Versioned (`v1:sha256:…`), because a change of form would re-run every target of every user. The API server returns
/// objects with sorted keys and normalised numbers, and appliers differ in explicit nulls: the canonical form has
/// sorted keys and no nulls in objects, so that neither makes a difference.
pub fn target(parameters: &BTreeMap<String, String>, template: &Template<'_>) -> String {
    identity("parameters", &serde_json::json!(parameters), template)
}

/// Digest of a target that has a name of its own: the target that an endpoint names, or the desired value of a
/// comparison. Form as in [`target`].
pub fn named_target(name: &str, template: &Template<'_>) -> String {
    identity("target", &serde_json::json!(name), template)
}

/// Digest of what a training is made from: its inputs, parameters and candidates, and the template as the user wrote
/// it. Form as in [`target`].
pub fn training(what: &Value, template: &Template<'_>) -> String {
    identity("training", what, template)
}

fn identity(member: &str, what: &Value, template: &Template<'_>) -> String {
    let spec = serde_json::from_str(template.spec.get()).unwrap_or(Value::Null);
    let metadata = template.metadata.map_or(
        Value::Null,
        |metadata| serde_json::json!({ "labels": metadata.labels, "annotations": metadata.annotations }),
    );
    let identity = canonical(serde_json::json!({
        member: what,
        "template": { template.path(): { "metadata": metadata, "spec": spec } },
    }));
    format!("v1:sha256:{}", hex(&Sha256::digest(identity.to_string().as_bytes())))
}

/// Sorts keys and removes nulls from objects. The sort is explicit: `serde_json` has a feature that makes maps keep
/// their order, and any other crate may turn it on.
fn canonical(value: Value) -> Value {
    match value {
        Value::Object(object) => {
            let sorted: BTreeMap<_, _> = object.into_iter().filter(|(_, value)| !value.is_null()).collect();
            Value::Object(sorted.into_iter().map(|(key, value)| (key, canonical(value))).collect())
        }
        Value::Array(items) => Value::Array(items.into_iter().map(canonical).collect()),
        scalar => scalar,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::RawObject;

    fn digest_of(spec: &str) -> String {
        let spec: RawObject = serde_json::from_str(spec).unwrap();
        target(
            &BTreeMap::from([("model".to_owned(), "m1".to_owned())]),
            &Template { field: "jobTemplate", metadata: None, spec: &spec },
        )
    }

    #[test]
    fn ignores_the_order_of_keys_and_explicit_nulls() {
        assert_eq!(
            digest_of(r#"{"b":[{"y":1,"x":null}],"a":1}"#),
            digest_of(r#"{ "a": 1, "b": [{"y": 1}], "c": null }"#)
        );
    }

    #[test]
    fn differs_when_a_value_differs() {
        assert_ne!(digest_of(r#"{"a":1}"#), digest_of(r#"{"a":2}"#));
        assert_ne!(digest_of(r#"{"a":[1,2]}"#), digest_of(r#"{"a":[2,1]}"#));
    }

    /// A changed digest would re-run every target of every user at an upgrade.
    #[test]
    fn stays_what_it_was_in_earlier_releases() {
        assert_eq!(
            digest_of(r#"{"a":1}"#),
            "v1:sha256:3a7b4e09dd6940cbda8a26085fdfcbb37b93d2fc421282ee63f0d1f8a11a3fd0"
        );
    }
}
