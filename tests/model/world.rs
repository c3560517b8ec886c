//! The state of the model: the API server, the requests on their way, two replicas of the operator, and the rest of the
//! world. Everything is small, ordered and hashable; what is large (a status, a memory) is interned.

use std::fmt;

use super::intern::Id;

/// Time in steps of [`super::machine::TICK`].
pub type Tick = i16;
/// Objects of one name, one after the other: 0 is the first, 1 the one that was created after its deletion.
pub type Incarnation = u8;

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

impl Run {
    /// Stands for its resourceVersion: it only moves forward.
    pub fn version(self) -> (RunPhase, Option<Stopped>) {
        (self.phase, self.stopped)
    }

    /// Whether both are the same object, perhaps at different moments.
    pub fn same(self, other: Self) -> bool {
        (self.owner, self.attempt, self.name, self.copy) == (other.owner, other.attempt, other.name, other.copy)
    }

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

/// The facts under which a question was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Under {
    pub incarnation: Incarnation,
    pub generation: u8,
    pub attempt: u8,
    pub ended: bool,
    pub trigger: u8,
    pub revision: u8,
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

/// A question under way, with its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Asked {
    pub under: Under,
    pub at: Tick,
    pub said: Said,
    pub evidence: Evidence,
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

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// On its way to the server.
    Sent,
    /// A POST that admission has let pass at this moment, and that is not stored yet.
    Admitted(Tick),
    /// It has taken effect or been refused; the reply is on its way.
    Replied(Reply),
}

/// A request on its way. It outlives its sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Flight {
    pub owner: Incarnation,
    /// The replica whose pass waits for the reply; `None` when nobody does any more.
    pub waiting: Option<u8>,
    pub request: Request,
    pub stage: Stage,
}

/// What one replica knows and does about one object.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct View {
    /// The object as its store has it.
    pub object: Option<Object>,
    /// The interned [`modelsync::core::sync::Memory`].
    pub memory: Id,
    /// Something happened since its last pass.
    pub woken: bool,
    pub timer: Option<Tick>,
    /// The planned question.
    pub planned: Option<(Tick, Under)>,
    pub under_way: Option<Asked>,
    /// Evidence of the answer in memory.
    pub evidence: Option<Evidence>,
    /// Requests that follow the one that the pass waits for; `None` when no pass is under way.
    pub pass: Option<Vec<Request>>,
}

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
    pub runs: Vec<Run>,
    /// Deletions that the watch has not brought yet.
    pub deletions: Vec<Run>,
    pub views: [View; 2],
}

impl Replica {
    pub fn started(term: u8) -> Self {
        Self {
            term,
            lag: 0,
            nonces: 0,
            knowledge: Knowledge::Unknown,
            runs: Vec::new(),
            deletions: Vec::new(),
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
    pub second_passes: u8,
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
    pub const NO_ANSWER: u16 = 1 << 4;
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
    pub fn canonical(&mut self, fenced: bool, min_age: Tick) {
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
            replica.runs.sort_unstable();
            let runs = &replica.runs;
            let flights = &self.flights;
            replica.deletions.retain(|gone| {
                runs.iter().any(|run| run.same(*gone))
                    || flights.iter().any(|flight| {
                        flight.waiting.is_some_and(|waiting| usize::from(waiting) == index)
                            && matches!(flight.stage, Stage::Replied(Reply::Ours(run)) if run.same(*gone))
                    })
            });
            replica.deletions.sort_unstable();
        }
        for since in self.end_since.iter_mut().flatten() {
            if *since >= 2 && tick - (Tick::from(*since) - 2) >= min_age {
                *since = 1;
            }
        }
        self.renumber();
    }

    /// Renumbers resourceVersions: only their order means anything.
    fn renumber(&mut self) {
        let mut used = Vec::with_capacity(8);
        self.each_version(|version| used.push(*version));
        used.sort_unstable();
        used.dedup();
        self.each_version(|version| {
            let rank = used.partition_point(|known| known < version);
            *version = u8::try_from(rank + 1).unwrap();
        });
    }

    fn each_version(&mut self, mut visit: impl FnMut(&mut u8)) {
        let in_request = |request: &mut Request, visit: &mut dyn FnMut(&mut u8)| {
            if let Request::Patch { version, .. } = request {
                visit(version);
            }
        };
        if let Some(object) = &mut self.object {
            visit(&mut object.version);
        }
        if let Some((Some(object), _)) = &mut self.old {
            visit(&mut object.version);
        }
        for flight in &mut self.flights {
            in_request(&mut flight.request, &mut visit);
            if let Stage::Replied(Reply::Stored(object)) = &mut flight.stage {
                visit(&mut object.version);
            }
        }
        for view in self.replicas.iter_mut().flat_map(|replica| &mut replica.views) {
            if let Some(object) = &mut view.object {
                visit(&mut object.version);
            }
            for request in view.pass.iter_mut().flatten() {
                in_request(request, &mut visit);
            }
        }
    }

    /// A run brings about what was desired.
    pub fn serve(&mut self) {
        if self.wish == Said::Needed {
            self.wish = Said::NotNeeded;
        }
    }

    /// A user gives the trigger a new value.
    pub fn trigger(&mut self) {
        let version = self.next_version();
        if let Some(object) = &mut self.object {
            (object.trigger, object.version) = (object.trigger + 1, version);
        }
    }

    /// A resourceVersion above every other.
    pub fn next_version(&mut self) -> u8 {
        let mut highest = 0;
        self.each_version(|version| highest = highest.max(*version));
        highest + 1
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "run {}", self.attempt)?;
        if self.owner > 0 {
            write!(f, " of the later object")?;
        }
        if self.attempt == LAST_ATTEMPT {
            write!(f, " (a forged number)")?;
        } else if self.name > 0 {
            write!(f, " (name #{})", self.name)?;
        }
        if self.copy > 0 {
            write!(f, " (created again: copy {})", self.copy + 1)?;
        }
        Ok(())
    }
}

impl fmt::Display for Flight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.request {
            Request::Patch { evidence: Some(_), .. } => write!(f, "the reserve")?,
            Request::Patch { .. } => write!(f, "the status write")?,
            Request::Post { run, not_after, .. } => write!(f, "the POST of {run} (not after tick {not_after})")?,
            Request::Get { attempt, .. } => write!(f, "the GET of run {attempt}")?,
            Request::Delete { run } => write!(f, "the DELETE of {run}")?,
            Request::Stop { run, cause, .. } => write!(f, "the stop of {run} ({cause:?})")?,
            Request::Find => write!(f, "the search for an earlier operator's run")?,
        }
        match self.waiting {
            Some(replica) => write!(f, " of replica {replica}"),
            None => write!(f, " that nobody waits for"),
        }
    }
}
