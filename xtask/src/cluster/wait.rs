//! Waiting for something to become true, with a deadline. Sleeps between the looks.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};

const BETWEEN_LOOKS: Duration = Duration::from_millis(50);

/// Looks until there is an answer. An error of `look` ends the waiting.
pub(crate) fn until<T>(what: &str, limit: Duration, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(answer) = look()? {
            return Ok(answer);
        }
        if Instant::now() >= deadline {
            bail!("waited {} s in vain for {what}", limit.as_secs());
        }
        thread::sleep(BETWEEN_LOOKS);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_returns_the_first_answer() {
        let mut looks = 0;
        let answer = until("three", Duration::from_secs(10), || {
            looks += 1;
            Ok((looks == 3).then_some(looks))
        });
        assert_eq!(answer.unwrap(), 3);
    }

    #[test]
    fn the_deadline_names_what_was_waited_for() {
        let never: Result<()> = until("godot", Duration::ZERO, || Ok(None));
        assert!(never.unwrap_err().to_string().contains("godot"));
    }

    #[test]
    fn an_error_ends_the_waiting() {
        let failed: Result<()> = until("x", Duration::from_mins(1), || bail!("it died"));
        assert_eq!(failed.unwrap_err().to_string(), "it died");
    }
}
