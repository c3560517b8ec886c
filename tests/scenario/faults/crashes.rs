//! A process that dies at exactly one request, and a namespace that is terminated under the operator.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use modelsync::app::ElectionSettings;
use serde_json::{Value, json};

use super::{
    BOTH, LONGEST, Row, Subject, create, play,
    subject::{end_runs, until_shows},
};
use crate::harness::{
    Reply, World,
    cluster::api,
    fault::{Call, Fault, call},
    proxy::{Proxy, Seen},
    world::faulty_scenario,
};

/// Runs an operator that dies once it has sent this request for one object of each of these kinds.
///
/// With [`Fault::Hold`] the requests have not reached the API server by then; with [`Fault::HoldReply`] the API server
/// has executed them. Another operator runs when this function returns.
async fn die_at(
    world: &mut World,
    proxy: &Proxy,
    (name, subjects): (&str, &[Subject]),
    sort: impl Fn(Subject) -> Call,
    fault: Fault,
) -> Vec<Row> {
    world.stop_operator().await;
    world.start_mortal_operator().await;
    let carried_out = matches!(fault, Fault::HoldReply);
    let mut rows = Vec::new();
    for subject in subjects {
        let object = format!("{}-{name}", subject.prefix());
        let rule = proxy.once(sort(*subject).of(&object), fault.clone());
        subject.demand(world, &object).await;
        if name.starts_with("delet") {
            subject.patch_spec(world, &object, json!({ "successfulPipelineRunsHistoryLimit": 0 })).await;
        }
        rows.push(Row { object, rule, began: world.clock.mono() });
    }
    world
        .wait("the requests", async || {
            // Some of these requests are sent only after the run has ended.
            end_runs_of_created(world, proxy, &rows).await;
            let arrived = rows.iter().all(|row| row.rule.hits() == 1);
            let all_done =
                || rows.iter().all(|row| !proxy.done(&sort(Subject::of(&row.object)).of(&row.object)).is_empty());
            (arrived && (!carried_out || all_done())).then_some(())
        })
        .await;
    world.kill_operator();
    world.start_operator().await;
    rows
}

/// Ends the runs whose creates have their replies, if a request is still awaited that may follow the end.
async fn end_runs_of_created(world: &World, proxy: &Proxy, rows: &[Row]) {
    let awaited = rows.iter().any(|row| row.rule.hits() == 0 && !proxy.done(&create().of(&row.object)).is_empty());
    if awaited {
        end_runs(world).await;
    }
}

/// The request of a subject at which the operator dies.
type Sort<'a> = &'a dyn Fn(Subject) -> Call;

