//! Parses the text of an expression into the `cel` crate's tree, within bounds, and maps each part to its place in the
//! text. Pure.

use std::iter;

use cel::{
    common::ast::{IdedExpr, SourceInfo},
    parser::{ParseErrors, Parser},
};

/// Most words and signs of an expression. The parser has no such bound, and where numbers follow a minus its time grows
/// with the square of their number: 1,024 bytes of `-1+-1+` take 21 ms, 400 words and signs of it take 8.
///
/// Doubled signs need no bound of their own: the parser reads `!!!!x` in a loop.
const MAX_WORDS: usize = 400;
/// Deepest nesting of brackets and conditionals. A level takes up to 13 KiB of stack. The parser's default of 96 levels
/// would take half of a worker's 2 MiB.
const MAX_NESTING: u16 = 32;

const BACKTICK: &str = "a name in backticks is not understood: write metrics[\"the name\"]";
/// Why a number with letters is refused: `0x5`, `5u`, `5ms`.
pub const DECIMAL: &str = "a number is written in decimal digits, such as 5, 0.8 or 1e-3";
/// Why raw texts and bytes are refused.
pub const PREFIXED: &str = "a prefixed text is not understood: write it in plain quotes";
const ESCAPES: &str = "a text may only escape \\\\, \\n, \\r, \\t and its quote";

/// A place in an expression. Both numbers start at 1; columns count characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// Why an expression is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RuleProblem {
    /// The place, unless the problem is the expression as a whole.
    pub place: Option<Place>,
    /// The problem and its remedy, as a clause.
    pub what: String,
}

impl RuleProblem {
    /// A problem at a place, or of the whole expression.
    pub fn new(place: Option<Place>, what: impl Into<String>) -> Self {
        Self { place, what: what.into() }
    }
}

/// Parses an expression and expands its macros.
pub fn parse(source: &str) -> Result<(IdedExpr, SourceMap<'_>), RuleProblem> {
    if let Some(start) = words(source).nth(MAX_WORDS) {
        let what = format!("there are more than {MAX_WORDS} words and signs: make several rules of it");
        return Err(RuleProblem::new(Some(place_at(source, start)), what));
    }
    // Only the first error is reported, so the parser may stop after it.
    let parser = Parser::new().max_recursion_depth(MAX_NESTING).error_recovery_limit(1);
    let (tree, info) = parser.parse_with_source_info(source).map_err(|errors| problem_of(source, &errors))?;
    Ok((tree, SourceMap { source, info }))
}

/// The places of an expression's parts in its text.
pub struct SourceMap<'a> {
    source: &'a str,
    info: SourceInfo,
}

impl<'a> SourceMap<'a> {
    /// The token that the parser names as the place of a part: a name, a literal, an operator's sign, the opening
    /// bracket of a call or macro, the dot before a field.
    pub fn token(&self, part: &IdedExpr) -> &'a str {
        let token = self.info.offset_for(part.id);
        // Every token ends with a character of one byte.
        token.and_then(|(first, last)| self.source.get(first as usize..=last as usize)).unwrap_or_default()
    }

    /// The place of that token.
    pub fn place(&self, part: &IdedExpr) -> Option<Place> {
        self.info.offset_for(part.id).map(|(first, _)| place_at(self.source, first as usize))
    }

    /// The name before the opening bracket of a call or macro, and its place.
    pub fn callee(&self, call: &IdedExpr) -> (&'a str, Option<Place>) {
        let bracket = self.info.offset_for(call.id);
        let Some(before) = bracket.and_then(|(first, _)| self.source.get(..first as usize)) else { return ("", None) };
        let before = before.trim_end();
        let start = before.trim_end_matches(is_word).len();
        (&before[start..], Some(place_at(self.source, start)))
    }

    /// The place of the word after that token: a field, or the variable of a macro.
    pub fn place_after(&self, part: &IdedExpr) -> Option<Place> {
        let (_, last) = self.info.offset_for(part.id)?;
        let after = last as usize + 1;
        words(self.source.get(after..)?).next().map(|start| place_at(self.source, after + start))
    }
}

