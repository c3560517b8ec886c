//! Properties that hold for random observations over time and for trainings with any verdict. No IO.

use std::{collections::BTreeMap, time::Duration};

use jiff::{SignedDuration, Timestamp};
use proptest::prelude::*;
use serde_json::{Value, json};

use super::{reasons::*, trial::*, *};
use crate::{
    api::{AttemptVerdict, StaleReason, StaleReasonType},
    core::time::{after, cron::Cron},
};

/// A change in the world after some time has passed.
#[derive(Clone, Debug)]
enum Event {
    Nothing,
    Input(&'static str, ObservedInput),
    Metric(&'static str, Option<bool>),
    Endpoint(Option<bool>),
    Trigger(u8),
    Serving(bool),
    /// The active training ends.
    End(AttemptVerdict),
}

fn event() -> impl Strategy<Value = Event> {
    let digest = prop::sample::select(vec!["A", "B", "C"]).prop_map(|digest| ObservedInput::Digest(digest.to_owned()));
    let input = prop_oneof![6 => digest, 1 => Just(ObservedInput::Absent), 1 => Just(ObservedInput::Unknown)];
    let known = || prop_oneof![3 => Just(Some(true)), 2 => Just(Some(false)), 1 => Just(None)];
    let verdict = prop_oneof![
        4 => Just(AttemptVerdict::Rejected),
        3 => Just(AttemptVerdict::Accepted),
        2 => Just(AttemptVerdict::Failed),
        1 => Just(AttemptVerdict::AwaitingApproval),
    ];
    prop_oneof![
        3 => Just(Event::Nothing),
        4 => (prop::sample::select(vec!["data", "code", "notes"]), input).prop_map(|(name, seen)| Event::Input(name, seen)),
        2 => (prop::sample::select(vec!["r2", "drift"]), known()).prop_map(|(name, fallen)| Event::Metric(name, fallen)),
        2 => known().prop_map(Event::Endpoint),
        1 => (0_u8..4).prop_map(Event::Trigger),
        1 => any::<bool>().prop_map(Event::Serving),
        8 => verdict.prop_map(Event::End),
    ]
}

/// Time between two events, in seconds: short or long.
fn pause() -> impl Strategy<Value = i64> {
    prop_oneof![0_i64..60, 60_i64..7_200, 7_200_i64..200_000]
}

fn everything() -> Value {
    let source = json!({ "literal": "1" });
    json!({
        "maxAge": "36h",
        "schedule": { "cron": "0 3 * * *", "timeZone": "Europe/Berlin", "startingDeadline": "6h" },
        "inputs": [
            { "name": "data", "source": source },
            { "name": "code", "source": source },
            { "name": "notes", "source": source, "staleOnChange": false },
        ],
        "metrics": [
            { "name": "r2", "source": source, "rule": "value < 0.8" },
            { "name": "drift", "source": source, "rule": "value > 2.0", "for": "30m" },
        ],
        "needsTrainUrl": "http://needs.example/train",
    })
}

fn spec() -> impl Strategy<Value = Value> {
    prop::collection::vec(any::<bool>(), 5).prop_map(|chosen| {
        let keys = ["maxAge", "schedule", "inputs", "metrics", "needsTrainUrl"];
        let all = everything();
        let some = keys.iter().zip(chosen).filter(|(_, chosen)| *chosen);
        some.map(|(key, _)| ((*key).to_owned(), all[*key].clone())).collect::<serde_json::Map<_, _>>().into()
    })
}

/// The observer's own memory of an answered reason, independent of status.
#[derive(Clone, Debug)]
struct Answer {
    value: String,
    at: Timestamp,
    /// The number of trainings in a row that had the reason.
    count: i64,
}

/// An observer that detects trainings that must not start.
#[derive(Default)]
struct Observer {
    answers: BTreeMap<(StaleReasonType, String), Answer>,
    /// Digests of the trainings so far, oldest first, and whether each training answered its reasons.
    trainings: Vec<(BTreeMap<String, String>, bool)>,
}

impl Observer {
    /// Forgets the answers to reasons that are false now.
    fn watch(&mut self, trial: &Trial) {
        let accepted = trial.status.accepted_version.as_deref();
        self.answers.retain(|(type_, name), _| match type_ {
            StaleReasonType::NeverAccepted => accepted.is_none(),
            StaleReasonType::MaxAge => {
                accepted.is_some_and(|it| after(it.trained_at, Duration::from_hours(36)) <= trial.now)
            }
            StaleReasonType::Metric => trial.awaits_serving || trial.metrics.get(name) != Some(&Some(false)),
            StaleReasonType::Endpoint => trial.endpoint != Some(false),
            _ => true,
        });
    }

    /// Checks the reasons of a new reservation: each one that was answered has rearmed.
    fn reserved(&self, trial: &Trial, reasons: &[StaleReason]) {
        for reason in reasons {
            let answer = self.answers.get(&(reason.type_, reason.name.clone()));
            match (reason.type_, answer) {
                (StaleReasonType::Input, _) => self.may_try(trial, reason),
                (StaleReasonType::Schedule, Some(answer)) => {
                    assert!(firing(reason) > answer.value.parse().ok(), "{reason:?} after {answer:?}");
                }
                (StaleReasonType::Trigger, Some(answer)) => assert_ne!(answer.value, reason.value),
                (_, Some(answer)) => {
                    let until = after(answer.at, SETTLE.after(answer.count));
                    assert!(trial.now >= until, "{reason:?} at {} after {answer:?}", trial.now);
                }
                (_, None) => {}
            }
        }
    }

    fn may_try(&self, trial: &Trial, reason: &StaleReason) {
        let accepted = trial.status.accepted_version.as_deref();
        let accepted = accepted.and_then(|it| it.inputs.iter().find(|input| input.name == reason.name));
        assert_ne!(accepted.map(|input| &input.digest), Some(&reason.value), "the accepted version is made from it");
        let same = |inputs: &BTreeMap<String, String>| inputs.get(&reason.name) == Some(&reason.value);
        let lately = self.trainings.iter().rev().take_while(|(inputs, _)| same(inputs));
        assert!(
            lately.into_iter().all(|(_, answered)| !answered),
            "{reason:?} was answered and nothing else tried since"
        );
    }

    fn ended(&mut self, trial: &Trial, verdict: AttemptVerdict) {
        let last = trial.status.last_attempt.as_deref().unwrap();
        let inputs = last.inputs.iter().map(|input| (input.name.clone(), input.digest.clone())).collect();
        self.trainings.push((inputs, answers(verdict)));
        let trigger = last.reasons.iter().find(|reason| reason.type_ == StaleReasonType::Trigger);
        if let Some(trigger) = trigger {
            // After any verdict, the previous value counts as a new one when it comes back.
            self.answers.retain(|(type_, _), answer| *type_ != trigger.type_ || answer.value == trigger.value);
        }
        if !answers(verdict) {
            return;
        }
        for reason in &last.reasons {
            let key = (reason.type_, reason.name.clone());
            let count = self.answers.get(&key).map_or(0, |answer| answer.count) + 1;
            self.answers.insert(key, Answer { value: reason.value.clone(), at: last.ended_at, count });
        }
    }
}

/// Checks that `now.next` is the first moment at which time alone changes the result `now`, which status has stored.
fn next_is_exact(trial: &Trial, now: &FreshnessEvaluation) {
    let span = now.next.map_or(SignedDuration::from_hours(24 * 900), |next| next.duration_since(trial.now));
    assert!(span.is_positive(), "{:?} is not after {}", now.next, trial.now);
    for part in [7_919, 500_000, 999_999] {
        let moment = trial.now + SignedDuration::from_nanos_i128(span.as_nanos() * part / 1_000_000);
        assert_eq!(&trial.evaluate(moment), now, "at {moment}, before the next moment");
    }
    if let Some(next) = now.next {
        let just_before = next - SignedDuration::from_nanos(1);
        assert_eq!(&trial.evaluate(just_before), now, "right before {next}");
        assert_ne!(&trial.evaluate(next), now, "at {next}");
    }
}

fn happen(trial: &mut Trial, event: Event) -> Option<AttemptVerdict> {
    match event {
        Event::Nothing => {}
        Event::Input(name, seen) => drop(trial.inputs.insert(name.to_owned(), seen)),
        Event::Metric(name, fallen) => drop(trial.metrics.insert(name.to_owned(), fallen)),
        Event::Endpoint(needed) => trial.endpoint = needed,
        Event::Trigger(value) => trial.annotation = Some(value.to_string()),
        Event::Serving(awaits) => trial.awaits_serving = awaits,
        Event::End(verdict) => return Some(verdict),
    }
    None
}

proptest! {
    /// [`Trial::evaluate_and_store`] also checks at each step that a second evaluation changes nothing.
    #[test]
    fn answered_reasons_start_no_training_until_they_rearm_and_the_next_moment_is_exact(
        spec in spec(),
        events in prop::collection::vec((pause(), event()), 1..60),
    ) {
        let mut trial = Trial::new(spec, "2026-03-20T00:00:00Z");
        let mut observer = Observer::default();
        for (seconds, event) in events {
            trial.now += SignedDuration::from_secs(seconds);
            let verdict = happen(&mut trial, event);
            let result = trial.evaluate_and_store();
            next_is_exact(&trial, &result);
            prop_assert!(result.actionable.iter().all(|reason| result.current.contains(reason)));
            observer.watch(&trial);
            match verdict {
                Some(verdict) if trial.status.reservation.is_some() => {
                    trial.end(verdict);
                    observer.ended(&trial, verdict);
                    observer.watch(&trial);
                }
                _ => {}
            }
            let result = trial.evaluate_and_store();
            let ready = result.missing_inputs.iter().all(|missing| !missing.counts);
            if trial.status.reservation.is_none() && ready && !result.actionable.is_empty() {
                let reasons = trial.reserve();
                observer.reserved(&trial, &reasons);
            }
        }
    }

    #[test]
    fn settle_bounds_the_number_of_trainings_in_an_unchanging_world(
        accepts in any::<bool>(),
        takes in 60_i64..20_000,
        fallen in any::<bool>(),
        needed in any::<bool>(),
    ) {
        let mut spec = everything();
        let spec_fields = spec.as_object_mut().unwrap();
        spec_fields.remove("schedule");
        if accepts {
            // After each acceptance the age becomes a new reason once it is reached: `settle` does not bound these.
            spec_fields.remove("maxAge");
        }
        let mut trial = Trial::new(spec, "2026-06-01T00:00:00Z");
        trial.see("data", "A").see("code", "B").see("notes", "C");
        trial.measure("r2", Some(fallen)).measure("drift", Some(fallen));
        trial.endpoint = Some(needed);
        let end = moment("2026-07-01T00:00:00Z");
        while trial.now < end {
            let result = trial.evaluate_and_store();
            if result.actionable.is_empty() {
                let Some(next) = result.next else { break };
                trial.now = next;
                continue;
            }
            trial.reserve();
            trial.now += SignedDuration::from_secs(takes);
            trial.end(if accepts { AttemptVerdict::Accepted } else { AttemptVerdict::Rejected });
        }
        // Thirty days have room for waits of 1, 2, 4, 8 and 16 hours, then of one day each. Two reasons may become true
        // later than the others: the age, and the metric whose rule must hold for half an hour.
        let most = 5 + 29 + 1 + 2;
        prop_assert!(trial.status.attempt <= most, "{} trainings", trial.status.attempt);
        let least = if accepts && !fallen && !needed { 1 } else { 20 };
        prop_assert!(trial.status.attempt >= least, "only {} trainings", trial.status.attempt);
    }

    #[test]
    fn scheduled_times_of_a_downtime_start_one_training(
        cron in prop::sample::select(vec!["*/5 * * * *", "0 * * * *", "30 2 * * *", "0 3 * * 1"]),
        zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
        up in 0_i64..20_000_000,
        down in 0_i64..20_000_000,
    ) {
        let spec = json!({ "schedule": { "cron": cron, "timeZone": zone } });
        let mut trial = Trial::new(spec, "2026-01-01T00:00:00Z");
        trial.now += SignedDuration::from_secs(up);
        while !trial.evaluate_and_store().actionable.is_empty() {
            trial.reserve();
            trial.end(AttemptVerdict::Accepted);
        }
        let before = trial.status.attempt;
        let missed = Cron::parse("spec", cron, Some(zone)).unwrap().next(trial.now).unwrap();
        trial.now += SignedDuration::from_secs(down);
        while !trial.evaluate_and_store().actionable.is_empty() {
            trial.reserve();
            trial.end(AttemptVerdict::Rejected);
        }
        prop_assert_eq!(trial.status.attempt - before, i64::from(missed <= trial.now));
    }
}

/// Clocks change by an hour in Berlin and New York and by half an hour on Lord Howe Island. The test covers both
/// directions of each, minute by minute.
#[test]
fn each_scheduled_time_starts_one_training_across_a_clock_change() {
    for (zone, nights) in [
        ("Europe/Berlin", ["2026-03-28T22:00:00Z", "2026-10-24T22:00:00Z"]),
        ("America/New_York", ["2026-03-08T04:00:00Z", "2026-11-01T03:00:00Z"]),
        ("Australia/Lord_Howe", ["2026-04-04T12:00:00Z", "2026-10-03T12:00:00Z"]),
    ] {
        for (night, cron) in nights.iter().flat_map(|night| {
            ["30 2 * * *", "0 2 * * *", "30 1 * * *", "45 1 * * *", "0 3 * * *", "*/15 * * * *", "0 * * * *"]
                .map(|cron| (night, cron))
        }) {
            let mut trial = Trial::new(json!({ "schedule": { "cron": cron, "timeZone": zone } }), night);
            let mut trained = Vec::new();
            for _ in 0..60 * 8 {
                trial.now += SignedDuration::from_mins(1);
                if !trial.evaluate_and_store().actionable.is_empty() {
                    trained.extend(trial.reserve().iter().filter_map(firing));
                    trial.end(AttemptVerdict::Accepted);
                }
            }
            let times = Cron::parse("spec", cron, Some(zone)).unwrap();
            let ends = trial.now;
            let expected: Vec<_> = std::iter::successors(times.next(moment(night)), |last| times.next(*last))
                .take_while(|at| *at <= ends)
                .collect();
            assert_eq!(trained, expected, "{cron} in {zone} on {night}");
        }
    }
}
