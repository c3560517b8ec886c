//! Two replicas as they are installed: one ends, the other takes over, and a sync that becomes needed meanwhile runs
//! once.

use std::time::{Duration, Instant};

use crate::{
    job_spec,
    leader::{Audit, DURATION, Leader, lives, signal},
    model_sync,
    world::{SYSTEM, World, kubectl, node_test_alone, operator_is_complete},
};

/// How much longer a takeover may take than necessary.
const MARGIN: Duration = Duration::from_secs(2);
/// How long an orderly shutdown of a replica may take.
const ORDERLY: Duration = Duration::from_secs(5);

/// Ends the leader with `end` at the moment when a sync becomes needed, and calls `then` when the other replica leads.
/// Prints and returns the time that the takeover took.
#[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
async fn ends(world: &World, how: &str, end: impl AsyncFnOnce(&Leader, u32), then: impl FnOnce(u32)) -> Duration {
    operator_is_complete();
    world.apply(&model_sync(world, "failover", "jobTemplate", &job_spec("true"))).await;
    world.condition("failover", "InSync", "True", "UpToDate").await;
    let former = Leader::other_than(world, None).await;
    let (audit, pid) = (Audit::from_now(), former.pid());
    let ended = Instant::now();
    world.wants("failover", "model-1");
    end(&former, pid).await;
    let leader = Leader::other_than(world, Some(&former)).await;
    let took = ended.elapsed();
    then(pid);
    println!("{how}: {} leads {} ms after {} was ended", leader.pod, took.as_millis(), former.pod);
    assert_ne!(leader.pod, former.pod, "the standby leads");

    let run = world.run_ended("failover", 1, "Succeeded").await;
    println!("{how}: the demand was served after {} ms", ended.elapsed().as_millis());
    world.has("failover", "model-1");
    world.condition("failover", "InSync", "True", "UpToDate").await;
    assert_eq!(world.runs("failover").await, [run]);
    let writes = audit.writes();
    let takeover = writes.iter().position(|write| write.resource == "leases" && write.pod == leader.pod);
    let (before, after) = writes.split_at(takeover.expect("the audit log shows the takeover"));
    assert!(after.iter().all(|write| write.pod == leader.pod), "written by another after the takeover: {after:#?}");
    assert!(before.iter().all(|write| write.pod == former.pod), "written by another before it: {before:#?}");
    let created = writes
        .iter()
        .filter(|write| write.verb == "create" && write.resource == "jobs" && write.namespace == world.namespace);
    assert_eq!(created.count(), 1, "{writes:#?}");
    operator_is_complete();
    took
}

#[tokio::test]
async fn standby_takes_over_from_a_killed_leader_within_the_lease_and_starts_one_run() {
    node_test_alone("killed", async |world| {
        let took = ends(world, "SIGKILL", async |_, pid| signal(pid, "KILL"), drop).await;
        assert!(took <= DURATION + MARGIN, "{took:?}");
    })
    .await;
}

#[tokio::test]
async fn paused_leader_is_replaced_and_writes_nothing_after_it_resumes() {
    node_test_alone("stopped", async |world| {
        let took = ends(world, "SIGSTOP", async |_, pid| signal(pid, "STOP"), |pid| signal(pid, "CONT")).await;
        assert!(took <= DURATION + MARGIN, "{took:?}");
    })
    .await;
}

#[tokio::test]
#[expect(clippy::disallowed_methods, reason = "what is measured is real time")]
async fn standby_takes_over_at_once_from_a_leader_whose_pod_is_deleted_and_starts_one_run() {
    node_test_alone("deleted", async |world| {
        let end = async |leader: &Leader, pid| {
            let deleted = Instant::now();
            kubectl(&["delete", "pod", "-n", SYSTEM, "--wait=false", &leader.pod]);
            world.eventually("the process to end", async || (!lives(pid)).then_some(())).await;
            println!("SIGTERM: the process ended after {} ms", deleted.elapsed().as_millis());
            assert!(deleted.elapsed() <= ORDERLY, "{:?}", deleted.elapsed());
        };
        let took = ends(world, "SIGTERM", end, drop).await;
        assert!(took <= MARGIN, "{took:?}");
    })
    .await;
}
