//! From a spec to one that can be carried out. Pure.

use std::time::Duration;

use super::poll::poll_target;
use crate::{
    api::{DeletionPolicy, ModelSyncSpec, ParameterMapping, Repeat, TrainSelect, UnmappedParameters},
    core::{
        invalid::Invalid,
        poll::{request::PollTarget, response::names},
        run::{
            backend::{RunBackend, RunKind, Template},
            policy::{RunPolicy, WAITS},
            retention::Limits,
        },
        time::{
            backoff::{Backoff, SETTLE},
            bounds::backoff,
            window::Windows,
        },
    },
};

/// A spec that can be carried out. Later steps rely on it and check nothing again.
#[derive(Clone, Debug)]
pub struct Valid<'a> {
    /// What is asked.
    pub poll_target: PollTarget,
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
    /// What is served once in sync.
    pub serves: Option<Served<'a>>,
    /// Whether runs go when their object goes.
    pub owned: bool,
}

/// Checks what the CRD's schema checks (an object may be older than the schema), and what only its run's kind knows.
pub fn validate<'a>(spec: &'a ModelSyncSpec, backends: &[&dyn RunBackend]) -> Result<Valid<'a>, Invalid> {
    let policy = RunPolicy::parse(&spec.templates(), spec.run(), backends)?;
    policy.check(&mapping(&spec.parameters)?)?;
    let settle = spec.settle.as_deref().copied().unwrap_or_default();
    Ok(Valid {
        poll_target: poll_target(spec)?,
        interval: policy.interval,
        mapping: &spec.parameters,
        unmapped: spec.unmapped_parameters.unwrap_or_default(),
        template: policy.template,
        kind: policy.backend.kind(),
        limits: policy.limits,
        suspended: policy.suspended,
        run_timeout: policy.run_timeout,
        max_attempts: policy.max_attempts,
        backoff: policy.backoff,
        settle: backoff(("spec.settle.initial", settle.initial), ("spec.settle.max", settle.max), WAITS, SETTLE)?,
        repeat: settle.repeat.unwrap_or_default(),
        windows: policy.windows,
        serves: served(spec)?,
        owned: spec.deletion_policy.unwrap_or_default() == DeletionPolicy::Delete,
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

/// The attribute of a source `modelTrain` that is the version's name, whichever field is compared.
const NAME: &str = "name";

/// What an object serves once in sync.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served<'a> {
    /// Name of the ModelTrain.
    pub train: &'a str,
    /// The parameter of an answer that names the version.
    pub parameter: &'a str,
}

/// What a spec says is served; `None` where nothing is.
///
/// Without `serves` it is implied where the accepted version of a ModelTrain is the whole desired value. Within `all` it is
/// one of several things to be in sync with, and what is served cannot be told.
pub fn served(spec: &ModelSyncSpec) -> Result<Option<Served<'_>>, Invalid> {
    let Some(serves) = spec.serves.as_deref() else { return Ok(implied(spec)) };
    if serves.disabled {
        return Ok(None);
    }
    let given = |text: &'_ Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    match (serves.model_train.as_deref(), serves.parameter.as_deref()) {
        (Some(train), Some(parameter)) if given(&serves.model_train) && given(&serves.parameter) => {
            Ok(Some(Served { train, parameter }))
        }
        _ => Err(Invalid::new("spec.serves", "needs modelTrain and parameter, or disabled: true")),
    }
}

fn implied(spec: &ModelSyncSpec) -> Option<Served<'_>> {
    let desired = &spec.compare.as_deref()?.desired;
    let source = desired.single.model_train.as_ref().filter(|_| desired.all.is_empty())?;
    let accepted = source.select.unwrap_or_default() == TrainSelect::Accepted;
    accepted.then_some(Served { train: &source.name, parameter: NAME })
}
