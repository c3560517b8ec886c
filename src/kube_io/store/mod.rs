//! The objects that the watches have received: compact entries by uid, and whether decisions may rely on them. No IO.

mod followers;
mod generic;
mod index;
mod objects;
mod runs;
mod sink;
mod stored_run;
mod versions;
mod view;

pub use self::{
    followers::Followers,
    generic::{MAX_AGE, Store, Stored},
    index::Index,
    objects::{ObjectSink, Objects},
    runs::{RunSink, Runs, RunsOf},
    sink::{StoreSink, Wake},
    versions::{ModelVersionSink, ModelVersions, VersionsOf},
    view::StoreView,
};