#[tokio::test]
async fn death_at_any_request_leads_to_one_run() {
    faulty_scenario("crash", async |world, proxy| {
        let create = |_| create();
        let delete = |_| call("delete", "pipelineruns");
        let event = |_| call("create", "events");
        // Events are sent one after the other: while one waits, no other can.
        let (first, second) = BOTH.split_at(1);
        let sorts: [(&str, &str, &[Subject], Sort<'_>); 6] = [
            ("reserving", "reserved", &BOTH, &Subject::reserve),
            ("creating", "created", &BOTH, &create),
            ("recording", "recorded", &BOTH, &Subject::record_end),
            ("deleting", "deleted", &BOTH, &delete),
            ("telling", "told", first, &event),
            ("telling", "told", second, &event),
        ];
        for (before, after, subjects, sort) in sorts {
            for (name, fault) in [(before, Fault::Hold), (after, Fault::HoldReply)] {
                let rows = die_at(world, &proxy, (name, subjects), sort, fault).await;
                play(world).await;
                for row in rows {
                    row.judge(world, &proxy, LONGEST).await;
                }
            }
        }
    })
    .await;
}

/// The first lists of a process, its first renewal of the lease, and its first poll.
#[tokio::test]
async fn death_at_a_list_a_renewal_or_a_poll_leads_to_one_run() {
    faulty_scenario("crash_reads", async |world, proxy| {
        world.stop_operator().await;
        let duration = Duration::from_secs(2);
        world.elect(ElectionSettings { name: "modelsync-controller".into(), namespace: None, duration });
        let lists = ["modelsyncs", "modeltrains", "modelversions", "pipelineruns"].map(|kind| call("list", kind));
        for (n, sort) in lists.into_iter().chain([call("watch", "pipelineruns"), call("update", "leases")]).enumerate()
        {
            for (when, fault) in [("before", Fault::Hold), ("after", Fault::HoldReply)] {
                let rule = proxy.once(sort.clone(), fault);
                world.start_mortal_operator().await;
                let objects = BOTH.map(|subject| format!("{}{n}-{when}", subject.prefix()));
                for (subject, object) in BOTH.into_iter().zip(&objects) {
                    subject.demand(world, object).await;
                }
                rule.hit(1).await;
                world.kill_operator();
                rule.release();
                world.start_operator().await;
                play(world).await;
                for object in objects {
                    let row = Row { object, rule: rule.clone(), began: world.clock.mono() };
                    row.judge(world, &proxy, LONGEST).await;
                }
                world.stop_operator().await;
            }
        }
        world.start_mortal_operator().await;
        for subject in BOTH {
            subject.demand(world, subject.prefix()).await;
            world.endpoint.says(subject.prefix(), Reply::Silence);
        }
        let polled = || BOTH.iter().all(|subject| world.endpoint.polls(subject.prefix()) > 0);
        world.wait("the polls", async || polled().then_some(())).await;
        world.kill_operator();
        for subject in BOTH {
            world.endpoint.says(subject.prefix(), Reply::model("m1"));
        }
        world.start_operator().await;
        play(world).await;
        for subject in BOTH {
            assert_eq!(proxy.done(&create().of(subject.prefix())).len(), 1, "{subject:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn run_of_a_dead_process_that_arrives_late_is_adopted() {
    faulty_scenario("crash_late", async |world, proxy| {
        let rows = die_at(world, &proxy, ("a", &BOTH), |_| create(), Fault::Hold).await;
        for row in &rows {
            until_shows(world, &row.object, "RunUnconfirmed").await;
        }
        for row in &rows {
            row.rule.release();
        }
        play(world).await;
        for row in rows {
            row.judge(world, &proxy, LONGEST).await;
            assert_eq!(row.attempt(world).await, 1);
        }
    })
    .await;
}

/// The reservation of a dead process arrives when its successor has reserved.
#[tokio::test]
async fn reservation_of_a_dead_process_that_arrives_late_is_refused() {
    faulty_scenario("crash_swap", async |world, proxy| {
        let rows = die_at(world, &proxy, ("a", &BOTH), Subject::reserve, Fault::Hold).await;
        for row in &rows {
            world.run(&row.object, 1).await;
            row.rule.release();
            let late = || proxy.seen(&Subject::of(&row.object).reserve().of(&row.object))[0].code;
            assert_eq!(world.wait("its response", async || late()).await, 409);
        }
        play(world).await;
        for row in rows {
            row.judge(world, &proxy, LONGEST).await;
            assert_eq!(row.attempt(world).await, 1);
        }
    })
    .await;
}

#[tokio::test]
async fn namespace_that_is_being_terminated_gets_no_run_and_few_requests() {
    faulty_scenario("crash_namespace", async |world, proxy| {
        let keeper: DynamicObject = serde_json::from_value(json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "keeper", "finalizers": ["example.com/keep"] },
        }))
        .unwrap();
        let config_maps = api(&world.client, "v1", "ConfigMap", Some(&world.namespace));
        config_maps.create(&PostParams::default(), &keeper).await.unwrap();
        let held = BOTH.map(|subject| proxy.once(create().of(subject.prefix()), Fault::Hold));
        for (subject, held) in BOTH.into_iter().zip(&held) {
            subject.demand(world, subject.prefix()).await;
            held.hit(1).await;
        }
        let namespaces: Api<Namespace> = Api::all(world.client.clone());
        namespaces.delete(&world.namespace, &DeleteParams::background()).await.unwrap();
        for (subject, held) in BOTH.into_iter().zip(&held) {
            held.release();
            let response = || proxy.seen(&create().of(subject.prefix()))[0].code;
            let code = world.wait("the response", async || response()).await;
            assert!([403, 404].contains(&code), "a terminating namespace accepts no run: {code}");
            // The namespace controller deletes the object sooner or later. It may have many namespaces to delete, so the
            // test does.
            subject.delete(world, subject.prefix()).await;
        }
        world
            .wait("the objects are gone", async || {
                let mut left = 0;
                for subject in BOTH {
                    left += subject.list(world).await.len();
                }
                (left == 0).then_some(())
            })
            .await;
        let requests = async || {
            let before = proxy.requests().len();
            // The test counts the requests in real time.
            tokio::time::sleep(Duration::from_secs(3)).await;
            proxy.requests().len() - before
        };
        assert!(requests().await <= 40, "roles go with the namespace, and every watch is refused");
        for subject in BOTH {
            let sent = proxy.seen(&create().of(subject.prefix()));
            // How many there are depends on how long the object still exists.
            let paused = |pair: &[Seen]| pair[1].at.since(pair[0].at) >= Duration::from_secs(5);
            assert!(sent.windows(2).all(paused), "a refusal is followed by a pause: {sent:#?}");
            assert!(sent.iter().all(|seen| seen.code.is_some_and(|code| code >= 400)), "{sent:#?}");
        }
        let free = Patch::Merge(json!({ "metadata": { "finalizers": Value::Null } }));
        config_maps.patch("keeper", &PatchParams::default(), &free).await.unwrap();
    })
    .await;
}
