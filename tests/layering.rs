//! Which module may use which: the layers of ARCHITECTURE.md as a table, checked against every path in `src/`.
//!
//! Source is read as tokens, not as text: strings and comments hold no path, and paths inside macros count. Groups,
//! renames, `self` and `super` are resolved; what cannot be resolved is an error.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::{fs, path::Path};

use proc_macro2::{Delimiter, Spacing, TokenStream, TokenTree};

/// Each module of `src/` and what it may use of the others. The order is that of the layers.
const MAY_USE: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("core", &["api"]),
    ("port", &["api", "core"]),
    ("clock", &["core"]),
    ("runs", &["api", "core"]),
    ("source", &["api", "core", "port", "clock"]),
    ("kube_io", &["api", "core", "port", "clock"]),
    ("schedule", &["api", "core", "port", "clock"]),
    ("telemetry", &["api", "core"]),
    ("lineage", &["api", "core"]),
    ("controller", &["api", "core", "port", "clock", "kube_io", "schedule", "telemetry", "lineage"]),
    (
        "app",
        &[
            "api",
            "core",
            "port",
            "clock",
            "runs",
            "source",
            "kube_io",
            "schedule",
            "telemetry",
            "lineage",
            "controller",
        ],
    ),
    // The command line makes settings of flags, and settings belong to whom they set.
    // `verify` reads and proves without a controller.
    ("cli", &["api", "core", "clock", "source", "kube_io", "telemetry", "lineage", "app"]),
    ("main", &["app", "cli", "telemetry"]),
];

/// Beginnings of paths that only some modules may use.
const ONLY: &[(&[&str], &[&str])] = &[
    // Everything that talks to the API server stands in one place.
    (&["kube", "Client"], &["kube_io"]),
    (&["kube", "Api"], &["kube_io"]),
    (&["kube", "client"], &["kube_io"]),
    (&["kube", "runtime"], &["kube_io"]),
    (&["kube", "discovery"], &["kube_io"]),
    (&["kube", "Config"], &["app", "kube_io"]),
    (&["kube", "config"], &["app", "kube_io"]),
    (&["reqwest"], &["source", "lineage"]),
    (&["axum"], &["telemetry"]),
    (&["clap"], &["cli", "main", "telemetry"]),
];

/// Modules without side effects, and beginnings of paths that would bring some in.
const PURE: &[&str] = &["api", "core", "port", "runs"];
const EFFECTS: &[&[&str]] = &[
    &["tokio"],
    &["tokio_util"],
    &["tracing"],
    &["hyper"],
    &["tower"],
    &["rustls"],
    &["std", "env"],
    &["std", "fs"],
    &["std", "io"],
    &["std", "net"],
    &["std", "process"],
    &["std", "thread"],
    &["std", "time", "Instant"],
    &["std", "time", "SystemTime"],
];

/// A path in a source file.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    /// Its segments, resolved from the crate's root where it is one of ours: `crate`, `api`, `keys`.
    path: Vec<String>,
    line: usize,
}

/// Every path of a file whose module is `module` (empty for the crate's root).
fn paths(source: &str, module: &[&str]) -> Result<Vec<Found>, String> {
    let tokens: TokenStream = source.parse().map_err(|error| format!("cannot be read: {error}"))?;
    let mut found = Vec::new();
    let module = module.iter().map(ToString::to_string).collect::<Vec<_>>();
    scan(&tokens.into_iter().collect::<Vec<_>>(), &module, &mut found)?;
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
            // `pub(crate)` and its kin name no path, but for `pub(in …)`.
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

/// Takes in the path that begins at `at`, with its groups, and returns where to go on.
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

/// The path from the crate's root, where it is one of ours.
fn resolve(segments: &[String], module: &[String], line: usize) -> Result<Vec<String>, String> {
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
    let first = group.stream().into_iter().next();
    after_pub
        && matches!(first, Some(TokenTree::Ident(word)) if ["crate", "super", "self", "in"].contains(&word.to_string().as_str()))
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

/// What of a file's paths breaks a rule, in words.
fn offences(module: &str, found: &[Found]) -> Vec<String> {
    let Some((_, allowed)) = MAY_USE.iter().find(|(name, _)| *name == module) else {
        return vec![format!(
            "the module {module} has no layer: add it to the table in this test and to ARCHITECTURE.md"
        )];
    };
    let starts = |path: &[String], beginning: &[&str]| {
        path.iter().zip(beginning).filter(|(a, b)| a == b).count() == beginning.len()
    };
    let mut offences = Vec::new();
    for Found { path, line } in found {
        let shown = path.join("::");
        if let [root, used, ..] = path.as_slice()
            && root == "crate"
            && used != module
            && !allowed.contains(&used.as_str())
        {
            offences.push(format!("line {line}: {module} may not use {shown}"));
        }
        for (beginning, users) in ONLY {
            if starts(path, beginning) && !users.contains(&module) {
                offences.push(format!("line {line}: only {} may use {shown}", users.join(" and ")));
            }
        }
        if PURE.contains(&module) && EFFECTS.iter().any(|beginning| starts(path, beginning)) {
            offences.push(format!("line {line}: {module} is pure and may not use {shown}"));
        }
    }
    offences
}

/// Files of `src/` with their module paths: `core/sync/mod.rs` is `core::sync`.
fn sources() -> Vec<(String, Vec<String>, String)> {
    let mut sources = Vec::new();
    collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), &mut Vec::new(), &mut sources);
    sources
}

