//! Several candidates in one training: the order of their runs, and the choice of the accepted one.

use std::time::Duration;

use kube::{ResourceExt, api::DeleteParams};
use modelsync::api::{
    AttemptVerdict,
    ConditionStatus::False,
    ConditionType::{Fresh, Ready},
    ModelTrainStatus, Outcome, SlotState, Verdict,
};
use serde_json::json;

use crate::harness::{scenario, trains::candidate_of, world::parameter};

#[tokio::test]
async fn first_of_equals_is_accepted_whichever_ended_first() {
    scenario("tie", async |world| {
        world.apply_train("model", world.candidates_spec(&["a", "b", "c"])).await;
        for (candidate, r2) in [("c", "0.9"), ("b", "0.90"), ("a", "0.5")] {
            world.score("model", 1, candidate, r2).await;
        }
        let accepted = world.until_trained("model", 1).await.accepted_version.unwrap();
        assert!(accepted.name.ends_with("-b"), "{}", accepted.name);
        assert_eq!(accepted.score.as_deref(), Some("0.90"), "as it was written");
        for (candidate, reason) in [("a", "NotBest"), ("b", "Best"), ("c", "NotBest")] {
            world.version_of("model", 1, candidate, reason).await;
        }
        world.assert_chain("model").await;
    })
    .await;
}

#[tokio::test]
async fn candidate_that_has_ended_and_waits_for_its_record_is_not_active() {
    scenario("ended_first", async |world| {
        world.apply_train("model", world.candidates_spec(&["a", "b"])).await;
        let (first, second) = (world.train_run("model", 1, "a").await, world.train_run("model", 1, "b").await);
        let names = |status: &ModelTrainStatus| status.active.iter().map(|run| run.name.clone()).collect::<Vec<_>>();
        let both = [first.name_any(), second.name_any()];
        world.until_train_status("model", "both are active", |status| names(status) == both).await;
        // Records are written in the order of the candidates.
        world.score("model", 1, "b", "0.9").await;
        let status = world.until_train_status("model", "one is active", |status| names(status) == both[..1]).await;
        assert!(status.reservation.unwrap().slots.iter().all(|slot| slot.state == SlotState::Reserved));
        world.score("model", 1, "a", "0.5").await;
        assert_eq!(world.until_trained("model", 1).await.active, []);
    })
    .await;
}

#[tokio::test]
async fn other_candidates_are_judged_if_one_fails() {
    scenario("one_fails", async |world| {
        world.apply_train("model", world.candidates_spec(&["a", "b", "c"])).await;
        world.score("model", 1, "c", "0.4").await;
        let failing = world.train_run("model", 1, "a").await;
        // The results of a failed run are recorded and never judged, even if they are the best.
        world.end_with(&failing, "Failed", &[("r2", "0.99")]).await;
        world.score("model", 1, "b", "0.3").await;
        let status = world.until_trained("model", 1).await;
        assert!(status.accepted_version.unwrap().name.ends_with("-c"));
        assert_eq!(status.last_attempt.unwrap().verdict, AttemptVerdict::Accepted);
        let failed = world.version_of("model", 1, "a", "NotJudged").await.spec;
        assert_eq!((failed.run.outcome, failed.gate.verdict), (Outcome::Failed, Verdict::NotJudged));
        assert_eq!(failed.metrics[0].value.as_deref(), Some("0.99"));
        world.version_of("model", 1, "b", "NotBest").await;
        world.version_of("model", 1, "c", "Best").await;
        world.assert_chain("model").await;
    })
    .await;
}

#[tokio::test]
async fn training_without_a_run_that_succeeded_is_repeated_after_a_pause() {
    scenario("all_fail", async |world| {
        let mut spec = world.candidates_spec(&["a", "b", "c"]);
        spec["retry"] = json!({ "minBackoff": "1h" });
        world.apply_train("model", spec).await;
        for candidate in ["a", "b", "c"] {
            let run = world.train_run("model", 1, candidate).await;
            world.end_with(&run, "Failed", &[]).await;
        }
        let status = world.until_trained("model", 1).await;
        assert_eq!(status.last_attempt.unwrap().verdict, AttemptVerdict::Failed);
        assert_eq!(status.target.unwrap().failures, 1);
        world.until_train("model", Ready, False, "RunFailing").await;
        let status = world.until_train("model", Fresh, False, "BackingOff").await;
        assert!(status.answered_reasons.is_empty(), "nothing was answered: {status:?}");
        for candidate in ["a", "b", "c"] {
            world.version_of("model", 1, candidate, "NotJudged").await;
        }
        assert_eq!(world.train_status("model").await.attempt, 1, "not before the backoff is over");
        world.clock.advance(Duration::from_hours(1));
        for candidate in ["a", "b", "c"] {
            world.score("model", 2, candidate, "0.5").await;
        }
        let status = world.until_trained("model", 2).await;
        assert!(status.accepted_version.unwrap().name.ends_with("-2-a"));
        assert_eq!(status.target.unwrap().failures, 0);
        world.version_of("model", 2, "a", "Best").await;
        world.assert_chain("model").await;
    })
    .await;
}

