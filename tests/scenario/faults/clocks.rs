//! An operator whose date is wrong, or jumps: nothing that lasts is shortened by it, and no lease is stolen.

use std::time::Duration;

use jiff::SignedDuration;
use modelsync::{app::ElectionSettings, clock::Clock};
use serde_json::json;

use super::{BOTH, Subject, create, play};
use crate::harness::{
    Reply, World, WorldOptions,
    cluster::Cluster,
    fault::{Fault, call},
    proxy::Proxy,
    world::{attempt_of, faulty_scenario, faulty_scenario_with},
};

/// Errors of a date, in minutes: the clock jumps from each to the next.
const WRONG: [i64; 5] = [10, -10, 60, -60, 0];

/// `--min-run-age` of these scenarios.
const KEPT: Duration = Duration::from_mins(10);

/// Demands the run of this attempt, and plays it.
async fn run_again(world: &World, subject: Subject, attempt: i64) {
    let object = subject.prefix();
    subject.demand_again(world, object, &format!("m{attempt}")).await;
    let run = world
        .wait(&format!("{object}: run {attempt}"), async || {
            world.clock.advance(Duration::from_secs(1));
            world.runs(object).await.into_iter().find(|run| attempt_of(run) == attempt)
        })
        .await;
    world.endpoint.says(object, Reply::NotNeeded);
    world.end_with(&run, "Succeeded", &[("r2", "0.9")]).await;
}

#[tokio::test]
async fn date_that_jumps_starts_and_delays_no_run_and_deletes_none_early() {
    let options = WorldOptions { cluster: Cluster::complete().await, operator: false, min_run_age: KEPT };
    faulty_scenario_with("clock_jumps", options, async |world, proxy| {
        for subject in BOTH {
            subject.demand(world, subject.prefix()).await;
        }
        play(world).await;
        for subject in BOTH {
            let none = json!({ "successfulPipelineRunsHistoryLimit": 0 });
            subject.patch_spec(world, subject.prefix(), none).await;
        }
        let deleted = || BOTH.map(|subject| proxy.done(&call("delete", "pipelineruns").of(subject.prefix())).len());
        for (attempt, minutes) in (2..).zip(WRONG) {
            world.clock.set_wall_error(SignedDuration::from_mins(minutes));
            let jumped = world.clock.mono();
            for subject in BOTH {
                run_again(world, subject, attempt).await;
            }
            play(world).await;
            let took = world.clock.mono().since(jumped);
            assert!(took < Duration::from_mins(5), "{minutes} min: both runs took {took:?}");
            let before = deleted();
            let recorded = world.clock.mono();
            while world.clock.mono().since(recorded) < KEPT / 2 {
                let polls = world.endpoint.polls("sync");
                world.clock.advance(Duration::from_secs(6));
                let polled = async || (world.endpoint.polls("sync") > polls).then_some(());
                world.wait(&format!("{minutes} min: a poll within the interval"), polled).await;
            }
            assert!(deleted().iter().zip(before).all(|(now, before)| *now <= before + 1), "{minutes} min: {before:?}");
            for subject in BOTH {
                let runs: Vec<_> = world.runs(subject.prefix()).await.iter().map(attempt_of).collect();
                assert!(runs.contains(&attempt), "{minutes} min: run {attempt} is kept for {KEPT:?}: {runs:?}");
                let all = proxy.done(&create().of(subject.prefix())).len();
                assert_eq!(i64::try_from(all).unwrap(), attempt, "{minutes} min, {subject:?}: one run for each demand");
            }
            world.clock.advance(KEPT);
            let gone = async || {
                world.clock.advance(Duration::from_secs(1));
                let all = i64::try_from(deleted().iter().sum::<usize>()).unwrap();
                // The run of the accepted version is kept.
                (all == 2 * attempt - 1).then_some(())
            };
            world.wait(&format!("{minutes} min: the runs are deleted after {KEPT:?}"), gone).await;
        }
        for version in world.versions("train").await {
            assert!(version.spec.run.name.starts_with("train-"), "{version:?}");
        }
        world.assert_chain("train").await;
    })
    .await;
}

/// A wait that is in status ends by the date. A date that jumps back lengthens it by no more than itself.
#[tokio::test]
async fn date_that_jumps_back_does_not_lengthen_a_backoff_beyond_itself() {
    faulty_scenario("clock_backoff", async |world, proxy| {
        for (attempt, minutes) in (1..).zip([60, -60, 10, -10]) {
            for subject in BOTH {
                let object = subject.prefix();
                if attempt == 1 {
                    subject.demand(world, object).await;
                    subject
                        .patch_spec(
                            world,
                            object,
                            json!({ "retry": { "minBackoff": "1m", "maxBackoff": "1m", "maxAttempts": 100 } }),
                        )
                        .await;
                }
                let run = world.run(object, attempt).await;
                world.end_with(&run, "Failed", &[]).await;
                let ends = async || {
                    (proxy.done(&subject.record_end().of(object)).len() >= usize::try_from(attempt).unwrap())
                        .then_some(())
                };
                world.wait(&format!("{object}: end {attempt}"), ends).await;
            }
            world.clock.set_wall_error(SignedDuration::from_mins(minutes));
            let jumped = world.clock.mono();
            for subject in BOTH {
                let next = async || {
                    world.clock.advance(Duration::from_secs(1));
                    world.runs(subject.prefix()).await.into_iter().find(|run| attempt_of(run) == attempt + 1)
                };
                world.wait(&format!("{minutes} min: run {} of {subject:?}", attempt + 1), next).await;
                let took = world.clock.mono().since(jumped);
                assert!(
                    took < Duration::from_mins(5),
                    "{minutes} min: {subject:?} waited {took:?} instead of a minute"
                );
            }
        }
    })
    .await;
}

#[tokio::test]
async fn standby_whose_date_is_wrong_steals_no_lease() {
    faulty_scenario("clock_lease", async |world, proxy| {
        world.stop_operator().await;
        let duration = Duration::from_secs(3);
        world.elect(ElectionSettings { name: "modelsync-controller".into(), namespace: None, duration });
        world.start_operator().await;
        world.wait("the first replica leads", async || world.operator().leads().then_some(())).await;
        let renewals = call("update", "leases");
        for minutes in WRONG {
            let clock = Clock::system();
            clock.set_wall_error(SignedDuration::from_mins(minutes));
            let standby_proxy = Proxy::start(&world.cluster).await;
            let standby = world.another_operator_at(&standby_proxy, clock).await;
            let before = proxy.done(&renewals).len();
            // As many renewals as there are within several durations.
            world.wait("renewals", async || (proxy.done(&renewals).len() >= before + 10).then_some(())).await;
            assert!(world.operator().leads() && !standby.leads(), "{minutes} min");
            assert!(standby_proxy.done(&renewals).is_empty(), "{minutes} min: the standby writes nothing");
            // The leader's own date jumps as well.
            world.clock.set_wall_error(SignedDuration::from_mins(-minutes));
            standby.stop().await;
        }
        // A standby with a wrong date takes over all the same.
        let clock = Clock::system();
        clock.set_wall_error(SignedDuration::from_hours(-1));
        let standby = world.another_operator_at(&Proxy::start(&world.cluster).await, clock).await;
        let silent = ["update", "get"].map(|verb| proxy.always(call(verb, "leases"), Fault::Hang));
        world.wait("the standby leads", async || standby.leads().then_some(())).await;
        assert!(!world.operator().leads());
        silent.iter().for_each(crate::harness::fault::Rule::release);
        standby.stop().await;
    })
    .await;
}
