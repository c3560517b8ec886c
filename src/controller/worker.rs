//! Workers: take keys from the queue and run passes, so that no pass can stop another. IO through the passes only.

use std::{future::Future, panic::AssertUnwindSafe, sync::Arc};

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::error;

use crate::schedule::queue::{Queue, Requeue};

/// What makes passes over the objects of one kind.
pub trait Reconcile: Send + Sync + 'static {
    /// The poller of the objects.
    type Poller: Send + Sync + 'static;
    /// Whether this replica leads.
    fn leads(&self) -> bool;
    /// One pass over the object with this uid.
    fn reconcile(&self, poller: &Self::Poller, uid: &str) -> impl Future<Output = Requeue> + Send;
    /// Shows on the object with this uid that a pass over it broke off by a panic. The next pass says what is the case.
    fn show_panic(&self, uid: &str) -> impl Future<Output = ()> + Send;
}

/// Runs passes until it is cancelled; the pass that is under way then is finished.
pub async fn work<C: Reconcile>(controller: Arc<C>, poller: C::Poller, queue: Queue, stop: CancellationToken) {
    loop {
        let key = tokio::select! {
            biased;
            () = stop.cancelled() => return,
            key = queue.next() => key,
        };
        if !controller.leads() {
            // Every object is looked at when this replica begins to lead.
            queue.done(&key, Requeue::OnEvent);
            continue;
        }
        // A panic is a bug that one object has found; the others have not.
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
