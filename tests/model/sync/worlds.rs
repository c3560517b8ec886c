//! The worlds to explore. Faults multiply, so each world has only a few of them: together they have all.

use modelsync::core::sync::Rule;

use super::{
    configuration::{Configuration, Options, Spec},
    mutant::Mutant,
};
use crate::common::Budget;

const NONE: Budget = Budget::NONE;
const DEFAULTS: Options = Options {
    limits: None,
    success_serves: true,
    forged: false,
    earlier: false,
    kind_missing: false,
    exception: false,
};
/// One replica that knows the object and has polled nothing yet.
const ONE: Configuration = Configuration {
    name: "one replica",
    mutant: Mutant::None,
    replicas: 1,
    horizon: 4,
    attempts: 2,
    budget: NONE,
    specs: &[Spec::Plain],
    fenced: true,
    foreign_run: false,
    warm: true,
    split_polls: false,
    rules: USUAL,
    own: DEFAULTS,
};
/// Two replicas that both believe that they lead.
const TWO: Configuration = Configuration {
    replicas: 2,
    rules: &[Rule::AwaitResponse, Rule::Reserve, Rule::CreateRun, Rule::RunActive, Rule::UnreservedRunActive],
    ..ONE
};
/// Rules of the life of one run.
const USUAL: &[Rule] =
    &[Rule::AwaitResponse, Rule::Reserve, Rule::CreateRun, Rule::RunActive, Rule::RecordEnd, Rule::UpToDate];

/// Small enough for every run of the tests.
pub fn small() -> Vec<Configuration> {
    [faults(), waits()].concat()
}

/// Faults of processes, requests, runs, watches and the object.
fn faults() -> Vec<Configuration> {
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
            own: Options { exception: true, ..DEFAULTS },
            budget: Budget { retries: 1, run_deletions: 1, triggers: 1, flips: 1, ..NONE },
            ..ONE
        },
        Configuration { name: "two leaders", horizon: 1, budget: Budget { second_reconciles: 2, ..NONE }, ..TWO },
        Configuration {
            name: "history of no runs",
            horizon: 5,
            own: Options { limits: Some(0), ..DEFAULTS },
            budget: Budget { lost: 1, ..NONE },
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
            name: "an earlier operator's run",
            horizon: 2,
            own: Options { earlier: true, ..DEFAULTS },
            budget: Budget { crashes: 1, lost: 1, ..NONE },
            rules: &[Rule::FindLegacyRun, Rule::LegacyRunActive],
            ..ONE
        },
        Configuration {
            name: "a forged number",
            own: Options { forged: true, ..DEFAULTS },
            budget: Budget { crashes: 1, ..NONE },
            ..ONE
        },
        Configuration {
            name: "another owner's object, refusals",
            horizon: 3,
            foreign_run: true,
            budget: Budget { refusals: 1, ..NONE },
            rules: &[Rule::NameConflict, Rule::CreateRefused],
            ..ONE
        },
        Configuration {
            name: "a refusal and a crash",
            horizon: 3,
            budget: Budget { refusals: 1, crashes: 1, ..NONE },
            rules: &[Rule::CreateRefused, Rule::ReserveAgain],
            ..ONE
        },
        Configuration {
            name: "kind not installed",
            horizon: 1,
            own: Options { kind_missing: true, ..DEFAULTS },
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
            own: Options { exception: true, success_serves: false, ..DEFAULTS },
            budget: Budget { lost: 1, run_deletions: 1, triggers: 1, ..NONE },
            rules: &[Rule::LookUpRun, Rule::ReserveAgain],
            ..ONE
        },
    ]
}

