//! The minutes of the clock that a cron expression names, whatever the zone. Pure.
//!
//! Which days of a month match depends only on the length of the month and on the weekday of its first day. So the days
//! are worked out once, when the expression is parsed, and a search costs one step for each month. A search that
//! compared day by day, or second by second, could be made to take seconds by an expression that rarely matches.

use croner::{Weekday, parser::CronParser};
use jiff::civil::{Date, DateTime, Time};

/// Months that a search looks at. Leap days are at most eight years apart (2096 and 2104).
const MONTHS: usize = 8 * 12 + 1;
/// Most days between two days that match: five years.
const LONGEST_GAP: i64 = 5 * 365 + 2;
/// Years from which the calendar repeats itself in this century, weekdays included.
const CYCLE: (i16, i16) = (2000, 2028);
/// Lengths of months.
const LENGTHS: [i8; 4] = [28, 29, 30, 31];

/// The matching days of a month, one bit for each: bit 1 for the first.
type Days = u32;

/// A parsed expression.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    /// Matching days by the weekday of the first day and by the length of the month.
    days: [[Days; LENGTHS.len()]; 7],
    /// Matching months, bit 1 for January.
    months: u16,
    /// Matching hours, bit 0 for midnight.
    hours: u32,
    /// Matching minutes of each of these hours.
    minutes: u64,
    /// Whether the minute or the hour is `*` or `*/n`.
    pub(super) runs_through: bool,
}

impl Pattern {
    /// Parses five fields. The error completes a sentence that begins with the field's name.
    pub(super) fn parse(expression: &str) -> Result<Self, String> {
        use croner::parser::{Seconds, Year};
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let unreadable =
            |error: croner::errors::CronError| format!("is not a cron expression ({error}): as in 0 3 * * 1");
        let parsed = parser.parse(expression).map_err(unreadable)?.pattern;
        let bits = |values: &[u16]| values.iter().fold(0_u64, |bits, value| bits | 1 << value.min(&63));
        let narrow = |values: &[u16]| u32::try_from(bits(values)).unwrap_or_default();
        let pattern = Self {
            days: days(&parsed).map_err(unreadable)?,
            months: u16::try_from(bits(&parsed.months.values())).unwrap_or_default(),
            hours: narrow(&parsed.hours.values()),
            minutes: bits(&parsed.minutes.values()),
            runs_through: parsed.minutes.from_wildcard || parsed.hours.from_wildcard,
        };
        pattern.check_days()?;
        Ok(pattern)
    }

    /// The first matching minute at or after this minute of the clock.
    pub(super) fn at_or_after(&self, from: DateTime) -> Option<DateTime> {
        let today = from.date();
        if self.matches(today)
            && let Some(time) = self.time_at_or_after(from.time())
        {
            return Some(today.to_datetime(time));
        }
        let first = self.time_at_or_after(Time::midnight())?;
        let (mut year, mut month) = (today.year(), today.month());
        let mut days = self.days_of(year, month) & !up_to(today.day());
        for _ in 0..MONTHS {
            if days != 0 {
                return day(year, month, days.trailing_zeros()).map(|day| day.to_datetime(first));
            }
            (year, month) = if month == 12 { (year.checked_add(1)?, 1) } else { (year, month + 1) };
            days = self.days_of(year, month);
        }
        None
    }

    /// The last matching minute at or before this minute of the clock.
    pub(super) fn at_or_before(&self, from: DateTime) -> Option<DateTime> {
        let today = from.date();
        if self.matches(today)
            && let Some(time) = self.time_at_or_before(from.time())
        {
            return Some(today.to_datetime(time));
        }
        let last = self.time_at_or_before(Time::MAX)?;
        let (mut year, mut month) = (today.year(), today.month());
        let mut days = self.days_of(year, month) & up_to(today.day() - 1);
        for _ in 0..MONTHS {
            if days != 0 {
                return day(year, month, days.ilog2()).map(|day| day.to_datetime(last));
            }
            (year, month) = if month == 1 { (year.checked_sub(1)?, 12) } else { (year, month - 1) };
            days = self.days_of(year, month);
        }
        None
    }

    fn matches(&self, day: Date) -> bool {
        self.days_of(day.year(), day.month()) >> day.day() & 1 == 1
    }

    fn days_of(&self, year: i16, month: i8) -> Days {
        let first = Date::new(year, month, 1).ok().filter(|_| self.months >> month & 1 == 1);
        first.and_then(|first| self.days.get(weekday(first))?.get(length(first)).copied()).unwrap_or_default()
    }

