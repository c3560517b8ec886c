//! The served version: from the roll-out by a ModelSync to the record, and its effects.

use std::time::Duration;

use kube::{ResourceExt, api::DeleteParams};
use modelsync::{
    api::{
        Condition,
        ConditionStatus::{False, True},
        ConditionType::{InSync, Served},
        ModelSync, ModelVersion, ModelVersionStatus,
    },
    core::status::condition::find,
};
use serde_json::{Value, json};

use crate::harness::{
    Reply, World,
    fault::{Fault, call},
    revisions::Revisions,
    scenario,
    world::{faulty_scenario, parameter},
};

/// Spec of a ModelSync that rolls out the accepted version of ModelTrain `model` to the ConfigMap `deployed`. Changes
/// in the cluster wake it up, so its interval may be long.
fn rolls_out() -> Value {
    json!({
        "compare": {
            "desired": { "modelTrain": { "name": "model" } },
            "actual": { "configMapKeyRef": { "name": "deployed", "key": "model" } },
        },
        "interval": "1h",
        "parameters": [{ "needsSyncName": "name", "pipelineName": "model" }],
        "pipelineRunTemplate": { "spec": { "pipelineRef": { "name": "deploy" } } },
    })
}

/// Triggers a training whose version is accepted. Returns the name of the version.
async fn accepted(world: &World, attempt: i64) -> String {
    world.trigger_train("model", &attempt.to_string()).await;
    let status = world.train("model", attempt, &[("r2", "0.8")]).await;
    status.accepted_version.unwrap().name
}

/// Completes the roll-out of this version: changes the deployed version and ends the run successfully.
async fn rolled_out(world: &World, sync: &str, attempt: i64, version: &str) {
    let run = world.run(sync, attempt).await;
    assert_eq!(parameter(&run, "model").as_deref(), Some(version));
    let revisions = world.sync_revisions(sync).await;
    world.config_map("deployed", "model", version).await;
    world.end_run(&run, "Succeeded").await;
    begins_to_serve(revisions, version).await;
}

/// Waits until the status of the ModelSync says that it serves this version.
async fn begins_to_serve(mut revisions: Revisions<ModelSync>, version: &str) {
    let serves = |sync: &ModelSync| {
        let serving = sync.status.as_ref().and_then(|status| status.serving.as_ref());
        serving.is_some_and(|serving| serving.version == version)
    };
    let status = revisions.next(&format!("serving {version}"), serves).await.status.unwrap();
    assert_eq!(status.serving.unwrap().model_train, "model");
    let in_sync = find(&status.conditions, InSync).unwrap();
    assert_eq!(in_sync.status, True, "the write that says in sync also names the served version");
}

/// Waits until the record of this version names exactly these ModelSyncs as serving it, and its condition agrees.
async fn until_served_by(world: &World, version: &str, syncs: &[&str]) -> ModelVersionStatus {
    let condition = if syncs.is_empty() { (False, "NotServed") } else { (True, "Served") };
    world
        .wait(&format!("{version}: served by {syncs:?}"), async || {
            let status = record(world, version).await?.status?;
            let said = find(&status.conditions, Served).map(|found: &Condition| (found.status, found.reason.as_str()));
            let names = status.served_by.iter().map(|by| by.model_sync.as_str());
            (names.eq(syncs.iter().copied()) && said == Some(condition)).then_some(status)
        })
        .await
}

/// Waits until the ModelTrain says that this version is served.
async fn until_served_version(world: &World, version: Option<&str>) {
    world
        .until_train_status("model", &format!("served version {version:?}"), |status| {
            status.served_version.as_deref() == version
        })
        .await;
}

/// Waits until this version is removed.
async fn until_gone(world: &World, version: &str) {
    world.wait(&format!("{version} goes"), async || record(world, version).await.is_none().then_some(())).await;
}

async fn record(world: &World, version: &str) -> Option<ModelVersion> {
    world.model_versions().get_opt(version).await.unwrap()
}

