//! Terms of leadership: what begins and ends with them. A standby keeps its stores warm and polls nothing.

use tokio::sync::watch;

use super::components::Components;

/// Begins and ends terms as the election decides, for ever.
pub(super) fn follow_leadership(components: &Components) -> impl Future<Output = ()> + use<> {
    let mut changes: watch::Receiver<bool> = components.leadership.changes();
    let (syncs, trains) = (components.syncs.controller.clone(), components.trains.controller.clone());
    let (sync_poller, train_poller) = (components.syncs.poller.clone(), components.trains.poller.clone());
    let (wake_syncs, wake_trains) = (components.syncs.wake_all(), components.trains.wake_all());
    async move {
        while changes.changed().await.is_ok() {
            sync_poller.clear();
            train_poller.clear();
            if *changes.borrow_and_update() {
                syncs.on_elected();
                trains.on_elected();
                wake_syncs();
                wake_trains();
            }
        }
    }
}
