//! Strict JSON: a text has exactly one meaning, or is refused. Pure.
//!
//! JSON does not define what a name means that occurs twice in an object, and parsers differ (RFC 8259, section 4).
//! Here the value may start a run, so such a text is refused, at every depth.

use std::{
    borrow::Cow,
    collections::{BTreeMap, HashSet},
    fmt,
    hash::{BuildHasher, RandomState},
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};

/// A JSON value. Numbers that are not natural lose their value, because no source needs it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// A number, with its value if it is a natural number of at most 64 bits.
    Number(Option<u64>),
    String(String),
    Array(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

/// Words of the protocol, which messages may repeat. Any other text could be a secret of another service.
const WORDS: [&str; 17] = [
    "apiVersion",
    "errors",
    "kind",
    "message",
    "metadata",
    "needsSync",
    "parameters",
    "pollAfter",
    "reason",
    "target",
    "true",
    "false",
    "True",
    "False",
    "yes",
    "no",
    "",
];

impl Json {
    /// Reads one value and nothing but white space after it.
    ///
    /// Refuses names that occur twice in an object, lone surrogates, and more than 127 levels. The error is a sentence
    /// that repeats nothing of the text but words of the protocol.
    ///
    /// The value takes up to 16 times the memory of the body, so large bodies are only checked ([`Json::check`]).
    pub(super) fn read(body: &[u8]) -> Result<Self, String> {
        Self::parse(body)
    }

    /// Refuses a body that [`Json::read`] refuses, and keeps no value of it: only the names of the objects that are open.
    pub(super) fn check(body: &[u8]) -> Result<(), String> {
        Self::parse::<Checked>(body).map(|Checked| ())
    }

    fn parse<'de, T: Deserialize<'de>>(body: &'de [u8]) -> Result<T, String> {
        let text = std::str::from_utf8(body).map_err(|error| not_utf8(body, error.valid_up_to()))?;
        if text.starts_with('\u{feff}') {
            return Err("the body starts with a byte order mark, which JSON does not allow".to_owned());
        }
        if text.trim_ascii().is_empty() {
            return Err("the body is empty".to_owned());
        }
        let mut reader = serde_json::Deserializer::from_str(text);
        let value = T::deserialize(&mut reader).and_then(|value| reader.end().map(|()| value));
        value.map_err(|error| format!("the body is not valid JSON: {error}"))
    }

    /// The kind of this value, as a phrase that completes "must be …, not …".
    pub(super) fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(value) => value.to_string(),
            Self::Number(Some(value @ (0 | 1))) => format!("the number {value}"),
            Self::Number(_) => "a number".to_owned(),
            Self::String(text) if WORDS.contains(&text.as_str()) => format!("the string {text:?}"),
            Self::String(_) => "a string".to_owned(),
            Self::Array(_) => "an array".to_owned(),
            Self::Object(_) => "an object".to_owned(),
        }
    }
}

fn not_utf8(body: &[u8], offset: usize) -> String {
    match body {
        [0xfe, 0xff, ..] | [0xff, 0xfe, ..] => "the body is UTF-16; JSON must be UTF-8".to_owned(),
        _ => format!("the body is not UTF-8 text: invalid byte at offset {offset}"),
    }
}

impl<'de> Deserialize<'de> for Json {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Builder)
    }
}

struct Builder;

