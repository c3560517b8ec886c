//! Windows that take long to evaluate, and what they cost others.

use std::time::Duration;

use modelsync::api::{
    ConditionStatus::{False, True},
    ConditionType::{InSync, Stalled},
};
use serde_json::{Value, json};

use crate::harness::{Reply, cluster::apply, scenario};

const HOGS: usize = 30;

/// Eight windows that leave no opening for years: Allow windows on rare days, each of which a Deny window covers, and
/// Deny windows that open every minute.
fn endless_windows() -> Value {
    let recurring = |kind: &str, cron: &str, duration: &str, zone: &str| json!({ "kind": kind, "cron": cron, "duration": duration, "timeZone": zone });
    json!([
        recurring("Allow", "* * 29 2 *", "1m", "Africa/Casablanca"),
        recurring("Allow", "59 23 29 2 *", "744h", "Australia/Lord_Howe"),
        recurring("Allow", "*/7 2 L 2 *", "1m", "Africa/Cairo"),
        recurring("Deny", "*/2 * * * *", "1m", "UTC"),
        recurring("Deny", "1-59/2 * * * *", "1m", "America/St_Johns"),
        recurring("Deny", "* 0-11 * * *", "61s", "Antarctica/Troll"),
        recurring("Deny", "* 12-23 * * *", "61s", "Asia/Kathmandu"),
        recurring("Deny", "0 0 29 2 *", "744h", "Pacific/Chatham"),
    ])
}

#[tokio::test]
async fn windows_that_never_open_delay_no_other_namespace_and_not_the_health_page() {
    scenario("endless-windows", async |world| {
        let other = format!("{}-hogs", world.namespace);
        world.manage_also(&other).await;
        world.model_sync_with_reply("victim", Reply::NotNeeded).await;
        world.until("victim", InSync, True, "UpToDate").await;
        world.endpoint.says("hog", Reply::model("m1"));
        let mut spec = world.spec("hog");
        spec["windows"] = endless_windows();
        for hog in 0..HOGS {
            let metadata = json!({ "name": format!("hog-{hog}"), "namespace": other });
            let api_version = modelsync::api::keys::API_VERSION;
            apply(
                &world.client,
                &json!({ "apiVersion": api_version, "kind": "ModelSync", "metadata": metadata, "spec": spec }),
            )
            .await;
        }
        world.wait("each is polled", async || (world.endpoint.polls("hog") >= HOGS).then_some(())).await;
        let (victim, hogs) = (world.endpoint.polls("victim"), world.endpoint.polls("hog"));
        let health = reqwest::Client::builder().timeout(Duration::from_secs(5)).build().unwrap();
        let page = format!("http://{}/healthz", world.operator().address());
        // Four rounds of everyone's polls.
        world
            .wait("four rounds", async || {
                let page = health.get(&page).send().await.expect("the health page answers within seconds");
                assert_eq!(page.status(), 200);
                (world.endpoint.polls("hog") >= hogs + 4 * HOGS).then_some(())
            })
            .await;
        let polled = world.endpoint.polls("victim") - victim;
        assert!(polled >= 3, "the victim was polled {polled} times, every hog about four times");
        assert_eq!(world.runs("hog-0").await.len(), 0);
    })
    .await;
}

#[tokio::test]
async fn window_says_when_it_opens_by_the_clock_of_its_zone() {
    scenario("window-zone", async |world| {
        let hour = world.clock.now().wall.to_zoned(jiff::tz::TimeZone::get("Asia/Kolkata").unwrap()).hour();
        let later = (hour + 12) % 24;
        let mut spec = world.spec("a");
        let cron = format!("0 {later} * * *");
        spec["windows"] = json!([{ "kind": "Allow", "cron": cron, "duration": "1h", "timeZone": "Asia/Kolkata" }]);
        world.endpoint.says("a", Reply::model("m1"));
        world.apply("a", spec).await;
        let status = world.until("a", InSync, False, "OutsideWindow").await;
        let message = &status.conditions.iter().find(|condition| condition.type_ == InSync).unwrap().message;
        let shown = format!("T{later:02}:00:00+05:30 (Asia/Kolkata)");
        assert!(message.ends_with(&shown), "{message}");
    })
    .await;
}

#[tokio::test]
async fn window_that_hardly_ever_opens_is_refused_with_its_field() {
    scenario("rare-window", async |world| {
        let mut spec = world.spec("a");
        spec["windows"] = json!([{ "kind": "Allow", "cron": "0 0 29 2 +1", "duration": "1h" }]);
        world.apply("a", spec).await;
        let status = world.until("a", Stalled, True, "InvalidSpec").await;
        let message = &status.conditions.iter().find(|condition| condition.type_ == Stalled).unwrap().message;
        assert!(message.starts_with("spec.windows[0].cron leaves more than five years between two times"), "{message}");
        assert_eq!(world.endpoint.polls("a"), 0);
    })
    .await;
}
