//! The state of the model: the API server with its ModelTrain, runs and records, the requests on their way, two replicas of
//! the operator, and the rest of the world. What is large (a status, a record, a memory) is interned.

use super::super::{
    flight,
    intern::Id,
    object::{self, Incarnation},
    store::{Store, Stored},
    time::Tick,
    versions::{self, Versioned},
    view,
};

/// The name of a run, and of its record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name {
    pub owner: Incarnation,
    pub attempt: u8,
    pub slot: u8,
}

/// How far a run is, and what is to be read of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RunPhase {
    Active,
    /// Succeeded: the gate passes it.
    Good,
    /// Succeeded: the gate passes it, and it is better than `Good`.
    Better,
    /// Succeeded: the gate rejects it.
    Bad,
    /// Succeeded without the metric that the gate reads.
    Silent,
    Failed,
    Cancelled,
}

impl RunPhase {
    pub const fn succeeded(self) -> bool {
        matches!(self, Self::Good | Self::Better | Self::Bad | Self::Silent)
    }

    /// The metric that the gate reads.
    pub const fn metric(self) -> Option<&'static str> {
        match self {
            Self::Good => Some("0.7"),
            Self::Better => Some("0.9"),
            Self::Bad => Some("0.3"),
            Self::Active | Self::Silent | Self::Failed | Self::Cancelled => None,
        }
    }
}

/// A run in the API server, or in a replica's store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Run {
    pub name: Name,
    /// Tells the runs of one name apart: their uids.
    pub copy: u8,
    pub phase: RunPhase,
    /// When it ended; 0 where nothing asks for that.
    pub ended: Tick,
    /// Whether the operator has ended it.
    pub stopped: bool,
}

impl Stored for Run {
    type Version = (RunPhase, bool);

    fn version(self) -> Self::Version {
        (self.phase, self.stopped)
    }

    fn same(self, other: Self) -> bool {
        (self.name, self.copy) == (other.name, other.copy)
    }
}

/// A ModelVersion in the API server, or in a replica's store. Spec and status stand for its resourceVersion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Record {
    pub name: Name,
    pub spec: Id,
    pub status: Id,
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
    /// What the annotations name.
    pub cancel: Option<Name>,
    pub hold: Option<Name>,
    pub approve: Option<Name>,
    pub reject: Option<Name>,
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
            cancel: None,
            hold: None,
            approve: None,
            reject: None,
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

/// The value of the input that trainings are made from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Input {
    Value(u8),
    /// There is none.
    Absent,
    /// Its source fails.
    Failing,
}

/// What is measured of a run that has succeeded, where metrics do not come from its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Score {
    Absent,
    Good,
    Bad,
}

/// What a question brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Said {
    Observed(Input),
    Measured(Run, Score),
}

/// A request of a replica.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Request {
    /// A write of the object's status; `conditional` where it carries the resourceVersion.
    Patch {
        version: u8,
        before: Id,
        after: Id,
        conditional: bool,
    },
    /// A run is created.
    Post {
        name: Name,
        not_after: Tick,
        nonce: Id,
        generation: u8,
        trigger: u8,
    },
    /// A live look for a run; `sent` is the replica's idea of the server's time.
    Get {
        name: Name,
        sent: Tick,
    },
    /// The patch that ends a run.
    Stop {
        run: Run,
    },
    DeleteRun {
        run: Run,
    },
    /// A record is created, after the head that `before`, the status, has; `replaces` what stands in a design that fails.
    Record {
        name: Name,
        spec: Id,
        before: Id,
        replaces: bool,
    },
    /// A live look for a record.
    GetRecord {
        name: Name,
    },
    /// A write of a record's status.
    Tell {
        record: Record,
        after: Id,
    },
    DeleteRecord {
        record: Record,
    },
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
    Foreign,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reply {
    Stored(Object),
    Conflict,
    Ours(Run),
    /// What stands under a record's name.
    Stands(Record),
    Refused(Refused),
    Absent,
    Foreign,
    Deleted,
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
pub type View = view::View<Object, Request, Said>;

/// A replica of the operator that believes that it leads.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    /// Counts its processes.
    pub term: u8,
    /// Nonces that this process has used.
    pub nonces: u8,
    /// Whether it has listed runs, and records.
    pub knows: (bool, bool),
    pub store: Store<Run>,
    pub records: Vec<Record>,
    /// Deletions of records that the watch has not brought yet.
    pub gone_records: Vec<Record>,
    /// Whether the watch of the input's source has something to tell.
    pub source_news: bool,
    pub views: [View; 2],
}

