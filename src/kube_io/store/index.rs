//! Indexes of a store by other keys than the uid. No IO.

use std::{collections::HashMap, sync::Arc};

/// An index of the entries of a store. Each uid is in it at most once.
pub trait Index<T>: Default + Send + Sync + 'static {
    /// Adds an entry whose uid is not in the index. The returned entry may share strings with another one.
    fn add(&mut self, entry: T) -> Arc<T>;

    /// Removes an entry that was added.
    fn remove(&mut self, entry: &Arc<T>);
}

/// Entries by a string that several of them may have in common.
pub struct Groups<T>(HashMap<Arc<str>, Vec<Arc<T>>>);

impl<T> Default for Groups<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T> Groups<T> {
    /// The entries of this group, in no particular order.
    pub fn of(&self, group: &str) -> &[Arc<T>] {
        self.0.get(group).map_or(&[], Vec::as_slice)
    }

    /// Adds an entry, which must not be in the group.
    pub fn add(&mut self, group: Arc<str>, entry: Arc<T>) {
        // Most groups have one entry, and a vector would begin with room for four.
        self.0.entry(group).or_insert_with(|| Vec::with_capacity(1)).push(entry);
    }

    /// Removes exactly this entry, and no other one that is equal.
    pub fn remove(&mut self, group: &str, entry: &Arc<T>) {
        if let Some(entries) = self.0.get_mut(group) {
            entries.retain(|found| !Arc::ptr_eq(found, entry));
            if entries.is_empty() {
                self.0.remove(group);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_hold_every_entry_and_remove_exactly_the_given_one() {
        let mut groups = Groups::<u32>::default();
        let group = |value: u32| format!("group-{}", value % 3);
        let entries: Vec<_> = (0..100).map(Arc::new).collect();
        for entry in &entries {
            groups.add(group(**entry).into(), entry.clone());
        }
        groups.remove("group-0", &entries[3]);
        groups.remove("group-0", &Arc::new(6));
        let mut found: Vec<_> = groups.of("group-0").iter().map(|entry| **entry).collect();
        found.sort_unstable();
        assert_eq!(found, (0..100).step_by(3).filter(|value| *value != 3).collect::<Vec<_>>());
        for entry in &entries {
            groups.remove(&group(**entry), entry);
        }
        assert!(groups.of("group-1").is_empty() && groups.0.is_empty());
    }
}
