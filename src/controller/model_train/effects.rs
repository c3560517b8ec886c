//! Carries out what a pass over a ModelTrain has decided on, one effect at a time, and remembers what came of it. IO through
//! `kube_io` only.

use std::{sync::Arc, time::Duration};

use tracing::{info, warn};

use super::{KIND, ModelTrainController};
use crate::{
    api::{DeletionPolicy, ModelTrain, ModelTrainStatus, ModelVersionSpec, ModelVersionStatus, RunSlot, Verdict},
    controller::effects::{Step, write_status},
    core::{
        gate::Judgement,
        run::{
            claim::{Post, PostState},
            effects::CreateRun,
            template,
        },
        train::{Evidence, ReadResults, events},
    },
    kube_io::{
        record::ObjectRecord,
        results::read_results,
        store::VersionsOf,
        versions::{Conflict, Recorded, StoredVersion},
    },
    lineage::event::{End, Job, JobKind, Run},
    schedule::queue::Requeue,
};

/// How long one candidate may be judged. Evaluation is bounded by steps, so that this is for what nobody thought of.
const JUDGE: Duration = Duration::from_secs(5);

impl ModelTrainController {
    pub(super) async fn write_status(
        &self,
        object: &ObjectRecord<ModelTrain>,
        before: &ModelTrainStatus,
        after: &ModelTrainStatus,
    ) -> Step {
        let step = write_status(&self.context.runs.api, &self.context.objects, object, before, after).await;
        if matches!(step, Step::Done) {
            for event in events(before, after) {
                self.context.runs.events.publish(&object.identity, KIND, &event);
            }
        }
        step
    }

    pub(super) async fn create_run(
        &self,
        object: &ObjectRecord<ModelTrain>,
        status: &ModelTrainStatus,
        run: &CreateRun,
    ) -> Step {
        let identity = &object.identity;
        let post = |state| {
            let post = Post { nonce: run.nonce.clone(), state };
            self.memories.change(&identity.uid, |memory| drop(memory.posts.insert(run.name.clone(), post)));
        };
        // From here until the reply nobody can say whether the run exists; a crash in between leaves it at that.
        post(PostState::Unknown);
        let read = object.read().0;
        let template = match &read {
            Ok(read) => template::template(read.pipeline_run_template.as_ref(), read.job_template.as_ref())
                .map_err(|invalid| invalid.to_string()),
            Err(invalid) => Err(invalid.to_string()),
        };
        let state = self.context.runs.create((KIND, identity), run, template).await;
        if state == PostState::Created {
            self.emit_started(object, status, run);
        }
        post(state);
        Step::Done
    }

    /// Tells of a run that was created just now.
    fn emit_started(&self, object: &ObjectRecord<ModelTrain>, status: &ModelTrainStatus, run: &CreateRun) {
        let identity = &object.identity;
        let Some(open) = &status.reservation else { return };
        let candidate = open.slots.iter().find(|slot| slot.run_name == run.name).map(|slot| slot.candidate.as_str());
        let own = self.context.runs.runs.named(&identity.uid, &run.name);
        let Some(stored) = own else { return };
        self.context.lineage.started(
            &Run {
                job: Job {
                    kind: JobKind::Training,
                    namespace: &identity.namespace,
                    name: &identity.name,
                    uid: &identity.uid,
                },
                uid: &stored.uid,
                kind: run.kind.kind,
                name: &run.name,
                attempt: open.attempt,
                candidate: candidate.unwrap_or_default(),
                reasons: &open.reasons,
                inputs: &open.inputs,
                parameters: run.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
                parent: None,
            },
            stored.created_at.unwrap_or_else(|| self.context.runs.clock.now().wall),
        );
    }

    pub(super) async fn look_up(&self, object: &ObjectRecord<ModelTrain>, slot: &RunSlot) -> Step {
        match self.context.runs.look_up(&object.identity, slot).await {
            Ok(None) => Step::Done,
            Ok(Some(lookup)) => {
                let name = slot.run_name.clone();
                self.memories.change(&object.identity.uid, |memory| drop(memory.lookups.insert(name, lookup)));
                Step::Done
            }
            Err(next) => Step::Stop(next),
        }
    }

    pub(super) async fn read_results(&self, object: &ObjectRecord<ModelTrain>, wanted: &ReadResults) -> Step {
        let identity = &object.identity;
        let Some(backend) = self.context.runs.backend(&wanted.kind) else { return Step::Stop(Requeue::Failed) };
        let container = object.read().0.ok().and_then(|spec| spec.metrics?.container);
        let read = read_results(
            &self.context.reads,
            backend,
            &identity.namespace,
            &wanted.run_name,
            &wanted.run_uid,
            container.as_deref(),
        );
        match read.await {
            Ok(results) => {
                let uid = wanted.run_uid.clone();
                self.memories.change(&identity.uid, |memory| drop(memory.results.insert(uid, results)));
                Step::Done
            }
            Err(error) => {
                warn!(object = &*identity.name, run = wanted.run_name, %error, "the results of a run could not be read; trying again");
                Step::Stop(Requeue::Failed)
            }
        }
    }

