//! What can happen: to replicas, requests, runs, the object and time. What the server and the replicas then do is in
//! `server.rs` and `replica.rs`.

use super::{
    Broken, Configuration, Flight, Kind, Knowledge, Machine, Name, Object, Place, Refused, Replica, Reply, Request,
    Run, RunPhase, SERVER_TIMEOUT, Stage, Stored as _, Types, World, flight, versions,
};

/// One step of the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Action<K: Types> {
    /// The watch of objects catches up.
    SeeObject(u8),
    /// The watch of runs catches up.
    SeeRuns(u8),
    /// A reconcile of one object, up to its first request.
    Reconcile(Place),
    /// A due poll is sent, and gets its response.
    Poll(Place),
    /// The response arrives.
    TakeResponse(Place),
    /// A request takes effect, or passes admission.
    Arrive(Flight<K>),
    /// A reply reaches the reconcile that waits for it.
    Reply(Flight<K>),
    /// The reconcile gives up waiting. The request stays in flight.
    GiveUp(Flight<K>),
    /// The request is in flight twice.
    Duplicate(Flight<K>),
    /// The API server refuses a POST.
    Refuse(Flight<K>, Refused),
    Tick,
    EndRun(Run, RunPhase),
    /// The process dies and starts again.
    Crash(u8),
    /// The replica leads again after another might have.
    NewTerm(u8),
    /// The replica gets the time from a server whose clock is slow.
    HearSlowServer(u8),
    /// The watch of runs has been silent for too long.
    Silence(u8),
    DeleteRun(Run),
    CollectGarbage(Run),
    Edit(u8),
    Trigger,
    /// The cancel annotation names this run.
    Cancel(Name),
    DeleteObject,
    ObjectGone,
    Recreate,
    RemoveForeign,
    /// An action that only this kind has.
    Own(K::Action),
}

/// What happens in the worlds of a kind.
pub trait Steps: Types {
    /// Why the API server may refuse a POST.
    const REFUSALS: &'static [Refused];

    /// The part of the first state that only this kind has.
    fn first_world(configuration: &Configuration<Self>) -> Self::World;
    /// Makes further changes to the first state.
    fn prepare(_configuration: &Configuration<Self>, _world: &mut World<Self>) {}
    /// Shows the parts that only this kind has to a replica of a warm world.
    fn warm(_machine: &Machine<Self>, _world: &mut World<Self>, _index: u8) {}
    /// How this active run may end now.
    fn ends(machine: &Machine<Self>, world: &World<Self>, run: &Run) -> Vec<RunPhase>;
    /// Called when a run has ended, before `run` is stored.
    fn ended(machine: &Machine<Self>, world: &mut World<Self>, run: &mut Run);
    /// Whether the garbage collector may delete this run.
    fn is_garbage(_world: &World<Self>, _run: &Run) -> bool {
        false
    }
    /// Called after another object of the same name was created.
    fn recreated(_world: &mut World<Self>) {}
    /// Adds everything else that can happen now.
    fn possible(machine: &Machine<Self>, world: &World<Self>, actions: &mut Vec<Action<Self>>);
    fn act(machine: &Machine<Self>, world: &mut World<Self>, action: &Self::Action);
    /// Whether a request without a waiting sender can still change something.
    fn matters(world: &Self::World, request: &Self::Request) -> bool;
    /// Brings the parts that only this kind has into their canonical form.
    fn canonical(machine: &Machine<Self>, world: &mut World<Self>);
    /// Visits the resourceVersions of the objects that only this kind has.
    fn each_version(_world: &mut Self::World, _visit: &mut dyn FnMut(&mut u8)) {}
}

impl<K: Kind> Machine<K> {
    pub fn first_world(&self) -> World<K> {
        let mut world = World {
            tick: 0,
            object: Some(Object::new(0, 1)),
            incarnation: 0,
            runs: Vec::new(),
            foreign: self.configuration.foreign_run,
            flights: Vec::new(),
            replicas: [Replica::started(0), Replica::started(0)],
            budget: self.configuration.budget,
            broken: Broken::default(),
            own: K::first_world(&self.configuration),
        };
        K::prepare(&self.configuration, &mut world);
        if self.configuration.warm {
            for replica in 0..self.configuration.replicas {
                Self::see_object(&mut world, replica);
                Self::see_runs(&mut world, replica);
                K::warm(self, &mut world, replica);
            }
            // The first reconcile of either has written that the object awaits its first poll result, and has planned a
            // poll.
            for replica in 0..self.configuration.replicas {
                for _ in 0..2 {
                    self.start_reconcile(&mut world, Place { replica, object: 0 });
                    if let Some(flight) = world.flights.pop() {
                        let done = self.at_server(&mut world, flight);
                        self.reply(&mut world, done);
                    }
                    Self::see_object(&mut world, replica);
                }
            }
        }
        self.canonical(&mut world);
        world
    }

