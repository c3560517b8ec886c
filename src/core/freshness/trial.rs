//! A ModelTrain under test, with the steps that the controller takes. No IO.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use super::*;
use crate::api::{
    AcceptedVersion, AttemptVerdict, LastAttempt, ModelTrainStatus, RecordedInput, StaleReason, StaleReasonType,
    TrainReservation,
};

/// Freshness, status and observations of the world at one moment.
#[derive(Clone)]
pub struct Trial {
    pub freshness: Freshness,
    pub status: ModelTrainStatus,
    pub inputs: BTreeMap<String, ObservedInput>,
    pub metrics: BTreeMap<String, Option<bool>>,
    pub endpoint: Option<bool>,
    pub annotation: Option<String>,
    pub awaits_serving: bool,
    pub created_at: Timestamp,
    pub now: Timestamp,
}

impl Trial {
    /// A new object with this `spec.freshness` that was never evaluated. For short, `spec` may contain `spec.settle`.
    pub fn new(spec: Value, created_at: &str) -> Self {
        Self {
            freshness: read(spec),
            status: ModelTrainStatus::default(),
            inputs: BTreeMap::new(),
            metrics: BTreeMap::new(),
            endpoint: None,
            annotation: None,
            awaits_serving: false,
            created_at: moment(created_at),
            now: moment(created_at),
        }
    }

    /// An object that has accepted a version, trained now from input `data` with digest `A`, and was evaluated.
    pub fn accepted(spec: Value, now: &str) -> Self {
        let mut trial = Self::new(spec, now);
        trial.see("data", "A");
        trial.begin(Vec::new());
        trial.end(AttemptVerdict::Accepted);
        trial
    }

    pub fn edit(&mut self, spec: Value) -> &mut Self {
        self.freshness = read(spec);
        self
    }

    pub fn see(&mut self, input: &str, digest: &str) -> &mut Self {
        self.inputs.insert(input.to_owned(), ObservedInput::Digest(digest.to_owned()));
        self
    }

    pub fn lose(&mut self, input: &str, seen: ObservedInput) -> &mut Self {
        self.inputs.insert(input.to_owned(), seen);
        self
    }

    pub fn measure(&mut self, metric: &str, fallen: Option<bool>) -> &mut Self {
        self.metrics.insert(metric.to_owned(), fallen);
        self
    }

    pub fn at(&mut self, now: &str) -> &mut Self {
        self.now = moment(now);
        self
    }

    /// Evaluates the observations at `now` and leaves status as it is.
    pub fn evaluate(&self, now: Timestamp) -> FreshnessEvaluation {
        let trigger =
            self.annotation.as_deref().filter(|value| self.status.last_handled_trigger.as_deref() != Some(value));
        let seen = Observations {
            inputs: &self.inputs,
            metrics: &self.metrics,
            endpoint: self.endpoint,
            trigger,
            awaits_serving: self.awaits_serving,
            created_at: self.created_at,
        };
        evaluate(&self.freshness, &self.status, &seen, now)
    }

    /// Evaluates and stores the result. Checks that doing so again changes nothing.
    pub fn evaluate_and_store(&mut self) -> FreshnessEvaluation {
        let result = self.evaluate(self.now);
        result.store(&mut self.status);
        self.status.observed_generation = 1;
        let stored = self.status.clone();
        let again = self.evaluate(self.now);
        again.store(&mut self.status);
        assert_eq!(again, result, "the same world gives the same result");
        assert_eq!(self.status, stored, "an unchanged world causes no write");
        result
    }

    /// Names and values of the actionable reasons: `Input:data=B MaxAge`.
    pub fn actionable(&mut self) -> String {
        words(&self.evaluate_and_store().actionable)
    }

    pub fn current(&mut self) -> String {
        words(&self.evaluate_and_store().current)
    }

    pub fn next(&mut self) -> String {
        self.evaluate_and_store().next.map_or_else(String::new, |next| next.to_string())
    }

    /// Reserves a training for the actionable reasons, with the observed digests.
    pub fn reserve(&mut self) -> Vec<StaleReason> {
        let reasons = self.evaluate_and_store().actionable;
        assert!(!reasons.is_empty(), "no reason is actionable");
        self.begin(reasons.clone());
        reasons
    }

    fn begin(&mut self, reasons: Vec<StaleReason>) {
        self.status.attempt += 1;
        if reasons.iter().any(|reason| reason.type_ == StaleReasonType::Trigger) {
            self.status.last_handled_trigger.clone_from(&self.annotation);
        }
        let inputs = self.inputs.iter().filter_map(|(name, seen)| match seen {
            ObservedInput::Digest(digest) => Some(RecordedInput {
                name: name.clone(),
                value: digest.clone(),
                digest: digest.clone(),
                source: String::new(),
            }),
            ObservedInput::Absent | ObservedInput::Unknown => None,
        });
        self.status.reservation = Some(Box::new(TrainReservation {
            attempt: self.status.attempt,
            generation: 1,
            target: String::new(),
            slots: Vec::new(),
            inputs: inputs.collect(),
            reasons,
            trigger: None,
        }));
    }

    /// Ends the active training now.
    pub fn end(&mut self, verdict: AttemptVerdict) -> &mut Self {
        let reservation = *self.status.reservation.take().expect("a training is active");
        let answered = answer_reasons(&self.status, &reservation.reasons, verdict, Some(&self.freshness), self.now);
        self.status.answered_reasons = answered.reasons;
        self.status.schedule = answered.schedule;
        if verdict == AttemptVerdict::Accepted {
            self.accept(reservation.inputs.clone());
        }
        self.status.last_attempt = Some(Box::new(LastAttempt {
            attempt: reservation.attempt,
            reasons: reservation.reasons,
            inputs: reservation.inputs,
            verdict,
            winner: None,
            generation: 1,
            ended_at: self.now,
        }));
        self.evaluate_and_store();
        self
    }

    /// Accepts a version that is trained now, from these inputs.
    pub fn accept(&mut self, inputs: Vec<RecordedInput>) {
        self.status.accepted_version = Some(Box::new(AcceptedVersion {
            name: format!("version-{}", self.status.attempt),
            metrics: Vec::new(),
            score: None,
            uri: String::new(),
            digest: String::new(),
            inputs,
            trained_at: self.now,
            accepted_at: self.now,
        }));
    }
}

pub fn read(mut spec: Value) -> Freshness {
    let settle = spec.as_object_mut().and_then(|spec| spec.remove("settle"));
    let settle = settle.map(|settle| serde_json::from_value(settle).unwrap());
    Freshness::parse(Some(&serde_json::from_value(spec).unwrap()), settle.as_ref()).unwrap()
}

/// Parses a full timestamp, or `01T03:00` as that time of 1 June 2026 in UTC.
pub fn moment(text: &str) -> Timestamp {
    let full = if text.len() == 8 { format!("2026-06-{text}:00Z") } else { text.to_owned() };
    full.parse().unwrap()
}

pub fn words(reasons: &[StaleReason]) -> String {
    let word = |reason: &StaleReason| {
        let name = if reason.name.is_empty() { String::new() } else { format!(":{}", reason.name) };
        let value = if reason.value.is_empty() { String::new() } else { format!("={}", reason.value) };
        format!("{}{name}{value}", reason.type_.as_str())
    };
    reasons.iter().map(word).collect::<Vec<_>>().join(" ")
}
