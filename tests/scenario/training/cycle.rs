//! One training from its reason to its record.

use modelsync::api::{
    AttemptVerdict,
    ConditionStatus::{False, True, Unknown},
    ConditionType::{Accepted, Fresh, Ready, Served},
    Outcome, StaleReasonType, Verdict,
};
use modelsync::core::status::condition::find;
use serde_json::json;

use crate::harness::scenario;

#[tokio::test]
async fn first_training_is_started_recorded_and_accepted() {
    scenario("first_training", async |world| {
        let mut spec = world.train_spec();
        spec["freshness"] = json!({ "maxAge": "24h" });
        spec["parameters"] = json!([
            { "name": "version", "fromContext": "Version" },
            { "name": "why", "fromContext": "Reasons" },
            { "name": "epochs", "value": "3" },
        ]);
        spec["gate"] = json!({
            "rules": [{ "name": "good", "expression": "metrics.r2 > 0.5" }],
            "best": { "metric": "r2", "direction": "Maximize" },
        });
        world.apply_train("model", spec).await;
        let run = world.train_run("model", 1, "").await;
        let name = kube::ResourceExt::name_any(&run);
        let parameter = |name| crate::harness::world::parameter(&run, name);
        assert_eq!(parameter("version").as_deref(), Some(name.as_str()));
        assert_eq!(parameter("why").as_deref(), Some("NeverAccepted"));
        assert_eq!(parameter("epochs").as_deref(), Some("3"));
        let status = world.until_train("model", Fresh, False, "RunActive").await;
        assert_eq!(status.active.len(), 1, "{status:?}");

        let results = [("r2", "0.81"), ("model-uri", "s3://models/1"), ("model-digest", "sha256:11"), ("note", "ok")];
        world.end_with(&run, "Succeeded", &results).await;
        let status = world.until_trained("model", 1).await;
        let accepted = status.accepted_version.as_deref().unwrap();
        assert_eq!((accepted.name.as_str(), accepted.score.as_deref()), (name.as_str(), Some("0.81")));
        assert_eq!((accepted.uri.as_str(), accepted.digest.as_str()), ("s3://models/1", "sha256:11"));
        assert_eq!(status.last_attempt.as_ref().unwrap().verdict, AttemptVerdict::Accepted);
        assert!(status.stale_reasons.is_empty() && status.next_evaluation_at.is_some(), "{status:?}");
        assert_eq!(status.active, []);

        let version = world.until_decided(&name, "Best").await.spec;
        assert_eq!((version.gate.verdict, version.run.outcome), (Verdict::Passed, Outcome::Succeeded));
        assert_eq!(version.reasons[0].type_, StaleReasonType::NeverAccepted);
        assert_eq!(version.outputs[0].value, "ok");
        assert_eq!(version.previous, None);
        assert_eq!(status.head.unwrap().digest, version.digest);
        world.until_train("model", Fresh, True, "Fresh").await;
        world.until_train("model", Ready, True, "Operational").await;
        let status = world.until_train("model", Accepted, True, "VersionAccepted").await;
        assert!(find(&status.conditions, Served).is_none());
    })
    .await;
}

#[tokio::test]
async fn rejected_model_is_not_trained_again_until_its_input_changes() {
    scenario("rejected", async |world| {
        world.config_map("data", "digest", "one").await;
        let mut spec = world.train_spec();
        let source = json!({ "configMapKeyRef": { "name": "data", "key": "digest" } });
        spec["freshness"] = json!({ "inputs": [{ "name": "data", "source": source }] });
        spec["parameters"] = json!([{ "name": "data", "fromInput": "data" }]);
        spec["gate"] = json!({ "rules": [{ "name": "good", "expression": "metrics.r2 > 0.5" }] });
        spec["settle"] = json!({ "initial": "8760h", "max": "8760h" });
        world.apply_train("model", spec).await;
        let status = world.train("model", 1, &[("r2", "0.3")]).await;
        assert_eq!(status.last_attempt.unwrap().verdict, AttemptVerdict::Rejected);
        let status = world.until_train("model", Fresh, False, "NothingAccepted").await;
        assert_eq!(status.accepted_version, None);
        world.until_train("model", Accepted, False, "NeverAccepted").await;
        world.until_train("model", Ready, True, "Operational").await;

        world.config_map("data", "digest", "two").await;
        let run = world.train_run("model", 2, "").await;
        assert_eq!(crate::harness::world::parameter(&run, "data").as_deref(), Some("two"));
        let status = world.train("model", 2, &[("r2", "0.7")]).await;
        assert_eq!(status.last_attempt.unwrap().verdict, AttemptVerdict::Accepted);
        world.until_train("model", Fresh, True, "Fresh").await;
        assert_eq!(world.versions("model").await.len(), 2);
    })
    .await;
}

#[tokio::test]
async fn train_without_a_reason_waits_for_the_trigger() {
    scenario("trigger", async |world| {
        world.apply_train("model", world.train_spec()).await;
        world.until_train("model", Fresh, Unknown, "NotDue").await;
        world.trigger_train("model", "now").await;
        let status = world.train("model", 1, &[]).await;
        assert_eq!(status.last_handled_trigger.as_deref(), Some("now"));
        assert_eq!(
            status.last_attempt.unwrap().verdict,
            AttemptVerdict::Accepted,
            "without a gate every success passes"
        );
    })
    .await;
}

#[tokio::test]
async fn best_of_three_candidates_is_accepted_and_the_others_stay_on_record() {
    scenario("three_candidates", async |world| {
        let mut spec = world.train_spec();
        spec["freshness"] = json!({ "maxAge": "24h" });
        spec["candidates"] = ["svm", "forest", "boost"]
            .map(|name| json!({ "name": name, "parameters": [{ "name": "algorithm", "value": name }] }))
            .into();
        spec["gate"] = json!({ "best": { "metric": "r2", "direction": "Maximize" } });
        world.apply_train("model", spec).await;
        for (candidate, score) in [("boost", "0.7"), ("svm", "0.4"), ("forest", "0.9")] {
            let run = world.train_run("model", 1, candidate).await;
            assert_eq!(crate::harness::world::parameter(&run, "algorithm").as_deref(), Some(candidate));
            world.end_with(&run, "Succeeded", &[("r2", score)]).await;
        }
        let status = world.until_trained("model", 1).await;
        let accepted = status.accepted_version.unwrap();
        assert!(accepted.name.ends_with("-forest"), "{}", accepted.name);
        let versions = world.versions("model").await;
        assert_eq!(versions.len(), 3);
        for version in &versions {
            let reason = if version.spec.candidate == "forest" { "Best" } else { "NotBest" };
            world.until_decided(&version.spec.run.name, reason).await;
        }
    })
    .await;
}