#[tokio::test]
async fn version_is_served_once_its_roll_out_is_seen_and_until_another_is_rolled_out() {
    scenario("served", async |world| {
        world.config_map("deployed", "model", "none").await;
        world.apply_train("model", world.train_spec()).await;
        world.apply("deploy", rolls_out()).await;
        let first = accepted(world, 1).await;
        world.run("deploy", 1).await;
        assert_eq!(world.status("deploy").await.serving, None, "its roll-out is active");
        assert_eq!(record(world, &first).await.unwrap().status.unwrap_or_default().served_by, []);
        rolled_out(world, "deploy", 1, &first).await;
        let status = until_served_by(world, &first, &["deploy"]).await;
        let serving = world.status("deploy").await.serving.unwrap();
        let uid = world.model_syncs().get("deploy").await.unwrap().uid().unwrap();
        assert_eq!((&status.served_by[0].uid, status.served_by[0].since), (&uid, serving.since));
        until_served_version(world, Some(&first)).await;

        let second = accepted(world, 2).await;
        world.run("deploy", 2).await;
        assert_eq!(world.status("deploy").await.serving.unwrap(), serving, "the old version is still served");
        until_served_by(world, &first, &["deploy"]).await;
        until_served_version(world, Some(&first)).await;
        rolled_out(world, "deploy", 2, &second).await;
        until_served_by(world, &second, &["deploy"]).await;
        until_served_by(world, &first, &[]).await;
        until_served_version(world, Some(&second)).await;

        world.stop_operator().await;
        world.model_syncs().delete("deploy", &DeleteParams::default()).await.unwrap();
        world.start_operator().await;
        until_served_by(world, &second, &[]).await;
        until_served_version(world, None).await;
    })
    .await;
}

#[tokio::test]
async fn deleted_model_sync_serves_nothing_even_if_the_list_without_it_comes_late() {
    faulty_scenario("served_late_list", async |world, proxy| {
        world.config_map("deployed", "model", "none").await;
        world.apply_train("model", world.train_spec()).await;
        world.apply("deploy", rolls_out()).await;
        let version = accepted(world, 1).await;
        rolled_out(world, "deploy", 1, &version).await;
        until_served_by(world, &version, &["deploy"]).await;
        world.stop_operator().await;
        world.model_syncs().delete("deploy", &DeleteParams::default()).await.unwrap();

        let late = proxy.always(call("list", "modelsyncs"), Fault::HoldReply);
        let others = ["modeltrains", "modelversions", "pipelineruns", "jobs"].map(|resource| call("watch", resource));
        let begun = || others.iter().map(|watch| proxy.done(watch).len()).collect::<Vec<_>>();
        let before = begun();
        world.start_operator().await;
        world
            .wait("the other watches", async || {
                begun().iter().zip(&before).all(|(now, before)| now > before).then_some(())
            })
            .await;
        world.reconcile_train("model").await;
        let status = record(world, &version).await.unwrap().status.unwrap();
        assert_eq!(status.served_by.len(), 1, "the operator does not know yet that it is gone");
        late.release();
        until_served_by(world, &version, &[]).await;
        until_served_version(world, None).await;
    })
    .await;
}

#[tokio::test]
async fn metric_of_the_previous_version_counts_only_without_a_follower() {
    scenario("awaits_serving", async |world| {
        world.config_map("deployed", "model", "none").await;
        world.config_map("live", "r2", "0.9").await;
        let mut spec = world.train_spec();
        let source = json!({ "configMapKeyRef": { "name": "live", "key": "r2" } });
        let metric = json!({ "name": "r2", "source": source, "rule": "value < 0.5", "for": "1h" });
        spec["freshness"] = json!({ "metrics": [metric] });
        world.apply("deploy", rolls_out()).await;
        world.apply_train("model", spec.clone()).await;
        world.apply_train("alone", spec).await;
        let version = world.train("model", 1, &[]).await.accepted_version.unwrap().name;
        world.train("alone", 1, &[]).await;
        world.run("deploy", 1).await;

        world.config_map("live", "r2", "0.1").await;
        let falling = |status: &modelsync::api::ModelTrainStatus| !status.breaching_metrics.is_empty();
        world.until_train_status("alone", "the metric falls", falling).await;
        world.clock.advance(Duration::from_mins(61));
        world.train_run("alone", 2, "").await;
        let status = world.train_status("model").await;
        assert_eq!((status.attempt, &*status.breaching_metrics), (1, &[][..]), "the metric is of the previous version");

        let before = world.clock.now().wall;
        rolled_out(world, "deploy", 1, &version).await;
        let status = world.until_train_status("model", "the metric falls", falling).await;
        assert!(status.breaching_metrics[0].since >= modelsync::core::time::whole_seconds(before), "{status:?}");
        world.clock.advance(Duration::from_mins(61));
        world.train_run("model", 2, "").await;
    })
    .await;
}

