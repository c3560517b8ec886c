//! Watches that break, fall silent or report an old state.

use std::time::Duration;

use modelsync::kube_io::client::Safeguards;

use super::{
    BOTH, Subject, create, play,
    subject::{end_runs, until_shows},
};
use crate::harness::{
    Reply, World,
    fault::{Call, Fault, Rule, call},
    proxy::Proxy,
    world::faulty_scenario,
};

const RUNS: &str = "pipelineruns";

/// Applies an object of each kind and waits until their runs are active and shown in status.
async fn running(world: &World) {
    for subject in BOTH {
        let object = subject.prefix();
        subject.demand(world, object).await;
        world.run(object, 1).await;
        until_shows(world, object, "RunActive").await;
    }
}

/// Ends each run, and waits until that is recorded and nothing is needed any more. The clock stands still.
async fn end_and_meet(world: &World) {
    end_runs(world).await;
    for subject in BOTH {
        let object = subject.prefix();
        let is_met = async || subject.is_met(&subject.get(world, object).await).then_some(());
        world.wait(&format!("{object} needs nothing"), is_met).await;
    }
}

/// Asserts that each object has had one run.
fn assert_one_run_each(proxy: &Proxy) {
    for subject in BOTH {
        let created = proxy.done(&create().of(subject.prefix()));
        assert_eq!(created.len(), 1, "{created:#?}");
    }
}

/// The watches of objects and of runs.
fn watches() -> [Call; 3] {
    ["modelsyncs", "modeltrains", RUNS].map(|resource| call("watch", resource))
}

/// The lists of the same.
fn lists(proxy: &Proxy) -> [usize; 3] {
    ["modelsyncs", "modeltrains", RUNS].map(|resource| proxy.seen(&call("list", resource)).len())
}

#[tokio::test]
async fn watch_that_breaks_again_and_again_misses_no_end() {
    faulty_scenario("watch_cut", async |world, proxy| {
        running(world).await;
        let rules = watches().map(|watch| proxy.times(3, watch, Fault::Cut));
        for rule in &rules {
            rule.hit(3).await;
        }
        end_and_meet(world).await;
        assert!(lists(&proxy).iter().all(|lists| *lists <= 5), "{:?} lists", lists(&proxy));
        assert_one_run_each(&proxy);
    })
    .await;
}

#[tokio::test]
async fn expired_version_leads_to_a_list_that_brings_the_missed_changes() {
    faulty_scenario("watch_gone", async |world, proxy| {
        running(world).await;
        // Without bookmarks, the version of the watch stays old.
        let silent = watches().map(|watch| {
            proxy.always(watch.clone(), Fault::NoBookmarks);
            proxy.always(watch, Fault::Silence)
        });
        end_runs(world).await;
        let before = lists(&proxy);
        let gone = watches().map(|watch| proxy.once(watch, Fault::Gone));
        silent.iter().for_each(Rule::release);
        for gone in &gone {
            gone.hit(1).await;
        }
        end_and_meet(world).await;
        assert!(lists(&proxy).iter().zip(before).all(|(after, before)| *after > before), "{before:?}");
        assert_one_run_each(&proxy);
    })
    .await;
}

#[tokio::test]
async fn watches_that_end_at_once_restart_with_growing_pauses() {
    faulty_scenario("watch_ends", async |world, proxy| {
        running(world).await;
        for fault in [Fault::End, Fault::Cut, Fault::Gone, Fault::Status(410), Fault::Status(503)] {
            world.stop_operator().await;
            let rules = watches().map(|watch| proxy.always(watch, fault.clone()));
            let before = watches().map(|watch| proxy.seen(&watch).len());
            world.start_operator().await;
            for ((rule, watch), before) in rules.iter().zip(watches()).zip(before) {
                rule.hit(3).await;
                let begun: Vec<_> = proxy.seen(&watch).into_iter().skip(before).map(|seen| seen.at).collect();
                let pauses = begun.windows(2).zip([250, 500]);
                for (pair, least) in pauses {
                    let pause = pair[1].since(pair[0]);
                    assert!(pause >= Duration::from_millis(least), "{fault:?}: {pause:?}, not {least} ms");
                }
            }
            rules.iter().for_each(Rule::release);
        }
        // Pauses run on the clock that `play` sets forward.
        play(world).await;
        assert_one_run_each(&proxy);
    })
    .await;
}

#[tokio::test]
async fn event_that_comes_twice_changes_nothing() {
    faulty_scenario("watch_twice", async |world, proxy| {
        let rules = watches().map(|watch| proxy.always(watch, Fault::Doubled));
        running(world).await;
        end_and_meet(world).await;
        assert!(rules.iter().all(|rule| rule.hits() > 0));
        assert_one_run_each(&proxy);
        for subject in BOTH {
            let ends = proxy.seen(&subject.record_end().of(subject.prefix()));
            assert_eq!(ends.len(), 1, "{ends:#?}");
        }
    })
    .await;
}

/// As with an API server that lags: the lists are older than the demand, and the watches report no later change.
#[tokio::test]
async fn operator_that_starts_from_stale_lists_starts_no_second_run() {
    faulty_scenario("watch_past", async |world, proxy| {
        for subject in BOTH {
            subject.rest(world, subject.prefix()).await;
        }
        world.stop_operator().await;
        let kinds = ["modelsyncs", "modeltrains", "modelversions", RUNS];
        let stale = kinds.map(|resource| proxy.always(call("list", resource), Fault::Remember));
        world.start_operator().await;
        for list in &stale {
            list.hit(1).await;
        }
        for subject in BOTH {
            world.endpoint.says(subject.prefix(), Reply::model("m1"));
            subject.trigger(world, subject.prefix(), "now").await;
            world.run(subject.prefix(), 1).await;
            until_shows(world, subject.prefix(), "RunActive").await;
        }
        world.stop_operator().await;
        let silent = kinds.map(|resource| proxy.always(call("watch", resource), Fault::Silence));
        let before = proxy.seen(&create()).len();
        world.start_operator().await;
        world
            .wait("the runs are found by name", async || {
                world.clock.advance(Duration::from_secs(1));
                let found = |subject: &Subject| !proxy.done(&call("get", RUNS).of(subject.prefix())).is_empty();
                BOTH.iter().all(found).then_some(())
            })
            .await;
        for rule in stale.iter().chain(&silent) {
            rule.release();
        }
        end_and_meet(world).await;
        assert_eq!(proxy.seen(&create()).len(), before);
        assert_one_run_each(&proxy);
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
            running(world).await;
            proxy.once(call("watch", RUNS), Fault::Silence).hit(1).await;
            end_runs(world).await;
            let recorded = |subject: &Subject| !proxy.done(&subject.record_end().of(subject.prefix())).is_empty();
            let all = world.wait("both ends are recorded", async || BOTH.iter().all(recorded).then_some(()));
            let in_time = tokio::time::timeout(LONG, all).await.is_ok();
            let seen = BOTH.iter().filter(|subject| recorded(subject)).count();
            assert_eq!((in_time, seen), if limit.is_some() { (true, 2) } else { (false, 0) }, "{name}");
        })
        .await;
    }
}
