//! Workers: take keys from the queue and run reconciles, so that no reconcile can stop another. IO through reconciles only.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::schedule::queue::{Queue, Requeue};

/// Reconciles the objects of one kind.
pub trait Reconcile: Send + Sync + 'static {
    /// The poller of the objects.
    type Poller: Send + Sync + 'static;
    /// Whether this replica leads.
    fn leads(&self) -> bool;
    /// Reconciles the object with this uid.
    fn reconcile(&self, poller: &Self::Poller, uid: &str) -> impl Future<Output = Requeue> + Send;
    /// Reports in the status of the object with this uid that its reconcile panicked. The next reconcile overwrites the report.
    fn show_panic(&self, uid: &str) -> impl Future<Output = ()> + Send;
}

/// Runs reconciles until it is cancelled. It finishes the one that is in progress.
pub async fn work<C: Reconcile>(controller: Arc<C>, poller: C::Poller, queue: Queue, stop: CancellationToken) {
    loop {
        let key = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            key = queue.next() => key,
        };
        if !controller.leads() {
            // Every object is reconciled when this replica begins to lead.
            queue.done(&key, Requeue::OnEvent);
            continue;
        }
        // A panic is a bug that one object has met. The other objects must continue.
        let reconcile = AssertUnwindSafe(controller.reconcile(&poller, &key)).catch_unwind().await;
        let next = if let Ok(next) = reconcile {
            next
        } else {
            error!(uid = key, "a reconcile panicked; the object is reconciled again later");
            let _ = AssertUnwindSafe(controller.show_panic(&key)).catch_unwind().await;
            Requeue::Failed
        };
        queue.done(&key, next);
    }
}
