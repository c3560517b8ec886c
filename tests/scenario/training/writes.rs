//! Writes of a training to the API server.

use std::time::Duration;

use modelsync::api::{
    ConditionStatus::{True, Unknown},
    ConditionType::{Fresh, HoldInvalid},
    keys,
};
use serde_json::json;

use crate::harness::{World, audit::Audit, scenario};

/// The writes of a training of one candidate: reservation, run, record, end, and the decision about the record.
const CYCLE: [(&str, &str); 5] = [
    ("patch", "modeltrains/status"),
    ("create", "pipelineruns"),
    ("create", "modelversions"),
    ("patch", "modeltrains/status"),
    ("patch", "modelversions/status"),
];

/// The writes since the audit began, without two marks. A hold of an unknown version and its removal cause one write
/// each; every earlier write is in the log before them.
async fn writes(world: &World, audit: &Audit, name: &str) -> Vec<(String, String)> {
    world.annotate_train(name, keys::HOLD, Some("nothing")).await;
    world.until_train(name, HoldInvalid, True, "HoldInvalid").await;
    world.annotate_train(name, keys::HOLD, None).await;
    let gone = |status: &modelsync::api::ModelTrainStatus| {
        modelsync::core::status::condition::find(&status.conditions, HoldInvalid).is_none()
    };
    world.until_train_status(name, "the hold is forgotten", gone).await;
    let found = async || {
        let writes = audit.writes();
        assert!(writes.iter().all(|write| write.code < 300), "no conflict, no refusal: {writes:?}");
        let mut writes: Vec<_> = writes.into_iter().map(|write| (write.verb, write.resource)).collect();
        // The two writes about the hold.
        let marks = writes.len().checked_sub(2)?;
        (writes.len() >= CYCLE.len() + 2).then(|| drop(writes.drain(marks..))).map(|()| writes)
    };
    world.wait("the log", found).await
}

#[tokio::test]
async fn training_of_one_candidate_takes_five_writes_for_any_verdict() {
    scenario("five_writes", async |world| {
        let mut spec = world.train_spec();
        spec["gate"] = json!({
            "rules": [{ "name": "good", "expression": "metrics.r2 > 0.3" }],
            "best": { "metric": "r2", "direction": "Maximize" },
        });
        world.apply_train("model", spec).await;
        world.until_train("model", Fresh, Unknown, "NotDue").await;
        // Accepted, accepted over an older one, not better, not good.
        for (attempt, r2, decision) in
            [(1, "0.7", "Best"), (2, "0.8", "Best"), (3, "0.5", "NotImproved"), (4, "0.1", "GateFailed")]
        {
            let audit = Audit::of(world.operator_user());
            world.triggered("model", attempt, r2, decision).await;
            let writes = writes(world, &audit, "model").await;
            let expected = CYCLE.map(|(verb, resource)| (verb.to_owned(), resource.to_owned()));
            assert_eq!(writes, expected, "training {attempt}");
        }
    })
    .await;
}

#[tokio::test]
async fn training_because_of_age_takes_five_writes() {
    scenario("five_writes_aged", async |world| {
        world
            .apply_train(
                "model",
                world.gated_spec(json!({ "rules": [{ "name": "good", "expression": "metrics.r2 > 0.3" }] })),
            )
            .await;
        world.train("model", 1, &[("r2", "0.7")]).await;
        world.version_of("model", 1, "", "Best").await;
        for (attempt, r2, decision) in [(2, "0.8", "Best"), (3, "0.1", "GateFailed")] {
            let audit = Audit::of(world.operator_user());
            world.clock.advance(Duration::from_hours(25));
            world.train("model", attempt, &[("r2", r2)]).await;
            world.version_of("model", attempt, "", decision).await;
            let writes = writes(world, &audit, "model").await;
            let expected = CYCLE.map(|(verb, resource)| (verb.to_owned(), resource.to_owned()));
            assert_eq!(writes, expected, "training {attempt}");
        }
    })
    .await;
}
