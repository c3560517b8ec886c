//! Runs as Tekton PipelineRuns. Pure.
//!
//! Runs are created as `tekton.dev/v1`. A template may use the fields of v1beta1: those that moved are moved (see
//! `v1beta1`), so that strict field validation at the create refuses only typing errors.

mod clue;
mod v1beta1;

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};

use super::{
    json::{self, Object},
    metadata,
    parameters::{self, Parameters},
    status::{RunCondition, Status},
};
use crate::{
    api::Outcome,
    core::{
        invalid::Invalid,
        results::{CONTAINER_FIELD, Results},
        run::backend::{Clue, Finding, Observed, ResultsIn, RunBackend, RunKind, RunRequest, Template},
    },
};

/// The backend for PipelineRuns.
#[derive(Clone, Copy, Debug)]
pub struct PipelineRun;

const KIND: RunKind = RunKind { group: "tekton.dev", version: "v1", kind: "PipelineRun", plural: "pipelineruns" };

/// Tekton finds the runs of a pipeline, and the parts of a run, by labels below this prefix. Runs do not get them from a
/// template.
const RESERVED_LABELS: &[&str] = &["tekton.dev/"];

/// `spec.status` of a run that waits until this value is cleared.
const PENDING: &str = "PipelineRunPending";

impl RunBackend for PipelineRun {
    fn kind(&self) -> RunKind {
        KIND
    }

    fn template_field(&self) -> &'static str {
        "pipelineRunTemplate"
    }

    fn summary(&self) -> &'static str {
        "Parameters are the PipelineRun's `params`. The results are those of the PipelineRun."
    }

    fn check(&self, template: Template<'_>, parameters: &[&str], timeout: Option<Duration>) -> Result<(), Invalid> {
        spec(template, &parameters::named(parameters)?, timeout).map(drop)
    }

    fn build(&self, request: &RunRequest<'_>) -> Result<Value, Invalid> {
        let spec = spec(request.template, &parameters::valued(request.parameters)?, request.timeout)?;
        let metadata = metadata::without_labels(request.template, RESERVED_LABELS);
        let template = Template { metadata: metadata.as_ref(), ..request.template };
        Ok(metadata::object(KIND, &RunRequest { template, ..*request }, spec))
    }

    /// Cancels the run. Its `finally` tasks still run: a pipeline cleans up in them.
    fn stop(&self, _: Option<Duration>) -> Value {
        json!({ "status": "CancelledRunFinally" })
    }

    fn observe(&self, object: &str) -> Result<Observed, serde_json::Error> {
        Ok(Status::read(object)?.first(outcome))
    }

    /// Tekton sets its own labels anew on each run. A template that was copied from a run has them too.
    fn left_out(&self, template: Template<'_>) -> Vec<String> {
        metadata::left_out(template, RESERVED_LABELS)
    }

    fn clues(&self) -> &'static [Clue] {
        &[clue::TASK_RUNS]
    }

    fn read_clue(&self, _: &Clue, run_uid: &str, object: &str) -> Finding {
        clue::of_task_run(object, run_uid)
    }

    fn check_results(&self, _: Template<'_>, container: Option<&str>) -> Result<(), Invalid> {
        container.map_or(Ok(()), |_| {
            let problem = "is for Jobs: a PipelineRun gives out the results that its pipeline declares; remove it";
            Err(Invalid::new(CONTAINER_FIELD, problem))
        })
    }

    fn results(&self, object: &str) -> Result<ResultsIn, serde_json::Error> {
        Ok(ResultsIn::Object(Results::of_texts(Status::read(object)?.results())))
    }
}

/// One condition decides: True and False are final; Unknown means active, also while the `finally` tasks of a cancelled
/// or timed out run still run.
fn outcome(condition: &RunCondition<'_>) -> Option<Outcome> {
    match condition.is() {
        ("Succeeded", "True") => Some(Outcome::Succeeded),
        ("Succeeded", "False") => Some(match condition.reason() {
            "PipelineRunTimeout" => Outcome::TimedOut,
            "Cancelled" | "CancelledRunFinally" | "StoppedRunFinally" | "PipelineRunCancelled" => Outcome::Cancelled,
            _ => Outcome::Failed,
        }),
        _ => None,
    }
}

