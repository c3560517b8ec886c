//! The target of a response: the results of its earlier runs, and the pause that follows from them. Pure.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{facts::Facts, plan::Rule, summarise::Situation, validate::Valid};
use crate::{
    api::{ModelSyncStatus, Outcome, Reason, Repeat, Target},
    core::{
        poll::response::PollResponse,
        run::digest,
        time::{Now, after, until, whole_seconds},
    },
};

/// The target of this response, with the failures and successes that status has for it.
pub(super) fn fresh_target(
    facts: &Facts<'_>,
    valid: &Valid<'_>,
    response: &PollResponse,
    parameters: BTreeMap<String, String>,
    now: Now,
) -> Target {
    let digest = match &response.target {
        Some(named) => digest::named_target(named, &valid.policy.template),
        None => digest::target(&parameters, &valid.policy.template),
    };
    let known = facts.status.target.as_ref().filter(|known| known.digest == digest);
    let (failures, successes) = known.map_or((0, 0), |known| (known.failures, known.successes));
    let since = known.map_or_else(|| whole_seconds(now.wall), |known| known.since);
    let mut target = Target { digest, parameters, failures, successes, since };
    if facts.trigger_pending() || rearmed(facts, valid, &target) {
        (target.failures, target.successes) = (0, 0);
    }
    target
}

/// Whether an edit of the spec rearms the target: one that had used up its attempts, or whose run was cancelled.
fn rearmed(facts: &Facts<'_>, valid: &Valid<'_>, target: &Target) -> bool {
    facts.status.last_run.as_ref().is_some_and(|last| {
        last.target == target.digest
            && last.generation != facts.object.generation
            && (target.failures >= valid.policy.max_attempts
                || (last.outcome == Outcome::Cancelled && target.failures > 0))
    })
}

/// A pause of a target: its rule and its end. Without an end, only a person or another target ends it.
pub(super) struct Pause {
    pub(super) rule: Rule,
    pub(super) until: Option<Timestamp>,
}

/// The pause of the target, if it has one.
///
/// If the last run ended later than now by more than the full pause, a clock was wrong: the target is not paused.
pub(super) fn pause(facts: &Facts<'_>, valid: &Valid<'_>, target: &Target, now: Now) -> Option<Pause> {
    let last = facts.status.last_run.as_ref().filter(|last| last.target == target.digest)?;
    let (rule, pause) = match (target.failures, target.successes) {
        (failures, _) if failures > 0 => {
            if last.outcome == Outcome::Cancelled {
                return Some(Pause { rule: Rule::Cancelled, until: None });
            }
            if failures >= valid.policy.max_attempts {
                return Some(Pause { rule: Rule::RetriesExhausted, until: None });
            }
            (Rule::BackOff, valid.policy.backoff.after(failures))
        }
        (_, successes) if successes > 0 => {
            if valid.repeat == Repeat::Never {
                return Some(Pause { rule: Rule::SettledForGood, until: None });
            }
            (Rule::Settle, valid.settle.after(successes))
        }
        _ => return None,
    };
    let at = after(last.finished_at, pause);
    (until(now.wall, last.finished_at) <= pause).then_some(Pause { rule, until: Some(at) })
}

/// The situation that a pause is reported as.
pub(super) fn paused<'a>(status: &'a ModelSyncStatus, pause: &Pause) -> Situation<'a> {
    let (run, why) = status.last_run.as_ref().map_or(("", ""), |last| (last.name.as_str(), last.reason.as_str()));
    let failures = status.target.as_ref().map_or(0, |target| target.failures);
    match pause.rule {
        Rule::Cancelled => {
            Situation::Exhausted { reason: Reason::RunCancelled, message: format!("run {run} was cancelled; {REVIVE}") }
        }
        Rule::RetriesExhausted => Situation::Exhausted {
            reason: Reason::RetriesExhausted,
            message: format!("{failures} runs in a row did not succeed, the last was {run} ({why}); {REVIVE}"),
        },
        Rule::BackOff => Situation::BackingOff { run, why, until: pause.until.unwrap_or(Timestamp::MIN) },
        _ => Situation::AwaitingEffect { run, until: pause.until },
    }
}

/// The part of a message that says how a person rearms the target.
const REVIVE: &str = "the same target is tried again after an edit of the spec or a new value of the annotation \
                      automl.cloudai.kubeflow.org/trigger";
