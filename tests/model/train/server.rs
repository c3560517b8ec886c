//! What the API server does, and what a property has to say about it.

use modelsync::{
    api::{
        AttemptVerdict, ModelTrainStatus, ModelVersionSpec, Outcome, Reason, RecordedMetric, SlotState, StaleReason,
        StaleReasonType, TrainReservation, Verdict,
    },
    core::freshness::answers,
};

use super::{
    super::{
        intern::Id,
        judge,
        merge::merged,
        store::Stored as _,
        time::{Tick, tick_of},
    },
    configuration::Configuration,
    machine::{self, Machine},
    replica,
    world::{Broken, Flight, Name, Object, Record, Refused, Reply, Request, Run, RunPhase, Stage, World},
};

impl Machine {
    /// The API server handles a request.
    pub fn at_server(&self, world: &mut World, flight: Flight) -> Flight {
        let replied = |reply| flight.replied(reply);
        match flight.request {
            Request::Patch { version, before, after, conditional } => {
                let Some(object) = world.object.filter(|object| object.incarnation == flight.owner) else {
                    return replied(Reply::Conflict);
                };
                if conditional && object.version != version {
                    return replied(Reply::Conflict);
                }
                let there = object.status;
                let after = if there == before { after } else { merged(&self.statuses, there, before, after) };
                replied(Reply::Stored(self.store(world, object, after, conditional)))
            }
            Request::Post { name, not_after, .. } => match flight.stage {
                Stage::Sent if world.tick > not_after => replied(Reply::Refused(Refused::Fence)),
                Stage::Sent => Flight { stage: Stage::Admitted(world.tick), ..flight },
                // The server's own timeout: what was admitted a minute ago and is not stored never will be.
                Stage::Admitted(at) if world.tick >= at + 2 => replied(Reply::Unknown),
                Stage::Admitted(_) => replied(self.create(world, name)),
                Stage::Replied(_) => flight,
            },
            Request::Get { name, .. } => replied(match world.runs.iter().find(|run| run.name == name) {
                Some(run) => Reply::Ours(*run),
                None if Self::is_foreign(world, name, self.configuration.foreign_run) => Reply::Foreign,
                None => Reply::Absent,
            }),
            Request::Stop { run } => replied(match world.runs.iter_mut().find(|there| **there == run) {
                Some(there) => {
                    there.stopped = true;
                    Reply::Ours(*there)
                }
                None => Reply::Conflict,
            }),
            Request::DeleteRun { run } => {
                if world.runs.contains(&run) {
                    self.judge_run_deletion(world, run);
                    Self::remove_run(world, run);
                    return replied(Reply::Deleted);
                }
                let there = world.runs.iter().any(|stored| stored.name == run.name);
                replied(if there { Reply::Conflict } else { Reply::Deleted })
            }
            Request::Record { name, spec, replaces, .. } => replied(self.record(world, name, spec, replaces)),
            Request::GetRecord { name } => {
                let there = world.records.iter().find(|record| record.name == name);
                replied(there.map_or(Reply::Absent, |record| Reply::Stands(*record)))
            }
            Request::Tell { record, after } => {
                let Some(there) = world.records.iter_mut().find(|there| **there == record) else {
                    return replied(Reply::Conflict);
                };
                if there.status == after {
                    world.broken.add(Broken::EMPTY_WRITE);
                }
                there.status = after;
                replied(Reply::Stands(*there))
            }
            Request::DeleteRecord { record } => {
                if world.records.contains(&record) {
                    self.judge_record_deletion(world, record);
                    Self::remove_record(world, record);
                    return replied(Reply::Deleted);
                }
                let there = world.records.iter().any(|stored| stored.name == record.name);
                replied(if there { Reply::Conflict } else { Reply::Deleted })
            }
        }
    }

    fn is_foreign(world: &World, name: Name, kind: bool) -> bool {
        kind && world.foreign && name == Name { owner: 0, attempt: 1, slot: 0 }
    }

