//! From a spec to one that can be carried out. Pure.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::parameters::declared;
use crate::{
    api::{DeletionPolicy, ModelTrainSpec},
    core::{
        freshness::Freshness,
        gate::{GateProgram, LiveRule},
        invalid::Invalid,
        poll::request::PollTarget,
        results,
        run::{
            backend::{RunBackend, RunKind, Template},
            policy::RunPolicy,
            retention::Limits,
        },
        source::validate::{check_request, check_source, check_url},
        time::{backoff::Backoff, budget::Budget, window::Windows},
        version::record,
    },
};

/// What of a spec is worth compiling once for its generation.
#[derive(Clone, Debug)]
pub struct Compiled {
    gate: GateProgram,
    live: Arc<BTreeMap<String, LiveRule>>,
}

impl Compiled {
    /// Compiles the gate and the rules of the live metrics.
    pub fn of(spec: &ModelTrainSpec) -> Result<Self, Invalid> {
        let metrics = spec.freshness.iter().flat_map(|freshness| &freshness.metrics).enumerate();
        let live = metrics.map(|(index, metric)| {
            let field = format!("spec.freshness.metrics[{index}].rule");
            Ok((metric.name.clone(), LiveRule::compile(&field, &metric.rule)?))
        });
        Ok(Self { gate: GateProgram::compile(spec.gate.as_deref())?, live: Arc::new(live.collect::<Result<_, _>>()?) })
    }
}

/// A spec that can be carried out. Later steps rely on it and check nothing again.
#[derive(Clone, Debug)]
pub struct Valid<'a> {
    /// The spec.
    pub spec: &'a ModelTrainSpec,
    /// When the model is stale.
    pub freshness: Freshness,
    /// Rules of the live metrics, by name.
    pub live: Arc<BTreeMap<String, LiveRule>>,
    /// The endpoint that is asked.
    pub endpoint: Option<PollTarget>,
    /// How often.
    pub interval: Duration,
    /// What runs are made from.
    pub template: Template<'a>,
    /// The kind of run that comes from it.
    pub kind: RunKind,
    /// How many runs of a training may be on their way at once.
    pub parallelism: usize,
    /// The gate.
    pub gate: GateProgram,
    /// How many runs may be started in a span of time.
    pub budget: Option<Budget>,
    /// How many finished runs are kept.
    pub limits: Limits,
    /// How many versions are kept besides the protected ones.
    pub version_limit: usize,
    /// Whether asking and starting are stopped.
    pub suspended: bool,
    /// How long a run may take.
    pub run_timeout: Option<Duration>,
    /// How many trainings in a row may fail for one target.
    pub max_attempts: i64,
    /// Pauses after trainings of which no run succeeded.
    pub backoff: Backoff,
    /// When trainings may be started.
    pub windows: Windows,
    /// Whether runs and versions go when their object goes.
    pub owned: bool,
}

impl Valid<'_> {
    /// The metric that chooses among candidates.
    pub fn best_metric(&self) -> Option<&str> {
        self.spec.gate.as_ref()?.best.as_ref().map(|best| best.metric.as_str())
    }
}

/// Checks what the CRD's schema checks (an object may be older than the schema), and what it cannot. `compiled` is what was
/// compiled of this generation.
pub fn validate<'a>(
    spec: &'a ModelTrainSpec,
    compiled: &Compiled,
    backends: &[&dyn RunBackend],
) -> Result<Valid<'a>, Invalid> {
    let policy = RunPolicy::parse(&spec.templates(), spec.run(), backends)?;
    candidates(spec)?;
    let each = spec.candidates.iter().map(Some).chain(spec.candidates.is_empty().then_some(None));
    for candidate in each {
        let names: Vec<_> =
            declared(&spec.parameters, candidate).into_iter().map(|parameter| parameter.name.as_str()).collect();
        policy.check(&names)?;
    }
    sources(spec)?;
    let metrics = spec.metrics.as_deref();
    let from_results = metrics.is_none_or(|metrics| metrics.values.is_empty());
    let container = metrics.and_then(|metrics| metrics.container.as_deref());
    if from_results || container.is_some() {
        policy.backend.check_results(policy.template, container)?;
    }
    let runs = spec.candidates.len().max(1);
    Ok(Valid {
        spec,
        freshness: Freshness::parse(spec.freshness.as_deref(), spec.settle.as_ref())?,
        live: compiled.live.clone(),
        endpoint: endpoint(spec)?,
        interval: policy.interval,
        template: policy.template,
        kind: policy.backend.kind(),
        parallelism: parallelism(spec.parallelism, runs)?,
        gate: compiled.gate.clone(),
        budget: spec.budget.as_ref().map(|budget| Budget::parse(budget, runs)).transpose()?,
        limits: policy.limits,
        version_limit: version_limit(spec.version_history_limit)?,
        suspended: policy.suspended,
        run_timeout: policy.run_timeout,
        max_attempts: policy.max_attempts,
        backoff: policy.backoff,
        windows: policy.windows,
        owned: spec.deletion_policy == Some(DeletionPolicy::Delete),
    })
}

