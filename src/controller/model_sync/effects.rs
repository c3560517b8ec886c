//! Carries out what a pass has decided on, one effect at a time, and remembers what came of it. IO through `kube_io` only.

use tracing::{info, warn};

use super::{KIND, ModelSyncController};
use crate::{
    api::{ModelSync, ModelSyncStatus, RunSlot},
    controller::effects::{Step, write_status},
    core::{
        run::{
            backend::RunKind,
            claim::{Post, PostState},
            effects::CreateRun,
        },
        sync::{LegacyRun, events, validate},
    },
    kube_io::record::ObjectRecord,
    schedule::queue::Requeue,
};

impl ModelSyncController {
    pub(super) async fn write_status(
        &self,
        object: &ObjectRecord<ModelSync>,
        before: &ModelSyncStatus,
        after: &ModelSyncStatus,
    ) -> Step {
        let step = write_status(&self.context.runs.api, &self.context.objects, object, before, after).await;
        if matches!(step, Step::Done) {
            self.emit(object, before, after);
        }
        step
    }

    /// Events and metrics of what was just stored.
    fn emit(&self, object: &ObjectRecord<ModelSync>, before: &ModelSyncStatus, after: &ModelSyncStatus) {
        for event in events(before, after) {
            self.context.runs.events.publish(&object.identity, KIND, &event);
        }
        if let Some(last) = after.last_run.as_ref().filter(|last| before.last_run.as_ref() != Some(last)) {
            info!(
                object = &*object.identity.name,
                namespace = &*object.identity.namespace,
                run = last.name,
                outcome = last.outcome.as_str(),
                "run ended"
            );
            self.context.runs.metrics.run_ended(last.outcome.as_str());
        }
    }

    pub(super) async fn create_run(&self, object: &ObjectRecord<ModelSync>, run: &CreateRun) -> Step {
        let uid = &object.identity.uid;
        // From here until the reply nobody can say whether the run exists; a crash in between leaves it at that.
        self.remember_post(uid, &run.nonce, PostState::Unknown);
        let spec = object.read().0;
        let valid = spec.as_ref().map_err(Clone::clone).and_then(|spec| validate(spec, self.context.runs.backends));
        let template = valid.map(|valid| valid.template).map_err(|invalid| invalid.to_string());
        let state = self.context.runs.create((KIND, &object.identity), run, template).await;
        self.remember_post(uid, &run.nonce, state);
        Step::Done
    }

    pub(super) async fn look_up(&self, object: &ObjectRecord<ModelSync>, slot: &RunSlot) -> Step {
        match self.context.runs.look_up(&object.identity, slot).await {
            Ok(None) => Step::Done,
            Ok(Some(lookup)) => {
                self.memories.change(&object.identity.uid, |memory| memory.lookup = Some(lookup));
                Step::Done
            }
            Err(next) => Step::Stop(next),
        }
    }

    pub(super) async fn find_legacy_run(&self, object: &ObjectRecord<ModelSync>, kind: RunKind) -> Step {
        let identity = &object.identity;
        let Some(backend) = self.context.runs.backend(kind.kind) else { return Step::Stop(Requeue::Failed) };
        match self.context.legacy_run.find(backend, &identity.namespace, &identity.uid).await {
            Ok(run) => {
                let seen = LegacyRun { run, at: self.context.runs.clock.mono() };
                self.memories.change(&identity.uid, |memory| memory.legacy_run = Some(seen));
                Step::Done
            }
            Err(error) => {
                warn!(object = &*identity.name, %error, "runs of an earlier operator could not be looked for; trying again");
                Step::Stop(Requeue::Failed)
            }
        }
    }

    fn remember_post(&self, uid: &str, nonce: &str, state: PostState) {
        self.memories.change(uid, |memory| memory.post = Some(Post { nonce: nonce.to_owned(), state }));
    }
}
