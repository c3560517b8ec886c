//! The pipeline of a ModelTrain: gather → decide → apply. IO through `kube_io` only.

mod effects;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
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
    api::{Kind, ModelSync, ModelTrain, ModelTrainSpec, ModelTrainStatus, ModelVersionSpec, ServedBy},
    core::{
        invalid::Invalid,
        poll::{
            request::{Poll, PollRequest},
            response::PollResult,
        },
        run::{knowledge::ObjectInfo, retention::Limits},
        sync::follower,
        time::Now,
        train::{
            Compiled, Effect, Facts, Follower, Memory, Plan, TrainPollResponse, TrainPollTarget, VersionKnowledge,
            decide, poll, references, status_after_panic, validate,
        },
    },
    kube_io::{
        client::Guarded,
        fence::FenceState,
        lease::Leadership,
        record::ObjectRecord,
        referenced::Referenced,
        store::{Followers, ModelVersions, Objects, RunsOf, VersionsOf},
        versions::{StoredVersion, Versions},
    },
    lineage::Lineage,
    schedule::{
        poller::Poller,
        queue::{Queue, Requeue},
    },
};

const KIND: &str = ModelTrain::KIND;

/// What asks a ModelTrain's questions.
pub type TrainPoller = Poller<TrainPollTarget, TrainPollResponse>;

/// What the controller works with.
pub struct TrainContext {
    /// Its runs, and what is done to them.
    pub runs: RunEffects,
    /// The objects.
    pub objects: Arc<Objects<ModelTrain>>,
    /// The versions.
    pub versions: Arc<ModelVersions>,
    /// What writes them.
    pub records: Versions,
    /// The ModelSyncs, for what those serve that records name.
    pub model_syncs: Arc<Objects<ModelSync>>,
    /// Which ModelSyncs follow.
    pub followers: Arc<Followers>,
    /// What reads the results of runs.
    pub reads: Guarded,
    /// The fence.
    pub fence: FenceState,
    /// Objects that values come from.
    pub referenced: Referenced,
    /// Passes.
    pub queue: Queue,
    /// Who is told of runs.
    pub lineage: Lineage,
    /// Whether this replica leads.
    pub leadership: Leadership,
    /// Differs for every process.
    pub process: String,
    /// Minimum age of a finished run before it is deleted.
    pub min_run_age: Duration,
}

/// Reconciles ModelTrains.
pub struct ModelTrainController {
    context: TrainContext,
    memories: Memories<Memory>,
    /// What was compiled of each object's present generation.
    compiled: Mutex<HashMap<Box<str>, CompiledOnce>>,
}

/// What was compiled, or why that fails, and of which generation.
type CompiledOnce = (i64, Result<Compiled, Invalid>);

/// Versions of an object, and of earlier objects of its name.
type OwnAndEarlier = (Vec<Arc<StoredVersion>>, Vec<Arc<StoredVersion>>);

/// What a pass has gathered besides the object.
struct Gathered {
    runs: RunsOf,
    versions: Option<OwnAndEarlier>,
    details: BTreeMap<String, Arc<ModelVersionSpec>>,
    followers: Vec<Follower>,
}

impl Reconcile for ModelTrainController {
    type Poller = TrainPoller;

    fn leads(&self) -> bool {
        self.context.leadership.leads()
    }

