//! Singular JSONPath (RFC 9535, section 2.3.5.1): paths that name at most one place. Pure.
//!
//! `$`, then any number of `.name`, `["name"]`, `['name']` and `[index]`, with blanks before a step and inside brackets.
//! Whatever could name several places (wildcards, slices, filters, descendants, several selectors) is refused: a value has
//! one place.

use std::{collections::BTreeMap, fmt};

use serde_json::value::RawValue;

/// Longest path, in bytes.
pub const MAX_PATH: usize = 512;
/// Most steps of a path.
pub const MAX_STEPS: usize = 32;
/// Largest index, either way: what every reader of JSON can count to (RFC 9535, section 2.1).
const MAX_INDEX: i64 = (1 << 53) - 1;

/// A path that names at most one place. Displays as RFC 9535's normalised path, but for negative indexes, which stay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SingularPath {
    steps: Vec<Segment>,
}

/// One step down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Segment {
    /// To the member of this name.
    Member(String),
    /// To the element at this place; negative ones count from the end.
    Element(i64),
}

/// What is wrong with a path, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathError {
    /// Offset in characters.
    pub at: usize,
    /// What is wrong: a sentence that goes on from the field's name.
    pub problem: &'static str,
}

impl fmt::Display for PathError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (at character {})", self.problem, self.at + 1)
    }
}

impl SingularPath {
    /// Reads a path of at most 512 bytes and 32 steps.
    pub fn parse(text: &str) -> Result<Self, PathError> {
        if text.len() > MAX_PATH {
            return Err(PathError { at: 0, problem: "is longer than 512 bytes" });
        }
        let mut reader = Reader { text: text.chars().collect::<Vec<_>>(), at: 0 };
        if !reader.take('$') {
            return reader.fail("must begin with $, as in $.spec.version");
        }
        let mut steps = Vec::new();
        loop {
            let end = reader.at;
            reader.skip_blanks();
            if reader.peek().is_none() {
                // RFC 9535 has blanks between steps, not after the last one.
                reader.at = end;
                return if reader.peek().is_none() {
                    Ok(Self { steps })
                } else {
                    reader.fail("must not end with a blank")
                };
            }
            if steps.len() == MAX_STEPS {
                return reader.fail("has more than 32 steps");
            }
            steps.push(reader.step()?);
        }
    }

    /// The steps from the document down.
    pub fn steps(&self) -> &[Segment] {
        &self.steps
    }

    /// The names of members that lead to the value, or to the first array on the way to it.
    pub fn members(&self) -> Vec<String> {
        let names = self.steps.iter().map_while(|step| match step {
            Segment::Member(name) => Some(name.clone()),
            Segment::Element(_) => None,
        });
        names.collect()
    }

    /// The value at this path, as the document has it; `None` where there is none.
    ///
    /// The document stays text, so that a number is what was written and not what some number type makes of it. A text
    /// that is no valid JSON has nothing at any path. Of a name that occurs twice the last counts.
    pub fn lookup<'a>(&self, document: &'a RawValue) -> Option<&'a RawValue> {
        self.steps.iter().try_fold(document, |place, step| match step {
            Segment::Member(name) => {
                serde_json::from_str::<BTreeMap<String, &RawValue>>(place.get()).ok()?.remove(name)
            }
            Segment::Element(index) => {
                let elements: Vec<&RawValue> = serde_json::from_str(place.get()).ok()?;
                let from_either_end = if *index < 0 {
                    elements.len().checked_sub(usize::try_from(index.unsigned_abs()).ok()?)?
                } else {
                    usize::try_from(*index).ok()?
                };
                elements.get(from_either_end).copied()
            }
        })
    }
}

impl fmt::Display for SingularPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        f.write_str("$")?;
        for step in &self.steps {
            match step {
                Segment::Element(index) => write!(f, "[{index}]")?,
                Segment::Member(name) => {
                    f.write_str("['")?;
                    for c in name.chars() {
                        match c {
                            '\'' | '\\' => write!(f, "\\{c}")?,
                            '\u{8}' => f.write_str("\\b")?,
                            '\u{c}' => f.write_str("\\f")?,
                            '\n' => f.write_str("\\n")?,
                            '\r' => f.write_str("\\r")?,
                            '\t' => f.write_str("\\t")?,
                            c if c < ' ' => write!(f, "\\u{:04x}", u32::from(c))?,
                            c => f.write_char(c)?,
                        }
                    }
                    f.write_str("']")?;
                }
            }
        }
        Ok(())
    }
}

/// Reads one character after the other.
struct Reader {
    text: Vec<char>,
    at: usize,
}

impl Reader {
    fn peek(&self) -> Option<char> {
        self.text.get(self.at).copied()
    }

    fn next(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.at += 1;
        Some(next)
    }

    fn take(&mut self, wanted: char) -> bool {
        let found = self.peek() == Some(wanted);
        self.at += usize::from(found);
        found
    }

