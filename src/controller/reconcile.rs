//! One reconcile, for both kinds of object: read, gather and decide, poll, apply, requeue. What differs between the
//! kinds is in `model_sync` and `model_train`. IO through `kube_io` only.

use std::{collections::BTreeSet, fmt::Debug, future::Future, sync::Arc, time::Duration};

use tracing::{debug, warn};

use super::{
    effects::{EffectResult, Inspected, RunEffects, StatusWrite, requeue, write_status},
    memories::{Memories, Remember},
    parsed::{Parsed, ParsedObjects},
    worker::Reconcile,
};
use crate::{
    api::{Kind, Reason, RunSlot, template::RunTemplate},
    core::{
        invalid::Invalid,
        poll::{
            request::{Poll, PollRequest},
            response::PollResult,
        },
        run::{
            backend::RunRecord,
            claim::{Post, PostState},
            effects::{CreateRun, StopRun},
            knowledge::ObjectInfo,
            obstacle::{self, InspectRun},
            proof::ClaimKey,
            template::find,
        },
        source::Reference,
        status::{event::ObjectEvent, plan::Plan},
        time::Now,
    },
    kube_io::{
        fence::FenceState, lease::Leadership, record::ObjectRecord, referenced::Referenced, store::Objects,
        turns::Turns,
    },
    port::Polled,
    schedule::{
        poller::Poller,
        queue::{Queue, Requeue},
    },
};

/// Time between two events about the refused status of one object.
const REFUSAL_EVENTS: Duration = Duration::from_mins(30);
/// An object is large if its spec and status take more bytes.
const LARGE: usize = 32 * 1024;
/// The most bytes of large objects that are reconciled at once.
const MOST_LARGE: usize = 2 * 1024 * 1024;

/// The parts that the controllers of both kinds share.
pub struct Context<K: Kind> {
    /// The runs of its objects, and the requests about them.
    pub runs: RunEffects,
    /// The objects.
    pub objects: Arc<Objects<K>>,
    /// The fence.
    pub fence: FenceState,
    /// The watched objects that values come from.
    pub referenced: Referenced,
    /// The objects that wait to be reconciled.
    pub queue: Queue,
    /// Whether this replica leads.
    pub leadership: Leadership,
    /// Name of this process, which differs for every process.
    pub process: String,
    /// Derives the secrets of the claims of this process.
    pub claim_key: ClaimKey,
    /// Minimum age of a finished run before it is deleted.
    pub min_run_age: Duration,
}

/// What differs between the kinds of object that are reconciled.
pub trait KindController: Send + Sync + Sized + 'static {
    /// The kind of object.
    type Kind: Kind;
    /// This process's memory of one object.
    type Memory: Remember<Self::Response> + Clone + Default + PartialEq + Send;
    /// The target of a poll.
    type Target: Send + Sync + 'static;
    /// The response to a poll.
    type Response: Send + Sync + 'static;
    /// The rule that decided.
    type Rule: Debug + Send + Sync;
    /// An effect of a plan.
    type Effect: Send + Sync;

    /// Gathers the facts and decides. Reads stores; sends nothing.
    fn decide(
        &self,
        controller: &Controller<Self>,
        object: &ReconciledObject<'_, Self>,
    ) -> Plan<Self::Rule, Self::Effect>;

    /// Carries out one effect.
    fn apply(
        &self,
        controller: &Controller<Self>,
        object: &ReconciledObject<'_, Self>,
        effect: &Self::Effect,
    ) -> impl Future<Output = EffectResult> + Send;

    /// The target of the object's next poll. `None` if there is nothing to poll.
    fn poll_target(&self, controller: &Controller<Self>, parsed: &Parsed<Self::Kind>) -> Option<Self::Target>;

    /// The outcome of a poll as a stable string, for metrics. Counts what only this kind counts.
    fn count_poll(&self, result: &PollResult<Self::Response>) -> &'static str;

    /// The objects that the spec's polls read values from, each once.
    fn references(spec: &<Self::Kind as Kind>::Spec) -> BTreeSet<Reference>;

    /// The template fields of a spec; runs are made from the one that is set.
    fn templates(spec: &<Self::Kind as Kind>::Spec) -> Vec<(&'static str, Option<&RunTemplate>)>;

    /// The events between two stored statuses.
    fn events(before: &<Self::Kind as Kind>::Status, after: &<Self::Kind as Kind>::Status) -> Vec<ObjectEvent>;

    /// The status of an object whose reconcile panicked.
    fn status_after_panic(
        object: &ObjectInfo,
        status: &<Self::Kind as Kind>::Status,
        now: Now,
    ) -> <Self::Kind as Kind>::Status;

    /// Sends the start of a run to the lineage service: the operator has just created the run.
    fn run_created(
        &self,
        controller: &Controller<Self>,
        object: &ReconciledObject<'_, Self>,
        run: &CreateRun,
        stored: &RunRecord,
    );

    /// Counts a stored status, and sends the end of a run that it records to the lineage service.
    fn status_stored(
        &self,
        controller: &Controller<Self>,
        object: &ReconciledObject<'_, Self>,
        after: &<Self::Kind as Kind>::Status,
    );

    /// Forgets a deleted object, beside its memory.
    fn forget(&self, uid: &str);

    /// A term of leadership begins.
    fn on_elected(&self) {}
}

