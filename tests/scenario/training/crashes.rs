//! Operators that die at each write of a training, lost replies, deleted runs, and two operators at once.

use std::time::Duration;

use kube::{
    ResourceExt,
    api::{DeleteParams, DynamicObject},
};
use modelsync::{
    api::{
        AttemptVerdict,
        ConditionStatus::{False, Unknown},
        ConditionType::Fresh,
        ModelTrainStatus, Outcome, Verdict,
    },
    core::status::condition::find,
};
use serde_json::Value;

use super::acts::decision;
use crate::harness::{
    World,
    fault::{Call, Fault, Rule, call},
    proxy::Proxy,
    scenario,
    world::{UNTIL_CERTAIN, faulty_scenario},
};

fn reserve() -> Call {
    call("patch", "modeltrains/status").saying(|body| body["status"]["reservation"]["slots"].is_array())
}

fn create() -> Call {
    call("create", "pipelineruns")
}

fn record() -> Call {
    call("create", "modelversions")
}

fn close() -> Call {
    call("patch", "modeltrains/status").saying(|body| body["status"]["lastAttempt"].is_object())
}

fn status() -> Call {
    call("patch", "modelversions/status")
}

/// The writes of a training, each with the name of an object that meets a fault at this write.
fn writes() -> [(&'static str, Call); 5] {
    [("reserve", reserve()), ("create", create()), ("record", record()), ("close", close()), ("status", status())]
}

fn shows(status: &ModelTrainStatus, reason: &str) -> bool {
    find(&status.conditions, Fresh).is_some_and(|fresh| fresh.reason.as_str() == reason)
}

/// The unfinished runs of an object.
async fn unfinished(world: &World, name: &str) -> Vec<DynamicObject> {
    let mut runs = world.runs(name).await;
    runs.retain(|run| run.data["status"]["completionTime"] == Value::Null);
    runs
}

/// Ends all unfinished runs of an object successfully.
async fn end_runs(world: &World, name: &str) {
    for run in unfinished(world, name).await {
        world.end_with(&run, "Succeeded", &[("r2", "0.9")]).await;
    }
}

/// Plays Tekton and the clock until a version of the object is accepted and its record says so: runs succeed, and the
/// clock advances while the object waits for it.
async fn play(world: &World, name: &str) {
    world
        .wait(&format!("{name}: the end"), async || {
            end_runs(world, name).await;
            let status = world.train_status(name).await;
            if status.reservation.is_none()
                && let Some(accepted) = &status.accepted_version
            {
                let version = world.model_versions().get(&accepted.name).await.unwrap();
                return decision(&version).map(drop);
            }
            if shows(&status, "RunUnconfirmed") {
                world.clock.advance(UNTIL_CERTAIN);
            } else if shows(&status, "BackingOff") {
                world.clock.advance(Duration::from_mins(1));
            }
            None
        })
        .await;
}

/// Asserts the final state after this many trainings: one run and its record, which is accepted.
async fn judge(world: &World, proxy: &Proxy, name: &str, trainings: i64) {
    let created = proxy.done(&create().of(name));
    assert_eq!(created.len(), 1, "{name}: runs: {created:#?}");
    assert_eq!(world.runs(name).await.len(), 1, "{name}");
    let status = world.train_status(name).await;
    assert_eq!(status.attempt, trainings, "{name}: {status:?}");
    assert!(status.reservation.is_none() && status.active.is_empty(), "{name}: {status:?}");
    assert_eq!(status.last_attempt.as_ref().unwrap().verdict, AttemptVerdict::Accepted, "{name}");
    let versions = world.versions(name).await;
    let recorded = proxy.done(&record().of(name));
    assert_eq!((versions.len(), recorded.len()), (1, 1), "{name}: {recorded:#?}");
    let last = versions.last().unwrap();
    assert_eq!(status.accepted_version.as_ref().unwrap().name, last.spec.run.name, "{name}");
    assert_eq!((last.spec.gate.verdict, last.spec.run.outcome), (Verdict::Passed, Outcome::Succeeded), "{name}");
    assert_eq!(decision(last).unwrap().as_str(), "Best", "{name}");
    world.assert_one_each(name).await;
    world.assert_chain(name).await;
}

/// Applies an object and ends its runs successfully until the fault has met its request.
async fn meet(world: &World, name: &str, met: impl Fn() -> bool) {
    world
        .apply_train(name, world.gated_spec(serde_json::json!({ "best": { "metric": "r2", "direction": "Maximize" } })))
        .await;
    world
        .wait(&format!("{name}: the request"), async || {
            end_runs(world, name).await;
            met().then_some(())
        })
        .await;
}

/// The number of trainings of an object. If only the dead process knew that the run had not been created, the training is
/// skipped without a record, and repeated.
fn trainings(object: &str) -> i64 {
    if ["reserve-after", "create-before"].contains(&object) { 2 } else { 1 }
}

/// Applies an object and kills the operator once it has sent this request for it: before the request reaches the API
/// server, or after the API server has executed it. Another operator runs when this function returns.
async fn die_at(world: &mut World, proxy: &Proxy, object: &str, write: &Call, fault: Fault) -> Rule {
    world.stop_operator().await;
    world.start_mortal_operator().await;
    let write = write.clone().of(object);
    let carried_out = usize::from(matches!(fault, Fault::HoldReply));
    let rule = proxy.once(write.clone(), fault);
    meet(world, object, || rule.hits() == 1 && proxy.done(&write).len() >= carried_out).await;
    world.kill_operator();
    world.start_operator().await;
    rule
}

#[tokio::test]
async fn death_before_or_after_any_write_leads_to_one_run_and_one_record() {
    faulty_scenario("train_crash", async |world, proxy| {
        let mut late = Vec::new();
        for (name, write) in writes() {
            for (when, fault) in [("before", Fault::Hold), ("after", Fault::HoldReply)] {
                let object = format!("{name}-{when}");
                let rule = die_at(world, &proxy, &object, &write, fault).await;
                play(world, &object).await;
                judge(world, &proxy, &object, trainings(&object)).await;
                // The fence uses the API server's clock, which the test cannot set forward: a create would not be late.
                if when == "before" && name != "create" {
                    late.push((object, write.clone(), rule));
                }
            }
        }
        for (object, write, rule) in late {
            rule.release();
            let write = write.of(&object);
            let response = async || proxy.seen(&write)[0].code;
            let code = world.wait("the response to the dead process", async || response().await).await;
            assert_eq!(code, 409, "{object}: a late write is refused");
            judge(world, &proxy, &object, 1).await;
        }
    })
    .await;
}

#[tokio::test]
async fn run_of_a_dead_process_that_arrives_late_is_adopted_by_the_training() {
    faulty_scenario("train_late", async |world, proxy| {
        let rule = die_at(world, &proxy, "model", &create(), Fault::Hold).await;
        world.until_train("model", Fresh, Unknown, "RunUnconfirmed").await;
        rule.release();
        play(world, "model").await;
        judge(world, &proxy, "model", 1).await;
    })
    .await;
}

#[tokio::test]
async fn lost_reply_to_any_write_leads_to_one_run_and_one_record() {
    faulty_scenario("train_lost_reply", async |world, proxy| {
        for fault in [Fault::DropReply, Fault::StatusAfter(504), Fault::Truncate] {
            for (name, write) in writes() {
                let object = format!("{name}-{}", format!("{fault:?}").split('(').next().unwrap().to_lowercase());
                let rule = proxy.once(write.clone().of(&object), fault.clone());
                meet(world, &object, || rule.hits() == 1).await;
                play(world, &object).await;
                judge(world, &proxy, &object, 1).await;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn two_operators_at_once_make_one_run_and_one_record_for_each_candidate() {
    scenario("two_trainers", async |world| {
        let other = world.another_operator().await;
        let names = ["a", "b", "c", "d", "e"];
        for name in names {
            world.apply_train(name, world.candidates_spec(&["x", "y", "z"])).await;
        }
        for (candidate, r2) in [("x", "0.5"), ("y", "0.9"), ("z", "0.7")] {
            for name in names {
                world.score(name, 1, candidate, r2).await;
            }
        }
        for name in names {
            world.until_trained(name, 1).await;
            for (candidate, reason) in [("x", "NotBest"), ("y", "Best"), ("z", "NotBest")] {
                world.version_of(name, 1, candidate, reason).await;
            }
            let status = world.train_status(name).await;
            assert!(status.accepted_version.as_ref().unwrap().name.ends_with("-y"), "{status:?}");
            assert_eq!(status.attempt, 1);
            assert_eq!((world.runs(name).await.len(), world.versions(name).await.len()), (3, 3));
            world.assert_one_each(name).await;
            world.assert_chain(name).await;
        }
        other.stop().await;
    })
    .await;
}

#[tokio::test]
async fn deleted_run_is_recorded_as_gone_once_that_is_certain_and_repeated() {
    scenario("train_gone", async |world| {
        world.apply_train("model", world.candidates_spec(&["a", "b"])).await;
        let (a, b) = (world.train_run("model", 1, "a").await, world.train_run("model", 1, "b").await);
        world.until_train("model", Fresh, False, "RunActive").await;
        for run in [&a, &b] {
            world.pipeline_runs().delete(&run.name_any(), &DeleteParams::default()).await.unwrap();
        }
        let status = world.until_train("model", Fresh, Unknown, "RunUnconfirmed").await;
        assert!(status.reservation.is_some() && world.versions("model").await.is_empty(), "not certain yet");
        world.clock.advance(UNTIL_CERTAIN);
        for (run, candidate) in [(&a, "a"), (&b, "b")] {
            let version = world.version_of("model", 1, candidate, "NotJudged").await.spec;
            assert_eq!((version.run.outcome, version.gate.verdict), (Outcome::Gone, Verdict::NotJudged));
            assert_eq!(version.run.uid, run.uid().unwrap(), "the operator saw it");
        }
        let status = world.until_trained("model", 1).await;
        assert_eq!(status.last_attempt.unwrap().verdict, AttemptVerdict::Failed);
        world.until_train("model", Fresh, False, "BackingOff").await;
        world.clock.advance(Duration::from_mins(1));
        world.score("model", 2, "a", "0.8").await;
        // If the run of one of two candidates vanishes, the other candidate is judged.
        let gone = world.train_run("model", 2, "b").await;
        world.pipeline_runs().delete(&gone.name_any(), &DeleteParams::default()).await.unwrap();
        world.until_train("model", Fresh, Unknown, "RunUnconfirmed").await;
        world.clock.advance(UNTIL_CERTAIN);
        let status = world.until_trained("model", 2).await;
        assert!(status.accepted_version.unwrap().name.ends_with("-2-a"));
        world.version_of("model", 2, "a", "Best").await;
        assert_eq!(world.version_of("model", 2, "b", "NotJudged").await.spec.run.outcome, Outcome::Gone);
        world.assert_chain("model").await;
    })
    .await;
}
