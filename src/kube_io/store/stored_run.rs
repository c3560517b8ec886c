//! A run as a store keeps it: packed, because there are many runs, and most of them are only counted. No IO.

use std::sync::Arc;

use jiff::{Timestamp, fmt::serde::timestamp::nanosecond};
use serde::{Deserialize, Serialize};

use super::generic::version;
use crate::{
    api::{Outcome, Output},
    core::run::backend::{Ending, Observed, Phase, RunKind, RunRecord},
};

/// A run, some 450 bytes.
pub struct StoredRun {
    /// Its uid.
    pub uid: Arc<str>,
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Uid of the object that it was made for.
    pub owner_uid: Arc<str>,
    /// Its resourceVersion.
    pub version: u64,
    /// Whether it has not ended.
    pub active: bool,
    rest: Rest,
}

enum Rest {
    Packed(Box<[u8]>),
    Whole(Arc<RunRecord>),
}

/// The packed part of a run: everything but its kind and the other fields of [`StoredRun`].
#[derive(Serialize, Deserialize)]
struct PackedRun<'a> {
    name: &'a str,
    resource_version: &'a str,
    owner_kind: &'a str,
    owner_name: &'a str,
    controlled: bool,
    proof: &'a str,
    attempt: i64,
    target: &'a str,
    deleting: bool,
    #[serde(with = "nanosecond::optional")]
    created_at: Option<Timestamp>,
    stopped: Option<&'a str>,
    #[serde(with = "nanosecond::optional")]
    started_at: Option<Timestamp>,
    idle: bool,
    #[serde(borrow)]
    ended: Option<PackedEnding<'a>>,
}

#[derive(Serialize, Deserialize)]
struct PackedEnding<'a> {
    outcome: Outcome,
    reason: &'a str,
    message: &'a str,
    #[serde(with = "nanosecond::optional")]
    finished_at: Option<Timestamp>,
    outputs: Vec<Output>,
}

/// Names an object as namespace/kind/name.
pub fn owner_name(namespace: &str, kind: &str, name: &str) -> String {
    format!("{namespace}/{kind}/{name}")
}

impl StoredRun {
    /// Packs a run.
    pub fn new(run: RunRecord) -> Self {
        Self {
            uid: run.uid.as_str().into(),
            namespace: run.namespace.as_str().into(),
            owner_uid: run.owner_uid.as_str().into(),
            version: version(&run.resource_version),
            active: run.is_active(),
            // Writing to memory does not fail. If it did, the run must not look like one that is gone.
            rest: match postcard::to_allocvec(&pack(&run)) {
                Ok(packed) => Rest::Packed(packed.into()),
                Err(_) => Rest::Whole(Arc::new(run)),
            },
        }
    }

    /// Unpacks the run, which is of this kind. A failure is an error: the run must not look like one that is gone.
    pub fn read(&self, kind: RunKind) -> Result<Arc<RunRecord>, postcard::Error> {
        match &self.rest {
            Rest::Packed(packed) => Ok(Arc::new(self.unpack(kind, postcard::from_bytes(packed)?))),
            Rest::Whole(run) => Ok(run.clone()),
        }
    }

    /// The object that it was made for, as [`owner_name`] names it.
    pub fn owner_name(&self) -> Result<String, postcard::Error> {
        let name = |kind: &str, name: &str| owner_name(&self.namespace, kind, name);
        match &self.rest {
            Rest::Packed(packed) => {
                let packed: PackedRun<'_> = postcard::from_bytes(packed)?;
                Ok(name(packed.owner_kind, packed.owner_name))
            }
            Rest::Whole(run) => Ok(name(&run.owner_kind, &run.owner_name)),
        }
    }

    /// Shares the strings that identify the object with another run of the same object.
    pub fn share(&mut self, sibling: &Self) {
        if self.owner_uid == sibling.owner_uid && self.namespace == sibling.namespace {
            (self.owner_uid, self.namespace) = (sibling.owner_uid.clone(), sibling.namespace.clone());
        }
    }

