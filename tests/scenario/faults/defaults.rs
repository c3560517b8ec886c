//! Defaults of kube that would harm the operator. Each test shows two things: the safeguard of the operator works, and
//! the fault occurs without it. Where the operator has its own part instead of kube's, kube's part shows the fault.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures::StreamExt;
use http::Request;
use kube::{
    Api, Client, ResourceExt,
    api::ListParams,
    runtime::{
        Controller, WatchStreamExt,
        controller::Action,
        watcher::{self, Event},
    },
};
use modelsync::{
    api::{
        ConditionStatus::{False, True},
        ConditionType::{InSync, Ready, Stalled},
        ModelSync, Reason,
    },
    clock::Clock,
    core::{status::condition::find, time::MonotonicTime},
    kube_io::{
        call::call as send,
        client::{CallError, Clients, Safeguards},
    },
};
use serde_json::{Value, json};
use tokio::time::timeout;
use tracing::field::{Field, Visit};
use tracing_subscriber::{Layer, layer::SubscriberExt};

use super::play;
use crate::harness::{
    Reply, World,
    cluster::api,
    fault::{Fault, call},
    proxy::Proxy,
    world::faulty_scenario,
};

/// How long a test waits for a call that must not return.
const PATIENCE: Duration = Duration::from_secs(3);

fn clients(world: &World, safeguards: Safeguards) -> Clients {
    Clients::new(&world.operator_config(), &world.clock, safeguards).unwrap()
}

/// A client with kube's own defaults, behind a proxy of its own.
async fn kubes_own(world: &World) -> (Client, Proxy) {
    let proxy = Proxy::start(&world.cluster).await;
    (Client::try_from(world.config_behind(&proxy)).unwrap(), proxy)
}

fn get_job(world: &World) -> Request<Vec<u8>> {
    Request::get(format!("/apis/batch/v1/namespaces/{}/jobs/none", world.namespace)).body(Vec::new()).unwrap()
}

/// kube sends a POST again that the API server executed and answered with 503.
#[tokio::test]
async fn create_is_sent_once_and_without_the_safeguard_makes_two_objects() {
    faulty_scenario("default_post", async |world, proxy| {
        for (safe, expected) in [(true, 1), (false, 2)] {
            let clients = clients(world, Safeguards { no_repeats: safe, ..Safeguards::default() });
            let name = format!("safe-{safe}-");
            let body = json!({ "apiVersion": "tekton.dev/v1", "kind": "PipelineRun", "metadata": { "generateName": name },
                "spec": { "pipelineRef": { "name": "p" } } });
            let path = format!("/apis/tekton.dev/v1/namespaces/{}/pipelineruns", world.namespace);
            let request = Request::post(path).header("Content-Type", "application/json");
            let rule = proxy.once(call("create", "pipelineruns"), Fault::StatusAfter(503));
            let sent: Result<Value, CallError> =
                send(&clients.writes, request.body(serde_json::to_vec(&body).unwrap()).unwrap()).await;
            assert_eq!((rule.hits(), sent.is_ok()), (1, !safe), "{sent:?}");
            let stored = world.pipeline_runs().list(&ListParams::default()).await.unwrap().items;
            let made = stored.iter().filter(|run| run.metadata.generate_name.as_ref() == Some(&name)).count();
            assert_eq!(made, expected, "no_repeats: {safe}");
        }
    })
    .await;
}

/// kube keeps a call in the client while the server returns 503, or for the whole `Retry-After`.
#[tokio::test]
async fn refused_call_comes_back_at_once_and_without_the_safeguards_does_not() {
    faulty_scenario("default_retry", async |world, proxy| {
        for (code, fewest) in [(503, 5), (429, 1)] {
            for safe in [true, false] {
                let call_deadline = if safe { Safeguards::default().call_deadline } else { None };
                let clients = clients(world, Safeguards { no_repeats: safe, call_deadline, ..Safeguards::default() });
                let (kind, before) = (call("get", "jobs"), proxy.seen(&call("get", "jobs")).len());
                let rule = proxy.always(kind.clone(), Fault::Status(code));
                let response = timeout(PATIENCE, send::<Value>(&clients.reads, get_job(world))).await;
                rule.release();
                let calls = proxy.seen(&kind).len() - before;
                assert_eq!(response.is_ok(), safe, "{code}: {response:?}");
                assert!(if safe { calls == 1 } else { calls >= fewest }, "{code}: {calls} requests");
            }
        }
    })
    .await;
}

