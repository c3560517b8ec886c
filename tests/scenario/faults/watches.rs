//! Watches that break, fall silent or report an old state.

use std::time::Duration;

use modelsync::{
    api::{
        ConditionStatus::{False, True},
        ConditionType::InSync,
    },
    kube_io::client::Safeguards,
};

use super::{create, play};
use crate::harness::{
    Reply, World,
    fault::{Fault, call},
    world::faulty_scenario,
};

const RUNS: &str = "pipelineruns";

/// Applies an object and waits until its run is active and shown in status. Returns the run.
async fn running(world: &World) -> kube::api::DynamicObject {
    world.model_sync_with_reply("a", Reply::model("m1")).await;
    let run = world.run("a", 1).await;
    world.until("a", InSync, False, "RunActive").await;
    world.endpoint.says("a", Reply::NotNeeded);
    run
}

#[tokio::test]
async fn watch_that_breaks_again_and_again_misses_no_end() {
    faulty_scenario("watch_cut", async |world, proxy| {
        let run = running(world).await;
        let rule = proxy.times(3, call("watch", RUNS), Fault::Cut);
        rule.hit(3).await;
        world.end_run(&run, "Succeeded").await;
        world.until("a", InSync, True, "UpToDate").await;
        let lists = proxy.seen(&call("list", RUNS)).len();
        assert!(lists <= 5, "{lists} lists");
        assert_eq!(proxy.done(&create()).len(), 1);
    })
    .await;
}

#[tokio::test]
async fn expired_version_leads_to_a_list_that_brings_the_missed_changes() {
    faulty_scenario("watch_gone", async |world, proxy| {
        let run = running(world).await;
        // Without bookmarks, the version of the watch stays old.
        proxy.always(call("watch", RUNS), Fault::NoBookmarks);
        let silent = proxy.always(call("watch", RUNS), Fault::Silence);
        world.end_run(&run, "Succeeded").await;
        let lists = proxy.seen(&call("list", RUNS)).len();
        let gone = proxy.once(call("watch", RUNS), Fault::Gone);
        silent.release();
        gone.hit(1).await;
        world.until("a", InSync, True, "UpToDate").await;
        assert!(proxy.seen(&call("list", RUNS)).len() > lists);
        assert_eq!(proxy.done(&create()).len(), 1);
    })
    .await;
}

#[tokio::test]
async fn watches_that_end_at_once_restart_with_growing_pauses() {
    faulty_scenario("watch_ends", async |world, proxy| {
        let run = running(world).await;
        for fault in [Fault::End, Fault::Cut, Fault::Gone, Fault::Status(410), Fault::Status(503)] {
            world.stop_operator().await;
            let rule = proxy.always(call("watch", RUNS), fault.clone());
            let before = proxy.seen(&call("watch", RUNS)).len();
            world.start_operator().await;
            rule.hit(3).await;
            let begun: Vec<_> = proxy.seen(&call("watch", RUNS)).into_iter().skip(before).map(|seen| seen.at).collect();
            let pauses = begun.windows(2).zip([250, 500]);
            for (pair, least) in pauses {
                let pause = pair[1].since(pair[0]);
                assert!(pause >= Duration::from_millis(least), "{fault:?}: {pause:?}, not {least} ms");
            }
            rule.release();
        }
        world.end_run(&run, "Succeeded").await;
        // Pauses run on the clock that `play` sets forward.
        play(world).await;
        assert_eq!(proxy.done(&create()).len(), 1);
    })
    .await;
}

/// As with an API server that lags: the lists are older than the demand, and the watches report no later change.
#[tokio::test]
async fn operator_that_starts_from_stale_lists_starts_no_second_run() {
    faulty_scenario("watch_past", async |world, proxy| {
        world.model_sync_with_reply("a", Reply::NotNeeded).await;
        world.until("a", InSync, True, "UpToDate").await;
        world.stop_operator().await;
        let lists = ["modelsyncs", RUNS].map(|resource| proxy.always(call("list", resource), Fault::Remember));
        world.start_operator().await;
        for list in &lists {
            list.hit(1).await;
        }
        world.endpoint.says("a", Reply::model("m1"));
        world.trigger("a", "now").await;
        let run = world.run("a", 1).await;
        world.until("a", InSync, False, "RunActive").await;
        world.stop_operator().await;
        let watches = ["modelsyncs", RUNS].map(|resource| proxy.always(call("watch", resource), Fault::Silence));
        let before = proxy.seen(&create()).len();
        world.start_operator().await;
        let found = call("get", RUNS).of("a");
        world
            .wait("the run is found by name", async || {
                world.clock.advance(Duration::from_secs(1));
                (!proxy.done(&found).is_empty()).then_some(())
            })
            .await;
        for rule in lists.iter().chain(&watches) {
            rule.release();
        }
        world.endpoint.says("a", Reply::NotNeeded);
        world.end_run(&run, "Succeeded").await;
        world.until("a", InSync, True, "UpToDate").await;
        assert_eq!((proxy.seen(&create()).len(), proxy.done(&create()).len()), (before, 1));
    })
    .await;
}

/// The default limit is a minute; here it is short.
#[tokio::test]
async fn watch_that_falls_silent_is_noticed_and_without_the_limit_is_not() {
    const SHORT: Duration = Duration::from_secs(2);
    const LONG: Duration = Duration::from_secs(6);
    assert_eq!(Safeguards::default().watch_silence, Some(Duration::from_mins(1)));
    for (name, limit) in [("silence_on", Some(SHORT)), ("silence_off", None)] {
        faulty_scenario(name, async |world, proxy| {
            world.stop_operator().await;
            let safeguards = Safeguards { watch_silence: limit, ..Safeguards::default() };
            world.start_guarded_operator(safeguards).await;
            let run = running(world).await;
            proxy.once(call("watch", RUNS), Fault::Silence).hit(1).await;
            world.end_run(&run, "Succeeded").await;
            let recorded = tokio::time::timeout(LONG, world.until_recorded("a", 1)).await;
            assert_eq!(recorded.is_ok(), limit.is_some(), "{name}: the end of the run is seen");
        })
        .await;
    }
}
