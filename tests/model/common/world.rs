//! The state of a model: the API server, the requests in flight, two replicas of the operator, and the rest of the
//! world. Everything is small, ordered and hashable; what is large (a status, a memory) is interned.

use std::sync::Arc;

use modelsync::{api::Outcome, core::run::effects::StopCause};

use super::{Flight, Id, Kind, Place, Store, Stored, Tick, Types, Versioned, View, versions};

/// Objects of one name, one after the other: 0 is the first, 1 the one that was created after its deletion.
pub type Incarnation = u8;

pub fn uid(incarnation: Incarnation) -> String {
    format!("uid-{incarnation}")
}

/// The trigger annotation of this value; 0 is none.
pub fn trigger(value: u8) -> Option<Arc<str>> {
    (value > 0).then(|| format!("t{value}").into())
}

/// The value of a trigger annotation.
pub fn trigger_value(text: Option<&str>) -> u8 {
    text.map_or(0, |text| text[1..].parse().unwrap())
}

/// The name of a run, and of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub owner: Incarnation,
    pub attempt: u8,
    /// Slots beyond those of the protocol make other names.
    pub slot: u8,
}

impl Name {
    /// The name of the first run of all.
    pub const FIRST: Self = Self { owner: 0, attempt: 1, slot: 0 };
}

/// The phase of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunPhase {
    Active,
    /// Succeeded. A gate passes it.
    Good,
    /// Succeeded. A gate passes it, and it is better than `Good`.
    Better,
    /// Succeeded. A gate rejects it.
    Bad,
    /// Succeeded without the metric that a gate reads.
    Silent,
    Failed,
    Cancelled,
}

impl RunPhase {
    pub const fn succeeded(self) -> bool {
        matches!(self, Self::Good | Self::Better | Self::Bad | Self::Silent)
    }

    /// The metric that a gate reads.
    pub const fn metric(self) -> Option<&'static str> {
        match self {
            Self::Good => Some("0.7"),
            Self::Better => Some("0.9"),
            Self::Bad => Some("0.3"),
            Self::Active | Self::Silent | Self::Failed | Self::Cancelled => None,
        }
    }
}

/// Why the operator stopped a run: the mark on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stopped {
    TimedOut,
    Cancelled,
}

impl From<Stopped> for StopCause {
    fn from(stopped: Stopped) -> Self {
        match stopped {
            Stopped::TimedOut => Self::TimedOut,
            Stopped::Cancelled => Self::Cancelled,
        }
    }
}

impl From<StopCause> for Stopped {
    fn from(cause: StopCause) -> Self {
        match cause {
            StopCause::TimedOut => Self::TimedOut,
            StopCause::Cancelled => Self::Cancelled,
        }
    }
}

/// A run in the API server, or in a replica's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Run {
    pub name: Name,
    /// Distinguishes the runs of one name by their uids.
    pub copy: u8,
    /// Which target it was made for, where a kind has several.
    pub target: u8,
    pub phase: RunPhase,
    /// When its phase began; 0 where no decision reads that.
    pub since: Tick,
    pub stopped: Option<Stopped>,
}

impl Run {
    /// An active run.
    pub const fn new(name: Name, target: u8) -> Self {
        Self { name, copy: 0, target, phase: RunPhase::Active, since: 0, stopped: None }
    }

    pub fn is_active(self) -> bool {
        self.phase == RunPhase::Active
    }

    pub fn uid(self) -> String {
        format!("{}-{}-{}-{}", uid(self.name.owner), self.name.attempt, self.name.slot, self.copy)
    }

    /// Its outcome, if it has ended. A run that the operator stopped counts by the operator's cause.
    pub fn outcome(self) -> Option<Outcome> {
        match (self.phase, self.stopped) {
            (RunPhase::Active, _) => None,
            (RunPhase::Failed | RunPhase::Cancelled, Some(Stopped::TimedOut)) => Some(Outcome::TimedOut),
            (RunPhase::Failed, Some(Stopped::Cancelled)) | (RunPhase::Cancelled, _) => Some(Outcome::Cancelled),
            (RunPhase::Failed, None) => Some(Outcome::Failed),
            _ => Some(Outcome::Succeeded),
        }
    }
}

