//! Verdicts of the gate, and decisions of a person about versions that wait for approval.

use std::time::Duration;

use modelsync::{
    api::{
        AttemptVerdict,
        ConditionStatus::{False, True, Unknown},
        ConditionType::{Accepted, AwaitingApproval, Fresh, Ready, Stalled},
        Verdict, keys,
    },
    core::status::condition::find,
};
use serde_json::{Value, json};

use super::acts::decision;
use crate::harness::{World, scenario};

fn rule(expression: &str) -> Value {
    json!({ "name": "rule", "expression": expression })
}

/// A training: its gate, the end and the results of its run, and the expected result.
struct Row {
    name: &'static str,
    gate: Value,
    end: &'static str,
    results: &'static [(&'static str, &'static str)],
    verdict: Verdict,
    ended: AttemptVerdict,
    decision: &'static str,
    message: &'static str,
}

fn rows() -> Vec<Row> {
    let row = |name, gate, results, verdict, ended, decision, message| Row {
        name,
        gate,
        end: "Succeeded",
        results,
        verdict,
        ended,
        decision,
        message,
    };
    let good = || json!({ "rules": [rule("metrics.r2 > 0.5")] });
    let best = json!({ "best": { "metric": "r2", "direction": "Maximize" } });
    let first_fails =
        json!({ "rules": [rule("metrics.r2 > 0.5"), { "name": "other", "expression": "metrics.f1 > 0.5" }] });
    let (rejected, unavailable) = (AttemptVerdict::Rejected, Verdict::MetricsUnavailable);
    let ended = |name, end, ended| Row {
        end,
        ..row(name, good(), &[("r2", "0.9")], Verdict::NotJudged, ended, "NotJudged", "")
    };
    vec![
        row("passes", good(), &[("r2", "0.9")], Verdict::Passed, AttemptVerdict::Accepted, "Best", ""),
        row("fails", good(), &[("r2", "0.3")], Verdict::Failed, rejected, "GateFailed", "metrics.r2 = 0.3"),
        row("false-wins", first_fails, &[("r2", "0.3")], Verdict::Failed, rejected, "GateFailed", "metrics.r2 = 0.3"),
        row("missing", good(), &[("f1", "0.9")], unavailable, rejected, "MetricsUnavailable", "metrics.r2 is missing"),
        row("nan", good(), &[("r2", "NaN")], unavailable, rejected, "MetricsUnavailable", "is not a finite number"),
        row("text", good(), &[("r2", "high")], unavailable, rejected, "MetricsUnavailable", "metrics.r2 is missing"),
        row(
            "best-missing",
            best,
            &[("f1", "0.9")],
            unavailable,
            rejected,
            "MetricsUnavailable",
            "metrics.r2 is missing",
        ),
        row(
            "unguarded",
            json!({ "rules": [rule("metrics.r2 > accepted.r2")] }),
            &[("r2", "0.9")],
            Verdict::Inconclusive,
            rejected,
            "Inconclusive",
            "accepted.r2 is absent",
        ),
        ended("failed", "Failed", AttemptVerdict::Failed),
        ended("cancelled", "Cancelled", AttemptVerdict::Cancelled),
    ]
}

#[tokio::test]
async fn each_verdict_is_recorded_reported_and_acted_upon() {
    scenario("verdicts", async |world| {
        let rows = rows();
        for row in &rows {
            let mut spec = world.gated_spec(row.gate.clone());
            // A failed training must not be repeated before the test has checked the rows before it.
            spec["retry"] = json!({ "minBackoff": "1h" });
            world.apply_train(row.name, spec).await;
        }
        for row in &rows {
            let run = world.train_run(row.name, 1, "").await;
            world.end_with(&run, row.end, row.results).await;
        }
        for row in &rows {
            let name = row.name;
            let status = world.until_trained(name, 1).await;
            assert_eq!(status.last_attempt.as_ref().unwrap().verdict, row.ended, "{name}");
            let version = world.version_of(name, 1, "", row.decision).await;
            let gate = &version.spec.gate;
            assert_eq!(gate.verdict, row.verdict, "{name}");
            let said = gate.rules.iter().any(|rule| rule.message.contains(row.message));
            assert!(said || row.message.is_empty(), "{name}: {gate:?}");
            let accepted = row.ended == AttemptVerdict::Accepted;
            assert_eq!(status.accepted_version.is_some(), accepted, "{name}");
            let condition = find(&version.status.as_ref().unwrap().conditions, Accepted).unwrap().clone();
            assert_eq!(condition.status, if accepted { True } else { False }, "{name}");
            if row.verdict != Verdict::NotJudged {
                let last = status.last_verdict.unwrap();
                assert_eq!((last.verdict, last.version), (row.verdict, version.spec.run.name.clone()), "{name}");
            }
            let (fresh, reason) = match row.ended {
                AttemptVerdict::Accepted => (True, "Fresh"),
                AttemptVerdict::Failed => (False, "BackingOff"),
                _ => (False, "NothingAccepted"),
            };
            world.until_train(name, Fresh, fresh, reason).await;
            world.assert_chain(name).await;
        }
    })
    .await;
}

