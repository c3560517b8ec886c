//! Endpoints that fail, send invalid responses or hang: the operator starts no run for them, and the object shows the
//! error.

use std::time::Duration;

use modelsync::{
    api::{
        ConditionStatus::{False, True, Unknown},
        ConditionType::{InSync, Ready, Stalled},
        keys,
    },
    core::status::condition::find,
};
use serde_json::{Value, json};

use crate::harness::{Reply, World, endpoint::Endpoint, scenario, world::parameter};

/// An interval that no scenario outlives: polls come when the clock is set forward.
const INTERVAL: Duration = Duration::from_hours(1);

/// Waits until the object shows that its endpoint fails; returns the message.
async fn failure(world: &World, name: &str) -> String {
    let status = world.until(name, InSync, Unknown, "EndpointFailing").await;
    let ready = find(&status.conditions, Ready).unwrap();
    assert_eq!((ready.status, ready.reason.as_str()), (False, "EndpointFailing"), "{name}");
    assert!(find(&status.conditions, Stalled).is_none(), "{name}: it may recover by itself");
    assert_eq!((status.attempt, world.runs(name).await.len()), (0, 0), "{name}: never a run");
    ready.message.clone()
}

/// Waits for one poll, which gets this reply. The interval of the object is [`INTERVAL`].
async fn poll_once(world: &World, name: &str, reply: Reply) {
    world.endpoint.says(name, reply);
    let before = world.endpoint.polls(name);
    world
        .wait("a poll", async || {
            let polled = world.endpoint.polls(name) > before;
            // The reconcile of the last response plans the next poll, so an advance before it has no effect.
            if !polled {
                world.clock.advance(INTERVAL);
            }
            polled.then_some(())
        })
        .await;
}

/// Asserts that each object shows the failure at once and starts no run later. Each gets its reply from the first poll
/// on.
async fn assert_failing(world: &World, cases: &[(&str, Reply, Value, &str)]) {
    for (name, reply, change, _) in cases {
        world.endpoint.says(name, reply.clone());
        let mut spec = world.spec(name);
        for (field, value) in change.as_object().into_iter().flatten() {
            spec[field] = value.clone();
        }
        world.apply(name, spec).await;
    }
    for (name, _, _, says) in cases {
        let message = failure(world, name).await;
        assert!(message.contains(says), "{name}: {message:?} lacks {says:?}");
    }
    for (name, ..) in cases {
        world.settle(name).await;
        assert_eq!((world.status(name).await.attempt, world.runs(name).await.len()), (0, 0), "{name}: never a run");
    }
}

fn raw(status: u16, body: &str) -> Reply {
    Reply::Raw(status, body.to_owned())
}

