//! A small cache in which entries expire, with bounds on their number and size. Pure: the caller passes `now`.

use std::{collections::HashMap, hash::Hash};

use crate::core::time::MonotonicTime;

/// Entries by key, at most `most` of them, with at most `most_bytes` in total.
pub(super) struct Cache<K, V> {
    entries: HashMap<K, Entry<V>>,
    bytes: usize,
    most: usize,
    most_bytes: usize,
}

struct Entry<V> {
    value: V,
    bytes: usize,
    until: MonotonicTime,
}

impl<K: Eq + Hash + Clone, V: Clone> Cache<K, V> {
    pub(super) fn new(most: usize, most_bytes: usize) -> Self {
        Self { entries: HashMap::new(), bytes: 0, most, most_bytes }
    }

    pub(super) fn get(&self, key: &K, now: MonotonicTime) -> Option<V> {
        self.entries.get(key).filter(|entry| now < entry.until).map(|entry| entry.value.clone())
    }

    /// Stores `value` until this moment. Makes room by removing expired entries, then those that expire first. Does not
    /// store a value that is larger than `most_bytes`.
    pub(super) fn put(&mut self, key: K, value: V, bytes: usize, until: MonotonicTime, now: MonotonicTime) {
        self.remove(&key);
        if bytes > self.most_bytes {
            return;
        }
        if self.entries.len() >= self.most || self.bytes + bytes > self.most_bytes {
            let past: Vec<K> =
                self.entries.iter().filter(|(_, entry)| entry.until <= now).map(|(key, _)| key.clone()).collect();
            for key in &past {
                self.remove(key);
            }
        }
        while self.entries.len() >= self.most || self.bytes + bytes > self.most_bytes {
            let Some(first) = self.entries.iter().min_by_key(|(_, entry)| entry.until).map(|(key, _)| key.clone())
            else {
                return;
            };
            self.remove(&first);
        }
        self.bytes += bytes;
        self.entries.insert(key, Entry { value, bytes, until });
    }

    pub(super) fn remove(&mut self, key: &K) {
        if let Some(entry) = self.entries.remove(key) {
            self.bytes -= entry.bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(second: u64) -> MonotonicTime {
        MonotonicTime::new(Duration::from_secs(second))
    }

    #[test]
    fn entry_is_gone_once_it_expires_or_is_removed() {
        let mut cache = Cache::new(10, 100);
        cache.put("a", 1, 10, at(60), at(0));
        assert_eq!((cache.get(&"a", at(59)), cache.get(&"a", at(60))), (Some(1), None));
        cache.put("a", 2, 10, at(120), at(60));
        assert_eq!(cache.get(&"a", at(60)), Some(2));
        cache.remove(&"a");
        assert_eq!((cache.get(&"a", at(60)), cache.bytes), (None, 0));
    }

    #[test]
    fn makes_room_for_new_entries_by_number_and_by_size() {
        let mut cache = Cache::new(3, 100);
        for (n, key) in ["a", "b", "c", "d"].into_iter().enumerate() {
            cache.put(key, n, 10, at(10 + u64::try_from(n).unwrap()), at(0));
        }
        assert_eq!((cache.get(&"a", at(0)), cache.get(&"d", at(0))), (None, Some(3)));
        cache.put("large", 9, 90, at(60), at(0));
        assert_eq!((cache.entries.len(), cache.bytes), (2, 100), "only the entry that expires last remains beside it");
        cache.put("too large", 9, 101, at(60), at(0));
        assert_eq!(cache.get(&"too large", at(0)), None);
        assert_eq!(cache.get(&"large", at(0)), Some(9));
    }
}
