//! Bounds the bytes of large objects that are in memory at once. No IO but waiting.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// The turns of large objects. Clones share them.
#[derive(Clone)]
pub struct Turns {
    free: Arc<Semaphore>,
    most: usize,
}

/// The turn of one object; it ends when this is dropped.
pub struct Turn(#[expect(dead_code, reason = "it gives its bytes back when it is dropped")] OwnedSemaphorePermit);

impl Turns {
    /// Turns of objects that have at most this many bytes together.
    pub fn new(most: usize) -> Self {
        Self { free: Arc::new(Semaphore::new(most)), most }
    }

    /// Waits until this many bytes are free. An object takes at once whatever it may need, so that objects never wait for
    /// each other in a circle.
    pub async fn take(&self, bytes: usize) -> Option<Turn> {
        let bytes = u32::try_from(bytes.min(self.most)).unwrap_or(u32::MAX);
        self.free.clone().acquire_many_owned(bytes).await.ok().map(Turn)
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[test]
    fn object_waits_until_others_leave_it_room() {
        let turns = Turns::new(100);
        let first = turns.take(99).now_or_never();
        assert!(first.is_some() && turns.take(2).now_or_never().is_none(), "one byte is free");
        assert!(turns.take(1).now_or_never().is_some());
        drop(first);
        assert!(turns.take(200).now_or_never().is_some(), "an object larger than everything has its turn alone");
    }
}
