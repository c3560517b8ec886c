//! Waits for the first of many moments. IO: sleeps.

use tokio::sync::Notify;

use crate::{clock::Clock, core::time::MonotonicTime};

/// Calls `fire` whenever the moment that `first` returns has come, for ever. `changed` signals that it may be another.
pub(super) async fn run(clock: &Clock, changed: &Notify, first: impl Fn() -> Option<MonotonicTime>, fire: impl Fn()) {
    loop {
        // Created before the call of `first`, so that no change in between is missed.
        let changed = changed.notified();
        match first() {
            None => changed.await,
            Some(at) => {
                tokio::select! {
                    () = changed => {}
                    () = clock.sleep_until(at) => fire(),
                }
            }
        }
    }
}
