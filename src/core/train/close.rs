//! The end of a training: which version is accepted, and which reasons are answered. One write decides it. Pure.

use std::collections::BTreeMap;

use super::{
    acceptance::{accepted_version, record_acceptance},
    facts::{Facts, readings},
    idle::{evaluate_freshness, paused},
    plan::{Plan, Rule},
    summarise::{Situation, reported},
};
use crate::{
    api::{
        AttemptVerdict, LastAttempt, LastVerdict, ModelTrainStatus, ModelVersionSpec, Outcome, PendingApproval, Reason,
        SlotReport, SlotState, TrainReservation, Verdict,
    },
    core::{
        freshness::answer_reasons,
        gate::{Earlier, Fate, JudgedCandidate, Selection},
        time::{Now, whole_seconds},
    },
};

/// Decides a training whose slots have all ended, and closes its reservation.
///
/// The full records of its slots are needed: the accepted version is copied from its record, so that a crash in between
/// changes nothing. A record that a person has deleted since cannot be accepted.
pub fn close(facts: &Facts<'_>, open: &TrainReservation, now: Now) -> Plan {
    let mut status = facts.status.clone();
    let reports = reports(&status, open);
    let select_winner = select_winner(facts, &reports);
    let verdict = verdict(&reports, open, &select_winner);
    status.slots = select_winner.reports;
    status.pending_approval = select_winner
        .awaiting
        .clone()
        .map(|version| PendingApproval { version, since: whole_seconds(now.wall) })
        .or(status.pending_approval.filter(|_| !judged_any(verdict)));
    let ended_at = whole_seconds(now.wall);
    let freshness = facts.spec.as_ref().ok().map(|valid| &*valid.freshness);
    let answered = answer_reasons(&status, &open.reasons, verdict, freshness, ended_at);
    (status.answered_reasons, status.schedule) = (answered.reasons, answered.schedule);
    if let Some(accepted) = select_winner.winner.as_ref().and_then(|name| facts.details(name)) {
        let accepted = accepted_version(accepted, now.wall);
        record_acceptance(&mut status, &accepted.name, accepted.accepted_at);
        status.accepted_version = Some(Box::new(accepted));
    }
    let judged = select_winner.judged.as_ref().and_then(|name| facts.details(name));
    status.last_verdict = judged.map(|spec| Box::new(last_verdict(spec))).or(status.last_verdict);
    status.last_attempt = Some(Box::new(LastAttempt {
        attempt: open.attempt,
        reasons: open.reasons.clone(),
        inputs: open.inputs.clone(),
        verdict,
        winner: select_winner.winner.filter(|_| verdict == AttemptVerdict::Accepted),
        generation: open.generation,
        ended_at,
    }));
    if let Some(target) = status.target.as_mut().filter(|target| target.digest == open.target) {
        match verdict {
            AttemptVerdict::Failed => target.failures = target.failures.saturating_add(1),
            AttemptVerdict::Skipped => {}
            _ => target.failures = 0,
        }
    }
    if let Some(budget) = &mut status.budget {
        // The newest starts are those of this training.
        let skipped = open.slots.iter().filter(|slot| slot.state == SlotState::Skipped).count();
        budget.started_at.truncate(budget.started_at.len().saturating_sub(skipped));
    }
    status.reservation = None;
    status.active = Vec::new();
    let situation_after = situation_after(facts, &mut status, verdict, now);
    let facts = &Facts { status: &status, ..facts.clone() };
    let status = reported(facts, &situation_after, now);
    Plan::write(facts, Rule::CloseTraining, status)
}

/// The situation after the end. Also stores the evaluated freshness in `status`. Both are what the next reconcile would
/// report, so that the end takes one write.
fn situation_after<'a>(
    facts: &Facts<'_>,
    status: &mut ModelTrainStatus,
    verdict: AttemptVerdict,
    now: Now,
) -> Situation<'a> {
    let valid = match &facts.spec {
        Ok(valid) => valid,
        Err(invalid) => return Situation::Stalled { reason: Reason::InvalidSpec, message: invalid.to_string() },
    };
    let ended = status.clone();
    let ended = Facts { status: &ended, ..facts.clone() };
    evaluate_freshness(&ended, valid, None, now).store(status);
    if valid.policy.suspended {
        return Situation::Suspended;
    }
    // A skipped training answers no reason, and the change that skipped it has not been evaluated yet.
    if verdict == AttemptVerdict::Skipped {
        return Situation::AwaitingFirstResponse;
    }
    let pause = status.target.as_ref().and_then(|target| paused(&ended, valid, target, now));
    if let Some(pause) = pause {
        if let Situation::BackingOff { until, .. } = pause {
            status.next_evaluation_at = Some(status.next_evaluation_at.map_or(until, |next| next.min(until)));
        }
        return pause;
    }
    match (status.stale_reasons.is_empty(), &status.accepted_version) {
        (true, Some(_)) => Situation::Fresh,
        (true, None) => Situation::NotDue,
        (false, _) => Situation::NoBetterCandidate,
    }
}

/// Whether the training judged a candidate. If so, an earlier version that waits for approval stops waiting.
const fn judged_any(verdict: AttemptVerdict) -> bool {
    !matches!(verdict, AttemptVerdict::Failed | AttemptVerdict::Cancelled | AttemptVerdict::Skipped)
}

