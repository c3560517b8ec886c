//! Numbers for large values: equal values get equal numbers, so that states stay small and cheap to compare. Also
//! results that are computed once.

use std::{
    collections::HashMap,
    fmt::Debug,
    hash::{BuildHasher, BuildHasherDefault, DefaultHasher, Hash},
    sync::{Arc, RwLock},
};

/// The number of an interned value.
pub type Id = u32;

/// A table of values. Their `Debug` text is their identity.
pub struct Interner<T> {
    inner: RwLock<Table<T>>,
}

/// Numbers by text, values by number.
type Table<T> = (HashMap<String, Id>, Vec<Arc<T>>);

impl<T: Debug> Interner<T> {
    /// A table whose number 0 is `first`.
    pub fn new(first: T) -> Self {
        let table = Self { inner: RwLock::default() };
        table.put(first);
        table
    }

    pub fn put(&self, value: T) -> Id {
        let key = format!("{value:?}");
        if let Some(id) = self.inner.read().unwrap().0.get(&key) {
            return *id;
        }
        let mut inner = self.inner.write().unwrap();
        if let Some(id) = inner.0.get(&key) {
            return *id;
        }
        let id = Id::try_from(inner.1.len()).unwrap();
        inner.0.insert(key, id);
        inner.1.push(Arc::new(value));
        id
    }

    pub fn get(&self, id: Id) -> Arc<T> {
        self.inner.read().unwrap().1[usize::try_from(id).unwrap()].clone()
    }
}

const SHARDS: u64 = 16;

/// The results of a pure function, by key.
pub struct Memo<K, V> {
    shards: Vec<RwLock<HashMap<K, Arc<V>>>>,
}

impl<K: Hash + Eq, V> Memo<K, V> {
    pub fn new() -> Self {
        Self { shards: (0..SHARDS).map(|_| RwLock::default()).collect() }
    }

    pub fn get(&self, key: K, make: impl FnOnce(&K) -> V) -> Arc<V> {
        let hash = BuildHasherDefault::<DefaultHasher>::default().hash_one(&key);
        let shard = &self.shards[usize::try_from(hash % SHARDS).unwrap()];
        if let Some(known) = shard.read().unwrap().get(&key) {
            return known.clone();
        }
        let value = Arc::new(make(&key));
        shard.write().unwrap().insert(key, value.clone());
        value
    }
}
