//! The source files of a crate. Reads them.

use std::{fs, path::Path};

/// Files that only tests compile, wherever a `#[cfg(test)]` declares them.
const TESTS: &[&str] = &["tests", "properties", "trial"];

/// A source file.
pub struct SourceFile {
    /// Relative to the root of its crate's sources: `core/sync/mod.rs`.
    pub name: String,
    /// The path of its module: `core`, `sync`.
    pub module: Vec<String>,
    pub text: String,
}

impl SourceFile {
    /// Whether the whole file is test code.
    pub fn is_test(&self) -> bool {
        self.module.iter().any(|name| TESTS.contains(&name.as_str()))
    }
}

/// The source files of a crate below its folder of sources. `root` is the file that lists the modules.
pub fn sources(dir: &Path, root: &str) -> Vec<SourceFile> {
    let mut sources = Vec::new();
    collect(dir, root, &mut Vec::new(), &mut sources);
    sources.sort_by(|a, b| a.name.cmp(&b.name));
    sources
}

fn collect(dir: &Path, root: &str, module: &mut Vec<String>, sources: &mut Vec<SourceFile>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        let stem = path.file_stem().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            module.push(stem);
            collect(&path, root, module, sources);
            module.pop();
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let file = format!("{stem}.rs");
            let own = if stem == "mod" || (module.is_empty() && file == root) { Vec::new() } else { vec![stem] };
            sources.push(SourceFile {
                name: [&module[..], &[file]].concat().join("/"),
                module: [module.clone(), own].concat(),
                text: fs::read_to_string(&path).unwrap(),
            });
        }
    }
}

/// Whether an item is compiled for tests only.
pub fn is_cfg_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}
