//! The places of a Job's template in which `$(params.<name>)` is replaced. Everywhere else it is refused. Pure.
//!
//! A place is named here if a template reasonably varies it from run to run, and if it gives the run no rights. A value
//! comes from an endpoint or a source, so it must not choose whose rights a run has, which Secrets it reads, or what it
//! may do to its node: service accounts, Secrets, security contexts and host paths are not here.

use serde_json::Value;

use super::placeholder::{self, Expansion};
use crate::{
    api::TemplateMetadata,
    core::invalid::Invalid,
    runs::{
        json::Object,
        parameters::{self, Parameters},
        status::cut,
    },
};

/// The texts that the kubelet expands. In a path, `[]` is every entry of a list, `*` is every key, and `|` separates
/// alternatives.
const EXPANDED_BY_KUBELET: &[&str] = &[
    "template.spec.containers|initContainers[].command|args[]",
    "template.spec.containers|initContainers[].env[].value",
    "template.spec.containers|initContainers[].volumeMounts[].subPathExpr",
    "template.spec.containers|initContainers[].livenessProbe|readinessProbe|startupProbe.exec.command[]",
];

/// The texts that are not expanded again.
const TAKEN_AS_WRITTEN: &[&str] = &[
    "template.metadata.labels|annotations.*",
    "template.spec.containers|initContainers[].image|workingDir",
    "template.spec.containers|initContainers[].resources.limits|requests.*",
    "template.spec.containers|initContainers[].volumeMounts[].mountPath|subPath",
    "template.spec.containers|initContainers[].env[].valueFrom.configMapKeyRef.name|key",
    "template.spec.containers|initContainers[].envFrom[].configMapRef.name",
    "template.spec.volumes[].configMap.name",
    "template.spec.volumes[].persistentVolumeClaim.claimName",
    "template.spec.nodeSelector.*",
];

/// Replaces the placeholders of a Job's spec, which is at `at`. Refuses a placeholder in any other place.
pub(super) fn fill(spec: &mut Object, at: &str, parameters: &Parameters<'_>) -> Result<(), Invalid> {
    fill_members(spec, None, &Filling { at, parameters })
}

/// The template's metadata with its placeholders replaced, in the values of labels and annotations.
pub(super) fn filled_metadata(
    metadata: &TemplateMetadata,
    at: &str,
    parameters: &Parameters<'_>,
) -> Result<TemplateMetadata, Invalid> {
    let mut metadata = metadata.clone();
    for (member, map) in [("labels", &mut metadata.labels), ("annotations", &mut metadata.annotations)] {
        for (key, text) in map {
            let path = || format!("{at}.metadata.{member}[{:?}]", cut(key, 128));
            let filled = fill_text(text, Expansion::None, parameters, path)?;
            if let Some(filled) = filled {
                *text = filled;
            }
        }
    }
    Ok(metadata)
}

struct Filling<'a> {
    at: &'a str,
    parameters: &'a Parameters<'a>,
}

/// The place of a value in the spec.
#[derive(Clone, Copy)]
struct TextPlace<'a> {
    parent: Option<&'a TextPlace<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

fn fill_members(object: &mut Object, parent: Option<&TextPlace<'_>>, filling: &Filling<'_>) -> Result<(), Invalid> {
    for (key, member) in object {
        let place = TextPlace { parent, step: Step::Key(key) };
        // A key that a value decides could be any field.
        if let Some(name) = placeholder::first(key) {
            return Err(nowhere(place.path(filling.at), name));
        }
        fill_value(member, &place, filling)?;
    }
    Ok(())
}

fn fill_value(value: &mut Value, place: &TextPlace<'_>, filling: &Filling<'_>) -> Result<(), Invalid> {
    match value {
        Value::Object(object) => fill_members(object, Some(place), filling),
        Value::Array(list) => list.iter_mut().enumerate().try_for_each(|(index, entry)| {
            fill_value(entry, &TextPlace { parent: Some(place), step: Step::Index(index) }, filling)
        }),
        Value::String(text) => {
            if let Some(filled) = fill_at(text, place, filling)? {
                *text = filled;
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn fill_at(text: &str, place: &TextPlace<'_>, filling: &Filling<'_>) -> Result<Option<String>, Invalid> {
    let is_one_of = |patterns: &[&str]| patterns.iter().any(|pattern| place.is(pattern));
    let expansion = match placeholder::first(text) {
        _ if is_one_of(EXPANDED_BY_KUBELET) => Expansion::Kubelet,
        Some(name) if !is_one_of(TAKEN_AS_WRITTEN) => return Err(nowhere(place.path(filling.at), name)),
        _ => Expansion::None,
    };
    fill_text(text, expansion, filling.parameters, || place.path(filling.at))
}

fn fill_text(
    text: &str,
    expansion: Expansion,
    parameters: &Parameters<'_>,
    path: impl Fn() -> String,
) -> Result<Option<String>, Invalid> {
    if placeholder::is_bracketed(text) {
        let problem =
            "refers to a parameter as $(params[…]): write $(params.<name>), or $$(params[…]) for the text itself";
        return Err(Invalid::new(path(), problem));
    }
    placeholder::fill(text, parameters, expansion).map_err(|name| unknown(path(), name, parameters))
}

impl TextPlace<'_> {
    /// Whether this is a place that the pattern names.
    fn is(&self, pattern: &str) -> bool {
        let mut at = Some(self);
        for segment in pattern.rsplit('.') {
            let name = segment.strip_suffix("[]");
            if name.is_some() {
                match at {
                    Some(TextPlace { step: Step::Index(_), parent }) => at = *parent,
                    _ => return false,
                }
            }
            match at {
                Some(TextPlace { step: Step::Key(key), parent })
                    if name.unwrap_or(segment).split('|').any(|name| name == "*" || name == *key) =>
                {
                    at = *parent;
                }
                _ => return false,
            }
        }
        at.is_none()
    }

    /// Its path in the object.
    fn path(&self, at: &str) -> String {
        let parent = self.parent.map_or_else(|| at.to_owned(), |parent| parent.path(at));
        match self.step {
            Step::Index(index) => format!("{parent}[{index}]"),
            Step::Key(key) if key.bytes().all(|byte| byte.is_ascii_alphanumeric()) => {
                format!("{parent}.{}", cut(key, 128))
            }
            Step::Key(key) => format!("{parent}[{:?}]", cut(key, 128)),
        }
    }
}

/// A placeholder in a place where none is replaced.
fn nowhere(at: String, name: &str) -> Invalid {
    let problem = format!(
        "refers to the parameter {:?}, and parameters are not replaced here: write the value itself, or $$(params.…) for \
         the text",
        cut(name, 128)
    );
    Invalid::new(at, problem)
}

/// A placeholder whose name is no parameter.
fn unknown(at: String, name: &str, parameters: &Parameters<'_>) -> Invalid {
    let known: Vec<_> = parameters.keys().map(|name| format!("{name:?}")).collect();
    let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    let problem = format!(
        "refers to the parameter {:?}, which {} does not map (it maps: {}): map it, or write $$(params.…) for the text \
         itself",
        cut(name, 128),
        parameters::FIELD,
        cut(&known, 256)
    );
    Invalid::new(at, problem)
}