    async fn reconcile(&self, poller: &TrainPoller, uid: &str) -> Requeue {
        let Some(object) = self.context.objects.get(uid) else { return self.forget(poller, uid) };
        let (spec, Ok(status)) = object.read() else {
            // Without a readable status an attempt could be used twice. The log and a metric tell of it.
            return Requeue::OnEvent;
        };
        let now = self.context.runs.clock.now();
        let gathered = self.gather(&object.identity, &status);
        let (term, nonce) = self.memories.nonce();
        let read = spec.as_ref().map_or_else(|_| BTreeSet::new(), references);
        self.context.referenced.refer(uid, &object.identity.namespace, read);
        let plan = self.decide(&object.identity, (&spec, &status), &gathered, (&term, &nonce), now);
        debug!(object = &*object.identity.name, namespace = &*object.identity.namespace, rule = ?plan.rule, effects = plan.effects.len(), "decided");
        poller.plan(uid, plan.request.clone());
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

impl ModelTrainController {
    /// A controller that has seen nothing yet.
    pub fn new(context: TrainContext) -> Self {
        let memories = Memories::new(&context.process);
        Self { context, memories, compiled: Mutex::default() }
    }

    /// Begins a term of leadership as if the process had just started.
    pub fn on_elected(&self) {
        self.memories.on_elected();
    }

    /// The question of an object, if its spec is still the one that was decided on: the metrics of the run that is to be
    /// recorded next, or how things stand.
    pub fn build_poll(&self, request: &PollRequest) -> Option<Poll<TrainPollTarget>> {
        let object = self.context.objects.get(&request.context.uid)?;
        let identity = &object.identity;
        if identity.generation != request.context.generation {
            return None;
        }
        let (Ok(spec), Ok(status)) = object.read() else { return None };
        let poll_target = match &status.reservation {
            Some(open) => {
                let runs = self.context.runs.runs.of(&identity.uid, &identity.namespace, KIND, &identity.name);
                let RunsOf::Known { own, .. } = runs else { return None };
                poll::measure_next(&spec, open, own.iter().map(Arc::as_ref))?
            }
            None => poll::observe(&spec)?,
        };
        let (namespace, name) = (identity.namespace.clone(), identity.name.clone());
        Some(Poll {
            target: poll_target,
            namespace,
            name,
            context: request.context.clone(),
            previous: request.previous.clone(),
        })
    }

    /// Takes in an answer to the question of the object with this uid.
    pub fn record_poll_result(&self, uid: &str, polled: PollResult<TrainPollResponse>) {
        let outcome = match &polled.result {
            Ok(response) if response.is_complete() => "answered",
            Ok(_) => "incomplete",
            Err(poll_error) => poll_error.class.as_str(),
        };
        self.context.runs.metrics.polled(outcome, polled.took);
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

    fn forget(&self, poller: &TrainPoller, uid: &str) -> Requeue {
        poller.plan(uid, None);
        self.context.referenced.refer(uid, "", BTreeSet::new());
        self.memories.forget(uid);
        self.compiled.lock().unwrap_or_else(PoisonError::into_inner).remove(uid);
        Requeue::Forget
    }

    fn gather(&self, identity: &ObjectInfo, status: &ModelTrainStatus) -> Gathered {
        let runs = self.context.runs.runs.of(&identity.uid, &identity.namespace, KIND, &identity.name);
        let followers = self.followers(identity);
        let versions = self.versions(identity, status);
        let mut details = BTreeMap::new();
        if let Some((own, earlier)) = &versions {
            let wanted = Facts::wanted(identity, status, &followers);
            // Of an earlier object only what may be taken up is read whole.
            let restores = status.attempt == 0 && status.accepted_version.is_none();
            let to_take_up = earlier.iter().filter(|_| restores);
            let named =
                own.iter().chain(earlier).filter(|version| wanted.iter().any(|name| **name == *version.record.name));
            for version in named.chain(to_take_up) {
                if let Ok((spec, _)) = version.read() {
                    details.insert(version.record.name.to_string(), Arc::new(spec));
                }
            }
        }
        Gathered { runs, versions, details, followers }
    }

    /// Versions of the object, and of earlier objects of its name while the object has none of its own to stand for.
    fn versions(&self, identity: &ObjectInfo, status: &ModelTrainStatus) -> Option<OwnAndEarlier> {
        let of = |uid: &str| match self.context.versions.of(&identity.namespace, uid) {
            VersionsOf::Known(versions) => Some(versions),
            VersionsOf::Unknown | VersionsOf::Missing => None,
        };
        let own = of(&identity.uid)?;
        let held = identity.manual.as_ref().is_some_and(|manual| manual.hold.is_some());
        let takes_up = status.attempt == 0 || held;
        let mut earlier = Vec::new();
        if takes_up {
            let uids = self.context.versions.trains_named(&identity.namespace, &identity.name);
            for uid in uids.iter().filter(|uid| **uid != identity.uid) {
                earlier.extend(of(uid)?);
            }
        }
        Some((own, earlier))
    }

    /// The ModelSyncs that follow. Those that records name are looked up where no pass has looked at them in this term yet:
    /// what a record says they serve, they serve until their own status says another thing, or they are certainly gone.
    fn followers(&self, identity: &ObjectInfo) -> Vec<Follower> {
        let mut followers = self.context.followers.of(&identity.namespace, &identity.name);
        let VersionsOf::Known(versions) = self.context.versions.of(&identity.namespace, &identity.uid) else {
            return followers;
        };
        let mut entries: Vec<_> = versions
            .iter()
            .flat_map(|version| version.record.served_by.iter().map(|by| (by, &*version.record.name)))
            .collect();
        // The newest first: of one ModelSync that two records name, it counts.
        entries.sort_by_key(|(by, _)| std::cmp::Reverse(by.since));
        for (by, version) in entries {
            if !followers.iter().any(|follower| follower.uid == by.uid) {
                followers.extend(self.recorded_follower(identity, by, version));
            }
        }
        followers
    }

    /// What a ModelSync serves that a record names and no pass has looked at; `None` once it follows no more, or is gone.
    fn recorded_follower(&self, identity: &ObjectInfo, by: &ServedBy, version: &str) -> Option<Follower> {
        let as_recorded = || Follower {
            name: by.model_sync.clone(),
            uid: by.uid.clone(),
            serving: Some((version.to_owned(), by.since)),
        };
        // Before the look, so that no pass comes in between. None comes over what is not there: whoever waited for one would
        // be kept for good.
        if self.context.model_syncs.get(&by.uid).is_some() {
            self.context.followers.await_note(&by.uid, &identity.namespace, &identity.name);
        }
        let Some(object) = self.context.model_syncs.get(&by.uid) else {
            return (!self.context.model_syncs.knows(&identity.namespace)).then(as_recorded);
        };
        let (Ok(spec), Ok(status)) = object.read() else { return Some(as_recorded()) };
        match follower(&object.identity, &spec, &status) {
            Ok(following) => following.filter(|(train, _)| **train == *identity.name).map(|(_, follower)| follower),
            Err(_) => Some(as_recorded()),
        }
    }

    fn observe(&self, uid: &str, runs: &RunsOf, (limits, status): (Limits, &ModelTrainStatus), now: Now) -> Memory {
        self.memories.change(uid, |memory| {
            if let RunsOf::Known { own, .. } = runs {
                let own: Vec<_> = own.iter().map(Arc::as_ref).collect();
                memory.observe(&own, limits, status, now.mono);
            }
            memory.clone()
        })
    }

    fn decide(
        &self,
        identity: &ObjectInfo,
        (spec, status): (&Result<ModelTrainSpec, Invalid>, &ModelTrainStatus),
        gathered: &Gathered,
        (process, nonce): (&str, &str),
        now: Now,
    ) -> Plan {
        let compiled = spec.as_ref().map_err(Clone::clone).and_then(|spec| self.compiled(identity, spec));
        let spec = match (spec, &compiled) {
            (Ok(spec), Ok(compiled)) => validate(spec, compiled, self.context.runs.backends),
            (Err(invalid), _) | (_, Err(invalid)) => Err(invalid.clone()),
        };
        let limits = spec.as_ref().map_or(Limits::KEEP_ALL, |valid| valid.limits);
        let memory = self.observe(&identity.uid, &gathered.runs, (limits, status), now);
        let runs = gathered.runs.knowledge(spec.as_ref().ok().map(|valid| valid.kind));
        let versions = match &gathered.versions {
            None => VersionKnowledge::Unknown,
            Some((own, earlier)) => VersionKnowledge::Known {
                own: own.iter().map(|version| &version.record).collect(),
                earlier: earlier.iter().map(|version| &version.record).collect(),
                details: &gathered.details,
            },
        };
        let facts = Facts {
            object: identity,
            spec,
            stored: status,
            status,
            runs,
            versions,
            followers: &gathered.followers,
            fence: self.context.fence.get(),
            memory: &memory,
            nonce,
            process,
            min_run_age: self.context.min_run_age,
        };
        decide(&facts, now)
    }

    /// The gate and the rules of this generation, compiled once.
    fn compiled(&self, identity: &ObjectInfo, spec: &ModelTrainSpec) -> Result<Compiled, Invalid> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((generation, known)) = compiled.get(&*identity.uid)
            && *generation == identity.generation
        {
            return known.clone();
        }
        let fresh = Compiled::of(spec);
        compiled.insert((*identity.uid).into(), (identity.generation, fresh.clone()));
        fresh
    }

    /// Carries out the plan's effects in their order.
    async fn apply(&self, object: &ObjectRecord<ModelTrain>, status: &ModelTrainStatus, plan: &Plan) -> Requeue {
        for effect in &plan.effects {
            if !self.leads() {
                return Requeue::OnEvent;
            }
            let step = match effect {
                Effect::WriteStatus(after) => self.write_status(object, status, after).await,
                Effect::CreateRun(run) => self.create_run(object, status, run).await,
                Effect::LookUpRun(slot) => self.look_up(object, slot).await,
                Effect::StopRun(run) => self.context.runs.stop((KIND, &object.identity), run).await,
                Effect::ReadResults(wanted) => self.read_results(object, wanted).await,
                Effect::Judge(evidence) => self.judge(object, evidence).await,
                Effect::CreateVersion(spec, policy) => self.create_version(object, status, spec, *policy).await,
                Effect::LookUpVersion(name) => self.look_up_version(object, name).await,
                Effect::WriteVersionStatus(name, after) => self.write_version_status(object, name, after).await,
                Effect::DeleteVersion(name) => self.delete_version(object, name).await,
                Effect::DeleteRun(run) => self.context.runs.delete(&object.identity, run).await,
            };
            if let Step::Stop(next) = step {
                return next;
            }
        }
        requeue(plan.effects.is_empty(), plan.wake_up)
    }
}
