//! What `up` says while it works: one line a step, with the time since the start. Does IO.

use std::time::Instant;

/// The clock of one run.
pub(crate) struct Progress {
    started: Instant,
}

impl Progress {
    /// Starts the clock.
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Says that a named step begins. Tests wait for these lines.
    pub(crate) fn step(&self, name: &str) {
        self.say(&format!("step: {name}"));
    }

    /// Says something else.
    pub(crate) fn say(&self, what: &str) {
        println!("[{:5.1}s] {what}", self.started.elapsed().as_secs_f32());
    }
}
