//! What the API server does, and what a property has to say about it.

use modelsync::{
    api::{ModelSyncStatus, Outcome, Repeat},
    core::{sync::validate, time::window::Permission},
    runs::backends,
};

use super::{
    judge,
    machine::Machine,
    merge::merged,
    object::trigger,
    store::Stored as _,
    time::moment,
    world::{
        ATTEMPTS, Broken, Evidence, Flight, Object, Refused, Reply, Request, Run, RunPhase, Stage, Stopped, World,
    },
};

impl Machine {
    /// The API server handles a request.
    pub fn at_server(&self, world: &mut World, flight: Flight) -> Flight {
        let replied = |reply| flight.replied(reply);
        match flight.request {
            Request::Patch { version, before, after, conditional, evidence } => {
                let Some(object) = world.object.filter(|object| object.incarnation == flight.owner) else {
                    return replied(Reply::Conflict);
                };
                if conditional && object.version != version {
                    return replied(Reply::Conflict);
                }
                let there = object.status;
                let after = if there == before { after } else { merged(&self.statuses, there, before, after) };
                replied(Reply::Stored(self.store(world, object, after, evidence, conditional)))
            }
            Request::Post { run, not_after, .. } => match flight.stage {
                Stage::Sent if !world.kind_installed => replied(Reply::Refused(Refused::KindMissing)),
                Stage::Sent if self.configuration.fenced && world.tick > not_after => {
                    replied(Reply::Refused(Refused::Fence))
                }
                Stage::Sent if self.configuration.fenced => Flight { stage: Stage::Admitted(world.tick), ..flight },
                // The server's own timeout: what was admitted a minute ago and is not stored never will be.
                Stage::Admitted(at) if world.tick >= at + 2 => replied(Reply::Unknown),
                Stage::Sent | Stage::Admitted(_) => replied(self.create(world, run)),
                Stage::Replied(_) => flight,
            },
            Request::Get { attempt, .. } => {
                let found =
                    world.runs.iter().find(|run| run.owner == flight.owner && run.attempt == attempt && run.name == 0);
                replied(match found {
                    Some(run) => Reply::Ours(*run),
                    None if world.foreign && attempt == 1 && flight.owner == 0 => Reply::Foreign,
                    None => Reply::Absent,
                })
            }
            Request::Delete { run } => {
                if world.runs.contains(&run) {
                    self.judge_deletion(world, run);
                    Self::remove_run(world, run);
                    return replied(Reply::Deleted);
                }
                let there = world.runs.iter().any(|stored| stored.same_name(run));
                replied(if there { Reply::Conflict } else { Reply::Deleted })
            }
            Request::Stop { run, cause, exact } => replied(Self::stop(world, run, cause, exact)),
            Request::Find => replied(Reply::Earlier(world.earlier && flight.owner == 0)),
        }
    }

    fn stop(world: &mut World, run: Run, cause: Stopped, exact: bool) -> Reply {
        let Some(there) = world.runs.iter_mut().find(|there| there.same_name(run)) else { return Reply::Absent };
        if *there != run {
            if exact {
                return Reply::Conflict;
            }
            world.broken.add(Broken::STOP);
        }
        there.stopped = Some(cause);
        Reply::Ours(*there)
    }

    fn create(&self, world: &mut World, run: Run) -> Reply {
        // A generated name is never taken.
        if run.name == 0 {
            if let Some(there) = world.runs.iter().find(|there| there.same_name(run)) {
                return Reply::Ours(*there);
            }
            if world.foreign && run.attempt == 1 && run.owner == 0 {
                return Reply::Refused(Refused::Foreign);
            }
        }
        let created = &mut world.created[usize::from(run.owner)][usize::from(run.attempt).min(ATTEMPTS - 1)];
        let started = if self.configuration.bounds_runs() { world.tick } else { 0 };
        let run = Run { copy: *created, started, ..run };
        *created += 1;
        // Without the fence the name is the only lock, and a run that was deleted is made again under it. With the fence
        // that takes a request that was delivered twice.
        let retried = world.budget.retries < self.configuration.budget.retries;
        if *created > 1 && self.configuration.fenced && !retried {
            world.broken.add(Broken::TWICE);
        }
        world.runs.push(run);
        Reply::Ours(run)
    }

    /// Stores a status, after looking at what it changes.
    fn store(
        &self,
        world: &mut World,
        object: Object,
        after: u32,
        evidence: Option<Evidence>,
        conditional: bool,
    ) -> Object {
        if object.status == after {
            if conditional {
                world.broken.add(Broken::EMPTY_WRITE);
            }
            return object;
        }
        let (old, new) = (self.statuses.get(object.status), self.statuses.get(after));
        self.judge_write(world, object, &old, &new, evidence);
        let version = world.next_version();
        let stored = Object { status: after, version, ..object };
        world.object = Some(stored);
        stored
    }

