//! Each reason in turn: when it is current, when a training answers it, when it rearms. No IO.

use serde_json::{Value, json};

use super::{reasons::*, trial::*, *};
use crate::api::{
    AttemptVerdict::{self, Accepted, AwaitingApproval, Cancelled, Failed, HeldBack, NotImproved, Rejected},
    ModelTrainStatus, StaleReasonType,
};

fn data() -> Value {
    json!({ "inputs": [{ "name": "data", "source": { "literal": "x" } }] })
}

fn metric(holds_for: &str) -> Value {
    json!({ "metrics": [{ "name": "r2", "source": { "literal": "1" }, "rule": "value < 0.8", "for": holds_for }] })
}

fn endpoint() -> Value {
    json!({ "needsTrainUrl": "http://needs.example/train" })
}

fn daily() -> Value {
    json!({ "schedule": { "cron": "0 3 * * *" } })
}

#[test]
fn missing_accepted_version_is_a_reason_only_if_the_spec_measures_versions() {
    let input =
        |counts: bool| json!({ "inputs": [{ "name": "data", "source": { "literal": "x" }, "staleOnChange": counts }] });
    for (spec, actionable) in [
        (json!({ "maxAge": "24h" }), "NeverAccepted"),
        (metric("0s"), "NeverAccepted"),
        (input(true), "NeverAccepted"),
        (input(false), ""),
        (daily(), ""),
        (endpoint(), ""),
        (json!({}), ""),
    ] {
        assert_eq!(Trial::new(spec.clone(), "01T00:00").see("data", "A").actionable(), actionable, "{spec}");
    }
}

#[test]
fn first_training_that_is_rejected_is_tried_again_after_settle_which_doubles() {
    let mut trial = Trial::new(json!({ "maxAge": "24h" }), "01T00:00");
    trial.reserve();
    trial.at("01T01:00").end(Rejected);
    assert_eq!(
        (trial.actionable(), trial.current(), trial.next()),
        (String::new(), "NeverAccepted".into(), "2026-06-01T02:00:00Z".into())
    );
    assert_eq!(trial.at("01T02:00").actionable(), "NeverAccepted");
    trial.reserve();
    trial.at("01T03:00").end(Rejected);
    assert_eq!(trial.at("01T04:59").actionable(), "");
    assert_eq!(trial.at("01T05:00").actionable(), "NeverAccepted");
}

#[test]
fn age_is_reached_to_the_second_and_an_acceptance_makes_it_false() {
    let mut trial = Trial::accepted(json!({ "maxAge": "24h" }), "01T00:00");
    assert_eq!((trial.actionable(), trial.next()), (String::new(), "2026-06-02T00:00:00Z".into()));
    assert_eq!(trial.at("2026-06-01T23:59:59.999Z").actionable(), "");
    assert_eq!(trial.at("02T00:00").actionable(), "MaxAge");
    trial.reserve();
    trial.at("02T01:00").end(Rejected);
    assert_eq!((trial.actionable(), trial.current()), (String::new(), "MaxAge".into()));
    assert_eq!(trial.at("02T02:00").actionable(), "MaxAge");
    trial.reserve();
    trial.at("02T03:00").end(Accepted);
    assert_eq!((trial.current(), trial.next()), (String::new(), "2026-06-03T03:00:00Z".into()));
    assert!(trial.status.answered_reasons.is_empty());
}

#[test]
fn settle_starts_anew_once_the_reason_was_false() {
    let mut trial = Trial::accepted(endpoint(), "01T00:00");
    trial.endpoint = Some(true);
    for (from, to) in [("01T01:00", "01T02:00"), ("01T03:00", "01T04:00")] {
        trial.at(from).reserve();
        trial.at(to).end(NotImproved);
    }
    assert_eq!(trial.status.answered_reasons[0].count, 2);
    trial.endpoint = Some(false);
    assert_eq!(trial.at("01T04:10").current(), "");
    trial.endpoint = Some(true);
    assert_eq!(trial.at("01T04:20").actionable(), "Endpoint", "it was false in between");
    trial.reserve();
    trial.at("01T05:00").end(NotImproved);
    assert_eq!(trial.next(), "2026-06-01T06:00:00Z");
}

