//! Two replicas: one is the leader, the other the standby.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ObjectMeta, PostParams},
};
use modelsync::{
    api::{
        ConditionStatus::{False, True},
        ConditionType::InSync,
    },
    app::ElectionSettings,
};

use crate::harness::{Reply, World, audit::Audit, scenario};

const LEASE: &str = "modelsync-controller";

/// A short duration, so that a takeover happens soon.
fn election() -> ElectionSettings {
    ElectionSettings { name: LEASE.into(), namespace: None, duration: Duration::from_secs(3) }
}

/// Starts the operator of the world and a second replica with the same lease. Returns the standby.
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
async fn standby_takes_over_at_once_when_the_leader_stops_cleanly() {
    scenario("handover", async |world| {
        let standby = two_replicas(world).await;
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let run = world.run("a", 1).await;
        world.until("a", InSync, False, "RunActive").await;
        tokio::time::timeout(Duration::from_secs(5), world.stop_operator()).await.expect("a replica ends within 5 s");
        tokio::time::timeout(
            Duration::from_secs(1),
            world.wait("the standby leads", async || standby.leads().then_some(())),
        )
        .await
        .expect("a released lease is taken within 1 s");
        world.endpoint.says("a", Reply::NotNeeded);
        world.end_run(&run, "Succeeded").await;
        world.until("a", InSync, True, "UpToDate").await;
        assert_eq!(world.runs("a").await.len(), 1);
        standby.stop().await;
    })
    .await;
}

/// Twenty objects need a run at once, and the replica is stopped while it starts them.
#[tokio::test]
async fn stopping_replica_finishes_its_reconciles_and_then_releases_the_lease_within_five_seconds() {
    scenario("orderly-end", async |world| {
        world.stop_operator().await;
        for number in 0..20 {
            world.model_sync_with_reply(&format!("a{number}"), Reply::model("m1")).await;
        }
        world.elect(election());
        let audit = Audit::of(world.operator_user());
        world.start_operator().await;
        world
            .wait("reconciles are in flight", async || {
                audit.writes().iter().any(|write| write.verb == "create").then_some(())
            })
            .await;
        tokio::time::timeout(Duration::from_secs(5), world.stop_operator()).await.expect("a replica ends within 5 s");
        let reads = ["get", "list", "watch"];
        let requests = audit.requests().into_iter().filter(|request| request.resource != "events");
        let writes: Vec<_> = requests.filter(|request| !reads.contains(&request.verb.as_str())).collect();
        let last = writes.last().unwrap();
        assert_eq!((last.verb.as_str(), last.resource.as_str(), last.code), ("update", "leases", 200), "{writes:#?}");
        let leases: Api<Lease> = Api::namespaced(world.client.clone(), &world.namespace);
        let lease = leases.get(LEASE).await.unwrap().spec.unwrap();
        assert_eq!(lease.holder_identity.as_deref(), Some(""));
    })
    .await;
}

#[tokio::test]
async fn standby_polls_nothing_and_writes_nothing() {
    scenario("standby", async |world| {
        let standby = two_replicas(world).await;
        world.model_sync_with_reply("a", Reply::NotNeeded).await;
        world.until("a", InSync, True, "UpToDate").await;
        let page = reqwest::get(format!("http://{}/metrics", standby.address())).await.unwrap().text().await.unwrap();
        assert!(!page.contains("modelsync_polls_total{"), "{page}");
        assert!(!page.contains("modelsync_reconcile_total{"), "{page}");
        let ready = async || {
            let ready = reqwest::get(format!("http://{}/readyz", standby.address())).await.unwrap();
            (ready.status() == 200).then_some(())
        };
        world.wait("a standby is ready: its stores are warm", ready).await;
        standby.stop().await;
    })
    .await;
}

/// As after a SIGKILL: the lease is not released and expires.
#[tokio::test]
async fn standby_takes_over_when_the_lease_runs_out_and_starts_no_second_run() {
    scenario("takeover", async |world| {
        let standby = two_replicas(world).await;
        world.model_sync_with_reply("a", Reply::model("m1")).await;
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

/// A user deletes the lease. Its holder does not know yet and still leads, so no other replica may take the lease.
#[tokio::test]
async fn leader_recreates_its_deleted_lease_and_the_standby_does_not_take_over() {
    scenario("deleted-lease", async |world| {
        let audit = Audit::of(world.operator_user());
        let standby = two_replicas(world).await;
        // The second read of the standby comes after it has processed the response to the first. The leader does not
        // read.
        world
            .wait("the standby has seen the lease", async || {
                let requests = audit.requests();
                let reads = requests
                    .iter()
                    .filter(|r| (r.verb.as_str(), r.resource.as_str(), r.code) == ("get", "leases", 200));
                (reads.count() >= 2).then_some(())
            })
            .await;
        let leases: Api<Lease> = Api::namespaced(world.client.clone(), &world.namespace);
        let holder = async || leases.get_opt(LEASE).await.unwrap().and_then(|lease| lease.spec?.holder_identity);
        let (before, changes) = (holder().await, standby.leadership());
        leases.delete(LEASE, &DeleteParams::default()).await.unwrap();
        let after = world.wait("the lease exists again", holder).await;
        assert_eq!(Some(after), before);
        assert!(world.operator().leads() && !standby.leads());
        assert!(!changes.has_changed().unwrap(), "the standby has led in the meantime");
        standby.stop().await;
    })
    .await;
}

/// The assumption of the model of the lease: without the uid, a late update would create the lease again.
#[tokio::test]
async fn update_with_the_uid_of_a_deleted_lease_is_refused() {
    scenario("late-update", async |world| {
        let leases: Api<Lease> = Api::namespaced(world.client.clone(), &world.namespace);
        let lease = Lease { metadata: ObjectMeta { name: Some(LEASE.into()), ..ObjectMeta::default() }, spec: None };
        let created = leases.create(&PostParams::default(), &lease).await.unwrap();
        leases.delete(LEASE, &DeleteParams::default()).await.unwrap();
        let late = leases.replace(LEASE, &PostParams::default(), &created).await;
        assert!(matches!(&late, Err(kube::Error::Api(status)) if status.code == 409), "{late:?}");
        let mut without_uid = created;
        without_uid.metadata.uid = None;
        leases.replace(LEASE, &PostParams::default(), &without_uid).await.expect("an update creates a lease");
    })
    .await;
}