/// Every candidate has a name of its own, and every parameter takes its value from something that there is.
fn candidates(spec: &ModelTrainSpec) -> Result<(), Invalid> {
    for (index, candidate) in spec.candidates.iter().enumerate() {
        let at = format!("spec.candidates[{index}]");
        let good = |name: &str| {
            let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
            (1..=16).contains(&name.len()) && name.chars().all(inner) && !name.starts_with('-') && !name.ends_with('-')
        };
        if !good(&candidate.name) {
            let problem =
                "must be 1 to 16 lower-case letters, digits and '-', beginning and ending with a letter or a digit";
            return Err(Invalid::new(format!("{at}.name"), problem));
        }
        if spec.candidates.iter().take(index).any(|other| other.name == candidate.name) {
            let problem = format!("is {:?} a second time: give each candidate a name of its own", candidate.name);
            return Err(Invalid::new(format!("{at}.name"), problem));
        }
        parameters(spec, &at, &candidate.parameters)?;
    }
    parameters(spec, "spec", &spec.parameters)
}

fn parameters(spec: &ModelTrainSpec, at: &str, parameters: &[crate::api::TrainParameter]) -> Result<(), Invalid> {
    let freshness = spec.freshness.as_deref();
    for (index, parameter) in parameters.iter().enumerate() {
        let at = format!("{at}.parameters[{index}]");
        let origins = [
            parameter.value.is_some(),
            parameter.from_input.is_some(),
            parameter.from_context.is_some(),
            parameter.from_accepted.is_some(),
            parameter.from_answer.is_some(),
        ];
        if origins.into_iter().filter(|set| *set).count() != 1 {
            let problem = "needs exactly one of value, fromInput, fromContext, fromAccepted and fromAnswer";
            return Err(Invalid::new(at, problem));
        }
        if parameters.iter().take(index).any(|other| other.name == parameter.name) {
            let problem = format!("is {:?} a second time: remove one of the two", parameter.name);
            return Err(Invalid::new(format!("{at}.name"), problem));
        }
        if let Some(input) = &parameter.from_input
            && !freshness.is_some_and(|freshness| freshness.inputs.iter().any(|known| known.name == *input))
        {
            let problem = format!("names {input:?}, which is no input of spec.freshness.inputs: name one of them");
            return Err(Invalid::new(format!("{at}.fromInput"), problem));
        }
        if parameter.from_answer.is_some() && freshness.is_none_or(|freshness| freshness.needs_train_url.is_none()) {
            let problem = "needs spec.freshness.needsTrainUrl: without an endpoint there is no answer";
            return Err(Invalid::new(format!("{at}.fromAnswer"), problem));
        }
    }
    Ok(())
}

fn sources(spec: &ModelTrainSpec) -> Result<(), Invalid> {
    let freshness = spec.freshness.as_deref();
    for (index, input) in freshness.iter().flat_map(|freshness| &freshness.inputs).enumerate() {
        check_source(&format!("spec.freshness.inputs[{index}].source"), &input.source)?;
    }
    for (index, metric) in freshness.iter().flat_map(|freshness| &freshness.metrics).enumerate() {
        check_source(&format!("spec.freshness.metrics[{index}].source"), &metric.source)?;
    }
    for (index, value) in spec.metrics.iter().flat_map(|metrics| &metrics.values).enumerate() {
        let at = format!("spec.metrics.values[{index}].source");
        results::values::check(&value.source, &at)?;
        // What stands for the run parses only once it is filled in.
        check_source(&at, &results::values::for_run(&value.source, "run", "uid", "version"))?;
    }
    Ok(())
}

fn endpoint(spec: &ModelTrainSpec) -> Result<Option<PollTarget>, Invalid> {
    let Some(freshness) = spec.freshness.as_deref() else { return Ok(None) };
    let Some(url) = &freshness.needs_train_url else { return Ok(None) };
    let url = check_url("spec.freshness.needsTrainUrl", url)?;
    if let Some(request) = &freshness.request {
        check_request("spec.freshness.request", request)?;
    }
    Ok(Some(PollTarget::NeedsSync { url: url.into(), request: freshness.request.clone().map(Box::new) }))
}

fn parallelism(given: Option<i32>, runs: usize) -> Result<usize, Invalid> {
    given.map_or(Ok(runs), |given| {
        usize::try_from(given)
            .ok()
            .filter(|given| (1..=16).contains(given))
            .ok_or_else(|| Invalid::new("spec.parallelism", "must be at least 1 and at most 16"))
    })
}

fn version_limit(given: Option<i32>) -> Result<usize, Invalid> {
    given.map_or(Ok(record::DEFAULT_LIMIT), |given| {
        usize::try_from(given).map_err(|_| {
            Invalid::new("spec.versionHistoryLimit", "must not be negative: use 0 to keep the protected versions alone")
        })
    })
}
