//! Polls whose turn comes while no operator leads.

use std::time::Duration;

use kube::ResourceExt;
use modelsync::{
    api::{ConditionStatus::True, ConditionType::InSync},
    app::ElectionSettings,
    core::poll::jitter::next_poll_in,
};
use serde_json::json;

use crate::harness::{World, scenario};

const DAY: Duration = Duration::from_hours(24);
const MINUTE: Duration = Duration::from_mins(1);
const SYNCS: [&str; 5] = ["a", "b", "c", "d", "e"];
const TRAINS: [&str; 3] = ["f", "g", "h"];

/// The name and the uid of each object; it polls the endpoint under its name, once a day.
async fn objects_polled_daily(world: &World) -> Vec<(&'static str, String)> {
    let mut objects = Vec::new();
    for name in SYNCS {
        let mut spec = world.spec(name);
        spec["interval"] = json!("24h");
        world.apply(name, spec).await;
        world.until(name, InSync, True, "UpToDate").await;
        objects.push((name, world.model_syncs().get(name).await.unwrap().uid().unwrap()));
    }
    for name in TRAINS {
        let mut spec = world.train_spec();
        spec["interval"] = json!("24h");
        spec["freshness"] = json!({ "needsTrainUrl": world.endpoint.url(name) });
        world.apply_train(name, spec).await;
        let taken_in = |status: &modelsync::api::ModelTrainStatus| {
            use modelsync::{api::ConditionType::Reconciling, core::status::condition::find};
            !status.conditions.is_empty() && find(&status.conditions, Reconciling).is_none()
        };
        world.until_train_status(name, "its first response", taken_in).await;
        objects.push((name, world.model_trains().get(name).await.unwrap().uid().unwrap()));
    }
    objects
}

async fn revisions(world: &World) -> Vec<Option<String>> {
    let mut found = Vec::new();
    for name in SYNCS {
        found.push(world.model_syncs().get(name).await.unwrap().resource_version());
    }
    for name in TRAINS {
        found.push(world.model_trains().get(name).await.unwrap().resource_version());
    }
    found
}

/// The operator is away while the turns of some objects come, and not those of others.
async fn operator_is_away(world: &mut World) {
    let objects = objects_polled_daily(world).await;
    let mut turns: Vec<_> =
        objects.iter().map(|(name, uid)| (next_poll_in(uid, DAY, world.clock.now().wall), *name)).collect();
    turns.sort();
    // The longest pause between two turns: the clock stops in the middle of it, so that no turn comes by itself.
    let pauses = turns.windows(2).map(|pair| pair[1].0.saturating_sub(pair[0].0)).enumerate();
    let (last, pause) = pauses.max_by_key(|(_, pause)| *pause).unwrap();
    assert!(pause > 10 * MINUTE, "{turns:?}");
    let before = revisions(world).await;
    world.stop_operator().await;
    world.clock.advance(turns[last].0 + pause / 2);
    world.start_operator().await;
    let all = u64::try_from(objects.len()).unwrap();
    world.wait("every object is reconciled", async || (world.reconciles().await >= all).then_some(())).await;
    world.clock.advance(MINUTE);
    for (_, name) in &turns[..=last] {
        world.wait(&format!("{name} is polled"), async || (world.endpoint.polls(name) == 2).then_some(())).await;
    }
    let again = u64::try_from(last + 1).unwrap();
    world.wait("their responses", async || (world.reconciles().await >= all + again).then_some(())).await;
    for (_, name) in &turns[last + 1..] {
        assert_eq!(world.endpoint.polls(name), 1, "{name}: its turn has not come");
    }
    assert_eq!(revisions(world).await, before, "an unchanged world causes no write");
}

#[tokio::test]
async fn turn_that_came_between_two_leaders_is_made_up_for_within_a_minute_and_no_other_object_is_polled() {
    scenario("missed-turns", async |world| {
        world.stop_operator().await;
        let duration = Duration::from_secs(3);
        world.elect(ElectionSettings { name: "modelsync-controller".into(), namespace: None, duration });
        world.start_operator().await;
        operator_is_away(world).await;
    })
    .await;
}

/// As after a SIGKILL: nothing says when the operator ended but the last renewal of its lease.
#[tokio::test]
async fn turn_that_came_after_the_leader_was_killed_is_made_up_for() {
    scenario("missed-turn-killed", async |world| {
        world.stop_operator().await;
        let duration = Duration::from_secs(3);
        world.elect(ElectionSettings { name: "modelsync-controller".into(), namespace: None, duration });
        world.start_mortal_operator().await;
        let mut spec = world.spec("a");
        spec["interval"] = json!("24h");
        world.apply("a", spec).await;
        world.until("a", InSync, True, "UpToDate").await;
        let uid = world.model_syncs().get("a").await.unwrap().uid().unwrap();
        world.kill_operator();
        world.clock.advance(next_poll_in(&uid, DAY, world.clock.now().wall) + MINUTE);
        world.start_operator().await;
        world.wait("it is reconciled", async || (world.reconciles().await >= 1).then_some(())).await;
        world.clock.advance(MINUTE);
        world.wait("it is polled", async || (world.endpoint.polls("a") == 2).then_some(())).await;
    })
    .await;
}
