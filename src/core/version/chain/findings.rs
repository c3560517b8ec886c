//! What a proof of a chain finds, and its words. Pure.

use std::fmt;

use serde::Serialize;

use crate::api::RecordRef;

/// A problem of a chain. Its text names the record and the problem, and says what it may mean.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Problem {
    /// A record states a digest that is not that of its content.
    WrongDigest {
        /// The record.
        record: String,
        /// The digest that it states.
        stated: String,
        /// The digest of its content.
        content: String,
    },
    /// A record does not have the name of its run.
    WrongName {
        /// The record.
        record: String,
        /// Its run.
        run: String,
    },
    /// A record, or an entry of `status.removed`, is not the one that its successor names.
    Replaced {
        /// The record.
        record: String,
        /// The record or field that names it.
        named_by: String,
        /// The record that is named.
        expected: RecordRef,
    },
    /// A named record does not exist, and `status.removed` has no entry for it.
    Missing {
        /// The record.
        record: String,
        /// The record or field that names it.
        named_by: String,
    },
    /// A record is reached a second time.
    Circle {
        /// The record.
        record: String,
    },
    /// A record has a greater attempt than one that follows it.
    OutOfOrder {
        /// The record.
        record: String,
        /// Its attempt.
        attempt: i64,
    },
    /// Two records follow the same one.
    Fork {
        /// The record that is not part of the chain.
        record: String,
        /// The record that both follow; empty for the beginning.
        after: String,
    },
    /// A record is not linked to the chain.
    Outside {
        /// The record.
        record: String,
    },
    /// An entry of `status.removed` is not linked to the chain, or is in another place than its record was in the
    /// chain.
    RemovedMisplaced {
        /// Its record.
        record: String,
    },
    /// There are records, but the ModelTrain does not say which is the newest.
    NoHead {
        /// The number of records.
        records: usize,
    },
    /// The accepted version is not in the chain.
    AcceptedMissing {
        /// The version.
        record: String,
    },
    /// The ModelTrain's status differs from the record of the accepted version.
    AcceptedDiffers {
        /// The version.
        record: String,
        /// The member of `status.acceptedVersion`.
        field: &'static str,
    },
    /// The accepted version has a verdict with which it cannot be accepted.
    AcceptedUnfit {
        /// The version.
        record: String,
        /// The verdict of its record.
        verdict: &'static str,
    },
    /// A record cannot be read.
    Unreadable {
        /// The record.
        record: String,
        /// Why it cannot be read.
        error: String,
    },
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongDigest { record, stated, content } => write!(
                f,
                "{record}: states digest {stated}, but its content gives {content}: it was changed after it was written"
            ),
            Self::WrongName { record, run } => write!(
                f,
                "{record}: is the record of run {run}, so it should have that name: it was copied, or exchanged with another"
            ),
            Self::Replaced { record, named_by, expected } => write!(
                f,
                "{record}: is not what {named_by} names ({} with digest {}): one of the two was rewritten",
                expected.name, expected.digest
            ),
            Self::Missing { record, named_by } => write!(
                f,
                "{record}: does not exist, though {named_by} names it, and the history limit did not remove it: it was \
                 deleted, or its entry was removed from status.removed"
            ),
            Self::Circle { record } => {
                write!(f, "{record}: is reached twice on the way back from the newest record: a link was changed")
            }
            Self::OutOfOrder { record, attempt } => write!(
                f,
                "{record}: has attempt {attempt}, more than one that follows it: records were put into another order"
            ),
            Self::Fork { record, after } if after.is_empty() => {
                write!(f, "{record}: begins a second chain: it was inserted, or status.head was set to something else")
            }
            Self::Fork { record, after } => write!(
                f,
                "{record}: follows {after}, as another record does that is part of the chain: it was inserted, or \
                 status.head was set to something else"
            ),
            Self::Outside { record } => {
                write!(f, "{record}: is not linked to the chain: it was inserted, or status.head was set back")
            }
            Self::RemovedMisplaced { record } => write!(
                f,
                "{record}: its entry in status.removed bridges nothing, or is in the wrong place: the list was edited"
            ),
            Self::NoHead { records } => write!(
                f,
                "status.head is missing though there are {records} records: the ModelTrain's status was lost or edited"
            ),
            Self::AcceptedMissing { record } => write!(
                f,
                "{record}: is the accepted version, but no record of the chain: its record was deleted, or the \
                 ModelTrain's status was edited"
            ),
            Self::AcceptedDiffers { record, field } => write!(
                f,
                "{record}: status.acceptedVersion.{field} is not what its record says: the ModelTrain's status was edited"
            ),
            Self::AcceptedUnfit { record, verdict } => write!(
                f,
                "{record}: is the accepted version, but its verdict is {verdict}: no gate and no person could accept it"
            ),
            Self::Unreadable { record, error } => {
                write!(f, "{record}: cannot be read ({error}): members are missing or have another type")
            }
        }
    }
}

/// A fact about a chain that is worth knowing but is not a problem.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all_fields = "camelCase")]
pub enum Note {
    /// A record follows the head, and the ModelTrain's status does not count it yet.
    Uncommitted {
        /// The record.
        record: String,
    },
    /// A record is noted as removed and still exists.
    BeingRemoved {
        /// The record.
        record: String,
    },
    /// Records before a missing one: complete among themselves, but no longer linked to the head.
    Severed {
        /// The newest of them.
        record: String,
        /// Their number, including removed records.
        records: usize,
    },
    /// The record before this one does not exist, and the reason is unknown because the ModelTrain is gone.
    Gap {
        /// The record.
        record: String,
        /// The record before it.
        missing: String,
    },
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Uncommitted { record } => {
                write!(f, "{record}: is written, and the ModelTrain's status does not count it yet")
            }
            Self::BeingRemoved { record } => write!(f, "{record}: is about to be removed by the history limit"),
            Self::Severed { record, records } => {
                write!(
                    f,
                    "{record}: the newest of {records} that are not linked to the head because a record is missing"
                )
            }
            Self::Gap { record, missing } => write!(
                f,
                "{record}: the record before it, {missing}, does not exist: removed by the history limit, or deleted; \
                 the ModelTrain that knew is gone"
            ),
        }
    }
}
