//! The value of the flags that name a namespace. No IO.

/// Accepts the name of a namespace.
pub(super) fn namespace(text: &str) -> Result<String, String> {
    let valid = !text.is_empty()
        && text.len() <= 63
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
        && !text.starts_with('-')
        && !text.ends_with('-');
    if valid { Ok(text.to_owned()) } else { Err("is not the name of a namespace".into()) }
}
