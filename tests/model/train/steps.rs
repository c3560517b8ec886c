//! What can happen. What users, Tekton, time and faults do is done here; the rest in `server.rs` and `replica.rs`.

use super::{
    super::{flight, object::Incarnation, store::Stored as _},
    configuration::Configuration,
    machine::Machine,
    world::{
        Broken, Flight, History, Input, Name, Object, Record, Refused, Replica, Reply, Request, Run, RunPhase, Score,
        Stage, World,
    },
};

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The watch of objects, runs or records catches up.
    SeeObject(u8),
    SeeRuns(u8),
    SeeRecords(u8),
    /// The first list of records comes from a server that lags.
    SeeOldRecords(u8),
    /// A server begins to lag.
    KeepOldRecords,
    /// The watch of the input's source tells that it has changed.
    SeeSource(u8),
    /// A pass over one object, up to its first request.
    Reconcile(u8, Incarnation),
    /// A due question is asked, and answered.
    PollClient(u8, Incarnation),
    /// A request takes effect, or passes admission.
    OnPollResult(Flight),
    /// A reply reaches the pass that waits for it.
    Reply(Flight),
    /// The pass gives up waiting. The request stays on its way.
    GiveUp(Flight),
    /// The API server refuses a POST for now.
    Refuse(Flight),
    Tick,
    EndRun(Run, RunPhase),
    /// The process dies and starts again.
    Crash(u8),
    DeleteRun(Run),
    DeleteRecord(Record),
    Edit(u8),
    Trigger,
    Hold(Option<Name>),
    Approve(Name),
    Reject(Name),
    /// The cancel annotation names a run.
    Cancel(Name),
    SetInput(Input),
    SetScore(Score),
    DeleteObject,
    ObjectGone,
    Recreate,
    RemoveForeign,
    /// Somebody overwrites the object's status with nothing.
    LoseStatus,
}

impl Machine {
    pub fn first_world(&self) -> World {
        let mut world = World {
            tick: 0,
            object: Some(Object::new(0, 1)),
            incarnation: 0,
            runs: Vec::new(),
            records: Vec::new(),
            foreign: self.configuration.foreign_run || self.configuration.foreign_record,
            old: None,
            input: self.configuration.input,
            score: Score::Good,
            flights: Vec::new(),
            replicas: [Replica::started(0), Replica::started(0)],
            budget: self.configuration.budget,
            history: History { stood: vec![self.configuration.input], ..History::default() },
            broken: Broken::default(),
        };
        if self.configuration.warm {
            for replica in 0..self.configuration.replicas {
                Self::see_object(&mut world, replica);
                Self::see_runs(&mut world, replica);
                Self::see_records(&mut world, replica);
            }
            // The first pass of either has written that the object awaits its first answer, and has asked.
            for replica in 0..self.configuration.replicas {
                for _ in 0..2 {
                    self.start_reconcile(&mut world, replica, 0);
                    if let Some(flight) = world.flights.pop() {
                        let done = self.at_server(&mut world, flight);
                        self.reply(&mut world, done);
                    }
                    Self::see_object(&mut world, replica);
                }
            }
        }
        world.canonical(Configuration::WINDOW);
        world
    }

