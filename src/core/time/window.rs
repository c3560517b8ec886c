//! The windows in which runs may start. Pure.

use std::time::Duration;

use jiff::Timestamp;

use super::{after, cron::Cron};
use crate::api::{Window, WindowKind};
use crate::core::invalid::Invalid;

/// Shortest and longest time that a recurring window stays open.
const DURATIONS: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(24 * 31));
/// Bound of the search for the next moment at which a run may start: the number of openings and closings it visits.
const MAX_EDGES: usize = 512;

/// The parsed windows of an object.
#[derive(Clone, Debug, Default)]
pub struct Windows {
    allow: Vec<Span>,
    deny: Vec<Span>,
}

/// The times at which one window is open.
#[derive(Clone, Debug)]
enum Span {
    Recurring { cron: Box<Cron>, duration: Duration },
    Once { from: Timestamp, to: Timestamp },
}

/// Whether a run may start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Now.
    Open,
    /// Not before this moment; `None` if the search finds none.
    Closed(Option<Timestamp>),
}

impl Windows {
    /// Parses `spec.windows`.
    pub fn parse(windows: &[Window]) -> Result<Self, Invalid> {
        let mut parsed = Self::default();
        for (index, window) in windows.iter().enumerate() {
            let span = Span::parse(&format!("spec.windows[{index}]"), window)?;
            match window.kind {
                WindowKind::Allow => parsed.allow.push(span),
                WindowKind::Deny => parsed.deny.push(span),
            }
        }
        Ok(parsed)
    }

    /// Whether a run may start at `now`: no Deny window is open, and if there are Allow windows, one of them is.
    pub fn permission(&self, now: Timestamp) -> Permission {
        let mut moment = now;
        for _ in 0..MAX_EDGES {
            let denied = self.deny.iter().filter_map(|span| span.end_if_open(moment)).max();
            if let Some(end) = denied {
                moment = end;
                continue;
            }
            if self.allow.is_empty() || self.allow.iter().any(|span| span.end_if_open(moment).is_some()) {
                return if moment == now { Permission::Open } else { Permission::Closed(Some(moment)) };
            }
            match self.allow.iter().filter_map(|span| span.next_start(moment)).min() {
                Some(start) => moment = start,
                None => return Permission::Closed(None),
            }
        }
        Permission::Closed(None)
    }
}

impl Span {
    fn parse(field: &str, window: &Window) -> Result<Self, Invalid> {
        match (&window.cron, window.duration, window.from, window.to) {
            (Some(cron), Some(duration), None, None) => {
                let given = Duration::from(duration);
                if duration.is_negative() || given < DURATIONS.0 || given > DURATIONS.1 {
                    return Err(Invalid::new(format!("{field}.duration"), "must be at least 1m and at most 744h"));
                }
                let cron = Cron::parse(field, cron, window.time_zone.as_deref())?;
                Ok(Self::Recurring { cron: Box::new(cron), duration: given })
            }
            (None, None, Some(from), Some(to)) if window.time_zone.is_none() => {
                if from >= to {
                    return Err(Invalid::new(format!("{field}.from"), "must be before its to"));
                }
                Ok(Self::Once { from, to })
            }
            _ => Err(Invalid::new(field, "needs either cron and duration (and may have timeZone), or from and to")),
        }
    }

