//! What the specs of several kinds have in common, read the same way. Pure.
//!
//! An object may be older than the schema, so that nothing relies on the schema alone.

use std::time::Duration;

use super::{
    backend::{RunBackend, Template},
    retention::DEFAULT_LIMIT,
};
use crate::api::{JobTemplate, PipelineRunTemplate};
use crate::core::{
    invalid::Invalid,
    time::{backoff::MAX_ATTEMPTS, bounds::Bounds},
};

/// Time between two questions where the user gave none.
pub const DEFAULT_INTERVAL: Duration = Duration::from_mins(1);
/// Shortest and longest time between two questions.
pub const INTERVALS: Bounds = (Duration::from_secs(5), Duration::from_hours(720));
/// Shortest and longest bound of a run.
pub const RUN_TIMEOUTS: Bounds = (Duration::from_secs(10), Duration::from_hours(8760));
/// Shortest and longest pause between runs.
pub const PAUSES: Bounds = (Duration::from_secs(1), Duration::from_hours(720));
/// Largest template, in bytes of JSON.
const MAX_TEMPLATE: usize = 256 * 1024;

/// The template of a spec, and the kind of run that each template field makes.
pub fn template<'a>(
    pipeline_run: Option<&'a PipelineRunTemplate>,
    job: Option<&'a JobTemplate>,
) -> Result<Template<'a>, Invalid> {
    let template = either(pipeline_run, job)?;
    if template.spec.get().len() > MAX_TEMPLATE {
        return Err(Invalid::new(
            template.field,
            format!("is larger than {MAX_TEMPLATE} bytes: refer to a Pipeline or an image instead of embedding it"),
        ));
    }
    Ok(template)
}

fn either<'a>(
    pipeline_run: Option<&'a PipelineRunTemplate>,
    job: Option<&'a JobTemplate>,
) -> Result<Template<'a>, Invalid> {
    match (pipeline_run, job) {
        (Some(template), None) => Ok(Template {
            field: "spec.pipelineRunTemplate",
            metadata: template.metadata.as_ref(),
            spec: &template.spec,
        }),
        (None, Some(template)) => {
            Ok(Template { field: "spec.jobTemplate", metadata: template.metadata.as_ref(), spec: &template.spec })
        }
        (None, None) => {
            Err(Invalid::new("spec.pipelineRunTemplate", "and spec.jobTemplate are both missing: set one of them"))
        }
        (Some(_), Some(_)) => {
            Err(Invalid::new("spec.pipelineRunTemplate", "and spec.jobTemplate are both set: keep one of them"))
        }
    }
}

/// The backend of the kind of run that a template field makes.
pub fn backend<'b>(field: &str, backends: &[&'b dyn RunBackend]) -> Result<&'b dyn RunBackend, Invalid> {
    let kind = if field == "spec.jobTemplate" { "Job" } else { "PipelineRun" };
    backends
        .iter()
        .find(|backend| backend.kind().kind == kind)
        .copied()
        .ok_or_else(|| Invalid::new(field, "is not supported by this operator: use another template"))
}

/// `spec.retry.maxAttempts`.
pub fn max_attempts(given: Option<i32>) -> Result<i64, Invalid> {
    match given {
        None => Ok(MAX_ATTEMPTS),
        Some(given) if (1..=1000).contains(&given) => Ok(given.into()),
        Some(_) => Err(Invalid::new("spec.retry.maxAttempts", "must be at least 1 and at most 1000")),
    }
}

/// A history limit.
pub fn limit(given: Option<i32>, field: &str) -> Result<usize, Invalid> {
    given.map_or(Ok(DEFAULT_LIMIT), |limit| {
        usize::try_from(limit).map_err(|_| Invalid::new(field, "must not be negative: use 0 to keep no run"))
    })
}
