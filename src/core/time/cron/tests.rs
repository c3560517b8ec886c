//! Which moments an expression names, and what is refused.

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
fn rare_expressions_with_gaps_up_to_five_years_are_read() {
    for (expression, first) in [
        ("0 0 29 2 *", "2028-02-29T00:00:00Z"),
        ("0 0 13 * +5", "2026-02-13T00:00:00Z"),
        ("0 0 24-25 12 +1", "2028-12-25T00:00:00Z"),
        ("30 2 * 3 0L", "2026-03-29T02:30:00Z"),
        ("0 12 LW * *", "2026-01-30T12:00:00Z"),
        ("0 12 15W 8 *", "2026-08-14T12:00:00Z"),
        ("@yearly", "2027-01-01T00:00:00Z"),
    ] {
        assert_eq!(next(expression, "UTC", "2026-01-01T00:00:00Z"), first, "{expression}");
    }
}

#[test]
fn lists_and_ranges_of_hours_behave_as_single_hours_and_steps_run_through() {
    // Clocks in Berlin go from 02:00 to 03:00 on 29 March 2026, and from 03:00 to 02:00 on 25 October 2026.
    let firings = |expression: &str, day: &str| {
        let cron = cron(expression, "Europe/Berlin");
        let (from, to) = (at(&format!("{day}T00:00:00Z")), at(&format!("{day}T03:00:00Z")));
        std::iter::successors(cron.next(from), |last| cron.next(*last))
            .take_while(|moment| *moment < to)
            .map(|moment| moment.to_string()[11..16].to_owned())
            .collect::<Vec<_>>()
    };
    for (expression, spring, autumn) in [
        ("30 1-3 * * *", ["00:30", "01:00", "01:30"].as_slice(), ["00:30", "02:30"].as_slice()),
        ("30 2,4 * * *", &["01:00", "02:30"], &["00:30"]),
        ("0,30 2 * * *", &["01:00"], &["00:30"]),
        ("30 */2 * * *", &["02:30"], &["00:30", "01:30"]),
        ("*/30 2 * * *", &[], &["00:30", "01:00", "01:30"]),
    ] {
        assert_eq!(firings(expression, "2026-03-29"), spring, "{expression} in spring");
        assert_eq!(firings(expression, "2026-10-25"), autumn, "{expression} in autumn");
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
