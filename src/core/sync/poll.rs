//! From a spec to the target of its polls, and to the objects that they read. Pure.

use std::collections::BTreeSet;

use crate::{
    api::{Compare, ModelSyncSpec},
    core::{
        invalid::Invalid,
        poll::request::PollTarget,
        source::{
            Reference, references_of,
            validate::{check_request, check_source, check_url},
        },
    },
};

/// Checks what a spec polls: what the CRD's schema checks, and what the schema cannot check, paths and URLs.
pub fn check_poll(spec: &ModelSyncSpec) -> Result<(), Invalid> {
    match (&spec.needs_sync_url, &spec.compare) {
        (Some(_), Some(_)) => Err(Invalid::new("spec.needsSyncUrl", "and spec.compare are both set: keep one of them")),
        (None, Some(compare)) => check_comparison(compare),
        (given, None) => {
            let given = given.as_deref().filter(|text| !text.is_empty()).ok_or_else(missing)?;
            check_url("spec.needsSyncUrl", given)?;
            spec.request.as_ref().map_or(Ok(()), |request| check_request("spec.request", request))
        }
    }
}

fn missing() -> Invalid {
    Invalid::new(
        "spec.needsSyncUrl",
        "is missing: set it to the http or https URL of the endpoint that says whether a sync is needed, or set \
         spec.compare to compare two values",
    )
}

fn check_comparison(compare: &Compare) -> Result<(), Invalid> {
    check_source("spec.compare.desired", &compare.desired)?;
    check_source("spec.compare.actual", &compare.actual)
}

/// The poll target of a spec that `check_poll` has accepted. Each poll needs one, so nothing is checked again.
pub fn poll_target(spec: &ModelSyncSpec) -> Option<PollTarget> {
    let endpoint = spec.needs_sync_url.as_deref();
    let endpoint = endpoint.map(|url| PollTarget::NeedsSync { url: url.into(), request: spec.request.clone() });
    endpoint.or_else(|| spec.compare.clone().map(PollTarget::Compare))
}

/// The objects that the polls of a spec read, each once.
pub fn references(spec: &ModelSyncSpec) -> BTreeSet<Reference> {
    references_of(spec.compare.iter().flat_map(|compare| [&compare.desired, &compare.actual]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn returns_the_objects_of_both_compared_sides_and_none_for_an_endpoint() {
        let map = |name: &str| json!({ "configMapKeyRef": { "name": name, "key": "k" } });
        let read = |spec: serde_json::Value| -> Vec<String> {
            let found = references(&serde_json::from_value(spec).unwrap());
            found.into_iter().map(|reference| reference.name).collect()
        };
        assert_eq!(read(json!({ "compare": { "desired": map("d"), "actual": map("a") } })), ["a", "d"]);
        assert!(read(json!({ "needsSyncUrl": "http://h/" })).is_empty());
    }

    #[test]
    fn target_is_the_endpoint_or_the_comparison() {
        let target = |spec: serde_json::Value| poll_target(&serde_json::from_value(spec).unwrap());
        let endpoint = Some(PollTarget::NeedsSync { url: "http://h/".into(), request: None });
        assert_eq!(target(json!({ "needsSyncUrl": "http://h/" })), endpoint);
        let sides = json!({ "desired": { "literal": "a" }, "actual": { "literal": "b" } });
        assert!(matches!(target(json!({ "compare": sides })), Some(PollTarget::Compare(_))));
        assert_eq!(target(json!({})), None);
    }
}
