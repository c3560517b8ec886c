//! From any state, without further faults and with one replica leading, the operator comes to rest: what was demanded is
//! served, and nothing more is to do. Where a target waits for a person it rests, too, until the trigger is set.

use modelsync::core::sync::Rule;

use super::{
    drains::{Drained, Drains, Rest},
    machine::Machine,
    steps::Action,
    time::Tick,
    world::{Asked, Broken, Budget, Evidence, LAST_ATTEMPT, Replica, Request, RunPhase, Said, Stage, View, World},
};

impl Drained for Machine {
    type World = World;
    type Action = Action;

    const PERSON: Action = Action::TriggerOverriding;

    fn known(&self) -> &Drains {
        &self.drains
    }

    fn without_faults(&self, world: &World, leader: u8) -> World {
        let mut world = world.clone();
        world.budget = Budget::default();
        let forged: Vec<_> = world.runs.iter().filter(|run| run.attempt == LAST_ATTEMPT).copied().collect();
        for run in forged {
            Self::remove_run(&mut world, run);
        }
        (world.endpoint_up, world.kind_installed, world.foreign, world.old) = (true, true, false, None);
        let standby = 1 - leader;
        world.replicas[usize::from(standby)] = Replica::started(0);
        for flight in &mut world.flights {
            flight.waiting = flight.waiting.filter(|waiting| *waiting == leader);
        }
        self.forget(&mut world, leader);
        world
    }

    fn restarted(world: &World, leader: u8) -> World {
        let mut restarted = world.clone();
        restarted.replicas[usize::from(leader)] = Replica::started(99);
        restarted
    }

    fn next(world: &World, leader: u8) -> Option<Action> {
        if let Some(flight) = world.flights.first() {
            return Some(match flight.stage {
                Stage::Replied(_) => Action::Reply(*flight),
                Stage::Sent | Stage::Admitted(_) => Action::OnPollResult(*flight),
            });
        }
        if world.object.is_some_and(|object| object.deleting) {
            return Some(Action::ObjectGone);
        }
        if let Some(run) = world.runs.iter().find(|run| Self::is_garbage(world, **run)) {
            return Some(Action::CollectGarbage(*run));
        }
        if Self::object_news(world, leader) {
            return Some(Action::SeeObject(leader));
        }
        if Self::run_news(world, leader) {
            return Some(Action::SeeRuns(leader));
        }
        for (incarnation, view) in (0..).zip(&world.replicas[usize::from(leader)].views) {
            if view.is_due(world.tick) {
                return Some(Action::Reconcile(leader, incarnation));
            }
            if view.in_flight.is_some() {
                return Some(Action::PollResponse(leader, incarnation));
            }
            if view.asks(world.tick) {
                return Some(Action::PollClient(leader, incarnation));
            }
        }
        if world.earlier {
            return Some(Action::EndEarlier);
        }
        let active = world.runs.iter().find(|run| run.phase == RunPhase::Active)?;
        let end = if active.stopped.is_some() { RunPhase::Cancelled } else { RunPhase::Succeeded };
        Some(Action::EndRun(*active, end))
    }

    fn next_timer(world: &World, leader: u8) -> Option<Tick> {
        View::next_timer(&world.replicas[usize::from(leader)].views)
    }

    fn act_on(&self, world: &mut World, leader: u8, action: &Action) {
        *world = self.after(world, action);
        if matches!(action, Action::EndRun(_, RunPhase::Succeeded)) {
            world.serve();
        }
        self.forget(world, leader);
    }

    fn wait(&self, world: &mut World, leader: u8, at: Tick) {
        world.tick = at.max(world.tick + 1);
        self.forget(world, leader);
    }

    fn rest(&self, world: &World, leader: u8) -> Option<Rest> {
        if Self::next(world, leader).is_some() {
            return None;
        }
        let replica = &world.replicas[usize::from(leader)];
        let Some(object) = world.object else {
            return replica.views.iter().all(|view| view.object.is_none()).then_some(Rest::Served);
        };
        let view = &replica.views[usize::from(object.incarnation)];
        let pass = self.pass(world.tick, leader, replica, view)?;
        if !pass.requests.is_empty() || view.timer.is_some() {
            return None;
        }
        let rests = match pass.rule {
            Rule::UpToDate => world.wish == Said::NotNeeded,
            Rule::DesiredUnknown => world.wish == Said::DesiredUnknown,
            Rule::Suspended => self.suspends(object.spec),
            Rule::InvalidSpec => !self.is_valid(object.spec),
            Rule::RetriesExhausted | Rule::Cancelled | Rule::SettledForGood | Rule::OutsideWindow
                if world.wish == Said::Needed =>
            {
                return Some(Rest::Parked);
            }
            _ => false,
        };
        rests.then_some(Rest::Served)
    }

    fn changes_at(&self, _world: &World) -> Option<Tick> {
        None
    }

    fn writes(world: &World) -> Option<String> {
        let write = world.flights.iter().find(|flight| !matches!(flight.request, Request::Get { .. }));
        write.map(ToString::to_string)
    }

    fn describe(&self, world: &World, leader: u8) -> String {
        let replica = &world.replicas[usize::from(leader)];
        let rules: Vec<_> = replica
            .views
            .iter()
            .filter_map(|view| self.pass(world.tick, leader, replica, view))
            .map(|pass| pass.rule)
            .collect();
        let status = world.object.map(|object| self.statuses.get(object.status));
        format!(
            "tick {}, rules {rules:?}, runs {:?}, seen {:?}, status {status:?}",
            world.tick, world.runs, replica.store.runs
        )
    }
}

impl Machine {
    /// Takes out what properties alone look at.
    fn forget(&self, world: &mut World, leader: u8) {
        (world.ends, world.exception) = ([0; 2], false);
        world.end_since = Default::default();
        world.broken = Broken::default();
        for view in &mut world.replicas[usize::from(leader)].views {
            view.evidence = None;
            view.in_flight = view.in_flight.map(|sent| Asked { evidence: Evidence::default(), ..sent });
        }
        world.canonical(self.configuration.fenced);
    }
}
