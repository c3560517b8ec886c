//! The worlds that are explored. Faults multiply, so each world has a few of them: together they have all.

use modelsync::core::sync::Rule;

use super::{
    configuration::{Configuration, Spec},
    mutant::Mutant,
    world::Budget,
};

const NONE: Budget = Configuration::QUIET.budget;
/// One replica that knows the object and has asked nothing yet.
const ONE: Configuration =
    Configuration { warm: true, replicas: 1, split_answers: false, rules: USUAL, ..Configuration::QUIET };
/// Two replicas that both believe that they lead.
const TWO: Configuration = Configuration {
    replicas: 2,
    rules: &[Rule::AwaitAnswer, Rule::Reserve, Rule::CreateRun, Rule::RunActive, Rule::UnreservedRunActive],
    ..ONE
};
/// Rules of the life of one run.
const USUAL: &[Rule] =
    &[Rule::AwaitAnswer, Rule::Reserve, Rule::CreateRun, Rule::RunActive, Rule::RecordEnd, Rule::UpToDate];

/// Small enough for every run of the tests.
pub fn small() -> Vec<Configuration> {
    vec![
        Configuration {
            name: "a crash or a lost request",
            horizon: 3,
            budget: Budget { crashes: 1, lost: 1, ..NONE },
            rules: &[
                Rule::LookUpRun,
                Rule::AwaitDeadline,
                Rule::RecordGone,
                Rule::AwaitReserveAgain,
                Rule::ReserveAgain,
            ],
            ..ONE
        },
        Configuration {
            name: "a run deleted by a user, a lost request",
            horizon: 3,
            budget: Budget { lost: 1, run_deletions: 1, ..NONE },
            rules: &[Rule::LookUpRun, Rule::AwaitDeadline, Rule::RecordGone],
            ..ONE
        },
        Configuration {
            name: "a request delivered twice, a run deleted by a user",
            horizon: 0,
            exception: true,
            budget: Budget { retries: 1, run_deletions: 1, triggers: 1, flips: 1, ..NONE },
            ..ONE
        },
        Configuration { name: "two leaders", horizon: 1, budget: Budget { second_passes: 2, ..NONE }, ..TWO },
        Configuration {
            name: "history of no runs",
            horizon: 5,
            limits: Some(0),
            budget: Budget { lost: 1, ..NONE },
            ..ONE
        },
        Configuration {
            name: "edits, triggers",
            horizon: 1,
            specs: &[Spec::Plain, Spec::Changed, Spec::Suspended, Spec::Invalid],
            budget: Budget { edits: 1, triggers: 1, ..NONE },
            rules: &[Rule::Suspended, Rule::InvalidSpec, Rule::AwaitReserveAgain],
            ..ONE
        },
        Configuration {
            name: "deleted and created again",
            horizon: 0,
            budget: Budget { object_deletions: 1, ..NONE },
            rules: &[Rule::Deleting, Rule::PredecessorRunning],
            ..ONE
        },
        Configuration {
            name: "failing endpoint, failing run, change not merged",
            horizon: 3,
            success_serves: false,
            budget: Budget { endpoint_failures: 1, run_failures: 1, ..NONE },
            rules: &[Rule::NoAnswer, Rule::BackOff, Rule::Settle],
            ..ONE
        },
        Configuration {
            name: "somebody else's object, refusals",
            horizon: 3,
            foreign: true,
            budget: Budget { refusals: 1, ..NONE },
            rules: &[Rule::NameConflict, Rule::CreateRefused],
            ..ONE
        },
        Configuration {
            name: "kind not installed",
            horizon: 1,
            kind_missing: true,
            warm: false,
            rules: &[Rule::RunKindMissing, Rule::RunsUnknown],
            ..ONE
        },
        Configuration {
            name: "silence, another term, an older state",
            horizon: 0,
            warm: false,
            budget: Budget { silences: 1, terms: 1, crashes: 1, old_lists: 1, ..NONE },
            ..ONE
        },
        Configuration {
            name: "without the fence",
            horizon: 3,
            fenced: false,
            exception: true,
            success_serves: false,
            budget: Budget { lost: 1, run_deletions: 1, triggers: 1, ..NONE },
            rules: &[Rule::LookUpRun, Rule::ReserveAgain],
            ..ONE
        },
    ]
}

