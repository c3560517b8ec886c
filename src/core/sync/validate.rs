//! From a spec to one that can be carried out. Pure.

use std::sync::Arc;

use super::poll::check_poll;
use crate::{
    api::{DeletionPolicy, ModelSyncSpec, ParameterMapping, Repeat, TrainSelect, UnmappedParameters},
    core::{
        invalid::Invalid,
        poll::response::names,
        run::{
            backend::RunBackend,
            policy::{RunPolicy, WAITS},
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
    /// How runs are made, bounded, repeated and kept.
    pub policy: RunPolicy<'a>,
    /// Whether the operator compares two values instead of polling an endpoint.
    pub compares: bool,
    /// Which parameters of a response become parameters of the run, and under which names.
    pub mapping: &'a [ParameterMapping],
    /// What happens to the other parameters.
    pub unmapped: UnmappedParameters,
    /// Waits after runs that succeeded while a sync is still needed.
    pub settle: Backoff,
    /// Whether the operator repeats such a target.
    pub repeat: Repeat,
    /// The version that the object serves once in sync.
    pub serves: Option<Served<'a>>,
    /// Whether runs are deleted with their object.
    pub owned: bool,
}

impl Valid<'_> {
    /// Checks that runs can be built from the template. Its result depends on the spec alone.
    pub fn check_template(&self) -> Result<(), Invalid> {
        self.policy.check_template(&mapped(self.mapping)?)
    }
}

/// Parses and checks a spec, its template included: what the CRD's schema checks (an object may be older than the schema),
/// and what only the backend knows.
pub fn validate<'a>(spec: &'a ModelSyncSpec, backends: &[&'static dyn RunBackend]) -> Result<Valid<'a>, Invalid> {
    let valid = parse_spec(spec, Arc::new(Windows::parse(&spec.windows)?), backends)?;
    valid.check_template()?;
    Ok(valid)
}

/// [`validate`] without the template's content, and with the windows of the same spec.
pub fn parse_spec<'a>(
    spec: &'a ModelSyncSpec,
    windows: Arc<Windows>,
    backends: &[&'static dyn RunBackend],
) -> Result<Valid<'a>, Invalid> {
    let policy = RunPolicy::parse(&spec.templates(), spec.run(), windows, backends)?;
    mapped(&spec.parameters)?;
    check_poll(spec)?;
    let settle = spec.settle.as_deref().copied().unwrap_or_default();
    Ok(Valid {
        policy,
        compares: spec.compare.is_some(),
        mapping: &spec.parameters,
        unmapped: spec.unmapped_parameters.unwrap_or_default(),
        settle: backoff(("spec.settle.initial", settle.initial), ("spec.settle.max", settle.max), WAITS, SETTLE)?,
        repeat: settle.repeat.unwrap_or_default(),
        serves: served(spec)?,
        owned: spec.deletion_policy.unwrap_or_default() == DeletionPolicy::Delete,
    })
}

/// The names that the mapped parameters have in the run.
fn mapped(entries: &[ParameterMapping]) -> Result<Vec<&str>, Invalid> {
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

/// The version that an object serves once in sync: the one that a parameter names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Served<'a> {
    /// Name of the ModelTrain.
    pub train: &'a str,
    /// The parameter of a response that names the version.
    pub parameter: &'a str,
}

/// The version that a spec serves; `None` if it serves none.
///
/// Without `serves` it is implied if the accepted version of a ModelTrain is the whole desired value. Within `all` the
/// version is one of several values, and whether the object serves it is not known.
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