/// One object in one reconcile.
pub struct ReconciledObject<'a, C: KindController> {
    /// As it is stored.
    pub record: &'a ObjectRecord<C::Kind>,
    /// Its spec, or the field that cannot be read.
    pub spec: Result<&'a <C::Kind as Kind>::Spec, &'a Invalid>,
    /// Its status.
    pub status: &'a <C::Kind as Kind>::Status,
    /// When the reconcile began.
    pub now: Now,
    /// How long no process has polled it; `None` while a poll of it is planned or in flight.
    pub unpolled: Option<Duration>,
}

impl<'a, C: KindController> ReconciledObject<'a, C> {
    /// Its metadata.
    pub fn info(&self) -> &ObjectInfo {
        &self.record.identity
    }

    /// Its spec, parsed and checked. `check_template` builds a run and drops it, so it runs once for a spec and not at every
    /// reconcile.
    pub(super) fn validate<V>(
        &self,
        parse: impl FnOnce(&'a <C::Kind as Kind>::Spec) -> Result<V, Invalid>,
        check_template: impl FnOnce(&V) -> Result<(), Invalid>,
    ) -> Result<V, Invalid> {
        let valid = self.spec.map_err(Clone::clone).and_then(parse)?;
        self.record.check_template_once(|| check_template(&valid))?;
        Ok(valid)
    }
}

/// Reconciles the objects of one kind.
pub struct Controller<C: KindController> {
    /// The parts that both kinds share.
    pub context: Context<C::Kind>,
    /// The memory of each object.
    pub memories: Memories<C::Memory>,
    /// What only this kind has.
    pub kind: C,
    parsed: ParsedObjects<C::Kind>,
    /// The turns of large objects.
    large: Turns,
}

impl<C: KindController> Reconcile for Controller<C> {
    type Poller = Poller<C::Target, C::Response>;

    fn leads(&self) -> bool {
        self.context.leadership.leads()
    }

    async fn reconcile(&self, poller: &Self::Poller, uid: &str) -> Requeue {
        // Objects are parsed and their runs built in many times their size, so not all large ones at once.
        let large = self.context.objects.get(uid).map(|record| record.size()).filter(|size| *size > LARGE);
        let _turn = match large {
            Some(size) => self.large.take(size).await,
            None => None,
        };
        // 1. Read the object. Without a readable status an attempt could be used twice; the log and a metric say so.
        let Some(record) = self.context.objects.get(uid) else { return self.forget(poller, uid) };
        let parsed = self.parsed.take(uid, record);
        let Ok(status) = &parsed.status else { return Requeue::OnEvent };
        let now = self.context.runs.clock.now();
        let object = ReconciledObject {
            record: &parsed.record,
            spec: parsed.spec.as_ref(),
            status,
            now,
            unpolled: poller.unpolled_for(uid),
        };
        // 2. Watch the objects that its values come from: before the decision, which may read them.
        let read = object.spec.map_or_else(|_| BTreeSet::new(), C::references);
        self.context.referenced.refer(uid, &object.info().namespace, read);
        // 3. Gather the facts and decide. Neither sends anything.
        let plan = self.kind.decide(self, &object);
        debug!(object = &*object.info().name, namespace = &*object.info().namespace, rule = ?plan.rule, effects = plan.effects.len(), "decided");
        // 4. Plan its next poll.
        poller.plan(uid, plan.poll.clone());
        // 5. Apply the effects in their order, and say when to reconcile again.
        let next = self.apply(&object, &plan).await;
        let took = self.context.runs.clock.mono().since(now.mono);
        self.context.runs.metrics.reconciled(if next == Requeue::Failed { "failed" } else { "ok" }, took);
        next
    }

