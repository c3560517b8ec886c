//! JSON whose meaning is certain: a text with one reading, or none. Pure.
//!
//! JSON does not define what a name means that occurs twice in an object, and parsers differ (RFC 8259, section 4).
//! Here the value may start a run, so such a text is refused, at every depth. Nothing else in a member that is not read
//! matters: neither a number that no machine number holds, nor half a surrogate pair, nor any depth.
//!
//! A value stays the text that arrived; only what is read is decoded. So a body costs little more than itself,
//! whatever a server nests in it.

use std::{
    borrow::Cow,
    fmt,
    hash::{BuildHasher, RandomState},
    marker::PhantomData,
};

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, SeqAccess, Visitor},
};
use serde_json::value::RawValue;

use crate::core::source::json_path::{Segment, SingularPath};

/// A value inside a text that has one reading.
#[derive(Clone, Copy, Debug)]
pub(super) struct Json<'a>(&'a RawValue);

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

impl<'a> Json<'a> {
    /// Reads one value and nothing but white space after it.
    ///
    /// Refuses names that occur twice in an object. The error is a sentence that repeats nothing of the text but words of
    /// the protocol.
    pub(super) fn read(body: &'a [u8]) -> Result<Self, String> {
        let text = std::str::from_utf8(body).map_err(|error| not_utf8(body, error.valid_up_to()))?;
        if text.starts_with('\u{feff}') {
            return Err("the body starts with a byte order mark, which JSON does not allow".to_owned());
        }
        if text.trim_ascii().is_empty() {
            return Err("the body is empty".to_owned());
        }
        let value = serde_json::from_str(text).map_err(|error| format!("the body is not valid JSON: {error}"))?;
        check_names(text)?;
        Ok(Self(value))
    }

    /// The text of this value.
    pub(super) const fn raw(self) -> &'a RawValue {
        self.0
    }

    fn first(self) -> u8 {
        self.0.get().as_bytes().first().copied().unwrap_or_default()
    }

    /// Whether this is `null`.
    pub(super) fn is_null(self) -> bool {
        self.first() == b'n'
    }

    /// Whether this is an object.
    pub(super) fn is_object(self) -> bool {
        self.first() == b'{'
    }

    /// Whether this is an array.
    pub(super) fn is_array(self) -> bool {
        self.first() == b'['
    }

    /// The value of a boolean.
    pub(super) fn bool(self) -> Option<bool> {
        self.0.get().parse().ok()
    }

    /// The value of a string; `None` for another value, and for a string that is not Unicode.
    pub(super) fn text(self) -> Option<String> {
        serde_json::from_str(self.0.get()).ok()
    }

    /// The member of this name; `None` for another value than an object too.
    pub(super) fn member(self, name: &str) -> Option<Self> {
        let mut found = None;
        self.each_member(|known, value| {
            if known == Some(name) {
                found = Some(value);
            }
        });
        found
    }

    /// Calls `each` with the members of an object, in their order. The name is `None` if it is not Unicode.
    pub(super) fn each_member(self, mut each: impl FnMut(Option<&str>, Self)) {
        if self.is_object() {
            let visitor =
                EachMember(|name: &[u8], value| each(std::str::from_utf8(name).ok(), Self(value)), PhantomData);
            // Every text here was read once, so it cannot fail.
            let _ = serde_json::Deserializer::from_str(self.0.get()).deserialize_map(visitor);
        }
    }

    /// Calls `each` with the elements of an array, in their order.
    pub(super) fn each_element(self, mut each: impl FnMut(Self)) {
        if self.is_array() {
            let visitor = EachElement(|value| each(Self(value)), PhantomData);
            let _ = serde_json::Deserializer::from_str(self.0.get()).deserialize_seq(visitor);
        }
    }

    /// The value at this place below this one.
    pub(super) fn at(self, path: &SingularPath) -> Option<Self> {
        path.steps().iter().try_fold(self, |place, step| match step {
            Segment::Member(name) => place.member(name),
            Segment::Element(index) => place.element(*index),
        })
    }

    /// The element at this index; negative ones count from the end.
    fn element(self, index: i64) -> Option<Self> {
        let mut count = 0_usize;
        if index < 0 {
            self.each_element(|_| count += 1);
        }
        let distance = usize::try_from(index.unsigned_abs()).ok()?;
        let wanted = if index < 0 { count.checked_sub(distance)? } else { distance };
        let (mut found, mut at) = (None, 0);
        self.each_element(|element| {
            if at == wanted {
                found = Some(element);
            }
            at += 1;
        });
        found
    }

    /// The kind of this value, as a phrase that completes "must be …, not …".
    pub(super) fn describe(self) -> String {
        let text = self.0.get();
        match self.first() {
            b'n' | b't' | b'f' => text.to_owned(),
            b'"' => match self.text().filter(|text| WORDS.contains(&text.as_str())) {
                Some(word) => format!("the string {word:?}"),
                None => "a string".to_owned(),
            },
            b'[' => "an array".to_owned(),
            b'{' => "an object".to_owned(),
            _ if matches!(text, "0" | "1") => format!("the number {text}"),
            _ => "a number".to_owned(),
        }
    }
}

