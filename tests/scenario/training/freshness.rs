//! Reasons for a training: when they start one, and when they do not.

use std::time::Duration;

use kube::{
    ResourceExt,
    api::{DeleteParams, DynamicObject},
};
use modelsync::{
    api::{
        AttemptVerdict,
        ConditionStatus::{False, True, Unknown},
        ConditionType::{Accepted, Fresh, Ready, Stalled},
        ModelTrain, ModelTrainStatus, StaleReasonType, keys,
    },
    core::{status::condition::find, time::after},
};
use serde_json::{Value, json};

use crate::harness::{
    Reply, World,
    cluster::api,
    scenario,
    world::{attempt_of, parameter},
};

/// A spec with this freshness, whose runs get the reasons of their training as the parameter `why`.
fn spec(world: &World, freshness: Value) -> Value {
    let mut spec = world.train_spec();
    spec["freshness"] = freshness;
    spec["parameters"] = json!([{ "name": "why", "fromContext": "Reasons" }]);
    spec
}

/// The same, with a gate that accepts an `r2` above 0.5.
fn gated(world: &World, freshness: Value) -> Value {
    let mut spec = spec(world, freshness);
    spec["gate"] = json!({ "rules": [{ "name": "good", "expression": "metrics.r2 > 0.5" }] });
    spec
}

/// The reasons for which a run was started.
fn why(run: &DynamicObject) -> String {
    parameter(run, "why").unwrap()
}

/// An input named `data`, from the key `digest` of the ConfigMap `data`.
fn data() -> Value {
    json!([{ "name": "data", "source": { "configMapKeyRef": { "name": "data", "key": "digest" } } }])
}

fn verdict(status: &ModelTrainStatus) -> AttemptVerdict {
    status.last_attempt.as_ref().unwrap().verdict
}

/// The attempts of the existing runs.
async fn attempts(world: &World) -> Vec<i64> {
    world.runs("model").await.iter().map(attempt_of).collect()
}

#[tokio::test]
async fn version_is_fresh_until_its_age_is_reached_and_is_then_trained_again() {
    scenario("max_age", async |world| {
        world.apply_train("model", spec(world, json!({ "maxAge": "24h" }))).await;
        assert_eq!(why(&world.train_run("model", 1, "").await), "NeverAccepted");
        let status = world.train("model", 1, &[]).await;
        let old = after(status.accepted_version.as_ref().unwrap().trained_at, Duration::from_hours(24));
        assert_eq!(status.next_evaluation_at, Some(old));
        world.until_train("model", Fresh, True, "Fresh").await;
        world.clock.advance(Duration::from_hours(23));
        world.reconcile_train("model").await;
        assert_eq!(attempts(world).await, [1]);

        world.advance_past(old);
        assert_eq!(why(&world.train_run("model", 2, "").await), "MaxAge");
        let status = world.train("model", 2, &[]).await;
        let accepted = status.accepted_version.unwrap();
        assert!(accepted.trained_at >= old);
        let said = &find(&status.conditions, Accepted).unwrap().message;
        assert!(said.contains(&accepted.name), "{said}: the same reason, another version");
        world.until_train("model", Fresh, True, "Fresh").await;
        world.reconcile_train("model").await;
        assert_eq!(attempts(world).await, [1, 2]);
    })
    .await;
}

#[tokio::test]
async fn reason_of_a_rejected_training_counts_again_after_growing_waits() {
    scenario("settle", async |world| {
        let mut spec = gated(world, json!({ "maxAge": "24h" }));
        spec["settle"] = json!({ "initial": "2h", "max": "3h" });
        world.apply_train("model", spec).await;
        for (attempt, hours) in [(1, 2), (2, 3), (3, 3)] {
            let status = world.train("model", attempt, &[("r2", "0.1")]).await;
            assert_eq!(verdict(&status), AttemptVerdict::Rejected);
            let ended = status.last_attempt.unwrap().ended_at;
            let status = world.until_train("model", Fresh, False, "NothingAccepted").await;
            let [answered] = status.answered_reasons.as_slice() else { panic!("{status:?}") };
            assert_eq!((answered.reason.type_, answered.count), (StaleReasonType::NeverAccepted, attempt));
            assert_eq!(answered.until, Some(after(ended, Duration::from_hours(hours))));
            world.reconcile_train("model").await;
            assert_eq!(attempts(world).await.len(), usize::try_from(attempt).unwrap());
            world.advance_past(answered.until.unwrap());
        }
        let status = world.train("model", 4, &[("r2", "0.9")]).await;
        assert_eq!(status.answered_reasons, [], "an accepted version clears the answered reasons");
    })
    .await;
}

