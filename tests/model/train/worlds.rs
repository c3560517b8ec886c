//! The worlds to explore. Faults multiply, so each world has only a few of them: together they have all.

use modelsync::core::train::Rule;

use super::{
    configuration::{Configuration, Options, Spec},
    mutant::Mutant,
    world::Input::{Absent, Failing, Value},
};
use crate::common::{
    Budget,
    RunPhase::{self, Bad, Better, Failed, Good, Silent},
};

const NONE: Budget = Budget::NONE;
const DEFAULTS: Options = Options {
    candidates: 0,
    parallelism: None,
    runs_per_minute: None,
    max_attempts: 5,
    run_limit: None,
    version_limit: None,
    ends: &[Good],
    approvals: false,
    measures: false,
    input: Value(1),
    inputs: &[],
    foreign_record: false,
};
/// One replica that knows the object and has polled nothing yet.
const ONE: Configuration = Configuration {
    name: "one replica",
    mutant: Mutant::None,
    replicas: 1,
    horizon: 0,
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
/// Two candidates.
const PAIR: Options = Options { candidates: 2, ..DEFAULTS };
const BATCH: Configuration = Configuration { own: PAIR, ..ONE };

/// Rules that no world reaches, and why.
pub const UNREACHED: [(Rule, &str); 3] = [
    (Rule::OutsideWindow, "windows are of the time of day"),
    (Rule::RunKindMissing, "that a kind is not installed is known before anything is polled"),
    (Rule::NoAttemptLeft, "no world has 99,999,999 trainings"),
];

/// Rules of the life of one training.
const USUAL: &[Rule] = &[
    Rule::AwaitResponse,
    Rule::Reserve,
    Rule::CreateRuns,
    Rule::RunActive,
    Rule::ReadResults,
    Rule::Judge,
    Rule::CreateVersion,
    Rule::CloseTraining,
    Rule::Fresh,
];

/// Small enough for every run of the tests.
pub fn small() -> Vec<Configuration> {
    [faults(), batches(), decisions()].concat()
}

/// Faults of processes, requests, runs and the object.
fn faults() -> Vec<Configuration> {
    vec![
        Configuration { name: "a training", horizon: 1, warm: false, ..ONE },
        Configuration {
            name: "a training, a crash or a lost request",
            horizon: 3,
            budget: Budget { crashes: 1, lost: 1, ..NONE },
            rules: &[Rule::WorldUnknown, Rule::LookUpRun, Rule::AwaitDeadline],
            ..ONE
        },
        Configuration {
            name: "a training, two leaders",
            replicas: 2,
            budget: Budget { second_reconciles: 3, ..NONE },
            rules: &[Rule::UnreservedRunActive],
            ..ONE
        },
        Configuration {
            name: "a run and a record deleted by a user",
            horizon: 3,
            budget: Budget { run_deletions: 1, record_deletions: 1, ..NONE },
            rules: &[Rule::LookUpRun, Rule::AwaitDeadline],
            ..ONE
        },
        Configuration {
            name: "a ModelTrain deleted and created again",
            budget: Budget { object_deletions: 1, lost: 1, ..NONE },
            rules: &[Rule::Deleting, Rule::PredecessorRunning, Rule::Restore],
            ..ONE
        },
        Configuration {
            name: "another owner's run, refusals",
            horizon: 3,
            foreign_run: true,
            budget: Budget { refusals: 1, triggers: 1, ..NONE },
            rules: &[Rule::NameConflict, Rule::CreateRefused],
            ..ONE
        },
        Configuration {
            name: "a refusal and a crash",
            horizon: 3,
            budget: Budget { refusals: 1, crashes: 1, ..NONE },
            rules: &[Rule::CreateRefused],
            ..ONE
        },
        Configuration {
            name: "another owner's record",
            horizon: 3,
            own: Options { foreign_record: true, ..DEFAULTS },
            budget: Budget { crashes: 1, ..NONE },
            rules: &[Rule::RecordConflict],
            ..ONE
        },
        Configuration {
            name: "a status that is lost",
            attempts: 3,
            budget: Budget { losses: 1, run_deletions: 1, ..NONE },
            rules: &[],
            ..ONE
        },
    ]
}

/// Trainings of more than one run.
fn batches() -> Vec<Configuration> {
    vec![
        Configuration {
            name: "two candidates at once, a crash",
            own: Options { ends: &[Good, Better], ..PAIR },
            budget: Budget { crashes: 1, ..NONE },
            rules: &[Rule::NoteVersion],
            ..BATCH
        },
        Configuration {
            name: "two candidates in turn, edits",
            own: Options { parallelism: Some(1), ..PAIR },
            specs: &[Spec::Plain, Spec::Changed, Spec::Suspended, Spec::Invalid],
            budget: Budget { edits: 1, crashes: 1, ..NONE },
            rules: &[Rule::ClaimSlots, Rule::SkipSlots, Rule::Suspended, Rule::InvalidSpec],
            ..BATCH
        },
        Configuration {
            name: "two candidates in turn, an older list of records",
            own: Options { parallelism: Some(1), ends: &[Good, Better], ..PAIR },
            budget: Budget { crashes: 1, old_lists: 1, ..NONE },
            rules: &[Rule::LookUpVersion],
            ..BATCH
        },
    ]
}

/// When a training is due, and its result.
fn decisions() -> Vec<Configuration> {
    vec![
        Configuration {
            name: "a budget of one run",
            horizon: 2,
            attempts: 3,
            own: Options { runs_per_minute: Some(1), ends: &[Good, Bad], ..DEFAULTS },
            budget: Budget { triggers: 2, ..NONE },
            rules: &[Rule::BudgetSpent],
            ..ONE
        },
        Configuration {
            name: "rejected, and the input changes",
            attempts: 3,
            own: Options { ends: &[Good, Bad], inputs: &[Value(1), Value(2)], ..DEFAULTS },
            budget: Budget { inputs: 2, crashes: 1, ..NONE },
            rules: &[Rule::NoBetterCandidate, Rule::PublishVersionStatus],
            ..ONE
        },
        Configuration {
            name: "held, approved, rejected",
            own: Options { approvals: true, ends: &[Good, Better, Silent], inputs: &[Value(2)], ..DEFAULTS },
            budget: Budget { annotations: 2, inputs: 1, ..NONE },
            rules: &[],
            ..ONE
        },
        Configuration {
            name: "runs that fail and are cancelled",
            horizon: 3,
            attempts: 3,
            own: Options { max_attempts: 2, ends: &[Good, Failed], ..DEFAULTS },
            budget: Budget { cancel_annotations: 1, ..NONE },
            rules: &[Rule::StopRun, Rule::BackOff, Rule::RetriesExhausted],
            ..ONE
        },
        Configuration {
            name: "an input that goes, and fails",
            horizon: 1,
            own: Options { inputs: &[Absent, Failing, Value(2)], ..DEFAULTS },
            budget: Budget { inputs: 2, ..NONE },
            rules: &[Rule::InputMissing, Rule::PollFailed],
            ..ONE
        },
        Configuration {
            name: "measured from outside",
            horizon: 1,
            own: Options { measures: true, ..DEFAULTS },
            budget: Budget { scores: 2, crashes: 1, ..NONE },
            rules: &[Rule::AwaitMetrics],
            ..ONE
        },
        Configuration {
            name: "beyond the limits of history",
            attempts: 3,
            own: Options {
                run_limit: Some(0),
                version_limit: Some(0),
                ends: &[Good, Better],
                inputs: &[Value(2), Value(3)],
                ..DEFAULTS
            },
            budget: Budget { inputs: 2, ..NONE },
            rules: &[],
            ..ONE
        },
    ]
}

/// For `cargo xtask model`.
pub fn large() -> Vec<Configuration> {
    vec![
        Configuration {
            name: "large: a run and a record deleted by a user, a crash",
            horizon: 3,
            budget: Budget { run_deletions: 1, record_deletions: 1, crashes: 1, ..NONE },
            rules: &[],
            ..ONE
        },
        Configuration {
            name: "large: a training, two leaders, a crash",
            replicas: 2,
            budget: Budget { second_reconciles: 4, crashes: 1, ..NONE },
            rules: &[],
            ..ONE
        },
        Configuration {
            name: "large: two candidates in turn, two leaders",
            own: Options { parallelism: Some(1), ..PAIR },
            replicas: 2,
            budget: Budget { second_reconciles: 2, ..NONE },
            rules: &[],
            ..BATCH
        },
        Configuration {
            name: "large: two candidates at once, a crash, a lost request",
            horizon: 3,
            own: Options { ends: &[Good, Better], ..PAIR },
            budget: Budget { crashes: 1, lost: 1, ..NONE },
            rules: &[],
            ..BATCH
        },
        Configuration {
            name: "large: two candidates in turn, edits, a lost request",
            own: Options { parallelism: Some(1), ..PAIR },
            horizon: 1,
            specs: &[Spec::Plain, Spec::Changed, Spec::Suspended],
            budget: Budget { edits: 2, lost: 1, ..NONE },
            rules: &[],
            ..BATCH
        },
        Configuration {
            name: "large: a budget of one run, a crash",
            horizon: 3,
            attempts: 3,
            own: Options { runs_per_minute: Some(1), ends: &[Good, Bad], ..DEFAULTS },
            budget: Budget { triggers: 2, crashes: 1, ..NONE },
            rules: &[],
            ..ONE
        },
        Configuration {
            name: "large: rejected, and the input changes, a lost request",
            attempts: 3,
            own: Options { ends: &[Good, Bad], inputs: &[Value(1), Value(2)], ..DEFAULTS },
            budget: Budget { inputs: 2, lost: 1, crashes: 1, ..NONE },
            rules: &[],
            ..ONE
        },
        Configuration {
            name: "large: held, approved, rejected, a crash",
            own: Options { approvals: true, ends: &[Good, Better, Silent], inputs: &[Value(2)], ..DEFAULTS },
            budget: Budget { annotations: 2, inputs: 1, crashes: 1, ..NONE },
            rules: &[],
            ..ONE
        },
        Configuration {
            name: "large: beyond the limits of versions, held, a lost request",
            own: Options { version_limit: Some(0), ends: &[Good, Better], inputs: &[Value(2)], ..DEFAULTS },
            budget: Budget { inputs: 1, annotations: 1, lost: 1, ..NONE },
            rules: &[],
            ..ONE
        },
        Configuration {
            name: "large: runs that fail and are cancelled, a trigger",
            horizon: 3,
            attempts: 3,
            own: Options { max_attempts: 2, ends: &[Good, Failed], ..DEFAULTS },
            budget: Budget { cancel_annotations: 1, triggers: 1, ..NONE },
            rules: &[],
            ..ONE
        },
    ]
}

/// The world in which a mutant violates a property.
pub fn of_mutant(mutant: Mutant) -> Configuration {
    let one = Configuration { name: "mutant", mutant, rules: &[], ..ONE };
    let batch = Configuration { name: "mutant", mutant, rules: &[], ..BATCH };
    let both: &[RunPhase] = &[Good, Bad];
    match mutant {
        Mutant::None | Mutant::AcceptsWithoutRecord => one,
        Mutant::RecordAfterAcceptance => Configuration { budget: Budget { crashes: 1, ..NONE }, ..one },
        Mutant::ClosesWithoutEverySlot => batch,
        Mutant::ClaimsBeyondParallelism => Configuration { own: Options { parallelism: Some(1), ..PAIR }, ..batch },
        Mutant::NotesBudgetAfterCreate => Configuration {
            own: Options { runs_per_minute: Some(1), ..DEFAULTS },
            budget: Budget { crashes: 1, triggers: 1, ..NONE },
            ..one
        },
        Mutant::SameAtOnceAfter404 => Configuration { budget: Budget { lost: 1, run_deletions: 1, ..NONE }, ..one },
        Mutant::ReserveWithoutVersion => {
            Configuration { replicas: 2, budget: Budget { second_reconciles: 3, ..NONE }, ..one }
        }
        Mutant::CloseWithoutVersion => Configuration { budget: Budget { lost: 1, triggers: 1, ..NONE }, ..one },
        Mutant::IgnoresHoldAtClose => Configuration {
            own: Options { ends: &[Good, Better], ..DEFAULTS },
            budget: Budget { annotations: 1, triggers: 1, ..NONE },
            ..one
        },
        Mutant::AnswersNoReason => Configuration { own: Options { ends: both, ..DEFAULTS }, ..one },
        Mutant::NumberFromRunsAlone => Configuration { budget: Budget { losses: 1, run_deletions: 1, ..NONE }, ..one },
        Mutant::DecidesWithoutLookUp => Configuration {
            own: Options { parallelism: Some(1), ends: &[Good, Better], ..PAIR },
            budget: Budget { crashes: 1, old_lists: 1, ..NONE },
            ..batch
        },
        Mutant::HoldsWhatIsRemoved => Configuration {
            own: Options { version_limit: Some(0), ends: &[Good, Better], inputs: &[Value(2)], ..DEFAULTS },
            budget: Budget { inputs: 1, annotations: 1, lost: 1, ..NONE },
            ..one
        },
        Mutant::ForgetsRefusalAtRestart => {
            Configuration { horizon: 3, budget: Budget { refusals: 1, crashes: 1, ..NONE }, ..one }
        }
        Mutant::JudgesAnewAfterCrash => Configuration {
            own: Options { measures: true, ..DEFAULTS },
            budget: Budget { scores: 1, crashes: 1, ..NONE },
            ..one
        },
    }
}
