//! The template that a spec sets, and the backend that makes runs from it. Pure.

use super::backend::{RunBackend, Template};
use crate::{api::Templates, core::invalid::Invalid};

/// Largest template, in bytes of JSON.
const MAX_TEMPLATE: usize = 256 * 1024;

/// The only template that is set, and the backend of its field.
pub fn find<'a>(
    templates: &Templates<'a>,
    backends: &[&'static dyn RunBackend],
) -> Result<(Template<'a>, &'static dyn RunBackend), Invalid> {
    let set: Vec<_> = templates.iter().filter_map(|(field, template)| Some((*field, (*template)?))).collect();
    let (field, template) = match set[..] {
        [only] => only,
        [] => return Err(together(templates.iter().map(|(field, _)| *field), "missing: set one of them")),
        _ => return Err(together(set.iter().map(|(field, _)| *field), "set: keep one of them")),
    };
    let template = Template { field, metadata: template.metadata.as_ref(), spec: &template.spec };
    if template.spec.get().len() > MAX_TEMPLATE {
        return Err(Invalid::new(
            template.path(),
            format!("is larger than {MAX_TEMPLATE} bytes: refer to a Pipeline or an image instead of embedding it"),
        ));
    }
    let backend = backends
        .iter()
        .copied()
        .find(|backend| backend.template_field() == field)
        .ok_or_else(|| Invalid::new(template.path(), "is not supported by this operator: use another template"))?;
    Ok((template, backend))
}

/// The problem of several fields together: "spec.a and spec.b are both missing".
fn together<'a>(fields: impl Iterator<Item = &'a str>, problem: &str) -> Invalid {
    let paths: Vec<_> = fields.map(|field| format!("spec.{field}")).collect();
    let (first, others) = paths.split_first().map_or(("spec", &[][..]), |(first, others)| (first.as_str(), others));
    let number = if others.len() == 1 { "both" } else { "all" };
    Invalid::new(first, format!("and {} are {number} {problem}", others.join(" and ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::RunTemplate;

    /// The message about a spec that sets these of the fields `a`, `b` and `c`.
    fn problem(fields: &[&'static str], set: &[&str]) -> String {
        let template: RunTemplate = serde_json::from_str(r#"{"spec":{}}"#).unwrap();
        let templates: Vec<_> = fields.iter().map(|field| (*field, set.contains(field).then_some(&template))).collect();
        find(&templates, &[]).map(|_| ()).unwrap_err().to_string()
    }

    #[test]
    fn a_spec_has_exactly_one_template_and_the_message_names_the_fields() {
        assert_eq!(problem(&["a", "b"], &[]), "spec.a and spec.b are both missing: set one of them");
        assert_eq!(problem(&["a", "b", "c"], &[]), "spec.a and spec.b and spec.c are all missing: set one of them");
        assert_eq!(problem(&["a", "b", "c"], &["a", "c"]), "spec.a and spec.c are both set: keep one of them");
        assert_eq!(problem(&["a", "b"], &["b"]), "spec.b is not supported by this operator: use another template");
    }

    #[test]
    fn a_template_has_a_largest_size() {
        let spec = serde_json::json!({ "spec": { "a": "x".repeat(MAX_TEMPLATE) } }).to_string();
        let template: RunTemplate = serde_json::from_str(&spec).unwrap();
        let invalid = find(&[("a", Some(&template))], &[]).map(|_| ()).unwrap_err();
        assert!(invalid.to_string().starts_with("spec.a is larger than 262144 bytes"), "{invalid}");
    }
}
