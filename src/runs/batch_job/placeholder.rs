//! `$(params.<name>)` in the texts of a Job's template. Pure.
//!
//! The kubelet reads `command`, `args` and `env[].value` once, from left to right: `$$` becomes `$` everywhere, and
//! `$(NAME)` becomes the value of that variable, or stays as it is if there is no such variable. The kubelet reads the
//! output of this module in the same way. A value is therefore written with every `$` doubled. `$$(params.x)` needs no
//! change: the kubelet turns it into `$(params.x)`.
//!
//! The other texts are not expanded again. There a value is written as it is, and `$$(params.x)` becomes `$(params.x)`.

use crate::runs::parameters::Parameters;

const OPEN: &str = "$(params.";
const BRACKETED: &str = "$(params[";

/// What happens to a text after the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Expansion {
    /// The kubelet expands it.
    Kubelet,
    /// It is taken as it is written.
    None,
}

/// The text that the kubelet expands to `value`.
pub(super) fn verbatim(value: &str) -> String {
    value.replace('$', "$$")
}

/// The name in the first placeholder of `text` that is not escaped.
pub(super) fn first(text: &str) -> Option<&str> {
    as_written(text, |_| None).err()
}

/// Whether `text` has the form `$(params[`, which Tekton knows as well, and does not escape it.
pub(super) fn is_bracketed(text: &str) -> bool {
    text.match_indices(BRACKETED).any(|(at, _)| {
        let dollars = text[..at].len() - text[..at].trim_end_matches('$').len();
        dollars.is_multiple_of(2)
    })
}

/// `text` with its placeholders replaced once: placeholders inside values are not expanded. `None` if it has none; the
/// text then stays as the user wrote it. The error is a name that is no parameter.
pub(super) fn fill<'t>(
    text: &'t str,
    parameters: &Parameters<'_>,
    expansion: Expansion,
) -> Result<Option<String>, &'t str> {
    if !text.contains(OPEN) {
        return Ok(None);
    }
    if expansion == Expansion::None {
        return as_written(text, |name| parameters.get(name).copied()).map(Some);
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

/// Replaces the placeholders of a text that is not expanded again. Of the `$` in front of `(params.<name>)`, two stand for
/// one, as for the kubelet; every other `$` is a character like any other.
fn as_written<'t, 'v>(text: &'t str, value: impl Fn(&str) -> Option<&'v str>) -> Result<String, &'t str> {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(open) = rest.find(OPEN) {
        let (before, inner) = (&rest[..=open], &rest[open + OPEN.len()..]);
        let Some((name, after)) = inner.split_once(')') else { break };
        let plain = before.trim_end_matches('$');
        let dollars = before.len() - plain.len();
        filled.push_str(plain);
        filled.extend(std::iter::repeat_n('$', dollars / 2));
        if dollars % 2 == 1 {
            filled.push_str(value(name).ok_or(name)?);
            rest = after;
        } else {
            filled.push_str(&OPEN[1..]);
            rest = inner;
        }
    }
    filled.push_str(rest);
    Ok(filled)
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
