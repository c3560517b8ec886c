//! Trainings in a world: ModelTrains, the ends of their runs as Tekton would write them, and their records.

use kube::{
    Api, ResourceExt,
    api::{DynamicObject, ListParams, Patch, PatchParams},
};
use modelsync::{
    api::{ConditionStatus, ConditionType, ModelTrain, ModelTrainStatus, ModelVersion, keys},
    core::{status::condition, time::whole_seconds},
};
use serde_json::{Value, json};

use super::{World, cluster::api, tekton, world::attempt_of};

impl World {
    /// The ModelTrains.
    pub fn model_trains(&self) -> Api<ModelTrain> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// The records.
    pub fn model_versions(&self) -> Api<ModelVersion> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Sets one key of a ConfigMap.
    pub async fn config_map(&self, name: &str, key: &str, value: &str) {
        let object = json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": name }, "data": { key: value },
        });
        api(&self.client, "v1", "ConfigMap", Some(&self.namespace))
            .patch(name, &PatchParams::apply("scenario").force(), &Patch::Apply(&object))
            .await
            .unwrap();
    }

    /// Spec of a ModelTrain that creates PipelineRuns and polls its sources every 5 s. Only the trigger makes it stale.
    #[expect(clippy::unused_self, reason = "read beside the specs that need the world")]
    pub fn train_spec(&self) -> Value {
        json!({
            "interval": "5s",
            "pipelineRunTemplate": { "spec": { "pipelineRef": { "name": "train" } } },
        })
    }

    /// Applies a ModelTrain with this spec, or returns the refusal of the API server.
    pub async fn try_apply_train(&self, name: &str, spec: Value) -> Result<(), String> {
        let object = json!({ "apiVersion": keys::API_VERSION, "kind": "ModelTrain", "metadata": { "name": name }, "spec": spec });
        let applied = api(&self.client, keys::API_VERSION, "ModelTrain", Some(&self.namespace))
            .patch(name, &PatchParams::apply("scenario").force(), &Patch::Apply(&object))
            .await;
        applied.map(drop).map_err(|error| error.to_string())
    }

    /// Applies a ModelTrain with this spec.
    pub async fn apply_train(&self, name: &str, spec: Value) {
        self.try_apply_train(name, spec).await.unwrap_or_else(|error| panic!("{name}: {error}"));
    }

    /// Changes the spec by a merge patch.
    pub async fn patch_train(&self, name: &str, patch: Value) {
        let patch = Patch::Merge(json!({ "spec": patch }));
        self.model_trains().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Sets an annotation, or removes it.
    pub async fn annotate_train(&self, name: &str, key: &str, value: Option<&str>) {
        let patch = Patch::Merge(json!({ "metadata": { "annotations": { key: value } } }));
        self.model_trains().patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Sets the trigger annotation.
    pub async fn trigger_train(&self, name: &str, value: &str) {
        self.annotate_train(name, keys::TRIGGER, Some(value)).await;
    }

    /// The status.
    pub async fn train_status(&self, name: &str) -> ModelTrainStatus {
        self.model_trains().get(name).await.unwrap().status.unwrap_or_default()
    }

    /// Waits until the condition has this status and reason; returns the ModelTrain's status. They must last, as in
    /// [`Self::until_status`].
    pub async fn until_train(
        &self,
        name: &str,
        type_: ConditionType,
        status: ConditionStatus,
        reason: &str,
    ) -> ModelTrainStatus {
        self.until_train_status(name, &format!("{type_:?}={status:?} {reason}"), |found| {
            condition::find(&found.conditions, type_)
                .is_some_and(|condition| condition.status == status && condition.reason.as_str() == reason)
        })
        .await
    }

    /// Waits until the status fulfils the predicate. The state must last, as in [`Self::until_status`].
    pub async fn until_train_status(
        &self,
        name: &str,
        what: &str,
        wanted: impl Fn(&ModelTrainStatus) -> bool,
    ) -> ModelTrainStatus {
        self.wait(&format!("{name}: {what}"), async || {
            let object = self.model_trains().get_opt(name).await.unwrap()?;
            let generation = object.metadata.generation;
            object.status.filter(|status| Some(status.observed_generation) == generation && wanted(status))
        })
        .await
    }

    /// Waits until this training has been decided. The decision lasts until the next training is decided; the next
    /// training may be reserved by now.
    pub async fn until_trained(&self, name: &str, attempt: i64) -> ModelTrainStatus {
        let status = self
            .until_train_status(name, &format!("end of training {attempt}"), |status| {
                status.last_attempt.as_ref().is_some_and(|last| last.attempt == attempt)
            })
            .await;
        let open = status.reservation.as_ref().map(|open| open.attempt);
        assert!(open.is_none_or(|open| open > attempt), "{name}: training {attempt} has ended and is still reserved");
        status
    }

    /// Waits until a training has a run for this candidate; the empty name is for a training without candidates.
    pub async fn train_run(&self, name: &str, attempt: i64, candidate: &str) -> DynamicObject {
        self.wait(&format!("{name}: run of training {attempt} {candidate}"), async || {
            self.train_runs(name, attempt).await.into_iter().find(|run| candidate_of(run) == candidate)
        })
        .await
    }

    /// The present runs of a training.
    pub async fn train_runs(&self, name: &str, attempt: i64) -> Vec<DynamicObject> {
        let mut runs = self.runs(name).await;
        runs.retain(|run| attempt_of(run) == attempt);
        runs
    }

    /// Ends a PipelineRun with Tekton's reason and these results, now.
    pub async fn end_with(&self, run: &DynamicObject, reason: &str, results: &[(&str, &str)]) {
        let now = whole_seconds(self.clock.now().wall).to_string();
        let mut status = tekton::ended(reason, Some(&now), &now);
        status["results"] = results.iter().map(|(name, value)| json!({ "name": name, "value": value })).collect();
        self.set_run_status(run, status).await;
    }

    /// Ends the only run of a training successfully with these results. Returns the status once the training is
    /// decided.
    pub async fn train(&self, name: &str, attempt: i64, results: &[(&str, &str)]) -> ModelTrainStatus {
        let run = self.train_run(name, attempt, "").await;
        self.end_with(&run, "Succeeded", results).await;
        self.until_trained(name, attempt).await
    }

    /// Records of a ModelTrain, in the order of attempt and candidate.
    pub async fn versions(&self, name: &str) -> Vec<ModelVersion> {
        let mut versions = self.model_versions().list(&ListParams::default()).await.unwrap().items;
        versions.retain(|version| version.spec.train_ref.name == name);
        versions.sort_by_key(|version| (version.spec.attempt, version.spec.candidate.clone()));
        versions
    }

    /// Waits until a record's condition Accepted has this reason. Every reason but `AwaitingApproval` is final.
    pub async fn until_decided(&self, version: &str, reason: &str) -> ModelVersion {
        self.wait(&format!("{version}: {reason}"), async || {
            let found = self.model_versions().get_opt(version).await.unwrap()?;
            let conditions = found.status.as_ref().map_or(&[][..], |status| &status.conditions);
            let decided = condition::find(conditions, ConditionType::Accepted).map(|accepted| accepted.reason.as_str());
            (decided == Some(reason)).then_some(found)
        })
        .await
    }
}

/// The candidate that a run is for.
pub fn candidate_of(run: &DynamicObject) -> String {
    run.labels().get(keys::CANDIDATE).cloned().unwrap_or_default()
}
