//! The polls of a ModelTrain and their responses. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    api::{ModelTrainSpec, Outcome, SlotState, Source, TrainReservation},
    core::{
        poll::{
            request::PollTarget,
            response::{PollError, PollResponse},
        },
        results,
        run::{backend::RunRecord, proof::proves},
        source::{Reference, references_of},
    },
};

/// The target of a poll of a ModelTrain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrainPollTarget {
    /// Everything that `spec.freshness` reads.
    Observe {
        /// Inputs by name.
        inputs: Vec<(String, Source)>,
        /// Live metrics by name.
        metrics: Vec<(String, Source)>,
        /// The endpoint.
        endpoint: Option<PollTarget>,
    },
    /// The metrics of a run that has succeeded.
    Measure {
        /// Uid of the run.
        run_uid: String,
        /// Metrics by name. The sources have the values of this run filled in.
        values: Vec<(String, Source)>,
    },
}

/// The value of an input, with its attributes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InputValue {
    /// The value.
    pub text: String,
    /// The attributes of its source, `value` among them.
    pub attributes: BTreeMap<String, String>,
}

/// The result of reading one source: its value, `None` if it has none, or a poll error.
pub type Read<T> = Result<Option<T>, PollError>;

/// The response to an `Observe` poll.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Inputs by name.
    pub inputs: BTreeMap<String, Read<InputValue>>,
    /// Live metrics as text, by name.
    pub metrics: BTreeMap<String, Read<String>>,
    /// Response of the endpoint, or the poll error. `None` if the spec names no endpoint.
    pub endpoint: Option<Result<PollResponse, PollError>>,
}

/// The response to a poll of a ModelTrain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrainPollResponse {
    /// Response to an `Observe` poll.
    Observed(Observation),
    /// Response to a `Measure` poll: the uid of the run, and its metrics as text, by name.
    Measured(String, BTreeMap<String, Read<String>>),
}

impl TrainPollResponse {
    /// Whether no part of the response is a poll error.
    pub fn is_complete(&self) -> bool {
        match self {
            Self::Observed(Observation { inputs, metrics, endpoint }) => {
                inputs.values().all(Result::is_ok)
                    && metrics.values().all(Result::is_ok)
                    && endpoint.as_ref().is_none_or(Result::is_ok)
            }
            Self::Measured(_, values) => values.values().all(Result::is_ok),
        }
    }

    /// The response to an `Observe` poll. `None` for other polls.
    pub const fn observed(&self) -> Option<&Observation> {
        match self {
            Self::Observed(observation) => Some(observation),
            Self::Measured(..) => None,
        }
    }
}

/// The `Observe` poll of a spec. `None` if the spec has no input, no live metric and no endpoint.
pub fn observe(spec: &ModelTrainSpec) -> Option<TrainPollTarget> {
    let freshness = spec.freshness.as_deref()?;
    let inputs: Vec<_> = freshness.inputs.iter().map(|input| (input.name.clone(), input.source.clone())).collect();
    let metrics: Vec<_> = freshness.metrics.iter().map(|metric| (metric.name.clone(), metric.source.clone())).collect();
    let endpoint = freshness.needs_train_url.as_ref().map(|url| PollTarget::NeedsSync {
        url: url.as_str().into(),
        request: freshness.request.clone().map(Box::new),
    });
    let nothing = inputs.is_empty() && metrics.is_empty() && endpoint.is_none();
    (!nothing).then_some(TrainPollTarget::Observe { inputs, metrics, endpoint })
}

/// The `Measure` poll of the run that is recorded next. `None` if the run has not succeeded, or the watch does not show
/// it.
pub fn measure_next<'a>(
    spec: &ModelTrainSpec,
    open: &TrainReservation,
    mut own: impl Iterator<Item = &'a RunRecord>,
) -> Option<TrainPollTarget> {
    let over = |state| matches!(state, SlotState::Recorded | SlotState::Skipped);
    let slot = open.slots.iter().find(|slot| !over(slot.state))?;
    let run = own.find(|run| proves(run, &slot.run_name, &slot.proofs))?;
    run.ending().filter(|ending| ending.outcome == Outcome::Succeeded)?;
    let values = spec.metrics.iter().flat_map(|metrics| &metrics.values);
    Some(TrainPollTarget::Measure {
        run_uid: run.uid.clone(),
        values: values
            .map(|value| (value.name.clone(), results::values::for_run(&value.source, &run.name, &run.uid, &run.name)))
            .collect(),
    })
}

/// The objects that freshness reads values from, each once.
pub fn references(spec: &ModelTrainSpec) -> BTreeSet<Reference> {
    let freshness = spec.freshness.as_deref();
    let inputs = freshness.iter().flat_map(|freshness| &freshness.inputs).map(|input| &input.source);
    let metrics = freshness.iter().flat_map(|freshness| &freshness.metrics).map(|metric| &metric.source);
    references_of(inputs.chain(metrics))
}
