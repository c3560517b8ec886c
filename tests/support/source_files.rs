//! The source files of a crate. Reads them.

use std::{collections::BTreeSet, fs, path::Path};

use syn::visit::{self, Visit};

/// A source file.
pub struct SourceFile {
    /// Relative to the root of its crate's sources: `core/sync/mod.rs`.
    pub name: String,
    /// The path of its module: `core`, `sync`.
    pub module: Vec<String>,
    pub text: String,
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

/// The files without those that only tests compile. A declaration decides that and no name: product code may well be
/// called `trial`.
pub fn product(sources: &[SourceFile]) -> Vec<&SourceFile> {
    let tests: BTreeSet<_> = sources.iter().flat_map(test_modules).collect();
    // What a test module declares is test code too.
    let is_test = |module: &[String]| (1..=module.len()).any(|length| tests.contains(&module[..length]));
    sources.iter().filter(|source| !is_test(&source.module)).collect()
}

/// The modules that a file declares under `#[cfg(test)]`.
fn test_modules(source: &SourceFile) -> Vec<Vec<String>> {
    // To read a file takes long, and most of them declare none.
    if !source.text.contains("cfg") {
        return Vec::new();
    }
    let syntax = syn::parse_file(&source.text).unwrap_or_else(|error| panic!("{}: {error}", source.name));
    let mut modules = TestModules { within: source.module.clone(), found: Vec::new() };
    modules.visit_file(&syntax);
    modules.found
}

struct TestModules {
    /// The module that is being read.
    within: Vec<String>,
    found: Vec<Vec<String>>,
}

impl<'ast> Visit<'ast> for TestModules {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        self.within.push(item.ident.to_string());
        if is_cfg_test(&item.attrs) {
            self.found.push(self.within.clone());
        } else {
            visit::visit_item_mod(self, item);
        }
        self.within.pop();
    }
}

/// Whether an item is compiled for tests only.
pub fn is_cfg_test(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| match &attribute.meta {
        syn::Meta::List(list) => list.path.is_ident("cfg") && list.tokens.to_string() == "test",
        _ => false,
    })
}