#[test]
fn failed_training_leaves_its_reasons_actionable_and_other_trainings_with_runs_answer_them() {
    for (verdict, actionable) in [
        (Rejected, ""),
        (NotImproved, ""),
        (AwaitingApproval, ""),
        (HeldBack, ""),
        (Cancelled, ""),
        (AttemptVerdict::Unrecognised, ""),
        (Failed, "Schedule=2026-06-01T03:00:00Z Input:data=B Metric:r2 Endpoint Trigger=now"),
    ] {
        let mut spec = data();
        for part in [metric("0s"), endpoint(), daily()] {
            spec.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        }
        let mut trial = Trial::accepted(spec, "01T00:00");
        trial.see("data", "B").measure("r2", Some(true));
        trial.endpoint = Some(true);
        trial.annotation = Some("now".to_owned());
        trial.at("01T03:00").reserve();
        let all = "Schedule=2026-06-01T03:00:00Z Input:data=B Metric:r2 Endpoint Trigger=now";
        assert_eq!(trial.current(), all, "while the training is active");
        trial.at("01T03:10").end(verdict);
        assert_eq!((trial.actionable().as_str(), trial.current().as_str()), (actionable, all), "{verdict:?}");
    }
}

#[test]
fn changed_input_starts_one_training_and_the_next_change_another() {
    let mut trial = Trial::accepted(data(), "01T00:00");
    assert_eq!(trial.actionable(), "");
    assert_eq!(trial.see("data", "B").actionable(), "Input:data=B");
    trial.reserve();
    trial.at("01T01:00").end(Rejected);
    assert_eq!(
        (trial.actionable(), trial.current(), trial.next()),
        (String::new(), "Input:data=B".into(), String::new())
    );
    assert_eq!(trial.see("data", "C").actionable(), "Input:data=C");
}

#[test]
fn data_that_changes_during_a_training_starts_another_after_it() {
    for verdict in [Accepted, Rejected] {
        let mut trial = Trial::accepted(data(), "01T00:00");
        trial.see("data", "B").reserve();
        trial.see("data", "C").at("01T01:00").end(verdict);
        assert_eq!(trial.actionable(), "Input:data=C", "{verdict:?}");
    }
}

#[test]
fn input_that_flaps_between_the_accepted_and_a_rejected_value_is_not_tried_again() {
    let mut trial = Trial::accepted(data(), "01T00:00");
    trial.see("data", "B").reserve();
    trial.at("01T01:00").end(Rejected);
    for _ in 0..3 {
        assert_eq!(trial.see("data", "A").current(), "");
        assert!(trial.status.answered_reasons.is_empty(), "the evaluation that finds the reason false drops its entry");
        assert_eq!((trial.see("data", "B").actionable(), trial.current()), (String::new(), "Input:data=B".into()));
    }
}

#[test]
fn rejected_value_is_tried_again_once_another_was_tried_in_between() {
    let mut trial = Trial::accepted(data(), "01T00:00");
    for digest in ["B", "C"] {
        trial.see("data", digest).reserve();
        trial.end(Rejected);
    }
    assert_eq!(trial.see("data", "B").actionable(), "Input:data=B");
}

#[test]
fn rejected_value_stays_answered_when_a_later_training_fails_on_it() {
    let mut spec = data();
    spec["schedule"] = daily()["schedule"].clone();
    let mut trial = Trial::accepted(spec, "01T00:00");
    trial.see("data", "B").reserve();
    trial.at("01T01:00").end(Rejected);
    trial.at("01T03:00").reserve();
    trial.at("01T03:10").end(Failed);
    assert_eq!(trial.actionable(), "Schedule=2026-06-01T03:00:00Z", "the data was answered, the time was not");
    trial.see("data", "A").evaluate_and_store();
    assert_eq!(trial.see("data", "B").actionable(), "Schedule=2026-06-01T03:00:00Z");
}

#[test]
fn before_any_acceptance_new_data_is_tried_without_a_wait() {
    let mut trial = Trial::new(data(), "01T00:00");
    trial.see("data", "A").reserve();
    trial.at("01T00:10").end(Rejected);
    assert_eq!((trial.actionable(), trial.current()), (String::new(), "NeverAccepted".into()));
    assert_eq!(trial.see("data", "B").actionable(), "Input:data=B");
    trial.reserve();
    trial.at("01T00:20").end(Rejected);
    assert_eq!((trial.actionable(), trial.current()), (String::new(), "NeverAccepted".into()));
}

