//! Which module may use which: the layers of ARCHITECTURE.md as a table, checked against every path in `src/`. Also
//! checks that no files use each other in a circle.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::{collections::BTreeSet, path::Path};

mod support {
    pub mod file_graph;
    pub mod paths;
    pub mod source_files;
}

use support::{
    file_graph::{Graph, circles, graph},
    paths::{Found, paths},
    source_files::{SourceFile, sources},
};

/// Each module of `src/` and the other modules that it may use, in the order of the layers.
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
    ("generate", &["api", "core"]),
    ("controller", &["api", "core", "port", "clock", "kube_io", "schedule", "telemetry", "lineage"]),
    ("receiver", &["api", "core", "port", "clock", "kube_io", "telemetry"]),
    ("dashboard", &["api", "core", "port", "clock", "kube_io", "telemetry"]),
    ("diff_server", &["api", "core", "port", "clock", "source", "telemetry"]),
    // It runs on a user's machine and is no part of the operator's loops.
    ("plugin", &["api", "core", "clock", "kube_io"]),
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
            "receiver",
            "dashboard",
            "diff_server",
        ],
    ),
    // The command line turns flags into settings, and settings belong to the modules that they configure.
    // `verify` reads records and proves their chain without a controller.
    ("cli", &["api", "core", "clock", "source", "kube_io", "telemetry", "lineage", "generate", "plugin", "app"]),
    ("main", &["app", "cli", "telemetry"]),
];

/// Modules of the table that do not exist yet.
const PLANNED: &[&str] = &["receiver", "dashboard", "diff_server", "plugin"];

/// Path prefixes, each with the only modules that may use it.
const ONLY: &[(&[&str], &[&str])] = &[
    // Everything that talks to the API server is in one module.
    (&["kube", "Client"], &["kube_io"]),
    (&["kube", "Api"], &["kube_io"]),
    (&["kube", "client"], &["kube_io"]),
    (&["kube", "runtime"], &["kube_io"]),
    (&["kube", "discovery"], &["kube_io"]),
    (&["kube", "Config"], &["app", "kube_io"]),
    (&["kube", "config"], &["app", "kube_io"]),
    (&["reqwest"], &["source", "lineage"]),
    (&["axum"], &["telemetry", "receiver", "dashboard", "diff_server"]),
    (&["clap"], &["cli", "main", "telemetry"]),
];

/// Modules without side effects, and prefixes of paths that have some.
const PURE: &[&str] = &["api", "core", "port", "runs", "generate"];
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

/// Files of `src/` with their modules.
fn src() -> Vec<SourceFile> {
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"), "lib.rs")
}

/// Files of `xtask/src/` with their modules.
fn xtask() -> Vec<SourceFile> {
    sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("xtask/src"), "main.rs")
}

/// Files of one kind's decisions with those of the other kind's that they use.
fn crossings(graph: &Graph) -> BTreeSet<(String, String)> {
    let crosses = |file: &str, used: &str| {
        [("core/sync/", "core/train/"), ("core/train/", "core/sync/")]
            .iter()
            .any(|(one, other)| file.starts_with(one) && used.starts_with(other))
    };
    let arrows = graph.iter().flat_map(|(file, used)| used.iter().map(move |used| (file.clone(), used.clone())));
    arrows.filter(|(file, used)| crosses(file, used)).collect()
}

/// Describes the paths of a file that break a rule.
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

#[test]
fn no_module_uses_what_its_layer_may_not() {
    let mut all = Vec::new();
    for SourceFile { name, module, text } in src() {
        let names: Vec<_> = module.iter().map(String::as_str).collect();
        // The crate's root only lists its modules.
        let Some(first) = names.first() else { continue };
        let offences = match paths(&text, &names) {
            Ok(found) => offences(first, &found),
            Err(problem) => vec![problem],
        };
        all.extend(offences.into_iter().map(|offence| format!("src/{name}: {offence}")));
    }
    assert!(all.is_empty(), "{}", all.join("\n"));
}

#[test]
fn every_module_of_the_table_exists_or_is_planned() {
    let modules: BTreeSet<_> = src().into_iter().filter_map(|file| file.module.into_iter().next()).collect();
    for (name, _) in MAY_USE {
        let planned = PLANNED.contains(name);
        assert!(modules.contains(*name) || planned, "{name} is in the table and not in src/");
        assert!(!(modules.contains(*name) && planned), "{name} exists: take it off the list of planned modules");
    }
}

#[test]
fn decisions_about_a_model_sync_and_about_a_model_train_do_not_name_each_other() {
    let files = src();
    // The graph sees through aliases and through re-exports of third modules; the paths are those of tests as well.
    let mut crossings = crossings(&graph(&files));
    for SourceFile { name, module, text } in files {
        let names: Vec<_> = module.iter().map(String::as_str).collect();
        let other = match names.as_slice() {
            ["core", "sync", ..] => "train",
            ["core", "train", ..] => "sync",
            _ => continue,
        };
        let found = paths(&text, &names).unwrap();
        let crossing = found.iter().filter(|found| found.path.iter().take(3).eq(["crate", "core", other]));
        crossings.extend(crossing.map(|found| (name.clone(), found.path.join("::"))));
    }
    assert!(crossings.is_empty(), "what both kinds use belongs to a module that both may use: {crossings:#?}");
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    // The binary, and those in `xtask/src/bin/`, are separate crates.
    let (mut operator, mut xtask) = (src(), xtask());
    operator.retain(|file| file.name != "main.rs");
    xtask.retain(|file| !file.name.starts_with("bin/"));
    let mut found = circles(&graph(&operator));
    let in_xtask = circles(&graph(&xtask)).into_iter();
    found.extend(in_xtask.map(|circle| circle.iter().map(|file| format!("xtask/src/{file}")).collect()));
    assert!(found.is_empty(), "files that use each other in a circle: {found:#?}");
}

