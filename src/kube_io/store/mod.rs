//! What the watches have brought: compact records by uid, and how far they can be relied on. No IO of its own.

mod followers;
mod index;
mod model_versions;
mod objects;
mod runs;
mod stored_run;

use std::{
    sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard},
    time::Duration,
};

pub use self::{
    followers::Followers,
    model_versions::{ModelVersionSink, ModelVersions, VersionsOf},
    objects::{ObjectSink, Objects},
    runs::{RunSink, Runs, RunsOf},
};

/// Knowledge about runs is relied on for this long after its watch was last heard.
pub const YOUNG: Duration = Duration::from_mins(2);

/// Told which objects (by uid) a change concerns.
pub type Wake = Arc<dyn Fn(&str) + Send + Sync>;

/// A resourceVersion as the number that it is (comparable since Kubernetes 1.35, KEP-5504).
fn version(resource_version: &str) -> u64 {
    resource_version.parse().unwrap_or(0)
}

fn read<T>(lock: &RwLock<T>) -> RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}
