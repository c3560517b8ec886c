//! Which source file uses which. No IO.
//!
//! A path leads to the file that defines the item that it names. Re-exports are followed, and are not uses themselves.
//! Test code is left out.

use std::{
    collections::{BTreeMap, BTreeSet},
    slice,
};

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use syn::visit::{self, Visit};

use super::{
    paths::{paths_of, resolve},
    source_files::{SourceFile, is_cfg_test, product},
};

/// For each file the other files that it uses.
pub type Graph = BTreeMap<String, BTreeSet<String>>;

/// The graph of a crate's files.
pub fn graph(sources: &[SourceFile]) -> Graph {
    let modules = product(sources).into_iter().map(|source| (source.module.clone(), read(source)));
    let modules = Modules(modules.collect());
    modules.0.values().map(|file| (file.name.clone(), modules.used_by(file))).collect()
}

/// Sets of files of which each uses every other one, directly or through the rest of the set.
pub fn circles(graph: &Graph) -> BTreeSet<BTreeSet<String>> {
    let reached: BTreeMap<_, _> = graph.keys().map(|file| (file, reach(graph, file))).collect();
    let circle = |file: &String| -> BTreeSet<String> {
        reached[file].iter().filter(|other| reached[other].contains(file)).cloned().collect()
    };
    graph.keys().map(circle).filter(|circle| !circle.is_empty()).collect()
}

/// Every file that `file` uses, directly or through others; itself only if it is on a circle.
fn reach(graph: &Graph, file: &str) -> BTreeSet<String> {
    let (mut reached, mut open) = (BTreeSet::new(), vec![file]);
    while let Some(next) = open.pop() {
        for used in &graph[next] {
            if reached.insert(used.clone()) {
                open.push(used);
            }
        }
    }
    reached
}

/// The product code of a file.
struct ReadFile {
    name: String,
    module: Vec<String>,
    tokens: Vec<TokenTree>,
    /// Names that its `use` items bring in, with their resolved paths.
    imported: BTreeMap<String, Vec<String>>,
    /// Those of them that are re-exports.
    exported: BTreeSet<String>,
}

fn read(source: &SourceFile) -> ReadFile {
    let syntax = syn::parse_file(&source.text).unwrap_or_else(|error| panic!("{}: {error}", source.name));
    let mut uses = Uses { module: &source.module, imported: BTreeMap::new(), exported: BTreeSet::new() };
    uses.visit_file(&syntax);
    let (imported, exported) = (uses.imported, uses.exported);
    let tokens: TokenStream = source.text.parse().unwrap_or_else(|error| panic!("{}: {error}", source.name));
    ReadFile {
        name: source.name.clone(),
        module: source.module.clone(),
        tokens: product_code(&tokens.into_iter().collect::<Vec<_>>()),
        imported,
        exported,
    }
}

struct Uses<'a> {
    module: &'a [String],
    imported: BTreeMap<String, Vec<String>>,
    exported: BTreeSet<String>,
}

impl Uses<'_> {
    fn take(&mut self, prefix: &[String], tree: &syn::UseTree, exported: bool) {
        match tree {
            syn::UseTree::Path(path) => {
                self.take(&[prefix, &[path.ident.to_string()]].concat(), &path.tree, exported);
            }
            syn::UseTree::Group(group) => {
                for tree in &group.items {
                    self.take(prefix, tree, exported);
                }
            }
            syn::UseTree::Name(name) => self.bring(prefix, &name.ident, &name.ident, exported),
            syn::UseTree::Rename(rename) => self.bring(prefix, &rename.ident, &rename.rename, exported),
            syn::UseTree::Glob(_) => {}
        }
    }

    fn bring(&mut self, prefix: &[String], name: &syn::Ident, alias: &syn::Ident, exported: bool) {
        let itself = name == "self";
        let path = if itself { prefix.to_vec() } else { [prefix, &[name.to_string()]].concat() };
        let alias = if itself && alias == "self" { path.last().cloned() } else { Some(alias.to_string()) };
        let (Some(alias), Ok(path)) = (alias, resolve(&path, self.module, 0)) else { return };
        if exported {
            self.exported.insert(alias.clone());
        }
        self.imported.insert(alias, path);
    }
}

impl<'ast> Visit<'ast> for Uses<'_> {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        if !is_cfg_test(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.take(&[], &item.tree, !matches!(item.vis, syn::Visibility::Inherited));
    }
}

