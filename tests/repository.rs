//! Checks the repository itself: documents name files that exist, the picture of the modules is complete, functions
//! stay short where that matters, and names and comments have the words of the glossary, each with one meaning. Reads
//! the repository's files.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Component, Path, PathBuf},
    process::Command,
    time::Duration,
};

use clap::CommandFactory;
use modelsync::{
    api::Reason,
    cli::Cli,
    core::delivery::Delivery,
    telemetry::metrics::{GaugeValues, Metrics},
};
use proc_macro2::{TokenStream, TokenTree};
use syn::{spanned::Spanned, visit::Visit};

mod support {
    pub mod source_files;
}

use support::source_files::{SourceFile, is_cfg_test, product, sources};

/// Longest function in the modules that hold the reconcile pipelines, in lines.
const LONGEST: usize = 60;

/// Identifiers that the glossary of ARCHITECTURE.md replaced.
const REPLACED: &str = "AskedUnder ByHand Inquiry KeptAccepted NoAnswer NoAnswerClass Question SpentReason \
    TellVersions Unlabelled Whereabouts broken_off by_hand inquiry kept look_again pose spent_reasons take_answer \
    tell_first told under whereabouts";

/// Words that it replaced wherever an identifier has them, as in `when_asked`.
const REPLACED_PARTS: &str = "asked asking inquiry nobody question questions somebody told whoever";

/// Words that it replaced in comments. The others are plain English there.
const REPLACED_IN_COMMENTS: &str = "inquiry nobody somebody whoever";

/// Type names that are defined several times, with how often, and why. This list may only shrink.
const SEVERAL: &[(&str, &[(&str, usize)])] = &[
    (
        "one for each kind of object; a plan of both kinds is made of one generic type",
        &[("Effect", 2), ("Facts", 2), ("Memory", 2), ("Plan", 3), ("Situation", 2), ("Valid", 2)],
    ),
    ("the API's type, and what validation makes of it", &[("Budget", 2), ("Freshness", 2), ("Schedule", 2)]),
    (
        "parts of JSON texts, private to their modules",
        &[("Envelope", 2), ("Members", 2), ("Meta", 4), ("Object", 6), ("OfMap", 2), ("Owner", 2), ("Status", 2)],
    ),
    (
        "state and parts of it, private to their modules",
        &[("Entry", 3), ("Inner", 2), ("Reader", 2), ("Shared", 5), ("State", 5), ("Train", 2)],
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The texts between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The part of a document below a heading, up to the next heading.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading:?}"));
    rest.split("\n#").next().unwrap_or(rest)
}

/// Every file that git tracks, and those that it would add.
fn tracked() -> Vec<String> {
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let names = String::from_utf8(listed.stdout).unwrap();
    names.split('\0').filter(|name| root().join(name).is_file()).map(str::to_owned).collect()
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|found| found == extension)
}

#[test]
fn every_row_of_the_table_of_likely_changes_names_files_that_exist() {
    let contributing = read("CONTRIBUTING.md");
    let table = section(&contributing, "## Likely changes");
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert!(rows.len() >= 10, "{table}");
    for row in rows {
        let files = row.split('|').nth(2).unwrap();
        assert!(!quoted(files).is_empty(), "no file in: {row}");
        for path in quoted(files) {
            assert!(is_inside(path), "{path} leads out of the repository: {row}");
            assert!(root().join(path).exists(), "{path} does not exist: {row}");
        }
    }
}

/// Whether a path goes only downwards. One that is absolute exists on its writer's machine alone.
fn is_inside(path: &str) -> bool {
    Path::new(path).components().all(|component| matches!(component, Component::Normal(_)))
}

#[test]
fn paths_that_leave_the_repository_are_found() {
    assert!(["src/api", "ARCHITECTURE.md", "src/core/sync/"].into_iter().all(is_inside));
    assert!(!["/etc/hosts", "../main/src", "src/../../main"].into_iter().any(is_inside));
}

#[test]
fn every_link_in_the_documents_leads_to_a_file() {
    for document in tracked().iter().filter(|name| has_extension(name, "md")) {
        let text = read(document);
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = link.split('#').next().unwrap_or(link);
            if path.is_empty() || path.contains("://") {
                continue;
            }
            let target = root().join(document).parent().unwrap().join(path);
            assert!(target.exists(), "{document} links to {link}");
        }
    }
}