impl Stored for Run {
    type Version = (RunPhase, Option<Stopped>);

    fn version(self) -> Self::Version {
        (self.phase, self.stopped)
    }

    fn same(self, other: Self) -> bool {
        (self.name, self.copy) == (other.name, other.copy)
    }
}

/// One version of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Object<K: Types> {
    pub incarnation: Incarnation,
    /// resourceVersion. Only its order matters: a state is renumbered after each action.
    pub version: u8,
    pub generation: u8,
    /// Which of the configured specs it has.
    pub spec: u8,
    /// Value of the trigger annotation; 0 is none.
    pub trigger: u8,
    /// The run that the cancel annotation names.
    pub cancel: Option<Name>,
    pub annotations: K::Annotations,
    pub deleting: bool,
    pub status: Id,
}

impl<K: Types> Object<K> {
    pub fn new(incarnation: Incarnation, version: u8) -> Self {
        Self {
            incarnation,
            version,
            generation: 1,
            spec: 0,
            trigger: 0,
            cancel: None,
            annotations: K::Annotations::default(),
            deleting: false,
            status: 0,
        }
    }
}

impl<K: Types> Versioned for Object<K> {
    fn each_version(&mut self, visit: &mut dyn FnMut(&mut u8)) {
        visit(&mut self.version);
    }
}

/// A request of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Request<K: Types> {
    /// A write of the object's status.
    Patch {
        version: u8,
        before: Id,
        after: Id,
        /// Whether it carries the resourceVersion.
        conditional: bool,
        /// The evidence of a reserve, where a property reads that.
        evidence: Option<K::Evidence>,
    },
    /// The create of a run.
    Post {
        run: Run,
        not_after: Tick,
        nonce: Id,
        generation: u8,
        trigger: u8,
    },
    /// A GET of a run; `sent` is the replica's estimate of the server's time, `at` the time of its own clock.
    Get {
        name: Name,
        sent: Tick,
        at: Tick,
    },
    Delete {
        run: Run,
    },
    /// The patch that stops a run; `exact` where it carries uid and resourceVersion.
    Stop {
        run: Run,
        cause: Stopped,
        exact: bool,
    },
    /// A request that only this kind has.
    Own(K::Request),
}

impl<K: Types> Versioned for Request<K> {
    fn each_version(&mut self, visit: &mut dyn FnMut(&mut u8)) {
        if let Self::Patch { version, .. } = self {
            visit(version);
        }
    }
}

/// Why a POST was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Refused {
    Fence,
    Quota,
    Invalid,
    KindMissing,
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reply<K: Types> {
    Stored(Object<K>),
    Conflict,
    /// The run that has the name of the request.
    Ours(Run),
    Refused(Refused),
    Absent,
    Foreign,
    Deleted,
    Unknown,
    Own(K::Reply),
}

impl<K: Types> Versioned for Reply<K> {
    fn each_version(&mut self, visit: &mut dyn FnMut(&mut u8)) {
        if let Self::Stored(object) = self {
            object.each_version(visit);
        }
    }
}

/// What a replica knows of runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Knowledge {
    Unknown,
    Known,
    /// The run's kind is not installed.
    Missing,
}

/// A replica of the operator that believes that it leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica<K: Types> {
    /// Counts processes and terms of leadership.
    pub term: u8,
    /// How far its estimate of the API server's time lags: its last response came from a server whose clock is slow.
    pub lag: Tick,
    /// Nonces that this term has used.
    pub nonces: u8,
    pub knowledge: Knowledge,
    pub store: Store<Run>,
    pub views: [View<K>; 2],
    pub own: K::Replica,
}

impl<K: Types> Replica<K> {
    pub fn started(term: u8) -> Self {
        Self {
            term,
            lag: 0,
            nonces: 0,
            knowledge: Knowledge::Unknown,
            store: Store::empty(),
            views: [View::default(), View::default()],
            own: K::Replica::default(),
        }
    }

