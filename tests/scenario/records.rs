//! Records of trainings on a real API server: they are written once and cannot be changed, and `modelsync verify` finds
//! every manipulation. The test plays the controller of ModelTrains.

use std::{process::Command, sync::Arc, time::Duration};

use jiff::Timestamp;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, ListParams, Patch, PatchParams, PostParams, ValidationDirective},
};
use modelsync::{
    api::{
        DeletionPolicy, ModelTrainStatus, ModelVersion, ModelVersionSpec, ModelVersionStatus, Reason, ServedBy, keys,
    },
    clock::Clock,
    core::version::chain::{next_record, recorded_input, reference, remove},
    kube_io::{
        client::{Clients, Safeguards},
        sieve::Shape,
        store::{ModelVersionSink, ModelVersions, VersionsOf},
        versions::{Conflict, Recorded, StoredVersion, Versions, model_versions},
        watch::{Scope, follow},
    },
};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::harness::{
    World, WorldOptions,
    cluster::{Cluster, api, repository, yaml},
    world::scenario_with,
};

/// Runs a scenario without an operator: only the test writes.
async fn without_operator(name: &str, body: impl AsyncFnOnce(&World)) {
    let cluster = Cluster::complete().await;
    let options = WorldOptions { cluster, operator: false, min_run_age: Duration::ZERO };
    scenario_with(name, options, async |world| body(world).await).await;
}

/// Plays the controller of ModelTrains with the operator's own account, so that the tests also prove its roles.
struct Trainer<'a> {
    world: &'a World,
    versions: Versions,
    uid: String,
    status: ModelTrainStatus,
}

impl<'a> Trainer<'a> {
    /// Applies a ModelTrain of this name, and plays its controller.
    async fn of(world: &'a World, name: &str) -> Self {
        let spec = json!({ "jobTemplate": { "spec": { "template": { "spec": {
            "restartPolicy": "Never", "containers": [{ "name": "train", "image": "local.test/busybox:1" }],
        } } } } });
        let object = json!({ "apiVersion": keys::API_VERSION, "kind": "ModelTrain", "metadata": { "name": name }, "spec": spec });
        let stored = api(&world.client, keys::API_VERSION, "ModelTrain", Some(&world.namespace))
            .patch(name, &PatchParams::apply("scenario").force(), &Patch::Apply(&object))
            .await
            .unwrap();
        let clients = Clients::new(&world.operator_config(), &world.clock, Safeguards::default()).unwrap();
        let status = ModelTrainStatus::default();
        Self { world, versions: Versions::new(clients), uid: stored.uid().unwrap(), status }
    }

    fn draft(&self, attempt: i64) -> ModelVersionSpec {
        serde_json::from_value(json!({
            "trainRef": { "name": "m", "uid": self.uid },
            "attempt": attempt,
            "run": {
                "apiVersion": "batch/v1", "kind": "Job", "name": format!("m-0123456789abcdef-{attempt}"),
                "uid": format!("run-{attempt}"), "outcome": "Succeeded",
                "startedAt": "2026-03-01T10:00:00Z", "finishedAt": "2026-03-01T11:00:00.123456Z",
            },
            "reasons": [{ "type": "Input", "name": "data", "value": "sha256:00" }],
            "inputs": [recorded_input("data", "snapshot é\u{1f600}", "http http://data.default/newest")],
            "artifact": { "uri": "s3://models/m", "digest": "sha256:11" },
            "metrics": [{ "name": "r2", "value": "0.81", "source": "Results" }, { "name": "loss", "source": "Results" }],
            "gate": { "verdict": "Passed", "score": "0.81" },
            "digest": "",
        }))
        .unwrap()
    }

    async fn write(&self, spec: &ModelVersionSpec) -> Recorded {
        self.versions.create(&self.world.namespace, spec, DeletionPolicy::Orphan).await
    }

    /// Writes the next record and commits it.
    async fn record(&mut self, attempt: i64) -> StoredVersion {
        let spec = next_record(self.draft(attempt), self.status.head.as_ref());
        let stored = written(self.write(&spec).await);
        self.status.head = Some(reference(&spec));
        self.commit().await;
        stored
    }

    async fn commit(&self) {
        let patch = json!({ "status": self.status });
        api(&self.world.client, keys::API_VERSION, "ModelTrain", Some(&self.world.namespace))
            .patch_status("m", &PatchParams::default(), &Patch::Merge(patch))
            .await
            .unwrap();
    }

    fn objects(&self) -> Api<ModelVersion> {
        Api::namespaced(self.world.client.clone(), &self.world.namespace)
    }

    /// Exit status and output of the command for this world.
    fn verify(&self, flags: &[&str]) -> (i32, String) {
        verify(self.world, flags)
    }
}

