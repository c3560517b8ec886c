//! Layer 3: the files of this repository that are generated from code. Pure: `tests/generated.rs` compares them with
//! the files in the repository, or writes them for `cargo xtask generate`.

pub mod crds;
pub mod dictionary;
pub mod fence;
mod file;
pub mod rbac;
pub mod reference;

pub use self::file::{Content, GeneratedFile};
use crate::core::run::backend::RunBackend;

/// Every generated file of an operator with these kinds of run.
pub fn files(backends: &[&dyn RunBackend]) -> Vec<GeneratedFile> {
    let mut files = crds::files();
    files
        .push(GeneratedFile { path: "config/rbac/role.yaml".into(), content: Content::Objects(rbac::roles(backends)) });
    files.push(GeneratedFile { path: "config/fence.yaml".into(), content: Content::Yaml(fence::policy(backends)) });
    files.push(GeneratedFile {
        path: "docs/api-reference.md".into(),
        content: Content::Markdown(reference::text(backends)),
    });
    files
}