    /// Wakes every object, after a watch has shown something that each may depend on.
    pub fn wake(&mut self) {
        for view in &mut self.views {
            view.woken |= view.object.is_some();
        }
    }
}

macro_rules! budget {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// How often each fault and each action of a user may still happen.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub struct Budget {
            $($(#[$doc])* pub $name: u8,)+
        }

        impl Budget {
            pub const NONE: Self = Self { $($name: 0,)+ };
        }
    };
}

budget! {
    crashes,
    terms,
    /// Requests whose sender gives up waiting: lost requests and lost replies.
    lost,
    /// Requests that a client or a proxy delivers a second time.
    retries,
    refusals,
    silences,
    /// Replies of a server whose clock is a tick slow.
    slow_clocks,
    /// Older states of the server that a restarted replica may be served.
    old_lists,
    /// Reconciles of the second replica: the first one's are bounded by time alone.
    second_reconciles,
    run_failures,
    run_deletions,
    record_deletions,
    /// Runs that are cancelled by something other than the operator.
    cancels,
    /// Runs that a user names in the cancel annotation.
    cancel_annotations,
    edits,
    triggers,
    /// Triggers that override the windows.
    overrides,
    /// Settings of hold, approve and reject.
    annotations,
    object_deletions,
    /// Statuses that are lost.
    losses,
    /// Changes of the endpoint's response.
    flips,
    endpoint_failures,
    /// How often the desired value disappears.
    withdrawals,
    /// Changes of a watched source that replicas see.
    source_changes,
    /// Changes of the input. Replicas see them later.
    inputs,
    /// Changes of what is measured.
    scores,
}

/// The properties that were violated on the path to this state, one bit each. The bits of a single kind are beside its
/// properties.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Broken(u32);

impl Broken {
    pub const TWICE: Self = Self(1);
    pub const READY: Self = Self(1 << 1);
    pub const NO_WAKE_UP: Self = Self(1 << 2);
    pub const EMPTY_WRITE: Self = Self(1 << 3);
    pub const STOP: Self = Self(1 << 4);

    /// A bit of a single kind.
    pub const fn own(number: u32) -> Self {
        Self(1 << (5 + number))
    }

    pub fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    pub fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }
}

/// The whole state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World<K: Types> {
    pub tick: Tick,
    pub object: Option<Object<K>>,
    /// The incarnation that exists, or existed last.
    pub incarnation: Incarnation,
    pub runs: Vec<Run>,
    /// An object of another owner has the name of the first run.
    pub foreign: bool,
    pub flights: Vec<Flight<K>>,
    pub replicas: [Replica<K>; 2],
    pub budget: Budget,
    pub broken: Broken,
    pub own: K::World,
}

impl<K: Kind> World<K> {
    pub fn replica(&mut self, index: u8) -> &mut Replica<K> {
        &mut self.replicas[usize::from(index)]
    }

    pub fn view(&mut self, place: Place) -> &mut View<K> {
        &mut self.replica(place.replica).views[usize::from(place.object)]
    }

    /// The object in the API server, if it is this incarnation.
    pub fn stored_object(&self, incarnation: Incarnation) -> Option<Object<K>> {
        self.object.filter(|object| object.incarnation == incarnation)
    }

    /// Changes the object as a user does.
    pub fn change(&mut self, change: impl FnOnce(&mut Object<K>)) {
        let version = self.next_version();
        if let Some(object) = &mut self.object {
            change(object);
            object.version = version;
        }
    }

    /// A resourceVersion above every other.
    pub fn next_version(&mut self) -> u8 {
        versions::next(self)
    }

    /// How many runs of this object are active.
    pub fn active(&self, owner: Incarnation) -> usize {
        self.runs.iter().filter(|run| run.name.owner == owner && run.is_active()).count()
    }
}

impl<K: Kind> Versioned for World<K> {
    fn each_version(&mut self, visit: &mut dyn FnMut(&mut u8)) {
        self.object.each_version(visit);
        self.flights.each_version(visit);
        for view in self.replicas.iter_mut().flat_map(|replica| &mut replica.views) {
            view.each_version(visit);
        }
        K::each_version(&mut self.own, visit);
    }
}