#[tokio::test]
async fn served_version_is_not_removed_whatever_the_limit_while_it_is_served() {
    scenario("served_kept", async |world| {
        world.config_map("deployed", "model", "none").await;
        let mut spec = world.train_spec();
        spec["versionHistoryLimit"] = json!(0);
        world.apply_train("model", spec).await;
        world.apply("deploy", rolls_out()).await;
        let first = accepted(world, 1).await;
        rolled_out(world, "deploy", 1, &first).await;
        until_served_by(world, &first, &["deploy"]).await;

        let second = accepted(world, 2).await;
        world.run("deploy", 2).await;
        let third = accepted(world, 3).await;
        until_gone(world, &second).await;
        world.stop_operator().await;
        world.start_operator().await;
        let fourth = accepted(world, 4).await;
        until_gone(world, &third).await;
        assert_eq!(until_served_by(world, &first, &["deploy"]).await.served_by.len(), 1);

        world.model_syncs().delete("deploy", &DeleteParams::default()).await.unwrap();
        until_gone(world, &first).await;
        assert!(record(world, &fourth).await.is_some(), "the accepted version stays");
    })
    .await;
}

/// A response that needs no sync and names the deployed version.
fn in_sync_at(version: &str) -> Reply {
    Reply::Raw(200, json!({ "needsSync": false, "parameters": { "deployed": version } }).to_string())
}

#[tokio::test]
async fn endpoint_names_the_served_version_by_a_parameter_until_serving_is_disabled() {
    scenario("serves_explicitly", async |world| {
        world.apply_train("model", world.train_spec()).await;
        let first = accepted(world, 1).await;
        world.model_sync_with_reply("deploy", in_sync_at(&first)).await;
        world.until("deploy", InSync, True, "UpToDate").await;
        assert_eq!(world.status("deploy").await.serving, None, "an endpoint implies nothing");

        let serves = json!({ "modelTrain": "model", "parameter": "deployed" });
        let revisions = world.sync_revisions("deploy").await;
        world.patch_spec("deploy", json!({ "serves": serves })).await;
        begins_to_serve(revisions, &first).await;
        until_served_by(world, &first, &["deploy"]).await;
        let second = accepted(world, 2).await;
        world.endpoint.says("deploy", in_sync_at(&second));
        world.clock.advance(Duration::from_secs(5));
        until_served_by(world, &second, &["deploy"]).await;
        until_served_by(world, &first, &[]).await;

        world.patch_spec("deploy", json!({ "serves": { "disabled": true } })).await;
        until_served_by(world, &second, &[]).await;
        world.until_status("deploy", "serving nothing", |status| status.serving.is_none()).await;
        until_served_version(world, None).await;
    })
    .await;
}

#[tokio::test]
async fn report_on_an_accepted_version_serves_nothing_where_that_is_disabled() {
    scenario("serves_disabled", async |world| {
        world.config_map("deployed", "model", "none").await;
        world.apply_train("model", world.train_spec()).await;
        let mut report = rolls_out();
        report["serves"] = json!({ "disabled": true });
        world.apply("report", report).await;
        world.apply("deploy", rolls_out()).await;
        let first = accepted(world, 1).await;
        let reported = world.run("report", 1).await;
        world.end_run(&reported, "Succeeded").await;
        rolled_out(world, "deploy", 1, &first).await;
        world.until("report", InSync, True, "UpToDate").await;
        assert_eq!(world.status("report").await.serving, None);
        until_served_by(world, &first, &["deploy"]).await;
    })
    .await;
}