/// The tokens without `#[cfg(test)]` modules and without re-exports.
fn product_code(tokens: &[TokenTree]) -> Vec<TokenTree> {
    let mut code = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if is_test_attribute(tokens, at) || is_re_export(tokens, at) {
            at += tokens[at..].iter().position(ends_module_or_use).map_or(tokens.len(), |end| end + 1);
        } else {
            code.push(tokens[at].clone());
            at += 1;
        }
    }
    code
}

fn is_test_attribute(tokens: &[TokenTree], at: usize) -> bool {
    let is_cfg_test = |group: &Group| group.stream().to_string().replace(' ', "") == "cfg(test)";
    matches!(&tokens[at], TokenTree::Punct(hash) if hash.as_char() == '#')
        && matches!(tokens.get(at + 1), Some(TokenTree::Group(group)) if is_cfg_test(group))
}

fn is_re_export(tokens: &[TokenTree], at: usize) -> bool {
    let after = match tokens.get(at + 1) {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Parenthesis => at + 2,
        _ => at + 1,
    };
    is_word(&tokens[at], "pub") && tokens.get(after).is_some_and(|token| is_word(token, "use"))
}

fn is_word(token: &TokenTree, word: &str) -> bool {
    matches!(token, TokenTree::Ident(ident) if ident == word)
}

/// A `;`, or the body of an inline module. The braces of a `use` leave its `;` behind, which is harmless.
fn ends_module_or_use(token: &TokenTree) -> bool {
    match token {
        TokenTree::Punct(punct) => punct.as_char() == ';',
        TokenTree::Group(group) => group.delimiter() == Delimiter::Brace,
        _ => false,
    }
}

/// The files of a crate by their modules.
struct Modules(BTreeMap<Vec<String>, ReadFile>);

impl Modules {
    fn used_by(&self, file: &ReadFile) -> BTreeSet<String> {
        let found = paths_of(&file.tokens, &file.module).unwrap_or_else(|problem| panic!("{}: {problem}", file.name));
        let paths = found.into_iter().filter_map(|found| self.absolute(file, &found.path));
        // A file may use an item that it re-exports by its bare name.
        let mut words = BTreeSet::new();
        words_of(&file.tokens, &mut words);
        let bare = file.exported.iter().filter(|name| words.contains(*name));
        let exported = bare.filter_map(|name| self.rooted(file, &file.imported[name]));
        let used = paths.chain(exported).filter_map(|path| self.definer(&path));
        used.filter(|used| used.name != file.name).map(|used| used.name.clone()).collect()
    }

    /// The path from the crate's root, beginning with `crate`, if it is a path of this crate.
    fn absolute(&self, file: &ReadFile, path: &[String]) -> Option<Vec<String>> {
        self.rooted(file, path).or_else(|| {
            let (first, rest) = path.split_first()?;
            self.rooted(file, &[file.imported.get(first)?, rest].concat())
        })
    }

    fn rooted(&self, file: &ReadFile, path: &[String]) -> Option<Vec<String>> {
        let (first, rest) = path.split_first()?;
        if first == "crate" {
            return Some(path.to_vec());
        }
        let child = [&file.module[..], slice::from_ref(first)].concat();
        self.0.contains_key(&child).then(|| [vec!["crate".to_owned()], child, rest.to_vec()].concat())
    }

    /// The file that defines what a path from the crate's root names.
    fn definer(&self, path: &[String]) -> Option<&ReadFile> {
        let mut path = path.to_vec();
        // Re-exports of re-exports are few; a circle of them does not compile.
        for _ in 0..10 {
            let ours = path.strip_prefix(&["crate".to_owned()])?;
            let length = (0..=ours.len()).rev().find(|length| self.0.contains_key(&ours[..*length]))?;
            let file = &self.0[&ours[..length]];
            let Some(imported) = ours.get(length).and_then(|name| file.imported.get(name)) else { return Some(file) };
            path = self.rooted(file, &[imported, &ours[length + 1..]].concat())?;
        }
        None
    }
}

fn words_of(tokens: &[TokenTree], words: &mut BTreeSet<String>) {
    for token in tokens {
        match token {
            TokenTree::Ident(word) => {
                words.insert(word.to_string());
            }
            TokenTree::Group(group) => words_of(&group.stream().into_iter().collect::<Vec<_>>(), words),
            _ => {}
        }
    }
}
