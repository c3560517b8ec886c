//! Two replicas: one leads, the other stands by.

use std::time::Duration;

use kube::ResourceExt;
use modelsync::{
    api::{
        ConditionStatus::{False, True},
        ConditionType::InSync,
    },
    app::Election,
};

use crate::harness::{Reply, World, scenario};

/// Short, so that a takeover is seen soon; a second replica starts beside the world's own.
fn election() -> Election {
    Election { name: "modelsync-controller".into(), namespace: None, duration: Duration::from_secs(3) }
}

/// Starts the world's operator and another replica, both candidates; returns the standby.
async fn two_replicas(world: &mut World) -> modelsync::app::Operator {
    world.stop_operator().await;
    world.elect(election());
    world.start_mortal_operator().await;
    world.wait("the first replica leads", async || world.operator().leads().then_some(())).await;
    let standby = world.another_operator().await;
    assert!(!standby.leads());
    standby
}

#[tokio::test]
async fn standby_takes_over_at_once_where_the_leader_stops_in_order() {
    scenario("handover", async |world| {
        let standby = two_replicas(world).await;
        world.model_sync_that_hears("a", Reply::model("m1")).await;
        let run = world.run("a", 1).await;
        world.until("a", InSync, False, "RunActive").await;
        world.stop_operator().await;
        tokio::time::timeout(
            Duration::from_secs(2),
            world.wait("the standby leads", async || standby.leads().then_some(())),
        )
        .await
        .expect("a released lease is taken within 2 s");
        world.endpoint.says("a", Reply::NotNeeded);
        world.end_run(&run, "Succeeded").await;
        world.until("a", InSync, True, "UpToDate").await;
        assert_eq!(world.runs("a").await.len(), 1);
        standby.stop().await;
    })
    .await;
}

#[tokio::test]
async fn standby_asks_nothing_and_writes_nothing() {
    scenario("standby", async |world| {
        let standby = two_replicas(world).await;
        world.model_sync_that_hears("a", Reply::NotNeeded).await;
        world.until("a", InSync, True, "UpToDate").await;
        let page = reqwest::get(format!("http://{}/metrics", standby.address())).await.unwrap().text().await.unwrap();
        assert!(!page.contains("modelsync_questions_total{"), "{page}");
        assert!(!page.contains("modelsync_reconcile_total{"), "{page}");
        let ready = reqwest::get(format!("http://{}/readyz", standby.address())).await.unwrap();
        assert_eq!(ready.status(), 200, "a standby is ready: its stores are warm");
        standby.stop().await;
    })
    .await;
}

/// As after a SIGKILL: the lease is not released and runs out.
#[tokio::test]
async fn standby_takes_over_when_the_lease_runs_out_and_starts_no_second_run() {
    scenario("takeover", async |world| {
        let standby = two_replicas(world).await;
        world.model_sync_that_hears("a", Reply::model("m1")).await;
        let run = world.run("a", 1).await;
        world.until("a", InSync, False, "RunActive").await;
        world.kill_operator();
        tokio::time::timeout(
            Duration::from_secs(5),
            world.wait("the standby leads", async || standby.leads().then_some(())),
        )
        .await
        .expect("an abandoned lease is taken within its duration and 2 s");
        world.end_run(&run, "Succeeded").await;
        let last = world.until_recorded("a", 1).await;
        assert_eq!(last.uid, run.uid());
        world.until("a", InSync, False, "AwaitingEffect").await;
        assert_eq!(world.runs("a").await.len(), 1);
        standby.stop().await;
    })
    .await;
}
