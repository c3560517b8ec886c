//! What else can happen to a ModelTrain: to its records, its input, what is measured, and its annotations.

use std::fmt;

use super::{
    configuration::{Configuration, WINDOW},
    machine::Machine,
    world::{History, Input, ModelTrain, Object, OwnWorld, Record, RecordRequest, Score, World},
};
use crate::common::{self, Name, Refused, Reply, Run, RunPhase, Steps};

pub type Action = common::Action<ModelTrain>;

/// One step of the world.
#[derive(Clone, Debug, PartialEq)]
pub enum Own {
    /// The watch of records catches up.
    SeeRecords(u8),
    /// The first list of records comes from a server that lags.
    SeeOldRecords(u8),
    /// A server begins to lag.
    KeepOldRecords,
    /// The watch of the input's source shows that it has changed.
    SeeSource(u8),
    DeleteRecord(Record),
    Hold(Option<Name>),
    Approve(Name),
    Reject(Name),
    SetInput(Input),
    SetScore(Score),
    /// The object's status is overwritten with nothing.
    LoseStatus,
}

impl Steps for ModelTrain {
    const REFUSALS: &'static [Refused] = &[Refused::Quota];

    fn first_world(configuration: &Configuration) -> OwnWorld {
        OwnWorld {
            records: Vec::new(),
            old: None,
            input: configuration.own.input,
            score: Score::Good,
            history: History { inputs: vec![configuration.own.input], ..History::default() },
        }
    }

    fn prepare(configuration: &Configuration, world: &mut World) {
        world.foreign |= configuration.own.foreign_record;
    }

    fn warm(_machine: &Machine, world: &mut World, index: u8) {
        see_records(world, index, world.own.records.clone());
    }

    fn ends(machine: &Machine, _world: &World, run: &Run) -> Vec<RunPhase> {
        let cancelled = run.stopped.map(|_| RunPhase::Cancelled);
        machine.configuration.own.ends.iter().copied().chain(cancelled).collect()
    }

    fn ended(machine: &Machine, world: &mut World, run: &mut Run) {
        if machine.configuration.own.measures {
            run.since = world.tick;
        }
        world.own.history.ends.push(*run);
    }

    fn recreated(world: &mut World) {
        world.own.history.inputs = vec![world.own.input];
    }

    fn possible(machine: &Machine, world: &World, actions: &mut Vec<Action>) {
        let (budget, own) = (&world.budget, &world.own);
        let mut add = |action| actions.push(Action::Own(action));
        for index in 0..machine.configuration.replicas {
            let replica = &world.replicas[usize::from(index)].own;
            if record_news(world, index) {
                add(Own::SeeRecords(index));
            }
            if !replica.knows_records && own.old.is_some() {
                add(Own::SeeOldRecords(index));
            }
            if replica.source_news {
                add(Own::SeeSource(index));
            }
        }
        if budget.record_deletions > 0 {
            own.records.iter().for_each(|record| add(Own::DeleteRecord(*record)));
        }
        if let Some(object) = &world.object {
            if budget.annotations > 0 {
                let names = own.records.iter().map(|record| Some(record.name)).chain([None]);
                names.filter(|name| *name != object.annotations.hold).for_each(|name| add(Own::Hold(name)));
                if let Some(pending) = &machine.statuses.get(object.status).pending_approval {
                    let name = machine.name(&pending.version);
                    [Own::Approve(name), Own::Reject(name)].into_iter().for_each(&mut add);
                }
            }
            if budget.losses > 0 && machine.is_quiet(world, object) {
                add(Own::LoseStatus);
            }
        }
        if budget.inputs > 0 {
            let others = machine.configuration.own.inputs.iter().filter(|input| **input != own.input);
            others.for_each(|input| add(Own::SetInput(*input)));
        }
        if budget.scores > 0 {
            let all = [Score::Absent, Score::Good, Score::Bad];
            all.into_iter().filter(|score| *score != own.score).for_each(|score| add(Own::SetScore(score)));
        }
        if budget.old_lists > 0 {
            add(Own::KeepOldRecords);
        }
    }