/// Edits, ends of runs, and the waits of targets that follow.
fn waits() -> Vec<Configuration> {
    vec![
        Configuration {
            name: "edits, triggers",
            horizon: 1,
            specs: &[Spec::Plain, Spec::Changed, Spec::Suspended, Spec::Invalid],
            budget: Budget { edits: 1, triggers: 1, ..NONE },
            rules: &[Rule::Suspended, Rule::InvalidSpec, Rule::AwaitReserveAgain],
            ..ONE
        },
        Configuration {
            name: "failing endpoint, failing run, change not merged",
            horizon: 3,
            own: Options { success_serves: false, ..DEFAULTS },
            budget: Budget { endpoint_failures: 1, run_failures: 1, ..NONE },
            rules: &[Rule::PollFailed, Rule::BackOff, Rule::PollAgain, Rule::Settle],
            ..ONE
        },
        Configuration {
            name: "a run that takes too long",
            horizon: 3,
            specs: &[Spec::Bounded],
            budget: Budget { lost: 1, cancels: 1, ..NONE },
            rules: &[Rule::StopRun, Rule::BackOff, Rule::PollAgain, Rule::Cancelled],
            ..ONE
        },
        Configuration {
            name: "runs cancelled by annotation and by a user",
            horizon: 0,
            budget: Budget { cancel_annotations: 1, cancels: 1, crashes: 1, triggers: 1, ..NONE },
            rules: &[Rule::StopRun, Rule::Cancelled],
            ..ONE
        },
        Configuration {
            name: "retries exhausted",
            horizon: 0,
            specs: &[Spec::Once, Spec::OnceEdited],
            budget: Budget { run_failures: 1, crashes: 1, triggers: 1, edits: 1, ..NONE },
            rules: &[Rule::RetriesExhausted],
            ..ONE
        },
        Configuration {
            name: "not to be repeated",
            horizon: 0,
            specs: &[Spec::NotRepeated, Spec::Plain],
            own: Options { success_serves: false, ..DEFAULTS },
            budget: Budget { crashes: 1, triggers: 1, edits: 1, ..NONE },
            rules: &[Rule::SettledForGood, Rule::Settle],
            ..ONE
        },
        Configuration {
            name: "windows",
            horizon: 2,
            specs: &[Spec::DeniedAtFirst, Spec::NeverAllowed],
            budget: Budget { edits: 1, triggers: 1, overrides: 1, refusals: 1, ..NONE },
            rules: &[Rule::OutsideWindow, Rule::PollAgain],
            ..ONE
        },
        Configuration {
            name: "edited while a target waits",
            horizon: 3,
            specs: &[Spec::Plain, Spec::Suspended],
            split_polls: true,
            budget: Budget { edits: 2, run_failures: 1, ..NONE },
            rules: &[Rule::BackOff, Rule::PollAgain, Rule::Suspended],
            ..ONE
        },
        Configuration {
            name: "nothing desired, sources that change",
            horizon: 1,
            budget: Budget { withdrawals: 1, source_changes: 1, refusals: 1, ..NONE },
            rules: &[Rule::DesiredUnknown],
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
        Configuration {
            name: "large: two leaders",
            horizon: 2,
            budget: Budget { second_reconciles: 3, ..NONE },
            ..TWO
        },
        Configuration {
            name: "large: two leaders, a crash",
            horizon: 0,
            budget: Budget { second_reconciles: 3, crashes: 1, ..NONE },
            ..TWO
        },
        Configuration {
            name: "large: two leaders, a lost request, a run deleted",
            horizon: 1,
            budget: Budget { second_reconciles: 2, lost: 1, run_deletions: 1, ..NONE },
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
            own: Options { limits: Some(0), ..DEFAULTS },
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
            budget: Budget { second_reconciles: 2, run_deletions: 1, ..NONE },
            ..TWO
        },
    ]
}

/// The world in which a mutant violates a property.
pub fn of_mutant(mutant: Mutant) -> Configuration {
    let one = Configuration { name: "mutant", mutant, rules: &[], ..ONE };
    let two = Configuration { replicas: 2, budget: Budget { second_reconciles: 3, ..NONE }, ..one.clone() };
    match mutant {
        Mutant::None => one,
        Mutant::RandomRunNames => Configuration { horizon: 0, budget: Budget { retries: 1, ..NONE }, ..one },
        Mutant::CreateBeforeReserve => {
            Configuration { horizon: 0, budget: Budget { crashes: 1, run_deletions: 1, ..NONE }, ..one }
        }
        Mutant::ReserveWithoutVersion => Configuration { horizon: 0, ..two },
        Mutant::EndWithoutVersion => Configuration {
            horizon: 0,
            own: Options { success_serves: false, ..DEFAULTS },
            budget: Budget { crashes: 1, triggers: 1, ..NONE },
            ..one
        },
        Mutant::SameNonce => {
            Configuration { horizon: 0, budget: Budget { second_reconciles: 3, run_deletions: 1, ..NONE }, ..two }
        }
        Mutant::NextFromRunStore => {
            Configuration { horizon: 0, own: Options { success_serves: false, ..DEFAULTS }, ..one }
        }
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
        Mutant::DeletesByAgeSinceCreation => {
            Configuration { horizon: 0, own: Options { limits: Some(0), ..DEFAULTS }, ..one }
        }
        Mutant::UnknownAsEmpty => Configuration { horizon: 0, warm: false, ..one },
        Mutant::StopsByName => Configuration {
            horizon: 0,
            budget: Budget { retries: 1, run_deletions: 1, cancel_annotations: 1, ..NONE },
            ..one
        },
        Mutant::TimeoutCountsAsCancelled => Configuration { horizon: 1, specs: &[Spec::Bounded], ..one },
        Mutant::ForgetsFailuresAtRestart => Configuration {
            horizon: 0,
            specs: &[Spec::Once],
            budget: Budget { run_failures: 1, crashes: 1, ..NONE },
            ..one
        },
        Mutant::OldResponseAfterWait => Configuration { horizon: 2, budget: Budget { run_failures: 1, ..NONE }, ..one },
        Mutant::ForgetsRefusalAtRestart => {
            Configuration { horizon: 3, budget: Budget { refusals: 1, crashes: 1, ..NONE }, ..one }
        }
        Mutant::SearchesOnlyOnce => Configuration {
            horizon: 0,
            own: Options { earlier: true, ..DEFAULTS },
            budget: Budget { crashes: 1, ..NONE },
            ..one
        },
    }
}
