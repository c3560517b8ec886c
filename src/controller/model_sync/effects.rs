//! Carries out what a pass has decided on, one effect at a time, and remembers what came of it. IO through `kube_io` only.

use tracing::{debug, info, warn};

use super::{KIND, ModelSyncController, Step};
use crate::{
    api::{ModelSync, ModelSyncStatus, Reason, RunSlot},
    core::{
        effect::{CreateRun, DeleteRun, StopRun},
        reservation::{Lookup, Post, PostState, Refusal},
        run::{OwnerReference, RunBackend, RunKind, RunRequest},
        sync::{Note, Unlabelled, notes, validate},
    },
    kube_io::{
        apply::{Created, Found, Written},
        record::ObjectRecord,
    },
    schedule::queue::Next,
};

impl ModelSyncController {
    pub(super) async fn write_status(
        &self,
        object: &ObjectRecord<ModelSync>,
        before: &ModelSyncStatus,
        after: &ModelSyncStatus,
    ) -> Step {
        let name = &*object.identity.name;
        match self.context.api.write_status(object, before, after).await {
            Written::Stored(record) => {
                self.tell(object, before, after);
                self.context.objects.insert(*record);
                Step::Done
            }
            Written::Reread(Some(record)) if record.resource_version != object.resource_version => {
                debug!(object = name, "the object changed meanwhile; deciding again");
                self.context.objects.insert(*record);
                Step::Stop(Next::Now)
            }
            Written::Reread(None) => {
                self.context.objects.remove(&object.identity.uid);
                Step::Stop(Next::Now)
            }
            Written::Reread(Some(_)) => {
                warn!(object = name, "the API server does not take the status; trying again");
                Step::Stop(Next::Failed)
            }
            Written::Failed(error) => {
                warn!(object = name, %error, "the status could not be written; trying again");
                Step::Stop(Next::Failed)
            }
        }
    }

    /// Events and metrics of what was just stored.
    fn tell(&self, object: &ObjectRecord<ModelSync>, before: &ModelSyncStatus, after: &ModelSyncStatus) {
        for note in notes(before, after) {
            self.context.events.publish(&object.identity, KIND, &note);
        }
        if let Some(last) = after.last_run.as_ref().filter(|last| before.last_run.as_ref() != Some(last)) {
            info!(
                object = &*object.identity.name,
                namespace = &*object.identity.namespace,
                run = last.name,
                outcome = last.outcome.as_str(),
                "run ended"
            );
            self.context.metrics.run_ended(last.outcome.as_str());
        }
    }

    pub(super) async fn create_run(&self, object: &ObjectRecord<ModelSync>, run: &CreateRun) -> Step {
        let identity = &object.identity;
        // From here until the reply nobody can say whether the run exists; a crash in between leaves it at that.
        self.remember_post(&identity.uid, &run.nonce, PostState::Unknown);
        let created = match self.build(object, run) {
            Ok((backend, body)) => self.context.api.create_run(backend, &identity.uid, &body).await,
            Err(message) => Created::Refused { reason: Reason::RunRefused, message, stalled: true },
        };
        let state = match created {
            Created::Ours(stored) => {
                info!(object = &*identity.name, namespace = &*identity.namespace, run = run.name, "run created");
                self.context.metrics.run_started(run.kind.kind);
                let text = format!("created {} {}", run.kind.kind, run.name);
                self.context.events.publish(
                    identity,
                    KIND,
                    &Note { warning: false, reason: Reason::RunStarted, action: "Create", text },
                );
                self.context.runs.insert(*stored);
                PostState::Created
            }
            Created::Refused { reason, message, stalled } => {
                warn!(
                    object = &*identity.name,
                    namespace = &*identity.namespace,
                    run = run.name,
                    reason = reason.as_str(),
                    message,
                    "run refused"
                );
                let (generation, trigger, at) =
                    (identity.generation, identity.trigger.clone(), self.context.clock.mono());
                PostState::Refused(Refusal { reason, message, stalled, generation, trigger, at })
            }
            Created::Unknown(error) => {
                warn!(object = &*identity.name, namespace = &*identity.namespace, run = run.name, %error, "it is not known whether the run was created");
                PostState::Unknown
            }
        };
        self.remember_post(&identity.uid, &run.nonce, state);
        Step::Done
    }

