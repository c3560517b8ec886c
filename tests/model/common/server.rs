//! What the API server does, and the checks of the properties.

use modelsync::{
    api::{Condition, ConditionStatus, ConditionType},
    core::status::condition::find,
};

use super::{
    Broken, Flight, Id, Incarnation, Kind, Machine, Name, Object, Refused, Reply, Request, Run, SERVER_TIMEOUT, Stage,
    Stopped, Stored as _, Types, World, merge::merged,
};

/// The server's side of a kind, and the checks of its properties.
pub trait Serves: Types {
    /// Why the server refuses every POST at present.
    fn refuses(_world: &World<Self>) -> Option<Refused> {
        None
    }
    /// Checks the creation of a run, and distinguishes it from earlier ones of its name.
    fn create(machine: &Machine<Self>, world: &mut World<Self>, run: Run) -> Run;
    fn serve(
        machine: &Machine<Self>,
        world: &mut World<Self>,
        owner: Incarnation,
        request: Self::Request,
    ) -> Reply<Self>;
    /// Checks a write of the status of `object`.
    fn judge_write(
        machine: &Machine<Self>,
        world: &mut World<Self>,
        object: &Object<Self>,
        statuses: (&Self::Status, &Self::Status),
        evidence: Option<Self::Evidence>,
    );
    fn judge_run_deletion(machine: &Machine<Self>, world: &mut World<Self>, run: Run);
    /// Called after a run was deleted.
    fn run_deleted(_world: &mut World<Self>, _run: Run) {}
}

impl<K: Kind> Machine<K> {
    /// Handles a request as the API server does.
    pub fn at_server(&self, world: &mut World<K>, flight: Flight<K>) -> Flight<K> {
        let replied = |reply| flight.replied(reply);
        match flight.request {
            Request::Patch { version, before, after, conditional, evidence } => {
                let Some(object) = world.stored_object(flight.owner) else { return replied(Reply::Conflict) };
                if conditional && object.version != version {
                    return replied(Reply::Conflict);
                }
                let there = object.status;
                let after = if there == before { after } else { merged(&self.statuses, there, before, after) };
                replied(Reply::Stored(self.store(world, object, after, evidence, conditional)))
            }
            Request::Post { run, not_after, .. } => match (flight.stage, K::refuses(world)) {
                (Stage::Sent, Some(why)) => replied(Reply::Refused(why)),
                (Stage::Sent, None) if self.configuration.fenced && world.tick > not_after => {
                    replied(Reply::Refused(Refused::Fence))
                }
                (Stage::Sent, None) if self.configuration.fenced => {
                    Flight { stage: Stage::Admitted(world.tick), ..flight }
                }
                // The timeout of the request: a POST that was admitted before that and is not stored never will be.
                (Stage::Admitted(at), _) if world.tick >= at + SERVER_TIMEOUT => replied(Reply::Unknown),
                (Stage::Sent | Stage::Admitted(_), _) => replied(self.create(world, run)),
                (Stage::Replied(_), _) => flight,
            },
            Request::Get { name, .. } => replied(match world.runs.iter().find(|run| run.name == name) {
                Some(run) => Reply::Ours(*run),
                None if self.is_foreign(world, name) => Reply::Foreign,
                None => Reply::Absent,
            }),
            Request::Delete { run } => {
                if world.runs.contains(&run) {
                    K::judge_run_deletion(self, world, run);
                    Self::remove_run(world, run);
                    return replied(Reply::Deleted);
                }
                let there = world.runs.iter().any(|stored| stored.name == run.name);
                replied(if there { Reply::Conflict } else { Reply::Deleted })
            }
            Request::Stop { run, cause, exact } => replied(Self::stop(world, run, cause, exact)),
            Request::Own(request) => replied(K::serve(self, world, flight.owner, request)),
        }
    }

    fn is_foreign(&self, world: &World<K>, name: Name) -> bool {
        self.configuration.foreign_run && world.foreign && name == Name::FIRST
    }

    fn create(&self, world: &mut World<K>, run: Run) -> Reply<K> {
        // A slot that the protocol does not have means a generated name, which is never taken.
        if run.name.slot < K::slots(&self.configuration.own) {
            if let Some(there) = world.runs.iter().find(|there| there.name == run.name) {
                return Reply::Ours(*there);
            }
            if self.is_foreign(world, run.name) {
                return Reply::Refused(Refused::Foreign);
            }
        }
        let run = K::create(self, world, run);
        world.runs.push(run);
        Reply::Ours(run)
    }

    fn stop(world: &mut World<K>, run: Run, cause: Stopped, exact: bool) -> Reply<K> {
        let Some(there) = world.runs.iter_mut().find(|there| there.name == run.name) else { return Reply::Absent };
        if *there != run {
            if exact {
                return Reply::Conflict;
            }
            world.broken.add(Broken::STOP);
        }
        there.stopped = Some(cause);
        Reply::Ours(*there)
    }

    /// Stores a status, after checking what it changes.
    fn store(
        &self,
        world: &mut World<K>,
        object: Object<K>,
        after: Id,
        evidence: Option<K::Evidence>,
        conditional: bool,
    ) -> Object<K> {
        if object.status == after {
            if conditional {
                world.broken.add(Broken::EMPTY_WRITE);
            }
            return object;
        }
        let (old, new) = (self.statuses.get(object.status), self.statuses.get(after));
        K::judge_write(self, world, &object, (&old, &new), evidence);
        let version = world.next_version();
        let stored = Object { status: after, version, ..object };
        world.object = Some(stored);
        stored
    }

    pub fn remove_run(world: &mut World<K>, run: Run) {
        world.runs.retain(|stored| !stored.same(run));
        for replica in &mut world.replicas {
            replica.store.deleted(run);
        }
        K::run_deleted(world, run);
    }
}

/// Whether a status reports Ready for another generation than `generation`.
pub fn is_ready_of_another(conditions: &[Condition], observed_generation: i64, generation: u8) -> bool {
    let present = i64::from(generation);
    find(conditions, ConditionType::Ready).is_some_and(|ready| {
        ready.status == ConditionStatus::True
            && (observed_generation != present || ready.observed_generation != present)
    })
}