    fn create(&self, world: &mut World, name: Name) -> Reply {
        if let Some(there) = world.runs.iter().find(|run| run.name == name) {
            return Reply::Ours(*there);
        }
        if Self::is_foreign(world, name, self.configuration.foreign_run) {
            return Reply::Refused(Refused::Foreign);
        }
        let history = &mut world.history;
        if !history.reserved.contains(&name) {
            world.broken.add(Broken::UNRESERVED);
        }
        if name.attempt <= history.ended[usize::from(name.owner)] {
            world.broken.add(Broken::END);
        }
        let copy = if let Some((_, times)) = history.created.iter_mut().find(|(known, _)| *known == name) {
            world.broken.add(Broken::TWICE);
            *times += 1;
            *times - 1
        } else {
            history.created.push((name, 1));
            0
        };
        let run = Run { name, copy, phase: RunPhase::Active, ended: 0, stopped: false };
        world.runs.push(run);
        Reply::Ours(run)
    }

    fn record(&self, world: &mut World, name: Name, spec: Id, replaces: bool) -> Reply {
        if Self::is_foreign(world, name, self.configuration.foreign_record) {
            return Reply::Foreign;
        }
        if let Some(there) = world.records.iter_mut().find(|record| record.name == name) {
            if replaces && there.spec != spec {
                there.spec = spec;
                world.broken.add(Broken::RECORD_CHANGED);
            }
            return Reply::Stands(*there);
        }
        let content = self.records.get(spec);
        if !self.is_true(world, name, &content) {
            world.broken.add(Broken::RECORD);
        }
        match world.history.records.iter().find(|(known, _)| *known == name) {
            None => world.history.records.push((name, spec)),
            // A late request may write a record once more that retention has removed; its removal is noted, so it goes
            // again. So it is with one that somebody has deleted.
            Some((_, first)) => {
                let noted = self
                    .actionable(world)
                    .is_none_or(|(_, status)| status.removed.iter().any(|removed| removed.name == content.run.name));
                let excused = noted || world.history.taken.contains(&name);
                if !excused || (*first != spec && !world.history.taken.contains(&name)) {
                    world.broken.add(Broken::RECORD_CHANGED);
                }
            }
        }
        let record = Record { name, spec, status: 0 };
        world.records.push(record);
        Reply::Stands(record)
    }

    /// Whether a record says what was the case with its run.
    fn is_true(&self, world: &World, name: Name, spec: &ModelVersionSpec) -> bool {
        if spec.run.outcome == Outcome::Gone {
            return spec.gate.verdict == Verdict::NotJudged && !world.runs.iter().any(|run| run.name == name);
        }
        let run = world.history.ends.iter().find(|run| machine::run_uid(**run) == spec.run.uid);
        let Some(run) = run.filter(|run| run.name == name) else { return false };
        if machine::outcome(*run) != Some(spec.run.outcome) {
            return false;
        }
        if !run.phase.succeeded() {
            return spec.gate.verdict == Verdict::NotJudged;
        }
        let measured = self.configuration.measures;
        let verdict = match score(&spec.metrics) {
            None => Verdict::MetricsUnavailable,
            Some(score) if score > 0.5 => Verdict::Passed,
            Some(_) => Verdict::Failed,
        };
        spec.gate.verdict == verdict && (measured || spec.metrics == replica::results(*run).metrics)
    }

    fn actionable(&self, world: &World) -> Option<(Object, std::sync::Arc<ModelTrainStatus>)> {
        world.object.map(|object| (object, self.statuses.get(object.status)))
    }

    /// Stores a status, after looking at what it changes.
    fn store(&self, world: &mut World, object: Object, after: Id, conditional: bool) -> Object {
        if object.status == after {
            if conditional {
                world.broken.add(Broken::EMPTY_WRITE);
            }
            return object;
        }
        let (old, new) = (self.statuses.get(object.status), self.statuses.get(after));
        self.judge_accepted(world, object, &old, &new);
        self.judge_write(world, object, &old, &new);
        let version = world.next_version();
        let stored = Object { status: after, version, ..object };
        world.object = Some(stored);
        stored
    }

    fn judge_write(&self, world: &mut World, object: Object, old: &ModelTrainStatus, new: &ModelTrainStatus) {
        let attempt = |status: &ModelTrainStatus| status.reservation.as_ref().map(|open| open.attempt);
        if new.attempt < old.attempt {
            world.broken.add(Broken::NUMBER);
        }
        if let Some(open) = old.reservation.as_ref().filter(|_| attempt(old) != attempt(new)) {
            self.judge_end(world, object, new, open);
        }
        if let Some(open) = &new.reservation {
            if attempt(old) != attempt(new) {
                self.judge_reserve(world, object, open);
            }
            let claimed = open.slots.iter().filter(|slot| slot.state != SlotState::Waiting);
            for name in claimed.map(|slot| self.name(&slot.run_name)) {
                if !world.history.reserved.contains(&name) {
                    world.history.reserved.push(name);
                }
            }
        }
        if judge::is_ready_of_another(&new.conditions, new.observed_generation, object.generation) {
            world.broken.add(Broken::READY);
        }
    }