    async fn show_panic(&self, uid: &str) {
        self.context.runs.metrics.reconciled("panic", Duration::ZERO);
        let Some(record) = self.context.objects.get(uid).filter(|_| self.leads()) else { return };
        let (spec, Ok(status)) = record.read() else { return };
        let object = ReconciledObject {
            record: &record,
            spec: spec.as_ref(),
            status: &status,
            now: self.context.runs.clock.now(),
            unpolled: None,
        };
        let after = C::status_after_panic(object.info(), &status, object.now);
        if after != status {
            // Whether the write succeeds or not, the object is reconciled again.
            let _ = self.write_status(&object, &after).await;
        }
    }
}

impl<C: KindController> Polled<C::Target, C::Response> for Controller<C> {
    fn build_poll(&self, request: &PollRequest) -> Option<Poll<C::Target>> {
        let record = self.context.objects.get(&request.context.uid)?;
        if record.identity.generation != request.context.generation {
            return None;
        }
        let parsed = Parsed::of(record);
        let poll = Poll {
            target: self.kind.poll_target(self, &parsed)?,
            namespace: parsed.record.identity.namespace.clone(),
            name: parsed.record.identity.name.clone(),
            context: request.context.clone(),
            previous: request.previous.clone(),
        };
        // The reconcile that the result wakes needs the same object, parsed.
        self.parsed.keep(&request.context.uid, parsed);
        Some(poll)
    }

    fn record_poll_result(&self, uid: &str, result: PollResult<C::Response>) {
        let outcome = self.kind.count_poll(&result);
        self.context.runs.metrics.polled(outcome, result.took);
        if self.context.objects.get(uid).is_some() {
            self.memories.change(uid, |memory| memory.record_poll_result(result));
            self.context.queue.wake(uid);
        }
    }
}

impl<C: KindController> Controller<C> {
    /// A controller that has seen nothing yet.
    pub fn new(context: Context<C::Kind>, kind: C) -> Self {
        let memories = Memories::new(&context.process);
        Self { context, memories, kind, parsed: ParsedObjects::default(), large: Turns::new(MOST_LARGE) }
    }

    /// Begins a term of leadership as if the process had just started.
    pub fn on_elected(&self) {
        self.kind.on_elected();
        self.parsed.clear();
        self.memories.on_elected();
    }

    /// Polls this object now: nothing that was read for it before counts any more. A changed source calls it. A change of the
    /// object itself or of its runs, and a timer, only wake the queue, which polls nothing by itself.
    pub fn poll_now(&self, uid: &str) {
        if self.context.objects.get(uid).is_some() {
            self.memories.change(uid, Remember::invalidate_polls);
            self.context.queue.wake(uid);
        }
    }

    fn forget(&self, poller: &<Self as Reconcile>::Poller, uid: &str) -> Requeue {
        poller.forget(uid);
        self.context.referenced.refer(uid, "", BTreeSet::new());
        self.memories.forget(uid);
        self.parsed.forget(uid);
        self.kind.forget(uid);
        Requeue::Forget
    }

    async fn apply(&self, object: &ReconciledObject<'_, C>, plan: &Plan<C::Rule, C::Effect>) -> Requeue {
        for effect in &plan.effects {
            if !self.leads() {
                return Requeue::OnEvent;
            }
            if let EffectResult::Stop(next) = self.kind.apply(self, object, effect).await {
                return next;
            }
        }
        requeue(plan.effects.is_empty(), plan.wake_up)
    }

    /// Writes the status, and publishes the events between the stored one and this one.
    pub(super) async fn write_status(
        &self,
        object: &ReconciledObject<'_, C>,
        after: &<C::Kind as Kind>::Status,
    ) -> EffectResult {
        let (runs, objects) = (&self.context.runs, &self.context.objects);
        match write_status(&runs.api, objects, object.record, object.status, after).await {
            StatusWrite::Stored => {
                self.memories.change(&object.info().uid, |memory| *memory.status_refused() = None);
                for event in C::events(object.status, after) {
                    runs.events.publish(object.info(), C::Kind::KIND, &event);
                }
                self.kind.status_stored(self, object, after);
                EffectResult::Done
            }
            StatusWrite::Refused(words) => {
                self.publish_refusal(object, &words);
                EffectResult::Stop(Requeue::Failed)
            }
            StatusWrite::Stop(next) => EffectResult::Stop(next),
        }
    }

