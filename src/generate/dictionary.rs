//! The compression dictionary for the texts that the operator stores, made from typical objects. Pure.

use std::fmt::Write;

use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use super::file::{Content, GeneratedFile};
use crate::api::{
    ModelSyncSpec, ModelSyncStatus, ModelTrainSpec, ModelTrainStatus, ModelVersionSpec, ModelVersionStatus,
};

/// Makes the dictionary from these objects. An error names a field that its kind does not have, or a status that the
/// operator does not write: the objects have drifted from the code.
pub fn file(objects: &[Value]) -> Result<GeneratedFile, String> {
    let mut text = String::new();
    for object in objects {
        let (spec, status) = match object["kind"].as_str().unwrap_or_default() {
            "ModelVersion" => (fields::<ModelVersionSpec>(object)?, written::<ModelVersionStatus>(object)?),
            "ModelTrain" => (fields::<ModelTrainSpec>(object)?, written::<ModelTrainStatus>(object)?),
            "ModelSync" => (fields::<ModelSyncSpec>(object)?, written::<ModelSyncStatus>(object)?),
            other => return Err(format!("{other:?} is no kind of this operator")),
        };
        // The operator stores the status right after the spec. Writing to a String cannot fail.
        let _ = writeln!(text, "{spec}{status}");
    }
    Ok(GeneratedFile { path: "src/kube_io/dictionary.txt".into(), content: Content::Plain(text) })
}

/// The spec, as the user wrote it. It must have no field that its kind does not have.
fn fields<Spec: DeserializeOwned + Serialize>(object: &Value) -> Result<&Value, String> {
    let spec = &object["spec"];
    let known = round_trip::<Spec>(spec)?;
    if paths(&known, "") == paths(spec, "") {
        Ok(spec)
    } else {
        Err(format!("a field that the kind does not have: {spec}"))
    }
}

/// The status. It must be one that the operator writes.
fn written<Status: DeserializeOwned + Serialize>(object: &Value) -> Result<&Value, String> {
    let status = &object["status"];
    let known = round_trip::<Status>(status)?;
    if known == *status { Ok(status) } else { Err(format!("the operator does not write this: {status}, but {known}")) }
}

fn round_trip<T: DeserializeOwned + Serialize>(value: &Value) -> Result<Value, String> {
    serde_json::from_value::<T>(value.clone()).and_then(serde_json::to_value).map_err(|error| error.to_string())
}

/// The path of each field.
fn paths(value: &Value, at: &str) -> Vec<String> {
    let members: Vec<_> = match value {
        Value::Object(members) => members.iter().map(|(name, member)| (format!("{at}.{name}"), member)).collect(),
        Value::Array(items) => items.iter().map(|item| (format!("{at}[]"), item)).collect(),
        _ => return vec![at.to_owned()],
    };
    members.into_iter().flat_map(|(path, member)| paths(member, &path)).collect()
}