#[test]
fn the_picture_of_the_modules_names_exactly_the_modules_of_src() {
    let architecture = read("ARCHITECTURE.md");
    let picture = section(&architecture, "## Modules");
    let shown: BTreeSet<String> = picture
        .split("```")
        .nth(1)
        .expect("a picture between ``` lines")
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next())
        .filter(|word| word.ends_with('/') || has_extension(word, "rs"))
        .map(|word| word.trim_end_matches('/').to_owned())
        .collect();
    let there: BTreeSet<String> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(shown, there);
}

#[test]
fn every_test_that_the_documents_name_exists() {
    let architecture = read("ARCHITECTURE.md");
    let invariants = section(&architecture, "## Invariants and the tests that guard them");
    let names = quoted(invariants).into_iter().filter(|word| word.contains('_') && !word.contains(['.', '/', ' ']));
    let sources: Vec<_> =
        tracked().into_iter().filter(|name| has_extension(name, "rs")).map(|name| read(&name)).collect();
    let mut count = 0;
    for name in names {
        count += 1;
        let definition = format!("fn {name}(");
        assert!(sources.iter().any(|source| source.contains(&definition)), "no test is named {name}");
    }
    assert!(count > 0, "the table names no test");
}

#[test]
fn every_reason_that_users_may_see_is_documented() {
    let texts = ["docs/states.md", "docs/modelsync.md", "docs/modeltrain.md"].map(read);
    let words: Vec<_> = texts.iter().flat_map(|text| quoted(text)).collect();
    for reason in Reason::ALL {
        let name = reason.as_str();
        assert!(words.contains(&name), "neither docs/states.md nor a guide names the reason {name}");
    }
}

/// The reasons in the code of decisions must be in the guide of ModelTrains or in their section of the states.
#[test]
fn every_reason_of_a_model_train_is_in_its_document() {
    let (guide, states) = (read("docs/modeltrain.md"), read("docs/states.md"));
    let words: Vec<_> = quoted(&guide).into_iter().chain(quoted(section(&states, "## ModelTrain"))).collect();
    let sources = tracked().into_iter().filter(|name| name.starts_with("src/core/train/") && has_extension(name, "rs"));
    let source: String = sources.map(|name| read(&name)).collect();
    let used = |reason: &&Reason| source.contains(&format!("Reason::{}", reason.as_str()));
    let used: Vec<_> = Reason::ALL.iter().filter(used).collect();
    assert!(used.len() > 30, "{used:?}");
    for reason in used {
        assert!(words.contains(&reason.as_str()), "no document of ModelTrains names the reason {}", reason.as_str());
    }
}

#[test]
fn every_flag_of_the_controller_is_documented() {
    let text = read("docs/install.md");
    let words: Vec<_> = quoted(&text).into_iter().filter_map(|word| word.split(' ').next()).collect();
    let cli = Cli::command();
    let controller = cli.get_subcommands().find(|command| command.get_name() == "controller").unwrap();
    for flag in controller.get_arguments().filter_map(clap::Arg::get_long).filter(|flag| *flag != "help") {
        let flag = format!("--{flag}");
        assert!(words.contains(&flag.as_str()), "docs/install.md does not name {flag}");
    }
}

#[test]
fn every_metric_is_documented_and_every_documented_metric_exists() {
    let text = read("docs/operations.md");
    let documented: BTreeSet<&str> = section(&text, "## Metrics")
        .lines()
        .filter_map(|line| quoted(line.strip_prefix("| `").map(|_| line)?).first().copied())
        .collect();
    let metrics = Metrics::default();
    // A metric family is on the page once it has a member.
    metrics.reconciled("ok", Duration::ZERO);
    metrics.polled("needed", Duration::ZERO);
    metrics.run_started("Job");
    metrics.run_ended("Failed");
    metrics.write_refused("ModelSync");
    metrics.event(Delivery::Sent);
    metrics.lineage_event(Delivery::Sent);
    let watch_ages = vec![("Job", Duration::ZERO)];
    let page = metrics.text(&GaugeValues { objects: vec![("ModelSync", 1)], watch_ages, ..GaugeValues::default() });
    let registered: BTreeSet<String> = page
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE "))
        .filter_map(|line| line.split_once(' '))
        .map(|(name, kind)| if kind == "counter" { format!("{name}_total") } else { name.to_owned() })
        .collect();
    assert_eq!(documented, registered.iter().map(String::as_str).collect());
}