    fn build(
        &self,
        object: &ObjectRecord<ModelSync>,
        run: &CreateRun,
    ) -> Result<(&'static dyn RunBackend, serde_json::Value), String> {
        let (spec, _) = object.read();
        let spec = spec.map_err(|invalid| invalid.to_string())?;
        let template = validate(&spec, self.context.backends).map_err(|invalid| invalid.to_string())?.template;
        let backend =
            self.backend(run.kind.kind).ok_or_else(|| format!("{} is not supported by this operator", run.kind))?;
        let owner = OwnerReference {
            api_version: crate::api::keys::API_VERSION,
            kind: KIND,
            name: object.identity.name.to_string(),
            uid: object.identity.uid.to_string(),
        };
        let request = RunRequest {
            name: &run.name,
            namespace: &object.identity.namespace,
            template,
            parameters: &run.parameters,
            labels: &run.labels,
            annotations: &run.annotations,
            owner: run.owned.then_some(&owner),
            timeout: run.timeout,
        };
        backend.build(&request).map(|body| (backend, body)).map_err(|invalid| invalid.to_string())
    }

    pub(super) async fn look_up(&self, object: &ObjectRecord<ModelSync>, slot: &RunSlot) -> Step {
        let identity = &object.identity;
        let Some(backend) = self.backend(&slot.kind) else {
            warn!(
                object = &*identity.name,
                kind = slot.kind,
                "the reserved run is of a kind that this operator does not know"
            );
            return Step::Stop(Next::Failed);
        };
        let sent = self.context.clock.now();
        let foreign = match self.context.api.find_run(backend, &identity.uid, &identity.namespace, &slot.run_name).await
        {
            Ok(Found::Ours(run)) => {
                self.context.runs.insert(*run);
                return Step::Done;
            }
            Ok(Found::Absent) => None,
            Ok(Found::Foreign(owner)) => Some(owner),
            Err(error) => {
                warn!(object = &*identity.name, run = slot.run_name, %error, "the reserved run could not be looked up; trying again");
                return Step::Stop(Next::Failed);
            }
        };
        let lookup =
            Lookup { run_name: slot.run_name.clone(), sent_at: sent.server_or_wall(), sent: sent.mono, foreign };
        self.memories().entry((*identity.uid).into()).or_default().lookup = Some(lookup);
        Step::Done
    }

    pub(super) async fn stop_run(&self, object: &ObjectRecord<ModelSync>, run: &StopRun) -> Step {
        let identity = &object.identity;
        let Some(backend) = self.backend(run.kind.kind) else { return Step::Stop(Next::Failed) };
        match self.context.api.stop_run(backend, &identity.namespace, run).await {
            Ok(stored) => {
                info!(object = &*identity.name, run = run.name, cause = run.cause.as_str(), "run is being ended");
                let text = format!("{} {} is being ended: {}", run.kind.kind, run.name, run.cause.as_str());
                let note = Note { warning: true, reason: Reason::RunStopped, action: "Stop", text };
                self.context.events.publish(identity, KIND, &note);
                self.context.runs.insert(stored);
                Step::Done
            }
            Err(error) => {
                warn!(object = &*identity.name, run = run.name, %error, "the run could not be ended; trying again");
                Step::Stop(Next::Failed)
            }
        }
    }

    pub(super) async fn find_unlabelled(&self, object: &ObjectRecord<ModelSync>, kind: RunKind) -> Step {
        let identity = &object.identity;
        let Some(backend) = self.backend(kind.kind) else { return Step::Stop(Next::Failed) };
        match self.context.unlabelled.find(backend, &identity.namespace, &identity.uid).await {
            Ok(run) => {
                let seen = Unlabelled { run, at: self.context.clock.mono() };
                self.memories().entry((*identity.uid).into()).or_default().unlabelled = Some(seen);
                Step::Done
            }
            Err(error) => {
                warn!(object = &*identity.name, %error, "runs of an earlier operator could not be looked for; trying again");
                Step::Stop(Next::Failed)
            }
        }
    }

    pub(super) async fn delete_run(&self, object: &ObjectRecord<ModelSync>, run: &DeleteRun) -> Step {
        match self.context.api.delete_run(&object.identity.namespace, run).await {
            Ok(()) => {
                debug!(object = &*object.identity.name, run = run.name, "deleted a run beyond the history limit");
                self.context.runs.remove(&run.uid);
                Step::Done
            }
            Err(error) => {
                warn!(object = &*object.identity.name, run = run.name, %error, "a run beyond the history limit could not be deleted");
                Step::Stop(Next::Failed)
            }
        }
    }

    fn remember_post(&self, uid: &str, nonce: &str, state: PostState) {
        self.memories().entry(uid.into()).or_default().post = Some(Post { nonce: nonce.to_owned(), state });
    }
}