/// The spec of a run. `check` builds it too and drops it, so a template that passes the check can be built.
fn spec(template: Template<'_>, parameters: &Parameters<'_>, timeout: Option<Duration>) -> Result<Object, Invalid> {
    let users = metadata::without_labels(template, RESERVED_LABELS);
    metadata::check(Template { metadata: users.as_ref(), ..template })?;
    let mut spec = json::spec(template)?;
    let at = json::spec_path(template);
    check_status(&spec, &at)?;
    v1beta1::move_fields(&mut spec, &at)?;
    check_pipeline(&mut spec, &at)?;
    check_declared(&mut spec, &at, parameters)?;
    set_parameters(&mut spec, &at, parameters)?;
    set_timeout(&mut spec, &at, timeout)?;
    Ok(spec)
}

/// Bounds the run if the template does not, and judges the bounds of its parts as Tekton does: it refuses a run whose parts
/// may take longer than the whole. A part without a limit ("0") may take any time.
fn set_timeout(spec: &mut Object, at: &str, timeout: Option<Duration>) -> Result<(), Invalid> {
    if timeout.is_none() && json::present(spec, "timeouts").is_none() {
        return Ok(());
    }
    let timeouts = json::object_made(spec, "timeouts", at)?;
    let at = format!("{at}.timeouts");
    let (whole, set_by) = match (limit(timeouts, &at, "pipeline")?, timeout) {
        (Some(pipeline), _) => (pipeline, format!("{at}.pipeline")),
        (None, Some(timeout)) => {
            timeouts.insert("pipeline".to_owned(), Value::from(format!("{}s", whole_seconds(timeout))));
            (timeout, "spec.runTimeout".to_owned())
        }
        // The limit is the default of the cluster's Tekton, which only Tekton knows.
        (None, None) => return Ok(()),
    };
    let mut parts = Vec::new();
    for part in ["tasks", "finally"] {
        let Some(given) = limit(timeouts, &at, part)? else { continue };
        if given.is_zero() && !whole.is_zero() {
            let problem = format!(
                "is 0, which means no limit, but {set_by} limits the whole run: set {part} to a time within that limit, or \
                 remove it"
            );
            return Err(Invalid::new(format!("{at}.{part}"), problem));
        }
        parts.push(given);
    }
    let sum: Duration = parts.iter().sum();
    // Tekton adds the parts up even if the whole has no limit.
    if sum > whole && (!whole.is_zero() || parts.len() > 1) {
        let problem = if whole.is_zero() {
            format!(
                "has limits for tasks and for finally, and {set_by} is 0, which Tekton refuses: set it to a time, or remove one of them"
            )
        } else {
            format!("allows more time than {set_by}: make that longer, or tasks and finally shorter")
        };
        return Err(Invalid::new(at, problem));
    }
    Ok(())
}

/// A limit among the timeouts.
fn limit(timeouts: &Object, at: &str, part: &str) -> Result<Option<Duration>, Invalid> {
    let Some(given) = json::present(timeouts, part) else { return Ok(None) };
    let given = given.as_str().and_then(|text| text.parse::<kube::core::Duration>().ok());
    match given.filter(|given| !given.is_negative()) {
        Some(given) => Ok(Some(given.into())),
        None => Err(Invalid::new(format!("{at}.{part}"), "must be a duration such as 30m or 1h")),
    }
}

/// The timeout, rounded up to whole seconds.
fn whole_seconds(timeout: Duration) -> u64 {
    timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0)
}

/// A template may create runs as pending: queues and approvers release such runs, and until then they are active like
/// any other. The other values cancel or stop, and a run that is created cancelled never does its work.
fn check_status(spec: &Object, at: &str) -> Result<(), Invalid> {
    match json::present(spec, "status") {
        None => Ok(()),
        Some(Value::String(status)) if status.is_empty() || status == PENDING => Ok(()),
        Some(_) => {
            let problem = format!(
                "must not be set, except to {PENDING}: every run would be cancelled or stopped as soon as it is \
                 created; remove it"
            );
            Err(Invalid::new(format!("{at}.status"), problem))
        }
    }
}

