//! Runs as Kubernetes Jobs. Pure.
//!
//! Every container, including init containers, gets each parameter as the environment variable `PARAM_<NAME>`. The
//! operator also replaces `$(params.<name>)` in the places that `places` names, and refuses it in all others. Values
//! arrive unchanged: the operator escapes everything that the kubelet would expand in them.

mod clue;
mod placeholder;
mod places;

use std::{
    collections::{BTreeMap, btree_map::Entry},
    time::Duration,
};

use serde_json::{Value, json};

use super::{
    json::{self, Object},
    metadata,
    parameters::{self, Parameters},
    status::{RunCondition, Status},
};
use crate::{
    api::{Outcome, TemplateMetadata},
    core::{
        invalid::Invalid,
        results::{CONTAINER_FIELD, RunPods},
        run::backend::{Clue, Ending, Finding, Observed, Phase, ResultsIn, RunBackend, RunKind, RunRequest, Template},
    },
};

/// The backend for Jobs.
#[derive(Clone, Copy, Debug)]
pub struct BatchJob;

const KIND: RunKind = RunKind { group: "batch", version: "v1", kind: "Job", plural: "jobs" };

/// The Job controller ties pods to Jobs by these labels of the pods.
const POD_LABELS: &[&str] = &["controller-uid", "job-name"];
const POD_LABEL_PREFIX: &str = "batch.kubernetes.io/";

/// The lists of containers of a pod.
const CONTAINERS: [&str; 2] = ["initContainers", "containers"];

impl RunBackend for BatchJob {
    fn kind(&self) -> RunKind {
        KIND
    }

    fn template_field(&self) -> &'static str {
        "jobTemplate"
    }

    fn summary(&self) -> &'static str {
        "Containers get each parameter as the environment variable `PARAM_<NAME>`, and in place of `$(params.<name>)`. The \
         results are the termination message of a container."
    }

    fn check(&self, template: Template<'_>, parameters: &[&str], timeout: Option<Duration>) -> Result<(), Invalid> {
        let parameters = parameters::named(parameters)?;
        let metadata = filled_metadata(template, &parameters)?;
        spec(Template { metadata: metadata.as_ref(), ..template }, &parameters, timeout).map(drop)
    }

    fn build(&self, request: &RunRequest<'_>) -> Result<Value, Invalid> {
        let parameters = parameters::valued(request.parameters)?;
        let metadata = filled_metadata(request.template, &parameters)?;
        let template = Template { metadata: metadata.as_ref(), ..request.template };
        let spec = spec(template, &parameters, request.timeout)?;
        Ok(metadata::object(KIND, &RunRequest { template, ..*request }, spec))
    }

    /// Sets a deadline that has passed: the Job controller ends the pods and keeps the Job. The deadline of a suspended Job,
    /// which waits in a queue, would never begin: so it is resumed, without pods.
    fn stop(&self, timeout: Option<Duration>) -> Value {
        let seconds = timeout.map_or(1, |timeout| timeout.as_secs().max(1));
        json!({ "activeDeadlineSeconds": seconds, "suspend": false, "parallelism": 0 })
    }

    fn observe(&self, object: &str) -> Result<Observed, serde_json::Error> {
        Ok(Status::read(object)?.first(outcome))
    }

    fn left_out(&self, _: Template<'_>) -> Vec<String> {
        Vec::new()
    }

    fn clues(&self) -> &'static [Clue] {
        &[clue::PODS, clue::EVENTS]
    }

    fn read_clue(&self, clue: &Clue, run_uid: &str, object: &str) -> Finding {
        if *clue == clue::EVENTS { clue::of_event(object) } else { clue::of_pod(object, run_uid) }
    }

    fn check_results(&self, template: Template<'_>, container: Option<&str>) -> Result<(), Invalid> {
        let containers = container_names(template)?;
        let listed = || super::status::cut(&format!("{containers:?}"), 256).to_owned();
        let problem = match container {
            Some(name) if !containers.iter().any(|known| known == name) => {
                format!("names {name:?}, which is no container of {}; it has {}", template.path(), listed())
            }
            None if containers.len() > 1 => format!(
                "is missing: {} has the containers {}; name the one that writes the results",
                template.path(),
                listed()
            ),
            _ => return Ok(()),
        };
        Err(Invalid::new(CONTAINER_FIELD, problem))
    }

    fn results(&self, object: &str) -> Result<ResultsIn, serde_json::Error> {
        let phase = Status::read(object)?.first(outcome).phase;
        let job = Value::Object(serde_json::from_str::<Object>(object)?);
        let text = |path| job.pointer(path).and_then(Value::as_str).unwrap_or_default();
        let containers = job.pointer("/spec/template/spec/containers").and_then(Value::as_array).into_iter().flatten();
        Ok(ResultsIn::Pods(RunPods {
            uid: text("/metadata/uid").to_owned(),
            succeeded: matches!(phase, Phase::Ended(Ending { outcome: Outcome::Succeeded, .. })),
            indexed: text("/spec/completionMode") == "Indexed",
            containers: containers.filter_map(|container| Some(container.get("name")?.as_str()?.to_owned())).collect(),
        }))
    }
}

