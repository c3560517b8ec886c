//! The source `all`: several values as one. Pure; the members are read by their own sources.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};

use super::{
    text::poll_error,
    value::{Reading, Value},
};
use crate::{
    api::source::MAX_VALUE,
    core::{
        poll::response::{PollError, PollErrorKind},
        run::digest::hex,
    },
};

/// The JSON object of the members' values (RFC 8785), with `digest`, its digest, and `<name>.<attribute>` as attributes.
///
/// An error of a member is an error of the whole, even if another member is absent. Otherwise an absent member makes the whole
/// absent.
pub(super) fn combine<'a>(members: impl IntoIterator<Item = (&'a str, Reading)>) -> Reading {
    let mut found = BTreeMap::new();
    let mut absent = false;
    for (name, reading) in members {
        let failed = |failure: PollError| poll_error(failure.class, &format!("all, {name}: {}", failure.message));
        match reading.map_err(failed)? {
            Some(value) => {
                found.insert(name, value);
            }
            None => absent = true,
        }
    }
    if absent { Ok(None) } else { whole(&found).map(Some) }
}

fn whole(members: &BTreeMap<&str, Value>) -> Result<Value, PollError> {
    let fail = |problem: &str| poll_error(PollErrorKind::Source, &format!("all: {problem}"));
    let values: BTreeMap<_, _> = members.iter().map(|(name, value)| (*name, value.text())).collect();
    // Of an object of strings, sorted, this is the RFC 8785 form.
    let text = serde_json::to_string(&values).map_err(|error| fail(&error.to_string()))?;
    if text.len() > MAX_VALUE {
        return Err(fail(&format!(
            "the values together take {} bytes as JSON; at most {MAX_VALUE} are allowed: name fewer of them, or digests \
             (configMapKeyRef has digest: true)",
            text.len()
        )));
    }
    let digest = format!("sha256:{}", hex(&Sha256::digest(text.as_bytes())));
    let mut whole = Value::of_text(&text).map_err(|problem| fail(&problem))?.with("digest", digest);
    for (name, value) in members {
        for (attribute, text) in value.attributes() {
            whole = whole.with(&format!("{name}.{attribute}"), text);
        }
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(text: &str) -> Reading {
        let value = Value::of_text(text).map_err(|problem| poll_error(PollErrorKind::Source, &problem))?;
        Ok(Some(value.with("commit", "c")))
    }

    #[test]
    fn is_the_sorted_object_of_the_values_with_their_attributes() {
        let whole = combine([("data", value("a\"\n\tb\n")), ("Code", value("ä"))]).unwrap().unwrap();
        assert_eq!(whole.text(), r#"{"Code":"ä","data":"a\"\n\tb"}"#);
        let canonical =
            serde_json_canonicalizer::to_string(&serde_json::from_str::<serde_json::Value>(whole.text()).unwrap());
        assert_eq!(whole.text(), canonical.unwrap());
        let names: Vec<_> = whole.attributes().keys().map(String::as_str).collect();
        assert_eq!(names, ["Code.commit", "Code.value", "data.commit", "data.value", "digest", "value"]);
        let digest = format!("sha256:{}", hex(&Sha256::digest(whole.text())));
        assert_eq!(whole.attributes()["digest"], digest);
    }

    #[test]
    fn is_absent_with_an_absent_member_and_fails_with_a_failing_one() {
        let failure = || Err(poll_error(PollErrorKind::Timeout, "no response began within 5s"));
        assert_eq!(combine([("a", value("1")), ("b", Ok(None))]), Ok(None));
        for members in [[("a", Ok(None)), ("b", failure())], [("b", failure()), ("a", value("1"))]] {
            let failure = combine(members).unwrap_err();
            assert_eq!(failure, poll_error(PollErrorKind::Timeout, "all, b: no response began within 5s"));
        }
    }

    #[test]
    fn names_the_remedy_for_values_that_are_too_long_together() {
        // The names, quotes and punctuation take 15 bytes.
        let half = "x".repeat((MAX_VALUE - 15) / 2);
        assert!(combine([("a", value(&half)), ("b", value(&format!("{half}y")))]).is_ok());
        let failure = combine([("a", value(&half)), ("b", value(&format!("{half}yy")))]).unwrap_err();
        assert!(failure.message.contains("1025 bytes") && failure.message.contains("digest: true"), "{failure:?}");
    }
}
