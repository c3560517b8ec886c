//! The state of the model: the API server, the requests on their way, two replicas of the operator, and the rest of the
//! world. Everything is small, ordered and hashable; what is large (a status, a memory) is interned.

use super::{
    flight,
    intern::Id,
    object::{self, Incarnation},
    store::{Store, Stored},
    time::{MIN_AGE, Tick},
    versions::{self, Versioned},
    view,
};

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunPhase {
    Active,
    Succeeded,
    Failed,
    Cancelled,
}

/// Why the operator ended a run: the mark on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stopped {
    TimedOut,
    Cancelled,
}

/// A run in the API server, or in a replica's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Run {
    pub owner: Incarnation,
    pub attempt: u8,
    /// 0 is the name that the protocol gives; mutants use others.
    pub name: u8,
    /// Tells the runs of one name apart: their uids.
    pub copy: u8,
    /// Which target it was made for.
    pub target: u8,
    /// When it started; 0 where nothing asks for that.
    pub started: Tick,
    pub phase: RunPhase,
    pub stopped: Option<Stopped>,
}

impl Stored for Run {
    type Version = (RunPhase, Option<Stopped>);

    fn version(self) -> Self::Version {
        (self.phase, self.stopped)
    }

    fn same(self, other: Self) -> bool {
        self.same_name(other) && self.copy == other.copy
    }
}

impl Run {
    pub fn same_name(self, other: Self) -> bool {
        (self.owner, self.attempt, self.name) == (other.owner, other.attempt, other.name)
    }
}

/// One version of the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Object {
    pub incarnation: Incarnation,
    /// resourceVersion. Only its order means anything: [`World::canonical`] renumbers.
    pub version: u8,
    pub generation: u8,
    /// Which of the configured specs it has.
    pub spec: u8,
    /// Value of the trigger annotation; 0 is none.
    pub trigger: u8,
    /// Value of the annotation that lets a trigger override the windows.
    pub overriding: u8,
    /// Attempt whose run the cancel annotation names; 0 is none.
    pub cancel: u8,
    pub deleting: bool,
    pub status: Id,
}

impl Object {
    pub const fn new(incarnation: Incarnation, version: u8) -> Self {
        Self {
            incarnation,
            version,
            generation: 1,
            spec: 0,
            trigger: 0,
            overriding: 0,
            cancel: 0,
            deleting: false,
            status: 0,
        }
    }
}

impl object::Object for Object {
    fn incarnation(&self) -> Incarnation {
        self.incarnation
    }

    fn version(&self) -> u8 {
        self.version
    }
}

impl Versioned for Object {
    fn each_version(&mut self, visit: &mut dyn FnMut(&mut u8)) {
        visit(&mut self.version);
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Said {
    Needed,
    NotNeeded,
    /// There is nothing desired yet.
    DesiredUnknown,
    /// No answer.
    Nothing,
}

/// What was really so when a question was answered. No replica sees this; the properties do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Evidence {
    pub needed: bool,
    /// How many ends of runs were durable.
    pub ends: u8,
    /// Generation and trigger that the answer was asked under.
    pub generation: u8,
    pub trigger: u8,
}

/// A request of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Request {
    Patch {
        version: u8,
        before: Id,
        after: Id,
        /// Whether it carries the resourceVersion.
        conditional: bool,
        /// The evidence of a reserve.
        evidence: Option<Evidence>,
    },
    Post {
        run: Run,
        not_after: Tick,
        nonce: Id,
        generation: u8,
        trigger: u8,
    },
    /// A GET of the run of this attempt; `sent` is the replica's idea of the server's time, `at` its own clock's.
    Get {
        attempt: u8,
        sent: Tick,
        at: Tick,
    },
    Delete {
        run: Run,
    },
    /// The patch that ends a run; `exact` where it carries uid and resourceVersion.
    Stop {
        run: Run,
        cause: Stopped,
        exact: bool,
    },
    /// A list of runs without our label.
    Find,
}

impl Versioned for Request {
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
pub enum Reply {
    Stored(Object),
    Conflict,
    Ours(Run),
    Refused(Refused),
    Absent,
    Foreign,
    Deleted,
    /// Whether an earlier operator's run is unfinished.
    Earlier(bool),
    Unknown,
}

impl Versioned for Reply {
    fn each_version(&mut self, visit: &mut dyn FnMut(&mut u8)) {
        if let Self::Stored(object) = self {
            object.each_version(visit);
        }
    }
}

pub type Stage = flight::Stage<Reply>;
pub type Flight = flight::Flight<Request, Reply>;
pub type Asked = view::Asked<Said, Evidence>;
pub type View = view::View<Object, Request, Said, Evidence>;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Knowledge {
    Unknown,
    Known,
    Missing,
}

/// A replica of the operator that believes that it leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    /// Counts processes and terms of leadership.
    pub term: u8,
    /// How far its idea of the API server's time lags: it has last heard a server whose clock is slow.
    pub lag: Tick,
    /// Nonces that this term has used.
    pub nonces: u8,
    pub knowledge: Knowledge,
    pub store: Store<Run>,
    pub views: [View; 2],
}

impl Replica {
    pub fn started(term: u8) -> Self {
        Self {
            term,
            lag: 0,
            nonces: 0,
            knowledge: Knowledge::Unknown,
            store: Store::empty(),
            views: [View::default(), View::default()],
        }
    }
}

