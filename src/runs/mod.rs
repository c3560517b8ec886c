//! The registry of run kinds. A kind is one folder here and one line in `BACKENDS`. Pure.

mod batch_job;
mod json;
mod metadata;
mod parameters;
mod status;
mod tekton;

pub use batch_job::BatchJob;
pub use tekton::PipelineRun;

use crate::core::run::backend::{RunBackend, RunKind};

/// Every kind of run. The template fields, the roles, the fence and the API reference follow this list.
static BACKENDS: &[&dyn RunBackend] = &[&PipelineRun, &BatchJob];

/// Every backend.
pub fn backends() -> &'static [&'static dyn RunBackend] {
    BACKENDS
}

/// The backend that creates and reads runs of `kind`.
pub fn by_kind(kind: RunKind) -> Option<&'static dyn RunBackend> {
    BACKENDS.iter().copied().find(|backend| backend.kind() == kind)
}

/// The backend for an object's `apiVersion` and `kind`, as a status or an owner reference has them.
pub fn by_api_version(api_version: &str, kind: &str) -> Option<&'static dyn RunBackend> {
    BACKENDS.iter().copied().find(|backend| {
        let ours = backend.kind();
        ours.kind == kind && api_version.split_once('/') == Some((ours.group, ours.version))
    })
}