    fn time_at_or_after(&self, from: Time) -> Option<Time> {
        let (hour, minute) = (from.hour(), from.minute());
        let later = self.minutes & (u64::MAX << minute);
        if self.hours >> hour & 1 == 1 && later != 0 {
            return time(hour.unsigned_abs().into(), later.trailing_zeros());
        }
        let hours = self.hours & (u32::MAX << (hour + 1));
        (hours != 0).then(|| time(hours.trailing_zeros(), self.minutes.trailing_zeros()))?
    }

    fn time_at_or_before(&self, from: Time) -> Option<Time> {
        let (hour, minute) = (from.hour(), from.minute());
        let earlier = self.minutes & (u64::MAX >> (63 - minute));
        if self.hours >> hour & 1 == 1 && earlier != 0 {
            return time(hour.unsigned_abs().into(), earlier.ilog2());
        }
        let hours = self.hours & !(u32::MAX << hour);
        (hours != 0).then(|| time(hours.ilog2(), self.minutes.checked_ilog2()?))?
    }

    /// Refuses an expression without days, or with days that are too far apart for anyone to wait for them.
    fn check_days(&self) -> Result<(), String> {
        // The cycle, and as much of the next one as shows the gap that its last day begins.
        let months = (CYCLE.0..CYCLE.1 + 6).flat_map(|year| (1..=12).map(move |month| (year, month)));
        let (mut last, mut longest, mut any) = (Date::new(CYCLE.0, 1, 1).ok(), 0, false);
        for (year, month) in months {
            let days = self.days_of(year, month);
            if days != 0 {
                any = true;
                let first = day(year, month, days.trailing_zeros());
                longest = longest.max(days_between(last, first));
                last = day(year, month, days.ilog2());
            }
        }
        longest = longest.max(days_between(last, Date::new(CYCLE.1 + 5, 12, 31).ok()));
        if !any || self.hours == 0 || self.minutes == 0 {
            return Err("never fires: no year has such a day".to_owned());
        }
        if longest > LONGEST_GAP {
            return Err("leaves more than five years between two times: name fewer of day of month, month and day of \
                        week"
                .to_owned());
        }
        Ok(())
    }
}

/// The days that match in a month of each kind.
fn days(pattern: &croner::CronPattern) -> Result<[[Days; LENGTHS.len()]; 7], croner::errors::CronError> {
    let mut found = [[None; LENGTHS.len()]; 7];
    // Within one cycle there is a month of each kind.
    for (year, month) in (CYCLE.0..CYCLE.1).flat_map(|year| (1..=12).map(move |month| (year, month))) {
        let Ok(first) = Date::new(year, month, 1) else { continue };
        let kind = found.get_mut(weekday(first)).and_then(|lengths| lengths.get_mut(length(first)));
        let Some(kind @ None) = kind else { continue };
        let mut days = 0;
        for day in 1..=u32::from(first.days_in_month().unsigned_abs()) {
            let sunday_first = u32::try_from(weekday(first)).unwrap_or_default() + day - 1;
            let weekday = Weekday::from_days_from_sunday(sunday_first % 7);
            if pattern.day_match(year.into(), u32::from(month.unsigned_abs()), day, weekday)? {
                days |= 1 << day;
            }
        }
        *kind = Some(days);
    }
    Ok(found.map(|lengths| lengths.map(Option::unwrap_or_default)))
}

fn weekday(first: Date) -> usize {
    usize::from(first.weekday().to_sunday_zero_offset().unsigned_abs())
}

fn length(first: Date) -> usize {
    LENGTHS.iter().position(|length| *length == first.days_in_month()).unwrap_or(LENGTHS.len())
}

/// The days up to this one.
const fn up_to(day: i8) -> Days {
    !(Days::MAX << 1 << day)
}

fn day(year: i16, month: i8, day: u32) -> Option<Date> {
    Date::new(year, month, i8::try_from(day).ok()?).ok()
}

fn time(hour: u32, minute: u32) -> Option<Time> {
    Time::new(i8::try_from(hour).ok()?, i8::try_from(minute).ok()?, 0, 0).ok()
}

fn days_between(from: Option<Date>, to: Option<Date>) -> i64 {
    let (Some(from), Some(to)) = (from, to) else { return 0 };
    to.duration_since(from).as_hours() / 24
}
