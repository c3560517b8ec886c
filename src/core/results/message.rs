//! Results in the termination message of a container. Pure.

use std::{borrow::Cow, collections::BTreeSet, fmt};

use serde::{
    Deserialize, Deserializer,
    de::{Error as _, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{Reader, Results, number, number::ParsedNumber, shown};

impl Results {
    /// Reads a Job's termination message, which the kubelet keeps whole only if it takes less than `limit` bytes:
    /// `{"metrics": {…}, "artifact": {"uri": …, "digest": …}, "outputs": {…}}`.
    ///
    /// Every member may be missing; values are numbers or strings and are kept as they are written. An empty message
    /// reports nothing. Nothing is taken from a message that is not a JSON object, has a member twice, or was cut.
    pub fn of_message(message: &str, limit: usize) -> Self {
        if message.trim_ascii().is_empty() {
            return Self::default();
        }
        // The kubelet keeps only the end of a longer file, and the end of a JSON object can be a valid object, too.
        if message.len() >= limit {
            return Self::unreadable(format!(
                "the termination message is cut: the kubelet keeps less than {limit} bytes whole; report less, and put the \
                 rest behind a URI"
            ));
        }
        let members = match Members::of(message) {
            Ok(members) => members,
            Err(problem) => return Self::unreadable(format!("the termination message {problem}")),
        };
        let mut reader = Reader::default();
        for (name, value) in members.0 {
            match &*name {
                _ if value.get() == "null" => {}
                "metrics" => metrics(&mut reader, value),
                "artifact" => artifact(&mut reader, value),
                "outputs" => outputs(&mut reader, value),
                other => {
                    reader.report(format!("{} is not read: it is none of metrics, artifact and outputs", shown(other)));
                }
            }
        }
        reader.finish()
    }
}

fn metrics(reader: &mut Reader, value: &RawValue) {
    for (name, value) in members(reader, "metrics", value) {
        let text = text(value);
        reader.metric(&name, text.as_deref().map_or(ParsedNumber::Not, number::read));
    }
}

fn artifact(reader: &mut Reader, value: &RawValue) {
    for (name, value) in members(reader, "artifact", value) {
        match (&*name, text(value)) {
            ("uri", Some(uri)) => reader.artifact(Some(&uri), None),
            ("digest", Some(digest)) => reader.artifact(None, Some(&digest)),
            (_, None) if value.get() == "null" => {}
            ("uri" | "digest", None) => reader.report(format!("artifact.{name} is left out: it must be a string")),
            (other, _) => {
                reader.report(format!("{} of artifact is not read: it is neither uri nor digest", shown(other)));
            }
        }
    }
}

fn outputs(reader: &mut Reader, value: &RawValue) {
    for (name, value) in members(reader, "outputs", value) {
        match text(value) {
            Some(text) => reader.output(&name, &text),
            None if value.get() == "null" => {}
            None => {
                reader.report(format!("the output {} is left out: it must be a number or a string", shown(&name)));
            }
        }
    }
}

fn members<'a>(reader: &mut Reader, at: &str, value: &'a RawValue) -> Vec<(String, &'a RawValue)> {
    match Members::of(value.get()) {
        Ok(members) => members.0,
        Err(problem) => {
            reader.report(format!("{at} {problem}"));
            Vec::new()
        }
    }
}

/// The text of a string, or a number as it is written.
fn text(value: &RawValue) -> Option<Cow<'_, str>> {
    match value.get().as_bytes().first()? {
        b'"' => serde_json::from_str::<String>(value.get()).ok().map(Cow::Owned),
        b'-' | b'0'..=b'9' => Some(Cow::Borrowed(value.get())),
        _ => None,
    }
}

/// The members of a JSON object in their order, with unique names. Values stay text, so that numbers stay as written.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'a> Members<'a> {
    /// Parses the members. The error completes a sentence that begins with the name of the text.
    fn of(text: &'a str) -> Result<Self, String> {
        if !text.trim_ascii_start().starts_with('{') {
            return Err("is not a JSON object".to_owned());
        }
        serde_json::from_str(text).map_err(|error| {
            if error.is_eof() {
                return format!("is cut: {error}");
            }
            let words = ["NaN", "Infinity"];
            let hint = if words.iter().any(|word| text.contains(word)) {
                "; JSON has no NaN and no Infinity: write them as strings"
            } else {
                ""
            };
            format!("cannot be read: {error}{hint}")
        })
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OfMap;

        impl<'de> Visitor<'de> for OfMap {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let (mut members, mut names) = (Vec::new(), BTreeSet::new());
                while let Some((name, value)) = map.next_entry::<String, &RawValue>()? {
                    if !names.insert(name.clone()) {
                        return Err(A::Error::custom(format!("{} occurs twice", shown(&name))));
                    }
                    members.push((name, value));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(OfMap)
    }
}
