//! What can happen. What users, Tekton, time and faults do is done here; the rest in `server.rs` and `replica.rs`.

use super::{
    flight,
    machine::{self, Machine},
    object::Incarnation,
    store::{Store, Stored as _},
    world::{
        ATTEMPTS, Broken, Flight, Knowledge, LAST_ATTEMPT, Object, Refused, Replica, Reply, Request, Run, RunPhase,
        Said, Stage, World,
    },
};

/// One thing that happens.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// The watch of objects catches up.
    SeeObject(u8),
    /// The watch of runs catches up.
    SeeRuns(u8),
    /// A pass over one object, up to its first request.
    Reconcile(u8, Incarnation),
    /// A due question is asked; the endpoint makes up its mind.
    PollClient(u8, Incarnation),
    /// The answer arrives.
    PollResponse(u8, Incarnation),
    /// A request takes effect, or passes admission.
    OnPollResult(Flight),
    /// A reply reaches the pass that waits for it.
    Reply(Flight),
    /// The pass gives up waiting. The request stays on its way.
    GiveUp(Flight),
    /// The request is on its way twice.
    Duplicate(Flight),
    /// The API server refuses a POST.
    Refuse(Flight, Refused),
    Tick,
    EndRun(Run, RunPhase),
    /// The process dies and starts again.
    Crash(u8),
    /// The same, and the first lists come from a server that lags.
    CrashIntoThePast(u8),
    /// A server begins to lag.
    KeepOldState,
    /// The replica leads again after another might have.
    NewTerm(u8),
    /// The replica hears a server whose clock is slow.
    HearSlowServer(u8),
    /// The watch of runs has been silent for too long.
    Silence(u8),
    DeleteRun(Run),
    CollectGarbage(Run),
    Edit(u8),
    Trigger,
    /// A trigger that overrides the windows.
    TriggerOverriding,
    /// The cancel annotation names the run of this attempt.
    Annotate(u8),
    FlipAnswer,
    /// What is desired goes, or is there again.
    FlipDesired,
    /// A replica sees a watched source change.
    SeeSource(u8, Incarnation),
    FlipEndpoint,
    DeleteObject,
    ObjectGone,
    Recreate,
    RemoveForeign,
    RemoveForged(Run),
    EndEarlier,
    InstallKind,
}