#[tokio::test]
async fn changed_input_is_seen_at_once_and_an_answered_value_is_not_trained_twice() {
    scenario("input", async |world| {
        world.config_map("data", "digest", "one").await;
        let mut spec = gated(world, json!({ "inputs": data() }));
        (spec["interval"], spec["settle"]) = (json!("1h"), json!({ "initial": "8760h", "max": "8760h" }));
        world.apply_train("model", spec).await;
        world.train("model", 1, &[("r2", "0.9")]).await;
        // The clock does not advance: a watched value needs no poll.
        world.config_map("data", "digest", "two").await;
        assert_eq!(why(&world.train_run("model", 2, "").await), "Input:data");
        assert_eq!(verdict(&world.train("model", 2, &[("r2", "0.1")]).await), AttemptVerdict::Rejected);
        world.until_train("model", Fresh, False, "NoBetterCandidate").await;

        world.config_map("data", "digest", "one").await;
        world.until_train("model", Fresh, True, "Fresh").await;
        world.config_map("data", "digest", "two").await;
        let status = world.until_train("model", Fresh, False, "NoBetterCandidate").await;
        assert_eq!((status.attempt, status.stale_reasons[0].name.as_str()), (2, "data"));
        world.config_map("data", "digest", "three").await;
        world.train("model", 3, &[("r2", "0.1")]).await;
        // Another value has been trained in the meantime.
        world.config_map("data", "digest", "two").await;
        world.train("model", 4, &[("r2", "0.9")]).await;
        world.until_train("model", Fresh, True, "Fresh").await;
        let read: Vec<_> = world.versions("model").await.iter().map(|v| v.spec.inputs[0].value.clone()).collect();
        assert_eq!(read, ["one", "two", "three", "two"]);
    })
    .await;
}

#[tokio::test]
async fn input_that_is_only_recorded_starts_nothing() {
    scenario("recorded_input", async |world| {
        for (name, value) in [("data", "one"), ("image", "1.0")] {
            world.config_map(name, "digest", value).await;
        }
        let image = json!({
            "name": "image", "source": { "configMapKeyRef": { "name": "image", "key": "digest" } },
            "staleOnChange": false,
        });
        let mut inputs = data();
        inputs.as_array_mut().unwrap().push(image);
        let freshness = json!({ "inputs": inputs, "needsTrainUrl": world.endpoint.url("model") });
        world.apply_train("model", spec(world, freshness)).await;
        world.train("model", 1, &[]).await;
        world.config_map("image", "digest", "2.0").await;
        world.settle_train("model", "model").await;
        world.until_train("model", Fresh, True, "Fresh").await;
        assert_eq!(attempts(world).await, [1]);
        world.config_map("data", "digest", "two").await;
        world.train("model", 2, &[]).await;
        let last = world.versions("model").await.pop().unwrap().spec;
        let read: Vec<_> = last.inputs.iter().map(|input| (input.name.as_str(), input.value.as_str())).collect();
        assert_eq!(read, [("data", "two"), ("image", "2.0")]);
        assert_eq!(last.reasons.len(), 1, "{:?}", last.reasons);
    })
    .await;
}

#[tokio::test]
async fn data_that_changes_during_a_training_is_trained_on_after_it_not_instead() {
    scenario("changed_meanwhile", async |world| {
        world.config_map("data", "digest", "one").await;
        let freshness = json!({ "inputs": data(), "needsTrainUrl": world.endpoint.url("model") });
        let mut spec = spec(world, freshness);
        spec["parameters"].as_array_mut().unwrap().push(json!({ "name": "data", "fromInput": "data" }));
        world.apply_train("model", spec).await;
        let first = world.train_run("model", 1, "").await;
        world.config_map("data", "digest", "two").await;
        world.reconcile_train("model").await;
        let same = world.train_run("model", 1, "").await;
        assert_eq!((same.uid(), same.data["spec"].get("status")), (first.uid(), None), "the run continues");
        assert_eq!(attempts(world).await, [1]);
        world.end_with(&first, "Succeeded", &[]).await;
        let second = world.train_run("model", 2, "").await;
        assert_eq!((why(&second).as_str(), parameter(&second, "data").as_deref()), ("Input:data", Some("two")));
        world.end_with(&second, "Succeeded", &[]).await;
        world.until_trained("model", 2).await;
        let versions = world.versions("model").await;
        let read: Vec<_> = versions.iter().map(|version| version.spec.inputs[0].value.as_str()).collect();
        assert_eq!(read, ["one", "two"], "the record has the reserved value");
        world.settle_train("model", "model").await;
        assert_eq!(attempts(world).await, [1, 2]);
    })
    .await;
}

