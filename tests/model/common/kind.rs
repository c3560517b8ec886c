//! What differs between the kinds of objects. The types are named here; what a kind does is a trait beside the code that
//! calls it.

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

/// The types of a kind. What is named like a type of `common` is what this kind has besides.
pub trait Types: Small {
    /// What a configuration says besides.
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
    /// What a poll brings.
    type Response: Part + Copy;
    /// What was really so at the moment of a poll. No replica sees this; the properties do.
    type Evidence: Small + Default;
    type Replica: Part + Default;
    type World: Part;
    type Action: Clone + Debug + PartialEq + Display + Send + Sync;
    /// What a reconcile does without a request.
    type Local: Clone + Debug + Default + Send + Sync;
    /// What a machine works with.
    type Values: Send + Sync;
}

/// A kind of object whose `decide` is explored.
pub trait Kind: Types + Decides + Serves + Replies + Steps + Drains + Checks {}
impl<T: Types + Decides + Serves + Replies + Steps + Drains + Checks> Kind for T {}