fn check_pipeline(spec: &mut Object, at: &str) -> Result<(), Invalid> {
    let embedded = json::object_at(spec, "pipelineSpec", at)?.is_some();
    let Some(reference) = json::object_at(spec, "pipelineRef", at)? else {
        if embedded {
            return Ok(());
        }
        let problem = "names no pipeline: set pipelineRef, or embed one as pipelineSpec";
        return Err(Invalid::new(at, problem));
    };
    let at = format!("{at}.pipelineRef");
    if embedded {
        return Err(Invalid::new(at, "and pipelineSpec are both set: keep one of them"));
    }
    if json::present(reference, "name").is_none() && json::present(reference, "resolver").is_none() {
        return Err(Invalid::new(at, "refers to nothing: set its name, or a resolver and its params"));
    }
    Ok(())
}

/// A parameter of the run is a string. If the embedded pipeline declares a list or an object of that name, Tekton would
/// fail every run.
fn check_declared(spec: &mut Object, at: &str, parameters: &Parameters<'_>) -> Result<(), Invalid> {
    let Some(pipeline) = json::object_at(spec, "pipelineSpec", at)? else { return Ok(()) };
    json::each(pipeline, "params", &format!("{at}.pipelineSpec"), |declared, at| {
        let name = json::present(declared, "name").and_then(Value::as_str).unwrap_or_default();
        let kind = json::present(declared, "type").and_then(Value::as_str);
        let default = json::present(declared, "default");
        let is_string = kind.map_or(!default.is_some_and(is_structured), |kind| kind == "string");
        if is_string || !parameters.contains_key(name) {
            return Ok(());
        }
        let problem = format!(
            "declares {name:?} as a list or an object, but it is set to a string: declare it as a string, or leave \
             it out of {}",
            parameters::FIELD
        );
        Err(Invalid::new(at, problem))
    })
}

/// Sets the run's parameters: replaces the values of those that the template has, and appends the others.
fn set_parameters(spec: &mut Object, at: &str, parameters: &Parameters<'_>) -> Result<(), Invalid> {
    let mut seen = BTreeMap::new();
    json::each(spec, "params", at, |param, at| {
        let name = param_name(param, at)?;
        if let Some(value) = parameters.get(name.as_str()) {
            // A list or object here means that the pipeline declares one, and would refuse the string.
            if json::present(param, "value").is_some_and(is_structured) {
                let problem = format!(
                    "is a list or an object, but {name:?} is set to a string by {}: make it a string, or map \
                     another name",
                    parameters::FIELD
                );
                return Err(Invalid::new(format!("{at}.value"), problem));
            }
            param.insert("value".to_owned(), Value::from(*value));
        }
        let earlier = seen.insert(name, at.to_owned());
        earlier.map_or(Ok(()), |earlier| {
            Err(Invalid::new(format!("{at}.name"), format!("is also the name of {earlier}: keep one of them")))
        })
    })?;
    let mut rest = parameters.iter().filter(|(name, _)| !seen.contains_key(**name)).peekable();
    if rest.peek().is_some() {
        let params = json::list_made(spec, "params", at)?;
        params.extend(rest.map(|(name, value)| json!({ "name": name, "value": value })));
    }
    Ok(())
}

fn param_name(param: &Object, at: &str) -> Result<String, Invalid> {
    match json::present(param, "name") {
        Some(Value::String(name)) if !name.is_empty() => Ok(name.clone()),
        None | Some(Value::String(_)) => {
            Err(Invalid::new(format!("{at}.name"), "is missing: every parameter needs a name"))
        }
        // YAML 1.1, which kubectl reads, takes some words for booleans: the user wrote a name, but here it is `true`.
        Some(_) => {
            let problem = "must be a text: in YAML, put names such as n, y, on, no and 1 in quotes";
            Err(Invalid::new(format!("{at}.name"), problem))
        }
    }
}

fn is_structured(value: &Value) -> bool {
    value.is_array() || value.is_object()
}
