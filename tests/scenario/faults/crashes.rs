//! A process that dies at exactly one request, and a namespace that is terminated under the operator.

use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use kube::{
    Api,
    api::{DeleteParams, DynamicObject, Patch, PatchParams, PostParams},
};
use modelsync::api::{ConditionStatus::Unknown, ConditionType::InSync};
use serde_json::{Value, json};

use super::{LONGEST, Row, create, play, record_end, reserve};
use crate::harness::{
    Reply, World,
    cluster::api,
    fault::{Call, Fault},
    proxy::{Proxy, Seen},
    world::faulty_scenario,
};

/// Runs an operator that dies once it has sent this request for this object.
///
/// With [`Fault::Hold`] the request has not reached the API server by then; with [`Fault::HoldReply`] the API server
/// has executed it. Another operator runs when this function returns.
async fn die_at(world: &mut World, proxy: &Proxy, object: &str, kind: &Call, fault: Fault) -> Row {
    world.stop_operator().await;
    world.start_mortal_operator().await;
    let carried_out = matches!(fault, Fault::HoldReply);
    let rule = proxy.once(kind.clone().of(object), fault);
    world.model_sync_with_reply(object, Reply::model("m1")).await;
    let row = Row { object: object.to_owned(), rule, began: world.clock.mono() };
    world
        .wait("the request", async || {
            for run in world.unfinished_runs().await {
                // This request is sent only after the run has ended.
                if row.rule.hits() == 0 && proxy.done(&create().of(object)).len() == 1 {
                    world.endpoint.says(object, Reply::NotNeeded);
                    world.end_run(&run, "Succeeded").await;
                }
            }
            let arrived = row.rule.hits() == 1;
            let done = !proxy.done(&kind.clone().of(object)).is_empty();
            (arrived && (done || !carried_out)).then_some(())
        })
        .await;
    world.kill_operator();
    world.start_operator().await;
    row
}

#[tokio::test]
async fn death_at_any_request_leads_to_one_run() {
    faulty_scenario("crash", async |world, proxy| {
        for (object, kind, fault) in [
            ("reserving", reserve(), Fault::Hold),
            ("reserved", reserve(), Fault::HoldReply),
            ("creating", create(), Fault::Hold),
            ("created", create(), Fault::HoldReply),
            ("recording", record_end(), Fault::Hold),
            ("recorded", record_end(), Fault::HoldReply),
        ] {
            let row = die_at(world, &proxy, object, &kind, fault).await;
            play(world).await;
            row.judge(world, &proxy, LONGEST).await;
        }
    })
    .await;
}

#[tokio::test]
async fn run_of_a_dead_process_that_arrives_late_is_adopted() {
    faulty_scenario("crash_late", async |world, proxy| {
        let row = die_at(world, &proxy, "a", &create(), Fault::Hold).await;
        world.until("a", InSync, Unknown, "RunUnconfirmed").await;
        row.rule.release();
        play(world).await;
        row.judge(world, &proxy, LONGEST).await;
        assert_eq!(world.status("a").await.attempt, 1);
    })
    .await;
}

/// The reservation of a dead process arrives when its successor has reserved.
#[tokio::test]
async fn reservation_of_a_dead_process_that_arrives_late_is_refused() {
    faulty_scenario("crash_swap", async |world, proxy| {
        let row = die_at(world, &proxy, "a", &reserve(), Fault::Hold).await;
        world.run("a", 1).await;
        row.rule.release();
        let late = || proxy.seen(&reserve().of("a"))[0].code;
        assert_eq!(world.wait("its response", async || late()).await, 409);
        play(world).await;
        row.judge(world, &proxy, LONGEST).await;
        assert_eq!(world.status("a").await.attempt, 1);
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
        let held = proxy.once(create().of("a"), Fault::Hold);
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        held.hit(1).await;
        let namespaces: Api<Namespace> = Api::all(world.client.clone());
        namespaces.delete(&world.namespace, &DeleteParams::background()).await.unwrap();
        held.release();
        let response = || proxy.seen(&create().of("a"))[0].code;
        let code = world.wait("the response", async || response()).await;
        assert!([403, 404].contains(&code), "a terminating namespace accepts no run: {code}");
        // The namespace controller deletes the object sooner or later. It may have many namespaces to delete, so the test does.
        let _ = world.model_syncs().delete("a", &DeleteParams::default()).await;
        world
            .wait("the object is gone", async || {
                world.model_syncs().get_opt("a").await.unwrap().is_none().then_some(())
            })
            .await;
        let requests = async || {
            let before = proxy.requests().len();
            // The test counts the requests in real time.
            tokio::time::sleep(Duration::from_secs(3)).await;
            proxy.requests().len() - before
        };
        assert!(requests().await <= 40, "roles go with the namespace, and every watch is refused");
        let sent = proxy.seen(&create());
        // How many there are depends on how long the object still exists.
        let paused = |pair: &[Seen]| pair[1].at.since(pair[0].at) >= Duration::from_secs(5);
        assert!(sent.windows(2).all(paused), "a refusal is followed by a pause: {sent:#?}");
        assert!(sent.iter().all(|seen| seen.code.is_some_and(|code| code >= 400)), "{sent:#?}");
        let free = Patch::Merge(json!({ "metadata": { "finalizers": Value::Null } }));
        config_maps.patch("keeper", &PatchParams::default(), &free).await.unwrap();
    })
    .await;
}