/// For `cargo xtask model`.
pub fn large() -> Vec<Configuration> {
    vec![
        Configuration {
            name: "large: a crash, a lost request, a failed run",
            horizon: 4,
            budget: Budget { crashes: 1, lost: 1, run_failures: 1, ..NONE },
            ..ONE
        },
        Configuration { name: "large: two leaders", horizon: 2, budget: Budget { second_passes: 3, ..NONE }, ..TWO },
        Configuration {
            name: "large: two leaders, a crash",
            horizon: 0,
            budget: Budget { second_passes: 3, crashes: 1, ..NONE },
            ..TWO
        },
        Configuration {
            name: "large: two leaders, a lost request, a run deleted",
            horizon: 1,
            budget: Budget { second_passes: 2, lost: 1, run_deletions: 1, ..NONE },
            ..TWO
        },
        Configuration {
            name: "large: a request delivered twice, a crash, a run deleted",
            horizon: 3,
            budget: Budget { retries: 1, crashes: 1, run_deletions: 1, ..NONE },
            ..ONE
        },
        Configuration {
            name: "large: edits, triggers, a lost request",
            horizon: 1,
            specs: &[Spec::Plain, Spec::Changed, Spec::Suspended, Spec::Invalid],
            budget: Budget { edits: 2, triggers: 1, lost: 1, ..NONE },
            ..ONE
        },
        Configuration {
            name: "large: deleted and created again, a lost request",
            horizon: 2,
            budget: Budget { object_deletions: 1, lost: 1, ..NONE },
            rules: &[Rule::Deleting, Rule::PredecessorRunning],
            ..ONE
        },
        Configuration {
            name: "large: history of no runs, a crash, a lost request",
            horizon: 6,
            limits: Some(0),
            budget: Budget { crashes: 1, lost: 1, ..NONE },
            ..ONE
        },
        Configuration {
            name: "large: silence, terms, older states, slow clocks",
            horizon: 1,
            warm: false,
            budget: Budget { silences: 1, terms: 1, crashes: 1, old_lists: 1, slow_clocks: 1, ..NONE },
            ..ONE
        },
        Configuration {
            name: "large: without the fence, crashes",
            horizon: 3,
            fenced: false,
            budget: Budget { lost: 1, crashes: 1, ..NONE },
            ..ONE
        },
        Configuration {
            name: "large: without the fence, two leaders",
            horizon: 1,
            fenced: false,
            budget: Budget { second_passes: 2, run_deletions: 1, ..NONE },
            ..TWO
        },
    ]
}

/// The world in which a design that fails does so.
pub fn of_mutant(mutant: Mutant) -> Configuration {
    let one = Configuration { name: "mutant", mutant, rules: &[], ..ONE };
    let two = Configuration { replicas: 2, budget: Budget { second_passes: 3, ..NONE }, ..one.clone() };
    match mutant {
        Mutant::None => one,
        Mutant::RandomRunNames => Configuration { horizon: 0, budget: Budget { retries: 1, ..NONE }, ..one },
        Mutant::CreateBeforeReserve => {
            Configuration { horizon: 0, budget: Budget { crashes: 1, run_deletions: 1, ..NONE }, ..one }
        }
        Mutant::ReserveWithoutVersion => Configuration { horizon: 0, ..two },
        Mutant::EndWithoutVersion => Configuration {
            horizon: 0,
            success_serves: false,
            budget: Budget { crashes: 1, triggers: 1, ..NONE },
            ..one
        },
        Mutant::SameNonce => {
            Configuration { horizon: 0, budget: Budget { second_passes: 3, run_deletions: 1, ..NONE }, ..two }
        }
        Mutant::NextFromRunStore => Configuration { horizon: 0, success_serves: false, ..one },
        Mutant::SameAtOnceAfter404 => {
            Configuration { horizon: 1, budget: Budget { lost: 1, run_deletions: 1, ..NONE }, ..one }
        }
        Mutant::LowersNotAfter => Configuration {
            horizon: 0,
            specs: &[Spec::Plain, Spec::Changed],
            budget: Budget { slow_clocks: 1, edits: 1, ..NONE },
            ..one
        },
        Mutant::OldLookUpCounts => {
            Configuration { horizon: 3, fenced: false, budget: Budget { lost: 1, run_deletions: 1, ..NONE }, ..one }
        }
        Mutant::ClearsEarly => Configuration { horizon: 2, budget: Budget { lost: 1, ..NONE }, ..one },
        Mutant::DeletesByAgeSinceCreation => Configuration { horizon: 0, limits: Some(0), ..one },
        Mutant::UnknownAsEmpty => Configuration { horizon: 0, warm: false, ..one },
    }
}
