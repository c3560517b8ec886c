//! The windows in which runs may start. Pure.

use std::{
    fmt,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use jiff::{Timestamp, tz::TimeZone};

use super::{after, cron::Cron};
use crate::api::{Window, WindowKind};
use crate::core::invalid::Invalid;

/// Shortest and longest time that a recurring window stays open.
const DURATIONS: (Duration, Duration) = (Duration::from_mins(1), Duration::from_hours(24 * 31));
/// Bounds of the search for the next moment at which a run may start: how often it looks for an opening of a window, and
/// how far ahead it looks. Even without optimisation, a search at its bound takes a few milliseconds.
const MAX_STEPS: usize = 1024;
const HORIZON: Duration = Duration::from_hours(10 * 366 * 24);

/// Longest wait after a search without an opening. A clock that was set is noticed within a day.
pub const LONGEST_SEARCH_PAUSE: Duration = Duration::from_hours(24);

/// The parsed windows of an object.
#[derive(Debug, Default)]
pub struct Windows {
    allow: Vec<Span>,
    deny: Vec<Span>,
    /// The last search that found no run may start: an object that waits for a window is looked at again and again, and
    /// the answer stays the same until the moment that it names.
    closed: Mutex<Option<Closed>>,
}

/// The times at which one window is open.
#[derive(Debug)]
enum Span {
    Recurring { cron: Box<Cron>, duration: Duration },
    Once { from: Timestamp, to: Timestamp },
}

/// Whether a run may start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Permission {
    /// Now.
    Open,
    /// At this moment, and not before.
    OpensAt(Opening),
    /// Not before this moment. The search ended there without an opening.
    ClosedUntil(Timestamp),
    /// Never again.
    NeverOpens,
}

/// A moment at which a run may start, with the zone of the window that lets it. Shown by the clock of that zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The moment.
    pub at: Timestamp,
    zone: TimeZone,
}

/// The answer for every moment from `since` until the one that it names.
#[derive(Debug)]
struct Closed {
    since: Timestamp,
    answer: Permission,
}

impl fmt::Display for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.zone == TimeZone::UTC {
            return self.at.fmt(f);
        }
        self.at.to_zoned(self.zone.clone()).strftime("%Y-%m-%dT%H:%M:%S%:z (%Q)").fmt(f)
    }
}

/// What a message says of the next opening.
pub fn when_it_opens(opening: Option<&Opening>) -> String {
    match opening {
        Some(opening) => format!("the next window of spec.windows opens at {opening}"),
        None => "the operator finds no moment at which spec.windows lets a run start: check its windows".to_owned(),
    }
}

impl Permission {
    /// The next opening, where the search found one.
    pub fn opening(self) -> Option<Opening> {
        match self {
            Self::OpensAt(opening) => Some(opening),
            Self::Open | Self::ClosedUntil(_) | Self::NeverOpens => None,
        }
    }

    /// When to search again, after a search that ended without an opening.
    pub fn search_again_at(&self) -> Option<Timestamp> {
        if let Self::ClosedUntil(at) = self { Some(*at) } else { None }
    }

    /// Until when the answer holds. `None` while a run may start.
    pub fn until(&self) -> Option<Timestamp> {
        match self {
            Self::Open => None,
            Self::OpensAt(Opening { at, .. }) | Self::ClosedUntil(at) => Some(*at),
            Self::NeverOpens => Some(Timestamp::MAX),
        }
    }
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
        let mut closed = self.closed.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(Closed { since, answer }) = closed.as_ref()
            && *since <= now
            && answer.until().is_some_and(|until| now < until)
        {
            return answer.clone();
        }
        let answer = Search::new(self, now).run();
        *closed = answer.until().map(|_| Closed { since: now, answer: answer.clone() });
        answer
    }
}

/// A search for the next moment at which a run may start. It moves on from one edge of a window to the next.
struct Search<'a> {
    allow: Vec<Cursor<'a>>,
    deny: Vec<Cursor<'a>>,
    now: Timestamp,
    steps: usize,
}

