//! The part of a reconcile that only ModelSyncs have: the facts that decisions about them need, and their effects. IO through `kube_io` only.

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tracing::info;

use super::{
    effects::EffectResult,
    parsed::{CompiledSpecs, Parsed},
    reconcile::{Controller, KindController, ReconciledObject, failed},
};
use crate::{
    api::{LastRun, ModelSync, ModelSyncSpec, ModelSyncStatus, template::RunTemplate},
    core::{
        invalid::Invalid,
        poll::{
            request::PollTarget,
            response::{Demand, PollResponse, PollResult},
        },
        run::{
            backend::{RunKind, RunRecord},
            effects::CreateRun,
            knowledge::ObjectInfo,
            proof::counts,
            retention::HistoryLimits,
        },
        source::Reference,
        status::event::ObjectEvent,
        sync::{
            Effect, Facts, LegacyRun, Memory, Plan, Rule, Valid, decide, events, follower, parse_spec, poll_target,
            references, served, status_after_panic,
        },
        time::{MonotonicTime, Now, until, window::Windows},
    },
    kube_io::{
        legacy_runs::LegacyRuns,
        store::{Followers, ModelVersions, RunsOf, VersionsOf},
        versions::StoredVersion,
    },
    lineage::event::{End, Job, JobKind, Parent, Run},
    schedule::queue::Requeue,
};

/// Wakes the ModelTrain of this namespace and name.
pub type WakeTrain = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// What only ModelSyncs have.
pub struct ModelSyncs {
    /// Runs of the controller that this operator replaces.
    pub legacy_runs: LegacyRuns,
    /// Which ModelSyncs follow ModelTrains.
    pub followers: Arc<Followers>,
    /// Wakes a ModelTrain that they follow.
    pub wake_train: WakeTrain,
    /// The versions that they roll out.
    pub versions: Arc<ModelVersions>,
    /// The windows of each object's present generation.
    pub windows: CompiledSpecs<Arc<Windows>>,
    /// When the last poll with a valid response was sent, of any object.
    pub last_response: Mutex<Option<MonotonicTime>>,
}

impl KindController for ModelSyncs {
    type Kind = ModelSync;
    type Memory = Memory;
    type Target = PollTarget;
    type Response = PollResponse;
    type Rule = Rule;
    type Effect = Effect;

    fn decide(&self, controller: &Controller<Self>, object: &ReconciledObject<'_, Self>) -> Plan {
        let (context, info, now) = (&controller.context, object.info(), object.now);
        self.note_follower(object);
        let parse = |spec| parse_spec(spec, self.windows(info, spec)?, context.runs.backends);
        let spec = object.validate(parse, Valid::check_template);
        let owned = spec.as_ref().ok().map(|valid| valid.owned);
        let slots = || object.status.reservation.iter().flat_map(|open| &open.slots);
        let slots = || slots().map(|slot| (slot.run_name.as_str(), slot.proofs.as_slice()));
        let runs = context.runs.runs.of(&info.uid, &info.namespace, "ModelSync", &info.name);
        let runs = runs.counting(|run| counts(run, owned, slots()));
        let limits = spec.as_ref().map_or(HistoryLimits::KEEP_ALL, |valid| valid.policy.limits);
        let memory = controller.memories.change(&info.uid, |memory| {
            if let RunsOf::Known { own, .. } = &runs {
                let own: Vec<_> = own.iter().map(Arc::as_ref).collect();
                memory.observe(&own, limits, object.status, now.mono);
            }
            memory.clone()
        });
        let (process, nonce) = controller.memories.nonce();
        let facts = Facts {
            object: info,
            runs: runs.knowledge(spec.as_ref().ok().map(|valid| valid.policy.kind())),
            spec,
            status: object.status,
            fence: context.fence.get(),
            memory: &memory,
            unpolled: object.unpolled,
            nonce: &nonce,
            process: &process,
            claim_key: &context.claim_key,
            min_run_age: context.min_run_age,
        };
        let plan = decide(&facts, now);
        if plan.rule == Rule::UpToDate && plan.effects.is_empty() {
            controller.forget_response(&info.uid, &memory);
        }
        plan
    }

