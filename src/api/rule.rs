//! Validation rules (CEL) that several fields share. No IO.

use kube::core::Rule;

/// A duration from `least` to `most`; `field` and `examples` are for the message.
pub(super) fn within(field: &str, examples: &str, least: &str, most: &str) -> Rule {
    duration(
        field,
        examples,
        &format!(" && duration(self) >= duration('{least}')"),
        &format!("at least {least} and "),
        most,
    )
}

/// A duration up to `most`.
pub(super) fn at_most(field: &str, examples: &str, most: &str) -> Rule {
    duration(field, examples, "", "", most)
}

/// The form comes first: CEL's `duration` also takes signs, and units that Go's text form has and Kubernetes' has not.
fn duration(field: &str, examples: &str, least: &str, least_words: &str, most: &str) -> Rule {
    const FORM: &str = "self.matches('^([0-9]+([.][0-9]+)?(ms|s|m|h))+$')";
    let message = format!("{field} must be a duration such as {examples}, {least_words}at most {most}");
    Rule::new(format!("{FORM}{least} && duration(self) <= duration('{most}')")).message(message.as_str())
}
