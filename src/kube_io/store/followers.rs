//! Which ModelSyncs follow which ModelTrains, and which version each serves. Reconciles of ModelSyncs record it. No IO.

use std::{
    collections::{BTreeMap, HashMap},
    sync::RwLock,
};

use super::generic::{read, write};
use crate::core::version::follower::Follower;

/// Namespace and name of a ModelTrain.
type Train = (String, String);

/// Followers by the ModelTrain that they follow.
#[derive(Default)]
pub struct Followers {
    inner: RwLock<Inner>,
}

#[derive(Default)]
struct Inner {
    by_train: HashMap<Train, BTreeMap<String, Follower>>,
    /// By uid of a ModelSync: the ModelTrain that it follows.
    followed: HashMap<String, Train>,
    /// By uid of a ModelSync: a ModelTrain that relies on what a ModelVersion says about the ModelSync, until the
    /// ModelSync is reconciled.
    awaiting: HashMap<String, Train>,
}

impl Followers {
    /// The followers of a ModelTrain, in the order of their uids.
    pub fn of(&self, namespace: &str, train: &str) -> Vec<Follower> {
        let inner = read(&self.inner);
        let followers = inner.by_train.get(&(namespace.to_owned(), train.to_owned()));
        followers.into_iter().flat_map(BTreeMap::values).cloned().collect()
    }

    /// Removes all followers: another replica may have led since they were recorded.
    pub fn clear(&self) {
        *write(&self.inner) = Inner::default();
    }

    /// Records that a ModelTrain relies on what its ModelVersion says about this ModelSync. The next reconcile of the
    /// ModelSync then concerns the ModelTrain, even if nothing changes.
    pub fn await_reconcile(&self, uid: &str, namespace: &str, train: &str) {
        let train = (namespace.to_owned(), train.to_owned());
        if read(&self.inner).awaiting.get(uid) != Some(&train) {
            write(&self.inner).awaiting.insert(uid.to_owned(), train);
        }
    }

    /// Records what a ModelSync follows; `None` for nothing. Returns the ModelTrains that the change concerns.
    pub fn note(&self, uid: &str, following: Option<(Train, Follower)>) -> Vec<Train> {
        // Most ModelSyncs follow nothing.
        if following.is_none() && !read(&self.inner).concerns(uid) {
            return Vec::new();
        }
        let mut inner = write(&self.inner);
        let awaiting = inner.awaiting.remove(uid);
        let before = inner.followed.get(uid).cloned();
        let old = before.as_ref().and_then(|train| inner.by_train.get(train)?.get(uid)).cloned();
        if old.as_ref() == following.as_ref().map(|(_, follower)| follower)
            && before.as_ref() == following.as_ref().map(|(train, _)| train)
        {
            return awaiting.into_iter().collect();
        }
        let mut news: Vec<_> = awaiting.into_iter().collect();
        if let Some(train) = before {
            inner.forget(&train, uid);
            news.push(train);
        }
        if let Some((train, follower)) = following {
            inner.followed.insert(uid.to_owned(), train.clone());
            inner.by_train.entry(train.clone()).or_default().insert(uid.to_owned(), follower);
            news.push(train);
        }
        news.sort();
        news.dedup();
        news
    }
}

impl Inner {
    /// Whether this ModelSync follows a ModelTrain, or a ModelTrain awaits its reconcile.
    fn concerns(&self, uid: &str) -> bool {
        self.followed.contains_key(uid) || self.awaiting.contains_key(uid)
    }

    fn forget(&mut self, train: &Train, uid: &str) {
        self.followed.remove(uid);
        if let Some(followers) = self.by_train.get_mut(train) {
            followers.remove(uid);
            if followers.is_empty() {
                self.by_train.remove(train);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follower(uid: &str, version: Option<&str>) -> Follower {
        let serving = version.map(|version| (version.to_owned(), jiff::Timestamp::UNIX_EPOCH));
        Follower { name: format!("sync-{uid}"), uid: uid.to_owned(), serving }
    }

    fn train(name: &str) -> Train {
        ("team".to_owned(), name.to_owned())
    }

    #[test]
    fn change_of_the_train_concerns_both_and_no_change_concerns_none() {
        let followers = Followers::default();
        assert_eq!(followers.note("a", Some((train("one"), follower("a", None)))), [train("one")]);
        assert!(followers.note("a", Some((train("one"), follower("a", None)))).is_empty());
        assert_eq!(followers.note("a", Some((train("one"), follower("a", Some("v-1"))))), [train("one")]);
        assert_eq!(followers.of("team", "one"), [follower("a", Some("v-1"))]);
        assert_eq!(followers.note("a", Some((train("two"), follower("a", None)))), [train("one"), train("two")]);
        assert!(followers.of("team", "one").is_empty());
        assert_eq!(followers.note("a", None), [train("two")]);
        assert!(followers.note("a", None).is_empty());
        assert!(followers.of("other", "two").is_empty());
    }

    #[test]
    fn train_that_relies_on_its_record_is_concerned_once_even_if_nothing_changes() {
        let followers = Followers::default();
        followers.await_reconcile("gone", "team", "one");
        assert_eq!(followers.note("gone", None), [train("one")]);
        assert!(followers.note("gone", None).is_empty());
        followers.await_reconcile("same", "team", "one");
        assert_eq!(followers.note("same", Some((train("one"), follower("same", Some("v-1"))))), [train("one")]);
        followers.await_reconcile("left", "team", "one");
        assert_eq!(followers.note("left", Some((train("two"), follower("left", None)))), [train("one"), train("two")]);
        followers.await_reconcile("forgotten", "team", "one");
        followers.clear();
        assert!(followers.note("forgotten", None).is_empty());
    }
}