    async fn apply(
        &self,
        controller: &Controller<Self>,
        object: &ReconciledObject<'_, Self>,
        effect: &Effect,
    ) -> EffectResult {
        match effect {
            Effect::WriteStatus(after) => controller.write_status(object, after).await,
            Effect::CreateRun(run) => controller.create_run(object, run).await,
            Effect::LookUpRun(slot) => controller.look_up_run(object, slot).await,
            Effect::StopRun(run) => controller.stop_run(object, run).await,
            Effect::InspectRun(run) => controller.inspect_run(object, run).await,
            Effect::FindLegacyRun(kind) => self.find_legacy_run(controller, object, *kind).await,
            Effect::DeleteRun(run) => controller.context.runs.delete(object.info(), run).await,
        }
    }

    fn poll_target(&self, _: &Controller<Self>, parsed: &Parsed<ModelSync>) -> Option<PollTarget> {
        poll_target(parsed.spec.as_ref().ok()?)
    }

    fn count_poll(&self, polled: &PollResult) -> &'static str {
        if polled.result.is_ok() {
            *self.last_response.lock().unwrap_or_else(PoisonError::into_inner) = Some(polled.sent);
        }
        match &polled.result {
            Ok(response) => match response.demand {
                Demand::Needed => "needed",
                Demand::NotNeeded => "not_needed",
                Demand::DesiredUnknown => "desired_unknown",
            },
            Err(error) => error.class.as_str(),
        }
    }

    fn references(spec: &ModelSyncSpec) -> BTreeSet<Reference> {
        references(spec)
    }

    fn templates(spec: &ModelSyncSpec) -> Vec<(&'static str, Option<&RunTemplate>)> {
        spec.templates().to_vec()
    }

    fn events(before: &ModelSyncStatus, after: &ModelSyncStatus) -> Vec<ObjectEvent> {
        events(before, after)
    }

    fn status_after_panic(object: &ObjectInfo, status: &ModelSyncStatus, now: Now) -> ModelSyncStatus {
        status_after_panic(object, status, now)
    }

    fn run_created(
        &self,
        controller: &Controller<Self>,
        object: &ReconciledObject<'_, Self>,
        run: &CreateRun,
        stored: &RunRecord,
    ) {
        let parameters = run.parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let version = self.rolled_out(object, &parameters);
        let run = Run {
            kind: run.kind.kind,
            name: &run.name,
            uid: &stored.uid,
            attempt: object.status.attempt,
            candidate: "",
            reasons: &[],
            inputs: &[],
            parent: version.as_deref().map(parent),
            parameters,
            job: job(object.info()),
        };
        let started = stored.created_at.unwrap_or_else(|| controller.context.runs.clock.now().wall);
        controller.context.runs.lineage.started(&run, started);
    }

    fn status_stored(
        &self,
        controller: &Controller<Self>,
        object: &ReconciledObject<'_, Self>,
        after: &ModelSyncStatus,
    ) {
        let last = after.last_run.as_ref().filter(|last| object.status.last_run.as_ref() != Some(last));
        let Some(last) = last else { return };
        let (info, runs) = (object.info(), &controller.context.runs);
        info!(
            object = &*info.name,
            namespace = &*info.namespace,
            run = last.name,
            outcome = last.outcome.as_str(),
            "run ended"
        );
        runs.metrics.run_ended(last.outcome.as_str());
        self.emit_end(controller, object, last);
    }

    fn forget(&self, uid: &str) {
        self.windows.forget(uid);
        for (namespace, train) in self.followers.note(uid, None) {
            (self.wake_train)(&namespace, &train);
        }
    }

    /// The reconciles that begin now note anew which ModelTrains are followed.
    fn on_elected(&self) {
        self.followers.clear();
        self.windows.clear();
    }
}

impl ModelSyncs {
    /// The windows of the object. Most have none, and nothing is kept for those.
    fn windows(&self, info: &ObjectInfo, spec: &ModelSyncSpec) -> Result<Arc<Windows>, Invalid> {
        if spec.windows.is_empty() {
            self.windows.forget(&info.uid);
            return Ok(Arc::default());
        }
        self.windows.of(info, || Windows::parse(&spec.windows).map(Arc::new))
    }

    /// Notes which ModelTrain the object follows, and wakes ModelTrains whose followers changed. If the spec cannot be read, the
    /// last note stays.
    fn note_follower(&self, object: &ReconciledObject<'_, Self>) {
        let info = object.info();
        let Ok(Ok(following)) = object.spec.map(|spec| follower(info, spec, object.status)) else { return };
        let following = following.map(|(train, follower)| ((info.namespace.to_string(), train), follower));
        for (namespace, train) in self.followers.note(&info.uid, following) {
            (self.wake_train)(&namespace, &train);
        }
    }

