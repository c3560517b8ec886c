//! Opaque JSON objects: kept as the text that the API server sent, never interpreted here. No IO.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

/// A JSON object of a foreign schema (a PipelineRun's or a Job's spec), kept as text.
///
/// Ten thousand templates as parsed trees cost some 200 MiB; as text they take no more than their length.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct RawObject(Box<RawValue>);

impl RawObject {
    /// The JSON text.
    pub fn get(&self) -> &str {
        self.0.get()
    }
}

impl TryFrom<serde_json::Value> for RawObject {
    type Error = serde_json::Error;

    fn try_from(value: serde_json::Value) -> Result<Self, Self::Error> {
        RawValue::from_string(value.to_string()).map(Self)
    }
}

impl PartialEq for RawObject {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl JsonSchema for RawObject {
    fn schema_name() -> Cow<'static, str> {
        "RawObject".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "object", "x-kubernetes-preserve-unknown-fields": true })
    }
}