impl Machine {
    pub fn first_world(&self) -> World {
        let forged = Run { name: 9, phase: RunPhase::Failed, ..machine::new_run(0, LAST_ATTEMPT, 0) };
        let mut world = World {
            tick: 0,
            object: Some(Object::new(0, 1)),
            incarnation: 0,
            runs: if self.configuration.forged { vec![forged] } else { Vec::new() },
            foreign: self.configuration.foreign,
            kind_installed: !self.configuration.kind_missing,
            earlier: self.configuration.earlier,
            wish: Said::Needed,
            endpoint_up: true,
            flights: Vec::new(),
            replicas: [Replica::started(0), Replica::started(0)],
            old: None,
            budget: self.configuration.budget,
            created: [[0; ATTEMPTS]; 2],
            ends: [0; 2],
            end_since: [[0; ATTEMPTS]; 2],
            exception: false,
            broken: Broken::default(),
        };
        if self.configuration.warm {
            for replica in 0..self.configuration.replicas {
                Self::see_object(&mut world, replica);
                Self::see_runs(&mut world, replica);
            }
            if !self.configuration.earlier {
                (0..self.configuration.replicas).for_each(|replica| self.has_searched(&mut world, replica));
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
        world.canonical(self.configuration.fenced);
        world
    }

    /// Everything that can happen now.
    #[expect(clippy::too_many_lines, reason = "one line for each kind of action")]
    pub fn possible(&self, world: &World, actions: &mut Vec<Action>) {
        let (budget, configuration) = (&world.budget, &self.configuration);
        for index in 0..configuration.replicas {
            let replica = &world.replicas[usize::from(index)];
            if Self::object_news(world, index) {
                actions.push(Action::SeeObject(index));
            }
            if Self::run_news(world, index) {
                actions.push(Action::SeeRuns(index));
            }
            for incarnation in 0..2 {
                let view = &replica.views[usize::from(incarnation)];
                let rested = index > 0 && budget.seconds_pass == 0;
                if !rested && view.is_due(world.tick) {
                    actions.push(Action::Reconcile(index, incarnation));
                }
                if view.asks(world.tick) {
                    actions.push(Action::PollClient(index, incarnation));
                }
                if view.in_flight.is_some() {
                    actions.push(Action::PollResponse(index, incarnation));
                }
                if budget.source_changes > 0 && view.object.is_some() {
                    actions.push(Action::SeeSource(index, incarnation));
                }
            }
            if budget.crashes > 0 {
                actions.push(Action::Crash(index));
                if world.old.is_some() {
                    actions.push(Action::CrashIntoThePast(index));
                }
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
        for flight in &world.flights {
            if let Stage::Replied(_) = flight.stage {
                actions.push(Action::Reply(*flight));
            } else {
                actions.push(Action::OnPollResult(*flight));
            }
            if flight.waiting.is_some() && budget.lost > 0 {
                actions.push(Action::GiveUp(*flight));
            }
            if flight.stage == Stage::Sent {
                if budget.retries > 0 && !matches!(flight.request, Request::Get { .. }) {
                    actions.push(Action::Duplicate(*flight));
                }
                if budget.refusals > 0 && matches!(flight.request, Request::Post { .. }) {
                    actions.push(Action::Refuse(*flight, Refused::Quota));
                    actions.push(Action::Refuse(*flight, Refused::Invalid));
                }
            }
        }
        if world.tick < configuration.horizon {
            actions.push(Action::Tick);
        }
        for run in &world.runs {
            if run.phase == RunPhase::Active {
                actions.push(Action::EndRun(*run, RunPhase::Succeeded));
                if budget.run_failures > 0 {
                    actions.push(Action::EndRun(*run, RunPhase::Failed));
                }
                if budget.cancels > 0 || run.stopped.is_some() {
                    actions.push(Action::EndRun(*run, RunPhase::Cancelled));
                }
            }
            if budget.run_deletions > 0 {
                actions.push(Action::DeleteRun(*run));
            }
            if Self::is_garbage(world, *run) {
                actions.push(Action::CollectGarbage(*run));
            }
            if run.attempt == LAST_ATTEMPT {
                actions.push(Action::RemoveForged(*run));
            }
        }
        if budget.old_lists > 0 {
            actions.push(Action::KeepOldState);
        }
        if let Some(object) = world.object {
            if budget.edits > 0 && !object.deleting {
                for spec in 0..u8::try_from(configuration.specs.len()).unwrap() {
                    if spec != object.spec {
                        actions.push(Action::Edit(spec));
                    }
                }
            }
            if budget.triggers > 0 {
                actions.push(Action::Trigger);
            }
            if budget.overrides > 0 {
                actions.push(Action::TriggerOverriding);
            }
            if budget.cancel_annotations > 0 {
                let own = |run: &&Run| run.owner == object.incarnation && run.phase == RunPhase::Active;
                actions.extend(world.runs.iter().filter(own).map(|run| Action::Annotate(run.attempt)));
            }
            if object.deleting {
                actions.push(Action::ObjectGone);
            } else if budget.object_deletions > 0 {
                actions.push(Action::DeleteObject);
            }
        } else if world.incarnation == 0 {
            actions.push(Action::Recreate);
        }
        if budget.flips > 0 {
            actions.push(Action::FlipAnswer);
        }
        if budget.withdrawals > 0 || world.wish == Said::DesiredUnknown {
            actions.push(Action::FlipDesired);
        }
        if world.earlier {
            actions.push(Action::EndEarlier);
        }
        if budget.endpoint_failures > 0 || !world.endpoint_up {
            actions.push(Action::FlipEndpoint);
        }
        if world.foreign {
            actions.push(Action::RemoveForeign);
        }
        if !world.kind_installed {
            actions.push(Action::InstallKind);
        }
    }

    /// The state after an action.
    pub fn after(&self, before: &World, action: &Action) -> World {
        let mut world = before.clone();
        self.act(&mut world, action);
        world.canonical(self.configuration.fenced);
        world
    }

    #[expect(clippy::too_many_lines, reason = "one arm for each kind of action")]
    fn act(&self, world: &mut World, action: &Action) {
        match action {
            Action::SeeObject(replica) => Self::see_object(world, *replica),
            Action::SeeRuns(replica) => Self::see_runs(world, *replica),
            Action::Reconcile(replica, incarnation) => {
                if *replica > 0 {
                    world.budget.seconds_pass = world.budget.seconds_pass.saturating_sub(1);
                }
                self.start_reconcile(world, *replica, *incarnation);
            }
            Action::PollClient(replica, incarnation) => {
                Self::ask(world, *replica, *incarnation);
                if !self.configuration.split_answers {
                    self.response(world, *replica, *incarnation);
                }
            }
            Action::PollResponse(replica, incarnation) => self.response(world, *replica, *incarnation),
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
                match phase {
                    RunPhase::Failed => world.budget.run_failures -= 1,
                    RunPhase::Cancelled if run.stopped.is_none() => world.budget.cancels -= 1,
                    RunPhase::Succeeded if self.configuration.success_serves => world.serve(),
                    _ => {}
                }
                for stored in world.runs.iter_mut().filter(|stored| stored.same(*run)) {
                    (stored.phase, stored.started) = (*phase, 0);
                }
            }
            Action::Crash(replica) => {
                world.budget.crashes -= 1;
                Self::restart(world, *replica);
            }
            Action::CrashIntoThePast(index) => {
                world.budget.crashes -= 1;
                Self::restart(world, *index);
                let Some((object, runs)) = world.old.clone() else { return };
                let replica = &mut world.replicas[usize::from(*index)];
                if let Some(object) = object {
                    let view = &mut replica.views[usize::from(object.incarnation)];
                    (view.object, view.woken) = (Some(object), true);
                }
                replica.store = Store::of_the_past(runs, &world.runs);
                replica.knowledge = Knowledge::Known;
            }
            Action::KeepOldState => {
                world.budget.old_lists -= 1;
                world.old = Some((world.object, world.runs.clone()));
            }
            Action::NewTerm(index) => {
                world.budget.terms -= 1;
                let replica = &mut world.replicas[usize::from(*index)];
                replica.term += 1;
                replica.nonces = 0;
                for view in &mut replica.views {
                    view.memory = 0;
                    (view.planned, view.in_flight, view.evidence) = (None, None, None);
                    view.woken = view.object.is_some();
                }
            }
            Action::HearSlowServer(replica) => {
                world.budget.slow_clocks -= 1;
                world.replicas[usize::from(*replica)].lag += 1;
            }
            Action::Silence(replica) => {
                world.budget.silences -= 1;
                world.replicas[usize::from(*replica)].knowledge = Knowledge::Unknown;
            }
            Action::DeleteRun(run) => {
                world.budget.run_deletions -= 1;
                Self::remove_run(world, *run);
            }
            Action::CollectGarbage(run) | Action::RemoveForged(run) => Self::remove_run(world, *run),
            Action::Edit(spec) => {
                world.budget.edits -= 1;
                world.change(|object| (object.spec, object.generation) = (*spec, object.generation + 1));
            }
            Action::Trigger => {
                world.budget.triggers -= 1;
                world.change(|object| object.trigger += 1);
            }
            Action::TriggerOverriding => {
                world.budget.overrides = world.budget.overrides.saturating_sub(1);
                world.change(|object| (object.trigger, object.overriding) = (object.trigger + 1, object.trigger + 1));
            }
            Action::Annotate(attempt) => {
                world.budget.cancel_annotations -= 1;
                world.change(|object| object.cancel = *attempt);
            }
            Action::FlipAnswer => {
                world.budget.flips -= 1;
                world.wish = if world.wish == Said::Needed { Said::NotNeeded } else { Said::Needed };
            }
            Action::FlipDesired if world.wish == Said::DesiredUnknown => world.wish = Said::Needed,
            Action::FlipDesired => {
                world.budget.withdrawals -= 1;
                world.wish = Said::DesiredUnknown;
            }
            Action::SeeSource(replica, incarnation) => {
                world.budget.source_changes -= 1;
                self.see_source(world, *replica, *incarnation);
            }
            Action::FlipEndpoint => {
                if world.endpoint_up {
                    world.budget.endpoint_failures -= 1;
                }
                world.endpoint_up = !world.endpoint_up;
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
            }
            Action::RemoveForeign => world.foreign = false,
            Action::EndEarlier => world.earlier = false,
            Action::InstallKind => world.kind_installed = true,
        }
    }

    pub fn is_garbage(world: &World, run: Run) -> bool {
        run.owner < world.incarnation
            || world.object.is_none_or(|object| object.deleting && object.incarnation == run.owner)
    }

    fn restart(world: &mut World, index: u8) {
        let term = world.replicas[usize::from(index)].term;
        world.replicas[usize::from(index)] = Replica::started(term + 1);
        flight::abandon(&mut world.flights, index);
    }

    /// A run goes. Whoever could still create it again makes this the one exception of a cluster without the fence.
    pub fn remove_run(world: &mut World, run: Run) {
        world.runs.retain(|stored| !stored.same(run));
        for replica in &mut world.replicas {
            replica.store.deleted(run);
        }
        let posts = |request: &Request| matches!(request, Request::Post { run: posted, .. } if posted.same_name(run));
        let flying =
            world.flights.iter().any(|flight| posts(&flight.request) && !matches!(flight.stage, Stage::Replied(_)));
        let waiting = world.replicas.iter().flat_map(|replica| &replica.views);
        world.exception |= flying || waiting.filter_map(|view| view.pass.as_ref()).flatten().any(posts);
    }
}