impl<'de> Visitor<'de> for Builder {
    type Value = Json;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Json, E> {
        Ok(Json::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Json, E> {
        Ok(Json::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Json, E> {
        Ok(Json::Number(Some(value)))
    }

    fn visit_i64<E>(self, _: i64) -> Result<Json, E> {
        Ok(Json::Number(None))
    }

    fn visit_f64<E>(self, _: f64) -> Result<Json, E> {
        Ok(Json::Number(None))
    }

    fn visit_str<E>(self, text: &str) -> Result<Json, E> {
        Ok(Json::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Json, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element()? {
            array.push(item);
        }
        Ok(Json::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Json, A::Error> {
        let mut object = BTreeMap::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(twice(&name));
            }
            object.insert(name, members.next_value()?);
        }
        Ok(Json::Object(object))
    }
}

fn twice<E: serde::de::Error>(name: &str) -> E {
    let name = if WORDS.contains(&name) { format!("the name {name:?}") } else { "a name".to_owned() };
    E::custom(format!("{name} occurs twice in one object"))
}

/// A value that was checked and dropped.
struct Checked;

impl<'de> Deserialize<'de> for Checked {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Checked)
    }
}

impl<'de> Visitor<'de> for Checked {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_bool<E>(self, _: bool) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_u64<E>(self, _: u64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_i64<E>(self, _: i64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_f64<E>(self, _: f64) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_str<E>(self, _: &str) -> Result<Self, E> {
        Ok(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self, A::Error> {
        while items.next_element::<Self>()?.is_some() {}
        Ok(self)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Self, A::Error> {
        // Hashes instead of names: an object can have a hundred thousand short ones. Two names with one hash would refuse a
        // good body; with a secret seed that does not happen.
        let (seed, mut names) = (RandomState::new(), HashSet::new());
        while let Some(name) = members.next_key::<Cow<'de, str>>()? {
            if !names.insert(seed.hash_one(&*name)) {
                return Err(twice(&name));
            }
            members.next_value::<Self>()?;
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_kind_of_value() {
        let read = Json::read(br#" {"a":[null,true,1,-1,1.5,"x"],"b":{}} "#).unwrap();
        let Json::Object(object) = read else { panic!("{read:?}") };
        let kinds = [
            Json::Null,
            Json::Bool(true),
            Json::Number(Some(1)),
            Json::Number(None),
            Json::Number(None),
            Json::String("x".to_owned()),
        ];
        assert_eq!(object["a"], Json::Array(kinds.into()));
        assert_eq!(object["b"], Json::Object(BTreeMap::new()));
    }

    #[test]
    fn refuses_a_name_that_occurs_twice_at_any_depth_and_in_any_spelling() {
        for text in [r#"{"a":1,"a":1}"#, r#"[{"x":{"a":1,"b":2,"a":1}}]"#, r#"{"a":1,"\u0061":1}"#] {
            for error in [Json::read(text.as_bytes()).unwrap_err(), Json::check(text.as_bytes()).unwrap_err()] {
                assert!(error.contains("a name occurs twice in one object at line 1 column"), "{error}");
            }
        }
    }

    #[test]
    fn reads_127_levels_and_refuses_more_without_recursing() {
        let nested = |levels: usize| "[".repeat(levels) + &"]".repeat(levels);
        assert!(Json::read(nested(127).as_bytes()).is_ok());
        for levels in [128, 100_000] {
            let deep = nested(levels);
            assert!(Json::read(deep.as_bytes()).unwrap_err().contains("recursion limit"), "{levels}");
            assert!(Json::check(deep.as_bytes()).unwrap_err().contains("recursion limit"), "{levels}");
        }
    }

    #[test]
    fn check_accepts_what_read_accepts() {
        for text in [r#" {"a":[null,true,1,-1,1.5,"x"],"b":{},"\u0062c":{"a":{"a":1}}} "#, "1", "\"x\"", "[]"] {
            assert_eq!(
                (Json::check(text.as_bytes()), Json::read(text.as_bytes()).map(drop)),
                (Ok(()), Ok(())),
                "{text}"
            );
        }
        for text in ["", "[1", "{\"a\" 1}", "nul", "\u{feff}{}", "{} {}"] {
            assert_eq!(Json::check(text.as_bytes()), Json::read(text.as_bytes()).map(drop), "{text}");
        }
    }

    #[test]
    fn repeats_only_words_of_the_protocol() {
        assert_eq!(Json::String("true".to_owned()).describe(), r#"the string "true""#);
        assert_eq!(Json::String("hunter2".to_owned()).describe(), "a string");
        assert_eq!(Json::Number(Some(1)).describe(), "the number 1");
        assert_eq!(Json::Number(Some(4711)).describe(), "a number");
        assert!(!Json::read(br#"{"hunter2":1,"hunter2":2}"#).unwrap_err().contains("hunter2"));
    }
}