#[test]
fn before_any_acceptance_new_data_whose_training_fails_is_tried_again() {
    let mut trial = Trial::new(data(), "01T00:00");
    trial.see("data", "A").reserve();
    trial.end(Rejected);
    trial.see("data", "B").reserve();
    trial.end(Failed);
    assert_eq!(trial.actionable(), "Input:data=B");
}

#[test]
fn input_added_later_differs_from_the_inputs_of_the_accepted_version() {
    let mut trial = Trial::accepted(data(), "01T00:00");
    let code = json!({ "inputs": [
        { "name": "data", "source": { "literal": "x" } },
        { "name": "code", "source": { "literal": "y" } },
        { "name": "notes", "source": { "literal": "z" }, "staleOnChange": false },
    ] });
    assert_eq!(trial.edit(code).see("code", "1").see("notes", "2").actionable(), "Input:code=1");
}

#[test]
fn input_without_a_value_is_named_and_starts_no_training() {
    let mut trial = Trial::accepted(data(), "01T00:00");
    trial.see("data", "B").evaluate_and_store();
    let unknown = trial.lose("data", ObservedInput::Unknown).evaluate_and_store();
    assert_eq!((words(&unknown.current), words(&unknown.actionable)), ("Input:data=B".into(), String::new()));
    assert_eq!(
        (unknown.known, unknown.missing_inputs),
        (false, vec![MissingInput { name: "data".into(), counts: true, absent: false }])
    );
    let absent = trial.lose("data", ObservedInput::Absent).evaluate_and_store();
    assert!(absent.current.is_empty() && absent.known, "the input is known to have no value");
    assert_eq!(absent.missing_inputs, [MissingInput { name: "data".into(), counts: true, absent: true }]);
}

#[test]
fn rejected_value_that_was_unavailable_for_a_while_is_not_tried_again() {
    for away in [ObservedInput::Unknown, ObservedInput::Absent] {
        let mut trial = Trial::accepted(data(), "01T00:00");
        trial.see("data", "B").reserve();
        trial.end(Rejected);
        trial.lose("data", away).evaluate_and_store();
        assert_eq!(trial.see("data", "B").actionable(), "");
    }
}

#[test]
fn metric_is_a_reason_once_its_rule_has_held_for_long_enough() {
    let mut trial = Trial::accepted(metric("10m"), "01T00:00");
    assert_eq!(
        (trial.measure("r2", Some(true)).actionable(), trial.next()),
        (String::new(), "2026-06-01T00:10:00Z".into())
    );
    assert_eq!(trial.at("01T00:09").measure("r2", Some(false)).next(), "");
    assert!(trial.status.breaching_metrics.is_empty());
    trial.at("01T01:00").measure("r2", Some(true)).evaluate_and_store();
    assert_eq!(trial.at("01T01:09").actionable(), "");
    assert_eq!(trial.at("01T01:10").actionable(), "Metric:r2");
}

#[test]
fn unknown_metric_adds_no_reason_and_does_not_restart_its_time() {
    let mut trial = Trial::accepted(metric("10m"), "01T00:00");
    trial.measure("r2", Some(true)).evaluate_and_store();
    let unknown = trial.at("01T00:20").measure("r2", None).evaluate_and_store();
    assert_eq!((words(&unknown.current), unknown.known, unknown.next), (String::new(), false, None));
    assert_eq!(trial.measure("r2", Some(true)).actionable(), "Metric:r2", "it has held for twenty minutes");
    let unknown = trial.measure("r2", None).evaluate_and_store();
    assert_eq!((words(&unknown.current), words(&unknown.actionable)), ("Metric:r2".into(), String::new()));
}

#[test]
fn metric_does_not_count_until_the_accepted_version_is_served() {
    let mut trial = Trial::accepted(metric("0s"), "01T00:00");
    trial.measure("r2", Some(true));
    trial.awaits_serving = true;
    assert_eq!(trial.current(), "");
    trial.awaits_serving = false;
    assert_eq!(trial.actionable(), "Metric:r2");
}

