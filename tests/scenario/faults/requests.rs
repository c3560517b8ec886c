//! Every kind of request with every fault that the API server or the network may cause.

use std::{collections::BTreeSet, time::Duration};

use modelsync::{app::ElectionSettings, kube_io::client::Safeguards};
use serde_json::json;

use super::{BOTH, FAULTS, LONGEST, LONGEST_REFUSED, Row, Subject, create, play};
use crate::harness::{
    World,
    fault::{Call, Fault, call},
    proxy::Proxy,
    world::faulty_scenario,
};

/// Creates one object of each kind for each fault, whose requests of this sort meet that fault.
async fn rows(world: &World, proxy: &Proxy, name: &str, sort: impl Fn(Subject, &str) -> Call) -> Vec<Row> {
    let mut rows = Vec::new();
    for subject in BOTH {
        for (n, fault) in FAULTS.into_iter().enumerate() {
            let object = format!("{}-{name}{n}", subject.prefix());
            rows.push(Row::begin(world, proxy, &object, sort(subject, &object), fault).await);
        }
    }
    rows
}

async fn judge(world: &World, proxy: &Proxy, rows: &[Row], longest: Duration) {
    for row in rows {
        row.judge(world, proxy, longest).await;
    }
}

#[tokio::test]
async fn reservation_that_meets_any_fault_leads_to_one_run() {
    faulty_scenario("fault_reserve", async |world, proxy| {
        let rows = rows(world, &proxy, "reserve", |subject, object| subject.reserve().of(object)).await;
        play(world).await;
        judge(world, &proxy, &rows, LONGEST).await;
        for row in &rows {
            assert_eq!(row.attempt(world).await, 1, "{}, {:?}: no attempt is lost", row.object, row.rule.fault);
        }
    })
    .await;
}

#[tokio::test]
async fn read_after_a_lost_reply_that_meets_any_fault_leads_to_one_run() {
    faulty_scenario("fault_reread", async |world, proxy| {
        let rows = rows(world, &proxy, "reread", |subject, object| {
            proxy.once(subject.reserve().of(object), Fault::DropReply);
            call("get", subject.resource()).of(object)
        })
        .await;
        play(world).await;
        judge(world, &proxy, &rows, LONGEST).await;
    })
    .await;
}

#[tokio::test]
async fn create_that_meets_any_fault_leads_to_one_run() {
    faulty_scenario("fault_create", async |world, proxy| {
        let rows = rows(world, &proxy, "create", |_, object| create().of(object)).await;
        play(world).await;
        judge(world, &proxy, &rows, LONGEST_REFUSED * 2).await;
        for row in &rows {
            let sent = proxy.seen(&create().of(&row.object));
            let names: BTreeSet<_> = sent.iter().map(|seen| seen.request.name.as_str()).collect();
            // Only after a certain refusal does the operator send a second request for the same attempt.
            let refused = matches!(row.rule.fault, Fault::Status(409 | 410 | 429));
            assert_eq!(names.len() < sent.len(), refused, "{:?}: {sent:#?}", row.rule.fault);
        }
    })
    .await;
}

#[tokio::test]
async fn lookup_that_meets_any_fault_leads_to_one_run() {
    faulty_scenario("fault_look_up", async |world, proxy| {
        let rows = rows(world, &proxy, "find", |_, object| {
            proxy.once(create().of(object), Fault::Status(503));
            call("get", "pipelineruns").of(object)
        })
        .await;
        play(world).await;
        judge(world, &proxy, &rows, LONGEST).await;
    })
    .await;
}

#[tokio::test]
async fn record_of_an_end_that_meets_any_fault_is_written_once() {
    faulty_scenario("fault_end", async |world, proxy| {
        let rows = rows(world, &proxy, "end", |subject, object| subject.record_end().of(object)).await;
        play(world).await;
        judge(world, &proxy, &rows, LONGEST).await;
        for row in &rows {
            let stored = proxy.done(&Subject::of(&row.object).record_end().of(&row.object));
            assert_eq!(stored.len(), 1, "{:?}: {stored:#?}", row.rule.fault);
        }
    })
    .await;
}

