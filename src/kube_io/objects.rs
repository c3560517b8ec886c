//! Reads the objects that values come from, live. IO.

use futures::future::BoxFuture;
use http::Request;
use serde_json::value::RawValue;

use super::{
    client::{CallError, Guarded, call},
    kinds::{KindError, Kinds, Resource},
    record::names,
    referenced::{Known, Referenced},
};
use crate::{
    core::{
        poll::response::{PollError, PollErrorKind},
        source::Reference,
    },
    port::ReadObjects,
};

/// Reads objects, and reports each to [`Referenced`], which detects later changes by comparing with it.
#[derive(Clone)]
pub struct LiveObjects {
    client: Guarded,
    kinds: Kinds,
    referenced: Referenced,
}

impl LiveObjects {
    /// Reads through this client.
    pub fn new(client: Guarded, kinds: Kinds, referenced: Referenced) -> Self {
        Self { client, kinds, referenced }
    }

    async fn get(&self, namespace: &str, reference: &Reference) -> Result<Option<Box<RawValue>>, String> {
        let Reference { api_version, kind, name } = reference;
        // The name becomes part of a URL path, and no object has a name with other characters.
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte)) || name.starts_with('.') {
            return Ok(None);
        }
        let resource = self.kinds.find(api_version, kind).await.map_err(|error| error.to_string())?;
        let path = format!("{}/{name}", resource.collection(Some(namespace)));
        let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
        match call(&self.client, request).await {
            Ok(object) => Ok(Some(object)),
            Err(CallError::Refused(status)) if status.code == 404 => {
                // If the kind is installed, the refusal names the missing object.
                if status.details.is_some_and(|details| details.name == *name) {
                    return Ok(None);
                }
                self.kinds.forget(api_version);
                Err(KindError::Missing { api_version: api_version.clone(), kind: kind.clone() }.to_string())
            }
            Err(CallError::Refused(status)) if status.code == 403 => Err(ungranted(kind, &resource)),
            Err(error) => Err(format!("{kind} {name} cannot be read: {error}")),
        }
    }
}

/// The message for a missing permission, with the rule as it is written into a role.
fn ungranted(kind: &str, Resource { group, plural, .. }: &Resource) -> String {
    format!(
        "the operator may not read objects of kind {kind}; grant it this rule: \
         {{apiGroups: [\"{group}\"], resources: [\"{plural}\"], verbs: [\"get\", \"list\", \"watch\"]}}"
    )
}

impl ReadObjects for LiveObjects {
    fn read<'a>(
        &'a self,
        namespace: &'a str,
        api_version: &'a str,
        kind: &'a str,
        name: &'a str,
    ) -> BoxFuture<'a, Result<Option<String>, PollError>> {
        Box::pin(async move {
            let reference =
                Reference { api_version: api_version.to_owned(), kind: kind.to_owned(), name: name.to_owned() };
            let object = self
                .get(namespace, &reference)
                .await
                .map_err(|message| PollError { class: PollErrorKind::Source, message })?;
            let known = object.as_deref().map_or(Known::Gone(None), |object| Known::At(version(object)));
            self.referenced.was_read(namespace, &reference, known);
            Ok(object.map(|object| Box::<str>::from(object).into()))
        })
    }
}

/// The object's resourceVersion as a number; 0 if it cannot be read.
fn version(object: &RawValue) -> u64 {
    names(object.get()).ok().and_then(|names| names.resource_version.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prints_the_rule_that_is_missing() {
        let resource = Resource { group: "apps".into(), version: "v1".into(), plural: "deployments".into() };
        assert_eq!(
            ungranted("Deployment", &resource),
            r#"the operator may not read objects of kind Deployment; grant it this rule: {apiGroups: ["apps"], resources: ["deployments"], verbs: ["get", "list", "watch"]}"#
        );
    }
}