    /// Judges on a thread that no other pass waits for.
    pub(super) async fn judge(&self, object: &ObjectRecord<ModelTrain>, evidence: &Evidence) -> Step {
        let (name, digest) = (evidence.run_name.clone(), evidence.digest.clone());
        let evidence = evidence.clone();
        let judging = tokio::task::spawn_blocking(move || evidence.judge());
        let judgement = if let Ok(Ok(judgement)) = tokio::time::timeout(JUDGE, judging).await {
            judgement
        } else {
            warn!(object = &*object.identity.name, run = name, "a candidate could not be judged in time");
            Judgement { verdict: Verdict::Inconclusive, rules: Vec::new() }
        };
        self.memories.change(&object.identity.uid, |memory| drop(memory.judged.insert(name, (digest, judgement))));
        Step::Done
    }

    /// Writes a record. What stands already under its name, of the same run and at the same place in the chain, is this
    /// record: written before a crash, from metrics that may have changed since.
    pub(super) async fn create_version(
        &self,
        object: &ObjectRecord<ModelTrain>,
        status: &ModelTrainStatus,
        spec: &ModelVersionSpec,
        policy: DeletionPolicy,
    ) -> Step {
        let identity = &object.identity;
        let name = spec.run.name.clone();
        match self.context.records.create(&identity.namespace, spec, policy).await {
            Recorded::Stands(stored) => {
                info!(
                    object = &*identity.name,
                    namespace = &*identity.namespace,
                    version = name,
                    verdict = spec.gate.verdict.as_str(),
                    "recorded"
                );
                let now = self.context.runs.clock.now().wall;
                let run = Run::of_record(&identity.namespace, spec);
                self.context.lineage.ended(&run, &End::of_record(spec, now));
                self.context.runs.metrics.run_ended(spec.run.outcome.as_str());
                self.context.versions.insert(*stored);
                Step::Done
            }
            Recorded::Conflict(Conflict::OtherContent(found))
                if found.record.sound && found.record.previous.as_deref() == status.head.as_ref() =>
            {
                self.context.versions.insert(*found);
                Step::Done
            }
            Recorded::Conflict(conflict) => {
                let remedy = conflict.remedy();
                warn!(object = &*identity.name, version = name, remedy, "a record cannot be written");
                let seen = (remedy, self.context.runs.clock.mono());
                self.memories.change(&identity.uid, |memory| drop(memory.conflicts.insert(name, seen)));
                Step::Done
            }
            Recorded::Refused { code, message } => {
                warn!(object = &*identity.name, version = name, code, message, "a record was refused; trying again");
                Step::Stop(Requeue::Failed)
            }
            Recorded::Unknown(error) => {
                warn!(object = &*identity.name, version = name, %error, "it is not known whether a record was written; trying again");
                Step::Stop(Requeue::Failed)
            }
        }
    }

    /// Looks for a record that the watch does not show. One of another object's is not the one that is meant.
    pub(super) async fn look_up_version(&self, object: &ObjectRecord<ModelTrain>, name: &str) -> Step {
        let identity = &object.identity;
        match self.context.records.get(&identity.namespace, name).await {
            Ok(Some(found)) if found.record.train_uid == identity.uid => self.context.versions.insert(found),
            Ok(_) => self.memories.change(&identity.uid, |memory| memory.absent.extend([name.to_owned()])),
            Err(error) => {
                warn!(object = &*identity.name, version = name, %error, "a record could not be looked up; trying again");
                return Step::Stop(Requeue::Failed);
            }
        }
        Step::Done
    }

    pub(super) async fn write_version_status(
        &self,
        object: &ObjectRecord<ModelTrain>,
        name: &str,
        after: &ModelVersionStatus,
    ) -> Step {
        let Some(version) = self.version(object, name) else { return Step::Done };
        let Ok((_, before)) = version.read() else { return Step::Done };
        match self.context.records.write_status(&version.record, &before, after).await {
            Ok(stored) => {
                self.context.versions.insert(stored);
                Step::Done
            }
            Err(error) => {
                warn!(object = &*object.identity.name, version = name, %error, "the status of a record could not be written; trying again");
                Step::Stop(Requeue::Failed)
            }
        }
    }

    pub(super) async fn delete_version(&self, object: &ObjectRecord<ModelTrain>, name: &str) -> Step {
        let Some(version) = self.version(object, name) else { return Step::Done };
        match self.context.records.delete(&version.record).await {
            Ok(()) => {
                self.context.versions.remove(&version.record.uid);
                Step::Done
            }
            Err(error) => {
                warn!(object = &*object.identity.name, version = name, %error, "a record beyond the limit could not be deleted");
                Step::Stop(Requeue::Failed)
            }
        }
    }

    fn version(&self, object: &ObjectRecord<ModelTrain>, name: &str) -> Option<Arc<StoredVersion>> {
        let VersionsOf::Known(versions) = self.context.versions.of(&object.identity.namespace, &object.identity.uid)
        else {
            return None;
        };
        versions.into_iter().find(|version| *version.record.name == *name)
    }
}
