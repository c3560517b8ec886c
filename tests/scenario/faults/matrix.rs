//! Which faults meet which requests of which kind, and the test that shows it. No IO.
//!
//! A cell is one fault at one interaction of the operator: 1 lists and watches of objects, 2 lists and watches of runs,
//! 3 polls, 4 creates of runs, 5 writes of status, 6 deletions of runs, 7 events, 8 the lease. The whole matrix has 158
//! cells for each kind of object.

use super::Subject;

/// A fault, and its cells that a test shows.
struct Cells {
    fault: &'static str,
    /// The interactions of both kinds.
    both: &'static [u8],
    /// Those of a ModelTrain alone: events are sent one after the other, so one kind stands for both where one is held.
    train: &'static [u8],
    tests: &'static [&'static str],
}

const fn cells(fault: &'static str, both: &'static [u8], tests: &'static [&'static str]) -> Cells {
    Cells { fault, both, train: &[], tests }
}

const fn with_event(fault: &'static str, both: &'static [u8], tests: &'static [&'static str]) -> Cells {
    Cells { fault, both, train: &[7], tests }
}

/// The tests of every sort of request with every fault of [`super::FAULTS`].
const REQUESTS: &[&str] = &[
    "lists_that_meet_any_fault_delay_a_demand_and_repeat_nothing",
    "create_that_meets_any_fault_leads_to_one_run",
    "reservation_that_meets_any_fault_leads_to_one_run",
    "record_of_an_end_that_meets_any_fault_is_written_once",
    "deletion_that_meets_any_fault_happens_once",
    "event_that_meets_any_fault_hinders_nothing_and_is_not_repeated",
    "renewal_of_the_lease_that_meets_any_fault_costs_no_run_and_no_flood",
];

const DEATHS: &[&str] =
    &["death_at_any_request_leads_to_one_run", "death_at_a_list_a_renewal_or_a_poll_leads_to_one_run"];

const MATRIX: &[Cells] = &[
    cells("F1 crash before a request", &[1, 2, 3, 4, 5, 6, 7, 8], DEATHS),
    cells("F2 crash before the reply", &[4, 5, 6, 7, 8], DEATHS),
    cells(
        "F3 pause of the process",
        &[4, 5],
        &[
            "create_of_a_paused_leader_that_comes_too_late_is_refused_by_the_fence",
            "two_leaders_whose_reservations_cross_start_one_run",
        ],
    ),
    with_event(
        "F4 loss of the lease in the middle of a reconcile",
        &[4, 5, 6, 8],
        &["leader_that_loses_its_lease_in_the_middle_of_any_request_starts_no_second_run"],
    ),
    cells(
        "F5 wrong date",
        &[3, 5, 6, 8],
        &[
            "date_that_jumps_starts_and_delays_no_run_and_deletes_none_early",
            "date_that_jumps_back_does_not_lengthen_a_backoff_beyond_itself",
            "standby_whose_date_is_wrong_steals_no_lease",
        ],
    ),
    cells("F6 409", &[4, 5, 6, 8], REQUESTS),
    cells("F7 429", &[1, 2, 4, 5, 6, 7, 8], REQUESTS),
    cells("F8 503", &[1, 2, 4, 5, 6, 7, 8], REQUESTS),
    cells("F9 504 or a lost reply after the commit", &[4, 5, 6, 7, 8], REQUESTS),
    cells(
        "F10 no response",
        &[1, 2, 4, 5, 6, 7, 8],
        &[
            "missing_responses_delay_no_demand_beyond_the_deadline",
            "leader_that_loses_its_lease_in_the_middle_of_any_request_starts_no_second_run",
        ],
    ),
    cells("F11 reset, or half a response", &[1, 2, 4, 5, 6, 7, 8], REQUESTS),
    cells("F14 stale lists", &[1, 2], &["operator_that_starts_from_stale_lists_starts_no_second_run"]),
    cells(
        "F16 410 as a status and in the stream",
        &[1, 2],
        &[
            "expired_version_leads_to_a_list_that_brings_the_missed_changes",
            "watches_that_end_at_once_restart_with_growing_pauses",
        ],
    ),
    cells("F17 silent stream", &[2], &["watch_that_falls_silent_is_noticed_and_without_the_limit_is_not"]),
    cells("F18 doubled events", &[1, 2], &["event_that_comes_twice_changes_nothing"]),
    with_event(
        "F20 etcd is killed and started again",
        &[1, 2, 4, 5, 6, 8],
        &["storage_that_is_killed_and_started_again_costs_no_demand_and_no_second_run"],
    ),
    with_event(
        "F21 etcd stands still",
        &[1, 2, 4, 5, 6, 8],
        &["storage_that_stands_still_costs_no_demand_and_no_second_run"],
    ),
    with_event(
        "F22 the API server is killed and started again",
        &[1, 2, 4, 5, 6, 8],
        &["api_server_that_is_killed_and_started_again_costs_no_demand_and_no_second_run"],
    ),
    cells(
        "F29 flapping endpoint",
        &[3, 4],
        &["endpoint_that_flaps_with_every_poll_starts_at_most_one_run_for_each_time_that_it_needs_one"],
    ),
    cells(
        "F31 webhook down, silent, failing, of another authority",
        &[4, 6],
        &["webhook_that_cannot_be_called_spends_no_attempt_and_the_run_starts_once_it_is_back"],
    ),
    cells("F34 terminating namespace", &[4], &["namespace_that_is_being_terminated_gets_no_run_and_few_requests"]),
];

/// The tests of this folder.
const SOURCES: [&str; 8] = [
    include_str!("clocks.rs"),
    include_str!("crashes.rs"),
    include_str!("endpoints.rs"),
    include_str!("leaders.rs"),
    include_str!("outages.rs"),
    include_str!("requests.rs"),
    include_str!("watches.rs"),
    include_str!("webhooks.rs"),
];

fn count(subject: Subject) -> usize {
    let of = |cells: &Cells| cells.both.len() + if subject == Subject::Train { cells.train.len() } else { 0 };
    MATRIX.iter().map(of).sum()
}

#[test]
fn every_cell_names_a_test_and_both_kinds_have_many() {
    for Cells { fault, tests, .. } in MATRIX {
        for test in *tests {
            let head = format!("#[tokio::test]\nasync fn {test}()");
            assert!(SOURCES.iter().any(|source| source.contains(&head)), "{fault}: there is no test {test}");
        }
    }
    assert_eq!((count(Subject::Sync), count(Subject::Train)), (90, 94));
}
