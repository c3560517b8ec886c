//! Effects on runs, as data: the creates, stops and deletes of a plan. Pure; shared by every kind of object.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::backend::{RunKind, RunRecord};
use crate::core::time::{Now, after, until};

/// A run to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRun {
    /// Its kind.
    pub kind: RunKind,
    /// Its name.
    pub name: String,
    /// Nonce of the reservation that it belongs to.
    pub nonce: String,
    /// Proofs of the claim: a run that exists already and has none of these is foreign.
    pub proofs: Vec<String>,
    /// The request is neither sent nor accepted after this moment of the API server's time.
    pub not_after: Timestamp,
    /// Parameters by their names in the run.
    pub parameters: BTreeMap<String, String>,
    /// The operator's labels.
    pub labels: BTreeMap<String, String>,
    /// The operator's annotations.
    pub annotations: BTreeMap<String, String>,
    /// How long it may take, if the template sets no timeout of its own.
    pub timeout: Option<Duration>,
    /// Whether it is deleted with its object.
    pub owned: bool,
}

/// A finished run to be deleted, with preconditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRun {
    /// Its kind.
    pub kind: RunKind,
    /// Its name.
    pub name: String,
    /// Its uid: a later run of the same name is kept.
    pub uid: String,
    /// Its resourceVersion: a run that has changed since is kept.
    pub resource_version: String,
}

impl DeleteRun {
    /// The deletion of a run as it was last seen.
    pub fn of(run: &RunRecord) -> Self {
        let (name, uid) = (run.name.clone(), run.uid.clone());
        Self { kind: run.kind, name, uid, resource_version: run.resource_version.clone() }
    }
}

/// Why the operator stops a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopCause {
    /// It takes longer than `spec.runTimeout`.
    TimedOut,
    /// The cancel annotation names it.
    Cancelled,
}

impl StopCause {
    /// The stable string, as in the annotation of the run.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "TimedOut",
            Self::Cancelled => "Cancelled",
        }
    }
}

/// A run to be stopped in its backend's own way, never by deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopRun {
    /// Its kind.
    pub kind: RunKind,
    /// Its name.
    pub name: String,
    /// Its uid: a later run of the same name continues.
    pub uid: String,
    /// Its resourceVersion: a run that has changed since is reconciled again first.
    pub resource_version: String,
    /// Why.
    pub cause: StopCause,
    /// How long it was allowed to take.
    pub timeout: Option<Duration>,
}

impl StopRun {
    /// The stop of an active run that the cancel annotation names, or that exceeds `timeout`. `None` if the run may
    /// continue, was already stopped, or is being deleted.
    pub fn due(run: &RunRecord, cancel: Option<&str>, timeout: Option<Duration>, now: Now) -> Option<Self> {
        let late = overdue_at(run, timeout).is_some_and(|due| due <= now.server_or_wall());
        let cause = match cancel == Some(run.name.as_str()) {
            true => StopCause::Cancelled,
            false if late => StopCause::TimedOut,
            false => return None,
        };
        (run.stopped.is_none() && !run.deleting).then(|| Self {
            kind: run.kind,
            name: run.name.clone(),
            uid: run.uid.clone(),
            resource_version: run.resource_version.clone(),
            cause,
            timeout: timeout.filter(|_| cause == StopCause::TimedOut),
        })
    }

    /// How long until [`StopRun::due`] is to be checked again. Never longer than `timeout`: a start in the future comes
    /// from a clock that runs ahead.
    pub fn due_in(run: &RunRecord, timeout: Option<Duration>, now: Now) -> Option<Duration> {
        let going = run.stopped.is_none() && !run.deleting;
        let due = overdue_at(run, timeout).filter(|_| going)?;
        timeout.map(|timeout| until(now.server_or_wall(), due).min(timeout))
    }
}

fn overdue_at(run: &RunRecord, timeout: Option<Duration>) -> Option<Timestamp> {
    timeout.zip(run.observed.started_at).map(|(timeout, started)| after(started, timeout))
}
