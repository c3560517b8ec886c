//! Metrics, all with labels from closed sets. No IO.

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// One label: its value comes from an enum of ours.
#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct ResultLabel {
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct OutcomeLabel {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct KindLabel {
    kind: &'static str,
}

/// The operator's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    passes: Family<ResultLabel, Counter>,
    questions: Family<OutcomeLabel, Counter>,
    started: Family<KindLabel, Counter>,
    ended: Family<OutcomeLabel, Counter>,
    undecodable: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("modelsync");
        let (passes, questions, started, ended, undecodable) =
            (Family::default(), Family::default(), Family::default(), Family::default(), Gauge::default());
        registry.register("reconcile", "Passes over an object, by result: ok, failed, panic", passes.clone());
        registry.register("questions", "Questions to endpoints, by outcome", questions.clone());
        registry.register("runs_started", "Runs created, by kind", started.clone());
        registry.register("runs_ended", "Runs whose end was recorded, by outcome", ended.clone());
        registry.register(
            "undecodable_objects",
            "Stored objects that cannot be read, wholly or in part",
            undecodable.clone(),
        );
        Self { registry, passes, questions, started, ended, undecodable }
    }
}

impl Metrics {
    /// A pass ended: `ok`, `failed` or `panic`.
    pub fn pass(&self, result: &'static str) {
        self.passes.get_or_create(&ResultLabel { result }).inc();
    }

    /// A question was answered (`needed`, `not_needed`) or not (a class).
    pub fn question(&self, outcome: &'static str) {
        self.questions.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// A run was created.
    pub fn run_started(&self, kind: &'static str) {
        self.started.get_or_create(&KindLabel { kind }).inc();
    }

    /// The end of a run was recorded.
    pub fn run_ended(&self, outcome: &'static str) {
        self.ended.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// How many objects cannot be read now.
    pub fn set_undecodable(&self, count: usize) {
        self.undecodable.set(i64::try_from(count).unwrap_or(i64::MAX));
    }

    /// All metrics, in the OpenMetrics text format.
    pub fn text(&self) -> String {
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