    /// The moment at which the window closes; `None` if it is not open at `moment`.
    ///
    /// If firings are closer together than the window is long, the window may still be open at that end. The caller
    /// repeats the search from there.
    fn end_if_open(&self, moment: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Recurring { cron, duration } => {
                cron.last(moment).map(|start| after(start, *duration)).filter(|end| *end > moment)
            }
            Self::Once { from, to } => (*from <= moment && moment < *to).then_some(*to),
        }
    }

    /// The next opening after `moment`.
    fn next_start(&self, moment: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Recurring { cron, .. } => cron.next(moment),
            Self::Once { from, .. } => Some(*from).filter(|from| *from > moment),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn windows(windows: &Value) -> Windows {
        Windows::parse(&serde_json::from_value::<Vec<Window>>(windows.clone()).unwrap()).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn closed_until(text: &str) -> Permission {
        Permission::Closed(Some(at(text)))
    }

    #[test]
    fn without_windows_a_run_may_start_at_any_time() {
        assert_eq!(Windows::default().permission(at("2026-06-01T00:00:00Z")), Permission::Open);
    }

    #[test]
    fn runs_start_only_in_an_allow_window() {
        let nights =
            windows(&json!([{ "kind": "Allow", "cron": "0 22 * * *", "duration": "6h", "timeZone": "Europe/Berlin" }]));
        assert_eq!(nights.permission(at("2026-06-01T19:59:59Z")), closed_until("2026-06-01T20:00:00Z"));
        assert_eq!(nights.permission(at("2026-06-01T20:00:00Z")), Permission::Open);
        assert_eq!(nights.permission(at("2026-06-02T01:59:59Z")), Permission::Open);
        assert_eq!(nights.permission(at("2026-06-02T02:00:00Z")), closed_until("2026-06-02T20:00:00Z"));
    }

    #[test]
    fn deny_overrides_allow() {
        let both = windows(&json!([
            { "kind": "Allow", "cron": "0 22 * * *", "duration": "4h" },
            { "kind": "Deny", "from": "2026-06-01T23:00:00Z", "to": "2026-06-03T01:00:00Z" },
        ]));
        assert_eq!(both.permission(at("2026-06-01T22:30:00Z")), Permission::Open);
        assert_eq!(both.permission(at("2026-06-01T23:00:00Z")), closed_until("2026-06-03T01:00:00Z"));
        assert_eq!(both.permission(at("2026-06-03T02:00:00Z")), closed_until("2026-06-03T22:00:00Z"));
    }

    #[test]
    fn deny_windows_that_always_overlap_leave_no_opening() {
        let busy = windows(&json!([
            { "kind": "Deny", "cron": "0 * * * *", "duration": "90m" },
            { "kind": "Deny", "from": "2026-06-01T00:00:00Z", "to": "2026-06-01T01:00:00Z" },
        ]));
        assert_eq!(busy.permission(at("2026-06-01T00:00:00Z")), Permission::Closed(None), "it never opens");
    }

    #[test]
    fn window_that_is_over_never_opens_again() {
        let once = windows(&json!([{ "kind": "Allow", "from": "2026-06-01T00:00:00Z", "to": "2026-06-02T00:00:00Z" }]));
        assert_eq!(once.permission(at("2026-05-01T00:00:00Z")), closed_until("2026-06-01T00:00:00Z"));
        assert_eq!(once.permission(at("2026-06-02T00:00:00Z")), Permission::Closed(None));
    }

    #[test]
    fn a_day_of_23_hours_keeps_its_windows() {
        let nights =
            windows(&json!([{ "kind": "Allow", "cron": "30 2 * * *", "duration": "1h", "timeZone": "Europe/Berlin" }]));
        assert_eq!(nights.permission(at("2026-03-29T00:30:00Z")), closed_until("2026-03-29T01:00:00Z"));
        assert_eq!(nights.permission(at("2026-03-29T01:30:00Z")), Permission::Open);
    }

    #[test]
    fn error_names_the_window_and_its_field() {
        for (window, field, problem) in [
            (json!({ "kind": "Allow" }), "spec.windows[0]", "needs either cron and duration"),
            (json!({ "kind": "Allow", "cron": "0 3 * * *" }), "spec.windows[0]", "needs either cron and duration"),
            (
                json!({ "kind": "Deny", "cron": "0 3 * * *", "duration": "1h", "from": "2026-06-01T00:00:00Z" }),
                "spec.windows[0]",
                "needs either",
            ),
            (
                json!({ "kind": "Deny", "cron": "0 3 * * *", "duration": "30s" }),
                "spec.windows[0].duration",
                "at least 1m",
            ),
            (json!({ "kind": "Deny", "cron": "x", "duration": "1h" }), "spec.windows[0].cron", "fields"),
            (
                json!({ "kind": "Deny", "from": "2026-06-02T00:00:00Z", "to": "2026-06-01T00:00:00Z" }),
                "spec.windows[0].from",
                "must be before",
            ),
        ] {
            let parsed: Vec<Window> = serde_json::from_value(json!([window])).unwrap();
            let invalid = Windows::parse(&parsed).unwrap_err();
            assert_eq!(invalid.field, field, "{window}");
            assert!(invalid.problem.contains(problem), "{invalid}");
        }
    }
}
