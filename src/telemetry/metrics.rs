//! Metrics, all with labels from closed sets. No IO.
//!
//! `docs/operations.md` lists them for users; a test compares that list with the metrics registered here.

use std::time::Duration;

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use crate::core::delivery::Delivery;

/// One label, whose value comes from an enum of the operator.
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

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct LeaseLabel {
    lease: String,
}

/// Upper bounds of the buckets of a reconcile, in seconds.
const RECONCILE_BUCKETS: [f64; 9] = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0];
/// Upper bounds of the buckets of a poll, in seconds; the longest deadline is 60.
const POLL_BUCKETS: [f64; 10] = [0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 60.0];

/// Values at the moment of a scrape, gathered for each request.
#[derive(Clone, Debug, Default)]
pub struct GaugeValues {
    /// Number of objects of each kind.
    pub objects: Vec<(&'static str, usize)>,
    /// Stored objects that cannot be read, wholly or in part.
    pub undecodable: usize,
    /// Objects that wait to be reconciled.
    pub queue_depth: usize,
    /// Polls in flight.
    pub polls_in_flight: usize,
    /// Whether this replica leads.
    pub leads: bool,
    /// Namespace and name of the Lease of its election; empty without an election.
    pub lease: String,
    /// Time since any ModelSync last had a valid response.
    pub last_response_age: Option<Duration>,
    /// Longest time that a ModelSync has been needing a run that is neither active nor has succeeded.
    pub oldest_demand_age: Option<Duration>,
    /// Time since each watch was last heard, by the kind that it watches.
    pub watch_ages: Vec<(&'static str, Duration)>,
}

/// The operator's metrics.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconciles: Family<ResultLabel, Counter>,
    reconcile_seconds: Histogram,
    polls: Family<OutcomeLabel, Counter>,
    poll_duration_seconds: Family<OutcomeLabel, Histogram>,
    started: Family<KindLabel, Counter>,
    ended: Family<OutcomeLabel, Counter>,
    refused_writes: Family<KindLabel, Counter>,
    events: Family<ResultLabel, Counter>,
    lineage: Family<ResultLabel, Counter>,
    objects: Family<KindLabel, Gauge>,
    undecodable: Gauge,
    queue_depth: Gauge,
    in_flight: Gauge,
    leader: Family<LeaseLabel, Gauge>,
    last_response_age: Gauge<f64, std::sync::atomic::AtomicU64>,
    oldest_demand_age: Gauge<f64, std::sync::atomic::AtomicU64>,
    watch_age: Family<KindLabel, Gauge<f64, std::sync::atomic::AtomicU64>>,
}

impl Default for Metrics {
    fn default() -> Self {
        let metrics = Self {
            registry: Registry::with_prefix("modelsync"),
            reconciles: Family::default(),
            reconcile_seconds: Histogram::new(RECONCILE_BUCKETS),
            polls: Family::default(),
            poll_duration_seconds: Family::new_with_constructor(|| Histogram::new(POLL_BUCKETS)),
            started: Family::default(),
            ended: Family::default(),
            refused_writes: Family::default(),
            events: Family::default(),
            lineage: Family::default(),
            objects: Family::default(),
            undecodable: Gauge::default(),
            queue_depth: Gauge::default(),
            in_flight: Gauge::default(),
            leader: Family::default(),
            last_response_age: Gauge::default(),
            oldest_demand_age: Gauge::default(),
            watch_age: Family::default(),
        };
        metrics.registered()
    }
}

impl Metrics {
    fn registered(mut self) -> Self {
        let registry = &mut self.registry;
        registry.register("reconcile", "Reconciles, by result: ok, failed, panic", self.reconciles.clone());
        registry.register("reconcile_seconds", "Time of a reconcile", self.reconcile_seconds.clone());
        registry.register("polls", "Polls, by outcome", self.polls.clone());
        registry.register("poll_duration_seconds", "Time of a poll, by outcome", self.poll_duration_seconds.clone());
        registry.register("runs_started", "Runs created, by kind", self.started.clone());
        registry.register("runs_ended", "Runs whose end was recorded, by outcome", self.ended.clone());
        registry.register(
            "refused_writes",
            "Writes of a status or a record that the API server refused, by kind",
            self.refused_writes.clone(),
        );
        registry.register(
            "events",
            "Kubernetes Events about objects, by result: sent, dropped, failed",
            self.events.clone(),
        );
        registry.register(
            "lineage_events",
            "Events for the lineage service, by result: sent, dropped, failed",
            self.lineage.clone(),
        );
        registry.register("objects", "Objects, by kind", self.objects.clone());
        registry.register(
            "undecodable_objects",
            "Stored objects that cannot be read, wholly or in part",
            self.undecodable.clone(),
        );
        registry.register("queue_depth", "Objects that wait to be reconciled", self.queue_depth.clone());
        registry.register("polls_in_flight", "Polls that wait for their response", self.in_flight.clone());
        registry.register("leader", "1 while this replica leads, else 0, by lease", self.leader.clone());
        registry.register(
            "last_response_age_seconds",
            "Time since any ModelSync last had a valid response; -1 before the first",
            self.last_response_age.clone(),
        );
        registry.register(
            "oldest_demand_age_seconds",
            "Longest time that a ModelSync has been needing a run that is neither active nor has succeeded",
            self.oldest_demand_age.clone(),
        );
        registry.register(
            "watch_age_seconds",
            "Time since the watch of a kind was last heard, the longest of its namespaces",
            self.watch_age.clone(),
        );
        self
    }

