//! The effects that every kind of object has: writes of status, and requests about runs. IO through `kube_io` only.

use std::sync::Arc;

use tracing::{debug, info, warn};

use crate::{
    api::{Kind, Reason, RunSlot, keys},
    clock::Clock,
    core::{
        run::{
            backend::{Obstacle, OwnerReference, RunBackend, RunRecord, RunRequest, Template},
            claim::{CreateRefusal, Lookup, PostState},
            effects::{CreateRun, DeleteRun, StopRun},
            knowledge::ObjectInfo,
            obstacle::InspectRun,
        },
        status::{event::ObjectEvent, wake_up::WakeUp},
    },
    kube_io::{
        apply::{ApiServer, Created, NamedRun, Written},
        events::Events,
        obstacles::Obstacles,
        record::ObjectRecord,
        store::{Objects, Runs},
    },
    lineage::Lineage,
    schedule::queue::Requeue,
    telemetry::metrics::Metrics,
};

/// The result of one effect.
pub enum EffectResult {
    /// It succeeded: continue with the next effect.
    Done,
    /// The rest of the plan is no longer valid.
    Stop(Requeue),
}

/// The result of an inspection.
pub enum Inspected {
    /// What keeps the run from starting its work; `None` if the cluster does not say.
    Found(Option<Obstacle>),
    /// It could not be inspected now.
    Postponed,
}

/// When to reconcile again after a plan was carried out. A reconcile that changed anything is followed by another at once,
/// which continues from the state that this one wrote.
pub const fn requeue(unchanged: bool, wake_up: WakeUp) -> Requeue {
    match wake_up {
        _ if !unchanged => Requeue::Now,
        WakeUp::At(at) => Requeue::At(at),
        WakeUp::OnEvent => Requeue::OnEvent,
    }
}

/// The result of a status write.
pub enum StatusWrite {
    /// It was written.
    Stored,
    /// It was certainly refused, with these words.
    Refused(String),
    /// It was not written, or it is unknown whether it was.
    Stop(Requeue),
}

/// Writes a status, and stores the object that the API server then has.
pub async fn write_status<K: Kind>(
    api: &ApiServer,
    objects: &Objects<K>,
    object: &ObjectRecord<K>,
    before: &K::Status,
    after: &K::Status,
) -> StatusWrite {
    let name = &*object.identity.name;
    match api.write_status(object, before, after).await {
        Written::Stored(record) => {
            objects.insert(*record);
            StatusWrite::Stored
        }
        Written::Reread(Some(record), _) if record.resource_version != object.resource_version => {
            debug!(kind = K::KIND, object = name, "the object changed meanwhile; deciding again");
            objects.insert(*record);
            StatusWrite::Stop(Requeue::Later)
        }
        Written::Reread(None, _) => {
            objects.remove(&object.identity.uid);
            StatusWrite::Stop(Requeue::Later)
        }
        Written::Reread(Some(_), error) => {
            warn!(
                kind = K::KIND,
                object = name,
                error = error.to_string(),
                "the API server does not take the status; trying again"
            );
            match error.code() {
                None | Some(409) => StatusWrite::Stop(Requeue::Failed),
                Some(_) => StatusWrite::Refused(error.to_string()),
            }
        }
        Written::Failed(error) => {
            warn!(
                kind = K::KIND,
                object = name,
                error = error.to_string(),
                "the status could not be written; trying again"
            );
            StatusWrite::Stop(Requeue::Failed)
        }
    }
}

/// The requests about runs, for both kinds of object.
#[derive(Clone)]
pub struct RunEffects {
    /// The clock.
    pub clock: Arc<Clock>,
    /// The runs.
    pub runs: Arc<Runs>,
    /// The backends.
    pub backends: &'static [&'static dyn RunBackend],
    /// Sends the requests.
    pub api: ApiServer,
    /// Inspects active runs.
    pub obstacles: Obstacles,
    /// Publishes events.
    pub events: Events,
    /// Counts runs.
    pub metrics: Arc<Metrics>,
    /// Sends events to the lineage service.
    pub lineage: Lineage,
}

