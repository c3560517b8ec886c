//! Carries out the effects that only ModelTrains have: results, gate and records. IO through `kube_io` only.

use std::{sync::Arc, time::Duration};

use tracing::{info, warn};

use super::ModelTrains;
use crate::{
    api::{DeletionPolicy, ModelVersionSpec, ModelVersionStatus, Verdict},
    controller::{
        effects::EffectResult,
        reconcile::{Controller, ReconciledObject, failed},
    },
    core::{
        gate::Judgement,
        time::MonotonicTime,
        train::{Evidence, ReadResults, RecordRefusal},
    },
    kube_io::{
        results::read_results,
        store::VersionsOf,
        versions::{self, Conflict, Recorded, StoredVersion},
    },
    lineage::event::{End, Run},
    schedule::queue::Requeue,
};

/// How long one candidate may be judged. Evaluation is bounded by steps; this is the last resort.
const JUDGE: Duration = Duration::from_secs(5);

type Trains = Controller<ModelTrains>;
type TrainObject<'a> = ReconciledObject<'a, ModelTrains>;

impl ModelTrains {
    pub(super) async fn read_results(
        &self,
        controller: &Trains,
        object: &TrainObject<'_>,
        wanted: &ReadResults,
    ) -> EffectResult {
        let (info, run) = (object.info(), &wanted.run_name);
        let Some(backend) = controller.context.runs.backend(&wanted.kind) else {
            return EffectResult::Stop(Requeue::Failed);
        };
        let metrics = object.spec.ok().and_then(|spec| spec.metrics.as_deref());
        let container = metrics.and_then(|metrics| metrics.container.as_deref());
        match read_results(&self.reads, backend, &info.namespace, run, &wanted.run_uid, container).await {
            Ok(results) => {
                let uid = wanted.run_uid.clone();
                controller.memories.change(&info.uid, |memory| drop(memory.results.insert(uid, results)));
                EffectResult::Done
            }
            Err(error) => failed(object, &format!("the results of run {run} could not be read"), &error),
        }
    }

    /// Judges on a thread of its own, so that no other reconcile waits.
    pub(super) async fn judge(
        &self,
        controller: &Trains,
        object: &TrainObject<'_>,
        evidence: &Evidence,
    ) -> EffectResult {
        let (name, digest) = (evidence.run_name.clone(), evidence.digest.clone());
        let evidence = evidence.clone();
        let judging = tokio::task::spawn_blocking(move || evidence.judge());
        let judgement = if let Ok(Ok(judgement)) = tokio::time::timeout(JUDGE, judging).await {
            judgement
        } else {
            warn!(object = &*object.info().name, run = name, "a candidate could not be judged in time");
            Judgement { verdict: Verdict::Inconclusive, rules: Vec::new() }
        };
        let uid = &object.info().uid;
        controller.memories.change(uid, |memory| drop(memory.judged.insert(name, (digest, judgement))));
        EffectResult::Done
    }

    /// Writes a record. A record of that name with the same run and the same place in the chain is this one: it was written
    /// before a crash, from metrics that may have changed since.
    pub(super) async fn create_version(
        &self,
        controller: &Trains,
        object: &TrainObject<'_>,
        spec: &ModelVersionSpec,
        policy: DeletionPolicy,
    ) -> EffectResult {
        let (info, name) = (object.info(), spec.run.name.clone());
        match self.records.create(&info.namespace, spec, policy).await {
            Recorded::Stored(stored) => {
                emit_recorded(controller, object, spec);
                controller.memories.change(&info.uid, |memory| drop(memory.refused_records.remove(&name)));
                self.versions.insert(*stored);
                EffectResult::Done
            }
            Recorded::Conflict(Conflict::OtherContent(found))
                if found.record.sound && found.record.previous.as_deref() == object.status.head.as_ref() =>
            {
                self.versions.insert(*found);
                EffectResult::Done
            }
            Recorded::Conflict(conflict) => {
                let remedy = conflict.remedy();
                warn!(object = &*info.name, version = name, remedy, "a record cannot be written");
                let seen = (remedy, controller.context.runs.clock.mono());
                controller.memories.change(&info.uid, |memory| drop(memory.conflicts.insert(name, seen)));
                EffectResult::Done
            }
            Recorded::Refused { reason, message } => {
                let message = format!("the record {name} cannot be written: {message}");
                let at = refused(controller, object, &message);
                controller.memories.change(&info.uid, |memory| {
                    let earlier = memory.refused_records.get(&name);
                    let refusal = RecordRefusal::after(earlier, reason, message, at);
                    memory.refused_records.insert(name, refusal);
                });
                EffectResult::Done
            }
            Recorded::Unknown(error) => {
                failed(object, &format!("it is unknown whether the record {name} was written"), &error)
            }
        }
    }

