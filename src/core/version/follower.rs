//! The ModelSyncs that follow a ModelTrain. Pure.

use jiff::Timestamp;

/// A ModelSync that rolls out the accepted version of the ModelTrain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Follower {
    /// Its name.
    pub name: String,
    /// Its uid.
    pub uid: String,
    /// The version that it serves, and since when.
    pub serving: Option<(String, Timestamp)>,
}
