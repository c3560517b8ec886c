//! An object of ours as decisions see it, whatever its kind: who it is, and what is known of its runs. Pure.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::backend::RunRecord;

/// Who the object is, and what of its metadata bears on decisions.
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
    /// Value of the cancel annotation: the name of a run that is to be ended.
    pub cancel: Option<Arc<str>>,
    /// What a person says by annotations that most objects do not have.
    pub manual: Option<Box<ManualOverrides>>,
    /// `metadata.creationTimestamp`.
    pub created_at: Option<Timestamp>,
}

/// What a person says by annotations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManualOverrides {
    /// The version that the object is to stand for.
    pub hold: Option<String>,
    /// The version that is accepted.
    pub approve: Option<String>,
    /// The version that is not accepted.
    pub reject: Option<String>,
    /// Why the object is suspended; ≤ 256 bytes.
    pub suspend_reason: Option<String>,
}

/// How soon knowledge that has become too old is looked at again: a watch that falls silent and speaks again wakes nobody.
pub const UNKNOWN_RETRY: Duration = Duration::from_secs(5);
/// How soon the run of a deleted object of the same name is looked at again: a reply to a pass over its own object may bring
/// its end into the store, and no event tells of it then.
pub const PREDECESSOR_RETRY: Duration = Duration::from_mins(1);

/// What is known of runs. Unknown means: no reserve, no deletion, no "gone".
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

/// Whether late creates are refused by the API server.
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
    /// What `status.lastHandledTrigger` says once the present trigger is handled.
    pub fn handled_trigger(&self) -> Option<String> {
        self.trigger.as_deref().map(echo)
    }
}

/// A trigger's value as status holds it: verbatim, or as a digest where it is longer than the field.
fn echo(trigger: &str) -> String {
    use sha2::{Digest, Sha256};
    if trigger.len() <= 1024 {
        trigger.to_owned()
    } else {
        format!("sha256:{}", crate::core::run::digest::hex(&Sha256::digest(trigger.as_bytes())))
    }
}