#[test]
fn metric_that_is_still_low_after_an_accepted_and_served_version_waits_for_settle() {
    let mut trial = Trial::accepted(metric("10m"), "01T00:00");
    trial.measure("r2", Some(true)).evaluate_and_store();
    trial.at("01T00:10").reserve();
    trial.at("01T00:20").end(Accepted);
    trial.awaits_serving = true;
    trial.at("01T00:30").evaluate_and_store();
    assert!(trial.status.breaching_metrics.is_empty(), "those were values of the earlier version");
    trial.awaits_serving = false;
    trial.at("01T00:40").evaluate_and_store();
    assert_eq!(trial.at("01T00:50").actionable(), "", "the reason was never false");
    assert_eq!(trial.at("01T01:20").actionable(), "Metric:r2");
}

#[test]
fn endpoint_without_a_response_changes_no_reason_and_starts_no_training() {
    let mut trial = Trial::accepted(endpoint(), "01T00:00");
    trial.endpoint = Some(true);
    assert_eq!(trial.actionable(), "Endpoint");
    trial.endpoint = None;
    let unknown = trial.evaluate_and_store();
    assert_eq!(
        (words(&unknown.current), words(&unknown.actionable), unknown.known),
        ("Endpoint".into(), String::new(), false)
    );
    trial.endpoint = Some(false);
    assert_eq!(trial.current(), "");
    trial.endpoint = None;
    assert_eq!(trial.current(), "");
}

#[test]
fn each_trigger_value_starts_one_training() {
    let mut trial = Trial::new(json!({}), "01T00:00");
    trial.annotation = Some("one".to_owned());
    assert_eq!(trial.actionable(), "Trigger=one");
    trial.reserve();
    assert_eq!((trial.actionable(), trial.current()), (String::new(), "Trigger=one".into()), "its training is active");
    trial.end(Rejected);
    assert_eq!((trial.actionable(), trial.current()), (String::new(), "Trigger=one".into()));
    trial.annotation = Some("two".to_owned());
    assert_eq!(trial.actionable(), "Trigger=two");
    trial.reserve();
    trial.end(Accepted);
    assert_eq!(trial.current(), "");
    trial.annotation = Some("three".to_owned());
    trial.reserve();
    trial.end(Rejected);
    assert_eq!(trial.current(), "Trigger=three", "a version accepted in the same second does not answer it");
}

#[test]
fn trigger_longer_than_a_reason_may_be_is_cut_between_characters() {
    let mut trial = Trial::new(json!({}), "01T00:00");
    trial.annotation = Some("ä".repeat(500));
    assert_eq!(trial.evaluate_and_store().actionable[0].value, "ä".repeat(128));
    trial.reserve();
    trial.end(Rejected);
    trial.annotation = Some("ä".repeat(499));
    assert_eq!(trial.evaluate_and_store().actionable.len(), 1, "another value, though it looks the same when cut");
}

#[test]
fn approval_after_the_end_makes_answered_schedule_and_trigger_false() {
    let mut spec = daily();
    spec["maxAge"] = json!("48h");
    let mut trial = Trial::accepted(spec, "01T00:00");
    trial.annotation = Some("one".to_owned());
    trial.at("01T03:00").reserve();
    trial.at("01T04:00").end(AwaitingApproval);
    assert_eq!(trial.current(), "Schedule=2026-06-01T03:00:00Z Trigger=one");
    trial.at("01T09:00").accept(Vec::new());
    assert_eq!(trial.current(), "");
    assert!(trial.status.answered_reasons.is_empty());
}

#[test]
fn reason_that_waits_is_answered_again_by_a_training_for_another() {
    let mut spec = data();
    spec["maxAge"] = json!("1h");
    let mut trial = Trial::accepted(spec, "01T00:00");
    trial.at("01T01:00").reserve();
    trial.at("01T01:10").end(Rejected);
    trial.at("01T01:20").see("data", "B");
    assert_eq!(trial.actionable(), "Input:data=B");
    trial.reserve();
    trial.at("01T02:20").end(Rejected);
    assert_eq!((trial.actionable(), trial.next()), (String::new(), "2026-06-01T04:20:00Z".into()));
}