/// Names of the containers of a template.
fn container_names(template: Template<'_>) -> Result<Vec<String>, Invalid> {
    let mut spec = json::spec(template)?;
    let at = json::spec_path(template);
    let pod = json::object_needed(&mut spec, "template", &at)?;
    let at = format!("{at}.template");
    let pod = json::object_needed(pod, "spec", &at)?;
    let mut names = Vec::new();
    json::each(pod, "containers", &format!("{at}.spec"), |container, _| {
        names.extend(json::present(container, "name").and_then(Value::as_str).map(str::to_owned));
        Ok(())
    })?;
    Ok(names)
}

/// `SuccessCriteriaMet` and `FailureTarget` only announce an end: pods still run, and results are not final.
fn outcome(condition: &RunCondition<'_>) -> Option<Outcome> {
    match condition.is() {
        ("Complete", "True") => Some(Outcome::Succeeded),
        ("Failed", "True") if condition.reason() == "DeadlineExceeded" => Some(Outcome::TimedOut),
        ("Failed", "True") => Some(Outcome::Failed),
        _ => None,
    }
}

/// The template's metadata with its placeholders replaced.
fn filled_metadata(template: Template<'_>, parameters: &Parameters<'_>) -> Result<Option<TemplateMetadata>, Invalid> {
    template.metadata.map(|metadata| places::filled_metadata(metadata, &template.path(), parameters)).transpose()
}

/// The spec of a run. `check` builds it too and drops it, so a template that passes the check can be built.
fn spec(template: Template<'_>, parameters: &Parameters<'_>, timeout: Option<Duration>) -> Result<Object, Invalid> {
    metadata::check(template)?;
    let mut spec = json::spec(template)?;
    let at = json::spec_path(template);
    check_job(&spec, &at)?;
    let environment = environment(parameters)?;
    let pod = json::object_needed(&mut spec, "template", &at)?;
    let at = format!("{at}.template");
    check_pod_labels(pod, &at)?;
    let pod = json::object_needed(pod, "spec", &at)?;
    let at = format!("{at}.spec");
    check_restart_policy(pod, &at)?;
    if json::list_at(pod, "containers", &at)?.is_none_or(|containers| containers.is_empty()) {
        return Err(Invalid::new(format!("{at}.containers"), "is missing: a Job needs at least one container"));
    }
    for list in CONTAINERS {
        json::each(pod, list, &at, |container, at| check_variables(container, at, &environment))?;
    }
    places::fill(&mut spec, &json::spec_path(template), parameters)?;
    let pod = json::object_needed(&mut spec, "template", &at)?;
    let pod = json::object_needed(pod, "spec", &at)?;
    for list in CONTAINERS {
        json::each(pod, list, &at, |container, at| add_variables(container, at, &environment))?;
    }
    if let Some(timeout) = timeout.filter(|_| json::present(&spec, "activeDeadlineSeconds").is_none()) {
        let seconds = timeout.as_secs() + u64::from(timeout.subsec_nanos() > 0);
        spec.insert("activeDeadlineSeconds".to_owned(), Value::from(seconds));
    }
    Ok(spec)
}

