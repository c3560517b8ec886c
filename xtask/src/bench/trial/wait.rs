//! Waiting for something to become true, with a deadline. Sleeps between the attempts.

use std::time::Duration;

use anyhow::{Context, Result};

/// Looks every 100 ms until there is something to see.
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
        .with_context(|| format!("waited {} s in vain: {what}", patience.as_secs()))?
}
