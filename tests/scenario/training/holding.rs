//! Limits that delay a training, ways to end it early, and the hold of a version.

use std::time::Duration;

use kube::{ResourceExt, api::DynamicObject};
use modelsync::{
    api::{
        AttemptVerdict,
        ConditionStatus::{False, True, Unknown},
        ConditionType::{Accepted, BudgetSpent, Fresh, HoldInvalid, Ready, Stalled},
        ModelTrainStatus, Outcome, keys,
    },
    core::{status::condition::find, time::after},
};
use serde_json::{Value, json};

use crate::harness::{
    Reply, World, scenario, tekton,
    world::{attempt_of, parameter},
};

/// A spec that becomes stale by the endpoint under this name and by the trigger.
fn polling(world: &World, name: &str) -> Value {
    let mut spec = world.train_spec();
    spec["freshness"] = json!({ "needsTrainUrl": world.endpoint.url(name) });
    spec["gate"] = json!({ "rules": [{ "name": "good", "expression": "metrics.r2 > 0.5" }] });
    spec
}

async fn attempts(world: &World, name: &str) -> Vec<i64> {
    world.runs(name).await.iter().map(attempt_of).collect()
}

/// Triggers a training and ends its run successfully. Returns the name of its version.
async fn version(world: &World, attempt: i64, r2: &str) -> String {
    world.trigger_train("model", &attempt.to_string()).await;
    let run = world.train_run("model", attempt, "").await;
    world.train("model", attempt, &[("r2", r2)]).await;
    run.name_any()
}

fn accepted(status: &ModelTrainStatus) -> &str {
    status.accepted_version.as_ref().map_or("", |accepted| accepted.name.as_str())
}

fn verdict(status: &ModelTrainStatus) -> AttemptVerdict {
    status.last_attempt.as_ref().unwrap().verdict
}

/// Waits until the operator cancels this run, and ends it as Tekton would.
async fn ended_by_the_operator(world: &World, attempt: i64) -> DynamicObject {
    let ending = world
        .wait("the run is being ended", async || {
            let run = world.train_run("model", attempt, "").await;
            (run.data["spec"]["status"] == "CancelledRunFinally").then_some(run)
        })
        .await;
    world.end_with(&ending, "Cancelled", &[]).await;
    ending
}

#[tokio::test]
async fn training_beyond_the_budget_waits_whole_until_the_budget_frees() {
    scenario("budget", async |world| {
        let mut spec = polling(world, "model");
        spec["candidates"] = json!([{ "name": "a" }, { "name": "b" }]);
        spec["budget"] = json!({ "runs": 3, "window": "2h" });
        world.apply_train("model", spec).await;
        world.trigger_train("model", "one").await;
        for candidate in ["a", "b"] {
            let run = world.train_run("model", 1, candidate).await;
            world.end_with(&run, "Succeeded", &[("r2", "0.9")]).await;
        }
        let status = world.until_trained("model", 1).await;
        assert!(find(&status.conditions, BudgetSpent).is_none());
        let started = status.budget.unwrap().started_at;
        assert_eq!(started.len(), 2, "each candidate is a run");

        world.trigger_train("model", "two").await;
        let status = world.until_train("model", Fresh, False, "BudgetSpent").await;
        let frees = after(started[0], Duration::from_hours(2));
        assert_eq!(find(&status.conditions, BudgetSpent).unwrap().status, True);
        assert_eq!(find(&status.conditions, Ready).unwrap().status, True);
        assert_eq!(status.budget.unwrap().frees_at, Some(frees));
        // Status counts the runs that were started.
        world.restart_operator().await;
        world.clock.advance(Duration::from_mins(100));
        world.settle_train("model", "model").await;
        assert_eq!(attempts(world, "model").await, [1, 1], "there is room for one run, not for the training");

        world.advance_past(frees);
        for candidate in ["a", "b"] {
            world.train_run("model", 2, candidate).await;
        }
        let status = world.until_train("model", Fresh, False, "RunActive").await;
        assert!(find(&status.conditions, BudgetSpent).is_none());
        assert_eq!((status.budget.unwrap().frees_at, status.last_handled_trigger.as_deref()), (None, Some("two")));
    })
    .await;
}

