//! The claim of an attempt or a candidate run: its deadline, its create, its refusals, and where its run is. Pure; one piece
//! for every kind that reserves runs.
//!
//! The absence of a run does not distinguish "never created" from "created and deleted", and a create may still be on its
//! way. So a run counts as gone only by a look-up that was sent after its deadline has certainly passed, and after it was
//! last seen.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    backend::{Ending, RunKind, RunRecord},
    effects::{CreateRun, StopCause},
    knowledge::{Fence, ObjectInfo},
};
use crate::{
    api::{Outcome, Reason, keys},
    core::time::{
        MonotonicTime, Now, after,
        backoff::{CREATE_BACKOFF, INVALID_RETRY},
        until, whole_seconds,
    },
};

/// How long after its reservation a run may still be created.
pub const CREATE_WINDOW: Duration = Duration::from_secs(30);
/// A POST is not sent with less than this left before its deadline.
const LEAST_LEFT: Duration = Duration::from_secs(10);
/// The API server's request timeout: a request that it took before the deadline has taken effect, or never will, this
/// long afterwards.
const REQUEST_TIMEOUT: Duration = Duration::from_mins(1);
/// How soon a look-up that could not decide is repeated while something else is waited for.
const FENCE_RETRY: Duration = Duration::from_secs(5);

/// A refusal to create a run: certain, so that the same attempt may be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason that users see.
    pub reason: Reason,
    /// The API server's words.
    pub message: String,
    /// Whether a person must act.
    pub stalled: bool,
    /// Generation that was refused.
    pub generation: i64,
    /// Trigger that stood when it was refused.
    pub trigger: Option<Arc<str>>,
    /// When it was refused.
    pub at: MonotonicTime,
}

/// What became of the POST of a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostState {
    /// It was sent, and nothing certain came back.
    Unknown,
    /// It was refused for certain.
    Refused(Refusal),
    /// The run was created, or was there already and ours.
    Created,
}

/// The POST of a reservation of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Nonce of the reservation.
    pub nonce: String,
    /// What became of it.
    pub state: PostState,
}

/// A live look for a run that the watch does not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Name of the run.
    pub run_name: String,
    /// The API server's time when the request was sent.
    pub sent_at: Timestamp,
    /// The same moment on the monotonic clock.
    pub sent: MonotonicTime,
    /// Describes another owner's object of that name; `None` when there was nothing (404).
    pub foreign: Option<String>,
}

/// What is to be said about a reserved run that nobody sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunLocation<'a> {
    /// Unknown: look for it, live.
    LookUp,
    /// Something else has its name; it is looked at again at that moment.
    Foreign {
        /// Who owns it.
        owner: &'a str,
        /// When to look again.
        retry_at: MonotonicTime,
    },
    /// Too early to say.
    Uncertain {
        /// When it can be said for certain.
        certain_at: Timestamp,
        /// How long to wait until then.
        wait: Duration,
    },
    /// Absent for certain; whether late creates are refused is not known yet.
    FenceUnknown {
        /// How long to wait.
        wait: Duration,
    },
    /// Gone for certain.
    Gone,
    /// Absent for certain, but nothing refuses a late create: the name is the only lock.
    Unfenced,
}

/// Where the run is that was reserved with this deadline. `lookup` is the last look for it, `sighted` when it was last
/// seen.
pub fn locate_run(
    not_after: Timestamp,
    lookup: Option<&Lookup>,
    sighted: Option<MonotonicTime>,
    fence: Fence,
    now: Now,
) -> RunLocation<'_> {
    let Some(lookup) = lookup.filter(|lookup| sighted.is_none_or(|at| lookup.sent > at)) else {
        return RunLocation::LookUp;
    };
    if let Some(owner) = &lookup.foreign {
        let retry_at = lookup.sent + CREATE_BACKOFF.longest;
        return if retry_at <= now.mono { RunLocation::LookUp } else { RunLocation::Foreign { owner, retry_at } };
    }
    let certain_at = after(not_after, REQUEST_TIMEOUT);
    if lookup.sent_at >= certain_at {
        return match fence {
            Fence::Installed => RunLocation::Gone,
            Fence::Absent => RunLocation::Unfenced,
            Fence::Unknown => RunLocation::FenceUnknown { wait: FENCE_RETRY },
        };
    }
    let left = until(now.server_or_wall(), certain_at);
    if left.is_zero() {
        return RunLocation::LookUp;
    }
    // The wait is bounded by what a reservation of this very moment would have to wait: a clock that jumped cannot
    // stretch it.
    RunLocation::Uncertain { certain_at, wait: left.min(CREATE_WINDOW + REQUEST_TIMEOUT) }
}

