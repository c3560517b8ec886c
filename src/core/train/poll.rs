//! What a ModelTrain asks of the world, and what comes back. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    api::{ModelTrainSpec, Outcome, SlotState, Source, TrainReservation},
    core::{
        poll::{
            request::PollTarget,
            response::{PollError, PollResponse},
        },
        results,
        run::backend::RunRecord,
        source::references::{Reference, of_sources},
    },
};

/// What is asked for a ModelTrain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrainPollTarget {
    /// How things stand: everything that freshness looks at.
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
        /// Metrics by name, their sources as they are for this run.
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

/// What reading one source brought: a value, `None` where there is none, or why that cannot be told.
pub type Read<T> = Result<Option<T>, PollError>;

/// How things stand.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Observation {
    /// Inputs by name.
    pub inputs: BTreeMap<String, Read<InputValue>>,
    /// Texts of the live metrics by name.
    pub metrics: BTreeMap<String, Read<String>>,
    /// What the endpoint said.
    pub endpoint: Option<Result<PollResponse, PollError>>,
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TrainPollResponse {
    /// How things stand.
    Observed(Observation),
    /// Texts of the metrics of the run with this uid, by name.
    Measured(String, BTreeMap<String, Read<String>>),
}

impl TrainPollResponse {
    /// Whether everything that was asked was told.
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

    /// How things stand, if that was asked.
    pub const fn observed(&self) -> Option<&Observation> {
        match self {
            Self::Observed(observation) => Some(observation),
            Self::Measured(..) => None,
        }
    }
}

/// How things stand: the question of a spec. `None`: there is nothing to ask.
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

/// The metrics of the run that is to be recorded next. `None`: it has not succeeded, or is not to be seen.
pub fn measure_next<'a>(
    spec: &ModelTrainSpec,
    open: &TrainReservation,
    mut own: impl Iterator<Item = &'a RunRecord>,
) -> Option<TrainPollTarget> {
    let over = |state| matches!(state, SlotState::Recorded | SlotState::Skipped);
    let slot = open.slots.iter().find(|slot| !over(slot.state))?;
    let run = own.find(|run| run.name == slot.run_name)?;
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
    of_sources(inputs.chain(metrics))
}
