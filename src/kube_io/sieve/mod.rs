//! Reduces JSON while it arrives: only the members that a [`Shape`] names are kept, and of each no more than a bound. No IO.
//!
//! Strangers decide how large the objects are that the operator lists, watches and reads: a Job may have 1.4 MB, and its
//! text six times as much. A body that were collected before it is read would have to fit into memory as a whole. Here
//! memory holds the kept members of one object.

mod shape;

use std::mem;

use self::shape::{Keep, too_large};
pub use self::shape::{Shape, TooLarge, Wrapping};

/// Longest name of a member that can be kept, in bytes of JSON.
const MAX_KEY: usize = 1024;
/// Longest value that stands where an object or a list was expected, such as null.
const MAX_OTHER: usize = 1024;
/// Name of the elements of a list in a path.
const ELEMENT: &str = "[]";

/// The text is no JSON.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("it is no JSON: {0} at an unexpected place")]
pub struct Malformed(String);

/// A part of the text that is complete.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// An element of a list whose elements are kept one by one.
    Element(&'a str),
    /// A whole text, without such elements.
    Whole(&'a str),
}

/// Reads JSON texts in slices and keeps what its shape names.
pub struct Sieve {
    shape: Shape,
    wrapping: Wrapping,
    /// What is kept of the present text.
    text: Vec<u8>,
    frames: Vec<Frame>,
    /// The names that lead to the present member.
    path: Vec<String>,
    /// The name of the present member, in quotes.
    key: Vec<u8>,
    state: SieveState,
}

/// An object or a list that is kept member by member.
struct Frame {
    list: bool,
    /// Whether a member was kept.
    started: bool,
    /// Where the first member begins in the kept text.
    start: usize,
}

enum SieveState {
    /// Before a value.
    Value,
    /// In an object, before a name or the end.
    Member,
    /// In a name; whether after a backslash.
    Key(bool),
    /// After a name.
    Colon,
    /// In a list, before an element or the end.
    Element,
    /// In a value that is kept or dropped as a whole.
    Inside(ValueForm, Kept),
}

#[derive(Clone, Copy)]
enum ValueForm {
    /// A number, true, false or null.
    Plain,
    /// A string; whether after a backslash.
    Text(bool),
    /// An object or a list, at this depth.
    Nested(usize),
    /// A string in an object or a list.
    NestedText(usize, bool),
}

/// What is kept of a value.
#[derive(Clone, Copy)]
struct Kept {
    /// Where it begins in the kept text; `None`: nothing is kept.
    start: Option<usize>,
    /// The most bytes of it that are kept.
    most: usize,
    /// Its bytes so far.
    bytes: usize,
}

impl Sieve {
    /// A sieve for texts in which the objects of this shape stand in this place.
    pub fn new(shape: Shape, wrapping: Wrapping) -> Self {
        let (text, frames, path, key) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        Self { shape, wrapping, text, frames, path, key, state: SieveState::Value }
    }

    /// Bytes of the present text that are kept so far.
    pub const fn retained(&self) -> usize {
        self.text.len()
    }

    /// Bytes of memory for the kept text.
    pub const fn held(&self) -> usize {
        self.text.capacity()
    }

    /// The most bytes of one object that are kept.
    pub const fn most(&self) -> usize {
        self.shape.most()
    }

    /// Takes the memory for the largest object at once. A text that doubles its memory as it grows would need three times
    /// as much for a moment.
    pub fn reserve(&mut self) {
        self.text.reserve_exact(self.shape.most().saturating_sub(self.text.len()));
    }

    /// Gives memory back that the present text does not need.
    pub fn release(&mut self) {
        self.text.shrink_to_fit();
    }

    /// Reads the next bytes. Calls `see` with each part that they complete.
    pub fn push(&mut self, mut bytes: &[u8], see: &mut (dyn FnMut(Piece<'_>) + Send)) -> Result<(), Malformed> {
        while let Some(first) = bytes.first().copied() {
            let used = match self.state {
                SieveState::Inside(form, retained) => self.inside(form, retained, bytes, see)?,
                SieveState::Key(escaped) => self.key_part(escaped, bytes),
                _ if first.is_ascii_whitespace() => 1,
                SieveState::Value => self.value(first)?,
                SieveState::Member => self.member(first, see)?,
                SieveState::Colon => self.colon(first)?,
                SieveState::Element => self.element(first, see)?,
            };
            bytes = &bytes[used..];
        }
        Ok(())
    }

    /// A value begins. Returns how many bytes were used.
    fn value(&mut self, first: u8) -> Result<usize, Malformed> {
        let keep = self.wrapping.keep(&self.shape, &self.path);
        let most = match (keep, first) {
            (Keep::Members, b'{') => {
                self.enter(first, false);
                return Ok(1);
            }
            (Keep::Elements, b'[') => {
                self.enter(first, true);
                return Ok(1);
            }
            (Keep::Members | Keep::Elements, _) => Some(MAX_OTHER),
            (Keep::UpTo(most), _) => Some(most),
            (Keep::Nothing, _) => None,
        };
        let start = most.map(|_| {
            self.introduce();
            self.text.len()
        });
        let form = match first {
            b'{' | b'[' => ValueForm::Nested(0),
            b'"' => ValueForm::Text(false),
            b'-' | b'0'..=b'9' | b't' | b'f' | b'n' => ValueForm::Plain,
            other => return Err(unexpected(other)),
        };
        let retained = Kept { start, most: most.unwrap_or(0), bytes: 0 };
        // The first quote begins the string, and must not end it.
        let used = usize::from(first == b'"');
        self.state = SieveState::Inside(form, self.take(retained, &[first][..used]));
        Ok(used)
    }

    fn enter(&mut self, first: u8, list: bool) {
        self.introduce();
        self.text.push(first);
        self.frames.push(Frame { list, started: false, start: self.text.len() });
        self.state = if list { SieveState::Element } else { SieveState::Member };
    }

    /// Writes what comes before a kept value: a comma if another member was kept, and the name.
    fn introduce(&mut self) {
        let Some(frame) = self.frames.last_mut().filter(|frame| !frame.list) else { return };
        if mem::replace(&mut frame.started, true) {
            self.text.push(b',');
        }
        self.text.extend_from_slice(&self.key);
        self.text.push(b':');
    }

    /// Takes bytes of a value.
    fn take(&mut self, mut retained: Kept, bytes: &[u8]) -> Kept {
        retained.bytes += bytes.len();
        if let Some(start) = retained.start {
            if retained.bytes <= retained.most {
                self.text.extend_from_slice(bytes);
            } else {
                self.text.truncate(start);
            }
        }
        retained
    }

    fn inside(
        &mut self,
        form: ValueForm,
        retained: Kept,
        bytes: &[u8],
        see: &mut (dyn FnMut(Piece<'_>) + Send),
    ) -> Result<usize, Malformed> {
        let (form, used, ended) = scan(form, bytes);
        let retained = self.take(retained, &bytes[..used]);
        self.state = SieveState::Inside(form, retained);
        if ended {
            if retained.start.is_some() && retained.bytes > retained.most {
                self.text.extend_from_slice(too_large(retained.bytes, retained.most).as_bytes());
            }
            self.complete(retained.start.is_some(), see)?;
        }
        Ok(used)
    }

    /// A value is complete.
    fn complete(&mut self, retained: bool, see: &mut (dyn FnMut(Piece<'_>) + Send)) -> Result<(), Malformed> {
        let text = |bytes| std::str::from_utf8(bytes).map_err(|_| Malformed("a byte that is no UTF-8".to_owned()));
        match self.frames.last() {
            None => {
                see(Piece::Whole(text(&self.text)?));
                self.text.clear();
                self.state = SieveState::Value;
            }
            Some(Frame { list: true, start, .. }) => {
                self.path.pop();
                let start = *start;
                if retained {
                    see(Piece::Element(text(&self.text[start..])?));
                }
                self.text.truncate(start);
                self.state = SieveState::Element;
            }
            Some(Frame { list: false, .. }) => {
                self.path.pop();
                self.state = SieveState::Member;
            }
        }
        Ok(())
    }

    fn member(&mut self, byte: u8, see: &mut (dyn FnMut(Piece<'_>) + Send)) -> Result<usize, Malformed> {
        match byte {
            b',' => {}
            b'"' => {
                self.key.clear();
                self.key.push(b'"');
                self.state = SieveState::Key(false);
            }
            b'}' => self.leave(byte, see)?,
            other => return Err(unexpected(other)),
        }
        Ok(1)
    }

    fn key_part(&mut self, mut escaped: bool, bytes: &[u8]) -> usize {
        for (at, byte) in bytes.iter().enumerate() {
            // A longer name is cut, so it is none that a shape knows.
            if self.key.len() < MAX_KEY {
                self.key.push(*byte);
            }
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => {
                    let name = serde_json::from_slice::<String>(&self.key);
                    self.path.push(name.unwrap_or_else(|_| "\u{0}".to_owned()));
                    self.state = SieveState::Colon;
                    return at + 1;
                }
                _ => {}
            }
        }
        self.state = SieveState::Key(escaped);
        bytes.len()
    }

    fn colon(&mut self, byte: u8) -> Result<usize, Malformed> {
        if byte != b':' {
            return Err(unexpected(byte));
        }
        self.state = SieveState::Value;
        Ok(1)
    }

    fn element(&mut self, byte: u8, see: &mut (dyn FnMut(Piece<'_>) + Send)) -> Result<usize, Malformed> {
        match byte {
            b',' => Ok(1),
            b']' => self.leave(byte, see).map(|()| 1),
            _ => {
                self.path.push(ELEMENT.to_owned());
                self.value(byte)
            }
        }
    }

    fn leave(&mut self, byte: u8, see: &mut (dyn FnMut(Piece<'_>) + Send)) -> Result<(), Malformed> {
        self.text.push(byte);
        self.frames.pop();
        self.complete(true, see)
    }
}

/// Goes through a value up to its end, or to the end of the bytes. Returns the form then, how many bytes belong to the
/// value, and whether it ends there.
fn scan(mut form: ValueForm, bytes: &[u8]) -> (ValueForm, usize, bool) {
    let mut at = 0;
    while at < bytes.len() {
        if matches!(form, ValueForm::Text(false) | ValueForm::NestedText(_, false)) {
            // Most of a large value is in strings.
            let Some(skipped) = bytes[at..].iter().position(|byte| matches!(byte, b'"' | b'\\')) else {
                return (form, bytes.len(), false);
            };
            at += skipped;
        }
        form = match (form, bytes[at]) {
            (ValueForm::Plain, b',' | b'}' | b']' | b' ' | b'\t' | b'\r' | b'\n') => return (form, at, true),
            (ValueForm::Text(false), b'"') => return (form, at + 1, true),
            (ValueForm::Text(escaped), _) => ValueForm::Text(!escaped),
            (ValueForm::NestedText(depth, false), b'"') => ValueForm::Nested(depth),
            (ValueForm::NestedText(depth, escaped), _) => ValueForm::NestedText(depth, !escaped),
            (ValueForm::Nested(depth), b'"') => ValueForm::NestedText(depth, false),
            (ValueForm::Nested(depth), b'{' | b'[') => ValueForm::Nested(depth + 1),
            (ValueForm::Nested(depth), b'}' | b']') if depth <= 1 => return (form, at + 1, true),
            (ValueForm::Nested(depth), b'}' | b']') => ValueForm::Nested(depth - 1),
            (ValueForm::Plain | ValueForm::Nested(_), _) => form,
        };
        at += 1;
    }
    (form, bytes.len(), false)
}

fn unexpected(byte: u8) -> Malformed {
    Malformed(format!("{:?}", char::from(byte)))
}

#[cfg(test)]
mod tests;