#[tokio::test]
async fn model_without_enough_improvement_leaves_the_accepted_one_in_place() {
    scenario("not_improved", async |world| {
        let best = json!({ "metric": "r2", "direction": "Maximize", "minImprovement": "0.1" });
        world.apply_train("model", world.gated_spec(json!({ "best": best }))).await;
        world.train("model", 1, &[("r2", "0.7")]).await;
        let first = world.version_of("model", 1, "", "Best").await.spec.run.name;
        for (attempt, r2) in [(2, "0.7"), (3, "0.79")] {
            world.clock.advance(Duration::from_hours(25));
            let status = world.train("model", attempt, &[("r2", r2)]).await;
            assert_eq!(status.last_attempt.unwrap().verdict, AttemptVerdict::NotImproved);
            let status = world.until_train("model", Fresh, False, "NoBetterCandidate").await;
            assert_eq!(status.accepted_version.unwrap().name, first);
            world.until_train("model", Ready, True, "Operational").await;
            let version = world.version_of("model", attempt, "", "NotImproved").await;
            assert_eq!((version.spec.gate.verdict, &*version.spec.gate.compared_to), (Verdict::Passed, &*first));
        }
        // A binary subtraction would give 0.10000000000000009 or less than 0.1.
        world.clock.advance(Duration::from_hours(25));
        let status = world.train("model", 4, &[("r2", "0.8")]).await;
        assert_eq!(status.accepted_version.unwrap().score.as_deref(), Some("0.8"));
        world.until_train("model", Fresh, True, "Fresh").await;
        assert_eq!(status.history.len(), 2, "{:?}", status.history);
        world.version_of("model", 4, "", "Best").await;
        world.assert_chain("model").await;
    })
    .await;
}

#[tokio::test]
async fn invalid_rule_stalls_the_object_and_names_field_and_position() {
    scenario("broken_rule", async |world| {
        let gate =
            json!({ "rules": [rule("metrics.r2 > 0.5"), { "name": "second", "expression": "metrics.r2 > > 1" }] });
        world.apply_train("model", world.gated_spec(gate)).await;
        let status = world.until_train("model", Stalled, True, "InvalidSpec").await;
        let message = &find(&status.conditions, Stalled).unwrap().message;
        assert!(message.starts_with("spec.gate.rules[1].expression is not a rule at line 1, column "), "{message}");
        world.until_train("model", Ready, False, "InvalidSpec").await;
        assert_eq!(status.attempt, 0);
        world.patch_train("model", json!({ "gate": { "rules": [rule("metrics.r2 > 0.5")] } })).await;
        let status = world.train("model", 1, &[("r2", "0.9")]).await;
        assert!(status.accepted_version.is_some() && find(&status.conditions, Stalled).is_none(), "{status:?}");
    })
    .await;
}

/// A gate that is inconclusive without an accepted version, and then waits for approval.
fn approval() -> Value {
    json!({ "rules": [rule("metrics.r2 > accepted.r2")], "onInconclusive": "AwaitApproval" })
}

/// Trains a version that waits for approval. Returns its name.
async fn waiting(world: &World, name: &str, attempt: i64) -> String {
    let status = world.train(name, attempt, &[("r2", "0.6")]).await;
    assert_eq!(status.last_attempt.as_ref().unwrap().verdict, AttemptVerdict::AwaitingApproval);
    assert_eq!(status.accepted_version, None);
    let version = world.version_of(name, attempt, "", "AwaitingApproval").await;
    let shown = find(&version.status.as_ref().unwrap().conditions, Accepted).unwrap();
    assert_eq!(shown.status, Unknown);
    let pending = world.until_train(name, AwaitingApproval, True, "AwaitingApproval").await.pending_approval.unwrap();
    assert_eq!(pending.version, version.spec.run.name);
    pending.version
}

fn assert_nothing_waits(status: &modelsync::api::ModelTrainStatus) {
    assert_eq!(status.pending_approval, None);
    assert!(find(&status.conditions, AwaitingApproval).is_none(), "{status:?}");
}

