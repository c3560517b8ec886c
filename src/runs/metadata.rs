//! Metadata of a run: what a template may set, and the whole object that is built from it. Pure.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::json::Object;
use crate::{
    api::{TemplateMetadata, keys::KEY_PREFIX},
    core::{
        invalid::Invalid,
        run::backend::{RunKind, RunRequest, Template},
    },
};

/// Longest name part of a key, and longest value of a label.
const MAX_NAME: usize = 63;
/// Longest prefix of a key: a DNS subdomain.
const MAX_PREFIX: usize = 253;

/// Checks that runs can carry a template's metadata.
pub(super) fn check(template: Template<'_>) -> Result<(), Invalid> {
    let Some(metadata) = template.metadata else { return Ok(()) };
    let at = format!("{}.metadata", template.path());
    if metadata.name.is_some() {
        return Err(Invalid::new(format!("{at}.name"), "must not be set: runs are named by the operator; remove it"));
    }
    if metadata.namespace.is_some() {
        let problem = "must not be set: runs are made in the object's own namespace; remove it";
        return Err(Invalid::new(format!("{at}.namespace"), problem));
    }
    for (key, value) in &metadata.labels {
        let refuse = |problem: &str| Err(Invalid::new(entry(&at, "labels", key), problem));
        check_key(key).or_else(refuse)?;
        if !is_label_value(value) {
            refuse(
                "has a value that no label can have: use at most 63 letters, digits, '-', '_' and '.', beginning \
                 and ending with a letter or digit",
            )?;
        }
    }
    for key in metadata.annotations.keys() {
        // Unlike labels, annotations may have capitals in the prefix.
        check_key(&key.to_lowercase()).map_err(|problem| Invalid::new(entry(&at, "annotations", key), problem))?;
    }
    Ok(())
}

/// Labels of a template below these prefixes.
pub(super) fn left_out(template: Template<'_>, prefixes: &[&str]) -> Vec<String> {
    let labels = template.metadata.into_iter().flat_map(|metadata| metadata.labels.keys());
    labels.filter(|key| prefixes.iter().any(|prefix| key.starts_with(prefix))).cloned().collect()
}

/// A template's metadata without the labels below these prefixes.
pub(super) fn without_labels(template: Template<'_>, prefixes: &[&str]) -> Option<TemplateMetadata> {
    let mut metadata = template.metadata?.clone();
    metadata.labels.retain(|key, _| !prefixes.iter().any(|prefix| key.starts_with(prefix)));
    Some(metadata)
}

/// The whole object to create. Its metadata has exactly these members: a template cannot set the name or namespace of a
/// run. If the user and the operator both set a key, the operator's value wins; otherwise the watch would miss the run.
pub(super) fn object(kind: RunKind, request: &RunRequest<'_>, spec: Object) -> Value {
    let users = request.template.metadata;
    let mut metadata = json!({
        "name": request.name,
        "namespace": request.namespace,
        "labels": merged(users.map(|metadata| &metadata.labels), request.labels),
        "annotations": merged(users.map(|metadata| &metadata.annotations), request.annotations),
    });
    if let Some(owner) = request.owner {
        metadata["ownerReferences"] = json!([{
            "apiVersion": owner.api_version,
            "kind": owner.kind,
            "name": owner.name,
            "uid": owner.uid,
            "controller": true,
            "blockOwnerDeletion": true,
        }]);
    }
    let mut run = json!({ "apiVersion": kind.api_version(), "kind": kind.kind, "metadata": metadata });
    run["spec"] = Value::Object(spec);
    run
}

fn merged(users: Option<&BTreeMap<String, String>>, ours: &BTreeMap<String, String>) -> Value {
    users
        .into_iter()
        .flatten()
        .chain(ours)
        .map(|(key, value)| (key.clone(), Value::from(value.as_str())))
        .collect::<Object>()
        .into()
}

/// Path of one label or annotation. The key is the user's text, so it is quoted and cut to a length that fits a
/// message.
fn entry(at: &str, map: &str, key: &str) -> String {
    format!("{at}.{map}[{:?}]", super::status::cut(key, 128))
}

/// The rules of label and annotation keys: `[prefix/]name`, and not the operator's own prefix.
fn check_key(key: &str) -> Result<(), &'static str> {
    if key.starts_with(KEY_PREFIX) {
        return Err("must not be set: keys below automl.cloudai.kubeflow.org/ are the operator's; remove it");
    }
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    if !is_name(name) {
        return Err("is not a valid key: the name must be 1 to 63 letters, digits, '-', '_' and '.', beginning and \
             ending with a letter or digit");
    }
    if prefix.is_some_and(|prefix| !is_subdomain(prefix)) {
        return Err("is not a valid key: what comes before the '/' must be a DNS name in lower case");
    }
    Ok(())
}

fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_name(value)
}

fn is_name(name: &str) -> bool {
    name.len() <= MAX_NAME
        && begins_and_ends_alphanumeric(name)
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.'))
}

fn is_subdomain(prefix: &str) -> bool {
    prefix.len() <= MAX_PREFIX
        && prefix.split('.').all(|label| {
            begins_and_ends_alphanumeric(label)
                && label.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
        })
}

fn begins_and_ends_alphanumeric(text: &str) -> bool {
    let ends = (text.bytes().next(), text.bytes().next_back());
    matches!(ends, (Some(first), Some(last)) if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric())
}