mod the_reader {
    use super::*;

    /// The paths of this crate in a file of the module `core::sync`, without the leading `crate`.
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
    fn refuses_paths_that_hide_the_module() {
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
    fn does_not_take_visibility_for_a_path() {
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

mod the_graph {
    use super::*;

    /// The graph of files that are given by name and text.
    fn graph_of(files: &[(&str, &str)]) -> Graph {
        let files: Vec<_> = files
            .iter()
            .map(|(name, text)| SourceFile {
                name: (*name).to_owned(),
                module: name
                    .trim_end_matches(".rs")
                    .split('/')
                    .filter(|part| !["mod", "lib"].contains(part))
                    .map(str::to_owned)
                    .collect(),
                text: (*text).to_owned(),
            })
            .collect();
        graph(&files)
    }

    /// The uses between such files, and the number of circles.
    fn read(files: &[(&str, &str)]) -> (Vec<String>, usize) {
        let graph = graph_of(files);
        let arrows = graph.iter().flat_map(|(file, used)| used.iter().map(move |used| format!("{file} > {used}")));
        (arrows.collect(), circles(&graph).len())
    }

    #[test]
    fn leads_through_re_exports_to_the_file_that_defines() {
        let (arrows, circles) = read(&[
            ("a/mod.rs", "mod b; mod c; pub use b::{B, make as create}; pub(crate) use self::c::C;"),
            ("a/b.rs", "use super::C;"),
            ("a/c.rs", ""),
            ("d.rs", "use crate::a; fn f(b: a::B) { a::create() }"),
        ]);
        assert_eq!(arrows, ["a/b.rs > a/c.rs", "d.rs > a/b.rs", "d.rs > a/mod.rs"]);
        assert_eq!(circles, 0);
    }

    #[test]
    fn finds_circles_of_files_and_of_a_folder_with_its_files() {
        let (arrows, circles) = read(&[
            ("a/mod.rs", "mod b; pub use b::B; pub struct A(B);"),
            ("a/b.rs", "struct B(Box<super::A>);"),
            ("c.rs", "fn c() { crate::d::d() }"),
            ("d.rs", "use crate::e::{self, E}; fn d() {}"),
            ("e.rs", "fn e() { format!(\"{}\", crate::c::c()) }"),
        ]);
        assert_eq!(arrows, ["a/b.rs > a/mod.rs", "a/mod.rs > a/b.rs", "c.rs > d.rs", "d.rs > e.rs", "e.rs > c.rs"]);
        assert_eq!(circles, 2);
    }

    #[test]
    fn leaves_test_code_out() {
        let (arrows, _) = read(&[
            ("a.rs", "#[cfg(test)] mod tests { use crate::b::B; }"),
            ("b/mod.rs", "#[cfg(test)]\nmod tests; fn f() { crate::c::f() }"),
            ("b/tests.rs", "use crate::a::A;"),
            ("c.rs", "#[derive(Clone)] struct C; fn f() {}"),
        ]);
        assert_eq!(arrows, ["b/mod.rs > c.rs"]);
    }

    #[test]
    fn takes_a_file_for_test_code_by_its_declaration_and_not_by_its_name() {
        let (arrows, _) = read(&[
            ("a/mod.rs", "pub mod tests; #[cfg(test)] mod odd; mod inner { #[cfg(test)] mod deep; }"),
            ("a/tests.rs", "use crate::b::B;"),
            ("a/odd/mod.rs", "mod below;"),
            ("a/odd/below.rs", "use crate::b::B;"),
            ("a/inner/deep.rs", "use crate::b::B;"),
            ("b.rs", ""),
        ]);
        assert_eq!(arrows, ["a/tests.rs > b.rs"]);
    }

    #[test]
    fn shows_where_the_decisions_of_one_kind_use_those_of_the_other_under_another_name() {
        let crossings = crossings(&graph_of(&[
            ("core/mod.rs", "pub mod sync; pub mod train; pub use self::{train::plan::Plan, sync as other};"),
            ("core/sync/mod.rs", "pub mod facts;"),
            ("core/sync/facts.rs", "use crate::core::Plan;"),
            ("core/sync/memory.rs", "use crate::core as ours; fn f(plan: ours::train::plan::Plan) {}"),
            ("core/train/mod.rs", "pub mod plan;"),
            ("core/train/plan.rs", "use super::super::other::facts; fn f() { facts::f() }"),
            ("core/trained.rs", "use super::{Plan, sync::facts};"),
        ]));
        let arrows: Vec<_> = crossings.iter().map(|(file, used)| format!("{file} > {used}")).collect();
        assert_eq!(
            arrows,
            [
                "core/sync/facts.rs > core/train/plan.rs",
                "core/sync/memory.rs > core/train/plan.rs",
                "core/train/plan.rs > core/sync/facts.rs"
            ]
        );
    }
}
