//! What the API server does with the runs and records of a ModelTrain, and the checks of the properties.

use std::sync::Arc;

use modelsync::{
    api::{
        AttemptVerdict, ModelTrainStatus, ModelVersionSpec, Outcome, Reason, RecordedMetric, SlotState, StaleReason,
        StaleReasonType, TrainReservation, Verdict,
    },
    core::freshness::answers,
};

use super::{
    check,
    configuration::WINDOW,
    machine::{self, Machine},
    replica,
    world::{ModelTrain, Object, Record, RecordRequest, World},
};
use crate::common::{
    Broken, CLAIM_WINDOW, Id, Incarnation, Name, Reply, Run, Serves, Tick, is_ready_of_another, tick_of,
};

impl Serves for ModelTrain {
    fn create(_machine: &Machine, world: &mut World, run: Run) -> Run {
        let history = &mut world.own.history;
        let name = run.name;
        if !history.reserved.contains(&name) {
            world.broken.add(check::UNRESERVED);
        }
        if name.attempt <= history.ended[usize::from(name.owner)] {
            world.broken.add(check::END);
        }
        let copy = if let Some((_, times)) = history.created.iter_mut().find(|(known, _)| *known == name) {
            world.broken.add(Broken::TWICE);
            *times += 1;
            *times - 1
        } else {
            history.created.push((name, 1));
            0
        };
        Run { copy, ..run }
    }

    fn serve(machine: &Machine, world: &mut World, _: Incarnation, request: RecordRequest) -> Reply<ModelTrain> {
        match request {
            RecordRequest::Create { name, spec, replaces, .. } => machine.create_record(world, name, spec, replaces),
            RecordRequest::Get { name } => {
                let there = world.own.records.iter().find(|record| record.name == name);
                there.map_or(Reply::Absent, |record| Reply::Own(*record))
            }
            RecordRequest::WriteStatus { record, after } => {
                let Some(there) = world.own.records.iter_mut().find(|there| **there == record) else {
                    return Reply::Conflict;
                };
                if there.status == after {
                    world.broken.add(Broken::EMPTY_WRITE);
                }
                there.status = after;
                Reply::Own(*there)
            }
            RecordRequest::Delete { record } => {
                if world.own.records.contains(&record) {
                    machine.judge_record_deletion(world, record);
                    world.remove_record(record);
                    return Reply::Deleted;
                }
                let there = world.own.records.iter().any(|stored| stored.name == record.name);
                if there { Reply::Conflict } else { Reply::Deleted }
            }
        }
    }

    fn judge_write(
        machine: &Machine,
        world: &mut World,
        object: &Object,
        (old, new): (&ModelTrainStatus, &ModelTrainStatus),
        _: Option<()>,
    ) {
        machine.judge_accepted(world, object, old, new);
        let attempt = |status: &ModelTrainStatus| status.reservation.as_ref().map(|open| open.attempt);
        if new.attempt < old.attempt {
            world.broken.add(check::NUMBER);
        }
        if let Some(open) = old.reservation.as_ref().filter(|_| attempt(old) != attempt(new)) {
            machine.judge_end(world, object, new, open);
        }
        if let Some(open) = &new.reservation {
            if attempt(old) != attempt(new) {
                machine.judge_reserve(world, object, open);
            }
            let claimed = open.slots.iter().filter(|slot| slot.state != SlotState::Waiting);
            for name in claimed.map(|slot| machine.name(&slot.run_name)) {
                if !world.own.history.reserved.contains(&name) {
                    world.own.history.reserved.push(name);
                }
            }
        }
        if is_ready_of_another(&new.conditions, new.observed_generation, object.generation) {
            world.broken.add(Broken::READY);
        }
    }

    fn judge_run_deletion(machine: &Machine, world: &mut World, run: Run) {
        let name = machine.run_name(run.name);
        let recorded = world.own.history.records.iter().any(|(known, _)| *known == run.name);
        let evidence = machine.live_status(world).is_some_and(|(_, status)| is_evidence(&status, &name));
        if run.is_active() || !recorded || evidence {
            world.broken.add(check::RUN_DELETION);
        }
    }
}

impl Machine {
    fn create_record(&self, world: &mut World, name: Name, spec: Id, replaces: bool) -> Reply<ModelTrain> {
        if self.configuration.own.foreign_record && world.foreign && name == Name::FIRST {
            return Reply::Foreign;
        }
        if let Some(there) = world.own.records.iter_mut().find(|record| record.name == name) {
            if replaces && there.spec != spec {
                there.spec = spec;
                world.broken.add(check::RECORD_CHANGED);
            }
            return Reply::Own(*there);
        }
        let content = self.values.records.get(spec);
        if !self.is_true(world, name, &content) {
            world.broken.add(check::RECORD);
        }
        match world.own.history.records.iter().find(|(known, _)| *known == name) {
            None => world.own.history.records.push((name, spec)),
            // A late request may create a record again that retention has removed. Its removal is noted, so the
            // operator deletes it again. A record that a user has deleted is excused, too.
            Some((_, first)) => {
                let noted = self
                    .live_status(world)
                    .is_none_or(|(_, status)| status.removed.iter().any(|removed| removed.name == content.run.name));
                let excused = noted || world.own.history.deleted.contains(&name);
                if !excused || (*first != spec && !world.own.history.deleted.contains(&name)) {
                    world.broken.add(check::RECORD_CHANGED);
                }
            }
        }
        let record = Record { name, spec, status: 0 };
        world.own.records.push(record);
        Reply::Own(record)
    }