/// A sync is needed, with these parameters.
fn needed(parameters: &[(&str, &str)]) -> Reply {
    Reply::Needed(parameters.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
}

#[tokio::test]
async fn endpoint_that_fails_or_sends_an_invalid_response_starts_no_run_and_is_shown_at_once() {
    scenario("bad_responses", async |world| {
        let needed = r#"{"needsSync":true,"parameters":{"name":"m1"}"#;
        let none = Value::Null;
        let cases = [
            ("status-500", raw(500, &format!("{needed}}}")), none.clone(), "status 500 Internal Server Error"),
            ("status-404", raw(404, "no such page"), none.clone(), "status 404 Not Found"),
            ("status-201", raw(201, &format!("{needed}}}")), none.clone(), "only status 200 is accepted"),
            ("garbage", raw(200, "<html>it works</html>"), none.clone(), "not valid JSON"),
            ("empty", raw(200, ""), none.clone(), "the body is empty"),
            ("word", raw(200, r#"{"needsSync":"true"}"#), none.clone(), "needsSync must be true or false"),
            ("twice", raw(200, r#"{"needsSync":false,"needsSync":true}"#), none.clone(), "occurs twice"),
            (
                "other-kind",
                raw(200, r#"{"kind":"Status","needsSync":true}"#),
                none.clone(),
                r#"kind must be "NeedsSync""#,
            ),
            (
                "number",
                raw(200, r#"{"needsSync":true,"parameters":{"name":5}}"#),
                none.clone(),
                r#"parameter "name" must be a string"#,
            ),
            ("long", raw(200, &format!("{needed}}}{}", " ".repeat(65_536))), none.clone(), "65536 bytes"),
            (
                "errors",
                raw(200, &format!(r#"{needed},"errors":[{{"message":"no access to the bucket"}}]}}"#)),
                none,
                "the endpoint reports: no access to the bucket",
            ),
        ];
        assert_failing(world, &cases).await;
        for (name, ..) in cases {
            let message = failure(world, name).await;
            assert!(
                !message.contains("it works") && !message.contains("no such page"),
                "{name} shows the body of another service: {message}"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn response_with_unusable_parameters_starts_no_run_and_names_them() {
    scenario("bad_parameters", async |world| {
        let (large, many) = ("x".repeat(16 * 1024), (0..300).map(|n| (format!("p{n}"), String::new())).collect());
        let pass = json!({ "parameters": [], "unmappedParameters": "Pass" });
        let cases = [
            (
                "missing",
                needed(&[("nmae", "m1")]),
                Value::Null,
                r#"lacks the parameter "name", which spec.parameters maps to "automl-model""#,
            ),
            ("none", needed(&[]), Value::Null, r#"lacks the parameter "name""#),
            (
                "unmapped",
                needed(&[("name", "m1"), ("branch", "b")]),
                json!({ "unmappedParameters": "Reject" }),
                r#"has the parameter "branch", which spec.parameters does not map"#,
            ),
            ("large", needed(&[("name", &large)]), Value::Null, "at most 16384 are allowed"),
            ("many", Reply::Needed(many), pass, "parameters has 300 members; at most 256 are allowed"),
        ];
        assert_failing(world, &cases).await;
        // A later valid response starts a run.
        world.endpoint.says("missing", Reply::model("m1"));
        world.clock.advance(Duration::from_secs(5));
        let run = world.run("missing", 1).await;
        assert_eq!(parameter(&run, "automl-model").as_deref(), Some("m1"));
    })
    .await;
}

#[tokio::test]
async fn unmapped_parameters_are_dropped_or_passed_as_the_spec_says() {
    scenario("unmapped", async |world| {
        for (name, unmapped) in [("default", None), ("ignore", Some("Ignore")), ("pass", Some("Pass"))] {
            world.endpoint.says(name, needed(&[("name", "m1"), ("branch", "b"), ("branchName", "from-the-answer")]));
            let mut spec = world.spec(name);
            if let Some(unmapped) = unmapped {
                spec["unmappedParameters"] = json!(unmapped);
            }
            world.apply(name, spec).await;
            let run = world.run(name, 1).await;
            assert_eq!(parameter(&run, "automl-model").as_deref(), Some("m1"), "{name}");
            let passed = (name == "pass").then_some("b");
            assert_eq!(parameter(&run, "branch").as_deref(), passed, "{name}");
            let branch = if name == "pass" { "from-the-answer" } else { "auto-update" };
            assert_eq!(parameter(&run, "branchName").as_deref(), Some(branch), "{name}: the template's own parameter");
            assert_eq!(
                parameter(&run, "name"),
                None,
                "{name}: a mapped parameter is not passed again under the endpoint's name"
            );
        }
    })
    .await;
}

#[tokio::test]
async fn either_name_of_a_parameter_may_be_left_out_or_empty() {
    scenario("empty_names", async |world| {
        world.endpoint.says("a", needed(&[("one", "1"), ("two", "2"), ("three", "3"), ("four", "4")]));
        let mut spec = world.spec("a");
        spec["parameters"] = json!([
            { "needsSyncName": "one" },
            { "pipelineName": "two" },
            { "needsSyncName": "", "pipelineName": "three" },
            { "needsSyncName": "four", "pipelineName": "" },
        ]);
        world.apply("a", spec).await;
        let run = world.run("a", 1).await;
        for (name, value) in [("one", "1"), ("two", "2"), ("three", "3"), ("four", "4")] {
            assert_eq!(parameter(&run, name).as_deref(), Some(value), "{name}");
        }
    })
    .await;
}

#[tokio::test]
async fn redirect_is_not_followed() {
    scenario("redirect", async |world| {
        world.endpoint.says("elsewhere", Reply::model("m1"));
        for status in [301, 302, 303, 307, 308] {
            let name = format!("redirect-{status}");
            world.endpoint.says(&name, Reply::Redirect(status, world.endpoint.url("elsewhere")));
            world.apply(&name, world.spec(&name)).await;
            let message = failure(world, &name).await;
            assert!(
                message.contains(&format!("status {status}")) && message.contains("redirects are not followed"),
                "{message}"
            );
        }
        assert_eq!(world.endpoint.polls("elsewhere"), 0);
    })
    .await;
}

#[tokio::test]
async fn failing_endpoint_is_shown_after_three_failures_in_a_row_and_its_recovery_at_once() {
    scenario("three_in_a_row", async |world| {
        world.endpoint.says("a", Reply::NotNeeded);
        let mut spec = world.spec("a");
        spec["interval"] = json!("1h");
        world.apply("a", spec).await;
        world.until("a", InSync, True, "UpToDate").await;
        let version = async || world.model_syncs().get("a").await.unwrap().metadata.resource_version;
        let good = version().await;
        // The operator decides on a response before it polls again.
        for _ in 0..3 {
            poll_once(world, "a", raw(500, "")).await;
            poll_once(world, "a", raw(500, "")).await;
            poll_once(world, "a", Reply::NotNeeded).await;
            assert_eq!(version().await, good, "after two failures, the last response is still in force");
        }
        let before = world.endpoint.polls("a");
        for _ in 0..3 {
            poll_once(world, "a", raw(500, "")).await;
        }
        assert!(failure(world, "a").await.contains("status 500"));
        poll_once(world, "a", Reply::NotNeeded).await;
        let status = world.until("a", InSync, True, "UpToDate").await;
        assert_eq!(find(&status.conditions, Ready).unwrap().status, True);
        assert_eq!(world.endpoint.polls("a"), before + 4, "three failures, and one good response is enough");
    })
    .await;
}

#[tokio::test]
async fn first_failure_of_a_changed_spec_is_shown_at_once() {
    scenario("changed_and_failing", async |world| {
        world.model_sync_with_reply("a", Reply::NotNeeded).await;
        world.until("a", InSync, True, "UpToDate").await;
        world.endpoint.says("new", raw(503, ""));
        world.patch_spec("a", json!({ "needsSyncUrl": world.endpoint.url("new"), "interval": "1h" })).await;
        assert!(failure(world, "a").await.contains("status 503"));
        assert_eq!(world.endpoint.polls("new"), 1);
        assert_eq!(world.status("a").await.observed_generation, 2);
    })
    .await;
}

#[tokio::test]
async fn endpoint_that_fails_differently_each_time_is_written_once() {
    scenario("flapping", async |world| {
        world.model_sync_with_reply("a", raw(500, "")).await;
        let first = failure(world, "a").await;
        let version = world.model_syncs().get("a").await.unwrap().metadata.resource_version;
        for reply in [
            raw(502, ""),
            raw(200, "garbage"),
            needed(&[]),
            raw(200, r#"{"needsSync":false,"errors":[{"message":"x"}]}"#),
        ] {
            world.endpoint.says("a", reply);
            world.settle("a").await;
        }
        assert_eq!(world.model_syncs().get("a").await.unwrap().metadata.resource_version, version);
        assert_eq!(failure(world, "a").await, first);
        assert_eq!(world.until_events("a", 1).await.len(), 1, "one transition, one event");
    })
    .await;
}

#[tokio::test]
async fn endpoint_that_never_responds_times_out_and_delays_no_other_object() {
    scenario("silence", async |world| {
        // More polls than one host may have in flight, so that the last ones wait in the queue.
        let silent: Vec<_> = (0..40).map(|n| format!("silent-{n}")).collect();
        for name in &silent {
            world.endpoint.says(name, Reply::Silence);
            let mut spec = world.spec(name);
            // Only the first one has the usual timeout; the others wait for longer than this scenario takes.
            if *name != silent[0] {
                spec["request"] = json!({ "timeout": "1m" });
            }
            world.apply(name, spec).await;
        }
        let polled = || silent.iter().filter(|name| world.endpoint.polls(name) > 0).count();
        world.wait("the silent endpoint has its share in flight", async || (polled() >= 32).then_some(())).await;
        let other = Endpoint::start().await;
        other.says("b", Reply::model("m1"));
        let mut spec = world.spec("b");
        spec["needsSyncUrl"] = json!(other.url("b"));
        world.apply("b", spec).await;
        world.run("b", 1).await;
        let waiting = silent.last().unwrap();
        let status = world.until(waiting, InSync, Unknown, "AwaitingFirstResponse").await;
        assert_eq!(
            find(&status.conditions, Ready).unwrap().status,
            Unknown,
            "the other object overtook the silent ones"
        );
        let message = failure(world, &silent[0]).await;
        assert!(message.contains("no response began within 10s"), "{message}");
    })
    .await;
}

#[tokio::test]
async fn endpoint_that_streams_for_ever_is_cut_by_size_or_by_time_and_delays_no_other_object() {
    scenario("endless", async |world| {
        // A minute is longer than this scenario takes, so the other object cannot have waited for that timeout.
        for (name, timeout) in [("dripping", "1m"), ("cut", "1s")] {
            world.endpoint.says(name, Reply::Endless(1, Duration::from_millis(100)));
            let mut spec = world.spec(name);
            spec["request"] = json!({ "timeout": timeout });
            world.apply(name, spec).await;
        }
        world.wait("a poll", async || (world.endpoint.polls("dripping") > 0).then_some(())).await;
        world.endpoint.says("b", Reply::model("m1"));
        world.apply("b", world.spec("b")).await;
        world.run("b", 1).await;
        world.until("dripping", InSync, Unknown, "AwaitingFirstResponse").await;
        let message = failure(world, "cut").await;
        assert!(message.contains("the response was not complete within 1s"), "{message}");
        let pouring = Reply::Endless(1000, Duration::ZERO);
        assert_failing(world, &[("pouring", pouring, Value::Null, "65536 bytes")]).await;
    })
    .await;
}

#[tokio::test]
async fn endpoint_without_a_listener_is_failing() {
    scenario("unreachable", async |world| {
        let mut spec = world.spec("a");
        spec["needsSyncUrl"] = json!("http://127.0.0.1:1/");
        world.apply("a", spec).await;
        assert!(failure(world, "a").await.contains("no connection"));
    })
    .await;
}

#[tokio::test]
async fn operators_own_network_is_refused_unless_opened_by_a_flag() {
    scenario("loopback", async |world| {
        world.stop_operator().await;
        world.refuse_loopback();
        world.start_operator().await;
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let message = failure(world, "a").await;
        assert!(message.contains("127.0.0.1") && message.contains("--allow-address"), "{message}");
        assert_eq!(world.endpoint.polls("a"), 0, "the operator opened no connection");
    })
    .await;
}

#[tokio::test]
async fn failing_endpoint_leaves_an_active_run_alone() {
    scenario("failing_mid_run", async |world| {
        world.model_sync_with_reply("a", Reply::model("m1")).await;
        let run = world.run("a", 1).await;
        world.endpoint.says("a", raw(500, ""));
        world.trigger("a", "now").await;
        world.end_run(&run, "Succeeded").await;
        assert_eq!(world.until_recorded("a", 1).await.attempt, 1);
        world
            .wait("three failures", async || {
                world.clock.advance(Duration::from_secs(5));
                let status = world.status("a").await;
                find(&status.conditions, InSync)
                    .is_some_and(|in_sync| in_sync.reason.as_str() == "EndpointFailing")
                    .then_some(())
            })
            .await;
        let runs = world.runs("a").await;
        assert_eq!(
            (runs.len(), runs[0].metadata.uid == run.metadata.uid),
            (1, true),
            "the run ended, was recorded, and still exists"
        );
        assert_eq!(runs[0].metadata.labels.as_ref().unwrap()[keys::ATTEMPT], "1");
    })
    .await;
}