/// A window, and its openings around the moment that a search has reached.
struct Cursor<'a> {
    span: &'a Span,
    /// The last opening at or before that moment.
    opened: Option<Timestamp>,
    /// The next opening after it.
    opens: Option<Timestamp>,
}

impl<'a> Search<'a> {
    fn new(windows: &'a Windows, now: Timestamp) -> Self {
        let cursors = |spans: &'a [Span]| spans.iter().map(|span| Cursor::at(span, now)).collect::<Vec<_>>();
        let (allow, deny) = (cursors(&windows.allow), cursors(&windows.deny));
        Self { steps: allow.len() + deny.len(), allow, deny, now }
    }

    fn run(&mut self) -> Permission {
        let (mut moment, horizon) = (self.now, after(self.now, HORIZON));
        // The zone of the Deny window that has closed at `moment`.
        let mut zone = TimeZone::UTC;
        while self.steps < MAX_STEPS && moment < horizon {
            let denied = self.deny.iter().filter_map(|cursor| Some((cursor.closes(moment)?, cursor.span)));
            if let Some((end, span)) = denied.max_by_key(|(end, _)| *end) {
                (moment, zone) = (end, span.zone());
            } else if self.allow.is_empty() {
                return self.opening(moment, zone);
            } else if let Some(open) = self.allow.iter().find(|cursor| cursor.closes(moment).is_some()) {
                return self.opening(moment, open.span.zone());
            } else {
                match self.allow.iter().filter_map(|cursor| cursor.opens).min() {
                    Some(start) => moment = start,
                    None => return Permission::NeverOpens,
                }
            }
            self.advance(moment);
        }
        Permission::ClosedUntil(moment)
    }

    fn opening(&self, at: Timestamp, zone: TimeZone) -> Permission {
        if at == self.now { Permission::Open } else { Permission::OpensAt(Opening { at, zone }) }
    }

    fn advance(&mut self, moment: Timestamp) {
        for cursor in self.allow.iter_mut().chain(&mut self.deny) {
            // Between two openings nothing changes, however far apart they are.
            if cursor.opens.is_some_and(|opens| opens <= moment) {
                *cursor = Cursor::at(cursor.span, moment);
                self.steps += 1;
            }
        }
    }
}

impl<'a> Cursor<'a> {
    fn at(span: &'a Span, moment: Timestamp) -> Self {
        let (opened, opens) = match span {
            Span::Recurring { cron, .. } => (cron.last(moment), cron.next(moment)),
            Span::Once { from, .. } => {
                (Some(*from).filter(|from| *from <= moment), Some(*from).filter(|from| *from > moment))
            }
        };
        Self { span, opened, opens }
    }