/// Runs the command as a person would, with the operator's account, which may read records. Returns exit status and
/// output.
fn verify(world: &World, flags: &[&str]) -> (i32, String) {
    let dir = repository().join("target/scenario");
    std::fs::create_dir_all(&dir).unwrap();
    let kubeconfig = dir.join(format!("{}.kubeconfig", world.namespace));
    std::fs::write(&kubeconfig, world.kubeconfig().to_string()).unwrap();
    let ran = Command::new(env!("CARGO_BIN_EXE_modelsync"))
        .args(["verify"].iter().chain(flags))
        .env("KUBECONFIG", &kubeconfig)
        .output()
        .unwrap();
    std::fs::remove_file(kubeconfig).unwrap();
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (ran.status.code().unwrap(), text(&ran.stdout) + &text(&ran.stderr))
}

fn written(recorded: Recorded) -> StoredVersion {
    match recorded {
        Recorded::Stored(stored) => *stored,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn spec_of_a_record_cannot_be_changed_and_its_status_can() {
    without_operator("record", async |world| {
        let mut trainer = Trainer::of(world, "m").await;
        let stored = trainer.record(1).await;
        assert!(stored.record.sound, "the API server keeps it as it was written");
        let (spec, before) = stored.read().unwrap();
        for patch in [
            json!({ "spec": { "attempt": 2 } }),
            json!({ "spec": { "metrics": [] } }),
            json!({ "spec": { "gate": { "verdict": "Failed" } } }),
            json!({ "spec": { "resultsProblem": "none" } }),
        ] {
            let refused = trainer
                .objects()
                .patch(&stored.record.name, &PatchParams::default(), &Patch::Merge(&patch))
                .await
                .unwrap_err();
            assert!(refused.to_string().contains("never changes: it is a record"), "{patch}: {refused}");
        }
        let served = ServedBy { model_sync: "s".into(), uid: "1".into(), since: Timestamp::UNIX_EPOCH };
        let after = ModelVersionStatus { served_by: vec![served], ..before.clone() };
        let changed = trainer.versions.write_status(&stored.record, &before, &after).await.unwrap();
        assert_eq!(changed.read().unwrap(), (spec, after.clone()));
        assert!(changed.record.is_served() && changed.record.sound);
        let stale = trainer.versions.write_status(&stored.record, &after, &before).await.unwrap_err();
        assert_eq!(stale.code(), Some(409), "a status is only written to the version that was decided on");
        assert_eq!(trainer.versions.delete(&stored.record).await.unwrap_err().code(), Some(409));
        trainer.versions.delete(&changed.record).await.unwrap();
        assert!(trainer.versions.get(&world.namespace, &stored.record.name).await.unwrap().is_none());
        trainer.versions.delete(&changed.record).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn record_is_written_once_and_other_content_under_its_name_is_a_conflict() {
    without_operator("record_once", async |world| {
        let trainer = Trainer::of(world, "m").await;
        let spec = next_record(trainer.draft(1), None);
        let first = written(trainer.write(&spec).await);
        let again = written(trainer.write(&spec).await);
        assert_eq!(first.record, again.record, "a lost reply is no second record");
        let object = trainer.objects().get(&first.record.name).await.unwrap();
        assert_eq!(object.owner_references().len(), 0);
        let labels = [(keys::OWNER_UID, trainer.uid.as_str()), (keys::OWNER_KIND, "ModelTrain"), (keys::ATTEMPT, "1")];
        assert!(labels.iter().all(|(key, value)| object.labels()[*key] == *value), "{:?}", object.labels());

        let mut other = trainer.draft(1);
        other.metrics[0].value = Some("0.99".into());
        let other = next_record(other, None);
        let conflict = trainer.write(&other).await;
        assert!(matches!(conflict, Recorded::Conflict(Conflict::OtherContent(_))), "{conflict:?}");
        let mut other = trainer.draft(1);
        other.run.uid = "another".into();
        let conflict = trainer.write(&next_record(other, None)).await;
        assert!(matches!(conflict, Recorded::Conflict(Conflict::OtherRun(_))), "{conflict:?}");

        let owned = next_record(trainer.draft(2), Some(&reference(&spec)));
        written(trainer.versions.create(&world.namespace, &owned, DeletionPolicy::Delete).await);
        let owners = trainer.objects().get(&owned.run.name).await.unwrap().owner_references().to_vec();
        assert_eq!((owners.len(), &owners[0].uid, owners[0].controller), (1, &trainer.uid, Some(true)));
        assert_eq!(owners[0].block_owner_deletion, Some(false));
        let nameless = ModelVersionSpec { attempt: 0, ..trainer.draft(3) };
        let refused = trainer.write(&next_record(nameless, None)).await;
        assert!(matches!(refused, Recorded::Refused { reason: Reason::RecordRefused, .. }), "{refused:?}");
    })
    .await;
}

#[tokio::test]
async fn sixteen_full_records_of_a_training_stay_small() {
    without_operator("record_size", async |world| {
        let trainer = Trainer::of(world, "m").await;
        let mut head = None;
        for candidate in 0..16 {
            let mut draft = trainer.draft(1);
            draft.candidate = format!("candidate-{candidate:02}");
            draft.run.name = format!("m-0123456789abcdef-1-{}", draft.candidate);
            draft.metrics = serde_json::from_value(
                (0..64)
                    .map(
                        |n| json!({ "name": format!("metric.{n}"), "value": "0.123456789012345", "source": "Results" }),
                    )
                    .collect(),
            )
            .unwrap();
            let spec = next_record(draft, head.as_ref());
            written(trainer.write(&spec).await);
            head = Some(reference(&spec));
        }
        let listed = trainer.objects().list(&ListParams::default()).await.unwrap();
        for version in &listed.items {
            let size = serde_json::to_string(version).unwrap().len();
            // Most of it are managed fields, in which the API server notes who wrote which member.
            assert!(size < 12 * 1024, "{size} bytes");
        }
        assert_eq!(listed.items.len(), 16);
    })
    .await;
}

#[tokio::test]
async fn store_follows_records_by_their_train() {
    without_operator("record_store", async |world| {
        let mut trainer = Trainer::of(world, "m").await;
        let before = trainer.record(1).await;
        let clock = Clock::system();
        let clients = Clients::new(&world.operator_config(), &clock, Safeguards::default()).unwrap();
        let (store, stop) = (Arc::new(ModelVersions::new(clock.clone())), CancellationToken::new());
        let of = |uid: &str| match store.of(&world.namespace, uid) {
            VersionsOf::Known(found) => Some(found.iter().map(|v| v.record.attempt).collect::<Vec<_>>()),
            VersionsOf::Unknown | VersionsOf::Missing => None,
        };
        assert_eq!(of(&trainer.uid), None, "nothing is known before the first list");
        let sink =
            ModelVersionSink::new(store.clone(), Some(world.namespace.clone()), Arc::new(|_| {}), Arc::new(|| {}));
        let scope = Scope::new(model_versions(Some(&world.namespace)), String::new(), Shape::Object);
        let following = tokio::spawn(follow(clients.reads, clock, scope, sink, stop.clone()));
        let uid = trainer.uid.clone();
        world.wait("the list", async || of(&uid).filter(|found| *found == [1])).await;
        let second = trainer.record(2).await;
        world.wait("the second", async || of(&uid).filter(|found| *found == [1, 2])).await;
        assert_eq!(of("another"), Some(vec![]));
        assert_eq!(store.trains_named(&world.namespace, "m").len(), 1);
        let kept = store.get(&second.record.uid).unwrap();
        assert_eq!((&kept.record, kept.read().unwrap()), (&second.record, second.read().unwrap()));
        trainer.versions.delete(&before.record).await.unwrap();
        world.wait("the deletion", async || of(&uid).filter(|found| *found == [2])).await;
        store.insert(before);
        assert_eq!(of(&uid), Some(vec![2]), "a late reply brings nothing back");
        stop.cancel();
        following.await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn verify_proves_a_chain_and_finds_a_record_that_was_replaced() {
    without_operator("verify", async |world| {
        let mut trainer = Trainer::of(world, "m").await;
        for attempt in 1..=5 {
            trainer.record(attempt).await;
        }
        let (code, said) = trainer.verify(&["-n", &world.namespace]);
        assert!(code == 0 && said.contains("/m: ok: 5 records, newest m-0123456789abcdef-5 "), "{code} {said}");

        // The history limit works like this: first the note in status, then the deletion.
        let oldest = trainer.versions.get(&world.namespace, "m-0123456789abcdef-1").await.unwrap().unwrap();
        trainer.status.removed = remove(&trainer.status.removed, &[oldest.record.link()], &oldest.record.name).unwrap();
        trainer.commit().await;
        assert_eq!(trainer.verify(&["-n", &world.namespace, "m"]).0, 0, "noted, and not deleted yet");
        trainer.versions.delete(&oldest.record).await.unwrap();
        let (code, said) = trainer.verify(&["-n", &world.namespace]);
        assert!(code == 0 && said.contains("ok: 4 records, 1 removed"), "{code} {said}");

        // Written but not committed: the operator died between the two.
        let next = next_record(trainer.draft(6), trainer.status.head.as_ref());
        written(trainer.write(&next).await);
        let (code, said) = trainer.verify(&["-n", &world.namespace]);
        assert!(code == 0 && said.contains("note: m-0123456789abcdef-6: is written"), "{code} {said}");

        // A spec cannot be changed, so a forger has to delete the record and create another.
        let name = "m-0123456789abcdef-3";
        let honest = trainer.objects().get(name).await.unwrap();
        let forge = async |spec: ModelVersionSpec| {
            trainer.objects().delete(name, &DeleteParams::default()).await.unwrap();
            let (code, said) = trainer.verify(&["-n", &world.namespace, "-o", "json"]);
            assert!(code == 1 && said.contains("\"type\": \"Missing\""), "{code} {said}");
            let forged = ModelVersion::new(name, spec);
            trainer.objects().create(&PostParams::default(), &forged).await.unwrap();
        };
        let mut changed = honest.spec.clone();
        changed.metrics[0].value = Some("0.99".into());
        forge(changed.clone()).await;
        let (code, said) = trainer.verify(&["-n", &world.namespace]);
        assert!(code == 1 && said.contains("problem: m-0123456789abcdef-3: states digest"), "{code} {said}");
        forge(next_record(changed, honest.spec.previous.as_ref())).await;
        let (code, said) = trainer.verify(&["-A"]);
        assert_eq!(code, 2, "the operator's account may read this namespace only: {said}");
        let (code, said) = trainer.verify(&["-n", &world.namespace]);
        assert!(code == 1 && said.contains("is not what m-0123456789abcdef-4 names"), "{code} {said}");
        forge(honest.spec).await;
        assert_eq!(trainer.verify(&["-n", &world.namespace]).0, 0, "restored word by word, it is the same record");
        assert_eq!(trainer.verify(&["-n", &world.namespace, "nobody"]).0, 2);
    })
    .await;
}

#[tokio::test]
async fn records_of_a_deleted_train_are_verified_from_a_file_too() {
    without_operator("verify_orphans", async |world| {
        let mut trainer = Trainer::of(world, "m").await;
        for attempt in 1..=3 {
            trainer.record(attempt).await;
        }
        let trains = api(&world.client, keys::API_VERSION, "ModelTrain", Some(&world.namespace));
        trains.delete("m", &DeleteParams::default()).await.unwrap();
        let orphans = format!("/m (deleted, uid {}): ok: 3 records", trainer.uid);
        let (code, said) = trainer.verify(&["-n", &world.namespace]);
        assert!(code == 0 && said.contains(&orphans), "{code} {said}");

        let items = trainer.objects().list(&ListParams::default()).await.unwrap().items;
        let mut list = json!({ "apiVersion": "v1", "kind": "List", "items": items });
        let file = repository().join(format!("target/scenario/{}.json", world.namespace));
        std::fs::write(&file, list.to_string()).unwrap();
        let path = file.to_str().unwrap();
        let (code, said) = trainer.verify(&["-f", path]);
        assert!(code == 0 && said.contains(&orphans), "{code} {said}");
        list["items"][1]["spec"]["artifact"]["uri"] = json!("s3://models/other");
        std::fs::write(&file, list.to_string()).unwrap();
        assert_eq!(trainer.verify(&["-f", path]).0, 1);
        std::fs::write(&file, "[]").unwrap();
        assert_eq!(trainer.verify(&["-f", path]).0, 2);
        std::fs::remove_file(&file).unwrap();
        assert_eq!(trainer.verify(&["-f", path]).0, 2);
    })
    .await;
}

/// The record in the documents is valid: the API server accepts it, and its digest is right.
#[tokio::test]
async fn record_of_the_documents_is_accepted_and_its_digest_is_right() {
    without_operator("record_document", async |world| {
        let text = std::fs::read_to_string(repository().join("docs/records.md")).unwrap();
        let blocks = text.split("```yaml\n").skip(1).map(|rest| rest.split("\n```").next().unwrap());
        let objects = blocks.flat_map(yaml).filter(|object| object["kind"] == "ModelVersion");
        let mut count = 0;
        for object in objects {
            let name = object["metadata"]["name"].as_str().unwrap();
            let params = PatchParams {
                field_validation: Some(ValidationDirective::Strict),
                ..PatchParams::apply("reader").dry_run()
            };
            let stored = api(&world.client, keys::API_VERSION, "ModelVersion", Some(&world.namespace))
                .patch(name, &params, &Patch::Apply(&object))
                .await
                .unwrap_or_else(|error| panic!("{object:#}: {error}"));
            let stored: Value = serde_json::to_value(stored).unwrap();
            assert_eq!(modelsync::core::version::chain::digest_as_stored(&stored["spec"]), stored["spec"]["digest"]);
            count += 1;
        }
        assert_eq!(count, 1);
    })
    .await;
}
