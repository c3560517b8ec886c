//! The pipeline of a ModelSync: gather → decide → apply. IO through `kube_io` only.

mod effects;

use std::{
    collections::BTreeSet,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tracing::debug;

use super::{
    effects::{RunEffects, Step, requeue},
    memories::Memories,
    worker::Reconcile,
};
use crate::{
    api::{Kind, ModelSync, ModelSyncSpec, ModelSyncStatus},
    core::{
        invalid::Invalid,
        poll::{
            request::{Poll, PollRequest},
            response::{Demand, PollResult},
        },
        run::retention::Limits,
        sync::{
            Effect, Facts, Memory, Plan, Rule, Valid, decide, follower, poll_target, references, status_after_panic,
            validate,
        },
        time::{MonotonicTime, Now, until},
    },
    kube_io::{
        fence::FenceState,
        lease::Leadership,
        legacy_runs::LegacyRuns,
        record::ObjectRecord,
        referenced::Referenced,
        store::{Followers, Objects, RunsOf},
    },
    schedule::{
        poller::Poller,
        queue::{Queue, Requeue},
    },
};

const KIND: &str = ModelSync::KIND;

/// Wakes the ModelTrain of this namespace and name.
pub type WakeTrain = Arc<dyn Fn(&str, &str) + Send + Sync>;

/// What the controller works with.
pub struct Context {
    /// Their runs, and what is done to them.
    pub runs: RunEffects,
    /// The objects.
    pub objects: Arc<Objects<ModelSync>>,
    /// Runs of an earlier operator.
    pub legacy_run: LegacyRuns,
    /// The fence.
    pub fence: FenceState,
    /// Objects that values come from.
    pub referenced: Referenced,
    /// Which of them follow ModelTrains.
    pub followers: Arc<Followers>,
    /// Wakes a ModelTrain that they follow.
    pub wake_train: WakeTrain,
    /// Passes.
    pub queue: Queue,
    /// Whether this replica leads.
    pub leadership: Leadership,
    /// Differs for every process.
    pub process: String,
    /// Minimum age of a finished run before it is deleted.
    pub min_run_age: Duration,
}

/// Reconciles ModelSyncs.
pub struct ModelSyncController {
    context: Context,
    memories: Memories<Memory>,
    /// When the last question with a good answer was sent, whichever object's.
    last_response: Mutex<Option<MonotonicTime>>,
}

impl Reconcile for ModelSyncController {
    type Poller = Poller;

    fn leads(&self) -> bool {
        self.context.leadership.leads()
    }

    async fn reconcile(&self, poller: &Poller, uid: &str) -> Requeue {
        let Some(object) = self.context.objects.get(uid) else { return self.forget(poller, uid) };
        let (spec, Ok(status)) = object.read() else {
            // Without a readable status an attempt could be used twice. The log and a metric tell of it.
            return Requeue::OnEvent;
        };
        self.follow(&object, &spec, &status);
        let now = self.context.runs.clock.now();
        let runs = self.context.runs.runs.of(uid, &object.identity.namespace, KIND, &object.identity.name);
        let valid = spec.as_ref().map_err(Clone::clone).and_then(|spec| validate(spec, self.context.runs.backends));
        let limits = valid.as_ref().map_or(Limits::KEEP_ALL, |valid| valid.limits);
        let memory = self.observe(uid, &runs, (limits, &status), now);
        let (term, nonce) = self.memories.nonce();
        let facts = self.facts(&object, (valid, &status), &runs, &memory, (&term, &nonce));
        let read = facts.spec.as_ref().map_or_else(|_| BTreeSet::new(), |valid| references(&valid.poll_target));
        self.context.referenced.refer(uid, &object.identity.namespace, read);
        let plan = decide(&facts, now);
        debug!(object = &*object.identity.name, namespace = &*object.identity.namespace, rule = ?plan.rule, effects = plan.effects.len(), "decided");
        poller.plan(uid, plan.request.clone());
        if plan.rule == Rule::UpToDate && plan.effects.is_empty() {
            self.forget_response(uid, &memory);
        }
        let next = self.apply(&object, &status, &plan).await;
        let took = self.context.runs.clock.mono().since(now.mono);
        self.context.runs.metrics.reconciled(if next == Requeue::Failed { "failed" } else { "ok" }, took);
        next
    }

    async fn show_panic(&self, uid: &str) {
        self.context.runs.metrics.reconciled("panic", Duration::ZERO);
        let Some(object) = self.context.objects.get(uid).filter(|_| self.leads()) else { return };
        let (_, Ok(status)) = object.read() else { return };
        let after = status_after_panic(&object.identity, &status, self.context.runs.clock.now());
        if after != status {
            // Whatever comes of the write, the object is looked at again.
            let _ = self.write_status(&object, &status, &after).await;
        }
    }
}

impl ModelSyncController {
    /// A controller that has seen nothing yet.
    pub fn new(context: Context) -> Self {
        let memories = Memories::new(&context.process);
        Self { context, memories, last_response: Mutex::default() }
    }

    /// Begins a term of leadership as if the process had just started.
    ///
    /// Which ModelTrains are followed is noted anew by the passes that begin now.
    pub fn on_elected(&self) {
        self.context.followers.clear();
        self.memories.on_elected();
    }

    /// Since when any object has had its last good answer, and the longest-standing demand that is not served.
    pub fn ages(&self) -> (Option<Duration>, Option<Duration>) {
        let now = self.context.runs.clock.now();
        let last = *self.last_response.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = self.memories.least(|memory| memory.demand_since);
        (last.map(|sent| now.mono.since(sent)), oldest.map(|since| until(since, now.wall)))
    }

    /// The question of an object, if its spec is still the one that was decided on.
    pub fn build_poll(&self, request: &PollRequest) -> Option<Poll> {
        let object = self.context.objects.get(&request.context.uid)?;
        let unchanged = object.identity.generation == request.context.generation;
        let poll_target = poll_target(&object.read().0.ok().filter(|_| unchanged)?).ok()?;
        Some(Poll {
            target: poll_target,
            namespace: object.identity.namespace.clone(),
            name: object.identity.name.clone(),
            context: request.context.clone(),
            previous: request.previous.clone(),
        })
    }

    /// Takes in an answer to the question of the object with this uid.
    pub fn record_poll_result(&self, uid: &str, polled: PollResult) {
        let outcome = match &polled.result {
            Ok(response) => match response.demand {
                Demand::Needed => "needed",
                Demand::NotNeeded => "not_needed",
                Demand::DesiredUnknown => "desired_unknown",
            },
            Err(poll_error) => poll_error.class.as_str(),
        };
        self.context.runs.metrics.polled(outcome, polled.took);
        if polled.result.is_ok() {
            *self.last_response.lock().unwrap_or_else(PoisonError::into_inner) = Some(polled.sent);
        }
        if self.context.objects.get(uid).is_some() {
            self.memories.change(uid, |memory| memory.record_poll_result(polled));
            self.context.queue.wake(uid);
        }
    }

    /// An object that the one with this uid reads a value from has changed: what was read before does not count any more.
    pub fn source_changed(&self, uid: &str) {
        if self.context.objects.get(uid).is_some() {
            self.memories.change(uid, |memory| memory.revision += 1);
            self.context.queue.wake(uid);
        }
    }

    /// Forgets the answer that a pass was decided on and found stored already: that no sync is needed. Without it an
    /// unchanged object is asked at the same moments, and of ten thousand idle objects nothing is kept twice. An answer
    /// with an entity tag stays, for the endpoint may say that it still holds; so does one that was read after a watched
    /// value had changed, or it would be read once more.
    fn forget_response(&self, uid: &str, decided_on: &Memory) {
        let tagged = |memory: &Memory| {
            memory
                .response
                .as_ref()
                .is_some_and(|last| last.result.as_ref().is_ok_and(|response| response.etag.is_some()))
        };
        self.memories.change(uid, |memory| {
            // A newer answer may have come since.
            if memory.response == decided_on.response && memory.revision == 0 && !tagged(memory) {
                memory.response = None;
            }
        });
    }

    /// Notes which ModelTrain the object follows, and wakes those that this is news for. A spec that cannot be read says
    /// nothing about that: what was noted stands.
    fn follow(
        &self,
        object: &ObjectRecord<ModelSync>,
        spec: &Result<ModelSyncSpec, Invalid>,
        status: &ModelSyncStatus,
    ) {
        let identity = &object.identity;
        let Ok(Ok(following)) = spec.as_ref().map(|spec| follower(identity, spec, status)) else { return };
        let following = following.map(|(train, follower)| ((identity.namespace.to_string(), train), follower));
        for (namespace, train) in self.context.followers.note(&identity.uid, following) {
            (self.context.wake_train)(&namespace, &train);
        }
    }

    fn forget(&self, poller: &Poller, uid: &str) -> Requeue {
        poller.plan(uid, None);
        for (namespace, train) in self.context.followers.note(uid, None) {
            (self.context.wake_train)(&namespace, &train);
        }
        self.context.referenced.refer(uid, "", BTreeSet::new());
        self.memories.forget(uid);
        Requeue::Forget
    }

    fn observe(&self, uid: &str, runs: &RunsOf, (limits, status): (Limits, &ModelSyncStatus), now: Now) -> Memory {
        self.memories.change(uid, |memory| {
            if let RunsOf::Known { own, .. } = runs {
                let own: Vec<_> = own.iter().map(Arc::as_ref).collect();
                memory.observe(&own, limits, status, now.mono);
            }
            memory.clone()
        })
    }

    fn facts<'a>(
        &'a self,
        object: &'a ObjectRecord<ModelSync>,
        (spec, status): (Result<Valid<'a>, Invalid>, &'a ModelSyncStatus),
        runs: &'a RunsOf,
        memory: &'a Memory,
        (process, nonce): (&'a str, &'a str),
    ) -> Facts<'a> {
        let runs = runs.knowledge(spec.as_ref().ok().map(|valid| valid.kind));
        Facts {
            object: &object.identity,
            spec,
            status,
            runs,
            fence: self.context.fence.get(),
            memory,
            nonce,
            process,
            min_run_age: self.context.min_run_age,
        }
    }

    /// Carries out the plan's effects in their order.
    async fn apply(&self, object: &ObjectRecord<ModelSync>, status: &ModelSyncStatus, plan: &Plan) -> Requeue {
        for effect in &plan.effects {
            if !self.leads() {
                return Requeue::OnEvent;
            }
            let step = match effect {
                Effect::WriteStatus(after) => self.write_status(object, status, after).await,
                Effect::CreateRun(run) => self.create_run(object, run).await,
                Effect::LookUpRun(slot) => self.look_up(object, slot).await,
                Effect::StopRun(run) => self.context.runs.stop((KIND, &object.identity), run).await,
                Effect::FindLegacyRun(kind) => self.find_legacy_run(object, *kind).await,
                Effect::DeleteRun(run) => self.context.runs.delete(&object.identity, run).await,
            };
            if let Step::Stop(next) = step {
                return next;
            }
        }
        requeue(plan.effects.is_empty(), plan.wake_up)
    }
}
