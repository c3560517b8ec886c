//! The fields that moved between Tekton's v1beta1 and v1, moved as Tekton's own conversion does it. Pure.

use serde_json::{Value, json};

use crate::{
    core::invalid::Invalid,
    runs::json::{self, Object},
};

/// Renames and moves the old fields of a PipelineRun's spec. Leaves fields of v1 as they are. Refuses a spec whose old
/// and new field have different values, because either may be meant.
pub(super) fn move_fields(spec: &mut Object, at: &str) -> Result<(), Invalid> {
    refuse_resources(spec, at)?;
    if json::take(spec, "serviceAccountNames").is_some() {
        let problem = "left Tekton in 2022: set taskRunSpecs[].serviceAccountName, by pipelineTaskName, instead";
        return Err(Invalid::new(format!("{at}.serviceAccountNames"), problem));
    }
    move_into(spec, at, "serviceAccountName", ("taskRunTemplate", "serviceAccountName"))?;
    move_into(spec, at, "podTemplate", ("taskRunTemplate", "podTemplate"))?;
    move_into(spec, at, "timeout", ("timeouts", "pipeline"))?;
    json::each(spec, "taskRunSpecs", at, task_run_spec)?;
    if let Some(reference) = json::object_at(spec, "pipelineRef", at)? {
        bundle(reference, &format!("{at}.pipelineRef"), "pipeline")?;
    }
    if let Some(pipeline) = json::object_at(spec, "pipelineSpec", at)? {
        let at = format!("{at}.pipelineSpec");
        refuse_resources(pipeline, &at)?;
        json::each(pipeline, "tasks", &at, pipeline_task)?;
        json::each(pipeline, "finally", &at, pipeline_task)?;
    }
    Ok(())
}

/// PipelineResources have no successor that they could be moved to. Empty ones bind nothing and are dropped.
fn refuse_resources(object: &mut Object, at: &str) -> Result<(), Invalid> {
    match json::take(object, "resources") {
        None => Ok(()),
        Some(Value::Array(list)) if list.is_empty() => Ok(()),
        Some(Value::Object(map)) if map.is_empty() => Ok(()),
        Some(_) => Err(Invalid::new(
            format!("{at}.resources"),
            "cannot be used: PipelineResources left Tekton in 2023. Params and workspaces replace them: pass a git \
             resource's url and revision as params, and clone into a workspace with a git-clone task",
        )),
    }
}

fn task_run_spec(entry: &mut Object, at: &str) -> Result<(), Invalid> {
    rename(entry, at, "taskServiceAccountName", "serviceAccountName")?;
    rename(entry, at, "taskPodTemplate", "podTemplate")?;
    rename(entry, at, "stepOverrides", "stepSpecs")?;
    rename(entry, at, "sidecarOverrides", "sidecarSpecs")?;
    json::each(entry, "stepSpecs", at, compute_resources)?;
    json::each(entry, "sidecarSpecs", at, compute_resources)
}

fn pipeline_task(task: &mut Object, at: &str) -> Result<(), Invalid> {
    refuse_resources(task, at)?;
    if let Some(reference) = json::object_at(task, "taskRef", at)? {
        bundle(reference, &format!("{at}.taskRef"), "task")?;
    }
    let Some(spec) = json::object_at(task, "taskSpec", at)? else { return Ok(()) };
    let at = format!("{at}.taskSpec");
    refuse_resources(spec, &at)?;
    json::each(spec, "steps", &at, compute_resources)?;
    json::each(spec, "sidecars", &at, compute_resources)?;
    json::object_at(spec, "stepTemplate", &at)?
        .map_or(Ok(()), |template| compute_resources(template, &format!("{at}.stepTemplate")))
}

fn compute_resources(container: &mut Object, at: &str) -> Result<(), Invalid> {
    rename(container, at, "resources", "computeResources")
}

/// Turns `bundle` and `name` into the parameters of the bundles resolver. `kind` is the kind to read from the bundle.
fn bundle(reference: &mut Object, at: &str, kind: &str) -> Result<(), Invalid> {
    let Some(bundle) = json::take(reference, "bundle") else { return Ok(()) };
    if json::present(reference, "resolver").is_some() {
        return Err(Invalid::new(format!("{at}.bundle"), "and resolver are both set: keep resolver"));
    }
    if json::present(reference, "params").is_some() {
        let problem = "and params are both set: params need a resolver; set resolver to bundles, and bundle, name \
                       and kind as its params";
        return Err(Invalid::new(format!("{at}.bundle"), problem));
    }
    let Some(name) = json::take(reference, "name") else {
        return Err(Invalid::new(format!("{at}.name"), format!("is missing: it names the {kind} in the bundle")));
    };
    reference.remove("kind");
    reference.insert("resolver".to_owned(), Value::from("bundles"));
    reference.insert(
        "params".to_owned(),
        json!([
            { "name": "bundle", "value": bundle },
            { "name": "name", "value": name },
            { "name": "kind", "value": kind },
        ]),
    );
    Ok(())
}

fn rename(object: &mut Object, at: &str, old: &str, new: &str) -> Result<(), Invalid> {
    let Some(value) = json::take(object, old) else { return Ok(()) };
    set(object, new, value).map_err(|()| said_twice(at, old, new))
}

fn move_into(object: &mut Object, at: &str, old: &str, (parent, new): (&str, &str)) -> Result<(), Invalid> {
    let Some(value) = json::take(object, old) else { return Ok(()) };
    let target = json::object_made(object, parent, at)?;
    set(target, new, value).map_err(|()| said_twice(at, old, &format!("{parent}.{new}")))
}

/// Sets a member that is absent or already has this value.
fn set(object: &mut Object, key: &str, value: Value) -> Result<(), ()> {
    match json::present(object, key) {
        Some(other) if *other != value => Err(()),
        _ => {
            object.insert(key.to_owned(), value);
            Ok(())
        }
    }
}

fn said_twice(at: &str, old: &str, new: &str) -> Invalid {
    Invalid::new(
        format!("{at}.{old}"),
        format!("is the v1beta1 name of {new}, which is set to something else: remove {old}"),
    )
}