/// The offset of each word and sign of an expression. A text in quotes is one word, and so is `metrics.r2`. Comments
/// are skipped.
///
/// The count only bounds the parser's time, so it may differ from the parser's own.
fn words(source: &str) -> impl Iterator<Item = usize> {
    let mut rest = source;
    iter::from_fn(move || {
        rest = rest.trim_start();
        while rest.starts_with("//") {
            rest = rest.find('\n').map_or("", |end| &rest[end..]).trim_start();
        }
        let start = source.len() - rest.len();
        let first = rest.chars().next()?;
        let length = match first {
            '"' | '\'' => quoted(rest),
            _ if is_word(first) || first == '.' => rest.find(|c| !is_word(c) && c != '.').unwrap_or(rest.len()),
            _ if ["==", "!=", "<=", ">=", "&&", "||"].iter().any(|sign| rest.starts_with(sign)) => 2,
            _ => first.len_utf8(),
        };
        rest = &rest[length..];
        Some(start)
    })
}

fn is_word(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_'
}

/// The length of the text in quotes that `rest` starts with. Without a closing quote, the text ends with its line.
fn quoted(rest: &str) -> usize {
    let mut escaped = true;
    for (at, c) in rest.char_indices() {
        if c == '\n' || (!escaped && rest.starts_with(c)) {
            return at + 1;
        }
        escaped = c == '\\' && !escaped;
    }
    rest.len()
}

fn place_at(source: &str, offset: usize) -> Place {
    let before = source.get(..offset).unwrap_or(source);
    let line = before.rfind('\n').map_or(0, |end| end + 1);
    Place { line: before.matches('\n').count() + 1, column: before[line..].chars().count() + 1 }
}

/// The parser's first error, with a remedy for common mistakes.
fn problem_of(source: &str, errors: &ParseErrors) -> RuleProblem {
    // The parser also reports that it gave up, sometimes at an earlier place than the error itself.
    let mut errors = errors.errors.iter().filter(|error| !error.msg.contains("error recovery attempt limit"));
    let Some(error) = errors.next() else { return RuleProblem::new(None, "it is not understood") };
    let place = match (usize::try_from(error.pos.0), usize::try_from(error.pos.1)) {
        (Ok(line), Ok(column)) if line > 0 => Some(Place { line, column }),
        _ => None,
    };
    let message = error.msg.strip_prefix("Syntax error: ").unwrap_or(&error.msg);
    let what = if message.contains("Recursion limit") {
        format!("brackets and conditionals are nested more than {MAX_NESTING} deep: make two rules of it")
    } else if message == "unsupported syntax: '`'" {
        // The parser's place is that of the dot before the backtick.
        return RuleProblem::new(place.map(|dot| Place { column: dot.column + 1, ..dot }), BACKTICK);
    } else if let Some(token) = message.strip_prefix("token recognition error at: '") {
        problem_of_token(token)
    } else if let Some(word) = message.strip_prefix("reserved identifier: ") {
        format!("{word} is a reserved word: choose another name")
    } else if place.is_some_and(|place| is_end_of_number(source, place)) {
        DECIMAL.to_owned()
    } else {
        message.split(" expecting ").next().unwrap_or(message).replace("<EOF>", "the end")
    };
    RuleProblem::new(place, what)
}

/// Why characters that are not a token are refused.
fn problem_of_token(token: &str) -> String {
    match token.chars().next() {
        Some('=') => "values are compared with ==".to_owned(),
        Some('`') => BACKTICK.to_owned(),
        Some('"' | '\'') if token.contains('\\') => ESCAPES.to_owned(),
        Some('"' | '\'') => "a text has no closing quote in its line".to_owned(),
        first => format!("the character {:?} has no meaning here", first.unwrap_or_default()),
    }
}

/// Whether the token at this place follows a digit without a blank, as `ms` does in `5ms`.
fn is_end_of_number(source: &str, place: Place) -> bool {
    let line = source.lines().nth(place.line - 1).unwrap_or_default();
    let mut chars = line.chars().skip(place.column.saturating_sub(2));
    chars.next().is_some_and(|before| before.is_ascii_digit()) && chars.next().is_some_and(is_word)
}

/// Why a text literal is refused because of how it is written. `None` accepts it.
pub fn problem_of_text(written: &str) -> Option<&'static str> {
    let mut rest = written.chars();
    let quote = rest.next().filter(|first| matches!(first, '"' | '\''));
    let Some(quote) = quote else { return Some(PREFIXED) };
    if written.len() > 2 && rest.as_str().starts_with(quote) {
        return Some("three quotes in a row are not understood: write the text in plain quotes");
    }
    while let Some(c) = rest.next() {
        if c == '\\' && !rest.next().is_some_and(|escaped| escaped == quote || r"nrt\".contains(escaped)) {
            return Some(ESCAPES);
        }
    }
    None
}