    fn unpack(&self, kind: RunKind, packed: PackedRun<'_>) -> RunRecord {
        RunRecord {
            kind,
            namespace: self.namespace.to_string(),
            name: packed.name.to_owned(),
            uid: self.uid.to_string(),
            resource_version: packed.resource_version.to_owned(),
            owner_uid: self.owner_uid.to_string(),
            owner_kind: packed.owner_kind.to_owned(),
            owner_name: packed.owner_name.to_owned(),
            controlled: packed.controlled,
            proof: packed.proof.to_owned(),
            attempt: packed.attempt,
            target: packed.target.to_owned(),
            deleting: packed.deleting,
            created_at: packed.created_at,
            stopped: packed.stopped.map(str::to_owned),
            observed: Observed {
                phase: packed.ended.map_or(Phase::Active, |ended| Phase::Ended(ended.unpack())),
                started_at: packed.started_at,
                idle: packed.idle,
            },
        }
    }
}

impl PackedEnding<'_> {
    fn unpack(self) -> Ending {
        Ending {
            outcome: self.outcome,
            reason: self.reason.to_owned(),
            message: self.message.to_owned(),
            finished_at: self.finished_at,
            outputs: self.outputs,
        }
    }
}

fn pack(run: &RunRecord) -> PackedRun<'_> {
    let ended = run.ending().map(|ending| PackedEnding {
        outcome: ending.outcome,
        reason: &ending.reason,
        message: &ending.message,
        finished_at: ending.finished_at,
        outputs: ending.outputs.clone(),
    });
    PackedRun {
        name: &run.name,
        resource_version: &run.resource_version,
        owner_kind: &run.owner_kind,
        owner_name: &run.owner_name,
        controlled: run.controlled,
        proof: &run.proof,
        attempt: run.attempt,
        target: &run.target,
        deleting: run.deleting,
        created_at: run.created_at,
        stopped: run.stopped.as_deref(),
        started_at: run.observed.started_at,
        idle: run.observed.idle,
        ended,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOB: RunKind = RunKind { group: "batch", version: "v1", kind: "Job", plural: "jobs" };

    fn run(phase: Phase) -> RunRecord {
        let moment = |text: &str| Some(text.parse().unwrap());
        RunRecord {
            kind: JOB,
            namespace: "team".into(),
            name: "churn-1".into(),
            uid: "0b7c0f5e-3f0a-4a53-9d2c-94f2d3a7b0c1".into(),
            resource_version: "4711".into(),
            owner_uid: "5d2f8a31-9a68-4f0e-8d0e-0c9f7a1b2c3d".into(),
            owner_kind: "ModelSync".into(),
            owner_name: "churn".into(),
            controlled: true,
            proof: "a0b1c2d3e4f5a0b1c2d3e4f5a0b1c2d3".into(),
            attempt: 7,
            target: "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08".into(),
            deleting: true,
            created_at: moment("2026-11-01T10:00:00Z"),
            stopped: Some("TimedOut".into()),
            observed: Observed { phase, started_at: moment("2026-11-01T10:00:02.5Z"), idle: true },
        }
    }

    fn ended() -> RunRecord {
        run(Phase::Ended(Ending {
            outcome: Outcome::TimedOut,
            reason: "PipelineRunTimeout".into(),
            message: "it took longer than an hour".into(),
            finished_at: Some("2026-11-01T11:00:00.000000001Z".parse().unwrap()),
            outputs: vec![Output { name: "commit".into(), value: "9f86d08".into() }],
        }))
    }

    #[test]
    fn runs_are_read_as_they_were_stored() {
        for run in [ended(), run(Phase::Active)] {
            assert_eq!(*StoredRun::new(run.clone()).read(JOB).unwrap(), run);
        }
    }

    #[test]
    fn only_a_run_that_has_not_ended_is_active() {
        assert!(StoredRun::new(run(Phase::Active)).active);
        assert!(!StoredRun::new(ended()).active);
    }

    #[test]
    fn run_takes_little_room() {
        let stored = StoredRun::new(ended());
        let Rest::Packed(packed) = &stored.rest else { panic!("a run is packed") };
        let texts = stored.uid.len() + stored.namespace.len() + stored.owner_uid.len();
        let room = size_of::<StoredRun>() + texts + packed.len();
        assert!(room < 450, "{room}");
    }
}