fn not_utf8(body: &[u8], offset: usize) -> String {
    match body {
        [0xfe, 0xff, ..] | [0xff, 0xfe, ..] => "the body is UTF-16; JSON must be UTF-8".to_owned(),
        _ => format!("the body is not UTF-8 text: invalid byte at offset {offset}"),
    }
}

/// A name in an object that is open.
struct Name {
    hash: u64,
    /// Where it begins.
    at: usize,
}

/// Refuses a name that occurs twice in an object of this valid JSON text.
///
/// Goes over the text once and keeps the names of the open objects only, as hashes: two different names with one hash would
/// refuse a good body, which a secret seed makes as good as impossible. A string is a name exactly if a colon follows, and
/// belongs to the innermost open object.
fn check_names(text: &str) -> Result<(), String> {
    let (bytes, seed) = (text.as_bytes(), RandomState::new());
    let (mut names, mut opened, mut at): (Vec<Name>, Vec<usize>, usize) = (Vec::new(), Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' => opened.push(names.len()),
            b'}' => {
                let first = opened.pop().unwrap_or_default();
                let of_object = &mut names[first..];
                of_object.sort_unstable_by_key(|name| (name.hash, name.at));
                if let Some(second) =
                    of_object.windows(2).filter(|pair| pair[0].hash == pair[1].hash).map(|pair| pair[1].at).min()
                {
                    return Err(twice(text, second));
                }
                names.truncate(first);
            }
            b'"' => {
                let end = end_of_string(bytes, at);
                if bytes[end..].trim_ascii_start().first() == Some(&b':') {
                    names.push(Name { hash: seed.hash_one(decoded(&text[at..end])), at });
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    Ok(())
}

/// The end of the string that begins here.
fn end_of_string(bytes: &[u8], begin: usize) -> usize {
    let mut at = begin + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

/// The content of a string with its quotes. Half a surrogate pair becomes its three bytes in UTF-8's scheme.
fn decoded(quoted: &str) -> Cow<'_, [u8]> {
    if quoted.contains('\\')
        && let Ok(MemberName(name)) = serde_json::from_str(quoted)
    {
        return name;
    }
    Cow::Borrowed(quoted.as_bytes().get(1..quoted.len() - 1).unwrap_or_default())
}

fn twice(text: &str, at: usize) -> String {
    let quoted = &text[at..end_of_string(text.as_bytes(), at)];
    let name = match serde_json::from_str::<String>(quoted) {
        Ok(name) if WORDS.contains(&name.as_str()) => format!("the name {name:?}"),
        _ => "a name".to_owned(),
    };
    let before = &text[..at];
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().unwrap_or_default().len() + 1;
    format!("the body is not valid JSON: {name} occurs twice in one object at line {line} column {column}")
}

/// Hands each member of one object to a function.
struct EachMember<'de, F>(F, PhantomData<&'de ()>);

impl<'de, F: FnMut(&[u8], &'de RawValue)> Visitor<'de> for EachMember<'de, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<(), A::Error> {
        while let Some(MemberName(name)) = members.next_key()? {
            self.0(&name, members.next_value()?);
        }
        Ok(())
    }
}

/// The content of a name, which need not be Unicode.
struct MemberName<'de>(Cow<'de, [u8]>);

impl<'de> Deserialize<'de> for MemberName<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct NameVisitor;
        impl<'de> Visitor<'de> for NameVisitor {
            type Value = MemberName<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a name")
            }

            fn visit_borrowed_bytes<E>(self, bytes: &'de [u8]) -> Result<MemberName<'de>, E> {
                Ok(MemberName(Cow::Borrowed(bytes)))
            }

            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<MemberName<'de>, E> {
                Ok(MemberName(Cow::Owned(bytes.to_vec())))
            }

            fn visit_borrowed_str<E>(self, text: &'de str) -> Result<MemberName<'de>, E> {
                Ok(MemberName(Cow::Borrowed(text.as_bytes())))
            }

            fn visit_str<E>(self, text: &str) -> Result<MemberName<'de>, E> {
                Ok(MemberName(Cow::Owned(text.as_bytes().to_vec())))
            }
        }
        deserializer.deserialize_bytes(NameVisitor)
    }
}

/// Hands each element of one array to a function.
struct EachElement<'de, F>(F, PhantomData<&'de ()>);

