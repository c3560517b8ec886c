//! From a run that has ended to its record: what it reports, what was measured, what the gate says. Pure.
//!
//! Records are written one at a time, in the order of the slots, each named as its run. A record is made of the run, the
//! reservation and what was read of the run, never of the clock: after a crash at any step the next process makes the same
//! one.

use std::{collections::BTreeMap, time::Duration};

use sha2::{Digest, Sha256};

use super::{
    attempt::{CandidateRunState, active},
    close,
    facts::{Facts, readings},
    plan::{Effect, Plan, Rule},
    summarise::{Situation, report, reported},
    validate::Valid,
};
use crate::{
    api::{
        DeletionPolicy, GateReport, ModelTrainStatus, ModelVersionSpec, Outcome, Reason, RecordedMetric,
        RecordedParameter, RecordedRun, SlotReport, SlotState, TrainRef, TrainReservation, TrainSlot, Verdict,
    },
    core::{
        gate::{GateProgram, Judgement},
        results::Results,
        run::{
            backend::{Ending, RunRecord},
            digest::hex,
            effects::StopCause,
        },
        source::validate::describe,
        status::condition::truncated,
        time::{Now, after, until, whole_seconds},
        version::{
            chain::{input_digest, next_record as seal},
            record::VersionRecord,
        },
    },
};

/// How long metrics from sources are asked for where the user says nothing.
const WAIT: Duration = Duration::from_mins(2);
/// How soon a metric that is not there is asked for again.
const MEASURE_AGAIN: Duration = Duration::from_secs(5);
/// How soon a record is written again whose name something else had.
const RECORD_AGAIN: Duration = Duration::from_mins(1);
/// Longest value of a metric that a record holds, in bytes.
const MAX_NUMBER: usize = 64;

/// What a run that has ended reports is to be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadResults {
    /// Kind of the run.
    pub kind: String,
    /// Its name.
    pub run_name: String,
    /// Its uid.
    pub run_uid: String,
}

/// What a candidate is judged by. Owned, so that it can be judged on a thread of its own.
#[derive(Clone, Debug)]
pub struct Evidence {
    /// Name of its run.
    pub run_name: String,
    /// Digest of everything below and of the gate.
    pub digest: String,
    /// The gate.
    pub gate: GateProgram,
    /// Its name.
    pub candidate: String,
    /// Its metrics.
    pub metrics: BTreeMap<String, Option<f64>>,
    /// Metrics of the accepted version.
    pub accepted: BTreeMap<String, f64>,
    /// Metrics of the version that is served.
    pub served: BTreeMap<String, f64>,
    /// Parameters of its run.
    pub parameters: BTreeMap<String, String>,
    /// Inputs of the training.
    pub inputs: BTreeMap<String, String>,
}

impl PartialEq for Evidence {
    /// The digest covers the rest.
    fn eq(&self, other: &Self) -> bool {
        self.run_name == other.run_name && self.digest == other.digest
    }
}

impl Evidence {
    /// Judges the candidate. Takes some milliseconds at most for each rule.
    pub fn judge(&self) -> Judgement {
        self.gate.judge(&crate::core::gate::Evidence {
            candidate: &self.candidate,
            metrics: &self.metrics,
            accepted: &self.accepted,
            served: &self.served,
            parameters: &self.parameters,
            inputs: &self.inputs,
        })
    }
}

