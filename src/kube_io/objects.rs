//! Reads the objects that values come from, live. IO.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use http::Request;
use serde_json::value::RawValue;

use super::{
    call::large_text,
    client::{CallError, Guarded},
    kinds::{KindError, Kinds, Resource},
    read_turns::ReadTurns,
    record::names,
    referenced::{Known, Referenced},
    sieve::{Shape, TooLarge},
};
use crate::{
    core::{
        poll::response::{PollError, PollErrorKind},
        source::Reference,
    },
    port::ReadObjects,
};

/// Largest part of an object that is read, in bytes of JSON. A key of a ConfigMap may have 1 MiB, and escapes make its JSON
/// longer.
const MAX_PART: usize = 2 * 1024 * 1024;

/// Reads objects, and reports each to [`Referenced`], which detects later changes by comparing with it.
#[derive(Clone)]
pub struct LiveObjects {
    client: Guarded,
    kinds: Kinds,
    turns: ReadTurns,
    referenced: Referenced,
}

impl LiveObjects {
    /// Reads through this client, each read in its turn.
    pub fn new(client: Guarded, kinds: Kinds, turns: ReadTurns, referenced: Referenced) -> Self {
        Self { client, kinds, turns, referenced }
    }

    async fn get(
        &self,
        namespace: &str,
        reference: &Reference,
        parts: &[Vec<String>],
    ) -> Result<Option<String>, String> {
        let Reference { api_version, kind, name } = reference;
        // The name becomes part of a URL path, and no object has a name with other characters.
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:".contains(&byte)) || name.starts_with('.') {
            return Ok(None);
        }
        let found = self.kinds.find(namespace, api_version, kind).await;
        let resource = found.map_err(|error| error.to_string())?;
        let path = format!("{}/{name}", resource.collection(Some(namespace)));
        let request = Request::get(path).body(Vec::new()).map_err(|error| error.to_string())?;
        let _turn = self.turns.take(namespace).await;
        match large_text(&self.client, request, Shape::Parts(parts.to_vec(), MAX_PART)).await {
            Ok(object) => match too_large(&object, parts) {
                Some(problem) => Err(format!("{kind} {name}: {problem}")),
                None => Ok(Some(object)),
            },
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

/// Says which part of an object was too large to be read, if one was.
fn too_large(object: &str, parts: &[Vec<String>]) -> Option<String> {
    let object: &RawValue = serde_json::from_str(object).ok()?;
    parts.iter().find_map(|part| {
        let found = part.iter().try_fold(object, |place, name| {
            serde_json::from_str::<BTreeMap<String, &RawValue>>(place.get()).ok()?.remove(name)
        });
        let too_large = TooLarge::read(found?.get())?;
        let path = part.join(".");
        Some(format!("{path} {too_large}: store it elsewhere, and only its digest or version in the object"))
    })
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
        reference: &'a Reference,
        parts: &'a [Vec<String>],
    ) -> BoxFuture<'a, Result<Option<String>, PollError>> {
        Box::pin(async move {
            let object = self
                .get(namespace, reference, parts)
                .await
                .map_err(|message| PollError { class: PollErrorKind::Source, message })?;
            let known = object.as_deref().map_or(Known::Gone(None), |object| Known::At(version(object)));
            self.referenced.was_read(namespace, reference, known);
            Ok(object)
        })
    }
}

/// The object's resourceVersion as a number; 0 if it cannot be read.
fn version(object: &str) -> u64 {
    names(object).ok().and_then(|names| names.resource_version.parse().ok()).unwrap_or(0)
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
