//! Progress messages, each with the time since the start. Does IO.

use std::time::Instant;

/// Prints progress messages.
pub(crate) struct Progress {
    started: Instant,
}

impl Progress {
    /// Starts the clock.
    pub(crate) fn start() -> Self {
        Self { started: Instant::now() }
    }

    /// Prints that a step begins. Tests wait for these lines.
    pub(crate) fn step(&self, name: &str) {
        self.say(&format!("step: {name}"));
    }

    /// Prints a message.
    pub(crate) fn say(&self, what: &str) {
        println!("[{:5.1}s] {what}", self.started.elapsed().as_secs_f32());
    }
}
