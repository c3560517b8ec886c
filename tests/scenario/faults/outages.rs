//! The API server and its storage end, stand still, or are restored from a backup, while requests of every sort are on
//! their way. On a cluster of its own, one scenario after the other.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use modelsync::{app::ElectionSettings, clock::Clock, core::time::MonotonicTime};
use serde_json::json;
use tokio::sync::Mutex;
use tracing::field::{Field, Visit};
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt};

use super::{
    BOTH, Subject, create, play,
    subject::{end_runs, until_shows},
};
use crate::harness::{
    World,
    cluster::{Cluster, eventually},
    control_plane::{API_SERVER, ControlPlane, ETCD},
    fault::{Fault, Rule, call},
    proxy::Proxy,
    world::{attempt_of, faulty_scenario_on},
};

/// One scenario at a time uses the cluster.
static CLUSTER: Mutex<()> = Mutex::const_new(());

/// Holds one request of each sort, for an object of each kind. Its lists and watches go on.
async fn hold_every_sort(world: &World, proxy: &Proxy) -> Vec<(String, Rule)> {
    let mut held = Vec::new();
    for subject in BOTH {
        for (name, sort) in [
            ("reserve", subject.reserve()),
            ("create", create()),
            ("end", subject.record_end()),
            ("delete", call("delete", "pipelineruns")),
            ("event", call("create", "events")),
        ] {
            // Events are sent one after the other: while one waits, no other can.
            if (subject, name) == (Subject::Sync, "event") {
                continue;
            }
            let object = format!("{}-{name}", subject.prefix());
            held.push((object.clone(), proxy.once(sort.of(&object), Fault::Hold)));
            subject.demand(world, &object).await;
            if name == "delete" {
                subject.patch_spec(world, &object, json!({ "successfulPipelineRunsHistoryLimit": 0 })).await;
            }
        }
    }
    world
        .wait("every request is on its way", async || {
            end_runs(world).await;
            held.iter().all(|(_, rule)| rule.hits() == 1).then_some(())
        })
        .await;
    held
}

/// Lets an outage happen to requests of every sort, to both kinds of lists and watches, and to renewals of the lease.
async fn outage(name: &str, happens: impl AsyncFnOnce(&ControlPlane, &dyn Fn())) {
    let _alone = CLUSTER.lock().await;
    let cluster = Cluster::frail().await;
    let control_plane = ControlPlane::of(&cluster);
    control_plane.until_ready().await;
    Box::pin(faulty_scenario_on(cluster, name, async |world, proxy| {
        world.stop_operator().await;
        // Not too short for a busy machine: a change of leaders would make runs unconfirmed.
        let duration = Duration::from_secs(6);
        world.elect(ElectionSettings { name: "modelsync-controller".into(), namespace: None, duration });
        world.start_operator().await;
        let held = hold_every_sort(world, &proxy).await;
        let release = || {
            for (_, rule) in &held {
                rule.release();
            }
            for resource in ["modelsyncs", "modeltrains", "pipelineruns"] {
                proxy.once(call("watch", resource), Fault::Cut);
            }
        };
        happens(&control_plane, &release).await;
        control_plane.until_ready().await;
        world.wait("the operator leads again", async || world.operator().leads().then_some(())).await;
        play(world).await;
        for (object, _) in &held {
            let subject = Subject::of(object);
            let status = subject.get(world, object).await.data["status"].clone();
            assert!(status["reservation"].is_null() && status["active"].is_null(), "{object}: {status}");
            let runs: Vec<_> = world.runs(object).await.iter().map(attempt_of).collect();
            assert!(runs.len() <= 1, "{object}: runs of attempts {runs:?}");
            let created = proxy.done(&create().of(object));
            assert!(created.len() <= 1, "{object}: {created:#?}");
            if subject == Subject::Train {
                world.assert_one_each(object).await;
                world.assert_chain(object).await;
            }
        }
    }))
    .await;
}

#[tokio::test]
async fn storage_that_is_killed_and_started_again_costs_no_demand_and_no_second_run() {
    outage("outage_etcd", async |control_plane, release| {
        let etcd = control_plane.kill(ETCD).await;
        release();
        // For this long, every request to the API server fails or gets no response.
        tokio::time::sleep(Duration::from_secs(4)).await;
        control_plane.start(&etcd);
    })
    .await;
}

/// For longer than the deadline of a call and than the lease.
#[tokio::test]
async fn storage_that_stands_still_costs_no_demand_and_no_second_run() {
    outage("outage_pause", async |control_plane, release| {
        control_plane.signal(ETCD, "-STOP");
        release();
        tokio::time::sleep(Duration::from_secs(12)).await;
        control_plane.signal(ETCD, "-CONT");
    })
    .await;
}