/// The next step towards the record of the first slot that has none, or towards the end. `None` where its run has not ended.
pub fn next_record(
    facts: &Facts<'_>,
    open: &TrainReservation,
    slots: &[(&TrainSlot, CandidateRunState<'_>)],
    now: Now,
) -> Option<Plan> {
    if let Some(name) = unseen(facts, open) {
        return Some(Plan::doing(Rule::LookUpVersion, Effect::LookUpVersion(name.to_owned())));
    }
    let Some(place) = slots.iter().position(|(_, state)| !matches!(state, CandidateRunState::Done)) else {
        return Some(close::close(facts, open, now));
    };
    let (slot, state) = slots[place];
    let run = match state {
        CandidateRunState::Ended(run, ending) => Some((run, ending)),
        CandidateRunState::Gone => None,
        _ => return None,
    };
    let found = facts.own_versions().iter().find(|version| *version.name == *slot.run_name);
    if let Some(version) = found.filter(|version| version.attempt == open.attempt && version.sound) {
        return Some(note(facts, open, place, version, now));
    }
    let conflict = facts.memory.conflicts.get(&slot.run_name);
    if let Some((remedy, seen)) = conflict.filter(|(_, seen)| now.mono.since(*seen) < RECORD_AGAIN) {
        let message = format!("ModelVersion {} {remedy}", slot.run_name);
        let situation = Situation::Stalled { reason: Reason::RecordConflict, message };
        return Some(report(facts, Rule::RecordConflict, &situation, now).waking_at(*seen + RECORD_AGAIN));
    }
    let results = match run {
        None => Results::default(),
        Some((run, _)) => match facts.memory.results.get(&run.uid) {
            Some(results) => results.clone(),
            None => return Some(Plan::doing(Rule::ReadResults, Effect::ReadResults(read(slot, run)))),
        },
    };
    let valid = match &facts.spec {
        Ok(valid) => valid,
        // The gate that judges is the spec's; until it can be read nothing is lost by waiting.
        Err(invalid) => {
            let situation = Situation::Stalled { reason: Reason::InvalidSpec, message: invalid.to_string() };
            return Some(report(facts, Rule::InvalidSpec, &situation, now));
        }
    };
    let metrics = match run.filter(|(_, ending)| ending.outcome == Outcome::Succeeded) {
        Some((run, ending)) => match measured(facts, valid, (run, ending), &results, now) {
            Ok(metrics) => metrics,
            Err(plan) => return Some(*plan),
        },
        None => results.metrics.clone(),
    };
    let gate = match run.filter(|(_, ending)| ending.outcome == Outcome::Succeeded) {
        None => GateReport { verdict: Verdict::NotJudged, ..unjudged(facts) },
        Some(_) => match verdict(facts, valid, open, slot, (&metrics, &results)) {
            Ok(gate) => gate,
            Err(evidence) => return Some(Plan::doing(Rule::Judge, Effect::Judge(evidence))),
        },
    };
    let draft = draft(facts, open, slot, (run, results, metrics, gate));
    let policy = if valid.owned { DeletionPolicy::Delete } else { DeletionPolicy::Orphan };
    let spec = seal(draft, facts.status.head.as_ref());
    Some(Plan::doing(Rule::CreateVersion, Effect::CreateVersion(Box::new(spec), policy)))
}

/// A record that status counts and that the store does not show. The watch of records may be behind that of trainings, and
/// a decision without this record would pass over what may be the best: only a live look tells that it is gone.
fn unseen<'a>(facts: &Facts<'_>, open: &'a TrainReservation) -> Option<&'a str> {
    let recorded = open.slots.iter().filter(|slot| slot.state == SlotState::Recorded);
    let mut names = recorded.map(|slot| slot.run_name.as_str());
    names.find(|name| {
        !facts.memory.absent.contains(*name) && !facts.own_versions().iter().any(|version| *version.name == **name)
    })
}

fn read(slot: &TrainSlot, run: &RunRecord) -> ReadResults {
    ReadResults { kind: slot.kind.clone(), run_name: run.name.clone(), run_uid: run.uid.clone() }
}

/// The metrics of a run that has succeeded; or the plan that waits for those that are not there yet.
fn measured(
    facts: &Facts<'_>,
    valid: &Valid<'_>,
    (run, ending): (&RunRecord, &Ending),
    results: &Results,
    now: Now,
) -> Result<Vec<RecordedMetric>, Box<Plan>> {
    let Some(metrics) = valid.spec.metrics.as_deref().filter(|metrics| !metrics.values.is_empty()) else {
        return Ok(results.metrics.clone());
    };
    let wait = metrics.wait.map_or(WAIT, Duration::from);
    // A run need not say when it ended, and its clock may run ahead; the wait must end all the same.
    let moments = [ending.finished_at, run.observed.started_at, run.created_at];
    let ended = moments.into_iter().flatten().find(|at| until(now.wall, *at) <= wait);
    let left = ended.map_or(Duration::ZERO, |ended| until(now.wall, after(ended, wait)));
    let over = left.is_zero();
    // The answer wakes.
    let ask = |at: Duration| {
        let plan = report(facts, Rule::AwaitMetrics, &Situation::AwaitingMetrics { run: &run.name }, now);
        let plan = plan.polling(facts, at, now);
        Err(Box::new(if over { plan } else { plan.waking_at(now.mono + left) }))
    };
    let measured = facts.memory.measured.get(&run.uid);
    let sent = measured.map(|measured| measured.sent).max(facts.memory.unmeasured);
    let Some(sent) = sent else { return ask(Duration::ZERO) };
    let text = |name: &String| measured.and_then(|measured| measured.values.get(name)?.as_ref().ok()?.as_deref());
    let complete = metrics.values.iter().all(|value| text(&value.name).is_some());
    if !complete && !over {
        return ask(MEASURE_AGAIN.saturating_sub(now.mono.since(sent)).min(left));
    }
    let recorded = metrics.values.iter().map(|value| {
        let text = text(&value.name).map(|text| text.trim().to_owned());
        RecordedMetric {
            name: value.name.clone(),
            value: text.filter(|text| text.len() <= MAX_NUMBER && text.parse::<f64>().is_ok_and(f64::is_finite)),
            source: describe(&value.source),
        }
    });
    Ok(recorded.collect())
}

/// What the gate says; or what is to be judged.
fn verdict(
    facts: &Facts<'_>,
    valid: &Valid<'_>,
    open: &TrainReservation,
    slot: &TrainSlot,
    (metrics, results): (&[RecordedMetric], &Results),
) -> Result<GateReport, Box<Evidence>> {
    let evidence = evidence(facts, valid, open, slot, metrics);
    let judged = facts.memory.judged.get(&slot.run_name).filter(|(digest, _)| *digest == evidence.digest);
    let Some((_, judgement)) = judged else { return Err(Box::new(evidence)) };
    let mut report = GateReport { verdict: judgement.verdict, rules: judgement.rules.clone(), ..unjudged(facts) };
    report.score = valid
        .best_metric()
        .and_then(|best| metrics.iter().find(|metric| metric.name == best).and_then(|metric| metric.value.clone()));
    // A run that read something else than what was pinned says nothing about what was pinned.
    let misread = open.inputs.iter().find(|input| {
        let read = results.read_inputs.get(&input.name);
        read.is_some_and(|read| *read != input.value && input_digest(read) != input.digest && *read != input.digest)
    });
    if let Some(input) = misread
        && matches!(report.verdict, Verdict::Passed | Verdict::MetricsUnavailable)
    {
        report.verdict = Verdict::Inconclusive;
        report.rules.push(crate::api::RuleReport {
            name: truncated(&format!("input.{}", input.name), 63),
            verdict: Verdict::Inconclusive,
            message: truncated("the run says that it read something else than what the training was started for", 256),
        });
    }
    Ok(report)
}

fn evidence(
    facts: &Facts<'_>,
    valid: &Valid<'_>,
    open: &TrainReservation,
    slot: &TrainSlot,
    metrics: &[RecordedMetric],
) -> Evidence {
    let accepted = facts.accepted_metrics().unwrap_or_default();
    let served = facts.served_metrics().unwrap_or_default();
    let inputs: BTreeMap<_, _> = open.inputs.iter().map(|input| (input.name.clone(), input.value.clone())).collect();
    let read = readings(metrics);
    let identity = serde_json::json!({
        "gate": valid.spec.gate, "candidate": slot.candidate, "metrics": metrics, "accepted": accepted,
        "served": served, "parameters": slot.parameters, "inputs": inputs,
    });
    Evidence {
        run_name: slot.run_name.clone(),
        digest: hex(&Sha256::digest(identity.to_string().as_bytes())),
        gate: valid.gate.clone(),
        candidate: slot.candidate.clone(),
        metrics: read,
        accepted,
        served,
        parameters: slot.parameters.clone(),
        inputs,
    }
}

fn unjudged(facts: &Facts<'_>) -> GateReport {
    let accepted = facts.status.accepted_version.as_ref();
    GateReport {
        verdict: Verdict::NotJudged,
        compared_to: accepted.map_or_else(String::new, |accepted| accepted.name.clone()),
        score: None,
        rules: Vec::new(),
    }
}

/// The record, but for its place in the chain.
fn draft(
    facts: &Facts<'_>,
    open: &TrainReservation,
    slot: &TrainSlot,
    (run, results, metrics, gate): (Option<(&RunRecord, &Ending)>, Results, Vec<RecordedMetric>, GateReport),
) -> ModelVersionSpec {
    let sighted = facts.memory.sighted.get(&slot.run_name).map(|(uid, _)| uid.clone());
    let parameters = slot.parameters.iter();
    ModelVersionSpec {
        train_ref: TrainRef { name: facts.object.name.to_string(), uid: facts.object.uid.to_string() },
        attempt: open.attempt,
        candidate: slot.candidate.clone(),
        run: RecordedRun {
            api_version: slot.api_version.clone(),
            kind: slot.kind.clone(),
            name: slot.run_name.clone(),
            uid: run.map_or_else(|| sighted.unwrap_or_default(), |(run, _)| run.uid.clone()),
            outcome: run.map_or(Outcome::Gone, |(run, ending)| outcome(run, ending)),
            started_at: run.and_then(|(run, _)| run.observed.started_at),
            finished_at: run.and_then(|(_, ending)| ending.finished_at).map(whole_seconds),
        },
        reasons: open.reasons.clone(),
        inputs: open.inputs.clone(),
        parameters: parameters
            .map(|(name, value)| RecordedParameter { name: name.clone(), value: value.clone() })
            .collect(),
        artifact: results.artifact,
        metrics,
        outputs: results.outputs,
        results_problem: results.problem,
        gate,
        previous: None,
        digest: String::new(),
    }
}

/// How a run ended. We end a run by cancelling it; what it says of itself then is not why it ended.
fn outcome(run: &RunRecord, ending: &Ending) -> Outcome {
    match (ending.outcome, run.stopped.as_deref()) {
        (Outcome::Succeeded, _) | (_, None) => ending.outcome,
        (_, Some(cause)) if cause == StopCause::TimedOut.as_str() => Outcome::TimedOut,
        (_, Some(_)) => Outcome::Cancelled,
    }
}

/// Notes a record that stands: the head moves to it. Where it was the last, the training is decided in the same write.
fn note(facts: &Facts<'_>, open: &TrainReservation, place: usize, version: &VersionRecord, now: Now) -> Plan {
    let mut open = open.clone();
    if let Some(slot) = open.slots.get_mut(place) {
        slot.state = SlotState::Recorded;
    }
    let mut status = facts.status.clone();
    status.head = Some(version.reference());
    let report = SlotReport {
        candidate: version.candidate.to_string(),
        run: version.name.to_string(),
        outcome: Some(version.outcome),
        verdict: Some(version.verdict),
        score: version.score.as_deref().map(str::to_owned),
        decision: None,
    };
    match status.slots.iter_mut().find(|slot| slot.run == report.run) {
        Some(slot) => *slot = report,
        None => status.slots.push(report),
    }
    status.reservation = Some(Box::new(open.clone()));
    let facts = &Facts { status: &status, ..facts.clone() };
    let over = |slot: &TrainSlot| matches!(slot.state, SlotState::Recorded | SlotState::Skipped);
    if open.slots.iter().all(over) {
        return close::close(facts, &open, now);
    }
    let status = ModelTrainStatus { active: active(facts, &open), ..reported(facts, &Situation::Training(&open), now) };
    Plan::write(facts, Rule::NoteVersion, status)
}