    fn act(machine: &Machine, world: &mut World, action: &Own) {
        let (budget, own) = (&mut world.budget, &mut world.own);
        match action {
            Own::SeeRecords(index) => see_records(world, *index, world.own.records.clone()),
            Own::SeeOldRecords(index) => see_records(world, *index, world.own.old.clone().unwrap_or_default()),
            Own::KeepOldRecords => {
                budget.old_lists -= 1;
                own.old = Some(own.records.clone());
            }
            // The last response does not count any more.
            Own::SeeSource(index) => {
                let replica = world.replica(*index);
                replica.own.source_news = false;
                for view in replica.views.iter_mut().filter(|view| view.object.is_some()) {
                    view.remember(&machine.memories, |memory| memory.revision += 1);
                    view.woken = true;
                }
            }
            Own::DeleteRecord(record) => {
                budget.record_deletions -= 1;
                own.history.deleted.push(record.name);
                world.remove_record(*record);
            }
            Own::Hold(name) => {
                budget.annotations -= 1;
                world.change(|object| object.annotations.hold = *name);
            }
            Own::Approve(name) => {
                budget.annotations -= 1;
                world.change(|object| object.annotations.approve = Some(*name));
            }
            Own::Reject(name) => {
                budget.annotations -= 1;
                world.change(|object| object.annotations.reject = Some(*name));
            }
            Own::SetInput(input) => {
                budget.inputs -= 1;
                world.change_input(*input);
            }
            Own::SetScore(score) => {
                budget.scores -= 1;
                own.score = *score;
            }
            Own::LoseStatus => {
                budget.losses -= 1;
                own.history.lost = true;
                own.history.answered = [0; 2];
                world.change(|object| object.status = 0);
            }
        }
    }

    fn matters(world: &OwnWorld, request: &RecordRequest) -> bool {
        match request {
            RecordRequest::Create { .. } => true,
            RecordRequest::Get { .. } => false,
            RecordRequest::WriteStatus { record, .. } | RecordRequest::Delete { record } => {
                world.records.contains(record)
            }
        }
    }

    fn canonical(_machine: &Machine, world: &mut World) {
        world.own.records.sort_unstable();
        for (index, replica) in world.replicas.iter_mut().enumerate() {
            let replies = || world.flights.iter().filter_map(|flight| flight.reply_to(index));
            let own = &mut replica.own;
            own.records.sort_unstable();
            own.gone_records.retain(|gone| {
                own.records.iter().any(|record| record.name == gone.name)
                    || replies().any(|reply| matches!(reply, Reply::Own(record) if record.name == gone.name))
            });
            own.gone_records.sort_unstable();
        }
        let history = &mut world.own.history;
        history.created.sort_unstable();
        history.reserved.sort_unstable();
        history.ends.sort_unstable();
        history.records.sort_unstable();
        history.deleted.sort_unstable();
        history.deleted.dedup();
        history.inputs.sort_unstable();
        history.inputs.dedup();
        history.starts.retain(|(_, at)| world.tick < at + WINDOW);
    }
}

impl Machine {
    /// Whether nothing is in flight and every replica has seen everything. A status that is lost earlier would lose
    /// attempts that nothing else shows.
    fn is_quiet(&self, world: &World, object: &Object) -> bool {
        let status = self.statuses.get(object.status);
        let knows =
            |index: u8| !(Self::object_news(world, index) || Self::run_news(world, index) || record_news(world, index));
        let idle = world.replicas.iter().flat_map(|replica| &replica.views).all(|view| view.reconcile.is_none());
        status.attempt > 0
            && status.reservation.is_none()
            && world.flights.is_empty()
            && idle
            && (0..self.configuration.replicas).all(knows)
    }
}

/// Whether the watch of records has news.
pub fn record_news(world: &World, index: u8) -> bool {
    let replica = &world.replicas[usize::from(index)].own;
    !replica.knows_records || replica.records != world.own.records
}

fn see_records(world: &mut World, index: u8, records: Vec<Record>) {
    let replica = world.replica(index);
    (replica.own.records, replica.own.knows_records) = (records, true);
    replica.own.gone_records.clear();
    replica.wake();
}

impl fmt::Display for Own {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SeeRecords(replica) => write!(f, "replica {replica} sees the records as they are"),
            Self::SeeOldRecords(replica) => write!(f, "replica {replica} is shown an older list of records"),
            Self::KeepOldRecords => write!(f, "a server of the control plane begins to lag"),
            Self::SeeSource(replica) => write!(f, "replica {replica} sees the input's source change"),
            Self::DeleteRecord(record) => write!(f, "a user deletes {record}"),
            Self::Hold(Some(name)) => write!(f, "a user holds {name}"),
            Self::Hold(None) => write!(f, "a user holds nothing any more"),
            Self::Approve(name) => write!(f, "a user approves {name}"),
            Self::Reject(name) => write!(f, "a user rejects {name}"),
            Self::SetInput(input) => write!(f, "the input becomes {input:?}"),
            Self::SetScore(score) => write!(f, "the measured metric becomes {score:?}"),
            Self::LoseStatus => write!(f, "the object's status is lost"),
        }
    }
}
