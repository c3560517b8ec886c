//! When a ModelTrain rests: no training is open, the input, the trigger and the lack of a version are answered, and
//! every record says whether it was accepted. If trainings failed too often, the ModelTrain also rests, until the
//! trigger is set.

use modelsync::{
    api::{AttemptVerdict, ConditionType},
    core::{freshness::answers, status::condition::find, train::Rule},
};

use super::{
    machine::{self, Machine, Reconcile},
    steps::{Action, Own, record_news},
    world::{History, Input, ModelTrain, Object, OwnWorld, Record, RecordRequest, Score, View, World},
};
use crate::common::{Drains, Rest, Tick, tick_of, trigger};

impl Drains for ModelTrain {
    /// Two trainings of two runs.
    const MOST_STEPS: usize = 120;
    const USER: Action = Action::Trigger;

    fn without_faults(world: &mut World) {
        (world.own.old, world.own.score) = (None, Score::Good);
        if !matches!(world.own.input, Input::Value(_)) {
            world.change_input(Input::Value(1));
        }
    }

    fn news(world: &World, leader: u8) -> Option<Action> {
        if record_news(world, leader) {
            return Some(Action::Own(Own::SeeRecords(leader)));
        }
        let source_news = world.replicas[usize::from(leader)].own.source_news;
        source_news.then_some(Action::Own(Own::SeeSource(leader)))
    }

    fn forget(world: &mut OwnWorld) {
        // The earlier creates of a name determine the uid of its next run.
        let created = std::mem::take(&mut world.history.created);
        world.history = History { created, lost: world.history.lost, ..History::default() };
    }

    fn only_reads(request: &RecordRequest) -> bool {
        matches!(request, RecordRequest::Get { .. })
    }

    fn rests(machine: &Machine, world: &World, object: &Object, view: &View, reconcile: &Reconcile) -> Option<Rest> {
        let acts = reconcile.local.reads.is_some() || reconcile.local.judged;
        if acts || machine.waits_for_more(object, view) {
            return None;
        }
        let says_verdicts = || machine.says_verdicts(world, object);
        let rests = match reconcile.rule {
            Rule::Fresh | Rule::NoBetterCandidate => machine.is_answered(world, object) && says_verdicts(),
            Rule::Suspended => machine.suspends(object.spec) && says_verdicts(),
            Rule::InvalidSpec => !machine.is_valid(object.spec),
            Rule::RetriesExhausted => return Some(Rest::Parked),
            _ => false,
        };
        rests.then_some(Rest::Served)
    }

    fn changes_at(machine: &Machine, world: &World) -> Option<Tick> {
        world.object.and_then(|object| machine.fresh_until(&object))
    }

    fn describe(world: &World) -> String {
        format!("input {:?}, records {:?}", world.own.input, world.own.records)
    }
}

impl Machine {
    /// Whether the object waits for more than the next change of its freshness by time alone.
    fn waits_for_more(&self, object: &Object, view: &View) -> bool {
        view.timer.is_some_and(|timer| self.fresh_until(object).is_none_or(|changes| timer < changes))
    }

    /// The moment at which time alone changes the freshness.
    fn fresh_until(&self, object: &Object) -> Option<Tick> {
        self.statuses.get(object.status).next_evaluation_at.map(tick_of)
    }

    /// Whether a training has answered every current reason.
    fn is_answered(&self, world: &World, object: &Object) -> bool {
        let status = self.statuses.get(object.status);
        let is_now = |inputs: &[modelsync::api::RecordedInput]| {
            inputs.iter().any(|input| machine::is_of(&input.digest, world.own.input))
        };
        let accepted = status.accepted_version.as_deref();
        let last = status.last_attempt.as_deref().filter(|last| answers(last.verdict));
        let input =
            accepted.is_some_and(|accepted| is_now(&accepted.inputs)) || last.is_some_and(|last| is_now(&last.inputs));
        let version = accepted.is_some() || last.is_some_and(|last| last.verdict != AttemptVerdict::Accepted);
        let value = trigger(object.trigger);
        let handled = value.is_none() || value.as_deref() == status.last_handled_trigger.as_deref();
        status.reservation.is_none() && input && version && handled
    }

    /// Whether every record says whether it was accepted. A record that was created late, after its removal was noted,
    /// is about to be deleted again.
    fn says_verdicts(&self, world: &World, object: &Object) -> bool {
        let removed = &self.statuses.get(object.status).removed;
        let goes = |record: &Record| removed.iter().any(|removed| removed.name == self.run_name(record.name));
        let of_it = world.own.records.iter().filter(|record| record.name.owner == object.incarnation && !goes(record));
        let says =
            |status| find(&self.values.record_statuses.get(status).conditions, ConditionType::Accepted).is_some();
        world.own.history.lost || of_it.into_iter().all(|record| says(record.status))
    }
}