#[tokio::test]
async fn reason_that_is_gone_when_the_budget_frees_starts_nothing() {
    scenario("budget_recovered", async |world| {
        world.measures("auc", "0.9");
        let mut spec = polling(world, "model");
        let metric = json!({ "name": "auc", "source": world.measured("auc"), "rule": "value < 0.7" });
        spec["freshness"]["metrics"] = json!([metric]);
        spec["budget"] = json!({ "runs": 1, "window": "2h" });
        world.apply_train("model", spec).await;
        world.train("model", 1, &[("r2", "0.9")]).await;
        world.measures("auc", "0.6");
        world.clock.advance(Duration::from_secs(5));
        let status = world.until_train("model", Fresh, False, "BudgetSpent").await;
        world.measures("auc", "0.9");
        world.clock.advance(Duration::from_secs(5));
        let fresh = world.until_train("model", Fresh, True, "Fresh").await;
        assert!(find(&fresh.conditions, BudgetSpent).is_none() && fresh.budget.unwrap().frees_at.is_none());
        world.advance_past(status.budget.unwrap().frees_at.unwrap());
        world.settle_train("model", "model").await;
        assert_eq!(attempts(world, "model").await, [1]);
    })
    .await;
}

#[tokio::test]
async fn training_with_more_candidates_than_its_budget_stalls() {
    scenario("budget_impossible", async |world| {
        let mut spec = polling(world, "model");
        spec["candidates"] = json!([{ "name": "a" }, { "name": "b" }]);
        spec["budget"] = json!({ "runs": 1, "window": "2h" });
        let refused = world.try_apply_train("model", spec).await;
        if let Err(message) = refused {
            assert!(message.contains("budget"), "{message}");
            return;
        }
        let status = world.until_train("model", Stalled, True, "InvalidSpec").await;
        let stalled = find(&status.conditions, Stalled).unwrap();
        assert!(stalled.message.contains("spec.budget.runs is 1, but an attempt has 2 candidates"), "{stalled:?}");
    })
    .await;
}

#[tokio::test]
async fn closed_window_holds_trainings_back_until_it_opens_or_is_overridden() {
    scenario("train_windows", async |world| {
        let opens = after(world.now(), Duration::from_mins(30));
        let freeze = json!([{ "kind": "Deny", "from": "2020-01-01T00:00:00Z", "to": opens.to_string() }]);
        for name in ["age", "word"] {
            let mut spec = polling(world, name);
            if name == "age" {
                spec["freshness"]["maxAge"] = json!("24h");
            }
            spec["windows"] = freeze.clone();
            world.apply_train(name, spec).await;
        }
        let status = world.until_train("age", Fresh, False, "OutsideWindow").await;
        assert_eq!(status.next_evaluation_at, Some(opens));
        world.trigger_train("word", "now").await;
        world.until_train("word", Fresh, False, "OutsideWindow").await;
        world.settle_train("word", "word").await;
        assert_eq!(attempts(world, "word").await, [0; 0], "a trigger waits for a window too");
        world.annotate_train("word", keys::OVERRIDE_WINDOW, Some("then")).await;
        world.settle_train("word", "word").await;
        assert_eq!(attempts(world, "word").await, [0; 0], "the annotation names another trigger");
        world.annotate_train("word", keys::OVERRIDE_WINDOW, Some("now")).await;
        world.train("word", 1, &[("r2", "0.9")]).await;
        world.trigger_train("word", "once more").await;
        world.until_train("word", Fresh, False, "OutsideWindow").await;
        assert_eq!(attempts(world, "age").await, [0; 0]);

        world.advance_past(opens);
        world.train_run("age", 1, "").await;
        world.train_run("word", 2, "").await;
    })
    .await;
}