/// The report of each slot, in order.
fn reports(status: &ModelTrainStatus, open: &TrainReservation) -> Vec<SlotReport> {
    let report = |slot: &crate::api::TrainSlot| {
        let known = status.slots.iter().find(|report| report.run == slot.run_name);
        known.cloned().unwrap_or_else(|| SlotReport {
            candidate: slot.candidate.clone(),
            run: slot.run_name.clone(),
            outcome: None,
            verdict: None,
            score: None,
            decision: None,
        })
    };
    open.slots.iter().map(report).collect()
}

/// The decision about a training.
struct Decided {
    /// The report of each slot, with the decision about it.
    reports: Vec<SlotReport>,
    /// The version that is accepted. `None` also if another version is held.
    winner: Option<String>,
    /// The version that waits for approval by a person.
    awaiting: Option<String>,
    /// Whether a version would be accepted if no other one were held.
    held_back: bool,
    /// The version whose verdict `status.lastVerdict` shows.
    judged: Option<String>,
    /// Whether the best candidate passed, but is not better than the earlier version or cannot be compared with it.
    not_improved: bool,
}

fn select_winner(facts: &Facts<'_>, reports: &[SlotReport]) -> Decided {
    let none = BTreeMap::new();
    let metrics: Vec<_> =
        reports.iter().map(|report| facts.details(&report.run).map(|spec| readings(&spec.metrics))).collect();
    let candidates: Vec<_> = reports
        .iter()
        .zip(&metrics)
        .map(|(report, metrics)| JudgedCandidate {
            verdict: metrics.as_ref().map_or(Verdict::NotJudged, |_| report.verdict.unwrap_or(Verdict::NotJudged)),
            metrics: metrics.as_ref().unwrap_or(&none),
        })
        .collect();
    let (accepted, served) = (facts.accepted_metrics(), facts.served_metrics());
    let earlier = Earlier { accepted: accepted.as_ref(), served: served.as_ref() };
    let selection = facts.spec.as_ref().map_or_else(
        |_| Selection {
            winner: None,
            awaiting: None,
            fates: vec![Fate::NotJudged; reports.len()],
            message: String::new(),
        },
        |valid| valid.gate.select(&candidates, &earlier),
    );
    let name = |place: Option<usize>| place.and_then(|place| reports.get(place)).map(|report| report.run.clone());
    let winner = name(selection.winner);
    // A hold is a level, not an edge: while it is set, no other version is accepted automatically.
    let held_back = winner.as_deref().is_some_and(|winner| facts.hold().is_some_and(|held| held != winner));
    let mut reports = reports.to_vec();
    for (place, (report, fate)) in reports.iter_mut().zip(&selection.fates).enumerate() {
        if report.outcome.is_none() {
            continue;
        }
        report.decision = Some(if selection.awaiting == Some(place) {
            Reason::AwaitingApproval
        } else if held_back && selection.winner == Some(place) {
            Reason::HeldBack
        } else {
            reason(*fate)
        });
    }
    let not_improved = selection.fates.iter().any(|fate| matches!(fate, Fate::NotImproved | Fate::Incomparable));
    let leader = selection.fates.iter().position(|fate| matches!(fate, Fate::NotImproved | Fate::Incomparable));
    let first = reports.iter().position(|report| report.verdict.is_some_and(|verdict| verdict != Verdict::NotJudged));
    let judged = name(selection.winner.or(selection.awaiting).or(leader).or(first));
    Decided {
        winner: winner.filter(|_| !held_back),
        awaiting: name(selection.awaiting),
        reports,
        held_back,
        judged,
        not_improved,
    }
}

fn verdict(reports: &[SlotReport], open: &TrainReservation, select_winner: &Decided) -> AttemptVerdict {
    let ran = || reports.iter().filter_map(|report| report.outcome);
    if select_winner.winner.is_some() {
        AttemptVerdict::Accepted
    } else if select_winner.held_back {
        AttemptVerdict::HeldBack
    } else if select_winner.awaiting.is_some() {
        AttemptVerdict::AwaitingApproval
    } else if select_winner.not_improved {
        AttemptVerdict::NotImproved
    } else if ran().any(|outcome| outcome == Outcome::Succeeded) {
        AttemptVerdict::Rejected
    } else if open.slots.iter().all(|slot| slot.state == SlotState::Skipped) {
        AttemptVerdict::Skipped
    } else if ran().all(|outcome| outcome == Outcome::Cancelled) {
        AttemptVerdict::Cancelled
    } else {
        AttemptVerdict::Failed
    }
}

const fn reason(fate: Fate) -> Reason {
    match fate {
        Fate::Best => Reason::Best,
        Fate::NotBest => Reason::NotBest,
        Fate::NotImproved => Reason::NotImproved,
        Fate::Incomparable => Reason::Incomparable,
        Fate::GateFailed => Reason::GateFailed,
        Fate::Inconclusive => Reason::Inconclusive,
        Fate::MetricsUnavailable => Reason::MetricsUnavailable,
        Fate::NotJudged => Reason::NotJudged,
    }
}

fn last_verdict(spec: &ModelVersionSpec) -> LastVerdict {
    LastVerdict {
        version: spec.run.name.clone(),
        verdict: spec.gate.verdict,
        compared_to: spec.gate.compared_to.clone(),
        rules: spec.gate.rules.clone(),
    }
}