fn check_job(spec: &Object, at: &str) -> Result<(), Invalid> {
    if json::present(spec, "ttlSecondsAfterFinished").is_some() {
        let problem = "must not be set: it may remove the run before its end is recorded; remove it, and say by the \
                       history limits how many runs are kept";
        return Err(Invalid::new(format!("{at}.ttlSecondsAfterFinished"), problem));
    }
    if json::present(spec, "selector").is_some() {
        let problem = "must not be set: Kubernetes makes a selector for each Job, and with a fixed one runs would \
                       take each other's pods; remove it";
        return Err(Invalid::new(format!("{at}.selector"), problem));
    }
    match json::present(spec, "manualSelector") {
        None | Some(Value::Bool(false)) => Ok(()),
        Some(_) => {
            let problem = "must not be set: Kubernetes makes a selector for each Job; remove it";
            Err(Invalid::new(format!("{at}.manualSelector"), problem))
        }
    }
}

fn check_pod_labels(pod: &mut Object, at: &str) -> Result<(), Invalid> {
    let Some(metadata) = json::object_at(pod, "metadata", at)? else { return Ok(()) };
    let at = format!("{at}.metadata");
    let Some(labels) = json::object_at(metadata, "labels", &at)? else { return Ok(()) };
    let owned = |key: &&String| POD_LABELS.contains(&key.as_str()) || key.starts_with(POD_LABEL_PREFIX);
    labels.keys().find(owned).map_or(Ok(()), |key| {
        let problem = "must not be set: the Job controller finds its pods by it; remove it";
        Err(Invalid::new(format!("{at}.labels[{:?}]", super::status::cut(key, 128)), problem))
    })
}

/// The default of a pod is `Always`, which a Job must not use; so the field is required.
fn check_restart_policy(pod: &Object, at: &str) -> Result<(), Invalid> {
    let at = format!("{at}.restartPolicy");
    match json::present(pod, "restartPolicy").map(Value::as_str) {
        Some(Some("Never" | "OnFailure")) => Ok(()),
        None => Err(Invalid::new(at, "is missing: set it to Never or OnFailure")),
        Some(_) => Err(Invalid::new(at, "must be Never or OnFailure")),
    }
}

/// By the name of the variable: the parameter that it carries, and its value.
type Environment<'a> = BTreeMap<String, (&'a str, String)>;

fn environment<'a>(parameters: &Parameters<'a>) -> Result<Environment<'a>, Invalid> {
    let mut environment = Environment::new();
    for (name, value) in parameters {
        match environment.entry(variable(name)) {
            Entry::Vacant(vacant) => {
                vacant.insert((*name, placeholder::verbatim(value)));
            }
            Entry::Occupied(taken) => {
                let (other, _) = taken.get();
                let problem = format!(
                    "has {other:?} and {name:?}, which both become the environment variable {}: rename one of them",
                    taken.key()
                );
                return Err(Invalid::new(parameters::FIELD, problem));
            }
        }
    }
    Ok(environment)
}

fn variable(parameter: &str) -> String {
    let upper = |c: char| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' };
    std::iter::once("PARAM_".to_owned()).chain(parameter.chars().map(|c| upper(c).to_string())).collect()
}

/// Refuses a variable of the user that has the name of a parameter's variable.
fn check_variables(container: &mut Object, at: &str, environment: &Environment<'_>) -> Result<(), Invalid> {
    json::each(container, "env", at, |variable, at| {
        let taken = json::present(variable, "name").and_then(|name| environment.get(name.as_str()?));
        taken.map_or(Ok(()), |(parameter, _)| {
            let problem = format!(
                "is the environment variable that carries the parameter {parameter:?}: rename one of them, or remove \
                 this one"
            );
            Err(Invalid::new(format!("{at}.name"), problem))
        })
    })?;
    for key in ["command", "args"] {
        json::list_at(container, key, at)?;
    }
    Ok(())
}

/// Adds the variables that carry the parameters. They come first: a variable can refer only to earlier ones, and the
/// user's may use `$(PARAM_X)`.
fn add_variables(container: &mut Object, at: &str, environment: &Environment<'_>) -> Result<(), Invalid> {
    if environment.is_empty() {
        return Ok(());
    }
    let ours = environment.iter().map(|(name, (_, value))| json!({ "name": name, "value": value }));
    json::list_made(container, "env", at)?.splice(0..0, ours);
    Ok(())
}
