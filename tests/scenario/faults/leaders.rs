//! Two operators that both believe that they lead: the compare-and-swap, the name of the run and the fence allow one
//! run.

use modelsync::{
    api::{ConditionStatus::Unknown, ConditionType::InSync, keys},
    clock::Clock,
};

use super::{UNTIL_CERTAIN, create, play, reserve};
use crate::harness::{
    Reply,
    fault::Fault,
    proxy::Proxy,
    world::{attempt_of, faulty_scenario},
};

#[tokio::test]
async fn two_leaders_whose_reservations_cross_start_one_run() {
    faulty_scenario("leaders_cross", async |world, proxy| {
        let other_proxy = Proxy::start(&world.cluster).await;
        let other = world.another_operator_behind(&other_proxy).await;
        let proxies = [&proxy, &other_proxy];
        for (object, first) in [("a", 0), ("b", 1)] {
            let held = proxies.map(|proxy| proxy.once(reserve().of(object), Fault::Hold));
            world.model_sync_with_reply(object, Reply::model("m1")).await;
            for rule in &held {
                rule.hit(1).await;
            }
            held[first].release();
            world.run(object, 1).await;
            held[1 - first].release();
            let late = || proxies[1 - first].seen(&reserve().of(object))[0].code;
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

#[tokio::test]
async fn two_leaders_of_ten_objects_start_one_run_for_each() {
    faulty_scenario("leaders_race", async |world, proxy| {
        let other_proxy = Proxy::start(&world.cluster).await;
        let other = world.another_operator_behind(&other_proxy).await;
        let objects: Vec<_> = (0..10).map(|n| format!("row{n}")).collect();
        // Both reservations of the first object are held, so that neither operator sees the write of the other.
        let held = [&proxy, &other_proxy].map(|proxy| proxy.once(reserve().of(&objects[0]), Fault::Hold));
        for object in &objects {
            world.model_sync_with_reply(object, Reply::model("m1")).await;
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
            let count =
                |proxy: &Proxy| (proxy.done(&create().of(object)).len(), proxy.seen(&reserve().of(object)).len());
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
        let held = proxy.once(create().of("a"), Fault::Hold);
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        held.hit(1).await;
        let not_after = world.status("a").await.reservation.unwrap().not_after;
        let other_proxy = Proxy::start(&world.cluster).await;
        let other = world.another_operator_behind(&other_proxy).await;
        world.until("a", InSync, Unknown, "RunUnconfirmed").await;
        let real = Clock::system();
        world.wait("the deadline has passed", async || (real.now().wall > not_after).then_some(())).await;
        world.clock.advance(UNTIL_CERTAIN);
        let second = world.run("a", 2).await;
        held.release();
        let late = || proxy.seen(&create().of("a"))[0].code;
        let code = world.wait("the response to the late create", async || late()).await;
        assert!((400..500).contains(&code), "the fence ({}) refuses it: {code}", keys::FENCE);
        let runs = world.runs("a").await;
        assert_eq!(runs.iter().map(attempt_of).collect::<Vec<_>>(), [attempt_of(&second)]);
        play(world).await;
        let created = proxy.done(&create()).len() + other_proxy.done(&create()).len();
        assert_eq!(created, 1);
        other.stop().await;
    })
    .await;
}
