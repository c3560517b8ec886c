//! Records by a part of themselves, which is not copied for it: two indexes of ten thousand objects weigh half a megabyte.
//! No IO.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
};

use hashbrown::HashTable;

/// Records, one for each key.
pub struct Index<T> {
    key: fn(&T) -> (&str, &str),
    hashes: RandomState,
    records: HashTable<Arc<T>>,
}

impl<T> Index<T> {
    /// An empty index by this part of a record.
    pub fn new(key: fn(&T) -> (&str, &str)) -> Self {
        Self { key, hashes: RandomState::new(), records: HashTable::new() }
    }

    /// The record with this key.
    pub fn get(&self, key: (&str, &str)) -> Option<&Arc<T>> {
        self.records.find(self.hashes.hash_one(key), |record| (self.key)(record) == key)
    }

    /// Takes in a record, in the place of the one with its key.
    pub fn insert(&mut self, record: Arc<T>) {
        let Self { key, hashes, records } = self;
        let wanted = key(&record);
        let hash = hashes.hash_one(wanted);
        if let Some(old) = records.find_mut(hash, |old| key(old) == wanted) {
            *old = record;
        } else {
            records.insert_unique(hash, record, |record| hashes.hash_one(key(record)));
        }
    }

    /// Forgets the record with this key.
    pub fn remove(&mut self, key: (&str, &str)) -> Option<Arc<T>> {
        let hash = self.hashes.hash_one(key);
        let found = self.records.find_entry(hash, |record| (self.key)(record) == key).ok()?;
        Some(found.remove().0)
    }

    /// Every record.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.records.iter()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }
}

/// Records, any number for each key.
pub struct Groups<T> {
    key: fn(&T) -> &str,
    hashes: RandomState,
    records: HashTable<Arc<T>>,
}

impl<T> Groups<T> {
    /// No groups, by this part of a record.
    pub fn new(key: fn(&T) -> &str) -> Self {
        Self { key, hashes: RandomState::new(), records: HashTable::new() }
    }

    /// The records with this key, in no order.
    pub fn of(&self, key: &str) -> impl Iterator<Item = &Arc<T>> {
        self.records.iter_hash(self.hashes.hash_one(key)).filter(move |record| (self.key)(record) == key)
    }

    /// Takes in a record, which must not be there yet.
    pub fn insert(&mut self, record: Arc<T>) {
        let Self { key, hashes, records } = self;
        let hash = hashes.hash_one(key(&record));
        records.insert_unique(hash, record, |record| hashes.hash_one(key(record)));
    }

    /// Forgets this very record.
    pub fn remove(&mut self, record: &Arc<T>) {
        let hash = self.hashes.hash_one((self.key)(record));
        if let Ok(found) = self.records.find_entry(hash, |found| Arc::ptr_eq(found, record)) {
            found.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn index_holds_one_record_for_each_key() {
        let mut index = Index::<(String, u8)>::new(|record| ("", &record.0));
        for (name, value) in [("a", 1), ("b", 2), ("a", 3)] {
            index.insert(Arc::new((name.to_owned(), value)));
        }
        assert_eq!((index.len(), index.get(("", "a")).unwrap().1), (2, 3));
        assert_eq!(index.remove(("", "a")).unwrap().1, 3);
        assert!(index.get(("", "a")).is_none() && index.get(("", "b")).is_some());
    }

    #[test]
    fn groups_hold_every_record_and_forget_the_one_that_is_meant() {
        let mut groups = Groups::<(String, u32)>::new(|record| &record.0);
        let records: Vec<_> = (0..100).map(|value| Arc::new((format!("key-{}", value % 3), value))).collect();
        for record in &records {
            groups.insert(record.clone());
        }
        groups.remove(&records[3]);
        groups.remove(&Arc::new(("key-0".to_owned(), 6)));
        let mut found: Vec<_> = groups.of("key-0").map(|record| record.1).collect();
        found.sort_unstable();
        assert_eq!(found, (0..100).step_by(3).filter(|value| *value != 3).collect::<Vec<_>>());
        assert_eq!(groups.of("key").count(), 0);
    }
}
