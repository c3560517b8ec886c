//! The source `objectField`: a scalar field of an object of the same namespace. IO through
//! [`ReadObjects`](crate::port::ReadObjects) only.

use serde_json::value::RawValue;

use super::{
    read::{ReadValue, ValueReader},
    text::poll_error,
    value::{Reading, Value},
};
use crate::{
    api::source::ObjectField,
    core::{
        invalid::Invalid,
        poll::response::{PollError, PollErrorKind},
        source::{Reference, ValueSource, json_path::SingularPath, validate::check_path},
    },
};

impl ValueSource for ObjectField {
    fn check(&self, at: &str) -> Result<(), Invalid> {
        if self.api_version == "v1" && self.kind == "Secret" {
            return Err(Invalid::new(at, "never reads a Secret: its value would end up in status and in runs"));
        }
        check_path(&format!("{at}.jsonPath"), &self.json_path)
    }

    fn describe(&self) -> String {
        format!("object {} {} {} {}", self.api_version, self.kind, self.name, self.json_path)
    }

    fn reference(&self) -> Option<Reference> {
        Some(Reference::new(&self.api_version, &self.kind, &self.name))
    }

    fn texts(&mut self) -> Vec<(&'static str, &mut String)> {
        vec![("name", &mut self.name), ("jsonPath", &mut self.json_path)]
    }
}

impl ReadValue for ObjectField {
    /// The field's value. A missing object or field, or null, is no value.
    async fn read(&self, reader: &ValueReader, namespace: &str) -> Reading {
        let object = Reference::new(&self.api_version, &self.kind, &self.name);
        let part = SingularPath::parse(&self.json_path).map(|path| path.members());
        // A path that is none is an error of the value, whatever is read.
        let found = reader.objects.read(namespace, &object, &[part.unwrap_or_default()]).await?;
        found.map_or(Ok(None), |object| value(&object, self))
    }
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
    fn takes_a_scalar_at_any_depth() {
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