#[tokio::test]
async fn version_that_waits_is_accepted_once_a_person_approves_it() {
    scenario("approved", async |world| {
        world.apply_train("model", world.gated_spec(approval())).await;
        let version = waiting(world, "model", 1).await;
        world.annotate_train("model", keys::APPROVE, Some(&version)).await;
        let status = world.until_train("model", Fresh, True, "Fresh").await;
        assert_eq!(status.accepted_version.as_ref().unwrap().name, version);
        let last = status.last_attempt.as_ref().unwrap();
        assert_eq!((last.verdict, last.winner.as_deref()), (AttemptVerdict::Accepted, Some(version.as_str())));
        assert_nothing_waits(&status);
        let found = world.until_decided(&version, "Approved").await;
        assert_eq!(found.status.unwrap().approved_by.as_deref(), Some(keys::APPROVE));
        assert_eq!(found.spec.gate.verdict, Verdict::Inconclusive, "the record keeps the verdict of the gate");
        world.assert_chain("model").await;
    })
    .await;
}

#[tokio::test]
async fn version_without_its_metric_waits_and_is_not_accepted_once_a_person_rejects_it() {
    scenario("rejected_by_hand", async |world| {
        let gate = json!({ "rules": [rule("metrics.f1 > 0.5")], "onMetricsUnavailable": "AwaitApproval" });
        world.apply_train("model", world.gated_spec(gate)).await;
        let version = waiting(world, "model", 1).await;
        world.annotate_train("model", keys::REJECT, Some(&version)).await;
        let found = world.until_decided(&version, "Rejected").await;
        assert_eq!(found.spec.gate.verdict, Verdict::MetricsUnavailable);
        let status = world.until_train("model", Fresh, False, "NothingAccepted").await;
        assert_eq!(status.accepted_version, None);
        assert_eq!(status.last_attempt.as_ref().unwrap().verdict, AttemptVerdict::Rejected);
        assert_nothing_waits(&status);
        // Too late: a rejected version no longer waits.
        world.annotate_train("model", keys::APPROVE, Some(&version)).await;
        world.triggered("model", 2, "0.1", "AwaitingApproval").await;
        assert_eq!(world.train_status("model").await.accepted_version, None);
    })
    .await;
}

#[tokio::test]
async fn version_that_waits_is_superseded_by_a_later_one_that_is_accepted() {
    scenario("superseded", async |world| {
        world.apply_train("model", world.gated_spec(approval())).await;
        let first = waiting(world, "model", 1).await;
        world.patch_train("model", json!({ "gate": { "rules": [rule("metrics.r2 > 0.5")] } })).await;
        let second = world.triggered("model", 2, "0.7", "Best").await.spec.run.name;
        let status = world.train_status("model").await;
        assert_eq!(status.accepted_version.as_ref().unwrap().name, second);
        assert_nothing_waits(&status);
        let found = world.until_decided(&first, "Superseded").await;
        let shown = find(&found.status.as_ref().unwrap().conditions, Accepted).unwrap().clone();
        assert_eq!(shown.status, False, "{shown:?}");
        // Too late: a superseded version no longer waits.
        world.annotate_train("model", keys::APPROVE, Some(&first)).await;
        world.triggered("model", 3, "0.1", "GateFailed").await;
        assert_eq!(world.train_status("model").await.accepted_version.unwrap().name, second);
        assert_eq!(decision(&world.model_versions().get(&first).await.unwrap()).unwrap().as_str(), "Superseded");
    })
    .await;
}

#[tokio::test]
async fn version_that_waits_goes_on_waiting_while_later_trainings_fail() {
    scenario("waits_on", async |world| {
        world.apply_train("model", world.gated_spec(approval())).await;
        let first = waiting(world, "model", 1).await;
        world.trigger_train("model", "fails").await;
        let run = world.train_run("model", 2, "").await;
        world.end_with(&run, "Failed", &[]).await;
        let status = world.until_trained("model", 2).await;
        assert_eq!(status.pending_approval.as_ref().unwrap().version, first);
        world.version_of("model", 2, "", "NotJudged").await;
        world.annotate_train("model", keys::APPROVE, Some(&first)).await;
        let status = world.until_train("model", Accepted, True, "VersionAccepted").await;
        assert_eq!(status.accepted_version.as_ref().unwrap().name, first);
        assert_nothing_waits(&status);
        let found = world.until_decided(&first, "Approved").await;
        assert_eq!(found.status.unwrap().approved_by.as_deref(), Some(keys::APPROVE));
    })
    .await;
}

/// Another training is due at the moment one ends: its reservation must not replace the decision about the version of
/// the first.
#[tokio::test]
async fn version_gets_its_decision_though_the_next_training_is_due_at_once() {
    scenario("back_to_back", async |world| {
        world.apply_train("model", world.gated_spec(json!({ "rules": [rule("metrics.r2 > 0.5")] }))).await;
        let run = world.train_run("model", 1, "").await;
        world.trigger_train("model", "again").await;
        world.end_with(&run, "Succeeded", &[("r2", "0.9")]).await;
        world.train("model", 2, &[("r2", "0.1")]).await;
        world.version_of("model", 2, "", "GateFailed").await;
        world.version_of("model", 1, "", "Best").await;
    })
    .await;
}
