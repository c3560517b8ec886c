//! The CustomResourceDefinitions as shipped: the output of kube-derive, with what the macro cannot express. No IO.

use kube::CustomResourceExt;
use serde_json::{Map, Value, json};

use super::{model_sync::ModelSync, model_train::ModelTrain, model_version::ModelVersion, needs_sync::MAX_PARAMETERS};

/// Largest CRD as JSON that client-side `kubectl apply` can handle, with room to spare: it keeps the JSON in an annotation,
/// and all annotations together have at most 256 KiB.
pub const MAX_BYTES: usize = 200 * 1024;

/// Longest annotation of a template, in bytes.
const MAX_ANNOTATION: usize = 64 * 1024;

/// Every CRD of this operator, as JSON with sorted keys, in the order of their names.
pub fn all() -> Vec<Value> {
    [ModelSync::crd(), ModelTrain::crd(), ModelVersion::crd()]
        .iter()
        .map(|crd| completed(serde_json::to_value(crd)))
        .collect()
}

/// Adds to a derived CRD what the derive macro cannot express.
fn completed(derived: Result<Value, serde_json::Error>) -> Value {
    let mut crd = derived.unwrap_or_default();
    if let Some(versions) = crd.pointer_mut("/spec/versions").and_then(Value::as_array_mut) {
        for version in versions {
            let Some(schema) = version.pointer_mut("/schema/openAPIV3Schema") else { continue };
            drop_nulls(schema);
            bound_maps(schema);
            shorten_members(schema);
            // Without a status, every tool that waits for readiness would count a new object as ready.
            let observed = schema.pointer("/properties/status/properties/observedGeneration").is_some();
            if let Some(status) = schema.pointer_mut("/properties/status").and_then(Value::as_object_mut)
                && observed
            {
                status.insert("default".into(), json!({ "observedGeneration": -1 }));
            }
        }
    }
    crd
}

/// Removes `nullable`, which the derive macro sets for `Option<T>`: an explicit null would be a value of its own.
/// `creationTimestamp` alone keeps it: tools write `creationTimestamp: null` into templates.
fn drop_nulls(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.remove("nullable");
            if let Some(Value::Array(values)) = object.get_mut("enum") {
                values.retain(|value| !value.is_null());
            }
            whole_numbers(object);
            object.values_mut().for_each(drop_nulls);
            if let Some(Value::Object(timestamp)) = object.get_mut("creationTimestamp") {
                timestamp.insert("nullable".into(), json!(true));
            }
        }
        Value::Array(items) => items.iter_mut().for_each(drop_nulls),
        _ => {}
    }
}

/// Removes the descriptions of the entries of a source's `all`: they are the same as those of a single source, and repeated
/// at each place that has a source they would make the CRD too large to apply.
fn shorten_members(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            let members = object.get_mut("all").and_then(|all| all.pointer_mut("/items/properties"));
            for member in members.and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut) {
                for below in
                    member.get_mut("properties").and_then(Value::as_object_mut).into_iter().flat_map(Map::values_mut)
                {
                    drop_descriptions(below);
                }
            }
            object.values_mut().for_each(shorten_members);
        }
        Value::Array(items) => items.iter_mut().for_each(shorten_members),
        _ => {}
    }
}

/// Removes the descriptions of a schema and of everything below it. A property that is called `description` stays: it is an object.
fn drop_descriptions(schema: &mut Value) {
    match schema {
        Value::Object(object) => {
            object.retain(|name, value| name != "description" || !value.is_string());
            object.values_mut().for_each(drop_descriptions);
        }
        Value::Array(items) => items.iter_mut().for_each(drop_descriptions),
        _ => {}
    }
}

/// Bounds the values of maps of text: the types have no bound of their own for them.
fn bound_maps(schema: &mut Value) {
    if let Some(properties) = schema.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            let longest = match name.as_str() {
                "labels" => 63,
                "parameters" => MAX_PARAMETERS,
                _ => MAX_ANNOTATION,
            };
            if let Some(values) = property.get_mut("additionalProperties").and_then(Value::as_object_mut) {
                values.insert("maxLength".into(), json!(longest));
            }
            bound_maps(property);
        }
    }
    if let Some(items) = schema.get_mut("items") {
        bound_maps(items);
    }
}

/// Writes bounds as `0` instead of `0.0`: Kubernetes returns `0`, and a diff tool would show the difference.
fn whole_numbers(object: &mut Map<String, Value>) {
    for key in ["minimum", "maximum"] {
        if let Some(bound) = object.get(key).and_then(Value::as_f64) {
            #[expect(clippy::cast_possible_truncation, reason = "bounds are small whole numbers")]
            object.insert(key.into(), json!(bound as i64));
        }
    }
}