    fn judge_reserve(&self, world: &mut World, object: Object, open: &TrainReservation) {
        let owner = usize::from(object.incarnation);
        let attempt = u8::try_from(open.attempt).unwrap();
        let history = &mut world.history;
        if attempt <= history.last[owner] {
            world.broken.add(Broken::NUMBER);
        }
        if history.ended[owner] < history.last[owner] {
            world.broken.add(Broken::END);
        }
        history.last[owner] = attempt;
        let answered = self.reasons.get(history.answered[owner]);
        if open.reasons.iter().any(|reason| answered.contains(reason)) {
            world.broken.add(Broken::REASON);
        }
        let stood = |digest: &str| history.stood.iter().any(|value| machine::is_of(digest, *value));
        let pinned = open.inputs.iter().any(|input| stood(&input.digest));
        if !pinned || open.reasons.is_empty() || object.deleting || self.suspends(object.spec) {
            world.broken.add(Broken::INPUT);
        }
        // A run counts from the moment that its reservation was made, however late that was stored.
        let made = open.slots.iter().filter_map(|slot| slot.not_after).map(|at| tick_of(at) - 1).min();
        let made = made.unwrap_or(world.tick);
        history.starts.extend(open.slots.iter().map(|_| (object.incarnation, made)));
        let counts = |at: Tick| at <= made && made < at + Configuration::WINDOW;
        let started = history.starts.iter().filter(|(of, at)| *of == object.incarnation && counts(*at)).count();
        if self.configuration.runs_per_minute.is_some_and(|most| started > usize::from(most)) && !history.lost {
            world.broken.add(Broken::BUDGET);
        }
    }

    /// The end of a training is durable: what it was is told by records, and what it answers is spent.
    fn judge_end(&self, world: &mut World, object: Object, new: &ModelTrainStatus, open: &TrainReservation) {
        let owner = usize::from(object.incarnation);
        let history = &mut world.history;
        history.ended[owner] = history.ended[owner].max(u8::try_from(open.attempt).unwrap());
        history.stood = vec![world.input];
        for slot in &open.slots {
            let name = self.name(&slot.run_name);
            let recorded = history.records.iter().any(|(known, _)| *known == name);
            let created = history.created.iter().any(|(known, _)| *known == name);
            if !(recorded || (slot.state == SlotState::Skipped && !created)) {
                world.broken.add(Broken::END);
            }
        }
        let verdict = new.last_attempt.as_ref().map_or(AttemptVerdict::Failed, |last| last.verdict);
        let mut answered = (*self.reasons.get(history.answered[owner])).clone();
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
        world.history.answered[owner] = self.reasons.put(answered);
        self.judge_decision(world, object, new, open);
    }

    /// The best of a training that passed is accepted, or something that is no worse.
    fn judge_decision(&self, world: &mut World, object: Object, new: &ModelTrainStatus, open: &TrainReservation) {
        if object.hold.is_some() || !self.is_valid(object.spec) || !world.history.taken.is_empty() {
            return;
        }
        let slots: Vec<_> = open.slots.iter().map(|slot| self.name(&slot.run_name)).collect();
        let records = world.records.iter().filter(|record| slots.contains(&record.name));
        let passed = records.map(|record| self.records.get(record.spec));
        let passed = passed.filter(|spec| spec.gate.verdict == Verdict::Passed);
        let best = passed.filter_map(|spec| score(&spec.metrics)).reduce(f64::max);
        // What a person approved without the metric cannot be compared with.
        let stands = new.accepted_version.as_ref().map(|accepted| score(&accepted.metrics).unwrap_or(f64::MAX));
        if best.is_some_and(|best| stands.is_none_or(|stands| stands < best)) {
            world.broken.add(Broken::DECISION);
        }
    }