impl<'de, F: FnMut(&'de RawValue)> Visitor<'de> for EachElement<'de, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut elements: A) -> Result<(), A::Error> {
        while let Some(element) = elements.next_element()? {
            self.0(element);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Json<'_>, String> {
        Json::read(text.as_bytes())
    }

    #[test]
    fn reads_what_is_wanted() {
        let json = read(r#" {"a":[null,true,1,"x\n"],"b":{"c":"d"},"\u0065":false} "#).unwrap();
        assert!(json.is_object() && json.member("a").unwrap().is_array() && json.member("x").is_none());
        assert_eq!(json.member("b").and_then(|b| b.member("c")).and_then(Json::text).as_deref(), Some("d"));
        assert_eq!(json.member("e").and_then(Json::bool), Some(false));
        let (mut kinds, mut texts) = (Vec::new(), Vec::new());
        json.member("a").unwrap().each_element(|element| {
            kinds.push(element.describe());
            texts.push(element.text());
        });
        assert_eq!(kinds, ["null", "true", "the number 1", "a string"]);
        assert_eq!(texts, [None, None, None, Some("x\n".to_owned())]);
        assert!(json.member("a").unwrap().member("a").is_none(), "an array has no members");
    }

    #[test]
    fn refuses_a_name_that_occurs_twice_at_any_depth_and_in_any_spelling() {
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"[{"x":{"a":1,"b":[{"a":"a"}],"a":1}}]"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"\ud800":1, "\uD800" : 1}"#,
            r#"{"a\"":1,"b":"a\"","a\"":1}"#,
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains("a name occurs twice in one object at line 1 column"), "{text}: {error}");
        }
        assert!(
            read("{\"kind\":1,\n \"kind\":1}")
                .unwrap_err()
                .contains(r#"the name "kind" occurs twice in one object at line 2 column 2"#)
        );
    }

    #[test]
    fn same_name_in_different_objects_and_as_a_value_is_no_repetition() {
        for text in [
            r#"{"a":{"a":"a"},"b":["a","a",{"a":1},{"a":1}]}"#,
            r#"{"":"","\u0000":":"," ":1}"#,
            r#"{"a":"\"a\":","b":"{\"a\":1}"}"#,
        ] {
            assert!(read(text).is_ok(), "{text}");
        }
    }

    #[test]
    fn member_that_is_not_read_may_have_any_value() {
        let deep = format!("{}{}", "[{\"x\":".repeat(50_000), "1}]".repeat(50_000))
            .replace("1}]", "}]")
            .replacen("}]", "1}]", 1);
        for unread in ["1e400", r#""\ud800""#, r#"{"\udc00":"\ud800"}"#, "-0.0e-9999", &deep] {
            let text = format!(r#"{{"x":{unread},"needsSync":true}}"#);
            assert_eq!(read(&text).unwrap().member("needsSync").and_then(Json::bool), Some(true), "{unread:.40}");
        }
        let odd = read(r#"{"\ud800":1,"a":"b"}"#).unwrap();
        assert_eq!(odd.member("a").and_then(Json::text).as_deref(), Some("b"));
    }

    #[test]
    fn goes_down_a_path() {
        let json = read(r#"{"a":[{"\ud800":1,"b":"x"},2],"c":{}}"#).unwrap();
        for (path, found) in [
            ("$.a[0].b", Some("\"x\"")),
            ("$.a[1]", Some("2")),
            ("$.a[-1]", Some("2")),
            ("$.a[-2].b", Some("\"x\"")),
            ("$.a[2]", None),
            ("$.a[-3]", None),
            ("$.c[0]", None),
            ("$.c.x", None),
            ("$.a.b", None),
        ] {
            let path = SingularPath::parse(path).unwrap();
            assert_eq!(json.at(&path).map(|place| place.raw().get()), found, "{path}");
        }
    }

    #[test]
    fn refuses_what_is_no_json() {
        for text in ["", " ", "[1", "{\"a\" 1}", "nul", "\u{feff}{}", "{} {}", "01", "\"\n\"", "{\"a\":1,}"] {
            assert!(read(text).is_err(), "{text}");
        }
    }

    #[test]
    fn repeats_only_words_of_the_protocol() {
        for (text, shown) in [
            ("\"true\"", r#"the string "true""#),
            ("\"hunter2\"", "a string"),
            ("1", "the number 1"),
            ("4711", "a number"),
            ("1.0", "a number"),
            ("-1", "a number"),
        ] {
            assert_eq!(read(text).unwrap().describe(), shown);
        }
        assert!(!read(r#"{"hunter2":1,"hunter2":2}"#).unwrap_err().contains("hunter2"));
    }
}
