//! A replica's store of runs: arbitrarily old, and only moving forward.

/// A run in a store.
pub trait Stored: Copy + Ord {
    /// Represents its resourceVersion: it only moves forward.
    type Version: PartialOrd;

    fn version(self) -> Self::Version;
    /// Whether both are the same object, perhaps at different moments.
    fn same(self, other: Self) -> bool;
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Store<Run> {
    pub runs: Vec<Run>,
    /// Deletions that the watch has not shown yet.
    deletions: Vec<Run>,
}

impl<Run: Stored> Store<Run> {
    pub const fn empty() -> Self {
        Self { runs: Vec::new(), deletions: Vec::new() }
    }

    /// A store that begins with an older state of the server.
    pub fn of_the_past(runs: Vec<Run>, live: &[Run]) -> Self {
        let deletions = runs.iter().filter(|run| !live.iter().any(|live| live.same(**run))).copied().collect();
        Self { runs, deletions }
    }

    /// Whether the watch has news.
    pub fn has_news(&self, live: &[Run]) -> bool {
        live.iter().any(|run| !self.runs.contains(run))
            || self.deletions.iter().any(|gone| self.runs.iter().any(|run| run.same(*gone)))
    }

    /// The watch catches up.
    pub fn catch_up(&mut self, live: &[Run]) {
        let gone = std::mem::take(&mut self.deletions);
        self.runs.retain(|run| !gone.iter().any(|gone| gone.same(*run)));
        for run in live {
            self.insert(*run);
        }
    }

    /// The server deletes a run.
    pub fn deleted(&mut self, run: Run) {
        self.deletions.push(run);
    }

    /// Inserts a run that a request returned, as `Runs::insert` does: a run whose deletion the watch has shown stays
    /// absent.
    pub fn take_in(&mut self, live: &[Run], run: Run) {
        if live.iter().chain(&self.deletions).any(|known| known.same(run)) {
            self.insert(run);
        }
    }

    pub fn remove(&mut self, run: Run) {
        self.runs.retain(|stored| !stored.same(run));
    }

    /// Keeps the newer version.
    fn insert(&mut self, run: Run) {
        match self.runs.iter_mut().find(|known| known.same(run)) {
            Some(known) if known.version() < run.version() => *known = run,
            Some(_) => {}
            None => self.runs.push(run),
        }
    }

    /// Drops the deletions of runs that the store does not have and that no reply `brings`.
    pub fn canonical(&mut self, brings: impl Fn(Run) -> bool) {
        self.runs.sort_unstable();
        let runs = &self.runs;
        self.deletions.retain(|gone| runs.iter().any(|run| run.same(*gone)) || brings(*gone));
        self.deletions.sort_unstable();
    }
}
