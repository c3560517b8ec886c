//! Two operators that both believe that they lead: the compare-and-swap, the name of the run and the fence allow one
//! run.

use std::time::Duration;

use modelsync::{api::keys, app::ElectionSettings, clock::Clock};
use serde_json::json;

use super::{
    BOTH, LONGEST, Row, Subject, UNTIL_CERTAIN, create, play,
    subject::{end_runs, until_shows},
};
use crate::harness::{
    fault::{Fault, call},
    proxy::Proxy,
    world::{attempt_of, faulty_scenario},
};

#[tokio::test]
async fn two_leaders_whose_reservations_cross_start_one_run() {
    faulty_scenario("leaders_cross", async |world, proxy| {
        let other_proxy = Proxy::start(&world.cluster).await;
        let other = world.another_operator_behind(&other_proxy).await;
        let proxies = [&proxy, &other_proxy];
        for (object, first) in [("sync-a", 0), ("sync-b", 1), ("train-a", 0), ("train-b", 1)] {
            let subject = Subject::of(object);
            let held = proxies.map(|proxy| proxy.once(subject.reserve().of(object), Fault::Hold));
            subject.demand(world, object).await;
            for rule in &held {
                rule.hit(1).await;
            }
            held[first].release();
            world.run(object, 1).await;
            held[1 - first].release();
            let late = || proxies[1 - first].seen(&subject.reserve().of(object))[0].code;
            assert_eq!(world.wait("the response to the other", async || late()).await, 409, "{object}");
            play(world).await;
            let created = proxies.map(|proxy| proxy.done(&create().of(object)).len());
            assert_eq!(created.iter().sum::<usize>(), 1, "{object}: {created:?}");
            assert_eq!(created[first], 1, "{object}: the operator that reserved creates");
        }
        other.stop().await;
    })
    .await;
}

/// The leader cannot renew its lease while one request of each sort is on its way. The other replica takes over; whatever
/// arrives afterwards changes nothing.
#[tokio::test]
async fn leader_that_loses_its_lease_in_the_middle_of_any_request_starts_no_second_run() {
    faulty_scenario("leaders_lost", async |world, proxy| {
        world.stop_operator().await;
        // Not too short for a busy machine: a change of leaders would make runs unconfirmed.
        let duration = Duration::from_secs(6);
        world.elect(ElectionSettings { name: "modelsync-controller".into(), namespace: None, duration });
        world.start_operator().await;
        world.wait("the first replica leads", async || world.operator().leads().then_some(())).await;
        let mut rows = Vec::new();
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
                let rule = proxy.once(sort.of(&object), Fault::Hold);
                subject.demand(world, &object).await;
                if name == "delete" {
                    let none = json!({ "successfulPipelineRunsHistoryLimit": 0 });
                    subject.patch_spec(world, &object, none).await;
                }
                rows.push(Row { object, rule, began: world.clock.mono() });
            }
        }
        world
            .wait("every request is on its way", async || {
                end_runs(world).await;
                rows.iter().all(|row| row.rule.hits() == 1).then_some(())
            })
            .await;
        let other_proxy = Proxy::start(&world.cluster).await;
        let other = world.another_operator_behind(&other_proxy).await;
        let silent = ["update", "get"].map(|verb| proxy.always(call(verb, "leases"), Fault::Hang));
        world.wait("the other replica leads", async || other.leads().then_some(())).await;
        assert!(!world.operator().leads(), "at most one replica leads");
        // The fence compares with the API server's clock, which the test cannot set forward: the creates are not late.
        for row in rows.iter().filter(|row| row.object.ends_with("create")) {
            until_shows(world, &row.object, "RunUnconfirmed").await;
            row.rule.release();
        }
        play(world).await;
        for row in &rows {
            row.rule.release();
        }
        let answered = |row: &Row| {
            let mut requests = proxy.requests().into_iter().filter(|seen| seen.request.is_about(&row.object));
            requests.next_back().is_some_and(|seen| seen.code.is_some())
        };
        world.wait("the late requests have their responses", async || rows.iter().all(answered).then_some(())).await;
        play(world).await;
        for Row { object, .. } in &rows {
            let created = [&proxy, &other_proxy].map(|proxy| proxy.done(&create().of(object)).len());
            assert_eq!(created.iter().sum::<usize>(), 1, "{object}: {created:?}");
            let subject = Subject::of(object);
            let ends = subject.record_end().of(object);
            let recorded = [&proxy, &other_proxy].map(|proxy| proxy.done(&ends).len());
            // On a busy machine the lease may also be lost between a reservation and its create: that attempt is gone.
            let attempts = subject.get(world, object).await.data["status"]["attempt"].as_u64();
            let ended = recorded.iter().sum::<usize>();
            assert_eq!(attempts, u64::try_from(ended).ok(), "{object}: ends recorded: {recorded:?}");
            assert!(world.clock.mono().since(rows[0].began) <= LONGEST, "{object}");
        }
        silent.iter().for_each(crate::harness::fault::Rule::release);
        other.stop().await;
    })
    .await;
}