/// In kube, a call without a response never ends.
#[tokio::test]
async fn call_without_a_response_ends_at_its_deadline_and_without_a_deadline_does_not() {
    faulty_scenario("default_deadline", async |world, proxy| {
        assert_eq!(Safeguards::default().call_deadline, Some(Duration::from_secs(9)));
        for limit in [Some(Duration::from_secs(1)), None] {
            let clients = clients(world, Safeguards { call_deadline: limit, ..Safeguards::default() });
            let rule = proxy.once(call("get", "jobs"), Fault::Hang);
            let response = timeout(PATIENCE, send::<Value>(&clients.reads, get_job(world))).await;
            assert_eq!((rule.hits(), response.is_ok()), (1, limit.is_some()), "{response:?}");
            rule.release();
        }
    })
    .await;
}

/// After HTTP 410 as a status, kube's watcher requests the same version forever.
#[tokio::test]
async fn version_refused_with_410_is_dropped_and_by_kubes_watcher_is_not() {
    faulty_scenario("default_gone", async |world, proxy| {
        let (list, watch) = (call("list", "modelsyncs"), call("watch", "modelsyncs"));
        world.stop_operator().await;
        let before = (proxy.seen(&list).len(), proxy.done(&watch).len());
        let rule = proxy.times(3, watch.clone(), Fault::Status(410));
        world.start_operator().await;
        world.wait("a watch works", async || (proxy.done(&watch).len() > before.1).then_some(())).await;
        assert_eq!((rule.hits(), proxy.seen(&list).len() - before.0), (3, 4), "each refusal is followed by a list");
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        play(world).await;

        let (client, library) = kubes_own(world).await;
        library.always(watch.clone(), Fault::Status(410));
        let objects = Api::<ModelSync>::namespaced(client, &world.namespace);
        let mut events = watcher::watcher(objects, watcher::Config::default()).boxed();
        let _ = timeout(Duration::from_secs(1), async { while events.next().await.is_some() {} }).await;
        let (lists, watches) = (library.seen(&list).len(), library.seen(&watch));
        assert_eq!(lists, 1, "it never lists again");
        assert!(watches.len() >= 10 && watches.iter().all(|seen| seen.uri == watches[0].uri), "{}", watches.len());
    })
    .await;
}

/// This default does no harm: kube's watcher has its own limit, though a long one (295 s by default). `watches.rs`
/// tests the limit of the operator.
#[tokio::test]
async fn kubes_watcher_notices_a_silent_watch_after_its_time_out_and_five_seconds() {
    faulty_scenario("default_silence", async |world, _| {
        let (client, library) = kubes_own(world).await;
        let objects = Api::<ModelSync>::namespaced(client, &world.namespace);
        let watch = call("watch", "modelsyncs");
        library.always(watch.clone(), Fault::Silence);
        let mut events = watcher::watcher(objects, watcher::Config::default().timeout(1)).boxed();
        let _ = timeout(Duration::from_secs(8), async { while events.next().await.is_some() {} }).await;
        assert_eq!(library.seen(&watch).len(), 2);
    })
    .await;
}

/// The total time until `reactions` has grown after each of four successive changes of an object.
async fn reaction(world: &World, reactions: impl Fn() -> usize) -> Duration {
    let (clock, mut total) = (Clock::system(), Duration::ZERO);
    for n in 0..4 {
        let (before, began): (_, MonotonicTime) = (reactions(), clock.mono());
        world.trigger("healthy", &n.to_string()).await;
        world.wait("a reaction", async || (reactions() > before).then_some(())).await;
        total += clock.mono().since(began);
    }
    total
}

