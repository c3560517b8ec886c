//! What differs between the kinds of objects. The types are named here; what a kind does is a trait beside the code
//! that calls it.

use std::{
    fmt::{Debug, Display},
    hash::Hash,
};

use serde::{Serialize, de::DeserializeOwned};

use super::{Checks, Decides, Drains, Replies, Serves, Steps};

/// A small value of a state.
pub trait Small: Copy + Debug + Ord + Hash + Send + Sync + 'static {}
impl<T: Copy + Debug + Ord + Hash + Send + Sync + 'static> Small for T {}

/// A part of a state.
pub trait Part: Clone + Debug + Eq + Hash + Send + Sync + 'static {}
impl<T: Clone + Debug + Eq + Hash + Send + Sync + 'static> Part for T {}

/// The types of a kind. A type that is named like one of `common` has what only this kind has.
pub trait Types: Small {
    /// Further settings of a configuration.
    type Options: Copy + Debug + Send + Sync;
    /// Specs that an object can have.
    type Spec: Copy + Debug + PartialEq + Send + Sync + 'static;
    type Mutant: Copy + Debug + Default + PartialEq + Send + Sync;
    type Rule: Copy + Debug + Ord + Send + Sync;
    type Status: Clone + Debug + Default + Serialize + DeserializeOwned + Send + Sync;
    /// What a process remembers of an object.
    type Memory: Clone + Debug + Default + Send + Sync;
    type Annotations: Small + Default;
    type Request: Small + Display;
    type Reply: Small + Display;
    /// The response to a poll.
    type Response: Part + Copy;
    /// The true state at the moment of a poll. No replica sees it; the properties do.
    type Evidence: Small + Default;
    type Replica: Part + Default;
    type World: Part;
    type Action: Clone + Debug + PartialEq + Display + Send + Sync;
    /// The effects of a reconcile that need no request.
    type Local: Clone + Debug + Default + Send + Sync;
    /// The values that a machine works with.
    type Values: Send + Sync;
}

/// A kind of object whose `decide` is explored.
pub trait Kind: Types + Decides + Serves + Replies + Steps + Drains + Checks {}
impl<T: Types + Decides + Serves + Replies + Steps + Drains + Checks> Kind for T {}
