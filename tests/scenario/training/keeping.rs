//! Retention of runs and versions: how many and which the operator keeps, with an intact chain of records.

use std::time::Duration;

use modelsync::api::{ConditionStatus::True, ConditionType, keys};
use serde_json::{Value, json};

use crate::harness::{
    World,
    fault::call,
    scenario,
    world::{attempt_of, faulty_scenario},
};

/// A spec with a limit for versions and one for runs, which accepts a version that is better.
fn limited(world: &World, versions: i64, runs: i64) -> Value {
    let mut spec = world.gated_spec(json!({ "best": { "metric": "r2", "direction": "Maximize" } }));
    spec["versionHistoryLimit"] = json!(versions);
    spec["successfulPipelineRunsHistoryLimit"] = json!(runs);
    spec["failedPipelineRunsHistoryLimit"] = json!(runs);
    spec
}

impl World {
    /// Waits until exactly these trainings have a version and these have a run. Asserts that the chain is intact then.
    async fn until_kept(&self, name: &str, versions: &[i64], runs: &[i64]) {
        self.wait(&format!("{name}: versions {versions:?} and runs {runs:?}"), async || {
            let kept: Vec<_> = self.versions(name).await.iter().map(|version| version.spec.attempt).collect();
            let left: Vec<_> = self.runs(name).await.iter().map(attempt_of).collect();
            (kept == versions && left == runs).then_some(())
        })
        .await;
        self.assert_chain(name).await;
    }
}

#[tokio::test]
async fn versions_and_runs_beyond_the_limits_are_deleted_but_not_the_accepted_and_the_newest() {
    scenario("limits", async |world| {
        world.apply_train("model", limited(world, 1, 1)).await;
        world.train("model", 1, &[("r2", "0.9")]).await;
        world.version_of("model", 1, "", "Best").await;
        for (attempt, versions, runs) in [
            (2, &[1, 2][..], &[1, 2][..]),
            (3, &[1, 2, 3], &[1, 3]),
            (4, &[1, 3, 4], &[1, 4]),
            (5, &[1, 4, 5], &[1, 5]),
        ] {
            world.triggered("model", attempt, "0.5", "NotImproved").await;
            world.until_kept("model", versions, runs).await;
        }
        let removed = world.train_status("model").await.removed;
        let gone: Vec<_> = removed.iter().map(|entry| entry.name.rsplit('-').next().unwrap()).collect();
        assert_eq!(gone, ["2", "3"]);
        assert!(removed[0].previous.as_ref().unwrap().name.ends_with("-1"), "{removed:?}");
        // An accepted version loses its protection once a better one is accepted.
        world.triggered("model", 6, "0.95", "Best").await;
        world.until_kept("model", &[5, 6], &[6]).await;
        let removed = world.train_status("model").await.removed;
        assert_eq!(removed.len(), 4, "{removed:?}");
    })
    .await;
}

#[tokio::test]
async fn failed_runs_have_a_limit_of_their_own_and_their_records_count_as_versions() {
    scenario("failed_limit", async |world| {
        let mut spec = limited(world, 2, 1);
        spec["retry"] = json!({ "maxAttempts": 10, "minBackoff": "1m", "maxBackoff": "1m" });
        world.apply_train("model", spec).await;
        for attempt in 1..=4 {
            let run = world.train_run("model", attempt, "").await;
            world.end_with(&run, "Failed", &[]).await;
            world.until_trained("model", attempt).await;
            world.version_of("model", attempt, "", "NotJudged").await;
            world
                .until_kept("model", [&[1][..], &[1, 2], &[1, 2, 3], &[2, 3, 4]][attempt as usize - 1], &[attempt])
                .await;
            world.clock.advance(Duration::from_mins(1));
        }
        world.score("model", 5, "", "0.5").await;
        world.version_of("model", 5, "", "Best").await;
        world.until_kept("model", &[3, 4, 5], &[4, 5]).await;
    })
    .await;
}

#[tokio::test]
async fn held_version_stays_with_its_run_whatever_the_limits() {
    scenario("held_stays", async |world| {
        world.apply_train("model", limited(world, 0, 0)).await;
        world.train("model", 1, &[("r2", "0.5")]).await;
        world.version_of("model", 1, "", "Best").await;
        let held = world.triggered("model", 2, "0.6", "Best").await.spec.run.name;
        world.annotate_train("model", keys::HOLD, Some(&held)).await;
        world.until_train("model", ConditionType::Accepted, True, "Held").await;
        world.triggered("model", 3, "0.7", "HeldBack").await;
        world.triggered("model", 4, "0.8", "HeldBack").await;
        world.until_kept("model", &[2, 4], &[2]).await;
        assert_eq!(world.train_status("model").await.accepted_version.unwrap().name, held);
        // After the release, it is the accepted version until a better one comes.
        world.annotate_train("model", keys::HOLD, None).await;
        world.triggered("model", 5, "0.9", "Best").await;
        world.until_kept("model", &[5], &[5]).await;
    })
    .await;
}

#[tokio::test]
async fn lowered_limit_removes_the_oldest_first_and_notes_each_before_its_deletion() {
    faulty_scenario("lowered", async |world, proxy| {
        world.apply_train("model", limited(world, 20, 20)).await;
        world.train("model", 1, &[("r2", "0.9")]).await;
        for attempt in 2..=6 {
            world.triggered("model", attempt, "0.5", "NotImproved").await;
        }
        world.until_kept("model", &[1, 2, 3, 4, 5, 6], &[1, 2, 3, 4, 5, 6]).await;
        world.patch_train("model", json!({ "versionHistoryLimit": 1, "successfulPipelineRunsHistoryLimit": 2 })).await;
        world.until_kept("model", &[1, 5, 6], &[1, 5, 6]).await;
        for resource in ["modelversions", "pipelineruns"] {
            let deleted = proxy.done(&call("delete", resource));
            let names: Vec<_> = deleted.iter().map(|seen| seen.request.name.rsplit('-').next().unwrap()).collect();
            assert_eq!(names, ["2", "3", "4"], "{resource}");
        }
        let noting =
            proxy.done(&call("patch", "modeltrains/status").saying(|body| body["status"]["removed"].is_array()));
        let first = &proxy.done(&call("delete", "modelversions"))[0];
        assert!(noting.len() == 1 && noting[0].at <= first.at, "{noting:#?}");
    })
    .await;
}