#[tokio::test]
async fn deletion_that_meets_any_fault_happens_once() {
    faulty_scenario("fault_delete", async |world, proxy| {
        let rows = rows(world, &proxy, "delete", |_, object| call("delete", "pipelineruns").of(object)).await;
        for row in &rows {
            let none = json!({ "successfulPipelineRunsHistoryLimit": 0 });
            Subject::of(&row.object).patch_spec(world, &row.object, none).await;
        }
        play(world).await;
        world
            .wait("the runs are deleted", async || {
                world.clock.advance(Duration::from_secs(1));
                let runs = world.pipeline_runs().list(&kube::api::ListParams::default()).await.unwrap().items;
                runs.is_empty().then_some(())
            })
            .await;
        judge(world, &proxy, &rows, LONGEST).await;
        for row in &rows {
            let done = proxy.done(&call("delete", "pipelineruns").of(&row.object));
            assert_eq!(done.len(), 1, "{:?}: {done:#?}", row.rule.fault);
        }
    })
    .await;
}

#[tokio::test]
async fn event_that_meets_any_fault_hinders_nothing_and_is_not_repeated() {
    faulty_scenario("fault_event", async |world, proxy| {
        let rows = rows(world, &proxy, "event", |_, object| call("create", "events").of(object)).await;
        play(world).await;
        judge(world, &proxy, &rows, LONGEST).await;
        for row in &rows {
            let sent = proxy.seen(&call("create", "events").of(&row.object));
            assert!(sent.len() <= 6, "{}, {:?}: {sent:#?}", row.object, row.rule.fault);
            assert_eq!(row.attempt(world).await, 1, "{}, {:?}", row.object, row.rule.fault);
        }
    })
    .await;
}

/// The default deadline is 9 s; here it is short.
#[tokio::test]
async fn missing_responses_delay_no_demand_beyond_the_deadline() {
    faulty_scenario("fault_hang", async |world, proxy| {
        world.stop_operator().await;
        let call_deadline = Some(Duration::from_secs(1));
        let kinds = ["modelsyncs", "modeltrains", "pipelineruns"];
        let lists = kinds.map(|kind| proxy.once(call("list", kind), Fault::Hang));
        world.start_guarded_operator(Safeguards { call_deadline, ..Safeguards::default() }).await;
        let mut rules = Vec::new();
        for subject in BOTH {
            let sorts = [
                ("reserve", subject.reserve()),
                ("create", create()),
                ("read", call("get", "pipelineruns")),
                ("end", subject.record_end()),
                ("delete", call("delete", "pipelineruns")),
                ("event", call("create", "events")),
            ];
            for (name, sort) in sorts {
                let object = format!("{}-{name}", subject.prefix());
                if name == "read" {
                    proxy.once(create().of(&object), Fault::Status(503));
                }
                rules.push((object.clone(), proxy.once(sort.of(&object), Fault::Hang)));
                subject.demand(world, &object).await;
                if name == "delete" {
                    let none = json!({ "successfulPipelineRunsHistoryLimit": 0 });
                    subject.patch_spec(world, &object, none).await;
                }
            }
        }
        play(world).await;
        for (object, rule) in rules {
            if object.ends_with("delete") {
                let gone = async || {
                    world.clock.advance(Duration::from_secs(1));
                    world.runs(&object).await.is_empty().then_some(())
                };
                world.wait("the run is deleted", gone).await;
            }
            assert_eq!(rule.hits(), 1, "{object}");
            assert_eq!(proxy.done(&create().of(&object)).len(), 1, "{object}: one run");
        }
        assert!(lists.iter().all(|list| list.hits() == 1));
        for subject in BOTH {
            let next = call("create", "events").of(&format!("{}-event", subject.prefix()));
            let published = async || (!proxy.done(&next).is_empty()).then_some(());
            world.wait("the next event after one without a response", published).await;
        }
    })
    .await;
}

