//! From a spec to one that can be carried out. Pure.

use std::time::Duration;

use url::Url;

use crate::{
    api::{ModelSyncSpec, ParameterMapping, UnmappedParameters},
    core::{
        answer::{Question, names},
        invalid::Invalid,
        retention::{DEFAULT_LIMIT, Limits},
        run::{RunBackend, RunKind, Template},
    },
};

/// Time between two questions where the user gave none.
pub const DEFAULT_INTERVAL: Duration = Duration::from_mins(1);
/// Shortest and longest time between two questions.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_hours(720));
/// Deadline of one question.
const QUESTION_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest template, in bytes of JSON.
const MAX_TEMPLATE: usize = 256 * 1024;

/// A spec that can be carried out. Later steps rely on it and check nothing again.
#[derive(Clone, Debug)]
pub struct Valid<'a> {
    /// What is asked.
    pub question: Question,
    /// How often.
    pub interval: Duration,
    /// How parameters are renamed.
    pub mapping: &'a [ParameterMapping],
    /// What happens to the others.
    pub unmapped: UnmappedParameters,
    /// What runs are made from.
    pub template: Template<'a>,
    /// The kind of run that comes from it.
    pub kind: RunKind,
    /// How many finished runs are kept.
    pub limits: Limits,
    /// Whether asking and starting are stopped.
    pub suspended: bool,
}

/// Checks what the CRD's schema checks (an object may be older than the schema), and what only its run's kind knows.
pub fn validate<'a>(spec: &'a ModelSyncSpec, backends: &[&dyn RunBackend]) -> Result<Valid<'a>, Invalid> {
    let template = template(spec)?;
    if template.spec.get().len() > MAX_TEMPLATE {
        return Err(Invalid::new(
            template.field,
            format!("is larger than {MAX_TEMPLATE} bytes: refer to a Pipeline or an image instead of embedding it"),
        ));
    }
    let run_names = mapping(&spec.parameters)?;
    let backend = backend(template.field, backends)?;
    backend.check(template, &run_names)?;
    Ok(Valid {
        question: Question { url: url(spec.needs_sync_url.as_deref())?, timeout: QUESTION_TIMEOUT },
        interval: interval(spec)?,
        mapping: &spec.parameters,
        unmapped: spec.unmapped_parameters.unwrap_or_default(),
        template,
        kind: backend.kind(),
        limits: Limits {
            succeeded: limit(spec.successful_pipeline_runs_history_limit, "spec.successfulPipelineRunsHistoryLimit")?,
            failed: limit(spec.failed_pipeline_runs_history_limit, "spec.failedPipelineRunsHistoryLimit")?,
        },
        suspended: spec.suspend.unwrap_or_default(),
    })
}

/// The template of a spec, and the kind of run that each template field makes.
fn template(spec: &ModelSyncSpec) -> Result<Template<'_>, Invalid> {
    match (&spec.pipeline_run_template, &spec.job_template) {
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

fn backend<'b>(field: &str, backends: &[&'b dyn RunBackend]) -> Result<&'b dyn RunBackend, Invalid> {
    let kind = if field == "spec.jobTemplate" { "Job" } else { "PipelineRun" };
    backends
        .iter()
        .find(|backend| backend.kind().kind == kind)
        .copied()
        .ok_or_else(|| Invalid::new(field, "is not supported by this operator: use another template"))
}

fn url(given: Option<&str>) -> Result<String, Invalid> {
    let field = "spec.needsSyncUrl";
    let text = given.filter(|text| !text.is_empty()).ok_or_else(|| {
        Invalid::new(
            field,
            "is missing: set it to the http or https URL of the endpoint that answers whether a sync is needed",
        )
    })?;
    let url = Url::parse(text)
        .map_err(|error| Invalid::new(field, format!("is not a URL ({error}): write it as http://host/path")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(Invalid::new(field, "must begin with http:// or https://"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(Invalid::new(field, "must not carry user information: remove what stands before the @"));
    }
    Ok(url.into())
}

fn interval(spec: &ModelSyncSpec) -> Result<Duration, Invalid> {
    let Some(given) = spec.interval else { return Ok(DEFAULT_INTERVAL) };
    let interval = Duration::from(given);
    if given.is_negative() || interval < INTERVALS.0 || interval > INTERVALS.1 {
        return Err(Invalid::new("spec.interval", "must be at least 5s and at most 720h"));
    }
    Ok(interval)
}

fn limit(given: Option<i32>, field: &str) -> Result<usize, Invalid> {
    given.map_or(Ok(DEFAULT_LIMIT), |limit| {
        usize::try_from(limit).map_err(|_| Invalid::new(field, "must not be negative: use 0 to keep no run"))
    })
}

/// The names that the mapped parameters have in the run.
fn mapping(entries: &[ParameterMapping]) -> Result<Vec<&str>, Invalid> {
    let mut seen = Vec::with_capacity(entries.len());
    for (index, entry) in entries.iter().enumerate() {
        let (_, name) = names(entry);
        if name.is_empty() {
            return Err(Invalid::new(
                format!("spec.parameters[{index}]"),
                "names nothing: set needsSyncName, pipelineName or both",
            ));
        }
        if seen.contains(&name) {
            return Err(Invalid::new(
                format!("spec.parameters[{index}]"),
                format!("sets the run's parameter {name:?} a second time: remove one of the two"),
            ));
        }
        seen.push(name);
    }
    Ok(seen)
}
