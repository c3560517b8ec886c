//! The registry of run kinds. A kind is one folder here and one line in `BACKENDS`. Pure.

mod batch_job;
mod json;
mod metadata;
mod parameters;
mod part;
mod status;
mod tekton;

pub use batch_job::BatchJob;
pub use tekton::PipelineRun;

use crate::core::run::backend::RunBackend;

/// Every kind of run. The template fields, the roles, the fence and the API reference follow this list.
static BACKENDS: &[&dyn RunBackend] = &[&PipelineRun, &BatchJob];

/// Every backend.
pub fn backends() -> &'static [&'static dyn RunBackend] {
    BACKENDS
}