#[tokio::test]
async fn nothing_is_trained_while_an_input_is_absent_or_cannot_be_read() {
    scenario("input_missing", async |world| {
        let remote = json!({ "name": "remote", "source": world.measured("remote") });
        let mut inputs = data();
        inputs.as_array_mut().unwrap().push(remote);
        world.endpoint.says("remote", Reply::Raw(500, String::new()));
        world.apply_train("model", spec(world, json!({ "maxAge": "24h", "inputs": inputs }))).await;
        let message = async |part: &str| {
            world
                .until_train_status("model", part, |status| {
                    find(&status.conditions, Fresh)
                        .is_some_and(|fresh| fresh.reason.as_str() == "InputMissing" && fresh.message.contains(part))
                })
                .await
        };
        message("\"data\" has no value").await;
        world.config_map("data", "digest", "one").await;
        world.until_train("model", Fresh, Unknown, "SourceFailing").await;
        world.settle_train("model", "remote").await;
        assert_eq!(world.train_status("model").await.attempt, 0);
        world.measures("remote", "\"a\"");
        world.clock.advance(Duration::from_secs(5));
        world.train("model", 1, &[]).await;

        // The record of a training for age would lack the value of its input, so none is started.
        let maps = api(&world.client, "v1", "ConfigMap", Some(&world.namespace));
        maps.delete("data", &DeleteParams::default()).await.unwrap();
        world.clock.advance(Duration::from_hours(25));
        message("\"data\" has no value").await;
        world.settle_train("model", "remote").await;
        assert_eq!(attempts(world).await, [1]);
        world.config_map("data", "digest", "one").await;
        assert_eq!(why(&world.train_run("model", 2, "").await), "MaxAge");
    })
    .await;
}

#[tokio::test]
async fn low_live_metric_trains_again_only_after_settle_or_once_it_had_recovered() {
    scenario("metric", async |world| {
        world.measures("clicks", "0.9");
        let metric = json!({ "name": "clicks", "source": world.measured("clicks"), "rule": "value < 0.12" });
        world.apply_train("model", spec(world, json!({ "metrics": [metric] }))).await;
        world.train("model", 1, &[]).await;
        world.until_train("model", Fresh, True, "Fresh").await;
        world.settle_train("model", "clicks").await;
        assert_eq!(attempts(world).await, [1]);

        world.measures("clicks", "0.05");
        world.clock.advance(Duration::from_secs(5));
        assert_eq!(why(&world.train_run("model", 2, "").await), "Metric:clicks");
        world.train("model", 2, &[]).await;
        let status = world.until_train("model", Fresh, False, "NoBetterCandidate").await;
        world.settle_train("model", "clicks").await;
        assert_eq!(attempts(world).await, [1, 2], "the new version has not had time to take effect");
        world.advance_past(status.answered_reasons[0].until.unwrap());
        assert_eq!(why(&world.train_run("model", 3, "").await), "Metric:clicks");
        world.train("model", 3, &[]).await;

        world.measures("clicks", "0.9");
        world.clock.advance(Duration::from_secs(5));
        let status = world.until_train("model", Fresh, True, "Fresh").await;
        assert_eq!((status.answered_reasons, status.breaching_metrics), (vec![], vec![]));
        world.measures("clicks", "0.1");
        world.clock.advance(Duration::from_secs(5));
        world.train_run("model", 4, "").await;
    })
    .await;
}