/// In kube's controller, a kind that is not installed slows the watches of all other kinds.
#[tokio::test]
async fn missing_kind_slows_no_other_and_in_kubes_controller_does() {
    const SLOW: Duration = Duration::from_secs(2);
    faulty_scenario("default_missing", async |world, proxy| {
        let missing = call("list", "pipelineruns");
        world.stop_operator().await;
        proxy.always(missing.clone(), Fault::Status(404));
        world.start_operator().await;
        world.endpoint.says("healthy", Reply::NotNeeded);
        let container = json!({ "name": "c", "image": "i" });
        let job =
            json!({ "spec": { "template": { "spec": { "restartPolicy": "Never", "containers": [container] } } } });
        let mut spec = world.spec("healthy");
        spec["interval"] = json!("1h");
        spec.as_object_mut().unwrap().remove("pipelineRunTemplate");
        spec["jobTemplate"] = job;
        world.apply("healthy", spec).await;
        world.until("healthy", InSync, True, "UpToDate").await;
        let took = reaction(world, || world.endpoint.polls("healthy")).await;
        assert!(took < SLOW, "{took:?}");

        let (client, library) = kubes_own(world).await;
        library.always(missing, Fault::Status(404));
        let objects = Api::<ModelSync>::namespaced(client.clone(), &world.namespace);
        let runs = api(&client, "tekton.dev/v1", "PipelineRun", Some(&world.namespace));
        let kind =
            kube::core::ApiResource::from_gvk(&kube::core::GroupVersionKind::gvk("tekton.dev", "v1", "PipelineRun"));
        let reconciled = Arc::new(AtomicUsize::new(0));
        let count = |_: Arc<ModelSync>, count: Arc<AtomicUsize>| async move {
            count.fetch_add(1, Ordering::Relaxed);
            Ok::<_, kube::Error>(Action::await_change())
        };
        let controller = Controller::new(objects, watcher::Config::default())
            .owns_with(runs, kind, watcher::Config::default())
            .run(count, |_, _, _| Action::await_change(), reconciled.clone());
        let task = tokio::spawn(controller.for_each(async |_| ()));
        world.wait("it reconciles", async || (reconciled.load(Ordering::Relaxed) > 0).then_some(())).await;
        let took = reaction(world, || reconciled.load(Ordering::Relaxed)).await;
        assert!(took > SLOW, "kube's controller took {took:?}");
        task.abort();
    })
    .await;
}

/// Panics in the middle of each reconcile of the object `bad`, where the operator logs its decision.
struct Panics;

impl<S: tracing::Subscriber> Layer<S> for Panics {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        struct IsBad(bool);
        impl Visit for IsBad {
            fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
                self.0 |= field.name() == "object" && format!("{value:?}") == "\"bad\"";
            }
        }
        let mut bad = IsBad(false);
        if event.metadata().fields().field("rule").is_some() {
            event.record(&mut bad);
        }
        assert!(!bad.0, "a reconcile panics, as this test wants");
    }
}