impl RunEffects {
    /// The backend of a kind.
    pub fn backend(&self, kind: &str) -> Option<&'static dyn RunBackend> {
        self.backends.iter().find(|backend| backend.kind().kind == kind).copied()
    }

    /// Sends the POST of a reserved run, once. The result is certain, or says that the outcome is unknown.
    pub async fn create(
        &self,
        (kind, identity): (&'static str, &ObjectInfo),
        run: &CreateRun,
        template: Result<Template<'_>, String>,
    ) -> PostState {
        let left_out = template.as_ref().ok().zip(self.backend(run.kind.kind));
        let left_out = left_out.map(|(template, backend)| backend.left_out(*template)).unwrap_or_default();
        let built = template.and_then(|template| self.build((kind, identity), run, template));
        let created = match built {
            Ok((backend, body)) => self.api.create_run(backend, &identity.uid, &run.proofs, &body).await,
            Err(message) => Created::Refused { reason: Reason::RunRefused, message, stalled: true },
        };
        let (object, namespace) = (&*identity.name, &*identity.namespace);
        match created {
            Created::Ours(stored) => {
                info!(object, namespace, run = run.name, "run created");
                self.metrics.run_started(run.kind.kind);
                let without = if left_out.is_empty() {
                    String::new()
                } else {
                    let labels = left_out.join(", ");
                    format!("; without these labels of the template, which its controller sets itself: {labels}")
                };
                let text = format!("created {} {}{without}", run.kind.kind, run.name);
                let event = ObjectEvent { warning: false, reason: Reason::RunStarted, action: "Create", text };
                self.events.publish(identity, kind, &event);
                self.runs.insert(*stored);
                PostState::Created
            }
            Created::Refused { reason, message, stalled } => {
                warn!(object, namespace, run = run.name, reason = reason.as_str(), error = message, "run refused");
                let (generation, trigger, at) = (identity.generation, identity.handled_trigger(), self.clock.mono());
                PostState::Refused(CreateRefusal { reason, message, stalled, generation, trigger, at })
            }
            Created::Unknown(error) => {
                warn!(
                    object,
                    namespace,
                    run = run.name,
                    error = error.to_string(),
                    "it is not known whether the run was created"
                );
                PostState::Unknown
            }
        }
    }

    fn build(
        &self,
        (kind, identity): (&'static str, &ObjectInfo),
        run: &CreateRun,
        template: Template<'_>,
    ) -> Result<(&'static dyn RunBackend, serde_json::Value), String> {
        let backend =
            self.backend(run.kind.kind).ok_or_else(|| format!("{} is not supported by this operator", run.kind))?;
        let owner = OwnerReference {
            api_version: keys::API_VERSION,
            kind,
            name: identity.name.to_string(),
            uid: identity.uid.to_string(),
        };
        let request = RunRequest {
            name: &run.name,
            namespace: &identity.namespace,
            template,
            parameters: &run.parameters,
            labels: &run.labels,
            annotations: &run.annotations,
            owner: run.owned.then_some(&owner),
            timeout: run.timeout,
        };
        backend.build(&request).map(|body| (backend, body)).map_err(|invalid| invalid.to_string())
    }

    /// Reads a reserved run from the API server. `None`: it exists and is ours, and the store has it now.
    pub async fn look_up(&self, identity: &ObjectInfo, slot: &RunSlot) -> Result<Option<Lookup>, Requeue> {
        let object = &*identity.name;
        let Some(backend) = self.backend(&slot.kind) else {
            warn!(object, kind = slot.kind, "the reserved run is of a kind that this operator does not know");
            return Err(Requeue::Failed);
        };
        let sent = self.clock.now();
        let claimed = (slot.run_name.as_str(), slot.proofs.as_slice());
        let foreign = match self.api.find_run(backend, &identity.uid, &identity.namespace, claimed).await {
            Ok(NamedRun::Ours(run)) => {
                self.runs.insert(*run);
                return Ok(None);
            }
            Ok(NamedRun::Absent) => None,
            Ok(NamedRun::Foreign(owner)) => Some(owner),
            Err(error) => {
                warn!(
                    object,
                    run = slot.run_name,
                    error = error.to_string(),
                    "the reserved run could not be looked up; trying again"
                );
                return Err(Requeue::Failed);
            }
        };
        let run_name = slot.run_name.clone();
        Ok(Some(Lookup { run_name, sent_at: sent.server_or_wall(), sent: sent.mono, foreign }))
    }

    /// Stops a run in the way of its backend.
    pub async fn stop(&self, (kind, identity): (&'static str, &ObjectInfo), run: &StopRun) -> EffectResult {
        let Some(backend) = self.backend(run.kind.kind) else { return EffectResult::Stop(Requeue::Failed) };
        match self.api.stop_run(backend, &identity.namespace, run).await {
            Ok(stored) => {
                info!(object = &*identity.name, run = run.name, cause = run.cause.as_str(), "run is being ended");
                let text = format!("{} {} is being ended: {}", run.kind.kind, run.name, run.cause.as_str());
                let event = ObjectEvent { warning: true, reason: Reason::RunStopped, action: "Stop", text };
                self.events.publish(identity, kind, &event);
                self.runs.insert(stored);
                EffectResult::Done
            }
            Err(error) => {
                warn!(
                    object = &*identity.name,
                    run = run.name,
                    error = error.to_string(),
                    "the run could not be ended; trying again"
                );
                EffectResult::Stop(Requeue::Failed)
            }
        }
    }

    /// Inspects an active run of which nothing runs.
    pub async fn inspect(&self, wanted: &InspectRun, run: &RunRecord) -> Inspected {
        let Some(backend) = self.backend(wanted.kind.kind) else { return Inspected::Postponed };
        if run.uid != wanted.uid || !self.obstacles.take_turn(self.clock.mono()) {
            return Inspected::Postponed;
        }
        match self.obstacles.find(backend, run).await {
            Ok(obstacle) => Inspected::Found(obstacle),
            Err(error) => {
                debug!(run = run.name, error = error.to_string(), "an active run could not be inspected");
                Inspected::Postponed
            }
        }
    }

    /// Deletes a finished run beyond the history limits.
    pub async fn delete(&self, identity: &ObjectInfo, run: &DeleteRun) -> EffectResult {
        match self.api.delete_run(&identity.namespace, run).await {
            Ok(()) => {
                debug!(object = &*identity.name, run = run.name, "deleted a run beyond the history limit");
                self.runs.remove(&run.uid);
                EffectResult::Done
            }
            Err(error) => {
                warn!(
                    object = &*identity.name,
                    run = run.name,
                    error = error.to_string(),
                    "a run beyond the history limit could not be deleted"
                );
                EffectResult::Stop(Requeue::Failed)
            }
        }
    }
}
