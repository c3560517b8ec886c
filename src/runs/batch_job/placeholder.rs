//! `$(params.<name>)` in the texts of a container, written so that the kubelet's own expansion leaves values unchanged.
//! Pure.
//!
//! The kubelet reads `command`, `args` and `env[].value` once, from left to right: `$$` becomes `$` everywhere, and
//! `$(NAME)` becomes the value of that variable, or stays as it is if there is no such variable. The kubelet reads the
//! output of this module in the same way. A value is therefore written with every `$` doubled. `$$(params.x)` needs no
//! change: the kubelet turns it into `$(params.x)`.

use crate::runs::parameters::Parameters;

const OPEN: &str = "$(params.";

/// The text that the kubelet expands to `value`.
pub(super) fn verbatim(value: &str) -> String {
    value.replace('$', "$$")
}

/// `text` with its placeholders replaced once: placeholders inside values are not expanded. `None` if it has none; the
/// text then stays as the user wrote it. The error is a name that is no parameter.
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

/// Writes the token at the beginning of `tail`, whose first character is `$`, and returns the rest.
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
        // A shell's command substitution around a placeholder, as in `$(basename $(params.path))`. The kubelet would
        // read a reference up to the first `)`, which may be part of a value. With a doubled `$` it is plain text.
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
