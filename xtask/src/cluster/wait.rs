//! Waiting for something to become true, with a deadline. Sleeps between the attempts.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const PAUSE: Duration = Duration::from_millis(50);

/// Calls `look` until it returns something. An error of `look` ends the waiting.
pub(crate) fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(found) = look()? {
            return Ok(found);
        }
        if Instant::now() >= deadline {
            bail!("timed out after {} s waiting for {what}", limit.as_secs());
        }
        thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_returns_the_first_result() {
        let mut looks = 0;
        let result = until("three", Duration::from_secs(10), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(result.unwrap(), 3);
    }

    #[test]
    fn the_deadline_names_what_was_waited_for() {
        let never: Result<()> = until("godot", Duration::ZERO, || Ok(None));
        assert!(never.unwrap_err().to_string().contains("godot"));
    }

    #[test]
    fn an_error_ends_the_waiting() {
        let failed: Result<()> = until("x", Duration::from_mins(1), || bail!("it failed"));
        assert_eq!(failed.unwrap_err().to_string(), "it failed");
    }
}