    /// Whether a record is true to its run.
    fn is_true(&self, world: &World, name: Name, spec: &ModelVersionSpec) -> bool {
        if spec.run.outcome == Outcome::Gone {
            return spec.gate.verdict == Verdict::NotJudged && !world.runs.iter().any(|run| run.name == name);
        }
        let run = world.own.history.ends.iter().find(|run| run.uid() == spec.run.uid);
        let Some(run) = run.filter(|run| run.name == name) else { return false };
        if run.outcome() != Some(spec.run.outcome) {
            return false;
        }
        if !run.phase.succeeded() {
            return spec.gate.verdict == Verdict::NotJudged;
        }
        let measured = self.configuration.own.measures;
        let verdict = match score(&spec.metrics) {
            None => Verdict::MetricsUnavailable,
            Some(score) if score > 0.5 => Verdict::Passed,
            Some(_) => Verdict::Failed,
        };
        spec.gate.verdict == verdict && (measured || spec.metrics == replica::results(*run).metrics)
    }

    fn live_status(&self, world: &World) -> Option<(Object, Arc<ModelTrainStatus>)> {
        world.object.map(|object| (object, self.statuses.get(object.status)))
    }

    fn judge_reserve(&self, world: &mut World, object: &Object, open: &TrainReservation) {
        let owner = usize::from(object.incarnation);
        let attempt = u8::try_from(open.attempt).unwrap();
        let history = &mut world.own.history;
        if attempt <= history.last[owner] {
            world.broken.add(check::NUMBER);
        }
        if history.ended[owner] < history.last[owner] {
            world.broken.add(check::END);
        }
        history.last[owner] = attempt;
        let answered = self.values.reasons.get(history.answered[owner]);
        if open.reasons.iter().any(|reason| answered.contains(reason)) {
            world.broken.add(check::REASON);
        }
        let was_there = |digest: &str| history.inputs.iter().any(|value| machine::is_of(digest, *value));
        let pinned = open.inputs.iter().any(|input| was_there(&input.digest));
        if !pinned || open.reasons.is_empty() || object.deleting || self.suspends(object.spec) {
            world.broken.add(check::INPUT);
        }
        // A run counts from the moment at which its reservation was made, however late the write was stored.
        let made = open.slots.iter().filter_map(|slot| slot.not_after).map(|at| tick_of(at) - CLAIM_WINDOW).min();
        let made = made.unwrap_or(world.tick);
        history.starts.extend(open.slots.iter().map(|_| (object.incarnation, made)));
        let counts = |at: Tick| at <= made && made < at + WINDOW;
        let started = history.starts.iter().filter(|(of, at)| *of == object.incarnation && counts(*at)).count();
        if self.configuration.own.runs_per_minute.is_some_and(|most| started > usize::from(most)) && !history.lost {
            world.broken.add(check::BUDGET);
        }
    }

    /// Checks a training whose end is durable: its runs are recorded, and its reasons are answered.
    fn judge_end(&self, world: &mut World, object: &Object, new: &ModelTrainStatus, open: &TrainReservation) {
        let owner = usize::from(object.incarnation);
        let history = &mut world.own.history;
        history.ended[owner] = history.ended[owner].max(u8::try_from(open.attempt).unwrap());
        history.inputs = vec![world.own.input];
        for slot in &open.slots {
            let name = self.name(&slot.run_name);
            let recorded = history.records.iter().any(|(known, _)| *known == name);
            let created = history.created.iter().any(|(known, _)| *known == name);
            if !(recorded || (slot.state == SlotState::Skipped && !created)) {
                world.broken.add(check::END);
            }
        }
        let verdict = new.last_attempt.as_ref().map_or(AttemptVerdict::Failed, |last| last.verdict);
        let mut answered = (*self.values.reasons.get(history.answered[owner])).clone();
        answered.retain(|reason| reason.type_ != StaleReasonType::Input);
        if verdict == AttemptVerdict::Accepted {
            answered.clear();
        } else if answers(verdict) {
            let inputs = open.inputs.iter().map(|input| StaleReason {
                type_: StaleReasonType::Input,
                name: input.name.clone(),
                value: input.digest.clone(),
            });
            let others = open.reasons.iter().filter(|reason| reason.type_ != StaleReasonType::Input).cloned();
            answered.extend(inputs.chain(others).collect::<Vec<_>>());
            answered.sort_by_key(|reason| format!("{reason:?}"));
            answered.dedup();
        }
        world.own.history.answered[owner] = self.values.reasons.put(answered);
        self.judge_decision(world, object, new, open);
    }