/// How many reconciles have panicked.
async fn panics(world: &World) -> u64 {
    let page = world.page("/metrics").await;
    let count = page.lines().find_map(|line| line.strip_prefix(r#"modelsync_reconcile_total{result="panic"} "#));
    count.map_or(0, |count| count.parse().unwrap())
}

/// A panic in one reconcile ends kube's controller for every object.
#[tokio::test]
async fn panic_in_one_reconcile_stops_no_other_and_stops_kubes_controller() {
    faulty_scenario("default_panic", async |world, _| {
        // Only for this thread, on which the operator of this test runs.
        let logging = tracing::subscriber::set_default(tracing_subscriber::registry().with(Panics));
        world.model_sync_with_reply("bad", Reply::model("m1")).await;
        world.wait("a reconcile panics", async || (panics(world).await > 0).then_some(())).await;
        world.model_sync_with_reply("good", Reply::model("m1")).await;
        world.run("good", 1).await;
        assert!(world.runs("bad").await.is_empty());
        let shown = async || {
            let ready = find(&world.status("bad").await.conditions, Ready).cloned()?;
            (ready.status == False && ready.reason == Reason::InternalError).then_some(())
        };
        world.wait("the panic is shown on its object", shown).await;
        let version = world.model_syncs().get("bad").await.unwrap().resource_version();
        let before = panics(world).await;
        world.clock.advance(Duration::from_mins(10));
        world.wait("it panics again", async || (panics(world).await > before).then_some(())).await;
        assert_eq!(world.model_syncs().get("bad").await.unwrap().resource_version(), version, "it is shown once");
        drop(logging);
        world.clock.advance(Duration::from_mins(10));
        world.run("bad", 1).await;
        world.until("bad", Ready, True, "Operational").await;

        let (client, _) = kubes_own(world).await;
        let objects = Api::<ModelSync>::namespaced(client, &world.namespace);
        let reconcile = |object: Arc<ModelSync>, _: Arc<()>| async move {
            assert!(object.metadata.name.as_deref() != Some("bad"), "a reconcile panics, as this test wants");
            Ok::<_, kube::Error>(Action::await_change())
        };
        let controller = Controller::new(objects, watcher::Config::default()).run(
            reconcile,
            |_, _, _| Action::await_change(),
            Arc::new(()),
        );
        let ended = timeout(Duration::from_secs(10), tokio::spawn(controller.for_each(async |_| ()))).await;
        assert!(ended.expect("it ends").is_err_and(|error| error.is_panic()), "by the panic");
    })
    .await;
}

/// One unreadable object hides all other objects from kube's watcher.
#[tokio::test]
async fn unreadable_object_hides_no_other_and_from_kubes_watcher_hides_all() {
    const BAD: Fault = Fault::Rewrite(r#""suspend":true"#, r#""suspend":"no""#);
    faulty_scenario("default_unreadable", async |world, proxy| {
        world.stop_operator().await;
        for verb in ["list", "watch", "get"] {
            proxy.always(call(verb, "modelsyncs"), BAD);
        }
        proxy.always(call("patch", "modelsyncs/status"), BAD);
        let mut spec = world.spec("bad");
        spec["suspend"] = json!(true);
        world.apply("bad", spec).await;
        world.start_operator().await;
        world.model_sync_with_reply("good", Reply::model("m1")).await;
        world.run("good", 1).await;
        world.until("bad", Stalled, True, "InvalidSpec").await;

        let (client, library) = kubes_own(world).await;
        library.always(call("list", "modelsyncs"), BAD);
        let objects = Api::<ModelSync>::namespaced(client, &world.namespace);
        let mut events = watcher::watcher(objects, watcher::Config::default()).default_backoff().boxed();
        let seen = async { while !matches!(events.next().await, Some(Ok(Event::InitApply(_) | Event::Apply(_)))) {} };
        assert!(timeout(PATIENCE, seen).await.is_err(), "kube's watcher sees no object at all");
    })
    .await;
}

/// kube starts a streaming list whose last bookmark is lost again and again, and never falls back to a plain list.
#[tokio::test]
async fn lost_bookmarks_hold_up_nothing_and_hold_up_kubes_streaming_lists_for_ever() {
    faulty_scenario("default_bookmark", async |world, proxy| {
        world.stop_operator().await;
        for resource in ["modelsyncs", "pipelineruns", "jobs"] {
            proxy.always(call("watch", resource), Fault::NoBookmarks);
        }
        world.start_operator().await;
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        play(world).await;

        let (client, library) = kubes_own(world).await;
        let (list, watch) = (call("list", "modelsyncs"), call("watch", "modelsyncs"));
        library.always(watch.clone(), Fault::NoBookmarks);
        let objects = Api::<ModelSync>::namespaced(client, &world.namespace);
        let config = watcher::Config::default().streaming_lists().timeout(1);
        let mut events = watcher::watcher(objects, config).boxed();
        let done = async { while !matches!(events.next().await, Some(Ok(Event::InitDone))) {} };
        assert!(timeout(PATIENCE, done).await.is_err(), "the streaming list is never complete");
        assert!(library.seen(&list).is_empty(), "it does not fall back");
        assert!(library.seen(&watch).len() >= 2, "it begins again and again");
    })
    .await;
}