impl Replica {
    pub fn started(term: u8) -> Self {
        Self {
            term,
            nonces: 0,
            knows: (false, false),
            store: Store::empty(),
            records: Vec::new(),
            gone_records: Vec::new(),
            source_news: false,
            views: [View::default(), View::default()],
        }
    }
}

/// How often each fault and each deed of a user may still happen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Budget {
    pub crashes: u8,
    /// Requests whose sender gives up waiting: lost requests and lost replies.
    pub lost: u8,
    pub refusals: u8,
    pub run_deletions: u8,
    pub record_deletions: u8,
    pub edits: u8,
    pub triggers: u8,
    /// Changes of the input. The watch of its source tells replicas when it likes.
    pub inputs: u8,
    /// Changes of what is measured.
    pub scores: u8,
    /// Settings of hold, approve and reject.
    pub annotations: u8,
    /// Runs that a user names in the cancel annotation.
    pub cancels: u8,
    pub object_deletions: u8,
    /// Passes of the second replica: the first one's are bounded by time alone.
    pub seconds_pass: u8,
    /// How often somebody loses the status.
    pub losses: u8,
    /// Older lists of records that a restarted replica may be served.
    pub old_lists: u8,
}

/// What a property found broken on the way to this state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Broken(pub u32);

impl Broken {
    pub const TWICE: u32 = 1;
    pub const UNRESERVED: u32 = 1 << 1;
    pub const NUMBER: u32 = 1 << 2;
    pub const END: u32 = 1 << 3;
    pub const RECORD: u32 = 1 << 4;
    pub const RECORD_CHANGED: u32 = 1 << 5;
    pub const ACCEPTED: u32 = 1 << 6;
    pub const DECISION: u32 = 1 << 7;
    pub const HOLD: u32 = 1 << 8;
    pub const REASON: u32 = 1 << 9;
    pub const BUDGET: u32 = 1 << 10;
    pub const INPUT: u32 = 1 << 11;
    pub const RUN_DELETION: u32 = 1 << 12;
    pub const RECORD_DELETION: u32 = 1 << 13;
    pub const READY: u32 = 1 << 14;
    pub const NO_WAKE_UP: u32 = 1 << 15;
    pub const EMPTY_WRITE: u32 = 1 << 16;

    pub fn add(&mut self, bits: u32) {
        self.0 |= bits;
    }

    pub const fn has(self, bits: u32) -> bool {
        self.0 & bits != 0
    }
}

/// What has happened, for properties alone: no replica sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    /// How often each run was created; at most 2 are told apart.
    pub created: Vec<(Name, u8)>,
    /// Runs that were reserved, by a stored write.
    pub reserved: Vec<Name>,
    /// The last attempt that was reserved, and the last whose end is durable, by incarnation.
    pub last: [u8; 2],
    pub ended: [u8; 2],
    /// Runs that have ended, also those that are gone.
    pub ends: Vec<Run>,
    /// What each record said when it was created.
    pub records: Vec<(Name, Id)>,
    /// Records that somebody else than retention deleted.
    pub taken: Vec<Name>,
    /// When runs were reserved that count in the budget's window, by incarnation.
    pub starts: Vec<(Incarnation, Tick)>,
    /// The interned reasons that a training has answered without an acceptance, by incarnation.
    pub answered: [Id; 2],
    /// Values that the input has had since the last end.
    pub stood: Vec<Input>,
    /// Somebody has lost a status.
    pub lost: bool,
}

