//! Reads the paths of a source file. No IO.
//!
//! Source is read as tokens, not as text: strings and comments hold no path, and paths inside macros count. Groups,
//! renames, `self` and `super` are resolved; what cannot be resolved is an error.

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// A path in a source file.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    /// Its segments, resolved from the crate's root if it is a path of this crate: `crate`, `api`, `keys`.
    pub path: Vec<String>,
    pub line: usize,
}

/// Every path of a file whose module is `module` (empty for the crate's root).
pub fn paths(source: &str, module: &[&str]) -> Result<Vec<Found>, String> {
    let tokens: TokenStream = source.parse().map_err(|error| format!("cannot be read: {error}"))?;
    let module = module.iter().map(ToString::to_string).collect::<Vec<_>>();
    paths_of(&tokens.into_iter().collect::<Vec<_>>(), &module)
}

/// Like [`paths`], for the tokens of a file.
pub fn paths_of(tokens: &[TokenTree], module: &[String]) -> Result<Vec<Found>, String> {
    let mut found = Vec::new();
    scan(tokens, module, &mut found)?;
    Ok(found)
}

fn scan(tokens: &[TokenTree], module: &[String], found: &mut Vec<Found>) -> Result<(), String> {
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Ident(word) if word == "mod" && body(tokens, at + 2).is_some() => {
                let inner = [module, &[tokens[at + 1].to_string()]].concat();
                scan(body(tokens, at + 2).unwrap_or_default().as_slice(), &inner, found)?;
                at += 3;
            }
            TokenTree::Ident(_) => at = one_path(tokens, at, &[], module, found)?,
            // `pub(crate)` and the like name no path, except `pub(in …)`.
            TokenTree::Group(group) if is_visibility(tokens, at) => {
                let inside: Vec<_> = group.stream().into_iter().collect();
                if inside.len() > 1 {
                    scan(&inside[1..], module, found)?;
                }
                at += 1;
            }
            TokenTree::Group(group) => {
                scan(&group.stream().into_iter().collect::<Vec<_>>(), module, found)?;
                at += 1;
            }
            _ => at += 1,
        }
    }
    Ok(())
}

/// Adds the path that begins at `at`, with its groups, to `found`; returns the index of the next token.
fn one_path(
    tokens: &[TokenTree],
    mut at: usize,
    prefix: &[String],
    module: &[String],
    found: &mut Vec<Found>,
) -> Result<usize, String> {
    let mut segments = prefix.to_vec();
    loop {
        let line = tokens[at].span().start().line;
        match &tokens[at] {
            TokenTree::Ident(word) => segments.push(word.to_string().trim_start_matches("r#").to_owned()),
            TokenTree::Punct(star) if star.as_char() == '*' => segments.push("*".to_owned()),
            TokenTree::Group(group) if group.delimiter() == Delimiter::Brace => {
                let inside: Vec<_> = group.stream().into_iter().collect();
                for member in inside.split(|token| matches!(token, TokenTree::Punct(comma) if comma.as_char() == ',')) {
                    if !member.is_empty() {
                        one_path(member, 0, &segments, module, found)?;
                    }
                }
                return Ok(at + 1);
            }
            // A type's parameters, or the pattern of a macro: the path has ended.
            _ => return Ok(at),
        }
        at += 1;
        if !is_double_colon(tokens, at) || tokens.get(at + 2).is_none() || is_open_angle(tokens, at + 2) {
            if segments.len() > 1 || segments == ["crate"] {
                found.push(Found { path: resolve(&segments, module, line)?, line });
            }
            return Ok(at);
        }
        at += 2;
    }
}

/// Resolves a path of this crate from the crate's root. Returns any other path unchanged.
pub fn resolve(segments: &[String], module: &[String], line: usize) -> Result<Vec<String>, String> {
    let mut rest = segments;
    let mut base = match segments[0].as_str() {
        "crate" | "modelsync" => Vec::new(),
        "self" | "super" => module.to_vec(),
        _ => return Ok(segments.to_vec()),
    };
    while let [first, others @ ..] = rest {
        match first.as_str() {
            "crate" | "modelsync" | "self" => {}
            "super" => {
                base.pop().ok_or_else(|| format!("line {line}: {} leaves the crate", segments.join("::")))?;
            }
            _ => break,
        }
        rest = others;
    }
    base.extend_from_slice(rest);
    match base.first().map(String::as_str) {
        None => Err(format!("line {line}: {} names the whole crate: name the module", segments.join("::"))),
        Some("*") => Err(format!("line {line}: {} takes in the whole crate: name the module", segments.join("::"))),
        Some(_) => Ok([vec!["crate".to_owned()], base].concat()),
    }
}

fn body(tokens: &[TokenTree], at: usize) -> Option<Vec<TokenTree>> {
    match tokens.get(at) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
            Some(group.stream().into_iter().collect())
        }
        _ => None,
    }
}

fn is_visibility(tokens: &[TokenTree], at: usize) -> bool {
    let after_pub = at > 0 && matches!(&tokens[at - 1], TokenTree::Ident(word) if word == "pub");
    let TokenTree::Group(group) = &tokens[at] else { return false };
    let Some(TokenTree::Ident(first)) = group.stream().into_iter().next() else { return false };
    after_pub && ["crate", "super", "self", "in"].iter().any(|word| first == word)
}

fn is_double_colon(tokens: &[TokenTree], at: usize) -> bool {
    let colon = |at: usize| match tokens.get(at) {
        Some(TokenTree::Punct(punct)) if punct.as_char() == ':' => Some(punct.spacing()),
        _ => None,
    };
    colon(at) == Some(Spacing::Joint) && colon(at + 1).is_some()
}

fn is_open_angle(tokens: &[TokenTree], at: usize) -> bool {
    matches!(&tokens[at], TokenTree::Punct(punct) if punct.as_char() == '<')
}