    /// Publishes an event about a refused status, which no condition can show: at most one in a while for each object.
    fn publish_refusal(&self, object: &ReconciledObject<'_, C>, words: &str) {
        let (info, runs) = (object.info(), &self.context.runs);
        runs.metrics.write_refused(C::Kind::KIND);
        let now = runs.clock.mono();
        let due = self.memories.change(&info.uid, |memory| {
            let last = memory.status_refused();
            let due = last.is_none_or(|last| now.since(last) >= REFUSAL_EVENTS);
            if due {
                *last = Some(now);
            }
            due
        });
        if due {
            let text = format!("the API server refuses the status of this object, so its conditions are old: {words}");
            let event = ObjectEvent { warning: true, reason: Reason::StatusRefused, action: "Reconcile", text };
            runs.events.publish(info, C::Kind::KIND, &event);
        }
    }

    /// Creates a reserved run, and remembers the state of the request.
    pub(super) async fn create_run(&self, object: &ReconciledObject<'_, C>, run: &CreateRun) -> EffectResult {
        let (info, runs) = (object.info(), &self.context.runs);
        let remember = |state| {
            let post = Post { nonce: run.nonce.clone(), state };
            self.memories.change(&info.uid, |memory| memory.record_post(&run.name, post));
        };
        // From here until the reply it is unknown whether the run exists; after a crash in between it stays unknown.
        remember(PostState::Unknown);
        let templates = object.spec.map_err(Clone::clone).map(C::templates);
        let template = templates.and_then(|templates| find(&templates, runs.backends)).map(|(template, _)| template);
        let template = template.map_err(|invalid| invalid.to_string());
        let state = runs.create((C::Kind::KIND, info), run, template).await;
        if state == PostState::Created
            && let Some(stored) = runs.runs.named(&info.namespace, &info.uid, &run.name)
        {
            self.kind.run_created(self, object, run, &stored);
        }
        remember(state);
        EffectResult::Done
    }

    /// Looks up a reserved run at the API server.
    pub(super) async fn look_up_run(&self, object: &ReconciledObject<'_, C>, slot: &RunSlot) -> EffectResult {
        match self.context.runs.look_up(object.info(), slot).await {
            Ok(None) => EffectResult::Done,
            Ok(Some(lookup)) => {
                self.memories.change(&object.info().uid, |memory| memory.record_lookup(lookup));
                EffectResult::Done
            }
            Err(next) => EffectResult::Stop(next),
        }
    }

    /// Inspects an active run of which nothing runs. It never fails: what cannot be read now is read later.
    pub(super) async fn inspect_run(&self, object: &ReconciledObject<'_, C>, wanted: &InspectRun) -> EffectResult {
        let (info, runs) = (object.info(), &self.context.runs);
        let Some(run) = runs.runs.named(&info.namespace, &info.uid, &wanted.name) else { return EffectResult::Done };
        let inspected = runs.inspect(wanted, &run).await;
        let now = runs.clock.now();
        self.memories.change(&info.uid, |memory| match inspected {
            Inspected::Found(obstacle) => obstacle::record(memory.inspections(), &run, obstacle, now),
            Inspected::Postponed => obstacle::postpone(memory.inspections(), &run, now),
        });
        EffectResult::Done
    }

    /// Stops a run in the way of its backend.
    pub(super) async fn stop_run(&self, object: &ReconciledObject<'_, C>, run: &StopRun) -> EffectResult {
        self.context.runs.stop((C::Kind::KIND, object.info()), run).await
    }
}

/// Logs a failed request about this object; the reconcile is tried again after a pause.
pub(super) fn failed<C: KindController>(
    object: &ReconciledObject<'_, C>,
    what: &str,
    error: &dyn std::fmt::Display,
) -> EffectResult {
    warn!(
        object = &*object.info().name,
        namespace = &*object.info().namespace,
        error = error.to_string(),
        "{what}; trying again"
    );
    EffectResult::Stop(Requeue::Failed)
}
