//! Moments that a cron expression names, in a time zone. Pure.
//!
//! Five fields, as in crontab(5): minute, hour, day of month, month, day of week. If both kinds of day are given,
//! either matches. A time that a clock change skips fires right after the gap. A time that a clock change repeats fires
//! once, at its first occurrence, unless the expression fires at an interval of minutes or hours.

use croner::parser::{CronParser, Seconds, Year};
use jiff::{Timestamp, tz::TimeZone};

use crate::core::invalid::Invalid;

/// The start of the search for a first firing. An expression that ever fires does so within a few decades of it.
const LONG_AGO: Timestamp = Timestamp::UNIX_EPOCH;

/// A cron expression in a time zone.
#[derive(Clone, Debug)]
pub struct Cron {
    expression: croner::Cron,
    zone: TimeZone,
}

impl Cron {
    /// Parses an expression of five fields, and refuses one that never fires. `zone` is an IANA name; `None` is UTC.
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
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let parsed = parser
            .parse(expression)
            .map_err(|error| Invalid::new(&*at, format!("is not a cron expression ({error}): as in 0 3 * * 1")))?;
        let zone = match zone {
            None => TimeZone::UTC,
            Some(name) => TimeZone::get(name).map_err(|_| {
                Invalid::new(
                    format!("{field}.timeZone"),
                    format!("{name:?} is not known: use an IANA name such as Europe/Berlin"),
                )
            })?,
        };
        let cron = Self { expression: parsed, zone };
        if cron.next(LONG_AGO).is_none() {
            return Err(Invalid::new(at, "never fires: no year has such a day"));
        }
        Ok(cron)
    }

    /// The first firing after `moment`.
    pub fn next(&self, moment: Timestamp) -> Option<Timestamp> {
        let from = moment.to_zoned(self.zone.clone());
        self.expression.find_next_occurrence(&from, false).ok().map(|found| found.timestamp())
    }

    /// The last firing at or before `moment`.
    pub fn last(&self, moment: Timestamp) -> Option<Timestamp> {
        let from = moment.to_zoned(self.zone.clone());
        self.expression.find_previous_occurrence(&from, true).ok().map(|found| found.timestamp())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn cron(expression: &str, zone: &str) -> Cron {
        Cron::parse("spec.schedule", expression, Some(zone)).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn next(expression: &str, zone: &str, from: &str) -> String {
        cron(expression, zone).next(at(from)).unwrap().to_string()
    }

    #[test]
    fn fires_by_the_clock_of_its_zone() {
        assert_eq!(next("0 3 * * *", "UTC", "2026-06-01T00:00:00Z"), "2026-06-01T03:00:00Z");
        assert_eq!(next("0 3 * * *", "Europe/Berlin", "2026-06-01T00:00:00Z"), "2026-06-01T01:00:00Z");
        assert_eq!(next("0 3 * * *", "Europe/Berlin", "2026-12-01T00:00:00Z"), "2026-12-01T02:00:00Z");
        assert_eq!(next("30 4 1,15 * 5", "UTC", "2026-06-02T00:00:00Z"), "2026-06-05T04:30:00Z", "either kind of day");
    }

    #[test]
    fn skipped_hour_fires_right_after_the_gap_and_repeated_hour_once() {
        // Clocks in Berlin go from 02:00 to 03:00 on 29 March 2026, and from 03:00 to 02:00 on 25 October 2026.
        let daily = cron("30 2 * * *", "Europe/Berlin");
        let firings = |from: &str, count| {
            std::iter::successors(daily.next(at(from)), |last| daily.next(*last))
                .take(count)
                .map(|at| at.to_string())
                .collect::<Vec<_>>()
        };
        assert_eq!(firings("2026-03-28T12:00:00Z", 2), ["2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]);
        assert_eq!(firings("2026-10-24T12:00:00Z", 2), ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    }

    #[test]
    fn says_what_is_wrong_and_with_which_field() {
        for (expression, zone, field, problem) in [
            ("0 0 3 * * 1", None, "spec.schedule.cron", "has 6 fields: write five"),
            ("0 3 * *", None, "spec.schedule.cron", "has 4 fields"),
            ("", None, "spec.schedule.cron", "has 0 fields"),
            ("61 3 * * *", None, "spec.schedule.cron", "is not a cron expression"),
            ("0 3 30 2 *", None, "spec.schedule.cron", "never fires"),
            ("0 3 * * *", Some("Europe/Atlantis"), "spec.schedule.timeZone", "use an IANA name"),
        ] {
            let invalid = Cron::parse("spec.schedule", expression, zone).unwrap_err();
            assert_eq!(invalid.field, field, "{expression}");
            assert!(invalid.problem.contains(problem), "{expression}: {invalid}");
        }
    }

    #[test]
    fn leap_day_fires_after_a_gap_of_eight_years() {
        assert_eq!(next("0 0 29 2 *", "UTC", "2096-03-01T00:00:00Z"), "2104-02-29T00:00:00Z");
    }

    proptest! {
        #[test]
        fn last_and_next_enclose_every_moment(
            second in 1_700_000_000_i64..1_900_000_000,
            expression in prop::sample::select(vec!["*/5 * * * *", "0 3 * * 1", "30 2 * * *", "15 */6 1 * *", "0 0 * * 0"]),
            zone in prop::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
        ) {
            let (cron, moment) = (cron(expression, zone), Timestamp::from_second(second).unwrap());
            let (last, next) = (cron.last(moment).unwrap(), cron.next(moment).unwrap());
            prop_assert!(last <= moment && moment < next, "{last} {moment} {next}");
            prop_assert_eq!(cron.last(next), Some(next));
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,40}") {
            let _ = Cron::parse("spec.schedule", &text, Some("UTC"));
        }
    }
}