#[tokio::test]
async fn suspended_train_starts_nothing_and_lets_a_training_end() {
    scenario("suspend", async |world| {
        let mut spec = world.train_spec();
        spec["freshness"] = json!({ "maxAge": "24h" });
        spec["suspend"] = json!(true);
        world.apply_train("model", spec).await;
        world.trigger_train("model", "now").await;
        world.annotate_train("model", keys::SUSPEND_REASON, Some("moving house")).await;
        let status = world
            .until_train_status("model", "suspended, with the reason", |status| {
                find(&status.conditions, Ready).is_some_and(|ready| ready.message.contains("moving house"))
            })
            .await;
        assert_eq!(find(&status.conditions, Ready).unwrap().reason.as_str(), "Suspended");
        world.reconcile_train("model").await;
        assert_eq!(attempts(world, "model").await, [0; 0]);

        world.patch_train("model", json!({ "suspend": false })).await;
        let run = world.train_run("model", 1, "").await;
        world.patch_train("model", json!({ "suspend": true })).await;
        world.until_train("model", Ready, True, "Suspended").await;
        assert_eq!(world.train_run("model", 1, "").await.data["spec"].get("status"), None, "the run continues");
        world.end_with(&run, "Succeeded", &[("r2", "0.9")]).await;
        let status = world.until_trained("model", 1).await;
        assert_eq!((verdict(&status), accepted(&status)), (AttemptVerdict::Accepted, run.name_any().as_str()));
        world.until_train("model", Fresh, Unknown, "Suspended").await;
        world.clock.advance(Duration::from_hours(25));
        world.reconcile_train("model").await;
        assert_eq!(attempts(world, "model").await, [1]);
        world.patch_train("model", json!({ "suspend": false })).await;
        world.train_run("model", 2, "").await;
    })
    .await;
}

#[tokio::test]
async fn suspended_training_skips_the_candidates_that_have_not_started() {
    scenario("suspend_candidates", async |world| {
        let mut spec = polling(world, "model");
        spec["candidates"] = json!([{ "name": "a" }, { "name": "b" }]);
        spec["parallelism"] = json!(1);
        world.apply_train("model", spec).await;
        world.trigger_train("model", "now").await;
        let run = world.train_run("model", 1, "a").await;
        world.patch_train("model", json!({ "suspend": true })).await;
        world.until_train("model", Ready, True, "Suspended").await;
        world.end_with(&run, "Succeeded", &[("r2", "0.9")]).await;
        let status = world.until_trained("model", 1).await;
        assert_eq!(verdict(&status), AttemptVerdict::Accepted);
        let outcomes: Vec<_> = status.slots.iter().map(|slot| (slot.candidate.as_str(), slot.outcome)).collect();
        assert_eq!(outcomes, [("a", Some(Outcome::Succeeded)), ("b", None)]);
        assert_eq!((world.versions("model").await.len(), attempts(world, "model").await.len()), (1, 1));
    })
    .await;
}

#[tokio::test]
async fn held_version_stays_accepted_until_it_is_released() {
    scenario("hold", async |world| {
        world.apply_train("model", polling(world, "model")).await;
        let first = version(world, 1, "0.6").await;
        let second = version(world, 2, "0.7").await;
        assert_eq!(accepted(&world.train_status("model").await), second);
        world.annotate_train("model", keys::HOLD, Some(&first)).await;
        let status = world.until_train("model", Accepted, True, "Held").await;
        assert_eq!(accepted(&status), first);
        let history: Vec<_> = status.history.iter().map(|past| past.name.as_str()).collect();
        assert_eq!(history, [&first, &second, &first], "newest first");

        let third = version(world, 3, "0.9").await;
        world.until_decided(&third, "HeldBack").await;
        let status = world.train_status("model").await;
        assert_eq!((verdict(&status), accepted(&status)), (AttemptVerdict::HeldBack, first.as_str()));
        world.restart_operator().await;
        world.settle_train("model", "model").await;
        assert_eq!(accepted(&world.train_status("model").await), first);

        world.annotate_train("model", keys::HOLD, None).await;
        let status = world.until_train("model", Accepted, True, "VersionAccepted").await;
        assert_eq!(accepted(&status), first, "a release chooses nothing by itself");
        let fourth = version(world, 4, "0.8").await;
        assert_eq!(accepted(&world.train_status("model").await), fourth);
        // A version that was held back has passed its gate, so a hold can choose it.
        world.annotate_train("model", keys::HOLD, Some(&third)).await;
        world.until_train_status("model", "the third is held", |status| accepted(status) == third).await;
    })
    .await;
}

