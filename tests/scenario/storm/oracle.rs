//! Judges a history: what the start protocol promises must hold at every revision. No IO.

use std::collections::{BTreeMap, BTreeSet};

/// One write that the API server stored.
#[derive(Clone, Debug)]
pub struct Change {
    /// The revision of the whole storage, which orders the changes of all kinds.
    pub revision: u64,
    /// Whether the object is gone.
    pub gone: bool,
    /// The object as the write left it.
    pub fact: Fact,
}

#[derive(Clone, Debug)]
pub enum Fact {
    Run(Run),
    Object(Object),
    Record(Record),
}

/// A run of the operator.
#[derive(Clone, Debug, Default)]
pub struct Run {
    pub uid: String,
    pub name: String,
    pub of_train: bool,
    pub owner: String,
    pub owner_name: String,
    pub candidate: String,
    pub attempt: i64,
    /// The model that the demand named.
    pub model: String,
    pub ended: bool,
}

/// A ModelSync or a ModelTrain.
#[derive(Clone, Debug, Default)]
pub struct Object {
    pub uid: String,
    pub name: String,
    /// `status.attempt`.
    pub attempt: i64,
    /// The attempt of `status.reservation`.
    pub reserved: Option<i64>,
    /// The uid in `status.lastRun`, of a ModelSync.
    pub last_run: Option<String>,
    /// `status.lastHandledTrigger`.
    pub handled: String,
    /// The verdict in `status.lastAttempt`, of a ModelTrain.
    pub verdict: String,
}

/// A ModelVersion.
#[derive(Clone, Debug, Default)]
pub struct Record {
    pub uid: String,
    pub name: String,
    pub train: String,
    pub candidate: String,
    pub attempt: i64,
    /// The uid of its run.
    pub run: String,
    /// The whole spec.
    pub spec: String,
}

/// Owner and candidate.
type Slot = (String, String);

#[derive(Default)]
struct State {
    runs: BTreeMap<String, Run>,
    unfinished: BTreeMap<Slot, BTreeSet<String>>,
    /// The uid of the run of each slot and attempt.
    attempts: BTreeMap<(Slot, i64), String>,
    objects: BTreeMap<String, Object>,
    /// The ends of runs that each ModelSync has recorded, in order.
    ends: BTreeMap<String, Vec<String>>,
    /// The record of each slot and attempt.
    records: BTreeMap<(Slot, i64), Record>,
    violations: Vec<String>,
}

/// Every way in which this history, in the order of revisions, breaks a promise.
pub fn violations(history: &[Change]) -> Vec<String> {
    let mut state = State::default();
    for Change { revision, gone, fact } in history {
        let before = state.violations.len();
        match fact {
            Fact::Run(run) => state.run(run, *gone),
            Fact::Object(object) if !gone => state.object(object),
            Fact::Record(record) if !gone => state.record(record),
            Fact::Object(_) | Fact::Record(_) => {}
        }
        for violation in &mut state.violations[before..] {
            *violation = format!("revision {revision}: {violation}");
        }
    }
    state.at_the_end();
    state.violations
}

impl State {
    fn fail(&mut self, violation: String) {
        self.violations.push(violation);
    }

    fn run(&mut self, run: &Run, gone: bool) {
        let slot = (run.owner.clone(), run.candidate.clone());
        if !self.runs.contains_key(&run.uid) {
            self.created(run, &slot);
        }
        if gone && !run.ended {
            self.fail(format!("run {} is deleted before its end", run.name));
        }
        let unfinished = self.unfinished.entry(slot).or_default();
        if run.ended || gone {
            unfinished.remove(&run.uid);
        } else {
            unfinished.insert(run.uid.clone());
        }
        if unfinished.len() > 1 {
            let words = format!("run {}: {} unfinished runs of {} at once", run.name, unfinished.len(), run.owner_name);
            self.fail(words);
        }
        self.runs.insert(run.uid.clone(), run.clone());
    }

    fn created(&mut self, run: &Run, slot: &Slot) {
        if let Some(other) = self.attempts.insert((slot.clone(), run.attempt), run.uid.clone()) {
            self.fail(format!("run {}: attempt {} has another run with uid {other}", run.name, run.attempt));
        }
        let reserved = self.objects.get(&run.owner).and_then(|object| object.reserved);
        if reserved != Some(run.attempt) {
            let words =
                format!("run {} of attempt {} is created while {reserved:?} is reserved", run.name, run.attempt);
            self.fail(words);
        }
    }

    fn object(&mut self, object: &Object) {
        if let Some(before) = self.objects.insert(object.uid.clone(), object.clone())
            && before.attempt > object.attempt
        {
            self.fail(format!("{}: attempt shrinks from {} to {}", object.name, before.attempt, object.attempt));
        }
        let Some(last) = &object.last_run else { return };
        let ends = self.ends.entry(object.uid.clone()).or_default();
        if ends.last() != Some(last) {
            let again = ends.contains(last);
            ends.push(last.clone());
            if again {
                self.fail(format!("{}: the end of run {last} is recorded twice", object.name));
            }
        }
    }