#[tokio::test]
async fn two_leaders_of_ten_objects_start_one_run_for_each() {
    faulty_scenario("leaders_race", async |world, proxy| {
        let other_proxy = Proxy::start(&world.cluster).await;
        let other = world.another_operator_behind(&other_proxy).await;
        let objects: Vec<_> = (0..10).map(|n| format!("{}{n}", BOTH[n % 2].prefix())).collect();
        // Both reservations of the first object are held, so that neither operator sees the write of the other.
        let held = [&proxy, &other_proxy].map(|proxy| proxy.once(Subject::Sync.reserve().of(&objects[0]), Fault::Hold));
        for object in &objects {
            Subject::of(object).demand(world, object).await;
        }
        for one in &held {
            one.hit(1).await;
        }
        for one in &held {
            one.release();
        }
        play(world).await;
        let mut reserved = Vec::new();
        for object in &objects {
            let count = |proxy: &Proxy| {
                (proxy.done(&create().of(object)).len(), proxy.seen(&Subject::of(object).reserve().of(object)).len())
            };
            let (ours, theirs) = (count(&proxy), count(&other_proxy));
            assert_eq!(ours.0 + theirs.0, 1, "{object}: runs");
            reserved.push((ours.1 > 0) && (theirs.1 > 0));
        }
        assert!(reserved[0], "both operators tried");
        other.stop().await;
    })
    .await;
}

/// A leader that paused in the middle: its create arrives after its successor has recorded the attempt as gone. The
/// fence compares with the clock of the API server, so this test waits in real time.
#[tokio::test]
async fn create_of_a_paused_leader_that_comes_too_late_is_refused_by_the_fence() {
    faulty_scenario("leaders_paused", async |world, proxy| {
        let held = BOTH.map(|subject| proxy.once(create().of(subject.prefix()), Fault::Hold));
        let mut not_after = jiff::Timestamp::MIN;
        for (subject, held) in BOTH.into_iter().zip(&held) {
            subject.demand(world, subject.prefix()).await;
            held.hit(1).await;
            let open = subject.get(world, subject.prefix()).await.data["status"]["reservation"].clone();
            let deadline = [&open["notAfter"], &open["slots"][0]["notAfter"]].into_iter().find_map(|at| at.as_str());
            not_after = not_after.max(deadline.unwrap().parse().unwrap());
        }
        let other_proxy = Proxy::start(&world.cluster).await;
        let other = world.another_operator_behind(&other_proxy).await;
        for subject in BOTH {
            until_shows(world, subject.prefix(), "RunUnconfirmed").await;
        }
        let real = Clock::system();
        world.wait("the deadline has passed", async || (real.now().wall > not_after).then_some(())).await;
        world.clock.advance(UNTIL_CERTAIN);
        for (subject, held) in BOTH.into_iter().zip(&held) {
            let object = subject.prefix();
            let second = world
                .wait("the second attempt", async || {
                    // After a training that is gone, the next one waits for the backoff.
                    world.clock.advance(Duration::from_secs(1));
                    world.runs(object).await.into_iter().find(|run| attempt_of(run) == 2)
                })
                .await;
            held.release();
            let late = || proxy.seen(&create().of(object))[0].code;
            let code = world.wait("the response to the late create", async || late()).await;
            assert!((400..500).contains(&code), "the fence ({}) refuses it: {code}", keys::FENCE);
            let runs = world.runs(object).await;
            assert_eq!(runs.iter().map(attempt_of).collect::<Vec<_>>(), [attempt_of(&second)]);
        }
        play(world).await;
        for subject in BOTH {
            let created = [&proxy, &other_proxy].map(|proxy| proxy.done(&create().of(subject.prefix())).len());
            assert_eq!(created.iter().sum::<usize>(), 1, "{subject:?}");
        }
        other.stop().await;
    })
    .await;
}