    /// Adds everything that can happen now.
    pub fn possible(&self, world: &World<K>, actions: &mut Vec<Action<K>>) {
        for index in 0..self.configuration.replicas {
            Self::possible_of_replica(world, index, actions);
        }
        for flight in &world.flights {
            Self::possible_of_request(world, flight, actions);
        }
        if world.tick < self.configuration.horizon {
            actions.push(Action::Tick);
        }
        for run in &world.runs {
            if run.is_active() {
                actions.extend(K::ends(self, world, run).into_iter().map(|end| Action::EndRun(*run, end)));
            }
            if world.budget.run_deletions > 0 {
                actions.push(Action::DeleteRun(*run));
            }
            if K::is_garbage(world, run) {
                actions.push(Action::CollectGarbage(*run));
            }
        }
        self.possible_of_users(world, actions);
        if world.foreign {
            actions.push(Action::RemoveForeign);
        }
        K::possible(self, world, actions);
    }

    fn possible_of_replica(world: &World<K>, index: u8, actions: &mut Vec<Action<K>>) {
        let (budget, replica) = (&world.budget, &world.replicas[usize::from(index)]);
        if Self::object_news(world, index) {
            actions.push(Action::SeeObject(index));
        }
        if Self::run_news(world, index) {
            actions.push(Action::SeeRuns(index));
        }
        let rested = index > 0 && budget.second_reconciles == 0;
        for (object, view) in (0..).zip(&replica.views) {
            let place = Place { replica: index, object };
            if !rested && view.is_due(world.tick) {
                actions.push(Action::Reconcile(place));
            }
            if view.polls(world.tick) {
                actions.push(Action::Poll(place));
            }
            if view.in_flight.is_some() {
                actions.push(Action::TakeResponse(place));
            }
        }
        if budget.crashes > 0 {
            actions.push(Action::Crash(index));
        }
        if budget.terms > 0 {
            actions.push(Action::NewTerm(index));
        }
        if budget.slow_clocks > 0 {
            actions.push(Action::HearSlowServer(index));
        }
        if budget.silences > 0 && replica.knowledge != Knowledge::Unknown {
            actions.push(Action::Silence(index));
        }
    }

    fn possible_of_request(world: &World<K>, flight: &Flight<K>, actions: &mut Vec<Action<K>>) {
        let budget = &world.budget;
        let replied = matches!(flight.stage, Stage::Replied(_));
        actions.push(if replied { Action::Reply(*flight) } else { Action::Arrive(*flight) });
        if flight.waiting.is_some() && budget.lost > 0 {
            actions.push(Action::GiveUp(*flight));
        }
        if flight.stage == Stage::Sent {
            if budget.retries > 0 && !matches!(flight.request, Request::Get { .. }) {
                actions.push(Action::Duplicate(*flight));
            }
            if budget.refusals > 0 && matches!(flight.request, Request::Post { .. }) {
                actions.extend(K::REFUSALS.iter().map(|why| Action::Refuse(*flight, *why)));
            }
        }
    }

    fn possible_of_users(&self, world: &World<K>, actions: &mut Vec<Action<K>>) {
        let budget = &world.budget;
        let Some(object) = world.object else {
            if world.incarnation == 0 {
                actions.push(Action::Recreate);
            }
            return;
        };
        if budget.edits > 0 && !object.deleting {
            let specs = 0..u8::try_from(self.configuration.specs.len()).unwrap();
            actions.extend(specs.filter(|spec| *spec != object.spec).map(Action::Edit));
        }
        if budget.triggers > 0 {
            actions.push(Action::Trigger);
        }
        if budget.cancel_annotations > 0 {
            let own = world.runs.iter().filter(|run| run.name.owner == object.incarnation && run.is_active());
            actions.extend(own.map(|run| Action::Cancel(run.name)));
        }
        if object.deleting {
            actions.push(Action::ObjectGone);
        } else if budget.object_deletions > 0 {
            actions.push(Action::DeleteObject);
        }
    }

