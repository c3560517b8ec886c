//! Layer 3: the files of this repository that are generated from code. Pure: `tests/generated.rs` compares them with
//! the files in the repository, or writes them for `cargo xtask generate`.

pub mod crds;
pub mod dictionary;
mod file;
pub mod policies;
pub mod rbac;
pub mod reference;

pub use self::file::{Content, GeneratedFile};
use crate::core::run::backend::RunBackend;

/// Every generated file of an operator with these kinds of run.
pub fn files(backends: &[&dyn RunBackend]) -> Vec<GeneratedFile> {
    let mut files = crds::files();
    files
        .push(GeneratedFile { path: "config/rbac/role.yaml".into(), content: Content::Objects(rbac::roles(backends)) });
    for (path, policy) in
        [("config/fence.yaml", policies::fence(backends)), ("config/run-owner.yaml", policies::run_owner(backends))]
    {
        files.push(GeneratedFile { path: path.into(), content: Content::Yaml(policy) });
    }
    files.push(GeneratedFile {
        path: "docs/api-reference.md".into(),
        content: Content::Markdown(reference::text(backends)),
    });
    files
}