#[test]
fn reason_that_is_no_longer_in_the_spec_leaves_nothing_behind() {
    let mut spec = metric("10m");
    for part in [endpoint(), daily(), data()] {
        spec.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
    }
    let mut trial = Trial::accepted(spec, "01T00:00");
    trial.see("data", "B").measure("r2", Some(true));
    trial.endpoint = Some(true);
    trial.evaluate_and_store();
    trial.at("01T03:00").reserve();
    trial.end(Rejected);
    trial.edit(json!({})).evaluate_and_store();
    assert_eq!(trial.status.answered_reasons, []);
    assert_eq!(trial.status.breaching_metrics, []);
    assert_eq!((trial.status.schedule, trial.status.stale_since), (None, None));
}

#[test]
fn schedule_of_a_new_object_counts_from_its_creation() {
    let mut trial = Trial::new(daily(), "01T04:00");
    assert_eq!((trial.actionable(), trial.next()), (String::new(), "2026-06-02T03:00:00Z".into()));
    let mut late = Trial::new(daily(), "01T02:00");
    assert_eq!(late.at("01T09:00").actionable(), "Schedule=2026-06-01T03:00:00Z", "evaluated only after its time");
}

#[test]
fn scheduled_time_is_answered_once_and_the_next_one_rearms_the_reason() {
    let mut trial = Trial::accepted(daily(), "01T00:00");
    assert_eq!(trial.at("01T03:00").actionable(), "Schedule=2026-06-01T03:00:00Z");
    trial.reserve();
    trial.at("01T03:30").end(Rejected);
    assert_eq!((trial.actionable(), trial.current()), (String::new(), "Schedule=2026-06-01T03:00:00Z".into()));
    assert_eq!(trial.at("02T03:00").actionable(), "Schedule=2026-06-02T03:00:00Z");
    trial.reserve();
    trial.at("02T03:30").end(Accepted);
    assert_eq!(trial.current(), "");
}

#[test]
fn scheduled_time_during_a_training_starts_another_after_it() {
    let mut trial = Trial::accepted(json!({ "schedule": { "cron": "0 * * * *" } }), "01T00:00");
    trial.at("01T01:00").reserve();
    trial.at("01T03:30").end(Accepted);
    assert_eq!(trial.actionable(), "Schedule=2026-06-01T03:00:00Z", "the last of the two");
    trial.reserve();
    trial.at("01T03:40").end(Accepted);
    assert_eq!(trial.actionable(), "");
}

#[test]
fn long_downtime_is_caught_up_once_and_only_within_the_deadline() {
    let mut trial = Trial::accepted(json!({ "schedule": { "cron": "*/5 * * * *" } }), "01T00:00");
    assert_eq!(trial.at("20T10:03").actionable(), "Schedule=2026-06-20T10:00:00Z");
    trial.reserve();
    trial.at("20T10:04").end(Accepted);
    assert_eq!((trial.actionable(), trial.next()), (String::new(), "2026-06-20T10:05:00Z".into()));

    let strict = json!({ "schedule": { "cron": "0 3 * * *", "startingDeadline": "30m" } });
    let mut trial = Trial::accepted(strict, "01T00:00");
    assert_eq!(
        (trial.at("05T03:29").actionable(), trial.next()),
        ("Schedule=2026-06-05T03:00:00Z".into(), "2026-06-05T03:30:00Z".into())
    );
    assert_eq!(trial.at("05T03:30").actionable(), "");
    assert_eq!(trial.status.schedule.as_ref().unwrap().last_handled_time, Some(moment("05T03:00")));
    assert_eq!(trial.next(), "2026-06-06T03:00:00Z");
}

#[test]
fn starting_deadline_ends_neither_a_training_nor_its_retries() {
    let strict = json!({ "schedule": { "cron": "0 3 * * *", "startingDeadline": "30m" } });
    let mut trial = Trial::accepted(strict, "01T00:00");
    trial.at("01T03:00").reserve();
    assert_eq!(trial.at("01T05:00").current(), "Schedule=2026-06-01T03:00:00Z");
    trial.end(Failed);
    assert_eq!(trial.at("01T06:00").actionable(), "Schedule=2026-06-01T03:00:00Z");
    trial.reserve();
    trial.at("01T07:00").end(Rejected);
    assert_eq!(trial.actionable(), "");
}

