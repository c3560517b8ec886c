//! Terms of leadership: what begins and ends with them. A standby keeps its stores warm and polls nothing.

use std::time::Duration;

use tokio::sync::watch;

use super::components::Components;

/// How long a poll takes at most, unless its object allows it more.
const IN_FLIGHT: Duration = Duration::from_secs(10);

/// Begins and ends terms as the election decides, for ever.
pub(super) fn follow_leadership(components: &Components) -> impl Future<Output = ()> + use<> {
    let mut changes: watch::Receiver<bool> = components.leadership.changes();
    let (syncs, trains) = (components.syncs.controller.clone(), components.trains.controller.clone());
    let (sync_poller, train_poller) = (components.syncs.poller.clone(), components.trains.poller.clone());
    let leadership = components.leadership.clone();
    let (wake_syncs, wake_trains) = (components.syncs.wake_all(), components.trains.wake_all());
    async move {
        while changes.changed().await.is_ok() {
            // A poll that was in flight when the last leader ended is lost like those that it did not send.
            let unpolled = leadership.unled_for().saturating_add(IN_FLIGHT);
            sync_poller.clear(unpolled);
            train_poller.clear(unpolled);
            if *changes.borrow_and_update() {
                syncs.on_elected();
                trains.on_elected();
                wake_syncs();
                wake_trains();
            }
        }
    }
}
