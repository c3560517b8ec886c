//! The claim of an attempt or a candidate run: its deadline, its create, its refusals, and the location of its run.
//! Pure; shared by every kind of object that reserves runs.
//!
//! The absence of a run does not distinguish "never created" from "created and deleted", and a create may still be in
//! flight. So a run counts as gone only if a lookup finds nothing, and that lookup was sent when the deadline had
//! certainly passed and after the run was last seen.

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    backend::{Ending, RunKind, RunRecord},
    effects::{CreateRun, StopCause},
    knowledge::{Fence, ObjectInfo},
    proof::ClaimKey,
};
use crate::{
    api::{Outcome, Reason, Refusal, keys},
    core::{
        status::condition::{MAX_MESSAGE, truncated},
        time::{
            MonotonicTime, Now, after,
            backoff::{CREATE_BACKOFF, INVALID_RETRY},
            until, whole_seconds,
        },
    },
};

/// How long after its reservation a run may still be created.
pub const CREATE_WINDOW: Duration = Duration::from_secs(15);
/// A POST is not sent with less than this left before its deadline. So the write of the reservation may take 10 s, which is
/// longer than any call may.
const LEAST_LEFT: Duration = Duration::from_secs(5);
/// How long the API server may work on a create. The request says so (`?timeout=`, `WithRequestDeadline` of
/// `k8s.io/apiserver`): then the API server cancels it, its webhooks and its write to etcd.
pub const CREATE_TIMEOUT: Duration = Duration::from_secs(10);
/// This long after the deadline, a request that the API server admitted before the deadline has taken effect or never will.
/// To the 10 s that the request may take, it adds 20 s for etcd to apply or drop a cancelled write, and for the clocks of
/// several API servers.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);
/// How soon the decision about an absent run is repeated while it is unknown whether the fence is installed.
const FENCE_RETRY: Duration = Duration::from_secs(5);

/// A certain refusal to create a run: nothing was created, so the same attempt may be tried again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CreateRefusal {
    /// The reason that users see.
    pub reason: Reason,
    /// The API server's message.
    pub message: String,
    /// Whether a person must act.
    pub stalled: bool,
    /// Generation that was refused.
    pub generation: i64,
    /// Value of the trigger annotation when it was refused, in the form that status stores.
    pub trigger: Option<String>,
    /// When it was refused.
    pub at: MonotonicTime,
}

/// The result of the POST of a reservation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PostState {
    /// It was sent; the outcome is unknown.
    Unknown,
    /// It was certainly refused.
    Refused(CreateRefusal),
    /// The run was created, or already existed and is ours.
    Created,
}

/// The POST of a reservation of this process.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Post {
    /// Nonce of the reservation.
    pub nonce: String,
    /// Its result.
    pub state: PostState,
}

/// The result of a GET for a run that the watch does not show.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lookup {
    /// Name of the run.
    pub run_name: String,
    /// The API server's time when the request was sent.
    pub sent_at: Timestamp,
    /// The same moment on the monotonic clock.
    pub sent: MonotonicTime,
    /// Describes another owner's object of that name; `None` if there was no object (404).
    pub foreign: Option<String>,
}

/// What is known about a reserved run that the watch does not show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RunLocation<'a> {
    /// Unknown: look it up with a GET.
    LookUp,
    /// Another object has its name.
    Foreign {
        /// Describes the object and its owner.
        owner: &'a str,
        /// When to look up the name again.
        retry_at: MonotonicTime,
    },
    /// It is too early to know.
    Uncertain {
        /// From when on a lookup is certain.
        certain_at: Timestamp,
        /// How long to wait until then.
        wait: Duration,
    },
    /// Certainly absent; it is not known yet whether late creates are refused.
    FenceUnknown {
        /// How long to wait.
        wait: Duration,
    },
    /// Certainly gone.
    Gone,
    /// Certainly absent, but nothing refuses a late create: the name is the only lock.
    Unfenced,
}