#[tokio::test]
async fn hold_of_an_unknown_or_failed_version_changes_nothing_and_is_reported() {
    scenario("hold_invalid", async |world| {
        world.apply_train("model", polling(world, "model")).await;
        let good = version(world, 1, "0.6").await;
        let bad = version(world, 2, "0.1").await;
        for held in ["never-was", bad.as_str()] {
            world.annotate_train("model", keys::HOLD, Some(held)).await;
            let status = world
                .until_train_status("model", held, |status| {
                    find(&status.conditions, HoldInvalid)
                        .is_some_and(|invalid| invalid.status == True && invalid.message.contains(held))
                })
                .await;
            assert_eq!(accepted(&status), good);
            assert_eq!(find(&status.conditions, Accepted).unwrap().reason.as_str(), "VersionAccepted");
        }
        world.annotate_train("model", keys::HOLD, None).await;
        let lifted = |status: &ModelTrainStatus| find(&status.conditions, HoldInvalid).is_none();
        let status = world.until_train_status("model", "no hold any more", lifted).await;
        assert_eq!(accepted(&status), good);
    })
    .await;
}

#[tokio::test]
async fn cancelled_run_ends_its_training_and_is_not_retried() {
    scenario("cancel_training", async |world| {
        let mut spec = polling(world, "model");
        spec["freshness"]["maxAge"] = json!("24h");
        world.apply_train("model", spec).await;
        let run = world.train_run("model", 1, "").await;
        world.annotate_train("model", keys::CANCEL, Some("some-other-run")).await;
        world.reconcile_train("model").await;
        assert_eq!(world.train_run("model", 1, "").await.data["spec"].get("status"), None);
        world.annotate_train("model", keys::CANCEL, Some(&run.name_any())).await;
        ended_by_the_operator(world, 1).await;
        let status = world.until_trained("model", 1).await;
        assert_eq!(verdict(&status), AttemptVerdict::Cancelled);
        assert_eq!(world.versions("model").await[0].spec.run.outcome, Outcome::Cancelled);
        world.clock.advance(Duration::from_mins(50));
        world.settle_train("model", "model").await;
        assert_eq!(attempts(world, "model").await, [1], "a cancelled training answers its reason");
        world.trigger_train("model", "again").await;
        let second = world.train_run("model", 2, "").await;
        world.reconcile_train("model").await;
        assert_eq!(second.data["spec"].get("status"), None, "the annotation names the first run");
    })
    .await;
}

#[tokio::test]
async fn run_past_its_timeout_is_ended_and_its_training_counts_as_failed() {
    scenario("train_timeout", async |world| {
        let mut spec = polling(world, "model");
        spec["runTimeout"] = json!("10m");
        world.apply_train("model", spec).await;
        world.trigger_train("model", "now").await;
        let run = world.train_run("model", 1, "").await;
        assert_eq!(run.data["spec"]["timeouts"]["pipeline"], "600s", "it holds while the operator is down");
        world.set_run_status(&run, tekton::started(&world.now().to_string())).await;
        world.clock.advance(Duration::from_mins(9));
        world.reconcile_train("model").await;
        assert_eq!(world.train_run("model", 1, "").await.data["spec"].get("status"), None);
        world.clock.advance(Duration::from_secs(61));
        let ending = ended_by_the_operator(world, 1).await;
        assert_eq!(ending.annotations()[keys::STOPPED], "TimedOut");
        let status = world.until_trained("model", 1).await;
        assert_eq!(verdict(&status), AttemptVerdict::Failed);
        assert_eq!(world.versions("model").await[0].spec.run.outcome, Outcome::TimedOut);
        world.until_train("model", Fresh, False, "BackingOff").await;
        world.clock.advance(Duration::from_secs(61));
        world.train_run("model", 2, "").await;
    })
    .await;
}

