//! Checks the durations of a spec against the bounds of its schema. Pure.
//!
//! An object may be older than the schema, so no code relies on the schema alone.

use std::time::Duration;

use kube::core::Duration as GoDuration;

use super::backoff::Backoff;
use crate::core::invalid::Invalid;

/// Shortest and longest duration, both allowed.
pub type Bounds = (Duration, Duration);

/// Checks that a duration, if given, is within its bounds.
pub fn duration(field: &str, given: Option<GoDuration>, bounds: Bounds) -> Result<Option<Duration>, Invalid> {
    let Some(given) = given else { return Ok(None) };
    let duration = Duration::from(given);
    if given.is_negative() || duration < bounds.0 || duration > bounds.1 {
        let problem = format!("must be at least {} and at most {}", show(bounds.0), show(bounds.1));
        return Err(Invalid::new(field, problem));
    }
    Ok(Some(duration))
}

/// Reads a backoff from its two fields, each given with its path. A first wait that is given alone may exceed the
/// default longest wait: it is then the longest wait as well.
pub fn backoff(
    (first_field, first): (&str, Option<GoDuration>),
    (longest_field, longest): (&str, Option<GoDuration>),
    bounds: Bounds,
    default: Backoff,
) -> Result<Backoff, Invalid> {
    let first = duration(first_field, first, bounds)?;
    let longest = duration(longest_field, longest, bounds)?;
    match (first, longest) {
        (Some(first), Some(longest)) if first > longest => {
            Err(Invalid::new(first_field, format!("is longer than {longest_field}: make it at most as long")))
        }
        (first, Some(longest)) => Ok(Backoff { first: first.unwrap_or(default.first).min(longest), longest }),
        (Some(first), None) => Ok(Backoff { first, longest: default.longest.max(first) }),
        (None, None) => Ok(default),
    }
}

/// Formats a bound as users write it, in the largest unit that divides it.
fn show(bound: Duration) -> String {
    match bound.as_secs() {
        0 => "0s".to_owned(),
        seconds if seconds % 3600 == 0 => format!("{}h", seconds / 3600),
        seconds if seconds % 60 == 0 => format!("{}m", seconds / 60),
        seconds => format!("{seconds}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUNDS: Bounds = (Duration::from_mins(1), Duration::from_hours(24));
    const DEFAULT: Backoff = Backoff { first: Duration::from_mins(10), longest: Duration::from_hours(6) };

    fn go(text: &str) -> GoDuration {
        text.parse().unwrap()
    }

    #[test]
    fn duration_outside_its_bounds_is_refused_with_the_bounds() {
        assert_eq!(duration("spec.wait", None, BOUNDS), Ok(None));
        assert_eq!(duration("spec.wait", Some(go("90m")), BOUNDS), Ok(Some(Duration::from_mins(90))));
        for wrong in ["59s", "24h1ms", "-2h"] {
            let invalid = duration("spec.wait", Some(go(wrong)), BOUNDS).unwrap_err();
            assert_eq!(invalid.to_string(), "spec.wait must be at least 1m and at most 24h", "{wrong}");
        }
    }

    #[test]
    fn first_wait_given_alone_may_exceed_the_default_longest() {
        let read = |first, longest| backoff(("spec.first", first), ("spec.longest", longest), BOUNDS, DEFAULT);
        assert_eq!(read(None, None), Ok(DEFAULT));
        assert_eq!(
            read(Some(go("12h")), None),
            Ok(Backoff { first: Duration::from_hours(12), longest: Duration::from_hours(12) })
        );
        assert_eq!(
            read(None, Some(go("5m"))),
            Ok(Backoff { first: Duration::from_mins(5), longest: Duration::from_mins(5) })
        );
        assert_eq!(
            read(Some(go("2h")), Some(go("1h"))).unwrap_err().to_string(),
            "spec.first is longer than spec.longest: make it at most as long"
        );
    }
}