    /// The moment at which the window closes; `None` if it is not open at `moment`.
    ///
    /// If openings are closer together than the window is long, the window may still be open at that end. The search
    /// goes on from there.
    fn closes(&self, moment: Timestamp) -> Option<Timestamp> {
        let opened = self.opened?;
        let end = match self.span {
            Span::Recurring { duration, .. } => after(opened, *duration),
            Span::Once { to, .. } => *to,
        };
        Some(end).filter(|end| *end > moment)
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

    fn zone(&self) -> TimeZone {
        match self {
            Self::Recurring { cron, .. } => cron.zone().clone(),
            Self::Once { .. } => TimeZone::UTC,
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

    /// The moment at which a run may start next.
    fn opens(windows: &Windows, now: &str) -> String {
        match windows.permission(at(now)) {
            Permission::OpensAt(opening) => opening.to_string(),
            other => format!("{other:?}"),
        }
    }

    #[test]
    fn without_windows_a_run_may_start_at_any_time() {
        assert_eq!(Windows::default().permission(at("2026-06-01T00:00:00Z")), Permission::Open);
    }

    #[test]
    fn runs_start_only_in_an_allow_window() {
        let nights =
            windows(&json!([{ "kind": "Allow", "cron": "0 22 * * *", "duration": "6h", "timeZone": "Europe/Berlin" }]));
        assert_eq!(opens(&nights, "2026-06-01T19:59:59Z"), "2026-06-01T22:00:00+02:00 (Europe/Berlin)");
        assert_eq!(nights.permission(at("2026-06-01T20:00:00Z")), Permission::Open);
        assert_eq!(nights.permission(at("2026-06-02T01:59:59Z")), Permission::Open);
        assert_eq!(opens(&nights, "2026-06-02T02:00:00Z"), "2026-06-02T22:00:00+02:00 (Europe/Berlin)");
    }

    #[test]
    fn deny_overrides_allow() {
        let both = windows(&json!([
            { "kind": "Allow", "cron": "0 22 * * *", "duration": "4h" },
            { "kind": "Deny", "from": "2026-06-01T23:00:00Z", "to": "2026-06-03T01:00:00Z" },
        ]));
        assert_eq!(both.permission(at("2026-06-01T22:30:00Z")), Permission::Open);
        assert_eq!(opens(&both, "2026-06-01T23:00:00Z"), "2026-06-03T01:00:00Z");
        assert_eq!(opens(&both, "2026-06-03T02:00:00Z"), "2026-06-03T22:00:00Z");
    }

    #[test]
    fn deny_windows_that_always_overlap_leave_no_opening() {
        let busy = windows(&json!([
            { "kind": "Deny", "cron": "0 * * * *", "duration": "90m" },
            { "kind": "Deny", "from": "2026-06-01T00:00:00Z", "to": "2026-06-01T01:00:00Z" },
        ]));
        let Permission::ClosedUntil(until) = busy.permission(at("2026-06-01T00:00:00Z")) else {
            panic!("it never opens")
        };
        assert!(until > at("2026-07-01T00:00:00Z"), "the search reaches far: {until}");
    }

    #[test]
    fn window_that_is_over_never_opens_again() {
        let once = windows(&json!([{ "kind": "Allow", "from": "2026-06-01T00:00:00Z", "to": "2026-06-02T00:00:00Z" }]));
        assert_eq!(opens(&once, "2026-05-01T00:00:00Z"), "2026-06-01T00:00:00Z");
        assert_eq!(once.permission(at("2026-06-02T00:00:00Z")), Permission::NeverOpens);
    }

    #[test]
    fn a_day_of_23_hours_keeps_its_windows() {
        let nights =
            windows(&json!([{ "kind": "Allow", "cron": "30 2 * * *", "duration": "1h", "timeZone": "Europe/Berlin" }]));
        assert_eq!(opens(&nights, "2026-03-29T00:30:00Z"), "2026-03-29T03:00:00+02:00 (Europe/Berlin)");
        assert_eq!(nights.permission(at("2026-03-29T01:30:00Z")), Permission::Open);
    }

    #[test]
    fn opening_is_shown_by_the_clock_of_the_window_that_lets_the_run_start() {
        let allow = |zone: &str| json!({ "kind": "Allow", "cron": "0 22 * * *", "duration": "4h", "timeZone": zone });
        let deny = |zone: &str| json!({ "kind": "Deny", "cron": "0 21 * * *", "duration": "2h", "timeZone": zone });
        let holidays = json!({ "kind": "Deny", "from": "2026-06-01T00:00:00Z", "to": "2026-06-01T20:30:00Z" });
        for (given, hour, shown) in [
            (json!([allow("Asia/Kolkata")]), "12:00", "2026-06-01T22:00:00+05:30 (Asia/Kolkata)"),
            (json!([allow("Asia/Tokyo"), allow("Asia/Kolkata")]), "14:00", "Open"),
            (
                json!([allow("America/Lima"), allow("Asia/Kolkata")]),
                "12:00",
                "2026-06-01T22:00:00+05:30 (Asia/Kolkata)",
            ),
            (json!([allow("UTC")]), "19:30", "2026-06-01T22:00:00Z"),
            (json!([deny("Europe/Berlin")]), "19:30", "2026-06-01T23:00:00+02:00 (Europe/Berlin)"),
            (json!([allow("Europe/Berlin"), deny("UTC")]), "21:30", "2026-06-02T01:00:00+02:00 (Europe/Berlin)"),
            (json!([holidays]), "19:30", "2026-06-01T20:30:00Z"),
        ] {
            assert_eq!(opens(&windows(&given), &format!("2026-06-01T{hour}:00Z")), shown, "{given}");
        }
    }

    #[test]
    fn answer_is_remembered_until_the_moment_that_it_names() {
        let nights = windows(&json!([{ "kind": "Allow", "cron": "0 22 * * *", "duration": "4h" }]));
        let remembered = || nights.closed.lock().unwrap().as_ref().map(|closed| closed.since);
        let noon = at("2026-06-01T12:00:00Z");
        assert_eq!(opens(&nights, "2026-06-01T12:00:00Z"), "2026-06-01T22:00:00Z");
        assert_eq!(opens(&nights, "2026-06-01T21:59:59Z"), "2026-06-01T22:00:00Z");
        assert_eq!(remembered(), Some(noon), "no second search");
        assert_eq!(opens(&nights, "2026-05-31T12:00:00Z"), "2026-05-31T22:00:00Z", "the clock went back");
        assert_eq!(nights.permission(at("2026-05-31T22:00:00Z")), Permission::Open);
        assert_eq!(remembered(), None);
    }

    /// What a user can write to make the search long, with eight windows each.
    #[test]
    fn search_is_bounded_for_any_windows() {
        let recurring = |kind: &str, cron: &str, duration: &str, zone: &str| json!({ "kind": kind, "cron": cron, "duration": duration, "timeZone": zone });
        let zones =
            ["UTC", "Africa/Casablanca", "Australia/Lord_Howe", "Antarctica/Troll", "America/St_Johns", "Africa/Cairo"];
        let rare = ["0 0 29 2 *", "0 0 29 2 1", "* * 29 2 *", "59 23 31 12 *", "0 0 13 * +5", "*/7 2 L 2 *"];
        let each = |kind: &str, crons: &[&str], duration: &str| {
            (0..8)
                .map(|n| recurring(kind, crons[n % crons.len()], duration, zones[n % zones.len()]))
                .collect::<Vec<_>>()
        };
        let mixed = |allow: &[&str], deny: &[&str], duration: &str| {
            let (allow, deny) = (each("Allow", allow, "1m"), each("Deny", deny, duration));
            allow.into_iter().take(4).chain(deny.into_iter().take(4)).collect::<Vec<_>>()
        };
        let minutes = ["*/2 * * * *", "1-59/2 * * * *", "* 0-11 * * *", "* 12-23 * * *"];
        let mut worlds = Vec::new();
        for duration in ["1m", "61s", "24h", "744h"] {
            worlds.push(each("Deny", &["* * * * *"], duration));
            worlds.push(each("Deny", &minutes, duration));
            worlds.push(each("Allow", &rare, duration));
            worlds.push(mixed(&rare, &minutes, duration));
            worlds.push(mixed(&minutes, &rare, duration));
            worlds.push(mixed(&rare, &rare, duration));
            worlds.push(mixed(&["30 12 * * *"], &["0 12 * * *"], duration));
        }
        for world in worlds {
            let world: Vec<Window> = world.into_iter().map(|window| serde_json::from_value(window).unwrap()).collect();
            let Ok(parsed) = Windows::parse(&world) else { panic!("{world:?}") };
            for now in ["2026-06-01T00:00:00Z", "2096-03-01T00:00:00Z"] {
                let mut search = Search::new(&parsed, at(now));
                let answer = search.run();
                assert!(search.steps < MAX_STEPS + 8, "{} steps for {answer:?}", search.steps);
            }
        }
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