#[tokio::test]
async fn failing_training_backs_off_then_stalls_until_a_person_acts() {
    scenario("train_exhausted", async |world| {
        let mut spec = polling(world, "model");
        spec["freshness"]["maxAge"] = json!("24h");
        spec["retry"] = json!({ "maxAttempts": 3, "minBackoff": "10m" });
        spec["parameters"] = json!([{ "name": "why", "fromContext": "Reasons" }]);
        world.apply_train("model", spec).await;
        for (attempt, minutes) in [(1, 10), (2, 20)] {
            let run = world.train_run("model", attempt, "").await;
            assert_eq!(parameter(&run, "why").as_deref(), Some("NeverAccepted"), "a failure answers nothing");
            world.end_with(&run, "Failed", &[]).await;
            let ended = world.until_trained("model", attempt).await.last_attempt.unwrap().ended_at;
            let again = after(ended, Duration::from_mins(minutes));
            let waits = |status: &ModelTrainStatus| status.next_evaluation_at == Some(again);
            let status = world.until_train_status("model", "it waits", waits).await;
            assert_eq!(find(&status.conditions, Fresh).unwrap().reason.as_str(), "BackingOff");
            assert_eq!(find(&status.conditions, Ready).unwrap().reason.as_str(), "RunFailing");
            // Status holds everything that the wait is derived from.
            world.restart_operator().await;
            world.settle_train("model", "model").await;
            assert_eq!(attempts(world, "model").await.len(), usize::try_from(attempt).unwrap());
            world.advance_past(again);
        }
        world.end_with(&world.train_run("model", 3, "").await, "Failed", &[]).await;
        let status = world.until_train("model", Stalled, True, "RetriesExhausted").await;
        assert_eq!(status.target.unwrap().failures, 3);
        world.restart_operator().await;
        world.clock.advance(Duration::from_hours(24));
        world.settle_train("model", "model").await;
        assert_eq!(attempts(world, "model").await.len(), 3);

        world.trigger_train("model", "again").await;
        world.end_with(&world.train_run("model", 4, "").await, "Failed", &[]).await;
        let ended = world.until_trained("model", 4).await.last_attempt.unwrap().ended_at;
        let again = after(ended, Duration::from_mins(10));
        let waits = |status: &ModelTrainStatus| status.next_evaluation_at == Some(again);
        let status = world.until_train_status("model", "the count starts again", waits).await;
        assert!(find(&status.conditions, Stalled).is_none());
        world.advance_past(again);
        assert_eq!(verdict(&world.train("model", 5, &[("r2", "0.9")]).await), AttemptVerdict::Accepted);
        let status = world.until_train("model", Ready, True, "Operational").await;
        assert_eq!(status.target.unwrap().failures, 0);
    })
    .await;
}

#[tokio::test]
async fn scheduled_training_that_failed_is_retried_past_its_starting_deadline() {
    scenario("retry_schedule", async |world| {
        let (cron, firing) = world.hourly();
        let mut spec = polling(world, "model");
        spec["freshness"]["schedule"] = json!({ "cron": cron, "startingDeadline": "30s" });
        world.apply_train("model", spec).await;
        world.until_train("model", Fresh, Unknown, "NotDue").await;
        world.advance_past(firing);
        world.end_with(&world.train_run("model", 1, "").await, "Failed", &[]).await;
        world.until_train("model", Fresh, False, "BackingOff").await;
        world.endpoint.says("model", Reply::NotNeeded);
        world.clock.advance(Duration::from_secs(61));
        let status = world.train("model", 2, &[("r2", "0.9")]).await;
        assert_eq!(status.last_attempt.unwrap().reasons[0].value, firing.to_string());
    })
    .await;
}
