//! `$(params.<name>)` in the texts of a container, written so that the kubelet's own expansion leaves values alone.
//! Pure.
//!
//! The kubelet reads `command`, `args` and `env[].value` once, from the left: `$$` becomes `$` wherever it stands, and
//! `$(NAME)` the value of a variable, or stays as it is if there is none of that name. What is written here is read
//! like that afterwards. So a value is written with every `$` doubled, and `$$(params.x)` needs no work at all: the
//! kubelet makes `$(params.x)` of it.

use crate::runs::parameters::Parameters;

const OPEN: &str = "$(params.";

/// What must be written for the kubelet to make `value` of it.
pub(super) fn verbatim(value: &str) -> String {
    value.replace('$', "$$")
}

/// `text` with its placeholders replaced, once: a value is not looked at again. `None` when it has none, and then it
/// is to stay as the user wrote it. The error is a name that is not a parameter's.
pub(super) fn fill<'t>(text: &'t str, parameters: &Parameters<'_>) -> Result<Option<String>, &'t str> {
    if !text.contains(OPEN) {
        return Ok(None);
    }
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(dollar) = rest.find('$') {
        filled.push_str(&rest[..dollar]);
        rest = token(&rest[dollar..], &mut filled, parameters)?;
    }
    filled.push_str(rest);
    Ok(Some(filled))
}

/// Writes the token that `tail` begins with (its first character is a `$`), and gives what follows it.
fn token<'t>(tail: &'t str, filled: &mut String, parameters: &Parameters<'_>) -> Result<&'t str, &'t str> {
    if let Some(rest) = tail.strip_prefix("$$") {
        filled.push_str("$$");
        return Ok(rest);
    }
    if let Some((name, rest)) = tail.strip_prefix(OPEN).and_then(|inner| inner.split_once(')')) {
        filled.push_str(&verbatim(parameters.get(name).ok_or(name)?));
        return Ok(rest);
    }
    let Some(inner) = tail.strip_prefix("$(") else {
        filled.push('$');
        return Ok(&tail[1..]);
    };
    match inner.split_once(')') {
        // A shell's command substitution around a placeholder, as in `$(basename $(params.path))`. To the kubelet it
        // would be a reference up to the first `)`, which a value could bring along; doubled, it is plain text.
        Some((reference, _)) if reference.contains(OPEN) => {
            filled.push_str("$$(");
            Ok(inner)
        }
        Some((reference, rest)) => {
            filled.extend(["$(", reference, ")"]);
            Ok(rest)
        }
        None => {
            filled.push_str("$(");
            Ok(inner)
        }
    }
}
