//! The source `objectField`: a scalar field of an object of the same namespace. IO through [`ReadObjects`] only.

use serde_json::value::RawValue;

use super::{
    text::poll_error,
    value::{Reading, Value},
};
use crate::{
    api::ObjectField,
    core::{
        poll::response::{PollError, PollErrorKind},
        source::json_path::SingularPath,
    },
    port::ReadObjects,
};

/// The field's value. A missing object or field, or null, is no value.
pub(super) async fn read(objects: &dyn ReadObjects, namespace: &str, field: &ObjectField) -> Reading {
    let found = objects.read(namespace, &field.api_version, &field.kind, &field.name).await?;
    found.map_or(Ok(None), |object| value(&object, field))
}

/// The field's value in this object.
fn value(object: &str, field: &ObjectField) -> Reading {
    let fail = |problem: String| -> PollError {
        poll_error(PollErrorKind::Source, &format!("{} {}: {problem}", field.kind, field.name))
    };
    let path = SingularPath::parse(&field.json_path).map_err(|error| fail(format!("jsonPath {error}")))?;
    let object: &RawValue = serde_json::from_str(object).map_err(|_| fail("it cannot be read".to_owned()))?;
    Value::at(object, &path).map_err(fail)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEPLOYMENT: &str = r#"{"metadata":{"labels":{"app.kubernetes.io/version":"v3"}},"spec":{"replicas":2,"template":{"spec":{"containers":[{"image":"a:1"}]}}},"status":{}}"#;

    fn read(json_path: &str) -> Result<Option<String>, String> {
        let field = ObjectField {
            api_version: "apps/v1".into(),
            kind: "Deployment".into(),
            name: "server".into(),
            json_path: json_path.into(),
        };
        match value(DEPLOYMENT, &field) {
            Ok(found) => Ok(found.map(|value| value.text().to_owned())),
            Err(failure) => Err(failure.message),
        }
    }

    #[test]
    fn takes_a_scalar_wherever_it_stands() {
        for (path, value) in [
            ("$.spec.replicas", "2"),
            (r#"$.metadata.labels["app.kubernetes.io/version"]"#, "v3"),
            ("$.spec.template.spec.containers[0].image", "a:1"),
        ] {
            assert_eq!(read(path).unwrap().as_deref(), Some(value), "{path}");
        }
        assert_eq!(read("$.status.replicas"), Ok(None));
    }

    #[test]
    fn names_object_and_path_of_what_is_no_scalar() {
        assert_eq!(
            read("$.spec.template").unwrap_err(),
            "Deployment server: $['spec']['template'] is an object; a value is a string, a number or a boolean"
        );
    }
}
