//! The value of a value source: one short text with named attributes. Pure.
//!
//! A value becomes a parameter of a run, part of a status and a cell of a table. So it is UTF-8 text of at most 1 KiB,
//! without control characters other than tab and line breaks. One line break at the end is removed: a line break that
//! an editor added is not a difference.

use std::collections::BTreeMap;

use serde_json::value::RawValue;

use crate::{
    api::source::MAX_VALUE,
    core::{poll::response::PollError, source::json_path::SingularPath},
};

/// Name of the attribute that every value has: the value itself.
const VALUE: &str = "value";

/// The result of reading a value source: a value, `None` if there is none yet, or why it could not be read.
pub type Reading = Result<Option<Value>, PollError>;

/// A value with its attributes, `value` among them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Value {
    text: String,
    attributes: BTreeMap<String, String>,
}

impl Value {
    /// The value with this text, or what is wrong with the text.
    pub fn of_text(text: &str) -> Result<Self, String> {
        let text = text.strip_suffix('\n').map_or(text, |line| line.strip_suffix('\r').unwrap_or(line));
        if text.len() > MAX_VALUE {
            return Err(format!("the value takes {} bytes; at most {MAX_VALUE} are allowed", text.len()));
        }
        if let Some(c) = text.chars().find(|c| c.is_control() && !matches!(c, '\t' | '\n' | '\r')) {
            let code = u32::from(c);
            return Err(format!(
                "the value has the control character U+{code:04X}; only tab and line breaks are allowed"
            ));
        }
        Ok(Self { text: text.to_owned(), attributes: BTreeMap::from([(VALUE.to_owned(), text.to_owned())]) })
    }

    /// The value with these bytes as its text, or what is wrong with them.
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, String> {
        std::str::from_utf8(bytes).map_err(|_| "the value is not UTF-8 text".to_owned()).and_then(Self::of_text)
    }

    /// The scalar at `path`: a string as it is, a number as it is written, `true` or `false`. `None` if nothing or
    /// null is there.
    pub fn at(document: &RawValue, path: &SingularPath) -> Result<Option<Self>, String> {
        Self::of_place(path.lookup(document), path)
    }

    /// The scalar that was found at `path`, as [`Value::at`] returns it.
    pub(super) fn of_place(place: Option<&RawValue>, path: &SingularPath) -> Result<Option<Self>, String> {
        let Some(place) = place.map(RawValue::get) else { return Ok(None) };
        match place.as_bytes().first() {
            Some(b'n') => Ok(None),
            Some(b'{') => Err(format!("{path} is an object; a value is a string, a number or a boolean")),
            Some(b'[') => Err(format!("{path} is an array; a value is a string, a number or a boolean")),
            Some(b'"') => {
                let text: String =
                    serde_json::from_str(place).map_err(|_| format!("{path} has a string that is not Unicode"))?;
                Self::of_text(&text).map(Some)
            }
            _ => Self::of_text(place).map(Some),
        }
    }

    /// This value with one more attribute.
    #[must_use]
    pub fn with(mut self, name: &str, attribute: impl Into<String>) -> Self {
        self.attributes.insert(name.to_owned(), attribute.into());
        self
    }

    /// The text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The attributes by name.
    pub const fn attributes(&self) -> &BTreeMap<String, String> {
        &self.attributes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Result<String, String> {
        Value::of_text(text).map(|value| value.text)
    }

    #[test]
    fn removes_one_line_break_from_the_end() {
        for (given, value) in [
            ("a\n", "a"),
            ("a\r\n", "a"),
            ("a\n\n", "a\n"),
            ("\na", "\na"),
            ("\n", ""),
            ("", ""),
            ("a\r", "a\r"),
            (" a ", " a "),
        ] {
            assert_eq!(text(given).unwrap(), value, "{given:?}");
        }
    }

    #[test]
    fn refuses_text_that_no_parameter_or_table_can_hold() {
        assert!(text(&"x".repeat(MAX_VALUE)).is_ok());
        assert!(text(&format!("{}\n", "x".repeat(MAX_VALUE))).is_ok());
        assert_eq!(
            text(&"x".repeat(MAX_VALUE + 1)).unwrap_err(),
            "the value takes 1025 bytes; at most 1024 are allowed"
        );
        assert!(text("a\tb\r\nc").is_ok());
        for bad in ["a\0", "\u{1b}[31m", "\u{7f}", "\u{85}"] {
            assert!(text(bad).unwrap_err().contains("control character U+"), "{bad:?}");
        }
        assert!(Value::of_bytes(b"\xff").unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn has_itself_among_its_attributes() {
        let value = Value::of_text("a\n").unwrap().with("digest", "b");
        let expected = [("digest", "b"), ("value", "a")].map(|(name, text)| (name.to_owned(), text.to_owned()));
        assert_eq!(value.attributes(), &BTreeMap::from(expected));
    }

    #[test]
    fn reads_a_scalar_as_it_is_written() {
        let document: &RawValue = serde_json::from_str(
            r#"{"s":"a\u00e4\n","i":3,"f":1.50,"e":1E3,"big":123456789012345678901234567890,"t":true,"n":null,"o":{},"l":[1],"half":"\ud800"}"#,
        )
        .unwrap();
        let at = |path: &str| {
            Value::at(document, &SingularPath::parse(path).unwrap()).map(|found| found.map(|value| value.text))
        };
        for (path, value) in [
            ("$.s", "aä"),
            ("$.i", "3"),
            ("$.f", "1.50"),
            ("$.e", "1E3"),
            ("$.big", "123456789012345678901234567890"),
            ("$.t", "true"),
            ("$.l[0]", "1"),
        ] {
            assert_eq!(at(path).unwrap().as_deref(), Some(value), "{path}");
        }
        for path in ["$.n", "$.x", "$.s.x", "$.l[1]"] {
            assert_eq!(at(path), Ok(None), "{path}");
        }
        assert!(at("$.o").unwrap_err().starts_with("$['o'] is an object"));
        assert!(at("$.l").unwrap_err().starts_with("$['l'] is an array"));
        assert!(at("$.half").unwrap_err().contains("not Unicode"));
    }
}
