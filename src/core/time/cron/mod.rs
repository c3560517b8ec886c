//! Moments that a cron expression names, in a time zone. Pure.
//!
//! Five fields, as in crontab(5): minute, hour, day of month, month, day of week. If both kinds of day are given,
//! either matches. On the days of a clock change an expression is read in one of two ways, as in cron(8):
//!
//! - An expression whose minute or hour is `*` or `*/n` *runs through*: it fires whenever the clock shows a time that
//!   matches, so not in a gap, and twice where the clock shows a time twice.
//! - Any other fires *once* for each time that it names: right after the gap where the clock skips it, and at the first
//!   of two.
//!
//! Each search takes a bounded number of steps, whatever the expression.

mod pattern;

#[cfg(test)]
mod every_zone;
#[cfg(test)]
mod tests;

use jiff::{
    Timestamp, ToSpan,
    civil::DateTime,
    tz::{AmbiguousOffset, TimeZone},
};

use self::pattern::Pattern;
use crate::core::invalid::Invalid;

/// An expression must fire within a search that begins here. Its days were checked before; it may still name a time that
/// the clocks of its zone always skip.
const REFERENCE: Timestamp = Timestamp::constant(1_767_225_600, 0); // 2026-01-01T00:00:00Z
/// Changes of the clock that a search passes. Morocco has four a year, and a search looks at eight years.
const CHANGES: usize = 40;

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub struct Cron {
    pattern: Pattern,
    zone: TimeZone,
}

impl Cron {
    /// Parses an expression of five fields, and refuses one that never fires, or that leaves more than five years
    /// between two times. `zone` is an IANA name; `None` is UTC.
    ///
    /// `field` is the path of the object that has `cron` and `timeZone`.
    pub fn parse(field: &str, expression: &str, zone: Option<&str>) -> Result<Self, Invalid> {
        let at = format!("{field}.cron");
        let fields = expression.split_whitespace().count();
        if fields != 5 && !expression.trim_start().starts_with('@') {
            let problem = format!(
                "has {fields} fields: write five, minute, hour, day of month, month and day of week, as in 0 3 * * 1"
            );
            return Err(Invalid::new(at, problem));
        }
        let pattern = Pattern::parse(expression).map_err(|problem| Invalid::new(&*at, problem))?;
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| {
                Invalid::new(
                    format!("{field}.timeZone"),
                    format!("{name:?} is not known: use an IANA name such as Europe/Berlin"),
                )
            })?,
        };
        let cron = Self { pattern, zone };
        if cron.next(REFERENCE).is_none() {
            let problem = "never fires: the clocks of its time zone always skip this time; name another hour";
            return Err(Invalid::new(at, problem));
        }
        Ok(cron)
    }

    /// The zone by whose clock the expression is read.
    pub const fn zone(&self) -> &TimeZone {
        &self.zone
    }

    /// The first firing after `moment`.
    pub fn next(&self, moment: Timestamp) -> Option<Timestamp> {
        if self.pattern.runs_through {
            return self.next_shown(moment);
        }
        self.moment_of(self.pattern.at_or_after(self.not_reached(moment)?)?)
    }

    /// The last firing at or before `moment`.
    pub fn last(&self, moment: Timestamp) -> Option<Timestamp> {
        if self.pattern.runs_through {
            return self.last_shown(moment);
        }
        let reached = self.not_reached(moment)?.checked_sub(1.minute()).ok()?;
        self.moment_of(self.pattern.at_or_before(reached)?)
    }

    /// The first minute of the clock that has not come by `moment`: neither shown nor skipped.
    fn not_reached(&self, moment: Timestamp) -> Option<DateTime> {
        let clock = self.zone.to_datetime(moment);
        let offset = self.zone.to_offset(moment);
        if let AmbiguousOffset::Fold { before, after } = self.zone.to_ambiguous_timestamp(clock).offset()
            && offset == after
            && let Some(change) = self.change(moment)
        {
            // The clock shows this time again. It had shown all times up to the change.
            return ceiling(before.to_datetime(change));
        }
        floor(clock)?.checked_add(1.minute()).ok()
    }

    /// The moment at which the clock first reaches this time.
    fn moment_of(&self, clock: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(clock).offset() {
            AmbiguousOffset::Unambiguous { offset: before } | AmbiguousOffset::Fold { before, .. } => {
                before.to_timestamp(clock).ok()
            }
            // By the clock of before the gap, this time comes after the change.
            AmbiguousOffset::Gap { before, .. } => self.change(before.to_timestamp(clock).ok()?),
        }
    }

    /// The last change of the clock at or before `moment`.
    fn change(&self, moment: Timestamp) -> Option<Timestamp> {
        self.zone.preceding(moment.checked_add(1.nanosecond()).ok()?).next().map(|change| change.timestamp())
    }

    /// The first moment after `moment` at which the clock shows a matching time.
    fn next_shown(&self, moment: Timestamp) -> Option<Timestamp> {
        let mut offset = self.zone.to_offset(moment);
        let mut from = floor(offset.to_datetime(moment))?.checked_add(1.minute()).ok()?;
        let mut changes = self.zone.following(moment);
        for _ in 0..CHANGES {
            let found = offset.to_timestamp(self.pattern.at_or_after(from)?).ok()?;
            let Some(change) = changes.next().filter(|change| change.timestamp() <= found) else { return Some(found) };
            offset = change.offset();
            from = ceiling(offset.to_datetime(change.timestamp()))?;
        }
        None
    }

    /// The last moment at or before `moment` at which the clock showed a matching time.
    fn last_shown(&self, moment: Timestamp) -> Option<Timestamp> {
        let mut offset = self.zone.to_offset(moment);
        let mut from = floor(offset.to_datetime(moment))?;
        let mut changes = self.zone.preceding(moment.checked_add(1.nanosecond()).ok()?);
        for _ in 0..CHANGES {
            let found = offset.to_timestamp(self.pattern.at_or_before(from)?).ok()?;
            let Some(change) = changes.next().filter(|change| change.timestamp() > found) else { return Some(found) };
            let just_before = change.timestamp().checked_sub(1.nanosecond()).ok()?;
            offset = self.zone.to_offset(just_before);
            from = floor(offset.to_datetime(just_before))?;
        }
        None
    }
}

/// The minute of the clock in which this time is.
fn floor(clock: DateTime) -> Option<DateTime> {
    clock.with().second(0).subsec_nanosecond(0).build().ok()
}

/// The first minute of the clock at or after this time.
fn ceiling(clock: DateTime) -> Option<DateTime> {
    let floor = floor(clock)?;
    if floor == clock { Some(clock) } else { floor.checked_add(1.minute()).ok() }
}
