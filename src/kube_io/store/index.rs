//! Records by a part of their identity, which is not copied for it: two indexes of ten thousand objects weigh half a
//! megabyte. No IO.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use hashbrown::HashTable;

use crate::{core::object::Identity, kube_io::record::ObjectRecord};

/// The part of an identity that records are found by.
pub type KeyOf = fn(&Identity) -> (&str, &str);

/// Records, one for each key.
pub struct Index<K> {
    key: KeyOf,
    hashes: RandomState,
    records: HashTable<Arc<ObjectRecord<K>>>,
}

impl<K> Index<K> {
    /// An empty index.
    pub fn new(key: KeyOf) -> Self {
        Self { key, hashes: RandomState::new(), records: HashTable::new() }
    }

    /// The record with this key.
    pub fn get(&self, key: (&str, &str)) -> Option<&Arc<ObjectRecord<K>>> {
        self.records.find(self.hashes.hash_one(key), |record| (self.key)(&record.identity) == key)
    }

    /// Takes in a record, in the place of the one with its key.
    pub fn insert(&mut self, record: Arc<ObjectRecord<K>>) {
        let Self { key, hashes, records } = self;
        let wanted = key(&record.identity);
        let hash = hashes.hash_one(wanted);
        if let Some(old) = records.find_mut(hash, |old| key(&old.identity) == wanted) {
            *old = record;
        } else {
            records.insert_unique(hash, record, |record| hashes.hash_one(key(&record.identity)));
        }
    }

    /// Forgets the record with this key.
    pub fn remove(&mut self, key: (&str, &str)) -> Option<Arc<ObjectRecord<K>>> {
        let hash = self.hashes.hash_one(key);
        let found = self.records.find_entry(hash, |record| (self.key)(&record.identity) == key).ok()?;
        Some(found.remove().0)
    }

    /// Every record.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<ObjectRecord<K>>> {
        self.records.iter()
    }
}