/// Locates the run that was reserved with this deadline. `lookup` is the last lookup of it, `sighted` the time when it
/// was last seen.
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
    // A reservation made right now would wait this long at most, so the wait is bounded by it: a clock that jumped
    // cannot stretch it.
    RunLocation::Uncertain { certain_at, wait: left.min(CREATE_WINDOW + REQUEST_TIMEOUT) }
}

/// Whether it is too late to send a create for a reservation with this deadline.
pub fn too_late(not_after: Timestamp, now: Now) -> bool {
    until(now.server_or_wall(), not_after) < LEAST_LEFT
}

/// The deadline that the fence compares with. The fence sees the time of admission cut to whole seconds, so with the
/// deadline itself it would admit creates that come up to a second late.
pub fn fence_deadline(not_after: Timestamp) -> Timestamp {
    not_after.checked_sub(Duration::from_secs(1)).unwrap_or(not_after)
}

/// A claim whose run is to be created: the object, the attempt, and the nonce and deadline of the claim.
#[derive(Clone, Copy, Debug)]
pub struct Claim<'a> {
    /// The object that the run is for.
    pub object: &'a ObjectInfo,
    /// Kind of the object.
    pub owner_kind: &'static str,
    /// Number of the attempt.
    pub attempt: i64,
    /// Name of the candidate; empty if there is none.
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
    /// The key of this process, which derives the secret of the claim.
    pub key: &'a ClaimKey,
    /// Proofs of the claim.
    pub proofs: &'a [String],
}

impl Claim<'_> {
    /// The create of its run. Labels and annotations say what the run was made from; later steps read these, not
    /// status.
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
            (keys::CLAIM.to_owned(), self.key.secret(self.nonce, self.run_name)),
        ]);
        let (name, nonce, not_after) = (self.run_name.to_owned(), self.nonce.to_owned(), self.not_after);
        let proofs = self.proofs.to_vec();
        CreateRun { kind, name, nonce, proofs, not_after, parameters, labels, annotations, timeout, owned }
    }
}

/// The deadline of a claim made now. Never earlier than the one before: an earlier request may be in flight until then.
pub fn deadline(before: Option<Timestamp>, now: Now) -> Timestamp {
    let at = whole_seconds(after(now.server_or_wall(), CREATE_WINDOW));
    before.map_or(at, |before| before.max(at))
}

impl CreateRefusal {
    /// The refusal that an earlier process stored. Its wait begins anew.
    pub fn restored(stored: &Refusal, now: MonotonicTime) -> Self {
        let Refusal { reason, message, stalled, generation, trigger } = stored.clone();
        Self { reason, message, stalled, generation, trigger, at: now }
    }

    /// The form that status stores.
    pub fn stored(&self) -> Box<Refusal> {
        let Self { reason, message, stalled, generation, trigger, .. } = self.clone();
        Box::new(Refusal { reason, message: truncated(&message, MAX_MESSAGE), stalled, generation, trigger })
    }

    /// When the same attempt is tried again without a change, after `failures` refusals before this one.
    pub fn retry_at(&self, failures: i64) -> MonotonicTime {
        let pause = if self.stalled { INVALID_RETRY } else { CREATE_BACKOFF.after(failures.saturating_add(1)) };
        self.at + pause
    }
}

/// How a run ended. The operator stops a run by cancelling it, so the run's own outcome is not why it was stopped.
pub fn outcome(run: &RunRecord, ending: &Ending) -> Outcome {
    match (ending.outcome, run.stopped.as_deref()) {
        (Outcome::Succeeded, _) | (_, None) => ending.outcome,
        (_, Some(cause)) if cause == StopCause::TimedOut.as_str() => Outcome::TimedOut,
        (_, Some(_)) => Outcome::Cancelled,
    }
}

/// The message if another owner's object has the name of a run.
pub fn name_conflict(kind: &str, run_name: &str, owner: &str) -> String {
    format!("{kind} {run_name} is needed for a run but belongs to {owner}: delete it, or rename this object")
}

/// The message if the number of the next attempt would not fit into a run's name.
pub fn no_attempt_left(last: i64) -> String {
    format!("attempt {last} is the last that can be: delete this object and make it anew")
}
