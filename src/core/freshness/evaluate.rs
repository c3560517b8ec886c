//! Whether a model is stale now, why, and when that changes by time alone. Pure.

use std::{cmp::Ordering, collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    Freshness,
    reasons::{entry, left_unanswered, order, reason, under_way},
    schedule::Schedule,
};
use crate::{
    api::{
        AnsweredReason, AttemptVerdict, BreachingMetric, ModelTrainStatus, RecordedInput, ScheduleStatus, StaleReason,
        StaleReasonType,
    },
    core::time::{after, whole_seconds},
};

/// The observation of an input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ObservedInput {
    /// Digest of its value.
    Digest(String),
    /// The input is known to have no value.
    Absent,
    /// The input was not read, or the read failed.
    Unknown,
}

/// Observations of the world, by the names in the spec. A missing name means an unknown value.
#[derive(Clone, Copy, Debug)]
pub struct Observations<'a> {
    /// Inputs.
    pub inputs: &'a BTreeMap<String, ObservedInput>,
    /// Whether each live metric's rule holds. `None` if the metric is unknown, absent or not a number: it then counts
    /// neither as fallen nor as recovered. An absent metric is never zero.
    pub metrics: &'a BTreeMap<String, Option<bool>>,
    /// Whether the endpoint says that a training is needed; `None` without a valid response.
    pub endpoint: Option<bool>,
    /// The trigger annotation's value; `None` if it is the one handled last.
    pub trigger: Option<&'a str>,
    /// Whether a ModelSync follows this ModelTrain and does not serve the accepted version yet: live metrics then
    /// belong to an earlier version.
    pub awaits_serving: bool,
    /// When the object was created.
    pub created_at: Timestamp,
}

/// An input without a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingInput {
    /// Its name.
    pub name: String,
    /// Whether a change of it makes the model stale.
    pub counts: bool,
    /// Whether it is known to have no value. Otherwise it was not read, or the read failed.
    pub absent: bool,
}

/// The result of an evaluation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FreshnessEvaluation {
    /// Why the model is stale, including answered reasons, sorted by type and name. If this is empty and everything is
    /// `known`, the model is fresh.
    pub current: Vec<StaleReason>,
    /// The current reasons that no training has answered, or that have rearmed. If there is one, a training is due, and
    /// its reservation pins them.
    pub actionable: Vec<StaleReason>,
    /// `status.answeredReasons`, sorted by type and name.
    pub answered: Vec<AnsweredReason>,
    /// `status.breachingMetrics`, in the order of the spec.
    pub falling: Vec<BreachingMetric>,
    /// `status.schedule`.
    pub schedule: Option<ScheduleStatus>,
    /// `status.staleSince`.
    pub stale_since: Option<Timestamp>,
    /// Whether everything that may make the model stale is known.
    pub known: bool,
    /// The next moment, after now, at which time alone changes this result.
    pub next: Option<Timestamp>,
    /// Inputs without a value, in the order of the spec. The caller reserves no training while one that counts is among
    /// them: the record would not name everything that the training used.
    pub missing_inputs: Vec<MissingInput>,
}

impl FreshnessEvaluation {
    /// Stores the result in `status`. Storing the same result again changes nothing.
    pub fn store(&self, status: &mut ModelTrainStatus) {
        status.stale_reasons.clone_from(&self.current);
        status.stale_since = self.stale_since;
        status.answered_reasons.clone_from(&self.answered);
        status.breaching_metrics.clone_from(&self.falling);
        status.schedule.clone_from(&self.schedule);
        status.next_evaluation_at = self.next;
    }
}

/// Evaluates every reason at `now`.
///
/// The caller stores the result ([`FreshnessEvaluation::store`]) before the next evaluation. The same observations then give the
/// same result until `next`.
pub fn evaluate(
    freshness: &Freshness,
    status: &ModelTrainStatus,
    seen: &Observations<'_>,
    now: Timestamp,
) -> FreshnessEvaluation {
    let result = FreshnessEvaluation { known: true, ..FreshnessEvaluation::default() };
    let mut evaluator = Evaluator { freshness, status, seen, now, result };
    evaluator.never_accepted();
    evaluator.max_age();
    if let Some(schedule) = &freshness.schedule {
        evaluator.schedule(schedule);
    }
    for (name, counts) in &freshness.inputs {
        evaluator.input(name, *counts);
    }
    for (name, holds_for) in &freshness.metrics {
        evaluator.metric(name, *holds_for);
    }
    if freshness.endpoint {
        evaluator.endpoint();
    }
    evaluator.trigger();
    evaluator.finish()
}

/// The state of a `NeverAccepted`, `MaxAge`, `Metric` or `Endpoint` reason.
#[derive(Clone, Copy)]
enum ReasonState {
    /// The reason is true.
    True,
    /// The reason is false.
    False,
    /// The rule of a metric holds, but not yet for long enough: the reason is not true, and has not been false.
    Pending,
    /// It is unknown whether the reason is true.
    Unknown,
}

