//! What is checked of an expression before the library's parser sees it. Pure.
//!
//! The parser goes on after an error, takes a stack frame or more for each nested part, and its time doubles with each
//! doubled sign inside another (it also reads `!!x` as `!x`). So a text reaches it only if it consists of known tokens in
//! bounded number and nesting, and has no doubled sign.

/// Most tokens of an expression.
pub const MAX_TOKENS: usize = 400;
/// Deepest nesting of brackets.
pub const MAX_BRACKETS: usize = 16;
/// Most `?`.
const MAX_CONDITIONALS: usize = 16;

/// A place in an expression. Both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The column.
    pub column: usize,
}

/// What is wrong with an expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where, as far as it can be told.
    pub place: Option<Place>,
    /// What, with the remedy: a clause.
    pub what: String,
}

impl Problem {
    /// A problem at a place, or of the whole.
    pub fn new(place: Option<Place>, what: impl Into<String>) -> Self {
        Self { place, what: what.into() }
    }
}

/// A token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Token<'a> {
    /// As it is written.
    pub text: &'a str,
    /// Where it begins.
    pub place: Place,
}

/// The tokens of an expression, if the parser may see it.
pub fn scan(source: &str) -> Result<Vec<Token<'_>>, Problem> {
    let mut scanner = Scanner { rest: source, place: Place { line: 1, column: 1 } };
    let mut tokens: Vec<Token<'_>> = Vec::new();
    let mut brackets = 0_usize;
    let mut conditionals = 0_usize;
    while let Some(token) = scanner.next()? {
        let fail = |what: String| Err(Problem::new(Some(token.place), what));
        match token.text {
            "(" | "[" => brackets += 1,
            ")" | "]" => brackets = brackets.saturating_sub(1),
            "?" => conditionals += 1,
            "!" | "-" if tokens.last().is_some_and(|last| last.text == token.text) => {
                return fail(format!(
                    "two {0} in a row are not understood: put the second one in brackets",
                    token.text
                ));
            }
            _ => {}
        }
        if brackets > MAX_BRACKETS {
            return fail(format!("brackets are nested more than {MAX_BRACKETS} deep: make two rules of it"));
        }
        if conditionals > MAX_CONDITIONALS {
            return fail(format!("there are more than {MAX_CONDITIONALS} conditionals: make several rules of it"));
        }
        if tokens.len() == MAX_TOKENS {
            return fail(format!("there are more than {MAX_TOKENS} words and signs: make several rules of it"));
        }
        tokens.push(token);
    }
    Ok(tokens)
}

struct Scanner<'a> {
    rest: &'a str,
    place: Place,
}

impl<'a> Scanner<'a> {
    /// The next token; `None` at the end.
    fn next(&mut self) -> Result<Option<Token<'a>>, Problem> {
        self.skip_blanks();
        let Some(first) = self.rest.chars().next() else { return Ok(None) };
        let place = self.place;
        let length = match first {
            'a'..='z' | 'A'..='Z' | '_' => self.name()?,
            '0'..='9' => self.number()?,
            '.' if self.rest[1..].starts_with(|c: char| c.is_ascii_digit()) => self.number()?,
            '\'' | '"' => self.quoted(first)?,
            '{' => return Err(self.fail("maps and messages cannot be written here: use a list")),
            '`' => return Err(self.fail("a name in backticks is not understood: write metrics[\"the name\"]")),
            _ => self.sign()?,
        };
        let text = self.advance(length);
        Ok(Some(Token { text, place }))
    }

    fn skip_blanks(&mut self) {
        loop {
            let blanks = self.rest.len() - self.rest.trim_start_matches(['\t', ' ', '\r', '\n', '\u{c}']).len();
            let skipped =
                if self.rest.starts_with("//") { self.rest.find('\n').unwrap_or(self.rest.len()) } else { blanks };
            if skipped == 0 {
                return;
            }
            self.advance(skipped);
        }
    }

    fn name(&self) -> Result<usize, Problem> {
        let length = length_of(self.rest, |c| c.is_ascii_alphanumeric() || c == '_');
        if self.rest[length..].starts_with(['\'', '"']) {
            return Err(self.fail("a prefixed text is not understood: write it in plain quotes"));
        }
        match &self.rest[..length] {
            "null" => Err(self.fail("null does not exist here: test with has(metrics.x)")),
            _ => Ok(length),
        }
    }

    /// Digits, a fraction, an exponent.
    fn number(&self) -> Result<usize, Problem> {
        let digits = |from: usize| length_of(&self.rest[from..], |c| c.is_ascii_digit());
        let mut length = digits(0);
        if self.rest[length..].starts_with('.') && digits(length + 1) > 0 {
            length += 1 + digits(length + 1);
        }
        if self.rest[length..].starts_with(['e', 'E']) {
            let sign = usize::from(self.rest[length + 1..].starts_with(['+', '-']));
            let exponent = digits(length + 1 + sign);
            length += if exponent > 0 { 1 + sign + exponent } else { 0 };
        }
        if self.rest[length..].starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') {
            return Err(self.fail("a number is written in decimal digits, such as 5, 0.8 or 1e-3"));
        }
        Ok(length)
    }

    /// A text in quotes, with those escapes that the parser reads as CEL has them.
    fn quoted(&self, quote: char) -> Result<usize, Problem> {
        if self.rest[1..].starts_with(&[quote, quote].iter().collect::<String>()) {
            return Err(self.fail("three quotes in a row are not understood: write the text in plain quotes"));
        }
        let mut chars = self.rest.char_indices().skip(1);
        while let Some((at, c)) = chars.next() {
            match c {
                '\n' | '\r' => break,
                '\\' => match chars.next() {
                    Some((_, 'n' | 'r' | 't' | '\\')) => {}
                    Some((_, escaped)) if escaped == quote => {}
                    _ => {
                        return Err(self.fail(&format!("a text may only escape \\\\, \\n, \\r, \\t and \\{quote}")));
                    }
                },
                _ if c == quote => return Ok(at + 1),
                _ => {}
            }
        }
        Err(self.fail("a text has no closing quote in its line"))
    }

    fn sign(&self) -> Result<usize, Problem> {
        const SIGNS: [&str; 23] = [
            "==", "!=", "<=", ">=", "&&", "||", "<", ">", "[", "]", "(", ")", ".", ",", "-", "!", "?", ":", "+", "*",
            "/", "%", "=",
        ];
        match SIGNS.iter().find(|sign| self.rest.starts_with(**sign)) {
            Some(&"=") => Err(self.fail("values are compared with ==")),
            Some(sign) => Ok(sign.len()),
            None => {
                let found = self.rest.chars().next().unwrap_or_default();
                Err(self.fail(&format!("the character {found:?} has no meaning here")))
            }
        }
    }

    /// Steps over `length` bytes, and returns them.
    fn advance(&mut self, length: usize) -> &'a str {
        let (text, rest) = self.rest.split_at(length);
        self.rest = rest;
        for c in text.chars() {
            if c == '\n' {
                self.place = Place { line: self.place.line + 1, column: 1 };
            } else {
                self.place.column += 1;
            }
        }
        text
    }

    fn fail(&self, what: &str) -> Problem {
        Problem::new(Some(self.place), what)
    }
}

/// How many bytes at the beginning of `text` are of the kind.
fn length_of(text: &str, of_the_kind: impl Fn(char) -> bool) -> usize {
    text.find(|c: char| !of_the_kind(c)).unwrap_or(text.len())
}