    fn judge_write(
        &self,
        world: &mut World,
        object: Object,
        old: &ModelSyncStatus,
        new: &ModelSyncStatus,
        evidence: Option<Evidence>,
    ) {
        let owner = usize::from(object.incarnation);
        let mut broken = world.broken;
        if new.attempt < old.attempt {
            broken.add(Broken::SHRUNK);
        }
        let ended = old.reservation.is_none()
            && (old.attempt == 0 || old.last_run.as_ref().is_some_and(|last| last.attempt == old.attempt));
        if new.attempt > old.attempt && !ended {
            broken.add(Broken::END_NOT_DURABLE);
        }
        if let (Some(old), Some(new)) = (&old.reservation, &new.reservation)
            && old.attempt == new.attempt
            && new.not_after < old.not_after
        {
            broken.add(Broken::DEADLINE_LOWERED);
        }
        let nonce = |status: &ModelSyncStatus| status.reservation.as_ref().map(|open| open.nonce.clone());
        let reserves = new.reservation.is_some() && (nonce(old) != nonce(new) || evidence.is_some());
        if reserves {
            let usable = evidence.is_some_and(|evidence| {
                evidence.needed
                    && evidence.ends == world.ends[owner]
                    && evidence.generation == object.generation
                    && evidence.trigger == object.trigger
            });
            if self.waits(world, object, old, new) {
                broken.add(Broken::WAITING);
            }
            if !usable || object.deleting || self.suspends(object.spec) || !self.is_valid(object.spec) {
                broken.add(Broken::POLL_ERROR);
            }
        }
        if judge::is_ready_of_another(&new.conditions, new.observed_generation, object.generation) {
            broken.add(Broken::READY);
        }
        if let (Some(open), None) = (&old.reservation, &new.reservation) {
            let attempt = u8::try_from(open.attempt).unwrap();
            let of_attempt = |run: &&Run| run.attempt == attempt && usize::from(run.owner) == owner;
            let told = new.last_run.as_ref().map(|last| last.outcome);
            if world.runs.iter().filter(of_attempt).any(|run| told != outcome(*run)) {
                broken.add(Broken::END_UNTRUE);
            }
            world.ends[owner] += 1;
            world.end_since[owner][usize::from(attempt).min(ATTEMPTS - 1)] =
                u8::try_from(world.tick + 2).unwrap_or(u8::MAX);
        }
        world.broken = broken;
    }

    /// Whether a reserve is of a target that is to be left alone, by what is stored.
    fn waits(&self, world: &World, object: Object, old: &ModelSyncStatus, new: &ModelSyncStatus) -> bool {
        let triggered = object.trigger > 0 && old.last_handled_trigger.as_deref() != trigger(object.trigger).as_deref();
        let Ok(valid) = validate(self.spec(object.spec), backends()) else { return false };
        let closed = valid.windows.permission(moment(world.tick)) != Permission::Open;
        if closed && !(triggered && object.overriding == object.trigger) {
            return true;
        }
        let (Some(last), Some(target), Some(open)) = (&old.last_run, &old.target, &new.reservation) else {
            return false;
        };
        if old.reservation.is_some() || triggered || open.target != target.digest || open.target != last.target {
            return false;
        }
        let edited = last.generation != i64::from(object.generation);
        let since = moment(world.tick).duration_since(last.finished_at);
        let within = |pause| since < jiff::SignedDuration::try_from(pause).unwrap();
        if target.failures >= valid.max_attempts || (target.failures > 0 && last.outcome == Outcome::Cancelled) {
            !edited
        } else if target.failures > 0 {
            within(valid.backoff.after(target.failures))
        } else {
            target.successes > 0 && (valid.repeat == Repeat::Never || within(valid.settle.after(target.successes)))
        }
    }

    fn judge_deletion(&self, world: &mut World, run: Run) {
        let since = world.end_since[usize::from(run.owner)][usize::from(run.attempt).min(ATTEMPTS - 1)];
        let class = |run: &Run| run.phase == RunPhase::Succeeded;
        let remaining = world.runs.iter().filter(|remaining| {
            remaining.owner == run.owner
                && !remaining.same(run)
                && remaining.phase != RunPhase::Active
                && class(remaining) == class(&run)
        });
        let limit = self.configuration.limits.map_or(100, |limit| usize::try_from(limit).unwrap());
        let enough = remaining.count() >= limit || self.configuration.budget.run_deletions > world.budget.run_deletions;
        if run.phase == RunPhase::Active || since != 1 || !enough {
            world.broken.add(Broken::DELETION);
        }
    }
}

/// How a run ended, once it has: what the operator has ended counts by the reason that it had.
fn outcome(run: Run) -> Option<Outcome> {
    match (run.phase, run.stopped) {
        (RunPhase::Active, _) => None,
        (RunPhase::Succeeded, _) => Some(Outcome::Succeeded),
        (_, Some(Stopped::TimedOut)) => Some(Outcome::TimedOut),
        (_, Some(Stopped::Cancelled)) | (RunPhase::Cancelled, None) => Some(Outcome::Cancelled),
        (RunPhase::Failed, None) => Some(Outcome::Failed),
    }
}