struct Evaluator<'a> {
    freshness: &'a Freshness,
    status: &'a ModelTrainStatus,
    seen: &'a Observations<'a>,
    now: Timestamp,
    result: FreshnessEvaluation,
}

impl Evaluator<'_> {
    fn never_accepted(&mut self) {
        let missing = self.status.accepted_version.is_none() && self.freshness.needs_a_version();
        self.evaluate_freshness(
            StaleReasonType::NeverAccepted,
            "",
            if missing { ReasonState::True } else { ReasonState::False },
        );
    }

    fn max_age(&mut self) {
        let (Some(max_age), Some(accepted)) = (self.freshness.max_age, &self.status.accepted_version) else { return };
        let reached = after(accepted.trained_at, max_age);
        let state = if self.reached(reached) { ReasonState::True } else { ReasonState::False };
        self.evaluate_freshness(StaleReasonType::MaxAge, "", state);
    }

    fn schedule(&mut self, schedule: &Schedule) {
        let sight = schedule.evaluate(self.status, self.seen.created_at, self.now);
        if let Some(next) = sight.next {
            self.wake(next);
        }
        self.result.schedule = Some(sight.status);
        match sight.due {
            Some(due) => self.actionable(reason(StaleReasonType::Schedule, "", &due.to_string())),
            None => self.keep_until_accepted(StaleReasonType::Schedule),
        }
    }

    /// The reason holds if the input differs from that of the accepted version. Without such a version, the input must
    /// differ from that of the last training. Before the first training there is nothing to compare with, and
    /// `NeverAccepted` is current.
    fn input(&mut self, name: &str, counts: bool) {
        let seen = self.seen.inputs.get(name).unwrap_or(&ObservedInput::Unknown);
        if !matches!(seen, ObservedInput::Digest(_)) {
            let absent = *seen == ObservedInput::Absent;
            self.result.missing_inputs.push(MissingInput { name: name.to_owned(), counts, absent });
        }
        if !counts {
            return;
        }
        let accepted = self.status.accepted_version.as_deref();
        let accepted_digest = accepted.and_then(|accepted| digest_of(&accepted.inputs, name));
        match seen {
            ObservedInput::Absent => self.keep_entry(StaleReasonType::Input, name),
            ObservedInput::Unknown => {
                self.result.known = false;
                self.keep_entry(StaleReasonType::Input, name);
                self.keep_current(StaleReasonType::Input, name, accepted_digest);
            }
            ObservedInput::Digest(digest) => {
                let tried = self.tried(name, digest);
                let differs = match (accepted, &self.status.last_attempt) {
                    (Some(_), _) => accepted_digest != Some(digest),
                    (None, Some(_)) => !tried,
                    (None, None) => false,
                };
                if differs {
                    self.differing_input(reason(StaleReasonType::Input, name, digest), tried);
                }
            }
        }
    }

    /// Whether the last training used this value, and did not leave a reason with this value unanswered.
    fn tried(&self, name: &str, digest: &str) -> bool {
        let again = |reason: &StaleReason| reason.name == name && reason.value == digest;
        self.status.last_attempt.as_deref().is_some_and(|last| digest_of(&last.inputs, name) == Some(digest))
            && !left_unanswered(self.status, StaleReasonType::Input, again)
    }

    /// Adds the reason of an input that differs. `tried` is the result of `Self::tried`.
    ///
    /// The entry in status outlives a later training for another reason in which no run succeeded: only the entry then
    /// says that the value was tried before. Without an entry, the value tried last counts as answered all the same:
    /// the input may have had the accepted value in between, which removes the entry, and must not start a training
    /// each time it changes back.
    fn differing_input(&mut self, reason: StaleReason, tried: bool) {
        let answered = entry(self.status, reason.type_, &reason.name).filter(|entry| entry.reason == reason).cloned();
        match answered.or_else(|| tried.then(|| AnsweredReason { reason: reason.clone(), until: None, count: 1 })) {
            None => self.actionable(reason),
            Some(answered) => {
                self.result.answered.push(answered);
                self.result.current.push(reason);
            }
        }
    }

    /// An unknown value neither makes the reason true nor restarts the time for which the rule must hold: a failed
    /// scrape says nothing. Only a known value can make the reason true.
    fn metric(&mut self, name: &str, holds_for: Duration) {
        if self.seen.awaits_serving {
            self.keep_entry(StaleReasonType::Metric, name);
            return;
        }
        let before = self.status.breaching_metrics.iter().find(|falling| falling.name == name);
        let state = match self.seen.metrics.get(name).copied().flatten() {
            Some(false) => ReasonState::False,
            None => {
                self.result.falling.extend(before.cloned());
                ReasonState::Unknown
            }
            Some(true) => {
                // A clock that went back must not make the wait longer.
                let now = whole_seconds(self.now);
                let since = before.map_or(now, |falling| falling.since.min(now));
                self.result.falling.push(BreachingMetric { name: name.to_owned(), since });
                if self.reached(after(since, holds_for)) { ReasonState::True } else { ReasonState::Pending }
            }
        };
        self.evaluate_freshness(StaleReasonType::Metric, name, state);
    }

    fn endpoint(&mut self) {
        let state = match self.seen.endpoint {
            Some(true) => ReasonState::True,
            Some(false) => ReasonState::False,
            None => ReasonState::Unknown,
        };
        self.evaluate_freshness(StaleReasonType::Endpoint, "", state);
    }

    /// A value is handled once a training is reserved for it. The reason stays current while that training is active,
    /// and is actionable again after a training that does not answer it.
    fn trigger(&mut self) {
        let type_ = StaleReasonType::Trigger;
        if let Some(value) = self.seen.trigger {
            return self.actionable(reason(type_, "", value));
        }
        if under_way(self.status, type_, |_| true) {
            let reasons = self.status.reservation.iter().flat_map(|reservation| &reservation.reasons);
            self.result.current.extend(reasons.filter(|reason| reason.type_ == type_).take(1).cloned());
            return;
        }
        if left_unanswered(self.status, type_, |_| true) {
            let reasons = self.status.last_attempt.iter().flat_map(|last| &last.reasons);
            let again = reasons.filter(|reason| reason.type_ == type_).take(1).cloned().collect::<Vec<_>>();
            return again.into_iter().for_each(|reason| self.actionable(reason));
        }
        self.keep_until_accepted(type_);
    }

    /// Adds a reason that rearms after a wait.
    fn evaluate_freshness(&mut self, type_: StaleReasonType, name: &str, state: ReasonState) {
        match state {
            ReasonState::False => {}
            ReasonState::Pending => self.keep_entry(type_, name),
            ReasonState::Unknown => {
                self.result.known = false;
                self.keep_entry(type_, name);
                self.keep_current(type_, name, None);
            }
            ReasonState::True => {
                let reason = reason(type_, name, "");
                let Some(entry) = entry(self.status, type_, name) else { return self.actionable(reason) };
                // Neither a clock that went back nor an edit of `spec.settle` makes the wait longer than it is now.
                let longest = after(whole_seconds(self.now), self.freshness.settle.after(entry.count));
                let until = entry.until.unwrap_or(longest).min(longest);
                self.result.answered.push(AnsweredReason { until: Some(until), ..entry.clone() });
                if self.reached(until) {
                    self.actionable(reason);
                } else {
                    self.result.current.push(reason);
                }
            }
        }
    }

    /// Keeps an answered `Schedule` or `Trigger` reason current until a version is accepted.
    fn keep_until_accepted(&mut self, type_: StaleReasonType) {
        let Some(entry) = entry(self.status, type_, "") else { return };
        let last = self.status.last_attempt.as_deref();
        let answered = self.status.accepted_version.as_deref().is_some_and(|accepted| {
            // Within one second, only the training's own verdict shows which came first.
            last.is_none_or(|last| match accepted.accepted_at.cmp(&last.ended_at) {
                Ordering::Less => false,
                Ordering::Equal => last.verdict == AttemptVerdict::Accepted,
                Ordering::Greater => true,
            })
        });
        if !answered {
            self.result.current.push(entry.reason.clone());
            self.result.answered.push(entry.clone());
        }
    }

    fn actionable(&mut self, reason: StaleReason) {
        self.result.actionable.push(reason.clone());
        self.result.current.push(reason);
    }

    fn keep_entry(&mut self, type_: StaleReasonType, name: &str) {
        self.result.answered.extend(entry(self.status, type_, name).cloned());
    }

    /// Keeps a reason current that is current in status, unless its value is `except`.
    fn keep_current(&mut self, type_: StaleReasonType, name: &str, except: Option<&str>) {
        let mut reasons = self.status.stale_reasons.iter();
        let before = reasons.find(|reason| order(reason) == (type_, name) && Some(reason.value.as_str()) != except);
        self.result.current.extend(before.cloned());
    }

    /// Whether `moment` has come. If not, the result's `next` is at most `moment`.
    fn reached(&mut self, moment: Timestamp) -> bool {
        let reached = moment <= self.now;
        if !reached {
            self.wake(moment);
        }
        reached
    }

    fn wake(&mut self, at: Timestamp) {
        self.result.next = Some(self.result.next.map_or(at, |next| next.min(at)));
    }

    fn finish(mut self) -> FreshnessEvaluation {
        self.result.current.sort_by(|a, b| order(a).cmp(&order(b)));
        self.result.actionable.sort_by(|a, b| order(a).cmp(&order(b)));
        self.result.answered.sort_by(|a, b| order(&a.reason).cmp(&order(&b.reason)));
        let since = self.status.stale_since.unwrap_or_else(|| whole_seconds(self.now));
        self.result.stale_since = (!self.result.current.is_empty()).then_some(since);
        self.result
    }
}

fn digest_of<'a>(inputs: &'a [RecordedInput], name: &str) -> Option<&'a str> {
    inputs.iter().find(|input| input.name == name).map(|input| input.digest.as_str())
}