#[tokio::test]
async fn api_server_that_is_killed_and_started_again_costs_no_demand_and_no_second_run() {
    outage("outage_api", async |control_plane, release| {
        release();
        let api_server = control_plane.kill(API_SERVER).await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        control_plane.start(&api_server);
    })
    .await;
}

/// Counts the log's lines about a storage that was restored.
struct Restored(Arc<AtomicUsize>);

impl<S: tracing::Subscriber> Layer<S> for Restored {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct Says(bool);
        impl Visit for Says {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0 |= field.name() == "message" && format!("{value:?}").contains("restored from a backup");
            }
        }
        let mut says = Says(false);
        event.record(&mut says);
        if says.0 {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A restored storage is younger than what the operator remembers: it must not wait for versions that will not come.
async fn restored(name: &str) {
    // A watch that brings nothing ends after 45 s.
    const SOON: Duration = Duration::from_secs(90);
    let _alone = CLUSTER.lock().await;
    let cluster = Cluster::frail().await;
    let control_plane = ControlPlane::of(&cluster);
    control_plane.until_ready().await;
    Box::pin(faulty_scenario_on(cluster, name, async |world, proxy| {
        // Only for this thread, on which the operator of this test runs.
        let notices = Arc::new(AtomicUsize::new(0));
        let shown = tracing_subscriber::fmt::layer().with_test_writer().with_ansi(false);
        let layers = tracing_subscriber::registry().with(EnvFilter::new("modelsync=debug")).with(shown);
        let logging = tracing::subscriber::set_default(layers.with(Restored(notices.clone())));
        for subject in BOTH {
            subject.demand(world, subject.prefix()).await;
        }
        play(world).await;
        control_plane.back_up().await;
        // What the backup does not have: a second run of each object, and another object of each kind.
        let late = BOTH.map(|subject| format!("{}-late", subject.prefix()));
        let mut second = Vec::new();
        for (subject, late) in BOTH.into_iter().zip(&late) {
            subject.demand(world, late).await;
            subject.demand_again(world, subject.prefix(), "m2").await;
            second.push(world.run(subject.prefix(), 2).await);
        }
        play(world).await;
        // The watches that begin again wait for the restored API server.
        let watches = WATCHED.map(|resource| proxy.once(call("watch", resource), Fault::Hold));
        let before = notices.load(Ordering::Relaxed);
        control_plane.restore().await;
        watches.iter().for_each(Rule::release);
        let restored = Clock::system();
        for subject in BOTH {
            let left = subject.list(world).await;
            assert!(left.iter().all(|object| object.metadata.name.as_deref() == Some(subject.prefix())));
            subject.demand_again(world, subject.prefix(), "m2").await;
        }
        for (subject, before) in BOTH.into_iter().zip(&second) {
            // A record that the restore removed may still count for the number of a training.
            let is_new =
                |run: &kube::api::DynamicObject| attempt_of(run) >= 2 && run.metadata.uid != before.metadata.uid;
            let again = async || world.runs(subject.prefix()).await.into_iter().find(is_new);
            eventually("the run after the restore", SOON, again).await.unwrap();
            until_shows(world, subject.prefix(), "RunActive").await;
        }
        let took = restored.mono();
        println!("the demand after the restore was served after {took:?}");
        assert!(took <= MonotonicTime::new(SOON), "the demand after the restore was served after {took:?}");
        play(world).await;
        let forgotten = late.each_ref().map(|late| world.endpoint.polls(late));
        for _ in 0..3 {
            let before = world.endpoint.polls("sync");
            world.clock.advance(Duration::from_secs(6));
            world.wait("a poll", async || (world.endpoint.polls("sync") > before).then_some(())).await;
        }
        let polls = late.each_ref().map(|late| world.endpoint.polls(late));
        assert_eq!(polls, forgotten, "objects that are gone are polled");
        let notices = notices.load(Ordering::Relaxed) - before;
        assert!((1..=WATCHED.len()).contains(&notices), "each watch tells it once: {notices} lines");
        drop(logging);
        for subject in BOTH {
            let created = proxy.done(&create().of(subject.prefix()));
            let created = created.iter().filter(|seen| !seen.request.is_about(&format!("{}-late", subject.prefix())));
            assert_eq!(created.count(), 3, "{subject:?}: two runs before, one after");
        }
    }))
    .await;
}

/// The kinds that the operator watches.
const WATCHED: [&str; 5] = ["modelsyncs", "modeltrains", "modelversions", "pipelineruns", "jobs"];

#[tokio::test]
async fn storage_restored_from_a_backup_is_believed_at_once_and_logged_once() {
    restored("outage_restore").await;
}
