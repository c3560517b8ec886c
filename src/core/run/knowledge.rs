//! An object of any kind as decisions see it: its identity, and what is known about its runs. Pure.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::backend::RunRecord;

/// The identity of an object, and the metadata that decisions use.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectInfo {
    /// `metadata.namespace`.
    pub namespace: Arc<str>,
    /// `metadata.name`.
    pub name: Arc<str>,
    /// `metadata.uid`.
    pub uid: Arc<str>,
    /// `metadata.generation`.
    pub generation: i64,
    /// Whether it has a deletion timestamp.
    pub deleting: bool,
    /// Value of the trigger annotation.
    pub trigger: Option<Arc<str>>,
    /// Value of the annotation that lets a trigger start a run outside every window.
    pub override_window: Option<Arc<str>>,
    /// Value of the cancel annotation: the name of a run to stop.
    pub cancel: Option<Arc<str>>,
    /// The manual overrides. Boxed, because most objects have none.
    pub manual: Option<Box<ManualOverrides>>,
    /// `metadata.creationTimestamp`.
    pub created_at: Option<Timestamp>,
}

/// The annotations by which a person overrides the operator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManualOverrides {
    /// The version to hold.
    pub hold: Option<String>,
    /// The version to accept.
    pub approve: Option<String>,
    /// The version to reject.
    pub reject: Option<String>,
    /// Why the object is suspended; ≤ 256 bytes.
    pub suspend_reason: Option<String>,
}

/// How soon an object whose runs are unknown is reconciled again: a watch that falls silent and recovers wakes no
/// object.
pub const UNKNOWN_RETRY: Duration = Duration::from_secs(5);
/// How soon an object that waits for the run of a deleted object of the same name is reconciled again: the response to
/// a write by a reconcile of the deleted object may bring the end of that run into the store, and then no event reports
/// it.
pub const PREDECESSOR_RETRY: Duration = Duration::from_mins(1);

/// What is known about runs. While it is unknown, the operator reserves nothing, deletes nothing and declares no run
/// gone.
#[derive(Clone, Debug)]
pub enum RunKnowledge<'a> {
    /// Some kind of run has not been listed yet, or its watch has been silent for too long.
    Unknown,
    /// Every kind of run is known.
    Known {
        /// Runs of this object, by uid.
        own: Vec<&'a RunRecord>,
        /// Unfinished runs of an earlier object of the same kind and name.
        predecessors: Vec<&'a RunRecord>,
        /// Whether the kind that the template makes is missing in this cluster.
        kind_missing: bool,
    },
}

/// Whether the API server refuses late creates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fence {
    /// Not looked up yet.
    Unknown,
    /// Installed.
    Installed,
    /// Not installed: the name is the only lock.
    Absent,
}

impl ObjectInfo {
    /// The value of `status.lastHandledTrigger` once the present trigger is handled.
    pub fn handled_trigger(&self) -> Option<String> {
        self.trigger.as_deref().map(echo)
    }
}

/// A trigger's value as stored in status: verbatim, or as a digest if it is longer than the field allows.
fn echo(trigger: &str) -> String {
    use sha2::{Digest, Sha256};
    if trigger.len() <= 1024 {
        trigger.to_owned()
    } else {
        format!("sha256:{}", crate::core::run::digest::hex(&Sha256::digest(trigger.as_bytes())))
    }
}