    /// What becomes the accepted version: a record that was written, of a run that passed, or what a person named.
    fn judge_accepted(&self, world: &mut World, object: Object, old: &ModelTrainStatus, new: &ModelTrainStatus) {
        let name = |status: &ModelTrainStatus| status.accepted_version.as_ref().map(|accepted| accepted.name.clone());
        let (was, is) = (name(old), name(new));
        if was == is {
            return;
        }
        let Some(accepted) = &new.accepted_version else { return world.broken.add(Broken::ACCEPTED) };
        let name = self.name(&accepted.name);
        let by_hold = object.hold == Some(name);
        if let Some(hold) = object.hold.filter(|_| !by_hold)
            && (was.as_ref() == Some(&self.text(hold)) || self.can_be_held(world, hold))
        {
            world.broken.add(Broken::HOLD);
        }
        // A record that somebody deletes while it is decided on may be written anew, and say something else.
        let first = world.history.records.iter().find(|(known, _)| *known == name).map(|(_, spec)| *spec);
        let taken = world.history.taken.contains(&name);
        let there = world.records.iter().find(|record| record.name == name).map(|record| record.spec);
        let Some(spec) = there.filter(|_| !taken).or(first).map(|spec| self.records.get(spec)) else {
            return world.broken.add(Broken::ACCEPTED);
        };
        let same = taken || (spec.metrics == accepted.metrics && spec.inputs == accepted.inputs);
        let approved = object.approve == Some(name)
            && old.pending_approval.as_ref().is_some_and(|pending| pending.version == accepted.name);
        let restored = name.owner < object.incarnation && old.attempt == 0 && was.is_none();
        let passed = taken || spec.gate.verdict == Verdict::Passed;
        let once = self.was_accepted(world, name) || old.history.iter().any(|past| past.name == accepted.name);
        if !same || !(passed || approved || (by_hold && once) || (restored && once)) {
            world.broken.add(Broken::ACCEPTED);
        }
    }

    fn can_be_held(&self, world: &World, name: Name) -> bool {
        world
            .records
            .iter()
            .any(|record| record.name == name && self.records.get(record.spec).gate.verdict == Verdict::Passed)
    }

    fn was_accepted(&self, world: &World, name: Name) -> bool {
        let record = world.records.iter().find(|record| record.name == name);
        let status = record.map(|record| self.record_statuses.get(record.status));
        status.is_some_and(|status| {
            let accepted = [Reason::Best, Reason::Approved, Reason::Restored];
            status.conditions.iter().any(|condition| accepted.contains(&condition.reason))
        })
    }

    fn judge_run_deletion(&self, world: &mut World, run: Run) {
        let name = self.text(run.name);
        let recorded = world.history.records.iter().any(|(known, _)| *known == run.name);
        let evidence = self.actionable(world).is_some_and(|(_, status)| is_evidence(&status, &name));
        if run.phase == RunPhase::Active || !recorded || evidence {
            world.broken.add(Broken::RUN_DELETION);
        }
    }

    fn judge_record_deletion(&self, world: &mut World, record: Record) {
        let Some((object, status)) = self.actionable(world) else { return };
        let name = self.text(record.name);
        let noted = status.removed.iter().any(|removed| removed.name == name);
        let head = status.head.as_ref().is_some_and(|head| head.name == name);
        if object.incarnation == record.name.owner && (!noted || head || is_evidence(&status, &name)) {
            world.broken.add(Broken::RECORD_DELETION);
        }
    }

    pub fn remove_run(world: &mut World, run: Run) {
        world.runs.retain(|stored| !stored.same(run));
        for replica in &mut world.replicas {
            replica.store.deleted(run);
        }
    }

    pub fn remove_record(world: &mut World, record: Record) {
        world.records.retain(|stored| stored.name != record.name);
        for replica in &mut world.replicas {
            replica.gone_records.push(record);
        }
    }
}

/// The metric that the gate reads.
fn score(metrics: &[RecordedMetric]) -> Option<f64> {
    metrics.iter().find(|metric| metric.name == "r2")?.value.as_deref()?.parse().ok()
}

/// Whether a version speaks for what is accepted, or may be.
fn is_evidence(status: &ModelTrainStatus, name: &str) -> bool {
    status.accepted_version.as_ref().is_some_and(|accepted| accepted.name == name)
        || status.pending_approval.as_ref().is_some_and(|pending| pending.version == name)
}