    /// Counts a reconcile that ended: `ok`, `failed` or `panic`.
    pub fn reconciled(&self, result: &'static str, took: Duration) {
        self.reconciles.get_or_create(&ResultLabel { result }).inc();
        self.reconcile_seconds.observe(took.as_secs_f64());
    }

    /// Counts a poll that brought a response (`needed`, `not_needed`, `desired_unknown`) or an error (its kind).
    pub fn polled(&self, outcome: &'static str, took: Duration) {
        self.polls.get_or_create(&OutcomeLabel { outcome }).inc();
        self.poll_duration_seconds.get_or_create(&OutcomeLabel { outcome }).observe(took.as_secs_f64());
    }

    /// Counts a created run.
    pub fn run_started(&self, kind: &'static str) {
        self.started.get_or_create(&KindLabel { kind }).inc();
    }

    /// Counts a run whose end was recorded.
    pub fn run_ended(&self, outcome: &'static str) {
        self.ended.get_or_create(&OutcomeLabel { outcome }).inc();
    }

    /// Counts a status or a record that the API server refused.
    pub fn write_refused(&self, kind: &'static str) {
        self.refused_writes.get_or_create(&KindLabel { kind }).inc();
    }

    /// Counts the delivery of an event about an object.
    pub fn event(&self, delivery: Delivery) {
        self.events.get_or_create(&ResultLabel { result: delivery.as_str() }).inc();
    }

    /// Counts the delivery of an event for the lineage service.
    pub fn lineage_event(&self, delivery: Delivery) {
        self.lineage.get_or_create(&ResultLabel { result: delivery.as_str() }).inc();
    }

    /// All metrics in the OpenMetrics text format, with the gauges set to the values of `now`.
    pub fn text(&self, now: &GaugeValues) -> String {
        let whole = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        for (kind, count) in &now.objects {
            self.objects.get_or_create(&KindLabel { kind }).set(whole(*count));
        }
        self.undecodable.set(whole(now.undecodable));
        self.queue_depth.set(whole(now.queue_depth));
        self.in_flight.set(whole(now.polls_in_flight));
        let lease = LeaseLabel { lease: now.lease.clone() };
        self.leader.get_or_create(&lease).set(now.leads.into());
        self.last_response_age.set(now.last_response_age.map_or(-1.0, |age| age.as_secs_f64()));
        self.oldest_demand_age.set(now.oldest_demand_age.unwrap_or_default().as_secs_f64());
        for (kind, age) in &now.watch_ages {
            self.watch_age.get_or_create(&KindLabel { kind }).set(age.as_secs_f64());
        }
        let mut text = String::new();
        // Writing to a String cannot fail.
        let _ = encode(&mut text, &self.registry);
        text
    }
}
