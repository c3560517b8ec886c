//! What the API server does with the runs of a ModelSync, and the checks of the properties.

use modelsync::{
    api::{ModelSyncStatus, Outcome, Repeat},
    core::{sync::validate, time::window::Permission},
    runs::backends,
};

use super::{
    check,
    machine::Machine,
    world::{Earlier, Evidence, Find, ModelSync, Object, World},
};
use crate::common::{
    Broken, Incarnation, Refused, Reply, Request, Run, RunPhase, Serves, Stage, Stored as _, is_ready_of_another,
    moment, trigger,
};

impl Serves for ModelSync {
    fn refuses(world: &World) -> Option<Refused> {
        (!world.own.kind_installed).then_some(Refused::KindMissing)
    }

    fn create(machine: &Machine, world: &mut World, run: Run) -> Run {
        let created = world.own.created(run);
        let since = if machine.configuration.bounds_runs() { world.tick } else { 0 };
        let run = Run { copy: *created, since, ..run };
        *created += 1;
        // Without the fence the name is the only lock, and a run that was deleted is created again under it. With the
        // fence this requires a request that was delivered twice.
        if *created > 1 && machine.configuration.fenced && !machine.retried(world) {
            world.broken.add(Broken::TWICE);
        }
        run
    }

    fn serve(_machine: &Machine, world: &mut World, owner: Incarnation, Find: Find) -> Reply<ModelSync> {
        Reply::Own(Earlier(world.own.earlier && owner == 0))
    }

    fn judge_write(
        machine: &Machine,
        world: &mut World,
        object: &Object,
        (old, new): (&ModelSyncStatus, &ModelSyncStatus),
        evidence: Option<Evidence>,
    ) {
        let owner = usize::from(object.incarnation);
        if new.attempt < old.attempt {
            world.broken.add(check::SHRUNK);
        }
        let ended = old.reservation.is_none()
            && (old.attempt == 0 || old.last_run.as_ref().is_some_and(|last| last.attempt == old.attempt));
        if new.attempt > old.attempt && !ended {
            world.broken.add(check::END_NOT_DURABLE);
        }
        if let (Some(old), Some(new)) = (&old.reservation, &new.reservation)
            && old.attempt == new.attempt
            && new.not_after < old.not_after
        {
            world.broken.add(check::DEADLINE_LOWERED);
        }
        let nonce = |status: &ModelSyncStatus| status.reservation.as_ref().map(|open| open.nonce.clone());
        let reserves = new.reservation.is_some() && (nonce(old) != nonce(new) || evidence.is_some());
        if reserves {
            let usable = evidence.is_some_and(|evidence| {
                evidence.needed
                    && evidence.ends == world.own.ends[owner]
                    && evidence.generation == object.generation
                    && evidence.trigger == object.trigger
            });
            if machine.waits(world, object, old, new) {
                world.broken.add(check::WAITING);
            }
            if !usable || object.deleting || machine.suspends(object.spec) || !machine.is_valid(object.spec) {
                world.broken.add(check::NO_RESPONSE);
            }
        }
        if is_ready_of_another(&new.conditions, new.observed_generation, object.generation) {
            world.broken.add(Broken::READY);
        }
        if let (Some(open), None) = (&old.reservation, &new.reservation) {
            let attempt = u8::try_from(open.attempt).unwrap();
            let of_attempt = |run: &&Run| (run.name.owner, run.name.attempt) == (object.incarnation, attempt);
            let recorded = new.last_run.as_ref().map(|last| last.outcome);
            if world.runs.iter().filter(of_attempt).any(|run| recorded != run.outcome()) {
                world.broken.add(check::END_UNTRUE);
            }
            world.own.ends[owner] += 1;
            *world.own.end_since(object.incarnation, attempt) = u8::try_from(world.tick + 2).unwrap_or(u8::MAX);
        }
    }

    fn judge_run_deletion(machine: &Machine, world: &mut World, run: Run) {
        let since = *world.own.end_since(run.name.owner, run.name.attempt);
        let class = |run: &Run| run.phase == RunPhase::Good;
        let kept = world.runs.iter().filter(|kept| {
            kept.name.owner == run.name.owner && !kept.same(run) && !kept.is_active() && class(kept) == class(&run)
        });
        let limit = machine.configuration.own.limits.map_or(100, |limit| usize::try_from(limit).unwrap());
        let enough = kept.count() >= limit || machine.configuration.budget.run_deletions > world.budget.run_deletions;
        if run.is_active() || since != 1 || !enough {
            world.broken.add(check::DELETION);
        }
    }

    /// While a request for the run is in flight, its deletion is the one exception of a cluster without the fence.
    fn run_deleted(world: &mut World, run: Run) {
        let posts = |request: &Request<ModelSync>| matches!(request, Request::Post { run: posted, .. } if posted.name == run.name);
        let flying =
            world.flights.iter().any(|flight| posts(&flight.request) && !matches!(flight.stage, Stage::Replied(_)));
        let waiting = world.replicas.iter().flat_map(|replica| &replica.views);
        world.own.exception |= flying || waiting.filter_map(|view| view.reconcile.as_ref()).flatten().any(posts);
    }
}

impl Machine {
    /// Whether a request was delivered twice.
    pub fn retried(&self, world: &World) -> bool {
        world.budget.retries < self.configuration.budget.retries
    }

    /// Whether a reserve claims a target that must wait, according to the stored status.
    fn waits(&self, world: &World, object: &Object, old: &ModelSyncStatus, new: &ModelSyncStatus) -> bool {
        let triggered = object.trigger > 0 && old.last_handled_trigger.as_deref() != trigger(object.trigger).as_deref();
        let Ok(valid) = validate(self.spec(object.spec), backends()) else { return false };
        let closed = valid.policy.windows.permission(moment(world.tick)) != Permission::Open;
        if closed && !(triggered && object.annotations.overriding == object.trigger) {
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
        if target.failures >= valid.policy.max_attempts || (target.failures > 0 && last.outcome == Outcome::Cancelled) {
            !edited
        } else if target.failures > 0 {
            within(valid.policy.backoff.after(target.failures))
        } else {
            target.successes > 0 && (valid.repeat == Repeat::Never || within(valid.settle.after(target.successes)))
        }
    }
}