#[tokio::test]
async fn metric_must_stay_low_for_its_time_which_outlives_a_restart_and_an_unknown_value() {
    scenario("metric_for", async |world| {
        world.measures("auc", "0.9");
        let metric = json!({ "name": "auc", "source": world.measured("auc"), "rule": "value < 0.7", "for": "30m" });
        world.apply_train("model", spec(world, json!({ "metrics": [metric] }))).await;
        world.train("model", 1, &[]).await;
        world.measures("auc", "0.6");
        world.clock.advance(Duration::from_secs(5));
        let falling = |status: &ModelTrainStatus| !status.breaching_metrics.is_empty();
        let status = world.until_train_status("model", "it falls", falling).await;
        let since = status.breaching_metrics[0].since;
        let fresh = find(&status.conditions, Fresh).unwrap();
        assert_eq!((fresh.status, status.next_evaluation_at), (True, Some(after(since, Duration::from_mins(30)))));

        world.stop_operator().await;
        world.clock.advance(Duration::from_mins(20));
        world.start_operator().await;
        world.settle_train("model", "auc").await;
        // A failed scrape neither confirms nor clears the breach.
        world.endpoint.says("auc", Reply::Raw(200, "{\"value\":\"n/a\"}".into()));
        world.settle_train("model", "auc").await;
        world.endpoint.says("auc", Reply::Raw(404, String::new()));
        world.clock.advance(Duration::from_mins(20));
        world.settle_train("model", "auc").await;
        let status = world.train_status("model").await;
        assert_eq!((status.breaching_metrics[0].since, status.attempt), (since, 1), "an absent value is not low");
        world.measures("auc", "0.65");
        world.clock.advance(Duration::from_secs(5));
        assert_eq!(why(&world.train_run("model", 2, "").await), "Metric:auc");
    })
    .await;
}

#[tokio::test]
async fn metric_that_recovers_restarts_its_time() {
    scenario("metric_anew", async |world| {
        world.config_map("live", "auc", "0.9").await;
        let source = json!({ "configMapKeyRef": { "name": "live", "key": "auc" } });
        let metric = json!({ "name": "auc", "source": source, "rule": "value < 0.7", "for": "30m" });
        let mut spec = spec(world, json!({ "metrics": [metric] }));
        spec["interval"] = json!("24h");
        world.apply_train("model", spec).await;
        world.train("model", 1, &[]).await;
        let falling = |count: usize| move |status: &ModelTrainStatus| status.breaching_metrics.len() == count;
        world.config_map("live", "auc", "0.6").await;
        world.until_train_status("model", "it falls", falling(1)).await;
        world.clock.advance(Duration::from_mins(29));
        world.config_map("live", "auc", "0.8").await;
        world.until_train_status("model", "it has recovered", falling(0)).await;
        world.config_map("live", "auc", "0.6").await;
        let status = world.until_train_status("model", "it falls again", falling(1)).await;
        world.clock.advance(Duration::from_mins(29));
        world.reconcile_train("model").await;
        assert_eq!(attempts(world).await, [1]);
        world.advance_past(after(status.breaching_metrics[0].since, Duration::from_mins(30)));
        assert_eq!(why(&world.train_run("model", 2, "").await), "Metric:auc");
    })
    .await;
}

#[tokio::test]
async fn endpoint_starts_trainings_and_an_unusable_response_starts_none() {
    scenario("endpoint", async |world| {
        world.endpoint.says("drift", Reply::Raw(200, "{\"needsSync\":\"yes\"}".into()));
        let mut spec = spec(world, json!({ "needsTrainUrl": world.endpoint.url("drift") }));
        spec["parameters"].as_array_mut().unwrap().push(json!({ "name": "drift", "fromResponse": "drift" }));
        world.apply_train("model", spec).await;
        world.until_train("model", Ready, False, "EndpointFailing").await;
        world.settle_train("model", "drift").await;
        assert_eq!(attempts(world).await, [0; 0]);
        world.endpoint.says("drift", Reply::NotNeeded);
        world.clock.advance(Duration::from_secs(5));
        world.until_train("model", Fresh, Unknown, "NotDue").await;

        let needed = |value: &str| Reply::Needed(vec![("drift".into(), value.into())]);
        world.endpoint.says("drift", needed("0.4"));
        world.clock.advance(Duration::from_secs(5));
        let run = world.train_run("model", 1, "").await;
        assert_eq!((why(&run).as_str(), parameter(&run, "drift").as_deref()), ("Endpoint", Some("0.4")));
        world.train("model", 1, &[]).await;
        // The endpoint still needs a training: that reason is answered until `settle` is over.
        world.until_train("model", Fresh, False, "NoBetterCandidate").await;
        world.settle_train("model", "drift").await;
        assert_eq!(attempts(world).await, [1]);
        world.endpoint.says("drift", Reply::NotNeeded);
        world.clock.advance(Duration::from_secs(5));
        world.until_train("model", Fresh, True, "Fresh").await;
        world.endpoint.says("drift", needed("0.7"));
        world.clock.advance(Duration::from_secs(5));
        world.train_run("model", 2, "").await;
    })
    .await;
}