    fn skip_blanks(&mut self) {
        while matches!(self.peek(), Some(' ' | '\t' | '\n' | '\r')) {
            self.at += 1;
        }
    }

    fn fail<T>(&self, problem: &'static str) -> Result<T, PathError> {
        Err(PathError { at: self.at, problem })
    }

    fn step(&mut self) -> Result<Segment, PathError> {
        if self.take('.') {
            return match self.peek() {
                Some('.') => self.fail("has .. (descendants), which may name several places: write every step"),
                Some('*') => self.fail("has a wildcard, which may name several places"),
                _ => self.shorthand(),
            };
        }
        if !self.take('[') {
            return self.fail("must go on with .name, [\"name\"] or [index]");
        }
        self.skip_blanks();
        let step = match self.peek() {
            Some(quote @ ('"' | '\'')) => self.quoted(quote)?,
            Some('*') => return self.fail("has a wildcard, which may name several places"),
            Some('?') => return self.fail("has a filter, which may name several places"),
            Some(':') => return self.fail("has a slice, which may name several places"),
            Some('-' | '0'..='9') => self.index()?,
            _ => return self.fail("must have a quoted name or an index between [ and ]"),
        };
        self.skip_blanks();
        match self.peek() {
            Some(']') => {
                self.at += 1;
                Ok(step)
            }
            Some(':') => self.fail("has a slice, which may name several places"),
            Some(',') => self.fail("has several selectors between [ and ], which name several places"),
            _ => self.fail("lacks a ]"),
        }
    }

    /// A name without quotes: letters, digits, `_` and everything beyond ASCII; a digit not first.
    fn shorthand(&mut self) -> Result<Segment, PathError> {
        let mut name = String::new();
        while let Some(c) = self.peek() {
            if !(c.is_ascii_alphabetic() || c == '_' || !c.is_ascii() || (c.is_ascii_digit() && !name.is_empty())) {
                break;
            }
            name.push(c);
            self.at += 1;
        }
        match self.peek() {
            _ if name.is_empty() => self.fail("must have a name after the dot; other names are written [\"name\"]"),
            Some('-' | '/' | ':') => self.fail("has a name with a character that needs quotes: write it as [\"name\"]"),
            _ => Ok(Segment::Member(name)),
        }
    }

    fn index(&mut self) -> Result<Segment, PathError> {
        let begin = self.at;
        let negative = self.take('-');
        let digits = self.at;
        while self.peek().is_some_and(|c| c.is_ascii_digit()) {
            self.at += 1;
        }
        let text: String = self.text[digits..self.at].iter().collect();
        let written_well = text == "0" && !negative || !text.is_empty() && !text.starts_with('0');
        let index = text.parse::<i64>().ok().filter(|index| written_well && *index <= MAX_INDEX);
        if let Some(index) = index {
            return Ok(Segment::Element(if negative { -index } else { index }));
        }
        self.at = begin;
        self.fail("has an index that is not a whole number below 2^53, without leading zeros")
    }

    fn quoted(&mut self, quote: char) -> Result<Segment, PathError> {
        self.at += 1;
        let mut name = String::new();
        loop {
            match self.next() {
                None => return self.fail("has a name whose closing quote is missing"),
                Some(c) if c == quote => return Ok(Segment::Member(name)),
                Some('\\') => name.push(self.escape(quote)?),
                Some(c) if c < ' ' => {
                    self.at -= 1;
                    return self.fail("has a control character in a name: write it as an escape");
                }
                Some(c) => name.push(c),
            }
        }
    }

    /// What follows a backslash. Either quote may be escaped only within its own kind.
    fn escape(&mut self, quote: char) -> Result<char, PathError> {
        Ok(match self.next() {
            Some('b') => '\u{8}',
            Some('f') => '\u{c}',
            Some('n') => '\n',
            Some('r') => '\r',
            Some('t') => '\t',
            Some(c @ ('/' | '\\')) => c,
            Some(c) if c == quote => c,
            Some('u') => return self.unicode(),
            _ => {
                self.at -= 1;
                return self.fail("has an unknown escape in a name");
            }
        })
    }

    /// `XXXX`, or `XXXX\uXXXX` for what lies beyond the first 65536 characters.
    fn unicode(&mut self) -> Result<char, PathError> {
        let begin = self.at;
        let decode = |reader: &mut Self| {
            let first = reader.hex()?;
            if !(0xd800..0xdc00).contains(&first) {
                return char::from_u32(first);
            }
            let second = (reader.take('\\') && reader.take('u')).then(|| reader.hex())??;
            let low = second.checked_sub(0xdc00).filter(|low| *low < 0x400)?;
            char::from_u32(0x10000 + ((first - 0xd800) << 10) + low)
        };
        decode(self).map_or_else(
            || {
                self.at = begin;
                self.fail("has a \\u that does not name a character")
            },
            Ok,
        )
    }

    fn hex(&mut self) -> Option<u32> {
        (0..4).try_fold(0, |value, _| Some(value << 4 | self.next()?.to_digit(16)?))
    }
}

#[cfg(test)]
mod tests;
