//! A value source as decisions know it, and the sources that a spec sets. Pure.

use crate::{
    api::source::{SingleSource, each_source},
    core::invalid::Invalid,
};

/// An object of the same namespace that a source reads.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Reference {
    /// Its `apiVersion`.
    pub api_version: String,
    /// Its kind.
    pub kind: String,
    /// Its name.
    pub name: String,
}

impl Reference {
    /// The object of this `apiVersion`, kind and name.
    pub fn new(api_version: &str, kind: &str, name: &str) -> Self {
        Self { api_version: api_version.to_owned(), kind: kind.to_owned(), name: name.to_owned() }
    }
}

/// A source of one value, as decisions know it. Its file in `source/` implements this beside the code that reads the value.
pub trait ValueSource {
    /// What the CRD's schema checks (an object may be older than the schema), and what it cannot. `at` is the source's path
    /// in the object, as in `spec.compare.desired.git`.
    fn check(&self, at: &str) -> Result<(), Invalid>;

    /// The origin of the value in words, for records, as in `git https://host/repo main`. Without the query of a URL, which
    /// may hold a secret.
    fn describe(&self) -> String;

    /// The object of its namespace that it reads; a change of that object may change the value.
    fn reference(&self) -> Option<Reference> {
        None
    }

    /// The texts that may name a run, by their fields, the most likely one first: those that say what is read, not how it is
    /// requested. Without any, the source cannot measure a run.
    fn texts(&mut self) -> Vec<(&'static str, &mut String)> {
        Vec::new()
    }
}

impl<S: ValueSource> ValueSource for Box<S> {
    fn check(&self, at: &str) -> Result<(), Invalid> {
        S::check(self, at)
    }

    fn describe(&self) -> String {
        S::describe(self)
    }

    fn reference(&self) -> Option<Reference> {
        S::reference(self)
    }

    fn texts(&mut self) -> Vec<(&'static str, &mut String)> {
        S::texts(self)
    }
}

macro_rules! members {
    ($($(#[$attribute:meta])* $field:ident $name:literal: $type:ty,)+) => {
        /// The sources that are set, with their names; a valid spec has at most one.
        pub fn members(source: &SingleSource) -> impl Iterator<Item = (&'static str, &dyn ValueSource)> {
            let members = [$(source.$field.as_ref().map(|source| ($name, source as &dyn ValueSource)),)+];
            members.into_iter().flatten()
        }

        /// [`members`], to change them.
        pub fn members_mut(source: &mut SingleSource) -> impl Iterator<Item = (&'static str, &mut dyn ValueSource)> {
            let members = [$(source.$field.as_mut().map(|source| ($name, source as &mut dyn ValueSource)),)+];
            members.into_iter().flatten()
        }
    };
}

each_source!(members);
