//! From a spec to one that can be carried out. Pure.

use std::{collections::BTreeMap, sync::Arc};

use crate::{
    api::{Candidate, DeletionPolicy, ModelTrainSpec, TrainParameter},
    core::{
        freshness::Freshness,
        gate::{GateProgram, LiveRule},
        invalid::Invalid,
        poll::request::PollTarget,
        results,
        run::{backend::RunBackend, policy::RunPolicy},
        source::validate::{check_request, check_source, check_url},
        time::{budget::Budget, window::Windows},
        version::record,
    },
};

/// The parts of a spec that are compiled once for a generation: the gate, the rules of live metrics, the windows and the
/// conditions of freshness with their schedule.
#[derive(Clone, Debug)]
pub struct Compiled {
    gate: GateProgram,
    live: Arc<BTreeMap<String, LiveRule>>,
    windows: Arc<Windows>,
    freshness: Arc<Freshness>,
}

impl Compiled {
    /// Compiles these parts.
    pub fn of(spec: &ModelTrainSpec) -> Result<Self, Invalid> {
        let metrics = spec.freshness.iter().flat_map(|freshness| &freshness.metrics).enumerate();
        let live = metrics.map(|(index, metric)| {
            let field = format!("spec.freshness.metrics[{index}].rule");
            Ok((metric.name.clone(), LiveRule::compile(&field, &metric.rule)?))
        });
        Ok(Self {
            gate: GateProgram::compile(spec.gate.as_deref())?,
            live: Arc::new(live.collect::<Result<_, _>>()?),
            windows: Arc::new(Windows::parse(&spec.windows)?),
            freshness: Arc::new(Freshness::parse(spec.freshness.as_deref(), spec.settle.as_ref())?),
        })
    }
}

/// A spec that can be carried out. Later steps rely on it and check nothing again.
#[derive(Clone, Debug)]
pub struct Valid<'a> {
    /// The spec.
    pub spec: &'a ModelTrainSpec,
    /// How runs are made, bounded, repeated and kept.
    pub policy: RunPolicy<'a>,
    /// When the model is stale.
    pub freshness: Arc<Freshness>,
    /// Rules of the live metrics, by name.
    pub live: Arc<BTreeMap<String, LiveRule>>,
    /// The endpoint that the operator polls.
    pub endpoint: Option<PollTarget>,
    /// Maximum number of active runs of a training.
    pub parallelism: usize,
    /// The gate.
    pub gate: GateProgram,
    /// Maximum number of runs to start in a span of time.
    pub budget: Option<Budget>,
    /// Number of versions to keep besides the protected ones.
    pub version_limit: usize,
    /// Whether runs and versions are deleted with their object.
    pub owned: bool,
}

impl Valid<'_> {
    /// The metric that chooses among candidates.
    pub fn best_metric(&self) -> Option<&str> {
        self.spec.gate.as_ref()?.best.as_ref().map(|best| best.metric.as_str())
    }

    /// Checks that the runs of every candidate can be built from the template, and that their results can be read. Its
    /// result depends on the spec alone.
    pub fn check_template(&self) -> Result<(), Invalid> {
        let candidates = &self.spec.candidates;
        for candidate in candidates.iter().map(Some).chain(candidates.is_empty().then_some(None)) {
            let parameters = declared(&self.spec.parameters, candidate).into_iter();
            let names: Vec<_> = parameters.map(|parameter| parameter.name.as_str()).collect();
            self.policy.check_template(&names)?;
        }
        let metrics = self.spec.metrics.as_deref();
        let from_results = metrics.is_none_or(|metrics| metrics.values.is_empty());
        let container = metrics.and_then(|metrics| metrics.container.as_deref());
        if from_results || container.is_some() { self.policy.check_results(container) } else { Ok(()) }
    }
}

/// Parses and checks a spec, its template included: what the CRD's schema checks (an object may be older than the schema),
/// and what it cannot. `compiled` is of the same generation.
pub fn validate<'a>(
    spec: &'a ModelTrainSpec,
    compiled: &Compiled,
    backends: &[&'static dyn RunBackend],
) -> Result<Valid<'a>, Invalid> {
    let valid = parse_spec(spec, compiled, backends)?;
    valid.check_template()?;
    Ok(valid)
}

/// [`validate`] without the template's content.
pub fn parse_spec<'a>(
    spec: &'a ModelTrainSpec,
    compiled: &Compiled,
    backends: &[&'static dyn RunBackend],
) -> Result<Valid<'a>, Invalid> {
    let policy = RunPolicy::parse(&spec.templates(), spec.run(), compiled.windows.clone(), backends)?;
    candidates(spec)?;
    sources(spec)?;
    let runs = spec.candidates.len().max(1);
    Ok(Valid {
        spec,
        policy,
        freshness: compiled.freshness.clone(),
        live: compiled.live.clone(),
        endpoint: endpoint(spec)?,
        parallelism: parallelism(spec.parallelism, runs)?,
        gate: compiled.gate.clone(),
        budget: spec.budget.as_ref().map(|budget| Budget::parse(budget, runs)).transpose()?,
        version_limit: version_limit(spec.version_history_limit)?,
        owned: spec.deletion_policy == Some(DeletionPolicy::Delete),
    })
}

/// The parameter declarations of a candidate: its own, and those of the object that it does not override.
pub fn declared<'a>(parameters: &'a [TrainParameter], candidate: Option<&'a Candidate>) -> Vec<&'a TrainParameter> {
    let own = candidate.map_or(&[][..], |candidate| &candidate.parameters);
    let general = parameters.iter().filter(|general| !own.iter().any(|own| own.name == general.name));
    own.iter().chain(general).collect()
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

fn parameters(spec: &ModelTrainSpec, at: &str, parameters: &[TrainParameter]) -> Result<(), Invalid> {
    let freshness = spec.freshness.as_deref();
    for (index, parameter) in parameters.iter().enumerate() {
        let at = format!("{at}.parameters[{index}]");
        let origins = [
            parameter.value.is_some(),
            parameter.from_input.is_some(),
            parameter.from_context.is_some(),
            parameter.from_accepted.is_some(),
            parameter.from_response.is_some(),
        ];
        if origins.into_iter().filter(|set| *set).count() != 1 {
            let problem = "needs exactly one of value, fromInput, fromContext, fromAccepted and fromResponse";
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
        if parameter.from_response.is_some() && freshness.is_none_or(|freshness| freshness.needs_train_url.is_none()) {
            let problem = "needs spec.freshness.needsTrainUrl: without an endpoint there is no response";
            return Err(Invalid::new(format!("{at}.fromResponse"), problem));
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
        // A placeholder for the run parses only once it is filled in.
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
