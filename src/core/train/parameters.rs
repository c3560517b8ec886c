//! The parameters of a training's runs. Pure.

use std::collections::BTreeMap;

use super::{
    facts::Facts,
    poll::{InputValue, Observation},
    validate::{Valid, declared},
};
use crate::{
    api::{
        Candidate, FromAccepted, FromContext, StaleReason, TrainParameter,
        needs_sync::{MAX_PARAMETER_COUNT, MAX_PARAMETERS},
    },
    core::poll::response::PollResponse,
};

/// Origins of parameter values, as they are at the reservation.
#[derive(Clone, Copy, Debug)]
pub struct Origins<'a> {
    /// The response to the last `Observe` poll.
    pub observation: Option<&'a Observation>,
    /// The reasons that start the training.
    pub reasons: &'a [StaleReason],
    /// Number of the training.
    pub attempt: i64,
}

/// The parameters of one run. An error names the parameter that has no value and why, or the limit that they exceed.
pub fn resolve(
    facts: &Facts<'_>,
    valid: &Valid<'_>,
    candidate: Option<&Candidate>,
    run_name: &str,
    origins: Origins<'_>,
) -> Result<BTreeMap<String, String>, String> {
    let mut resolved = BTreeMap::new();
    for parameter in declared(&valid.spec.parameters, candidate) {
        let value = value(facts, parameter, candidate, run_name, origins)
            .map_err(|problem| format!("parameter {:?} {problem}", parameter.name))?;
        resolved.insert(parameter.name.clone(), value);
    }
    if resolved.len() > MAX_PARAMETER_COUNT {
        return Err(format!("a run gets {} parameters; at most {MAX_PARAMETER_COUNT} are allowed", resolved.len()));
    }
    let size: usize = resolved.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > MAX_PARAMETERS {
        return Err(format!("the parameters of a run take {size} bytes; at most {MAX_PARAMETERS} are allowed"));
    }
    Ok(resolved)
}

fn value(
    facts: &Facts<'_>,
    parameter: &TrainParameter,
    candidate: Option<&Candidate>,
    run_name: &str,
    origins: Origins<'_>,
) -> Result<String, String> {
    if let Some(value) = &parameter.value {
        return Ok(value.clone());
    }
    if let Some(name) = &parameter.from_input {
        let field = parameter.field.as_deref().unwrap_or("value");
        return input(origins.observation, name)?
            .attributes
            .get(field)
            .cloned()
            .ok_or_else(|| format!("takes {field:?} of the input {name:?}, whose source gives no such attribute"));
    }
    if let Some(name) = &parameter.from_response {
        return Ok(response(origins.observation)
            .and_then(|response| response.parameters.get(name))
            .cloned()
            .unwrap_or_default());
    }
    let accepted = facts.status.accepted_version.as_deref();
    Ok(match (parameter.from_context, parameter.from_accepted) {
        (Some(FromContext::Version), _) => run_name.to_owned(),
        (Some(FromContext::Attempt), _) => origins.attempt.to_string(),
        (Some(FromContext::Candidate), _) => candidate.map_or_else(String::new, |candidate| candidate.name.clone()),
        (Some(FromContext::Reasons), _) => reasons_text(origins.reasons),
        (Some(FromContext::ObjectName), _) => facts.object.name.to_string(),
        (Some(FromContext::Namespace), _) => facts.object.namespace.to_string(),
        (None, Some(FromAccepted::Name)) => accepted.map_or_else(String::new, |accepted| accepted.name.clone()),
        (None, Some(FromAccepted::Uri)) => accepted.map_or_else(String::new, |accepted| accepted.uri.clone()),
        (None, Some(FromAccepted::Digest)) => accepted.map_or_else(String::new, |accepted| accepted.digest.clone()),
        (None, None) => String::new(),
    })
}

fn input<'a>(observation: Option<&'a Observation>, name: &str) -> Result<&'a InputValue, String> {
    match observation.and_then(|observation| observation.inputs.get(name)) {
        Some(Ok(Some(value))) => Ok(value),
        Some(Err(poll_error)) => Err(format!("needs the input {name:?}, which cannot be read: {}", poll_error.message)),
        _ => Err(format!("needs the input {name:?}, which has no value")),
    }
}

fn response(observation: Option<&Observation>) -> Option<&PollResponse> {
    observation?.endpoint.as_ref()?.as_ref().ok()
}

/// Reasons as text, such as `Input:data,MaxAge`.
pub fn reasons_text(reasons: &[StaleReason]) -> String {
    let word = |reason: &StaleReason| match reason.name.as_str() {
        "" => reason.type_.as_str().to_owned(),
        name => format!("{}:{name}", reason.type_.as_str()),
    };
    reasons.iter().map(word).collect::<Vec<_>>().join(",")
}