/// Whether it is too late to send a create for a reservation with this deadline.
pub fn too_late(not_after: Timestamp, now: Now) -> bool {
    until(now.server_or_wall(), not_after) < LEAST_LEFT
}

/// What the fence compares with. It sees the moment of admission cut to whole seconds, so a deadline of the same second
/// would admit what comes up to a second after it.
pub fn fence_deadline(not_after: Timestamp) -> Timestamp {
    not_after.checked_sub(Duration::from_secs(1)).unwrap_or(not_after)
}

/// A claim whose run is to be created: who claims, and under which promises.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The object that the run is for.
    pub object: &'a ObjectInfo,
    /// Kind of the object.
    pub owner_kind: &'static str,
    /// Number of the attempt.
    pub attempt: i64,
    /// Name of the candidate; empty without.
    pub candidate: &'a str,
    /// Digest of the target.
    pub target: &'a str,
    /// Generation of the object that the attempt was reserved for.
    pub generation: i64,
    /// Name of the run.
    pub run_name: &'a str,
    /// Nonce of the claim.
    pub nonce: &'a str,
    /// Deadline of the create.
    pub not_after: Timestamp,
}

impl Claim<'_> {
    /// The create of its run. Labels and annotations say what the run was made from; later steps read them, not status.
    pub fn create(
        &self,
        kind: RunKind,
        parameters: BTreeMap<String, String>,
        timeout: Option<Duration>,
        owned: bool,
    ) -> CreateRun {
        let mut labels = BTreeMap::from([
            (keys::OWNER_UID.to_owned(), self.object.uid.to_string()),
            (keys::OWNER_KIND.to_owned(), self.owner_kind.to_owned()),
            (keys::ATTEMPT.to_owned(), self.attempt.to_string()),
        ]);
        if !self.candidate.is_empty() {
            labels.insert(keys::CANDIDATE.to_owned(), self.candidate.to_owned());
        }
        let annotations = BTreeMap::from([
            (keys::OWNER_NAME.to_owned(), self.object.name.to_string()),
            (keys::TARGET.to_owned(), self.target.to_owned()),
            (keys::GENERATION.to_owned(), self.generation.to_string()),
            (keys::NOT_AFTER.to_owned(), fence_deadline(self.not_after).to_string()),
        ]);
        let (name, nonce, not_after) = (self.run_name.to_owned(), self.nonce.to_owned(), self.not_after);
        CreateRun { kind, name, nonce, not_after, parameters, labels, annotations, timeout, owned }
    }
}

/// The deadline of a claim made now. Never earlier than the one before: an earlier request may be on its way until then.
pub fn deadline(before: Option<Timestamp>, now: Now) -> Timestamp {
    let at = whole_seconds(after(now.server_or_wall(), CREATE_WINDOW));
    before.map_or(at, |before| before.max(at))
}

impl Refusal {
    /// When the same attempt is tried again without a change, after `failures` refusals before this one.
    pub fn retry_at(&self, failures: i64) -> MonotonicTime {
        let pause = if self.stalled { INVALID_RETRY } else { CREATE_BACKOFF.after(failures.saturating_add(1)) };
        self.at + pause
    }
}

/// How a run ended. The operator ends a run by cancelling it; the run's own word for that is not why it ended.
pub fn outcome(run: &RunRecord, ending: &Ending) -> Outcome {
    match (ending.outcome, run.stopped.as_deref()) {
        (Outcome::Succeeded, _) | (_, None) => ending.outcome,
        (_, Some(cause)) if cause == StopCause::TimedOut.as_str() => Outcome::TimedOut,
        (_, Some(_)) => Outcome::Cancelled,
    }
}

/// The message where another owner's object has the name of a run.
pub fn name_conflict(kind: &str, run_name: &str, owner: &str) -> String {
    format!("{kind} {run_name} is needed for a run but belongs to {owner}: delete it, or rename this object")
}

/// The message where the number of the next attempt would not fit into a run's name.
pub fn no_attempt_left(last: i64) -> String {
    format!(
        "attempt {last} is the last that can be: a run of this object carries a label with that number; delete the run, \
         or make the object anew under another name"
    )
}