/// The whole state.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct World {
    pub tick: Tick,
    pub object: Option<Object>,
    /// The incarnation that is there, or was there last.
    pub incarnation: Incarnation,
    pub runs: Vec<Run>,
    pub records: Vec<Record>,
    /// Somebody else's object stands under the name of the first run, or of its record.
    pub foreign: bool,
    /// An older list of records, which a replica may be shown first.
    pub old: Option<Vec<Record>>,
    pub input: Input,
    pub score: Score,
    pub flights: Vec<Flight>,
    pub replicas: [Replica; 2],
    pub budget: Budget,
    pub history: History,
    pub broken: Broken,
}

impl World {
    /// Brings a state into the one form that stands for all that differ from it in nothing that matters.
    pub fn canonical(&mut self, budget_window: Tick) {
        self.runs.sort_unstable();
        self.records.sort_unstable();
        let (tick, object) = (self.tick, self.object);
        let (runs, records) = (&self.runs, &self.records);
        // What nobody waits for and cannot change anything any more is as good as gone.
        self.flights.retain(|flight| {
            flight.waiting.is_some()
                || match (flight.request, flight.stage) {
                    (_, Stage::Replied(_)) | (Request::Get { .. } | Request::GetRecord { .. }, _) => false,
                    (Request::Patch { version, conditional, .. }, _) => object.is_some_and(|object| {
                        object.incarnation == flight.owner && (!conditional || object.version == version)
                    }),
                    (Request::Post { not_after, .. }, Stage::Sent) => tick <= not_after,
                    (Request::Post { .. }, Stage::Admitted(at)) => tick < at + 2,
                    (Request::DeleteRun { run } | Request::Stop { run }, _) => runs.contains(&run),
                    (Request::Record { .. }, _) => true,
                    (Request::Tell { record, .. } | Request::DeleteRecord { record }, _) => records.contains(&record),
                }
        });
        self.flights.sort_unstable();
        for (index, replica) in self.replicas.iter_mut().enumerate() {
            let replies = || self.flights.iter().filter_map(|flight| flight.reply_to(index));
            replica.store.canonical(|gone| replies().any(|reply| matches!(reply, Reply::Ours(run) if run.same(gone))));
            replica.records.sort_unstable();
            let records = &replica.records;
            replica.gone_records.retain(|gone| {
                records.iter().any(|record| record.name == gone.name)
                    || replies().any(|reply| matches!(reply, Reply::Stands(record) if record.name == gone.name))
            });
            replica.gone_records.sort_unstable();
        }
        let history = &mut self.history;
        history.created.sort_unstable();
        history.reserved.sort_unstable();
        history.ends.sort_unstable();
        history.records.sort_unstable();
        history.taken.sort_unstable();
        history.taken.dedup();
        history.stood.sort_unstable();
        history.stood.dedup();
        history.starts.retain(|(_, at)| tick < at + budget_window);
        versions::renumber(self);
    }

    /// A resourceVersion above every other.
    pub fn next_version(&mut self) -> u8 {
        versions::next(self)
    }

    /// A user changes the object.
    pub fn change(&mut self, change: impl FnOnce(&mut Object)) {
        let version = self.next_version();
        if let Some(object) = &mut self.object {
            change(object);
            object.version = version;
        }
    }

    pub fn change_input(&mut self, to: Input) {
        self.input = to;
        self.history.stood.push(to);
        for replica in &mut self.replicas {
            replica.source_news = true;
        }
    }

    /// Whether a run of this object is on its way.
    pub fn active(&self, owner: Incarnation) -> usize {
        self.runs.iter().filter(|run| run.name.owner == owner && run.phase == RunPhase::Active).count()
    }
}

impl Versioned for World {
    fn each_version(&mut self, visit: &mut dyn FnMut(&mut u8)) {
        self.object.each_version(visit);
        self.flights.each_version(visit);
        for view in self.replicas.iter_mut().flat_map(|replica| &mut replica.views) {
            view.each_version(visit);
        }
    }
}