#[tokio::test]
async fn lists_that_meet_any_fault_delay_a_demand_and_repeat_nothing() {
    faulty_scenario("fault_list", async |world, proxy| {
        for (n, fault) in FAULTS.into_iter().enumerate() {
            restart_into(world, &proxy, "list", fault, n).await;
        }
    })
    .await;
}

#[tokio::test]
async fn watches_that_meet_any_fault_at_their_start_delay_a_demand_and_repeat_nothing() {
    faulty_scenario("fault_watch", async |world, proxy| {
        for (n, code) in [409, 410, 429, 503, 504].into_iter().enumerate() {
            restart_into(world, &proxy, "watch", Fault::Status(code), n).await;
        }
    })
    .await;
}

/// Restarts the operator so that its first requests for objects and for runs meet the fault, then creates a new demand of
/// each kind.
async fn restart_into(world: &mut World, proxy: &Proxy, verb: &'static str, fault: Fault, n: usize) {
    world.stop_operator().await;
    let kinds = ["modelsyncs", "modeltrains", "pipelineruns"].map(|resource| call(verb, resource));
    let before = kinds.each_ref().map(|kind| proxy.seen(kind).len());
    let rules = kinds.each_ref().map(|kind| proxy.times(2, kind.clone(), fault.clone()));
    let began = world.clock.mono();
    world.start_operator().await;
    let objects = BOTH.map(|subject| format!("{}{n}", subject.prefix()));
    for (subject, object) in BOTH.into_iter().zip(&objects) {
        subject.demand(world, object).await;
    }
    world
        .wait("all kinds of requests meet the fault", async || {
            // Pauses run on the clock that the test sets forward.
            world.clock.advance(Duration::from_secs(1));
            rules.iter().all(|rule| rule.hits() == 2).then_some(())
        })
        .await;
    play(world).await;
    for (n, rule) in rules.into_iter().enumerate() {
        let requests = proxy.seen(&kinds[n]).len() - before[n];
        assert!(requests <= 10, "{objects:?}: {fault:?}: {:?} {requests} times", kinds[n]);
        for object in &objects {
            Row { object: object.clone(), rule: rule.clone(), began }.judge(world, proxy, LONGEST).await;
        }
    }
}

#[tokio::test]
async fn renewal_of_the_lease_that_meets_any_fault_costs_no_run_and_no_flood() {
    faulty_scenario("fault_lease", async |world, proxy| {
        world.stop_operator().await;
        let duration = Duration::from_secs(2);
        world.elect(ElectionSettings { name: "modelsync-controller".into(), namespace: None, duration });
        world.start_operator().await;
        for (n, fault) in FAULTS.into_iter().enumerate() {
            let before = proxy.requests().len();
            let object = format!("sync{n}");
            let row = Row::begin(world, &proxy, &object, call("update", "leases"), fault).await;
            let train = Row { object: format!("train{n}"), rule: row.rule.clone(), began: row.began };
            Subject::Train.demand(world, &train.object).await;
            row.rule.hit(1).await;
            world.wait("the operator leads again", async || world.operator().leads().then_some(())).await;
            play(world).await;
            row.judge(world, &proxy, LONGEST).await;
            train.judge(world, &proxy, LONGEST).await;
            row.rule.release();
            let lease = |seen: &crate::harness::proxy::Seen| seen.request.resource == "leases";
            let requests = proxy.requests().into_iter().skip(before).filter(lease).count();
            // Renewals continue while the row runs; the operator's pause between two is a sixth of the duration.
            let calm = 20 + 3 * world.clock.mono().since(row.began).as_secs();
            let few = u64::try_from(requests).unwrap() <= calm;
            assert!(few, "{object}: {:?}: {requests} requests for the lease, at most {calm} are due", row.rule.fault);
        }
    })
    .await;
}