/// How often each fault and each deed of a user may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    pub crashes: u8,
    pub terms: u8,
    /// Requests whose sender gives up waiting: lost requests and lost replies.
    pub lost: u8,
    /// Requests that a client or a proxy delivers a second time.
    pub retries: u8,
    pub refusals: u8,
    pub run_deletions: u8,
    pub run_failures: u8,
    pub edits: u8,
    pub triggers: u8,
    /// Triggers that override the windows.
    pub overrides: u8,
    /// Changes of the endpoint's answer.
    pub flips: u8,
    pub endpoint_failures: u8,
    pub object_deletions: u8,
    pub silences: u8,
    /// Older states of the server that a restarted replica may be served.
    pub old_lists: u8,
    /// Replies of a server whose clock is a tick slow.
    pub slow_clocks: u8,
    /// Passes of the second replica: the first one's are bounded by time alone.
    pub seconds_pass: u8,
    /// Runs that somebody cancels.
    pub cancels: u8,
    /// Runs that a user names in the cancel annotation.
    pub cancel_annotations: u8,
    /// How often what is desired disappears.
    pub withdrawals: u8,
    /// Changes of a watched source that replicas see.
    pub source_changes: u8,
}

/// What a property found broken on the way to this state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Broken(pub u16);

impl Broken {
    pub const TWICE: u16 = 1;
    pub const SHRUNK: u16 = 1 << 1;
    pub const END_NOT_DURABLE: u16 = 1 << 2;
    pub const END_UNTRUE: u16 = 1 << 3;
    pub const POLL_ERROR: u16 = 1 << 4;
    pub const DELETION: u16 = 1 << 5;
    pub const READY: u16 = 1 << 6;
    pub const NO_WAKE_UP: u16 = 1 << 7;
    pub const EMPTY_WRITE: u16 = 1 << 8;
    pub const UNKNOWN_RUNS: u16 = 1 << 9;
    pub const DEADLINE_LOWERED: u16 = 1 << 10;
    pub const OLD_LOOK_UP: u16 = 1 << 11;
    pub const OLD_ANSWER: u16 = 1 << 12;
    pub const WAITING: u16 = 1 << 13;
    pub const STOP: u16 = 1 << 14;

    pub fn add(&mut self, bits: u16) {
        self.0 |= bits;
    }

    pub fn has(self, bits: u16) -> bool {
        self.0 & bits != 0
    }
}

/// Attempts that are told apart.
pub const ATTEMPTS: usize = 6;
/// Stands for the last attempt that can be, on a run that somebody has labelled so.
pub const LAST_ATTEMPT: u8 = 99;

/// The whole state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct World {
    pub tick: Tick,
    pub object: Option<Object>,
    /// The incarnation that is there, or was there last.
    pub incarnation: Incarnation,
    pub runs: Vec<Run>,
    /// Somebody else's object stands under the name of the first attempt.
    pub foreign: bool,
    pub kind_installed: bool,
    /// An earlier operator's run of the first object is unfinished. No watch shows it.
    pub earlier: bool,
    /// What the endpoint says, and whether it says anything.
    pub wish: Said,
    pub endpoint_up: bool,
    pub flights: Vec<Flight>,
    pub replicas: [Replica; 2],
    /// An older state of the server, from which a replica may start.
    pub old: Option<(Option<Object>, Vec<Run>)>,
    pub budget: Budget,
    /// Runs created so far, by incarnation and attempt; at most 2 are told apart.
    pub created: [[u8; ATTEMPTS]; 2],
    /// Ends that are durable, by incarnation: how many, and since when by attempt (0: not; 1: long ago; else tick + 2).
    pub ends: [u8; 2],
    pub end_since: [[u8; ATTEMPTS]; 2],
    /// A run was deleted while a request for it was on its way.
    pub exception: bool,
    pub broken: Broken,
}

impl World {
    /// Brings a state into the one form that stands for all that differ from it in nothing that matters.
    pub fn canonical(&mut self, fenced: bool) {
        self.runs.sort_unstable();
        let (tick, object, runs) = (self.tick, self.object, &self.runs);
        // What nobody waits for and cannot change anything any more is as good as gone.
        self.flights.retain(|flight| {
            flight.waiting.is_some()
                || match (flight.request, flight.stage) {
                    (_, Stage::Replied(_)) | (Request::Get { .. } | Request::Find, _) => false,
                    (Request::Patch { version, conditional, .. }, _) => object.is_some_and(|object| {
                        object.incarnation == flight.owner && (!conditional || object.version == version)
                    }),
                    (Request::Post { not_after, .. }, Stage::Sent) => !fenced || tick <= not_after,
                    (Request::Post { .. }, Stage::Admitted(at)) => tick < at + 2,
                    (Request::Delete { run } | Request::Stop { run, exact: true, .. }, _) => runs.contains(&run),
                    (Request::Stop { run, .. }, _) => object.is_some_and(|object| object.incarnation == run.owner),
                }
        });
        self.flights.sort_unstable();
        for (index, replica) in self.replicas.iter_mut().enumerate() {
            let replies = || self.flights.iter().filter_map(|flight| flight.reply_to(index));
            replica.store.canonical(|gone| replies().any(|reply| matches!(reply, Reply::Ours(run) if run.same(gone))));
        }
        for since in self.end_since.iter_mut().flatten() {
            if *since >= 2 && tick - (Tick::from(*since) - 2) >= MIN_AGE {
                *since = 1;
            }
        }
        versions::renumber(self);
    }

    /// A run brings about what was desired.
    pub fn serve(&mut self) {
        if self.wish == Said::Needed {
            self.wish = Said::NotNeeded;
        }
    }

    /// A user changes the object.
    pub fn change(&mut self, change: impl FnOnce(&mut Object)) {
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
}

impl Versioned for World {
    fn each_version(&mut self, visit: &mut dyn FnMut(&mut u8)) {
        self.object.each_version(visit);
        if let Some((object, _)) = &mut self.old {
            object.each_version(visit);
        }
        self.flights.each_version(visit);
        for view in self.replicas.iter_mut().flat_map(|replica| &mut replica.views) {
            view.each_version(visit);
        }
    }
}