    /// Looks up a record that the watch does not show. A record of another object with that name is a conflict.
    pub(super) async fn look_up_version(
        &self,
        controller: &Trains,
        object: &TrainObject<'_>,
        name: &str,
    ) -> EffectResult {
        let info = object.info();
        match self.records.get(&info.namespace, name).await {
            Ok(Some(found)) if found.record.train_uid == info.uid => self.versions.insert(found),
            Ok(_) => controller.memories.change(&info.uid, |memory| memory.absent.extend([name.to_owned()])),
            Err(error) => {
                return failed(object, &format!("the record {name} could not be looked up"), &error);
            }
        }
        EffectResult::Done
    }

    pub(super) async fn write_version_status(
        &self,
        controller: &Trains,
        object: &TrainObject<'_>,
        name: &str,
        after: &ModelVersionStatus,
    ) -> EffectResult {
        let Some(version) = self.version(object, name) else { return EffectResult::Done };
        let Ok((_, before)) = version.read() else { return EffectResult::Done };
        match self.records.write_status(&version.record, &before, after).await {
            Ok(stored) => {
                self.versions.insert(stored);
                controller.memories.change(&object.info().uid, |memory| memory.refused_publication = None);
                EffectResult::Done
            }
            Err(error) => match versions::refused(&error).filter(|_| error.code() != Some(404)) {
                Some(reason) => {
                    let message = format!("the status of the record {name} cannot be written: {error}");
                    let at = refused(controller, object, &message);
                    controller.memories.change(&object.info().uid, |memory| {
                        let earlier = memory.refused_publication.as_ref();
                        memory.refused_publication = Some(RecordRefusal::after(earlier, reason, message, at));
                    });
                    EffectResult::Stop(Requeue::Now)
                }
                None => failed(object, &format!("the status of the record {name} could not be written"), &error),
            },
        }
    }

    pub(super) async fn delete_version(&self, object: &TrainObject<'_>, name: &str) -> EffectResult {
        let Some(version) = self.version(object, name) else { return EffectResult::Done };
        match self.records.delete(&version.record).await {
            Ok(()) => {
                self.versions.remove(&version.record.uid);
                EffectResult::Done
            }
            Err(error) => failed(object, &format!("the record {name} beyond the limit could not be deleted"), &error),
        }
    }

    fn version(&self, object: &TrainObject<'_>, name: &str) -> Option<Arc<StoredVersion>> {
        let VersionsOf::Known(versions) = self.versions.of(&object.info().namespace, &object.info().uid) else {
            return None;
        };
        versions.into_iter().find(|version| *version.record.name == *name)
    }
}

/// Logs and counts that a record or its status was refused. Returns the time.
fn refused(controller: &Trains, object: &TrainObject<'_>, message: &str) -> MonotonicTime {
    let (info, runs) = (object.info(), &controller.context.runs);
    warn!(object = &*info.name, namespace = &*info.namespace, error = message, "the API server refuses a record");
    runs.metrics.write_refused("ModelVersion");
    runs.clock.mono()
}

/// Logs and counts the end of a run whose record was just written, and sends it to the lineage service.
fn emit_recorded(controller: &Trains, object: &TrainObject<'_>, spec: &ModelVersionSpec) {
    let (info, runs) = (object.info(), &controller.context.runs);
    info!(
        object = &*info.name,
        namespace = &*info.namespace,
        version = spec.run.name,
        verdict = spec.gate.verdict.as_str(),
        "recorded"
    );
    let end = End::of_record(spec, runs.clock.now().wall);
    runs.lineage.ended(&Run::of_record(&info.namespace, spec), &end);
    runs.metrics.run_ended(spec.run.outcome.as_str());
}
