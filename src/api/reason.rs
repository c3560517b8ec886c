//! Reasons of conditions and events: one closed vocabulary with stable strings. No IO.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident,)+) => {
        /// Why a condition has its status, or why an event happened.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Reason {
            $($(#[$doc])* $name,)+
            /// Written by another release of this operator; replaced at the next write.
            Unrecognised,
        }

        impl Reason {
            /// Every reason of this release.
            pub const ALL: &[Self] = &[$(Self::$name,)+];

            /// The stable string, as users see it.
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => stringify!($name),)+
                    Self::Unrecognised => "Unrecognised",
                }
            }

            fn parse(text: &str) -> Self {
                match text {
                    $(stringify!($name) => Self::$name,)+
                    _ => Self::Unrecognised,
                }
            }
        }
    };
}

reasons! {
    /// The operator watches the object and can do its job.
    Operational,
    /// The object is new or was changed, and there is no poll result yet.
    AwaitingFirstResponse,
    /// The endpoint says that nothing needs to be done.
    UpToDate,
    /// A run is active.
    RunActive,
    /// A run succeeded, but the endpoint still says that a sync is needed (or has not been polled since).
    AwaitingEffect,
    /// A run failed; the same target waits before it is tried again.
    BackingOff,
    /// The last run did not succeed.
    RunFailing,
    /// Polls of the endpoint fail.
    EndpointFailing,
    /// A value that is compared cannot be read.
    SourceFailing,
    /// There is no desired value yet: the desired value of `spec.compare` does not exist.
    DesiredUnknown,
    /// Runs for the same target failed too often in a row.
    RetriesExhausted,
    /// The last run for this target was cancelled.
    RunCancelled,
    /// A sync is needed, and no window of `spec.windows` lets a run start now.
    OutsideWindow,
    /// `spec.suspend` is true.
    Suspended,
    /// A run of a deleted object of the same name has not ended yet.
    PredecessorRunning,
    /// The spec is invalid; the message names the field and the remedy.
    InvalidSpec,
    /// The API server refused the run as invalid.
    RunRefused,
    /// Something else owns the name of the run.
    NameConflict,
    /// All attempt numbers are used up.
    NoAttemptLeft,
    /// The run's kind is not installed in this cluster.
    RunKindMissing,
    /// A quota forbids another run.
    QuotaExceeded,
    /// The operator, by policy or RBAC, may not create the run.
    Forbidden,
    /// The API server, or a webhook in front of the run's kind, does not take requests now.
    ApiUnavailable,
    /// A run is active and does not start its work: its pods are forbidden, fit on no node, or cannot be started.
    RunBlocked,
    /// It is not known yet whether the reserved run exists.
    RunUnconfirmed,
    /// The operator itself fails on this object.
    InternalError,
    /// The accepted model is fresh.
    Fresh,
    /// There is no accepted version, and no reason for a training yet.
    NotDue,
    /// The model is stale. A training answered the reasons and accepted nothing better than the accepted version.
    NoBetterCandidate,
    /// The model is stale. A training answered the reasons, and no version was ever accepted.
    NothingAccepted,
    /// The model is stale, and an input has no value or cannot be read.
    InputMissing,
    /// No version was accepted yet.
    NeverAccepted,
    /// The hold annotation names the accepted version.
    Held,
    /// The accepted version is that of a deleted ModelTrain of the same name.
    Restored,
    /// The hold annotation names a version that is not on record, or that never passed the gate.
    HoldInvalid,
    /// A training waits until the budget has room for it.
    BudgetSpent,
    /// A version waits for the annotation that approves or rejects it.
    AwaitingApproval,
    /// The version was approved by a person.
    Approved,
    /// The version was rejected by a person.
    Rejected,
    /// The version waited for a person, and a later training was judged in the meantime.
    Superseded,
    /// The version passed the gate while another one was held.
    HeldBack,
    /// The version is the best of its training, and was accepted.
    Best,
    /// The version passed the gate, and another one of its training is better.
    NotBest,
    /// The version is the best of its training, and not better than the earlier version.
    NotImproved,
    /// The version cannot be compared: the earlier version lacks the metric.
    Incomparable,
    /// A rule of the gate does not hold for the version.
    GateFailed,
    /// A rule of the gate cannot be decided for the version.
    Inconclusive,
    /// A metric that the gate reads is missing, or is not a number.
    MetricsUnavailable,
    /// The version's run did not succeed.
    NotJudged,
    /// A ModelSync serves the version.
    Served,
    /// No ModelSync serves the version any more.
    NotServed,
    /// Another object has the name of a record.
    RecordConflict,
    /// The API server refuses a record, or its status, as invalid.
    RecordRefused,
    /// Event: the API server refuses the status of the object, so the conditions cannot say it.
    StatusRefused,
    /// Event: a training was started.
    TrainingStarted,
    /// Event: a training ended.
    TrainingEnded,
    /// There is an accepted version; as an event: a version was accepted.
    VersionAccepted,
    /// Event: a run was created.
    RunStarted,
    /// Event: a run succeeded.
    RunSucceeded,
    /// Event: a run ended without success.
    RunFailed,
    /// Event: the operator is stopping a run.
    RunStopped,
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

impl<'de> Deserialize<'de> for Reason {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Never an error: a downgrade must be able to read what a newer release wrote.
        Ok(Self::parse(&std::borrow::Cow::<str>::deserialize(deserializer)?))
    }
}

impl JsonSchema for Reason {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Reason".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "maxLength": 64 })
    }
}