    /// Checks that the best version of a training that passed is accepted, or another one that is no worse.
    fn judge_decision(&self, world: &mut World, object: &Object, new: &ModelTrainStatus, open: &TrainReservation) {
        if object.annotations.hold.is_some() || !self.is_valid(object.spec) || !world.own.history.deleted.is_empty() {
            return;
        }
        let slots: Vec<_> = open.slots.iter().map(|slot| self.name(&slot.run_name)).collect();
        let records = world.own.records.iter().filter(|record| slots.contains(&record.name));
        let passed = records.map(|record| self.values.records.get(record.spec));
        let passed = passed.filter(|spec| spec.gate.verdict == Verdict::Passed);
        let best = passed.filter_map(|spec| score(&spec.metrics)).reduce(f64::max);
        // A version that a user approved without the metric cannot be compared.
        let accepted = new.accepted_version.as_ref().map(|accepted| score(&accepted.metrics).unwrap_or(f64::MAX));
        if best.is_some_and(|best| accepted.is_none_or(|accepted| accepted < best)) {
            world.broken.add(check::DECISION);
        }
    }

    /// Checks that the accepted version is on record, and that it passed or a user named it.
    fn judge_accepted(&self, world: &mut World, object: &Object, old: &ModelTrainStatus, new: &ModelTrainStatus) {
        let name = |status: &ModelTrainStatus| status.accepted_version.as_ref().map(|accepted| accepted.name.clone());
        let (was, is) = (name(old), name(new));
        if was == is {
            return;
        }
        let Some(accepted) = &new.accepted_version else { return world.broken.add(check::ACCEPTED) };
        let name = self.name(&accepted.name);
        let by_hold = object.annotations.hold == Some(name);
        if let Some(hold) = object.annotations.hold.filter(|_| !by_hold)
            && (was.as_ref() == Some(&self.run_name(hold)) || self.can_be_held(world, hold))
        {
            world.broken.add(check::HOLD);
        }
        // A record that a user deletes while its training is open may be written again with other content.
        let first = world.own.history.records.iter().find(|(known, _)| *known == name).map(|(_, spec)| *spec);
        let taken = world.own.history.deleted.contains(&name);
        let there = world.own.records.iter().find(|record| record.name == name).map(|record| record.spec);
        let Some(spec) = there.filter(|_| !taken).or(first).map(|spec| self.values.records.get(spec)) else {
            return world.broken.add(check::ACCEPTED);
        };
        let same = taken || (spec.metrics == accepted.metrics && spec.inputs == accepted.inputs);
        let approved = object.annotations.approve == Some(name)
            && old.pending_approval.as_ref().is_some_and(|pending| pending.version == accepted.name);
        let restored = name.owner < object.incarnation && old.attempt == 0 && was.is_none();
        let passed = taken || spec.gate.verdict == Verdict::Passed;
        let once = self.was_accepted(world, name) || old.history.iter().any(|past| past.name == accepted.name);
        if !same || !(passed || approved || (by_hold && once) || (restored && once)) {
            world.broken.add(check::ACCEPTED);
        }
    }

    fn can_be_held(&self, world: &World, name: Name) -> bool {
        world
            .own
            .records
            .iter()
            .any(|record| record.name == name && self.values.records.get(record.spec).gate.verdict == Verdict::Passed)
    }

    fn was_accepted(&self, world: &World, name: Name) -> bool {
        let record = world.own.records.iter().find(|record| record.name == name);
        let status = record.map(|record| self.values.record_statuses.get(record.status));
        status.is_some_and(|status| {
            let accepted = [Reason::Best, Reason::Approved, Reason::Restored];
            status.conditions.iter().any(|condition| accepted.contains(&condition.reason))
        })
    }

    fn judge_record_deletion(&self, world: &mut World, record: Record) {
        let Some((object, status)) = self.live_status(world) else { return };
        let name = self.run_name(record.name);
        let noted = status.removed.iter().any(|removed| removed.name == name);
        let head = status.head.as_ref().is_some_and(|head| head.name == name);
        if object.incarnation == record.name.owner && (!noted || head || is_evidence(&status, &name)) {
            world.broken.add(check::RECORD_DELETION);
        }
    }
}

/// The metric that the gate reads.
fn score(metrics: &[RecordedMetric]) -> Option<f64> {
    metrics.iter().find(|metric| metric.name == "r2")?.value.as_deref()?.parse().ok()
}

/// Whether a version is evidence for what is accepted, or may be accepted.
fn is_evidence(status: &ModelTrainStatus, name: &str) -> bool {
    status.accepted_version.as_ref().is_some_and(|accepted| accepted.name == name)
        || status.pending_approval.as_ref().is_some_and(|pending| pending.version == name)
}
