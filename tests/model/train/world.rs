//! What only a ModelTrain's world has: records, the input that trainings are made from, and what properties count.

use std::fmt;

use modelsync::{
    api::ModelTrainStatus,
    core::train::{Memory, Rule},
};

use super::{
    configuration::{Options, Spec},
    machine::{Local, Values},
    mutant::Mutant,
    steps,
};
use crate::common::{self, Id, Incarnation, Name, Run, Tick, Types};

/// The kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelTrain;

pub type World = common::World<ModelTrain>;
pub type Object = common::Object<ModelTrain>;
pub type View = common::View<ModelTrain>;

impl Types for ModelTrain {
    type Options = Options;
    type Spec = Spec;
    type Mutant = Mutant;
    type Rule = Rule;
    type Status = ModelTrainStatus;
    type Memory = Memory;
    type Annotations = Annotations;
    type Request = RecordRequest;
    type Reply = Record;
    type Response = Response;
    type Evidence = ();
    type Replica = Replica;
    type World = OwnWorld;
    type Action = steps::Own;
    type Local = Local;
    type Values = Values;
}

/// The versions that the annotations name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Annotations {
    pub hold: Option<Name>,
    pub approve: Option<Name>,
    pub reject: Option<Name>,
}

/// A ModelVersion in the API server, or in a replica's store. Spec and status represent its resourceVersion.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Record {
    pub name: Name,
    pub spec: Id,
    pub status: Id,
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

/// The metric that is measured for a successful run, if metrics do not come from its results.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Score {
    Absent,
    Good,
    Bad,
}

/// The response to a poll.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Response {
    Observed(Input),
    Measured(Run, Score),
}

/// A request for a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RecordRequest {
    /// Creates a record after the head of the status `before`; in a mutant it `replaces` another record.
    Create {
        name: Name,
        spec: Id,
        before: Id,
        replaces: bool,
    },
    Get {
        name: Name,
    },
    WriteStatus {
        record: Record,
        after: Id,
    },
    Delete {
        record: Record,
    },
}

impl fmt::Display for RecordRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Create { name, .. } => write!(f, "the POST of record {name}"),
            Self::Get { name } => write!(f, "the GET of record {name}"),
            Self::WriteStatus { record, .. } => write!(f, "the status write of {record}"),
            Self::Delete { record } => write!(f, "the DELETE of {record}"),
        }
    }
}

impl fmt::Display for Record {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "record {}", self.name)
    }
}

/// What a replica knows of records and of the input's source.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Replica {
    /// Whether it has listed records.
    pub knows_records: bool,
    pub records: Vec<Record>,
    /// Deletions of records that the watch has not shown yet.
    pub gone_records: Vec<Record>,
    /// Whether the watch of the input's source has news.
    pub source_news: bool,
}

impl Replica {
    /// Stores a record that a request returned. If the watch is ahead, its version stays; a record whose deletion it
    /// has shown stays absent.
    pub fn take_in(&mut self, alive: &[Record], record: Record) {
        let same = |known: &Record| known.name == record.name;
        if self.records.iter().any(|known| same(known) && alive.contains(known)) {
            return;
        }
        if alive.iter().chain(&self.gone_records).any(same) {
            self.records.retain(|known| !same(known));
            self.records.push(record);
        }
    }
}

/// What has happened, for the properties only: no replica sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct History {
    /// How often each run was created; at most 2 are distinguished.
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
    /// Records that users deleted.
    pub deleted: Vec<Name>,
    /// When runs were reserved that count in the budget's window, by incarnation.
    pub starts: Vec<(Incarnation, Tick)>,
    /// The interned reasons that a training has answered without an acceptance, by incarnation.
    pub answered: [Id; 2],
    /// Values that the input has had since the last end.
    pub inputs: Vec<Input>,
    /// A status was lost.
    pub lost: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct OwnWorld {
    pub records: Vec<Record>,
    /// An older list of records, which a replica may be shown first.
    pub old: Option<Vec<Record>>,
    pub input: Input,
    pub score: Score,
    pub history: History,
}

impl World {
    pub fn change_input(&mut self, to: Input) {
        self.own.input = to;
        self.own.history.inputs.push(to);
        for replica in &mut self.replicas {
            replica.own.source_news = true;
        }
    }

    pub fn remove_record(&mut self, record: Record) {
        self.own.records.retain(|stored| stored.name != record.name);
        for replica in &mut self.replicas {
            replica.own.gone_records.push(record);
        }
    }
}
