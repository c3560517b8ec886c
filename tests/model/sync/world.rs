//! What only a ModelSync's world has: an endpoint, an earlier operator's run, and what properties count.

use std::fmt;

use modelsync::{
    api::ModelSyncStatus,
    core::sync::{Memory, Rule},
};

use super::{
    configuration::{Options, Spec},
    machine::Values,
    mutant::Mutant,
    steps,
};
use crate::common::{self, Incarnation, Run, Types};

/// The kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ModelSync;

pub type World = common::World<ModelSync>;
pub type Object = common::Object<ModelSync>;
pub type View = common::View<ModelSync>;

impl Types for ModelSync {
    type Options = Options;
    type Spec = Spec;
    type Mutant = Mutant;
    type Rule = Rule;
    type Status = ModelSyncStatus;
    type Memory = Memory;
    type Annotations = Annotations;
    type Request = Find;
    type Reply = Earlier;
    type Response = Response;
    type Evidence = Evidence;
    type Replica = ();
    type World = OwnWorld;
    type Action = steps::Own;
    type Local = ();
    type Values = Values;
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Annotations {
    /// Value of the annotation that lets a trigger override the windows; 0 is none.
    pub overriding: u8,
}

/// What the endpoint responds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Response {
    Needed,
    NotNeeded,
    /// There is no desired value yet.
    DesiredUnknown,
    /// A poll error.
    Error,
}

/// The true state when the endpoint responded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Evidence {
    pub needed: bool,
    /// How many ends of runs were durable.
    pub ends: u8,
    /// Generation and trigger that the poll was made under.
    pub generation: u8,
    pub trigger: u8,
}

/// A list of runs without our label.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Find;

/// Whether an earlier operator's run is unfinished.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Earlier(pub bool);

impl fmt::Display for Find {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the search for an earlier operator's run")
    }
}

impl fmt::Display for Earlier {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", if self.0 { "\"there is one\"" } else { "\"there is none\"" })
    }
}

/// Attempts that are distinguished.
pub const ATTEMPTS: usize = 6;
/// Represents the last possible attempt number, which a user has put on a run.
pub const LAST_ATTEMPT: u8 = 99;

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct OwnWorld {
    pub kind_installed: bool,
    /// An earlier operator's run of the first object is unfinished. No watch shows it.
    pub earlier: bool,
    /// The response of the endpoint, and whether it responds at all.
    pub response: Response,
    pub endpoint_up: bool,
    /// An older state of the server, from which a replica may start.
    pub old: Option<(Option<Object>, Vec<Run>)>,
    /// Runs created so far, by incarnation and attempt; at most 2 are distinguished.
    pub created: [[u8; ATTEMPTS]; 2],
    /// Ends that are durable, by incarnation: how many, and since when by attempt (0: not; 1: long ago; else tick + 2).
    pub ends: [u8; 2],
    pub end_since: [[u8; ATTEMPTS]; 2],
    /// A run was deleted while a request for it was in flight.
    pub exception: bool,
}

impl OwnWorld {
    /// A run brings about the desired state.
    pub fn serve(&mut self) {
        if self.response == Response::Needed {
            self.response = Response::NotNeeded;
        }
    }

    pub fn created(&mut self, run: Run) -> &mut u8 {
        &mut self.created[usize::from(run.name.owner)][index(run.name.attempt)]
    }

    pub fn end_since(&mut self, owner: Incarnation, attempt: u8) -> &mut u8 {
        &mut self.end_since[usize::from(owner)][index(attempt)]
    }
}

fn index(attempt: u8) -> usize {
    usize::from(attempt).min(ATTEMPTS - 1)
}
