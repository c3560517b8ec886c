//! From any state, without further faults and with one replica leading, the operator comes to rest: what was demanded is
//! served, and nothing more is to do. Where a target waits for a person it rests, too, until the trigger is set.
//!
//! The way there is the same for equal states, so each state on it is judged once.

use modelsync::core::sync::Rule;

use super::{
    configuration::Configuration,
    machine::Machine,
    steps::Action,
    world::{Asked, Broken, Budget, Evidence, LAST_ATTEMPT, Replica, Request, RunPhase, Said, Stage, World},
};

/// How the operator rests.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Rest {
    /// Nothing is demanded that could be served.
    Served,
    /// The target waits for a person.
    Parked,
}

impl Machine {
    /// Whether the drain from here, with this replica leading, ends well.
    pub fn drains(&self, world: &World, leader: u8) -> Result<(), String> {
        let world = self.without_faults(world, leader);
        let step = |world: &mut World| {
            let rest = self.rest(world, leader);
            if rest.is_some() {
                self.stays_quiet(world.clone(), leader)?;
                let mut restarted = world.clone();
                restarted.replicas[usize::from(leader)] = Replica::started(99);
                self.stays_quiet(restarted, leader).map_err(|why| format!("after a restart, {why}"))?;
            }
            match rest {
                Some(Rest::Served) => return Ok(true),
                Some(Rest::Parked) => self.trigger_now(world, leader),
                None => self.advance(world, leader)?,
            }
            Ok(false)
        };
        self.drains.walk(world, leader, step, |world| self.describe(world, leader))
    }

    /// The steps of a drain in words, for a failure's report.
    pub fn tell_drain(&self, world: &World, leader: u8) -> Vec<String> {
        let mut world = self.without_faults(world, leader);
        let mut told = Vec::new();
        while told.len() <= self.drains.most {
            match self.rest(&world, leader) {
                Some(Rest::Served) => break,
                Some(Rest::Parked) => {
                    told.push(Action::TriggerOverriding.to_string());
                    self.trigger_now(&mut world, leader);
                    continue;
                }
                None => {}
            }
            match Self::next_of_drain(&world, leader) {
                Some(action) => told.push(action.to_string()),
                None => told.push(format!("time passes after tick {}", world.tick)),
            }
            if let Err(why) = self.advance(&mut world, leader) {
                told.push(why);
                break;
            }
        }
        told.push(self.describe(&world, leader));
        told
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
            world.tick, world.runs, replica.runs
        )
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

    /// Takes out what properties alone look at.
    fn forget(&self, world: &mut World, leader: u8) {
        (world.ends, world.exception) = ([0; 2], false);
        world.end_since = Default::default();
        world.broken = Broken::default();
        for view in &mut world.replicas[usize::from(leader)].views {
            view.evidence = None;
            view.under_way = view.under_way.map(|asked| Asked { evidence: Evidence::default(), ..asked });
        }
        world.canonical(self.configuration.fenced, Configuration::MIN_AGE);
    }

    /// The person acts.
    fn trigger_now(&self, world: &mut World, leader: u8) {
        *world = self.after(world, &Action::TriggerOverriding);
        self.forget(world, leader);
    }

    fn next_of_drain(world: &World, leader: u8) -> Option<Action> {
        if let Some(flight) = world.flights.first() {
            return Some(match flight.stage {
                Stage::Replied(_) => Action::Reply(*flight),
                Stage::Sent | Stage::Admitted(_) => Action::Deliver(*flight),
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
            if view.pass.is_none() && (view.woken || view.timer.is_some_and(|at| at <= world.tick)) {
                return Some(Action::Pass(leader, incarnation));
            }
            if view.under_way.is_some() {
                return Some(Action::Answer(leader, incarnation));
            }
            if view.planned.is_some_and(|(at, _)| at <= world.tick) {
                return Some(Action::Ask(leader, incarnation));
            }
        }
        if world.earlier {
            return Some(Action::EndEarlier);
        }
        let active = world.runs.iter().find(|run| run.phase == RunPhase::Active)?;
        let end = if active.stopped.is_some() { RunPhase::Cancelled } else { RunPhase::Succeeded };
        Some(Action::EndRun(*active, end))
    }

    fn advance(&self, world: &mut World, leader: u8) -> Result<(), String> {
        match Self::next_of_drain(world, leader) {
            Some(action) => {
                *world = self.after(world, &action);
                if matches!(action, Action::EndRun(_, RunPhase::Succeeded)) {
                    world.serve();
                }
            }
            None => match Self::next_timer(world, leader) {
                Some(at) => world.tick = at.max(world.tick + 1),
                None => return Err(format!("nothing will ever happen again: {}", self.describe(world, leader))),
            },
        }
        self.forget(world, leader);
        Ok(())
    }

    /// Whether nothing is under way, nothing is demanded that could be served, and only questions are planned.
    fn rest(&self, world: &World, leader: u8) -> Option<Rest> {
        if Self::next_of_drain(world, leader).is_some() {
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

    /// An unchanged world causes no write: not while time passes, and not after a restart.
    fn stays_quiet(&self, mut world: World, leader: u8) -> Result<(), String> {
        for _ in 0..24 {
            if Self::next_of_drain(&world, leader).is_none() && Self::next_timer(&world, leader).is_none() {
                return Ok(());
            }
            self.advance(&mut world, leader)?;
            let writes = |request: Request| !matches!(request, Request::Get { .. });
            if world.flights.iter().any(|flight| writes(flight.request)) {
                return Err(format!(
                    "an unchanged world causes {}: {}",
                    world.flights[0],
                    self.describe(&world, leader)
                ));
            }
        }
        Ok(())
    }
}
