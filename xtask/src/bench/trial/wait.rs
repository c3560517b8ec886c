//! Waiting for something to become true, with a deadline. Sleeps between the attempts.

use std::time::Duration;

use anyhow::{Context, Result};

/// Calls `look` every 100 ms until it returns something.
pub(super) async fn until<T>(what: &str, patience: Duration, look: impl AsyncFn() -> Result<Option<T>>) -> Result<T> {
    let waiting = async {
        loop {
            if let Some(seen) = look().await? {
                return Ok(seen);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(patience, waiting)
        .await
        .with_context(|| format!("timed out after {} s: {what}", patience.as_secs()))?
}
