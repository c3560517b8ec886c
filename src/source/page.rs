//! Builds URLs below the base URL that an object names. Pure.

use url::Url;

use super::text::poll_error;
use crate::core::poll::response::{PollError, PollErrorKind};

/// The URL of `path` below `base`, with these parameters added to its query.
pub(super) fn below(base: &str, path: &str, query: &[(&str, &str)]) -> Result<String, PollError> {
    let refuse = |reason: &str| poll_error(PollErrorKind::Refused, &format!("the URL cannot be used: {reason}"));
    let mut url = Url::parse(base).map_err(|error| refuse(&error.to_string()))?;
    url.path_segments_mut().map_err(|()| refuse("it has no path"))?.pop_if_empty().extend(path.split('/'));
    if !query.is_empty() {
        url.query_pairs_mut().extend_pairs(query);
    }
    Ok(url.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn puts_pages_below_the_base() {
        let page = |base| below(base, "info/refs", &[("service", "git-upload-pack")]).unwrap();
        assert_eq!(page("https://h/a/b.git"), "https://h/a/b.git/info/refs?service=git-upload-pack");
        assert_eq!(page("https://h/a/b.git/"), "https://h/a/b.git/info/refs?service=git-upload-pack");
        assert_eq!(page("https://h"), "https://h/info/refs?service=git-upload-pack");
        assert_eq!(page("https://h/a?x=1"), "https://h/a/info/refs?x=1&service=git-upload-pack");
        assert_eq!(below("https://h/a", "page", &[]).unwrap(), "https://h/a/page");
    }

    #[test]
    fn encodes_parameters_so_that_none_becomes_another() {
        let url = below("http://h", "q", &[("query", "a{b=\"c&d\"} + 1 # ä"), ("x", "1")]).unwrap();
        let parsed = Url::parse(&url).unwrap();
        let pairs = parsed.query_pairs().map(|(name, value)| (name.into_owned(), value.into_owned()));
        let expected = [("query", "a{b=\"c&d\"} + 1 # ä"), ("x", "1")];
        assert!(pairs.eq(expected.map(|(name, value)| (name.to_owned(), value.to_owned()))), "{url}");
    }
}
