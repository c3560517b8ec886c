//! The repository keeps its own promises: documents that name files name real ones, pictures show what is there, and
//! functions stay short where that matters.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use clap::CommandFactory;
use modelsync::{
    api::Reason,
    cli::Cli,
    core::delivery::Delivery,
    telemetry::metrics::{Metrics, Snapshot},
};
use syn::{spanned::Spanned, visit::Visit};

/// Longest function in the modules that hold the reconcile pipelines, in lines.
const LONGEST: usize = 60;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The part of a document below a heading, up to the next heading.
fn section<'a>(text: &'a str, heading: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("\n{heading}\n")).unwrap_or_else(|| panic!("no heading {heading:?}"));
    rest.split("\n#").next().unwrap_or(rest)
}

/// Every file that git has, and those that it would take in.
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
fn the_table_of_likely_changes_has_ten_rows_and_names_files_that_exist() {
    let contributing = read("CONTRIBUTING.md");
    let table = section(&contributing, "## Ten likely changes");
    let rows: Vec<_> = table.lines().filter(|line| line.starts_with('|')).skip(2).collect();
    assert_eq!(rows.len(), 10, "{table}");
    for row in rows {
        let files = row.split('|').nth(2).unwrap();
        assert!(!quoted(files).is_empty(), "no file in: {row}");
        for path in quoted(files) {
            assert!(root().join(path).exists(), "{path} does not exist: {row}");
        }
    }
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

/// Those that the decisions about a ModelTrain name, in its guide or in its section of the states.
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
    // A family is on the page once it has a member.
    metrics.reconciled("ok", Duration::ZERO);
    metrics.polled("needed", Duration::ZERO);
    metrics.run_started("Job");
    metrics.run_ended("Failed");
    metrics.event(Delivery::Sent);
    metrics.lineage_event(Delivery::Sent);
    let watch_ages = vec![("Job", Duration::ZERO)];
    let page = metrics.text(&Snapshot { watch_ages, ..Snapshot::default() });
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
}

#[test]
fn long_functions_are_found_wherever_they_stand() {
    let file =
        syn::parse_file("fn a() {\n\n}\nimpl X {\n    async fn b(\n    ) {\n    }\n}\nmod m { fn c() {} }").unwrap();
    let mut functions = Functions::default();
    functions.visit_file(&file);
    assert_eq!(functions.0, [("a".to_owned(), 3), ("b".to_owned(), 3), ("c".to_owned(), 1)]);
}

#[test]
fn no_file_names_a_path_of_somebodys_machine() {
    // Put together here, so that this file does not name them.
    let places = [["/wo", "rk/"], ["/ro", "ot/."]].map(|parts| parts.concat());
    for name in tracked() {
        let Ok(text) = fs::read_to_string(root().join(&name)) else { continue };
        for (number, line) in text.lines().enumerate() {
            for place in &places {
                let at = line.find(place.as_str());
                // Part of a longer path or URL is something else.
                let own =
                    at.is_some_and(|at| !line[..at].ends_with(|c: char| c.is_alphanumeric() || ".-_}".contains(c)));
                assert!(!own, "{name}:{}: {line}", number + 1);
            }
        }
    }
}
