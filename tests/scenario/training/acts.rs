//! Steps that several scenarios share, and assertions that hold after each of them.

use kube::api::{DynamicObject, ListParams};
use modelsync::{
    api::{ConditionType::Accepted, ModelVersion, Reason, keys},
    core::{
        status::condition::find,
        version::chain::{self, Record},
    },
};
use serde_json::{Value, json};

use crate::harness::{World, cluster::api, trains::candidate_of, world::attempt_of};

impl World {
    /// Spec of a ModelTrain that is stale at once and a day after each acceptance, with this gate.
    pub fn gated_spec(&self, gate: Value) -> Value {
        let mut spec = self.train_spec();
        spec["freshness"] = json!({ "maxAge": "24h" });
        spec["gate"] = gate;
        spec
    }

    /// The same with these candidates; the one with the highest `r2` is the best.
    pub fn candidates_spec(&self, candidates: &[&str]) -> Value {
        let mut spec = self.gated_spec(json!({ "best": { "metric": "r2", "direction": "Maximize" } }));
        spec["candidates"] = candidates.iter().map(|name| json!({ "name": name })).collect();
        spec
    }

    /// Ends the run of a candidate with this `r2`.
    pub async fn score(&self, name: &str, attempt: i64, candidate: &str, r2: &str) {
        let run = self.train_run(name, attempt, candidate).await;
        self.end_with(&run, "Succeeded", &[("r2", r2)]).await;
    }

    /// Starts a training of one run by the trigger and ends it. Returns its version once that is decided.
    pub async fn triggered(&self, name: &str, attempt: i64, r2: &str, reason: &str) -> ModelVersion {
        self.trigger_train(name, &format!("training {attempt}")).await;
        self.train(name, attempt, &[("r2", r2)]).await;
        self.version_of(name, attempt, "", reason).await
    }

    /// Waits until the version of this slot is decided with this reason.
    pub async fn version_of(&self, name: &str, attempt: i64, candidate: &str, reason: &str) -> ModelVersion {
        self.wait(&format!("{name}: version of training {attempt} {candidate}: {reason}"), async || {
            let mut versions = self.versions(name).await;
            versions.retain(|version| version.spec.attempt == attempt && version.spec.candidate == candidate);
            versions.pop().filter(|version| decision(version).is_some_and(|found| found.as_str() == reason))
        })
        .await
    }

    /// Asserts that the records form an intact chain, by the check of `modelsync verify`.
    pub async fn assert_chain(&self, name: &str) {
        let train = self.model_trains().get(name).await.unwrap();
        let listed = api(&self.client, keys::API_VERSION, "ModelVersion", Some(&self.namespace))
            .list(&ListParams::default())
            .await
            .unwrap();
        let own =
            |object: &&DynamicObject| object.data["spec"]["trainRef"]["uid"].as_str() == train.metadata.uid.as_deref();
        let record = |object: &DynamicObject| {
            Record::read(kube::ResourceExt::name_any(object), object.data["spec"].clone()).unwrap()
        };
        let records: Vec<_> = listed.items.iter().filter(own).map(record).collect();
        assert!(!records.is_empty(), "{name} has no records");
        let report = chain::verify(&records, train.status.as_ref(), &[]);
        assert!(report.problems.is_empty() && report.notes.is_empty(), "{name}: {report:#?}");
    }

    /// Asserts that each candidate of each training has at most one run and at most one record.
    pub async fn assert_one_each(&self, name: &str) {
        let runs = self.runs(name).await;
        let slots = runs.iter().map(|run| (attempt_of(run), candidate_of(run)));
        assert_distinct(slots.collect(), "runs");
        let versions = self.versions(name).await;
        let slots = versions.into_iter().map(|version| (version.spec.attempt, version.spec.candidate));
        assert_distinct(slots.collect(), "records");
    }
}

fn assert_distinct(mut slots: Vec<(i64, String)>, what: &str) {
    slots.sort();
    let all = slots.clone();
    slots.dedup();
    assert_eq!(all, slots, "{what} of one slot");
}

/// The reason of a version's condition Accepted.
pub fn decision(version: &ModelVersion) -> Option<Reason> {
    let status = version.status.as_ref()?;
    find(&status.conditions, Accepted).map(|accepted| accepted.reason)
}