#[test]
fn no_function_of_a_controller_is_longer_than_a_screen() {
    for name in tracked().iter().filter(|name| name.starts_with("src/controller/") && has_extension(name, "rs")) {
        let file = syn::parse_file(&read(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut functions = Functions::default();
        functions.visit_file(&file);
        for (function, lines) in functions.0 {
            assert!(lines <= LONGEST, "{name}: {function} has {lines} lines, more than {LONGEST}");
        }
    }
}

/// Functions and how many lines each has.
#[derive(Default)]
struct Functions(Vec<(String, usize)>);

impl Functions {
    fn take(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let lines = block.span().end().line - signature.span().start().line + 1;
        self.0.push((signature.ident.to_string(), lines));
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, item: &'ast syn::ItemFn) {
        self.take(&item.sig, &item.block);
        syn::visit::visit_item_fn(self, item);
    }

    fn visit_impl_item_fn(&mut self, item: &'ast syn::ImplItemFn) {
        self.take(&item.sig, &item.block);
        syn::visit::visit_impl_item_fn(self, item);
    }

    fn visit_trait_item_fn(&mut self, item: &'ast syn::TraitItemFn) {
        if let Some(block) = &item.default {
            self.take(&item.sig, block);
        }
        syn::visit::visit_trait_item_fn(self, item);
    }
}

#[test]
fn long_functions_are_found_in_impls_traits_and_modules() {
    let text = "fn a() {\n\n}\nimpl X {\n    async fn b(\n    ) {\n    }\n}\nmod m { fn c() {} }
        trait T { fn d(); fn e() {\n fn f() {} } }";
    let mut functions = Functions::default();
    functions.visit_file(&syn::parse_file(text).unwrap());
    let functions: Vec<_> = functions.0.iter().map(|(name, lines)| (name.as_str(), *lines)).collect();
    assert_eq!(functions, [("a", 3), ("b", 3), ("c", 1), ("e", 2), ("f", 1)]);
}

#[test]
fn no_file_names_a_path_of_a_developers_machine() {
    // Joined here, so that this file does not name them.
    let places = [["/wo", "rk/"], ["/ro", "ot/."]].map(|parts| parts.concat());
    for name in tracked() {
        let Ok(text) = fs::read_to_string(root().join(&name)) else { continue };
        for (number, line) in text.lines().enumerate() {
            for place in &places {
                let at = line.find(place.as_str());
                // A match within a longer path or URL is something else.
                let own =
                    at.is_some_and(|at| !line[..at].ends_with(|c: char| c.is_alphanumeric() || ".-_}".contains(c)));
                assert!(!own, "{name}:{}: {line}", number + 1);
            }
        }
    }
}

#[test]
fn folders_of_tests_are_targets_fixtures_and_support() {
    for entry in fs::read_dir(root().join("tests")).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name();
        let target = entry.path().join("main.rs").is_file();
        assert!(target || name == "fixtures" || name == "support", "tests/{} is no target", name.display());
    }
}

fn src() -> Vec<SourceFile> {
    sources(&root().join("src"), "lib.rs")
}

#[test]
fn no_identifier_is_a_word_that_the_glossary_replaced() {
    let mut found = Vec::new();
    let ours = |name: &String| ["src/", "xtask/", "tests/"].iter().any(|folder| name.starts_with(folder));
    for name in tracked().iter().filter(|name| ours(name) && has_extension(name, "rs")) {
        let tokens = read(name).parse().unwrap_or_else(|error| panic!("{name}: {error}"));
        let mut identifiers = BTreeSet::new();
        identifiers_of(tokens, &mut identifiers);
        // Tests may use an ordinary word such as `kept` in its plain meaning; the parts are refused everywhere.
        let replaced = |word: &str| (name.starts_with("src/") && has_word(REPLACED, word)) || has_replaced_part(word);
        let replaced = identifiers.iter().filter(|(_, word)| replaced(word));
        found.extend(replaced.map(|(line, word)| format!("{name}:{line}: {word}")));
    }
    assert!(found.is_empty(), "words that the glossary replaced: {found:#?}");
}

/// The identifiers, each with its line.
fn identifiers_of(tokens: TokenStream, identifiers: &mut BTreeSet<(usize, String)>) {
    for token in tokens {
        match token {
            TokenTree::Ident(word) => {
                let line = word.span().start().line;
                identifiers.insert((line, word.to_string().trim_start_matches("r#").to_owned()));
            }
            TokenTree::Group(group) => identifiers_of(group.stream(), identifiers),
            _ => {}
        }
    }
}

fn has_word(list: &str, word: &str) -> bool {
    list.split_whitespace().any(|listed| listed == word)
}

fn has_replaced_part(identifier: &str) -> bool {
    parts(identifier).iter().any(|part| has_word(REPLACED_PARTS, part))
}

/// The words of an identifier, in lower case. `_`, a digit, and a capital that begins a word divide them.
fn parts(identifier: &str) -> Vec<String> {
    let letters: Vec<char> = identifier.chars().collect();
    let mut divided = String::new();
    for (at, letter) in letters.iter().enumerate() {
        let after_small = at > 0 && letters[at - 1].is_lowercase();
        // The last capital of several, as in `HTTPServer`, is the first letter of the next word.
        let before_small = letters.get(at + 1).is_some_and(|next| next.is_lowercase());
        if letter.is_uppercase() && (after_small || before_small) {
            divided.push('_');
        }
        divided.extend(letter.to_lowercase());
    }
    divided.split(|c: char| !c.is_alphabetic()).filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

#[test]
fn replaced_words_are_found_as_parts_of_identifiers() {
    assert_eq!(parts("first_HTTPServerOf2Runs"), ["first", "http", "server", "of", "runs"]);
    let mut identifiers = BTreeSet::new();
    identifiers_of("fn r#asked() {\n mac!(NotOlder) }".parse().unwrap(), &mut identifiers);
    let identifiers: Vec<_> = identifiers.iter().map(|(line, word)| (*line, word.as_str())).collect();
    assert_eq!(identifiers, [(1, "asked"), (1, "fn"), (2, "NotOlder"), (2, "mac")]);
    for word in ["asked", "when_asked", "AskedUnder", "ALL_QUESTIONS", "told2", "pollInquiry"] {
        assert!(has_replaced_part(word), "{word}");
    }
    for word in ["NotOlderThan", "masked", "untold", "questionable"] {
        assert!(!has_replaced_part(word), "{word}");
    }
}

#[test]
fn comments_use_the_words_of_the_glossary() {
    let mut found = Vec::new();
    for file in src() {
        for (number, line) in file.text.lines().enumerate() {
            if comment(line).is_some_and(has_replaced_word) {
                found.push(format!("src/{}:{}: {}", file.name, number + 1, line.trim()));
            }
        }
    }
    assert!(found.is_empty(), "comments with words that the glossary replaced: {found:#?}");
}

/// The comment of a line. The `//` of a URL has no space before it.
fn comment(line: &str) -> Option<&str> {
    let line = line.trim_start();
    if line.starts_with("//") { Some(line) } else { line.split_once(" //").map(|(_, comment)| comment) }
}

fn has_replaced_word(comment: &str) -> bool {
    let mut words = comment.split(|c: char| !(c.is_alphanumeric() || c == '_'));
    words.any(|word| has_word(REPLACED_IN_COMMENTS, &word.to_lowercase()))
}

#[test]
fn replaced_words_are_found_in_comments_only() {
    let found = |line: &str| comment(line).is_some_and(has_replaced_word);
    for line in ["//! Whoever asks", "    /// for nobody's sake.", "let a = 1; // Somebody set it."] {
        assert!(found(line), "{line}");
    }
    for line in ["let nobody = 1;", "let url = \"http://nobody/\";", "// the user `nobody_else`", "//"] {
        assert!(!found(line), "{line}");
    }
}

/// What the product code of `src` declares.
fn declared() -> Declared {
    let mut declared = Declared::default();
    for file in product(&src()) {
        let syntax = syn::parse_file(&file.text).unwrap_or_else(|error| panic!("{}: {error}", file.name));
        declared.file.clone_from(&file.name);
        declared.visit_file(&syntax);
    }
    declared
}

#[test]
fn a_type_name_is_defined_once() {
    let known: BTreeMap<&str, usize> = SEVERAL.iter().flat_map(|(_, names)| *names).copied().collect();
    let types = declared().types;
    let differ: BTreeMap<_, _> = types
        .iter()
        .filter(|(name, files)| known.get(name.as_str()).copied().unwrap_or(1) != files.len())
        .map(|(name, files)| (name, files.join(", ")))
        .collect();
    assert!(differ.is_empty(), "types that are defined more often, or less often, than the list says: {differ:#?}");
    for name in known.keys() {
        assert!(types.contains_key(*name), "{name} is no type: take it off the list");
    }
}

#[test]
fn no_parameter_is_a_tuple_of_more_than_two() {
    let tuples = declared().tuples;
    assert!(tuples.is_empty(), "signatures with such tuples: {tuples:#?}");
}

/// Types, and functions with a parameter whose type is or contains a tuple of more than two.
#[derive(Default)]
struct Declared {
    file: String,
    types: BTreeMap<String, Vec<String>>,
    tuples: BTreeSet<(String, String)>,
}

impl Declared {
    fn take(&mut self, name: &syn::Ident) {
        self.types.entry(name.to_string()).or_default().push(self.file.clone());
    }
}

impl<'ast> Visit<'ast> for Declared {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_cfg_test(&item.attrs) {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_struct(&mut self, item: &'ast syn::ItemStruct) {
        self.take(&item.ident);
    }

    fn visit_item_enum(&mut self, item: &'ast syn::ItemEnum) {
        self.take(&item.ident);
    }

    fn visit_item_union(&mut self, item: &'ast syn::ItemUnion) {
        self.take(&item.ident);
    }

    fn visit_item_type(&mut self, item: &'ast syn::ItemType) {
        self.take(&item.ident);
    }

    fn visit_item_trait(&mut self, item: &'ast syn::ItemTrait) {
        self.take(&item.ident);
        syn::visit::visit_item_trait(self, item);
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        let long = |parameter: &syn::FnArg| match parameter {
            syn::FnArg::Typed(parameter) => has_long_tuple(&parameter.ty),
            syn::FnArg::Receiver(_) => false,
        };
        if signature.inputs.iter().any(long) {
            self.tuples.insert((self.file.clone(), signature.ident.to_string()));
        }
    }
}

/// Whether a type has such a tuple anywhere: in an `Option`, a slice, a closure's parameters.
fn has_long_tuple(type_: &syn::Type) -> bool {
    let mut tuples = LongTuples(false);
    tuples.visit_type(type_);
    tuples.0
}

struct LongTuples(bool);

impl<'ast> Visit<'ast> for LongTuples {
    fn visit_type_tuple(&mut self, tuple: &'ast syn::TypeTuple) {
        self.0 |= tuple.elems.len() > 2;
        syn::visit::visit_type_tuple(self, tuple);
    }
}

#[test]
fn types_and_tuples_are_found_in_functions_and_modules() {
    let text = "
        struct A; enum B {} type C = A; union U { a: u8 } trait D { fn d(_: (u8, u8, u8)); }
        fn f() { struct A; }
        mod m { impl B { fn e(&self, (a, b, c): &(u8, u8, u8)) {} fn g((a, b): (u8, u8)) {} } }
        #[cfg(test)] mod tests { struct A; fn t(_: (u8, u8, u8)) {} }";
    let mut declared = Declared::default();
    declared.visit_file(&syn::parse_file(text).unwrap());
    let types: Vec<_> = declared.types.iter().map(|(name, files)| (name.as_str(), files.len())).collect();
    assert_eq!(types, [("A", 2), ("B", 1), ("C", 1), ("D", 1), ("U", 1)]);
    let functions: Vec<_> = declared.tuples.iter().map(|(_, function)| function.as_str()).collect();
    assert_eq!(functions, ["d", "e"]);
}

#[test]
fn long_tuples_are_found_inside_other_types() {
    let long = |text: &str| has_long_tuple(&syn::parse_str(text).unwrap());
    for text in ["Option<(u8, u8, u8)>", "&[(u8, u8, u8)]", "(u8, (u8, u8, u8))", "impl Fn(&(u8, u8, u8)) -> u8"] {
        assert!(long(text), "{text}");
    }
    for text in ["(u8, (u8, u8))", "fn(u8, u8, u8)", "Vec<(u8, u8)>", "[u8; 3]"] {
        assert!(!long(text), "{text}");
    }
}