#[tokio::test]
async fn parallelism_of_one_runs_one_candidate_after_the_other() {
    use SlotState::{Recorded, Reserved, Waiting};
    scenario("in_turn", async |world| {
        let mut spec = world.candidates_spec(&["a", "b", "c"]);
        spec["parallelism"] = json!(1);
        world.apply_train("model", spec).await;
        let mut nonces = Vec::new();
        for (turn, (candidate, states)) in [
            ("a", [Reserved, Waiting, Waiting]),
            ("b", [Recorded, Reserved, Waiting]),
            ("c", [Recorded, Recorded, Reserved]),
        ]
        .into_iter()
        .enumerate()
        {
            world.train_run("model", 1, candidate).await;
            let runs = world.train_runs("model", 1).await;
            assert_eq!(runs.len(), turn + 1, "only {candidate} has started: {:?}", runs.iter().map(candidate_of));
            let status = world.train_status("model").await;
            let open = status.reservation.unwrap();
            assert_eq!(open.slots.iter().map(|slot| slot.state).collect::<Vec<_>>(), states);
            assert_eq!(status.active.len(), 1, "{:?}", status.active);
            let slot = &open.slots[turn];
            assert!(open.slots[turn + 1..].iter().all(|slot| slot.nonce.is_empty() && slot.not_after.is_none()));
            assert!(!nonces.contains(&slot.nonce), "each batch has a claim of its own");
            nonces.push(slot.nonce.clone());
            world.score("model", 1, candidate, "0.7").await;
        }
        let status = world.until_trained("model", 1).await;
        assert!(status.accepted_version.unwrap().name.ends_with("-a"));
        world.version_of("model", 1, "c", "NotBest").await;
        world.assert_one_each("model").await;
        world.assert_chain("model").await;
    })
    .await;
}

#[tokio::test]
async fn candidate_whose_record_is_deleted_is_skipped_once_it_is_certainly_gone() {
    scenario("record_deleted", async |world| {
        let mut spec = world.candidates_spec(&["a", "b"]);
        spec["parallelism"] = json!(1);
        world.apply_train("model", spec).await;
        world.score("model", 1, "a", "0.9").await;
        let b = world.train_run("model", 1, "b").await;
        let a = b.name_any().replace("-1-b", "-1-a");
        world.model_versions().delete(&a, &DeleteParams::default()).await.unwrap();
        world.score("model", 1, "b", "0.7").await;
        let status = world.until_trained("model", 1).await;
        assert_eq!(status.accepted_version.unwrap().name, b.name_any());
        assert!(world.versions("model").await.iter().all(|version| version.name_any() != a), "it is not written again");
    })
    .await;
}

#[tokio::test]
async fn candidates_that_have_not_started_are_skipped_after_an_edit_and_the_others_are_judged() {
    scenario("edited", async |world| {
        for (name, patch) in [
            ("edited", json!({ "parameters": [{ "name": "n", "value": "2" }] })),
            ("paused", json!({ "suspend": true })),
        ] {
            let mut spec = world.candidates_spec(&["a", "b", "c"]);
            spec["parallelism"] = json!(1);
            world.apply_train(name, spec).await;
            world.score(name, 1, "a", "0.7").await;
            world.train_run(name, 1, "b").await;
            world.patch_train(name, patch).await;
            world
                .until_train_status(name, "c is skipped", |status| {
                    let open = status.reservation.as_deref();
                    open.is_some_and(|open| open.slots[2].state == SlotState::Skipped)
                })
                .await;
            world.score(name, 1, "b", "0.8").await;
            let status = world.until_trained(name, 1).await;
            assert_eq!(status.last_attempt.as_ref().unwrap().verdict, AttemptVerdict::Accepted);
            assert!(status.accepted_version.as_ref().unwrap().name.ends_with("-b"), "{status:?}");
            assert_eq!((status.slots[2].outcome, status.slots[2].decision), (None, None));
            world.version_of(name, 1, "a", "NotBest").await;
            world.version_of(name, 1, "b", "Best").await;
            assert_eq!(world.versions(name).await.len(), 2, "a skipped candidate has no record");
            assert_eq!(world.runs(name).await.len(), 2);
            world.assert_chain(name).await;
        }
    })
    .await;
}

#[tokio::test]
async fn parameters_of_a_candidate_override_those_of_the_object_and_these_override_the_template() {
    scenario("parameters", async |world| {
        let mut spec = world.candidates_spec(&[]);
        spec["parameters"] = json!([{ "name": "lr", "value": "object" }, { "name": "epochs", "value": "object" }]);
        spec["candidates"] = json!([
            { "name": "own", "parameters": [{ "name": "lr", "value": "candidate" }, { "name": "depth", "fromContext": "Candidate" }] },
            { "name": "plain" },
        ]);
        let template = |name: &str| json!({ "name": name, "value": "template" });
        spec["pipelineRunTemplate"]["spec"]["params"] = ["lr", "epochs", "seed"].map(template).into();
        world.apply_train("model", spec).await;
        let (own, plain) = (world.train_run("model", 1, "own").await, world.train_run("model", 1, "plain").await);
        for (run, name, value) in [
            (&own, "lr", Some("candidate")),
            (&own, "epochs", Some("object")),
            (&own, "seed", Some("template")),
            (&own, "depth", Some("own")),
            (&plain, "lr", Some("object")),
            (&plain, "epochs", Some("object")),
            (&plain, "seed", Some("template")),
            (&plain, "depth", None),
        ] {
            assert_eq!(parameter(run, name).as_deref(), value, "{} {name}", candidate_of(run));
        }
        world.score("model", 1, "own", "0.5").await;
        world.score("model", 1, "plain", "0.4").await;
        let recorded = world.version_of("model", 1, "own", "Best").await.spec.parameters;
        let recorded: Vec<_> = recorded.iter().map(|p| (p.name.as_str(), p.value.as_str())).collect();
        assert_eq!(recorded, [("depth", "own"), ("epochs", "object"), ("lr", "candidate")]);
    })
    .await;
}