fn collect(dir: &Path, module: &mut Vec<String>, sources: &mut Vec<(String, Vec<String>, String)>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            module.push(name);
            collect(&path, module, sources);
            module.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let own = if name == "mod" || (module.is_empty() && name == "lib") { Vec::new() } else { vec![name] };
            sources.push((
                path.display().to_string(),
                [module.clone(), own].concat(),
                fs::read_to_string(&path).unwrap(),
            ));
        }
    }
}

#[test]
fn no_module_uses_what_its_layer_may_not() {
    let mut all = Vec::new();
    for (file, module, source) in sources() {
        let names: Vec<_> = module.iter().map(String::as_str).collect();
        // The crate's root only lists its modules.
        let Some(first) = names.first() else { continue };
        let offences = match paths(&source, &names) {
            Ok(found) => offences(first, &found),
            Err(problem) => vec![problem],
        };
        all.extend(offences.into_iter().map(|offence| format!("{file}: {offence}")));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn every_module_of_the_table_exists() {
    let modules: Vec<_> = sources().into_iter().filter_map(|(_, module, _)| module.into_iter().next()).collect();
    for (name, _) in MAY_USE {
        assert!(modules.iter().any(|module| module == name), "{name} is in the table and not in src/");
    }
}

#[test]
fn the_table_has_no_cycle() {
    for (index, (module, used)) in MAY_USE.iter().enumerate() {
        for name in *used {
            let below = MAY_USE.iter().position(|(other, _)| other == name).unwrap();
            assert!(below < index, "{module} uses {name}, which stands at or above it");
        }
    }
}

mod the_reader {
    use super::*;

    /// Paths of ours in a file of the module `core::sync`, without the leading `crate`.
    fn ours(source: &str) -> Vec<String> {
        let found = paths(source, &["core", "sync"]).unwrap();
        found.into_iter().filter(|found| found.path[0] == "crate").map(|found| found.path[1..].join("::")).collect()
    }

    #[test]
    fn finds_an_upward_import_in_a_nested_group() {
        let source = "use crate::{api::keys, core::{name, run::{self, Phase}}, kube_io::{apply::ApiServer as Server}};";
        assert_eq!(
            ours(source),
            ["api::keys", "core::name", "core::run::self", "core::run::Phase", "kube_io::apply::ApiServer"]
        );
        let found = paths(source, &["core"]).unwrap();
        assert_eq!(offences("core", &found), ["line 1: core may not use crate::kube_io::apply::ApiServer"]);
    }

    #[test]
    fn finds_inline_paths_in_code_types_and_macros() {
        let source = "
            fn f(a: crate::kube_io::X, b: Vec<crate::source::Y>) -> impl crate::port::Z {
                let c = crate::telemetry::C::<u8>::new();
                format!(\"{}\", crate::clock::now())
            }";
        assert_eq!(ours(source), ["kube_io::X", "source::Y", "port::Z", "telemetry::C", "clock::now"]);
    }

    #[test]
    fn does_not_take_strings_and_comments_for_paths() {
        let source = "
            //! crate::kube_io
            /// See [`crate::kube_io::x`].
            // use crate::kube_io;
            /* crate::kube_io */
            const A: &str = \"use crate::kube_io;\";
            const B: &str = r#\"crate::kube_io::x\"#;";
        assert_eq!(ours(source), Vec::<String>::new());
    }

    #[test]
    fn resolves_super_from_files_and_inline_modules() {
        assert_eq!(
            ours("use super::name; use super::super::kube_io::X; use self::facts::Facts;"),
            ["core::name", "kube_io::X", "core::sync::facts::Facts",]
        );
        assert_eq!(ours("mod tests { use super::*; use super::super::super::kube_io; }"), ["core::sync::*", "kube_io"]);
        assert_eq!(ours("use super::{super::source::{X, Y}, run};"), ["source::X", "source::Y", "core::run"]);
    }

    #[test]
    fn refuses_what_hides_the_module() {
        for source in [
            "use crate as root;",
            "use crate::*;",
            "use crate::{self as root};",
            "use super::super::*;",
            "use super::super::super::x;",
        ] {
            assert!(paths(source, &["core", "sync"]).is_err(), "{source}");
        }
    }

    #[test]
    fn reads_visibility_as_what_it_is() {
        assert_eq!(
            ours("pub(crate) fn a() {} pub(super) fn b() {} pub(in crate::core) struct C(pub(crate) u8);"),
            ["core"]
        );
    }

    #[test]
    fn finds_paths_of_other_crates_however_they_are_written() {
        let others = |source: &str| offences("core", &paths(source, &["core"]).unwrap());
        for source in [
            "use kube::Client;",
            "use kube::{core::Status, Client as C};",
            "type A = ::kube::Client;",
            "use {kube::Client, std::fmt};",
        ] {
            assert_eq!(others(source), ["line 1: only kube_io may use kube::Client"], "{source}");
        }
        assert_eq!(others("fn f() { std::thread::sleep(d) }").len(), 1);
        assert_eq!(others("use std::{collections::BTreeMap, time::{Duration, Instant}};").len(), 1);
        assert_eq!(others("use jiff::Timestamp; use std::time::Duration;"), Vec::<String>::new());
    }

    #[test]
    fn names_a_module_that_has_no_layer() {
        assert!(offences("novel", &[])[0].contains("has no layer"));
    }
}
