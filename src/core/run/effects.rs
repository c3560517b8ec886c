//! Effects on runs, as data: what a plan asks to be created, stopped or deleted. Pure; shared by every kind.

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
    /// The request is not sent, and not accepted, after this moment of the API server.
    pub not_after: Timestamp,
    /// Parameters, by the run's names.
    pub parameters: BTreeMap<String, String>,
    /// The operator's labels.
    pub labels: BTreeMap<String, String>,
    /// The operator's annotations.
    pub annotations: BTreeMap<String, String>,
    /// How long it may take, where the template does not say.
    pub timeout: Option<Duration>,
    /// Whether it goes when its object goes.
    pub owned: bool,
}

/// A finished run to be deleted, with preconditions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteRun {
    /// Its kind.
    pub kind: RunKind,
    /// Its name.
    pub name: String,
    /// Its uid: a run of the same name that came later stays.
    pub uid: String,
    /// Its resourceVersion: a run that changed meanwhile stays.
    pub resource_version: String,
}

impl DeleteRun {
    /// Of a run as it was last seen.
    pub fn of(run: &RunRecord) -> Self {
        let (name, uid) = (run.name.clone(), run.uid.clone());
        Self { kind: run.kind, name, uid, resource_version: run.resource_version.clone() }
    }
}

/// Why a run is ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum StopCause {
    /// It takes longer than `spec.runTimeout`.
    TimedOut,
    /// The cancel annotation names it.
    Cancelled,
}

impl StopCause {
    /// The stable string, as the run is annotated with it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TimedOut => "TimedOut",
            Self::Cancelled => "Cancelled",
        }
    }
}

/// A run to be ended in its backend's own way, never by deletion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StopRun {
    /// Its kind.
    pub kind: RunKind,
    /// Its name.
    pub name: String,
    /// Its uid: a run of the same name that came later goes on.
    pub uid: String,
    /// Its resourceVersion: a run that has changed meanwhile is looked at again first.
    pub resource_version: String,
    /// Why.
    pub cause: StopCause,
    /// How long it was allowed to take.
    pub timeout: Option<Duration>,
}

impl StopRun {
    /// Of a run on its way that the cancel annotation names, or that takes longer than it may. `None` where it may go on, or
    /// was ended already.
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

    /// How long until that is to be looked at again: never longer than the run may take, for a start that lies ahead is the
    /// word of a clock that runs ahead.
    pub fn due_in(run: &RunRecord, timeout: Option<Duration>, now: Now) -> Option<Duration> {
        let going = run.stopped.is_none() && !run.deleting;
        let due = overdue_at(run, timeout).filter(|_| going)?;
        timeout.map(|timeout| until(now.server_or_wall(), due).min(timeout))
    }
}

fn overdue_at(run: &RunRecord, timeout: Option<Duration>) -> Option<Timestamp> {
    timeout.zip(run.observed.started_at).map(|(timeout, started)| after(started, timeout))
}