#[tokio::test]
async fn each_value_of_the_trigger_trains_once() {
    scenario("trigger_once", async |world| {
        world.apply_train("model", spec(world, json!({ "needsTrainUrl": world.endpoint.url("model") }))).await;
        world.trigger_train("model", "a").await;
        assert_eq!(why(&world.train_run("model", 1, "").await), "Trigger");
        world.train("model", 1, &[]).await;
        world.annotate_train("model", keys::TRIGGER, None).await;
        world.settle_train("model", "model").await;
        world.trigger_train("model", "a").await;
        world.restart_operator().await;
        world.settle_train("model", "model").await;
        assert_eq!(attempts(world).await, [1]);
        world.trigger_train("model", "b").await;
        world.train_run("model", 2, "").await;
        // A trigger during an active training starts the next one.
        let mut revisions = world.train_revisions("model").await;
        world.trigger_train("model", "c").await;
        world.train("model", 2, &[]).await;
        world.train("model", 3, &[]).await;
        for (attempt, value) in [(2, "b"), (3, "c")] {
            let ends = |train: &ModelTrain| {
                let last = train.status.as_ref().and_then(|status| status.last_attempt.as_ref());
                last.is_some_and(|last| last.attempt == attempt)
            };
            let status = revisions.next(&format!("the end of training {attempt}"), ends).await.status.unwrap();
            assert_eq!((status.last_handled_trigger.as_deref(), status.reservation), (Some(value), None));
        }
    })
    .await;
}

#[tokio::test]
async fn one_training_answers_every_current_reason() {
    scenario("all_reasons", async |world| {
        world.config_map("data", "digest", "one").await;
        world.measures("auc", "0.9");
        let (cron, firing) = world.hourly();
        let freshness = json!({
            "maxAge": "20m", "schedule": { "cron": cron }, "inputs": data(),
            "metrics": [{ "name": "auc", "source": world.measured("auc"), "rule": "value < 0.7" }],
            "needsTrainUrl": world.endpoint.url("drift"),
        });
        let mut spec = spec(world, freshness);
        spec["settle"] = json!({ "initial": "24h" });
        world.apply_train("model", spec).await;
        assert_eq!(why(&world.train_run("model", 1, "").await), "NeverAccepted");
        world.train("model", 1, &[]).await;
        world.until_train("model", Fresh, True, "Fresh").await;

        world.stop_operator().await;
        world.advance_past(firing);
        world.config_map("data", "digest", "two").await;
        world.measures("auc", "0.6");
        world.endpoint.says("drift", Reply::Needed(vec![]));
        world.trigger_train("model", "now").await;
        world.start_operator().await;
        let run = world.train_run("model", 2, "").await;
        assert_eq!(why(&run), "MaxAge,Schedule,Input:data,Metric:auc,Endpoint,Trigger");
        world.train("model", 2, &[]).await;
        world.until_train("model", Fresh, False, "NoBetterCandidate").await;
        world.settle_train("model", "drift").await;
        assert_eq!(attempts(world).await, [1, 2]);
        let version = world.versions("model").await.pop().unwrap().spec;
        assert_eq!(version.reasons[1].value, firing.to_string());
        assert_eq!(version.reasons[5].value, "now");
        let status = world.train_status("model").await;
        assert_eq!(status.last_attempt.unwrap().reasons, version.reasons);
        // The accepted version is young and has the newest data; the live metric and the endpoint have not changed yet.
        let left: Vec<_> = status.stale_reasons.iter().map(|reason| reason.type_).collect();
        assert_eq!(left, [StaleReasonType::Metric, StaleReasonType::Endpoint]);
    })
    .await;
}

