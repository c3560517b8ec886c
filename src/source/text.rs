//! Makes foreign text and URLs safe to show to users. Pure.

use std::{borrow::Cow, fmt::Write as _};

use url::Url;

use crate::core::poll::response::{PollError, PollErrorKind};

/// Largest message of a [`PollError`], in bytes.
pub(super) const MAX_MESSAGE: usize = 512;
/// Largest URL inside a message, in bytes: the reason must still fit after it.
const MAX_URL: usize = 200;
/// Marks that something was cut.
const CUT: &str = "…";

/// A [`PollError`] with this message, sanitised and bounded.
pub(super) fn poll_error(class: PollErrorKind, message: &str) -> PollError {
    PollError { class, message: sanitise(message, MAX_MESSAGE) }
}

/// `failure` with its URL in front of the message. `url` must come from [`show_url`].
pub(super) fn at(url: &str, failure: &PollError) -> PollError {
    poll_error(failure.class, &format!("{url}: {}", failure.message))
}

/// `text` on one line, in at most `max` bytes (`max` ≥ 3), cut at a character.
///
/// Line breaks and runs of white space become one space. Other control characters and the invisible ones that reorder
/// or hide text are dropped: the result goes into terminals, YAML and log lines.
pub fn sanitise(text: &str, max: usize) -> String {
    let mut clean = String::with_capacity(text.len().min(max));
    let mut gap = false;
    for c in text.chars() {
        if c.is_whitespace() {
            gap = true;
            continue;
        }
        if is_hidden(c) {
            continue;
        }
        if gap && !clean.is_empty() {
            clean.push(' ');
        }
        gap = false;
        clean.push(c);
        if clean.len() > max {
            break;
        }
    }
    cut(clean, max)
}

/// Shortens `text` to at most `max` bytes.
fn cut(mut text: String, max: usize) -> String {
    if text.len() > max {
        text.truncate(text.floor_char_boundary(max.saturating_sub(CUT.len())));
        text.push_str(CUT);
    }
    text
}

/// Whether `c` controls a terminal or the direction of text, or is invisible.
fn is_hidden(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{feff}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{fff9}'..='\u{fffb}'
            | '\u{e0000}'..='\u{e0fff}')
}

/// `url` as messages show it: scheme, host, port and path. A query often carries a token, so only its presence is
/// shown.
pub(super) fn show_url(url: &Url) -> String {
    let mut shown = format!("{}://{}", url.scheme(), url.host_str().unwrap_or_default());
    if let Some(port) = url.port() {
        // Writing to a string cannot fail.
        let _ = write!(shown, ":{port}");
    }
    shown.push_str(url.path());
    let mut shown = sanitise(&shown, MAX_URL);
    if url.query().is_some() {
        shown.push_str("?…");
    }
    shown
}

/// A number of bytes with its unit, such as `2 bytes`.
pub(super) fn bytes(count: usize) -> Cow<'static, str> {
    match count {
        0 => "no bytes".into(),
        1 => "1 byte".into(),
        _ => format!("{count} bytes").into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_foreign_text_on_one_line() {
        assert_eq!(sanitise(" a\r\n\tb\u{2028}c\u{85}d ", 64), "a b c d");
    }

    #[test]
    fn drops_characters_that_control_terminals_or_reorder_text() {
        assert_eq!(sanitise("\u{1b}[31mred\0\u{7}\u{202e}x\u{2066}y\u{200b}z\u{feff}\u{e0041}", 64), "[31mredxyz");
    }

    #[test]
    fn cuts_at_a_character_within_the_limit() {
        for max in 3..39 {
            let cut = sanitise("äöü€😀äöü€😀äöü€😀", max);
            assert!(cut.len() <= max && cut.ends_with('…'), "{max}: {cut}");
        }
        assert_eq!(sanitise("abc", 3), "abc");
    }

    #[test]
    fn shows_a_url_without_its_query_fragment_and_user() {
        let url = Url::parse("https://u:p@Example.COM:8443/a/b%20c?token=s3cret#frag").unwrap();
        assert_eq!(show_url(&url), "https://example.com:8443/a/b%20c?…");
        assert_eq!(show_url(&Url::parse("http://[::1]:80").unwrap()), "http://[::1]/");
    }

    #[test]
    fn bounds_a_long_url_and_still_shows_that_it_has_a_query() {
        let url = Url::parse(&format!("http://h/{}?q", "x".repeat(2000))).unwrap();
        let shown = show_url(&url);
        assert!(shown.len() <= MAX_URL + 4 && shown.ends_with("…?…"), "{shown}");
    }
}
