//! What the watches have brought: compact entries by uid, and how far they can be relied on. No IO.

mod followers;
mod generic;
mod index;
mod objects;
mod runs;
mod sink;
mod stored_run;
mod versions;

pub use self::{
    followers::Followers,
    generic::{Store, Stored, YOUNG},
    index::Index,
    objects::{ObjectSink, Objects},
    runs::{RunSink, Runs, RunsOf},
    sink::{StoreSink, Wake},
    versions::{ModelVersionSink, ModelVersions, VersionsOf},
};
