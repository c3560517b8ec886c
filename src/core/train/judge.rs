//! From a run that has ended to its record: results, metrics, verdict. Pure.
//!
//! Records are written one at a time, in the order of the slots, each named like its run. A record is made from the
//! run, the reservation and what was read about the run, never from the clock. So after a crash at any step, the next
//! process makes the same record.

use std::{collections::BTreeMap, time::Duration};

use sha2::{Digest, Sha256};

use super::{
    candidate_run::{CandidateRunState, active},
    close,
    evidence::{Evidence, ReadResults},
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
        results::Results,
        run::{
            backend::{Ending, RunRecord},
            claim::outcome,
            digest::hex,
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

/// Default of `spec.metrics.wait`: how long the operator polls for metrics from sources.
const WAIT: Duration = Duration::from_mins(2);
/// Time between two polls for a metric that has no value yet.
const MEASURE_AGAIN: Duration = Duration::from_secs(5);
/// Time until the operator retries the write of a record whose name another object had.
const RECORD_AGAIN: Duration = Duration::from_mins(1);
/// Maximum length of a metric value in a record, in bytes.
const MAX_NUMBER: usize = 64;

/// The candidate run that is recorded next, with its index in the training. `run` is `None` if the run is gone.
#[derive(Clone, Copy)]
struct Next<'a> {
    place: usize,
    slot: &'a TrainSlot,
    run: Option<(&'a RunRecord, &'a Ending)>,
}

impl<'a> Next<'a> {
    /// The run, if it succeeded. Only such a run is measured and judged.
    fn succeeded(&self) -> Option<(&'a RunRecord, &'a Ending)> {
        self.run.filter(|(_, ending)| ending.outcome == Outcome::Succeeded)
    }
}

/// The result of a step: its value if it is done, otherwise the plan that does it. `None` if the run of the next record
/// has not ended.
type RecordStep<T> = Result<T, Option<Box<Plan>>>;

fn doing<T>(rule: Rule, effect: Effect) -> RecordStep<T> {
    Err(Some(Box::new(Plan::doing(rule, effect))))
}

/// The next step towards the record of the first run without one, or towards the end of the training. `None` if that
/// run has not ended.
pub fn next_record(
    facts: &Facts<'_>,
    open: &TrainReservation,
    slots: &[(&TrainSlot, CandidateRunState<'_>)],
    now: Now,
) -> Option<Plan> {
    recorded(facts, open, slots, now).unwrap_or_else(|step| step.map(|plan| *plan))
}

/// Locates, reads, measures, judges, seals, notes. The first step that is not done decides.
fn recorded(
    facts: &Facts<'_>,
    open: &TrainReservation,
    slots: &[(&TrainSlot, CandidateRunState<'_>)],
    now: Now,
) -> RecordStep<Option<Plan>> {
    let Some(next) = locate(facts, open, slots)? else { return Ok(Some(close::close(facts, open, now))) };
    if let Some(version) = on_record(facts, open, &next, now)? {
        return Ok(Some(note(facts, open, next.place, version, now)));
    }
    let results = read(facts, &next)?;
    let valid = valid(facts, now)?;
    let metrics = measure(facts, valid, &next, &results, now)?;
    let gate = judge(facts, valid, (open, &next), &metrics, &results)?;
    let draft = draft(facts, open, &next, Findings { results, metrics, gate });
    if let Some(refusal) = facts.memory.refused_records.get(&next.slot.run_name)
        && refusal.retry_at() > now.mono
    {
        let plan = report(facts, Rule::CreateVersion, &Situation::Training(open), now);
        return Err(Some(Box::new(plan.waking_at(refusal.retry_at()))));
    }
    let policy = if valid.owned { DeletionPolicy::Delete } else { DeletionPolicy::Orphan };
    let sealed = seal(draft, facts.status.head.as_ref());
    doing(Rule::CreateVersion, Effect::CreateVersion(Box::new(sealed), policy))
}

/// The first candidate run without a record. `None` once each has one.
fn locate<'a>(
    facts: &Facts<'_>,
    open: &TrainReservation,
    slots: &[(&'a TrainSlot, CandidateRunState<'a>)],
) -> RecordStep<Option<Next<'a>>> {
    if let Some(name) = unseen(facts, open) {
        return doing(Rule::LookUpVersion, Effect::LookUpVersion(name.to_owned()));
    }
    let next = slots.iter().enumerate().find(|(_, (_, state))| !matches!(state, CandidateRunState::Done));
    let Some((place, (slot, state))) = next else { return Ok(None) };
    let run = match state {
        CandidateRunState::Ended(run, ending) => Some((*run, *ending)),
        CandidateRunState::Gone => None,
        _ => return Err(None),
    };
    Ok(Some(Next { place, slot, run }))
}

/// The record of the run, if it is stored already. A person must remove another object that has the record's name.
fn on_record<'a>(
    facts: &Facts<'a>,
    open: &TrainReservation,
    next: &Next<'_>,
    now: Now,
) -> RecordStep<Option<&'a VersionRecord>> {
    let name = &next.slot.run_name;
    let found = facts.own_versions().iter().copied().find(|version| *version.name == **name);
    let own = found.filter(|version| version.attempt == open.attempt && version.sound);
    let conflict = facts.memory.conflicts.get(name).filter(|(_, seen)| now.mono.since(*seen) < RECORD_AGAIN);
    match (own, conflict) {
        (None, Some((remedy, seen))) => {
            let message = format!("ModelVersion {name} {remedy}");
            let situation = Situation::Stalled { reason: Reason::RecordConflict, message };
            let plan = report(facts, Rule::RecordConflict, &situation, now).waking_at(*seen + RECORD_AGAIN);
            Err(Some(Box::new(plan)))
        }
        (own, _) => Ok(own),
    }
}

/// The results of the run. Empty for a run that is gone.
fn read(facts: &Facts<'_>, next: &Next<'_>) -> RecordStep<Results> {
    let Some((run, _)) = next.run else { return Ok(Results::default()) };
    match facts.memory.results.get(&run.uid) {
        Some(results) => Ok(results.clone()),
        None => doing(
            Rule::ReadResults,
            Effect::ReadResults(ReadResults {
                kind: next.slot.kind.clone(),
                run_name: run.name.clone(),
                run_uid: run.uid.clone(),
            }),
        ),
    }
}

/// The valid spec, whose gate judges. While the spec is invalid, the training waits, and nothing is lost by that.
fn valid<'f, 'a>(facts: &'f Facts<'a>, now: Now) -> RecordStep<&'f Valid<'a>> {
    facts.spec.as_ref().map_err(|invalid| {
        let situation = Situation::Stalled { reason: Reason::InvalidSpec, message: invalid.to_string() };
        Some(Box::new(report(facts, Rule::InvalidSpec, &situation, now)))
    })
}

/// The metrics of the run: measured if it succeeded, otherwise as the run reports them.
fn measure(
    facts: &Facts<'_>,
    valid: &Valid<'_>,
    next: &Next<'_>,
    results: &Results,
    now: Now,
) -> RecordStep<Vec<RecordedMetric>> {
    match next.succeeded() {
        Some(run) => measured(facts, valid, run, results, now).map_err(Some),
        None => Ok(results.metrics.clone()),
    }
}

/// The report of the gate. A run that did not succeed is not judged.
fn judge(
    facts: &Facts<'_>,
    valid: &Valid<'_>,
    (open, next): (&TrainReservation, &Next<'_>),
    metrics: &[RecordedMetric],
    results: &Results,
) -> RecordStep<GateReport> {
    if next.succeeded().is_none() {
        return Ok(GateReport { verdict: Verdict::NotJudged, ..unjudged(facts) });
    }
    verdict(facts, valid, open, next.slot, (metrics, results))
        .or_else(|evidence| doing(Rule::Judge, Effect::Judge(evidence)))
}

/// The name of a record that status counts and the store does not show. The watch of records may lag behind the watch
/// of ModelTrains, and a decision without this record could miss the best candidate. Only a live lookup proves that it
/// is gone.
fn unseen<'a>(facts: &Facts<'_>, open: &'a TrainReservation) -> Option<&'a str> {
    let recorded = open.slots.iter().filter(|slot| slot.state == SlotState::Recorded);
    let mut names = recorded.map(|slot| slot.run_name.as_str());
    names.find(|name| {
        !facts.memory.absent.contains(*name) && !facts.own_versions().iter().any(|version| *version.name == **name)
    })
}

/// The metrics of a run that has succeeded. The error is the plan that waits for missing ones.
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
    // A run may lack an end time, and its clock may be ahead. The wait must end in any case.
    let moments = [ending.finished_at, run.observed.started_at, run.created_at];
    let ended = moments.into_iter().flatten().find(|at| until(now.wall, *at) <= wait);
    let left = ended.map_or(Duration::ZERO, |ended| until(now.wall, after(ended, wait)));
    let over = left.is_zero();
    // Once the wait is over, only the poll result wakes the object.
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

/// The report of the gate. The error is the evidence that must be judged first.
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
    // A run that read another value than the pinned input says nothing about the pinned one.
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

/// The findings about a candidate run.
struct Findings {
    results: Results,
    metrics: Vec<RecordedMetric>,
    gate: GateReport,
}

/// The record without its place in the chain.
fn draft(
    facts: &Facts<'_>,
    open: &TrainReservation,
    next: &Next<'_>,
    Findings { results, metrics, gate }: Findings,
) -> ModelVersionSpec {
    let (slot, run) = (next.slot, next.run);
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

/// Notes an existing record in status: the head of the chain moves to it. If it is the last one of the training, the
/// training is decided in the same write.
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
    let status =
        ModelTrainStatus { active: active(facts, &open, now), ..reported(facts, &Situation::Training(&open), now) };
    Plan::write(facts, Rule::NoteVersion, status)
}