    /// Looks up an unfinished legacy run of the object.
    async fn find_legacy_run(
        &self,
        controller: &Controller<Self>,
        object: &ReconciledObject<'_, Self>,
        kind: RunKind,
    ) -> EffectResult {
        let (info, runs) = (object.info(), &controller.context.runs);
        let Some(backend) = runs.backend(kind.kind) else { return EffectResult::Stop(Requeue::Failed) };
        match self.legacy_runs.find(backend, &info.namespace, &info.uid).await {
            Ok(run) => {
                let seen = LegacyRun { run, at: runs.clock.mono() };
                controller.memories.change(&info.uid, |memory| memory.legacy_run = Some(seen));
                EffectResult::Done
            }
            Err(error) => failed(object, "the lookup of legacy runs failed", &error),
        }
    }

    /// Sends the end of a run that the operator saw to the lineage service. Its parameters are in the status before the
    /// write.
    fn emit_end(&self, controller: &Controller<Self>, object: &ReconciledObject<'_, Self>, last: &LastRun) {
        let Some(uid) = last.uid.as_deref() else { return };
        let open = object.status.reservation.as_deref().filter(|open| open.attempt == last.attempt);
        let slot = open.and_then(|open| open.slots.first());
        let target = object.status.target.as_deref().filter(|target| target.digest == last.target);
        let parameters = target.iter().flat_map(|target| &target.parameters);
        let parameters = parameters.map(|(name, value)| (name.as_str(), value.as_str())).collect();
        let version = self.rolled_out(object, &parameters);
        let run = Run {
            kind: slot.map_or("", |slot| slot.kind.as_str()),
            name: &last.name,
            uid,
            attempt: last.attempt,
            candidate: "",
            reasons: &[],
            inputs: &[],
            parent: version.as_deref().map(parent),
            parameters,
            job: job(object.info()),
        };
        let end =
            End { at: last.finished_at, outcome: last.outcome, message: &last.message, artifact: None, gate: None };
        controller.context.runs.lineage.ended(&run, &end);
    }

    /// The version that a run with these parameters rolls out, where it is on record: the one that a parameter or the
    /// desired value names.
    fn rolled_out(
        &self,
        object: &ReconciledObject<'_, Self>,
        parameters: &Vec<(&str, &str)>,
    ) -> Option<Arc<StoredVersion>> {
        let served = served(object.spec.ok()?).ok()??;
        let namespace = &*object.info().namespace;
        let named = |text: &str| {
            parameters.iter().any(|(_, value)| *value == text) || object.status.desired.as_deref() == Some(text)
        };
        let trains = self.versions.trains_named(namespace, served.train);
        trains.iter().find_map(|uid| match self.versions.of(namespace, uid) {
            VersionsOf::Known(versions) => versions.into_iter().find(|version| named(&version.record.name)),
            VersionsOf::Unknown | VersionsOf::Missing => None,
        })
    }
}

impl Controller<ModelSyncs> {
    /// Time since any object last had a valid response, and the longest time that an object has been needing a run.
    pub fn ages(&self) -> (Option<Duration>, Option<Duration>) {
        let now = self.context.runs.clock.now();
        let last = *self.kind.last_response.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = self.memories.least(|memory| memory.demand_since);
        (last.map(|sent| now.mono.since(sent)), oldest.map(|since| until(since, now.wall)))
    }

    /// Forgets the response that a reconcile decided on and found stored already: that no sync is needed. Without it an
    /// unchanged object is polled at the same moments, and ten thousand idle objects take no memory for it. A response with
    /// an entity tag stays, because the endpoint may say that it still holds; so does one that was read after a watched
    /// value had changed, because the value would be read once more otherwise.
    fn forget_response(&self, uid: &str, decided_on: &Memory) {
        let tagged = |memory: &Memory| {
            memory.last_poll.as_ref().is_some_and(|last| last.result.as_ref().is_ok_and(|last| last.etag.is_some()))
        };
        self.memories.change(uid, |memory| {
            // A newer response may have arrived since.
            if memory.last_poll == decided_on.last_poll && memory.revision == 0 && !tagged(memory) {
                memory.last_poll = None;
            }
        });
    }
}

fn job(info: &ObjectInfo) -> Job<'_> {
    Job { kind: JobKind::Sync, namespace: &info.namespace, name: &info.name, uid: &info.uid }
}

fn parent(version: &StoredVersion) -> Parent<'_> {
    let record = &version.record;
    let job =
        Job { kind: JobKind::Training, namespace: &record.namespace, name: &record.train_name, uid: &record.train_uid };
    Parent { job, run_uid: &record.run_uid }
}
