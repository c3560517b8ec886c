//! Every expression of a table around every change of the clock in 2020 to 2030, in every zone of the tz database:
//! compared with a reading that walks through the time minute by minute and knows nothing of changes.

use std::{collections::BTreeSet, sync::LazyLock};

use jiff::{
    Timestamp, ToSpan,
    civil::{DateTime, Weekday},
    tz::{self, TimeZone},
};
use proptest::prelude::*;

use super::Cron;

/// An expression as the walk reads it.
struct Fields {
    minutes: BTreeSet<i8>,
    hours: BTreeSet<i8>,
    days: Option<i8>,
    weekday: Option<Weekday>,
    runs_through: bool,
}

impl Fields {
    /// Reads `*`, `*/n`, numbers, ranges and lists; of the days `*` or one number, and the weekday `*` or `0`.
    fn read(expression: &str) -> Self {
        let fields: Vec<&str> = expression.split(' ').collect();
        let values = |field: &str, end: i8| -> BTreeSet<i8> {
            let part = |part: &str| match part.split_once(['-', '/']) {
                Some(("*", step)) => (0..end).step_by(step.parse().unwrap()).collect::<Vec<_>>(),
                Some((from, to)) => (from.parse().unwrap()..=to.parse().unwrap()).collect(),
                None if part == "*" => (0..end).collect(),
                None => vec![part.parse().unwrap()],
            };
            field.split(',').flat_map(part).collect()
        };
        Self {
            minutes: values(fields[0], 60),
            hours: values(fields[1], 24),
            days: fields[2].parse().ok(),
            weekday: (fields[4] == "0").then_some(Weekday::Sunday),
            runs_through: fields[0].starts_with('*') || fields[1].starts_with('*'),
        }
    }

    fn match_clock(&self, clock: DateTime) -> bool {
        let (by_day, by_weekday) =
            (self.days.map(|day| day == clock.day()), self.weekday.map(|day| day == clock.weekday()));
        let today = match (by_day, by_weekday) {
            (Some(a), Some(b)) => a || b,
            (a, b) => a.or(b).unwrap_or(true),
        };
        today && self.hours.contains(&clock.hour()) && self.minutes.contains(&clock.minute())
    }

    /// The firings from `from` to `to`, which are whole minutes. `from` is in no repeated time.
    fn walk(&self, zone: &TimeZone, from: Timestamp, to: Timestamp) -> Vec<Timestamp> {
        let (mut moment, mut fired) = (from, Vec::new());
        // The latest time that the clock has shown or skipped.
        let mut reached = zone.to_datetime(from).checked_sub(1.minute()).unwrap();
        while moment <= to {
            let clock = zone.to_datetime(moment);
            if self.runs_through {
                if self.match_clock(clock) {
                    fired.push(moment);
                }
            } else {
                let mut due = false;
                while reached < clock {
                    reached = reached.checked_add(1.minute()).unwrap();
                    due |= self.match_clock(reached);
                }
                if due {
                    fired.push(moment);
                }
            }
            moment += 1.minute();
        }
        fired
    }
}

/// A change of the clock.
#[derive(Clone, Debug)]
struct Change {
    zone: TimeZone,
    at: Timestamp,
}

/// The result of [`changes`].
static CHANGES: LazyLock<Vec<Change>> = LazyLock::new(changes);

/// The changes of every zone from 2020 to 2030, each kind once: changes between the same times of the clock, on the same
/// day of the month and the week, give every expression the same firings.
fn changes() -> Vec<Change> {
    let (begin, end): (Timestamp, Timestamp) =
        ("2020-01-01T00:00:00Z".parse().unwrap(), "2031-01-01T00:00:00Z".parse().unwrap());
    let (mut known, mut found, mut zones) = (BTreeSet::new(), Vec::new(), 0);
    for name in tz::db().available() {
        let zone = TimeZone::get(name.as_str()).unwrap();
        zones += 1;
        let mut offset = zone.to_offset(begin);
        for change in zone.following(begin).take_while(|change| change.timestamp() < end) {
            let (at, after) = (change.timestamp(), change.offset());
            let before = std::mem::replace(&mut offset, after);
            let from = before.to_datetime(at);
            let day = (from.day() == 1, from.weekday() as i8, from.date().last_of_month() == from.date());
            if before != after && known.insert((from.time(), after.to_datetime(at).time(), before, day)) {
                found.push(Change { zone: zone.clone(), at });
            }
        }
    }
    assert!(zones > 400 && found.len() > 50, "{zones} zones, {} changes", found.len());
    found
}

/// Compares both readings around a change: the firings in order, forwards and backwards.
fn compare(expression: &str, fields: &Fields, cron: &Cron, change: &Change) {
    let (from, to) = (change.at - 4.hours(), change.at + 4.hours());
    let walked = fields.walk(&change.zone, from, to);
    let before = from - 1.second();
    let forwards: Vec<_> =
        std::iter::successors(cron.next(before), |at| cron.next(*at)).take_while(|at| *at <= to).collect();
    let what = || format!("{expression} in {:?} at {}", change.zone.iana_name(), change.at);
    assert_eq!(forwards, walked, "{}", what());
    let mut backwards: Vec<_> =
        std::iter::successors(cron.last(to), |at| cron.last(*at - 1.second())).take_while(|at| *at >= from).collect();
    backwards.reverse();
    assert_eq!(backwards, walked, "backwards: {}", what());
    for at in &walked {
        assert_eq!((cron.last(*at), cron.next(*at - 1.second())), (Some(*at), Some(*at)), "{}", what());
    }
}

fn compare_everywhere(expressions: &[&str]) {
    for expression in expressions {
        let fields = Fields::read(expression);
        for change in CHANGES.iter() {
            let parsed = Cron::parse("spec", expression, change.zone.iana_name());
            compare(expression, &fields, &parsed.unwrap(), change);
        }
    }
}

#[test]
fn single_hours_lists_and_ranges_fire_once_for_each_time_around_every_change_of_every_zone() {
    compare_everywhere(&[
        "30 2 * * *",
        "0 0 * * *",
        "0,30 0-3 * * *",
        "15 1,2,3 * * *",
        "0-59 2 * * *",
        "59 23 * * *",
        "5 0-23 * * *",
        "0 2 1 * 0",
        "45 0,23 * * 0",
    ]);
}

#[test]
fn stars_and_steps_run_through_around_every_change_of_every_zone() {
    compare_everywhere(&["*/15 * * * *", "0 */2 * * *", "30 * * * *", "*/20 2 * * *", "* 1-2 * * 0"]);
}

/// A field: numbers, ranges and lists of them, `*` or `*/n`.
fn field(end: i8) -> impl Strategy<Value = String> {
    let number = (0..end).prop_map(|number| number.to_string());
    let range = (0..end, 0..end).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b)));
    let list = prop::collection::vec(prop_oneof![number, range], 1..4).prop_map(|parts| parts.join(","));
    prop_oneof![4 => list, 1 => (2..end).prop_map(|step| format!("*/{step}")), 1 => Just("*".to_owned())]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_expression_fires_as_the_walk_says(
        minute in field(60),
        hour in field(24),
        sunday in any::<bool>(),
        picks in prop::collection::vec(any::<prop::sample::Index>(), 8),
    ) {
        let expression = format!("{minute} {hour} * * {}", if sunday { "0" } else { "*" });
        let fields = Fields::read(&expression);
        for pick in picks {
            let change = pick.get(&CHANGES);
            let parsed = Cron::parse("spec", &expression, change.zone.iana_name()).unwrap();
            compare(&expression, &fields, &parsed, change);
        }
    }
}