    /// The state after an action.
    pub fn after(&self, before: &World<K>, action: &Action<K>) -> World<K> {
        let mut world = before.clone();
        self.act(&mut world, action);
        self.canonical(&mut world);
        world
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each kind of action")]
    fn act(&self, world: &mut World<K>, action: &Action<K>) {
        match action {
            Action::SeeObject(replica) => Self::see_object(world, *replica),
            Action::SeeRuns(replica) => Self::see_runs(world, *replica),
            Action::Reconcile(place) => {
                if place.replica > 0 {
                    world.budget.second_reconciles = world.budget.second_reconciles.saturating_sub(1);
                }
                self.start_reconcile(world, *place);
            }
            Action::Poll(place) => {
                self.poll(world, *place);
                if !self.configuration.split_polls {
                    self.take_response(world, *place);
                }
            }
            Action::TakeResponse(place) => self.take_response(world, *place),
            Action::Arrive(flight) => {
                flight::take(&mut world.flights, flight);
                let done = self.at_server(world, *flight);
                world.flights.push(done);
            }
            Action::Reply(flight) => {
                flight::take(&mut world.flights, flight);
                self.reply(world, *flight);
            }
            Action::GiveUp(flight) => {
                world.budget.lost -= 1;
                flight::take(&mut world.flights, flight);
                world.flights.push(Flight { waiting: None, ..*flight });
                self.reply(world, flight.replied(Reply::Unknown));
            }
            Action::Duplicate(flight) => {
                world.budget.retries -= 1;
                world.flights.push(Flight { waiting: None, ..*flight });
            }
            Action::Refuse(flight, why) => {
                world.budget.refusals -= 1;
                flight::take(&mut world.flights, flight);
                world.flights.push(flight.replied(Reply::Refused(*why)));
            }
            Action::Tick => world.tick += 1,
            Action::EndRun(run, phase) => {
                let mut ended = Run { phase: *phase, since: 0, ..*run };
                K::ended(self, world, &mut ended);
                world.runs.retain(|stored| !stored.same(*run));
                world.runs.push(ended);
            }
            Action::Crash(index) => {
                world.budget.crashes -= 1;
                Self::restart(world, *index);
            }
            Action::NewTerm(index) => {
                world.budget.terms -= 1;
                let replica = world.replica(*index);
                replica.term += 1;
                replica.nonces = 0;
                for view in &mut replica.views {
                    view.memory = 0;
                    (view.planned, view.in_flight, view.evidence) = (None, None, None);
                    view.woken = view.object.is_some();
                }
            }
            Action::HearSlowServer(index) => {
                world.budget.slow_clocks -= 1;
                world.replica(*index).lag += 1;
            }
            Action::Silence(index) => {
                world.budget.silences -= 1;
                world.replica(*index).knowledge = Knowledge::Unknown;
            }
            Action::DeleteRun(run) => {
                world.budget.run_deletions -= 1;
                Self::remove_run(world, *run);
            }
            Action::CollectGarbage(run) => Self::remove_run(world, *run),
            Action::Edit(spec) => {
                world.budget.edits -= 1;
                world.change(|object| (object.spec, object.generation) = (*spec, object.generation + 1));
            }
            Action::Trigger => {
                world.budget.triggers = world.budget.triggers.saturating_sub(1);
                world.change(|object| object.trigger += 1);
            }
            Action::Cancel(name) => {
                world.budget.cancel_annotations -= 1;
                world.change(|object| object.cancel = Some(*name));
            }
            Action::DeleteObject => {
                world.budget.object_deletions -= 1;
                world.change(|object| (object.deleting, object.generation) = (true, object.generation + 1));
            }
            Action::ObjectGone => world.object = None,
            Action::Recreate => {
                world.incarnation = 1;
                let version = world.next_version();
                world.object = Some(Object::new(1, version));
                K::recreated(world);
            }
            Action::RemoveForeign => world.foreign = false,
            Action::Own(action) => K::act(self, world, action),
        }
    }

    /// The replica's process dies and starts again.
    pub fn restart(world: &mut World<K>, index: u8) {
        let replica = world.replica(index);
        *replica = Replica::started(replica.term + 1);
        flight::abandon(&mut world.flights, index);
    }

    /// Brings a state into the canonical form of all states that differ from it in nothing that matters.
    pub fn canonical(&self, world: &mut World<K>) {
        world.runs.sort_unstable();
        let (tick, object, runs, own) = (world.tick, world.object, &world.runs, &world.own);
        // A request without a waiting sender that cannot change anything any more does not matter.
        world.flights.retain(|flight| {
            flight.waiting.is_some()
                || match (flight.request, flight.stage) {
                    (_, Stage::Replied(_)) | (Request::Get { .. }, _) => false,
                    (Request::Patch { version, conditional, .. }, _) => object.is_some_and(|object| {
                        object.incarnation == flight.owner && (!conditional || object.version == version)
                    }),
                    (Request::Post { not_after, .. }, Stage::Sent) => !self.configuration.fenced || tick <= not_after,
                    (Request::Post { .. }, Stage::Admitted(at)) => tick < at + SERVER_TIMEOUT,
                    (Request::Delete { run } | Request::Stop { run, exact: true, .. }, _) => runs.contains(&run),
                    (Request::Stop { run, .. }, _) => object.is_some_and(|object| object.incarnation == run.name.owner),
                    (Request::Own(request), _) => K::matters(own, &request),
                }
        });
        world.flights.sort_unstable();
        for (index, replica) in world.replicas.iter_mut().enumerate() {
            let replies = || world.flights.iter().filter_map(|flight| flight.reply_to(index));
            replica.store.canonical(|gone| replies().any(|reply| matches!(reply, Reply::Ours(run) if run.same(gone))));
        }
        K::canonical(self, world);
        versions::renumber(world);
    }
}
