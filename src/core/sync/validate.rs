//! From a spec to one that can be carried out. Pure.

use std::time::Duration;

use kube::core::Duration as GoDuration;

use super::question::question;
use crate::{
    api::{DeletionPolicy, ModelSyncSpec, ParameterMapping, Repeat, UnmappedParameters},
    core::{
        answer::{Question, names},
        invalid::Invalid,
        retention::{DEFAULT_LIMIT, Limits},
        retry::{Backoff, MAX_ATTEMPTS, RUN_BACKOFF, SETTLE},
        run::{RunBackend, RunKind, Template},
        window::Windows,
    },
};

/// Time between two questions where the user gave none.
pub const DEFAULT_INTERVAL: Duration = Duration::from_mins(1);
/// Shortest and longest time between two questions.
const INTERVALS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_hours(720));
/// Shortest and longest bound of a run.
const RUN_TIMEOUTS: (Duration, Duration) = (Duration::from_secs(10), Duration::from_hours(8760));
/// Shortest and longest pause between runs.
const PAUSES: (Duration, Duration) = (Duration::from_secs(1), Duration::from_hours(720));
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
    /// How long a run may take.
    pub run_timeout: Option<Duration>,
    /// How many runs in a row may fail for one target.
    pub max_attempts: i64,
    /// Pauses after runs that did not succeed.
    pub backoff: Backoff,
    /// Pauses after runs that succeeded while a sync is still needed.
    pub settle: Backoff,
    /// Whether such a target is run again at all.
    pub repeat: Repeat,
    /// When runs may be started.
    pub windows: Windows,
    /// Whether runs go when their object goes.
    pub owned: bool,
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
    let run_timeout = optional("spec.runTimeout", spec.run_timeout, RUN_TIMEOUTS)?;
    backend.check(template, &run_names, run_timeout)?;
    let retry = spec.retry.as_deref().copied().unwrap_or_default();
    let settle = spec.settle.as_deref().copied().unwrap_or_default();
    Ok(Valid {
        question: question(spec)?,
        interval: optional("spec.interval", spec.interval, INTERVALS)?.unwrap_or(DEFAULT_INTERVAL),
        mapping: &spec.parameters,
        unmapped: spec.unmapped_parameters.unwrap_or_default(),
        template,
        kind: backend.kind(),
        limits: Limits {
            succeeded: limit(spec.successful_pipeline_runs_history_limit, "spec.successfulPipelineRunsHistoryLimit")?,
            failed: limit(spec.failed_pipeline_runs_history_limit, "spec.failedPipelineRunsHistoryLimit")?,
        },
        suspended: spec.suspend.unwrap_or_default(),
        run_timeout,
        max_attempts: max_attempts(retry.max_attempts)?,
        backoff: backoff(
            ("spec.retry.minBackoff", retry.min_backoff),
            ("spec.retry.maxBackoff", retry.max_backoff),
            RUN_BACKOFF,
        )?,
        settle: backoff(("spec.settle.initial", settle.initial), ("spec.settle.max", settle.max), SETTLE)?,
        repeat: settle.repeat.unwrap_or_default(),
        windows: Windows::parse(&spec.windows)?,
        owned: spec.deletion_policy.unwrap_or_default() == DeletionPolicy::Delete,
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

/// A duration within its bounds, if there is one.
fn optional(
    field: &str,
    given: Option<GoDuration>,
    (least, most): (Duration, Duration),
) -> Result<Option<Duration>, Invalid> {
    let Some(given) = given else { return Ok(None) };
    let duration = Duration::from(given);
    if given.is_negative() || duration < least || duration > most {
        return Err(Invalid::new(field, format!("must be at least {} and at most {}", show(least), show(most))));
    }
    Ok(Some(duration))
}

fn show(bound: Duration) -> String {
    let seconds = bound.as_secs();
    if seconds >= 3600 { format!("{}h", seconds / 3600) } else { format!("{seconds}s") }
}

fn max_attempts(given: Option<i32>) -> Result<i64, Invalid> {
    match given {
        None => Ok(MAX_ATTEMPTS),
        Some(given) if (1..=1000).contains(&given) => Ok(given.into()),
        Some(_) => Err(Invalid::new("spec.retry.maxAttempts", "must be at least 1 and at most 1000")),
    }
}

/// A doubling pause. A first one that was given alone may be longer than the longest that holds by default: it then is
/// the longest as well.
fn backoff(
    (first_field, first): (&str, Option<GoDuration>),
    (longest_field, longest): (&str, Option<GoDuration>),
    default: Backoff,
) -> Result<Backoff, Invalid> {
    let first = optional(first_field, first, PAUSES)?;
    let longest = optional(longest_field, longest, PAUSES)?;
    match (first, longest) {
        (Some(first), Some(longest)) if first > longest => {
            Err(Invalid::new(first_field, format!("is longer than {longest_field}: make it at most as long")))
        }
        (first, Some(longest)) => Ok(Backoff { first: first.unwrap_or(default.first).min(longest), longest }),
        (Some(first), None) => Ok(Backoff { first, longest: default.longest.max(first) }),
        (None, None) => Ok(default),
    }
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