    fn record(&mut self, record: &Record) {
        let slot = (record.train.clone(), record.candidate.clone());
        let known = self.records.insert((slot.clone(), record.attempt), record.clone());
        match known {
            Some(known) if known.uid != record.uid => {
                self.fail(format!("record {}: attempt {} has another record", record.name, record.attempt));
            }
            Some(known) if known.spec != record.spec => {
                self.fail(format!("record {} changes", record.name));
            }
            Some(_) => {}
            None => self.recorded(record, &slot),
        }
    }

    fn recorded(&mut self, record: &Record, slot: &Slot) {
        let run = self.attempts.get(&(slot.clone(), record.attempt));
        let ended = run.and_then(|uid| self.runs.get(uid)).is_none_or(|run| run.ended);
        if run.is_some_and(|uid| *uid != record.run) || !ended {
            self.fail(format!("record {} does not follow the end of its run", record.name));
        }
    }

    /// What must hold once everything is at rest.
    fn at_the_end(&mut self) {
        let recorded: BTreeSet<_> = self.records.values().map(|record| &record.run).collect();
        let ends: BTreeSet<_> = self.ends.values().flatten().collect();
        let missing = self.runs.values().filter(|run| {
            run.ended && !if run.of_train { recorded.contains(&run.uid) } else { ends.contains(&run.uid) }
        });
        let unfinished = self.unfinished.values().flatten().map(|uid| format!("run {uid} has not ended"));
        let words: Vec<_> =
            missing.map(|run| format!("the end of run {} is not recorded", run.name)).chain(unfinished).collect();
        self.violations.extend(words);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(changes: Vec<(bool, Fact)>) -> Vec<String> {
        let numbered = (1..).zip(changes).map(|(revision, (gone, fact))| Change { revision, gone, fact });
        violations(&numbered.collect::<Vec<_>>())
    }

    fn object(uid: &str, attempt: i64, reserved: Option<i64>, last_run: Option<&str>) -> (bool, Fact) {
        let last_run = last_run.map(str::to_owned);
        (false, Fact::Object(Object { uid: uid.into(), attempt, reserved, last_run, ..Object::default() }))
    }

    fn run(owner: &str, uid: &str, attempt: i64, ended: bool) -> (bool, Fact) {
        let of_train = owner == "train";
        let run =
            Run { uid: uid.into(), name: uid.into(), of_train, owner: owner.into(), attempt, ended, ..Run::default() };
        (false, Fact::Run(run))
    }

    fn record(uid: &str, attempt: i64, run: &str) -> (bool, Fact) {
        let record = Record { uid: uid.into(), train: "train".into(), attempt, run: run.into(), ..Record::default() };
        (false, Fact::Record(record))
    }

    /// A sync and a training as they should be.
    fn good() -> Vec<(bool, Fact)> {
        vec![
            object("sync", 1, Some(1), None),
            run("sync", "s1", 1, false),
            object("train", 1, Some(1), None),
            run("train", "t1", 1, false),
            run("sync", "s1", 1, true),
            object("sync", 1, None, Some("s1")),
            run("train", "t1", 1, true),
            record("v1", 1, "t1"),
            object("train", 1, None, None),
            object("sync", 2, Some(2), Some("s1")),
            run("sync", "s2", 2, false),
            run("sync", "s2", 2, true),
            object("sync", 2, None, Some("s2")),
        ]
    }

    fn without(place: usize) -> Vec<(bool, Fact)> {
        let mut history = good();
        history.remove(place);
        history
    }

    fn with(place: usize, change: (bool, Fact)) -> Vec<(bool, Fact)> {
        let mut history = good();
        history.insert(place, change);
        history
    }

    #[test]
    fn history_that_keeps_every_promise_has_no_violation() {
        assert_eq!(at(good()), Vec::<String>::new());
    }

    #[test]
    fn each_broken_promise_is_found() {
        let changed = (
            false,
            Fact::Record(Record {
                spec: "other".into(),
                ..match record("v1", 1, "t1").1 {
                    Fact::Record(record) => record,
                    _ => unreachable!(),
                }
            }),
        );
        let deleted = (true, run("train", "t1", 1, false).1);
        for (history, words) in [
            (with(2, run("sync", "s1-again", 1, true)), "attempt 1 has another run"),
            (with(2, run("sync", "s9", 9, false)), "2 unfinished runs"),
            (with(10, run("sync", "s9", 9, true)), "while Some(2) is reserved"),
            (without(0), "while None is reserved"),
            (with(10, object("sync", 1, None, Some("s1"))), "attempt shrinks from 2 to 1"),
            (with(4, deleted), "deleted before its end"),
            (with(8, record("v1-again", 1, "t1")), "has another record"),
            (with(8, changed), "changes"),
            (with(5, record("v1", 1, "t1")), "does not follow the end"),
            (with(8, record("v2", 1, "another")), "has another record"),
            (without(7), "the end of run t1 is not recorded"),
            (without(12), "the end of run s2 is not recorded"),
            (with(13, object("sync", 2, None, Some("s1"))), "recorded twice"),
            (without(6), "run t1 has not ended"),
        ] {
            let found = at(history);
            assert!(found.iter().any(|violation| violation.contains(words)), "{words}: {found:#?}");
        }
    }
}