#[test]
fn edited_or_added_schedule_has_no_times_before_the_edit() {
    let mut trial = Trial::accepted(daily(), "01T00:00");
    trial.at("01T12:00").edit(json!({ "schedule": { "cron": "0 6 * * *" } }));
    assert_eq!((trial.actionable(), trial.next()), (String::new(), "2026-06-02T06:00:00Z".into()));
    trial
        .edit(json!({ "schedule": { "cron": "0  6 * * *", "timeZone": "UTC", "startingDeadline": "1h" } }))
        .evaluate_and_store();
    assert_eq!(trial.status.schedule.as_ref().unwrap().expression, "0 6 * * * UTC", "this is the same expression");
    assert_eq!(trial.at("02T06:10").actionable(), "Schedule=2026-06-02T06:00:00Z");
    trial.edit(json!({ "schedule": { "cron": "0 6 * * *", "timeZone": "Asia/Tokyo" } }));
    assert_eq!(trial.actionable(), "", "another zone is another schedule");

    let mut trial = Trial::accepted(json!({}), "01T00:00");
    trial.at("01T12:00").edit(daily());
    assert_eq!(trial.actionable(), "", "added at noon");
    assert_eq!(trial.at("02T03:00").actionable(), "Schedule=2026-06-02T03:00:00Z");
}

#[test]
fn clock_that_goes_back_repeats_no_time_and_lengthens_no_wait() {
    let mut trial = Trial::accepted(daily(), "01T00:00");
    trial.at("01T03:00").reserve();
    trial.end(Accepted);
    assert_eq!(trial.at("01T02:59").actionable(), "");
    assert_eq!((trial.at("01T03:01").actionable(), trial.next()), (String::new(), "2026-06-02T03:00:00Z".into()));

    // A clock that was years ahead must not silence the schedule for years.
    let mut trial = Trial::accepted(daily(), "01T00:00");
    trial.at("2031-01-01T03:00:00Z").reserve();
    trial.end(Rejected);
    assert_eq!(
        (trial.at("01T10:00").actionable(), trial.at("02T03:00").actionable()),
        (String::new(), "Schedule=2026-06-02T03:00:00Z".into())
    );

    let mut trial = Trial::accepted(metric("10m"), "01T00:00");
    trial.at("05T00:00").measure("r2", Some(true)).evaluate_and_store();
    assert_eq!(trial.at("01T01:00").next(), "2026-06-01T01:10:00Z");
    trial.at("01T01:10").reserve();
    trial.at("05T00:00").end(Rejected);
    assert_eq!(trial.at("01T02:00").next(), "2026-06-01T03:00:00Z", "settle is an hour at first");
}

#[test]
fn edited_settle_shortens_a_wait_that_has_begun() {
    let mut trial = Trial::accepted(endpoint(), "01T00:00");
    trial.endpoint = Some(true);
    trial.at("01T01:00").reserve();
    trial.end(Rejected);
    let mut spec = endpoint();
    spec["settle"] = json!({ "initial": "5m" });
    assert_eq!(trial.edit(spec).at("01T01:10").next(), "2026-06-01T01:15:00Z");
}

#[test]
fn training_whose_spec_became_invalid_ends_with_the_default_wait() {
    let pinned = [reason(StaleReasonType::Endpoint, "", "")];
    let answered = answer_reasons(&ModelTrainStatus::default(), &pinned, Rejected, None, moment("01T00:00"));
    assert_eq!(answered.reasons[0].until, Some(moment("01T01:00")));
}

#[test]
fn stale_since_is_the_moment_of_the_first_reason() {
    let mut spec = data();
    spec["maxAge"] = json!("24h");
    let mut trial = Trial::accepted(spec, "01T00:00");
    trial.at("01T10:00").see("data", "B").evaluate_and_store();
    trial.at("02T10:00").evaluate_and_store();
    assert_eq!(trial.status.stale_since, Some(moment("01T10:00")));
    trial.reserve();
    trial.at("02T11:00").end(Accepted);
    assert_eq!(trial.status.stale_since, None);
}