#[tokio::test]
async fn last_of_several_missed_schedule_times_is_made_up_for_once() {
    scenario("catch_up", async |world| {
        let (cron, firing) = world.hourly();
        let freshness = json!({ "schedule": { "cron": cron }, "needsTrainUrl": world.endpoint.url("model") });
        world.apply_train("model", spec(world, freshness)).await;
        world.until_train("model", Fresh, Unknown, "NotDue").await;
        world.settle_train("model", "model").await;
        assert_eq!(attempts(world).await, [0; 0], "a schedule alone waits for its first time");

        world.stop_operator().await;
        let last = after(firing, Duration::from_hours(3));
        world.advance_past(last);
        world.start_operator().await;
        assert_eq!(why(&world.train_run("model", 1, "").await), "Schedule");
        let status = world.train("model", 1, &[]).await;
        assert_eq!(status.last_attempt.unwrap().reasons[0].value, last.to_string());
        assert_eq!(status.schedule.unwrap().last_handled_time, Some(last));
        world.settle_train("model", "model").await;
        world.restart_operator().await;
        world.settle_train("model", "model").await;
        assert_eq!(attempts(world).await, [1]);

        // One time while the operator runs, and one during a training, which is handled after it.
        world.advance_past(after(last, Duration::from_hours(1)));
        let run = world.train_run("model", 2, "").await;
        world.advance_past(after(last, Duration::from_hours(2)));
        world.reconcile_train("model").await;
        assert_eq!(attempts(world).await, [1, 2]);
        world.end_with(&run, "Succeeded", &[]).await;
        let status = world.train("model", 3, &[]).await;
        let handled = after(last, Duration::from_hours(2));
        assert_eq!(status.last_attempt.unwrap().reasons[0].value, handled.to_string());
    })
    .await;
}

#[tokio::test]
async fn schedule_time_older_than_its_starting_deadline_is_skipped() {
    scenario("deadline", async |world| {
        let (cron, firing) = world.hourly();
        let freshness = json!({
            "schedule": { "cron": cron, "startingDeadline": "10m" }, "needsTrainUrl": world.endpoint.url("model"),
        });
        world.apply_train("model", spec(world, freshness)).await;
        world.until_train("model", Fresh, Unknown, "NotDue").await;
        world.stop_operator().await;
        let last = after(firing, Duration::from_hours(3));
        world.advance_past(after(last, Duration::from_mins(20)));
        world.start_operator().await;
        world
            .until_train_status("model", "the missed time is handled", |status| {
                status.schedule.as_ref().is_some_and(|schedule| schedule.last_handled_time == Some(last))
            })
            .await;
        world.settle_train("model", "model").await;
        assert_eq!(attempts(world).await, [0; 0]);

        // Missed by less than the deadline.
        world.stop_operator().await;
        let next = after(last, Duration::from_hours(1));
        world.advance_past(after(next, Duration::from_mins(9)));
        world.start_operator().await;
        let status = world.train("model", 1, &[]).await;
        assert_eq!(status.last_attempt.unwrap().reasons[0].value, next.to_string());
    })
    .await;
}

#[tokio::test]
async fn unusable_schedule_stalls_the_object_and_names_the_field() {
    scenario("bad_schedule", async |world| {
        let at = "spec.freshness.schedule";
        let cases = [
            (json!({ "cron": "61 * * * *" }), format!("{at}.cron ")),
            (json!({ "cron": "0 0 3 * * 1" }), format!("{at}.cron has 6 fields")),
            (json!({ "cron": "0 3 30 2 *" }), format!("{at}.cron never fires")),
            (json!({ "cron": "0 3 * * *", "timeZone": "Mars/Olympus" }), format!("{at}.timeZone \"Mars/Olympus\"")),
        ];
        for (schedule, message) in cases {
            let mut spec = world.train_spec();
            spec["freshness"] = json!({ "schedule": schedule });
            world.apply_train("model", spec).await;
            let status = world.until_train_status("model", &message, |status| {
                find(&status.conditions, Stalled).is_some_and(|stalled| {
                    (stalled.status, stalled.reason.as_str()) == (True, "InvalidSpec")
                        && stalled.message.contains(&message)
                })
            });
            let status = status.await;
            assert_eq!(find(&status.conditions, Ready).unwrap().status, False);
        }
        world.apply_train("model", spec(world, json!({ "schedule": { "cron": "0 3 * * *" } }))).await;
        let status = world.until_train("model", Ready, True, "Operational").await;
        assert!(find(&status.conditions, Stalled).is_none() && status.next_evaluation_at.is_some(), "{status:?}");
    })
    .await;
}