    /// Everything that can happen now.
    pub fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        for index in 0..self.configuration.replicas {
            Self::possible_of_replica(world, index, actions);
        }
        for flight in &world.flights {
            if let Stage::Replied(_) = flight.stage {
                actions.push(Action::Reply(*flight));
            } else {
                actions.push(Action::OnPollResult(*flight));
            }
            if flight.waiting.is_some() && world.budget.lost > 0 {
                actions.push(Action::GiveUp(*flight));
            }
            let post = matches!(flight.request, Request::Post { .. }) && flight.stage == Stage::Sent;
            if post && world.budget.refusals > 0 {
                actions.push(Action::Refuse(*flight));
            }
        }
        if world.tick < self.configuration.horizon {
            actions.push(Action::Tick);
        }
        self.possible_of_runs(world, actions);
        self.possible_of_users(world, actions);
        if world.budget.inputs > 0 {
            let others = self.configuration.inputs.iter().filter(|input| **input != world.input);
            actions.extend(others.map(|input| Action::SetInput(*input)));
        }
        if world.budget.scores > 0 {
            let all = [Score::Absent, Score::Good, Score::Bad];
            actions.extend(all.into_iter().filter(|score| *score != world.score).map(Action::SetScore));
        }
        if world.foreign {
            actions.push(Action::RemoveForeign);
        }
        if world.budget.old_lists > 0 {
            actions.push(Action::KeepOldRecords);
        }
    }

    fn possible_of_replica(world: &World, index: u8, actions: &mut Vec<Action>) {
        let replica = &world.replicas[usize::from(index)];
        if Self::object_news(world, index) {
            actions.push(Action::SeeObject(index));
        }
        if Self::run_news(world, index) {
            actions.push(Action::SeeRuns(index));
        }
        if Self::record_news(world, index) {
            actions.push(Action::SeeRecords(index));
        }
        if !replica.knows.1 && world.old.is_some() {
            actions.push(Action::SeeOldRecords(index));
        }
        if replica.source_news {
            actions.push(Action::SeeSource(index));
        }
        let rested = index > 0 && world.budget.seconds_pass == 0;
        for incarnation in 0..2 {
            let view = &replica.views[usize::from(incarnation)];
            if !rested && view.is_due(world.tick) {
                actions.push(Action::Reconcile(index, incarnation));
            }
            if view.asks(world.tick) {
                actions.push(Action::PollClient(index, incarnation));
            }
        }
        if world.budget.crashes > 0 {
            actions.push(Action::Crash(index));
        }
    }

    fn possible_of_runs(&self, world: &World, actions: &mut Vec<Action>) {
        for run in &world.runs {
            if run.phase == RunPhase::Active {
                actions.extend(self.configuration.ends.iter().map(|end| Action::EndRun(*run, *end)));
                if run.stopped {
                    actions.push(Action::EndRun(*run, RunPhase::Cancelled));
                }
                if world.budget.cancels > 0 {
                    actions.push(Action::Cancel(run.name));
                }
            }
            if world.budget.run_deletions > 0 {
                actions.push(Action::DeleteRun(*run));
            }
        }
        if world.budget.record_deletions > 0 {
            actions.extend(world.records.iter().map(|record| Action::DeleteRecord(*record)));
        }
    }

    fn possible_of_users(&self, world: &World, actions: &mut Vec<Action>) {
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
        if budget.annotations > 0 {
            let names = world.records.iter().map(|record| Some(record.name)).chain([None]);
            actions.extend(names.filter(|name| *name != object.hold).map(Action::Hold));
            if let Some(pending) = &self.statuses.get(object.status).pending_approval {
                let name = self.name(&pending.version);
                actions.extend([Action::Approve(name), Action::Reject(name)]);
            }
        }
        if object.deleting {
            actions.push(Action::ObjectGone);
        } else if budget.object_deletions > 0 {
            actions.push(Action::DeleteObject);
        }
        if budget.losses > 0 && self.is_quiet(world, object) {
            actions.push(Action::LoseStatus);
        }
    }

    /// Whether nothing is on its way, and every replica has seen everything. Who loses a status earlier loses attempts that
    /// nobody else knows of.
    fn is_quiet(&self, world: &World, object: Object) -> bool {
        let status = self.statuses.get(object.status);
        let knows = |index: u8| {
            !(Self::object_news(world, index) || Self::run_news(world, index) || Self::record_news(world, index))
        };
        let idle = world.replicas.iter().flat_map(|replica| &replica.views).all(|view| view.pass.is_none());
        status.attempt > 0
            && status.reservation.is_none()
            && world.flights.is_empty()
            && idle
            && (0..self.configuration.replicas).all(knows)
    }

    /// The state after an action.
    pub fn after(&self, before: &World, action: &Action) -> World {
        let mut world = before.clone();
        self.act(&mut world, action);
        world.canonical(Configuration::WINDOW);
        world
    }

    fn act(&self, world: &mut World, action: &Action) {
        match action {
            Action::SeeObject(replica) => Self::see_object(world, *replica),
            Action::SeeRuns(replica) => Self::see_runs(world, *replica),
            Action::SeeRecords(replica) => Self::see_records(world, *replica),
            Action::SeeOldRecords(index) => {
                let old = world.old.clone().unwrap_or_default();
                Self::see_records_as(world, *index, old);
            }
            Action::KeepOldRecords => {
                world.budget.old_lists -= 1;
                world.old = Some(world.records.clone());
            }
            Action::SeeSource(replica) => {
                world.replicas[usize::from(*replica)].source_news = false;
                self.see_source(world, *replica);
            }
            Action::Reconcile(replica, incarnation) => {
                if *replica > 0 {
                    world.budget.seconds_pass = world.budget.seconds_pass.saturating_sub(1);
                }
                self.start_reconcile(world, *replica, *incarnation);
            }
            Action::PollClient(replica, incarnation) => {
                self.ask(world, *replica, *incarnation);
                self.response(world, *replica, *incarnation);
            }
            Action::OnPollResult(flight) => {
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
            Action::Refuse(flight) => {
                world.budget.refusals -= 1;
                flight::take(&mut world.flights, flight);
                world.flights.push(flight.replied(Reply::Refused(Refused::Quota)));
            }
            Action::Tick => world.tick += 1,
            Action::EndRun(run, phase) => {
                let ended = if self.configuration.measures { world.tick } else { 0 };
                let end = Run { phase: *phase, ended, ..*run };
                world.runs.retain(|stored| !stored.same(*run));
                world.runs.push(end);
                world.history.ends.push(end);
            }
            Action::Crash(index) => {
                world.budget.crashes -= 1;
                let term = world.replicas[usize::from(*index)].term;
                world.replicas[usize::from(*index)] = Replica::started(term + 1);
                flight::abandon(&mut world.flights, *index);
            }
            Action::SetInput(input) => {
                world.budget.inputs -= 1;
                world.change_input(*input);
            }
            Action::SetScore(score) => {
                world.budget.scores -= 1;
                world.score = *score;
            }
            Action::RemoveForeign => world.foreign = false,
            _ => Self::act_of_user(world, action),
        }
    }

    fn act_of_user(world: &mut World, action: &Action) {
        let budget = &mut world.budget;
        match action {
            Action::DeleteRun(run) => {
                budget.run_deletions -= 1;
                Self::remove_run(world, *run);
            }
            Action::DeleteRecord(record) => {
                budget.record_deletions -= 1;
                world.history.taken.push(record.name);
                Self::remove_record(world, *record);
            }
            Action::Edit(spec) => {
                budget.edits -= 1;
                world.change(|object| (object.spec, object.generation) = (*spec, object.generation + 1));
            }
            Action::Trigger => {
                budget.triggers = budget.triggers.saturating_sub(1);
                world.change(|object| object.trigger += 1);
            }
            Action::Hold(name) => {
                budget.annotations -= 1;
                world.change(|object| object.hold = *name);
            }
            Action::Approve(name) => {
                budget.annotations -= 1;
                world.change(|object| object.approve = Some(*name));
            }
            Action::Reject(name) => {
                budget.annotations -= 1;
                world.change(|object| object.reject = Some(*name));
            }
            Action::Cancel(name) => {
                budget.cancels -= 1;
                world.change(|object| object.cancel = Some(*name));
            }
            Action::DeleteObject => {
                budget.object_deletions -= 1;
                world.change(|object| (object.deleting, object.generation) = (true, object.generation + 1));
            }
            Action::ObjectGone => world.object = None,
            Action::Recreate => {
                world.incarnation = 1;
                let version = world.next_version();
                world.object = Some(Object::new(1, version));
                world.history.stood = vec![world.input];
            }
            Action::LoseStatus => {
                budget.losses -= 1;
                world.history.lost = true;
                world.history.answered = [0; 2];
                world.change(|object| object.status = 0);
            }
            _ => unreachable!("done in act"),
        }
    }
}
