//! From any state, without further faults and with one replica leading, the operator comes to rest: no training is open, the
//! input, the trigger and the lack of a version are answered, and every record says what became of it. Where trainings failed
//! too often it rests, too, until the trigger is set.

use modelsync::{
    api::{AttemptVerdict, ConditionType},
    core::{freshness::answers, status::condition::find, train::Rule},
};

use super::{
    super::{
        drains::{Drained, Drains, Rest},
        object::trigger,
        time::{Tick, tick_of},
    },
    configuration::Configuration,
    machine::{self, Machine},
    steps::Action,
    world::{Broken, Budget, History, Input, Object, Record, Replica, Request, RunPhase, Score, Stage, View, World},
};

impl Drained for Machine {
    type World = World;
    type Action = Action;

    const PERSON: Action = Action::Trigger;

    fn known(&self) -> &Drains {
        &self.drains
    }

    fn without_faults(&self, world: &World, leader: u8) -> World {
        let mut world = world.clone();
        (world.budget, world.foreign, world.old, world.score) = (Budget::default(), false, None, Score::Good);
        if !matches!(world.input, Input::Value(_)) {
            world.change_input(Input::Value(1));
        }
        world.replicas[usize::from(1 - leader)] = Replica::started(0);
        for flight in &mut world.flights {
            flight.waiting = flight.waiting.filter(|waiting| *waiting == leader);
        }
        forget(&mut world);
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
        let news = [
            (Self::object_news(world, leader), Action::SeeObject(leader)),
            (Self::run_news(world, leader), Action::SeeRuns(leader)),
            (Self::record_news(world, leader), Action::SeeRecords(leader)),
            (world.replicas[usize::from(leader)].source_news, Action::SeeSource(leader)),
        ];
        if let Some((_, action)) = news.into_iter().find(|(there, _)| *there) {
            return Some(action);
        }
        for (incarnation, view) in (0..).zip(&world.replicas[usize::from(leader)].views) {
            if view.is_due(world.tick) {
                return Some(Action::Reconcile(leader, incarnation));
            }
            if view.asks(world.tick) {
                return Some(Action::PollClient(leader, incarnation));
            }
        }
        let active = world.runs.iter().find(|run| run.phase == RunPhase::Active)?;
        Some(Action::EndRun(*active, if active.stopped { RunPhase::Cancelled } else { RunPhase::Good }))
    }

    fn next_timer(world: &World, leader: u8) -> Option<Tick> {
        View::next_timer(&world.replicas[usize::from(leader)].views)
    }

    fn act_on(&self, world: &mut World, _leader: u8, action: &Action) {
        *world = self.after(world, action);
        forget(world);
    }

    fn wait(&self, world: &mut World, _leader: u8, at: Tick) {
        world.tick = at.max(world.tick + 1);
        forget(world);
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
        if !pass.requests.is_empty() || pass.reads.is_some() || pass.judged || self.waits_for_more(object, view) {
            return None;
        }
        let rests = match pass.rule {
            Rule::Fresh | Rule::NoBetterCandidate => self.is_answered(world, object) && self.is_told(world, object),
            Rule::Suspended => self.suspends(object.spec) && self.is_told(world, object),
            Rule::InvalidSpec => !self.is_valid(object.spec),
            Rule::RetriesExhausted => return Some(Rest::Parked),
            _ => false,
        };
        rests.then_some(Rest::Served)
    }

    fn changes_at(&self, world: &World) -> Option<Tick> {
        world.object.and_then(|object| self.fresh_until(object))
    }

    fn writes(world: &World) -> Option<String> {
        let looks = |request: &Request| matches!(request, Request::Get { .. } | Request::GetRecord { .. });
        world.flights.iter().find(|flight| !looks(&flight.request)).map(ToString::to_string)
    }

    fn describe(&self, world: &World, leader: u8) -> String {
        let replica = &world.replicas[usize::from(leader)];
        let views = replica.views.iter();
        let rules: Vec<_> = views.filter_map(|view| self.pass(world.tick, leader, replica, view)).collect();
        let rules: Vec<_> = rules.iter().map(|pass| pass.rule).collect();
        let status = world.object.map(|object| self.statuses.get(object.status));
        format!(
            "tick {}, input {:?}, rules {rules:?}, runs {:?}, records {:?}, status {status:#?}",
            world.tick, world.input, world.runs, world.records
        )
    }
}

impl Machine {
    /// Whether something is waited for besides what time alone changes about freshness.
    fn waits_for_more(&self, object: Object, view: &View) -> bool {
        view.timer.is_some_and(|timer| self.fresh_until(object).is_none_or(|changes| timer < changes))
    }

    /// When time alone changes something about freshness.
    fn fresh_until(&self, object: Object) -> Option<Tick> {
        self.statuses.get(object.status).next_evaluation_at.map(tick_of)
    }

    /// Whether a training has answered what stands now.
    fn is_answered(&self, world: &World, object: Object) -> bool {
        let status = self.statuses.get(object.status);
        let is_now = |inputs: &[modelsync::api::RecordedInput]| {
            inputs.iter().any(|input| machine::is_of(&input.digest, world.input))
        };
        let accepted = status.accepted_version.as_deref();
        let last = status.last_attempt.as_deref().filter(|last| answers(last.verdict));
        let input =
            accepted.is_some_and(|accepted| is_now(&accepted.inputs)) || last.is_some_and(|last| is_now(&last.inputs));
        let version = accepted.is_some() || last.is_some_and(|last| last.verdict != AttemptVerdict::Accepted);
        let sent = trigger(object.trigger);
        let triggered = sent.is_none() || sent.as_deref() == status.last_handled_trigger.as_deref();
        status.reservation.is_none() && input && version && triggered
    }

    /// Whether every record says what became of it. One that came late, after its removal, is about to go again.
    fn is_told(&self, world: &World, object: Object) -> bool {
        let removed = &self.statuses.get(object.status).removed;
        let goes = |record: &Record| removed.iter().any(|removed| removed.name == self.text(record.name));
        let of_it = world.records.iter().filter(|record| record.name.owner == object.incarnation && !goes(record));
        let told = |status| find(&self.record_statuses.get(status).conditions, ConditionType::Accepted).is_some();
        world.history.lost || of_it.into_iter().all(|record| told(record.status))
    }
}

/// Takes out what properties alone look at.
fn forget(world: &mut World) {
    // What was created before gives the next run of a name its uid.
    let created = std::mem::take(&mut world.history.created);
    world.history = History { created, lost: world.history.lost, ..History::default() };
    world.broken = Broken::default();
    world.canonical(Configuration::WINDOW);
}
