//! Requests to the API server while many objects change at once, and while none changes.

use std::time::Duration;

use kube::{ResourceExt, api::ListParams};
use modelsync::api::{ConditionStatus::True, ConditionType::InSync, keys};

use crate::harness::{Reply, World, audit::Audit, scenario};

/// Applies objects that share one endpoint, and waits until all of them are in sync.
async fn many(world: &World, count: usize) {
    for n in 0..count {
        let mut spec = world.spec("all");
        spec["interval"] = serde_json::json!("15s");
        world.apply(&format!("a{n}"), spec).await;
    }
    world
        .wait("all are in sync", async || {
            let list = world.model_syncs().list(&ListParams::default()).await.unwrap();
            let in_sync = |object: &modelsync::api::ModelSync| {
                object
                    .status
                    .as_ref()
                    .is_some_and(|status| status.conditions.iter().any(|c| c.type_ == InSync && c.status == True))
            };
            (list.items.len() == count && list.items.iter().all(in_sync)).then_some(())
        })
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_hundred_objects_that_flip_at_once_get_one_run_each_for_two_writes_each() {
    scenario("burst", async |world| {
        const COUNT: usize = 200;
        many(world, COUNT).await;
        let audit = Audit::of(world.operator_user());
        world.endpoint.says("all", Reply::model("m1"));
        world.clock.advance(Duration::from_secs(15));
        world
            .wait("a run for each", async || {
                let runs = world.pipeline_runs().list_metadata(&ListParams::default()).await.unwrap();
                (runs.items.len() >= COUNT).then_some(())
            })
            .await;
        let runs = world.pipeline_runs().list_metadata(&ListParams::default()).await.unwrap();
        let mut owners: Vec<_> = runs.items.iter().map(|run| run.labels()[keys::OWNER_UID].clone()).collect();
        owners.sort();
        owners.dedup();
        assert_eq!((runs.items.len(), owners.len()), (COUNT, COUNT), "exactly one each");
        // A create appears in the audit log a moment after the run exists.
        let writes =
            world.wait("the log", async || Some(audit.writes()).filter(|writes| writes.len() >= 2 * COUNT)).await;
        let count = |verb: &str, resource: &str| {
            writes.iter().filter(|write| write.verb == verb && write.resource == resource).count()
        };
        assert_eq!((count("patch", "modelsyncs/status"), count("create", "pipelineruns")), (COUNT, COUNT));
        assert_eq!(writes.len(), 2 * COUNT, "nothing else is written");
        assert!(writes.iter().all(|write| write.code < 300), "no conflict, no refusal: {writes:?}");
        // If the operator reserved all attempts first, those of a larger burst would expire before their create.
        let open = writes.iter().scan(0_usize, |open, write| {
            *open = if write.verb == "patch" { *open + 1 } else { open.saturating_sub(1) };
            Some(*open)
        });
        assert!(open.max().unwrap() < COUNT / 2, "runs are created as they are reserved: {writes:?}");
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn idle_objects_cause_no_write_in_two_minutes_nor_after_a_restart() {
    scenario("idle", async |world| {
        many(world, 100).await;
        let audit = Audit::of(world.operator_user());
        let before = world.endpoint.polls("all");
        // The test needs real time: watches end and start again in it.
        tokio::time::sleep(Duration::from_mins(2)).await;
        assert!(world.endpoint.polls("all") >= before + 100 * 7, "every object is polled every 15 s");
        let reads = audit.requests();
        assert!(reads.iter().any(|request| request.verb == "watch"), "the log is the operator's: {reads:?}");
        assert!(audit.writes().is_empty(), "{:?}", audit.writes());
        world.stop_operator().await;
        world.start_operator().await;
        let before = world.endpoint.polls("all");
        world
            .wait("two polls of each object", async || (world.endpoint.polls("all") >= before + 200).then_some(()))
            .await;
        assert!(audit.writes().is_empty(), "after a restart: {:?}", audit.writes());
    })
    .await;
}
