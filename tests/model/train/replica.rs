//! What a process remembers of a ModelTrain, its requests for records, and its polls. Reading results and judging
//! change nothing in the world, and are one step.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use modelsync::core::{
    poll::{
        context::PollContext,
        response::{PollError, PollErrorKind, PollResult},
    },
    results::Results,
    run::claim::{Lookup, Post},
    time::MonotonicTime,
    train::{InputValue, Memory, Observation, TrainPollResponse, poll},
};

use super::{
    machine::{self, Machine, Reconcile},
    world::{Input, ModelTrain, RecordRequest, Response, Score, View, World},
};
use crate::common::{Context, Follows, Name, Place, Replies, Reply, Run, Stored as _, mono};

impl Replies for ModelTrain {
    fn remember_post(memory: &mut Memory, run_name: String, post: Post) {
        memory.posts.insert(run_name, post);
    }

    fn remember_look_up(memory: &mut Memory, look_up: Lookup) {
        memory.lookups.insert(look_up.run_name.clone(), look_up);
    }

    fn remember_response(memory: &mut Memory, context: PollContext, sent: MonotonicTime, response: Response) {
        let response = match response {
            Response::Observed(input) => {
                let inputs = BTreeMap::from([("data".to_owned(), read(input))]);
                TrainPollResponse::Observed(Observation { inputs, ..Observation::default() })
            }
            Response::Measured(run, score) => {
                let text = match score {
                    Score::Absent => None,
                    Score::Good => Some("0.7".to_owned()),
                    Score::Bad => Some("0.3".to_owned()),
                };
                TrainPollResponse::Measured(run.uid(), BTreeMap::from([("r2".to_owned(), Ok(text))]))
            }
        };
        memory.record_poll_result(PollResult { context, sent, took: Duration::ZERO, result: Ok(Arc::new(response)) });
    }

    fn act_locally(machine: &Machine, world: &mut World, place: Place, reconcile: &Reconcile) -> bool {
        let tick = world.tick;
        let exists = |run: &Run| world.runs.iter().any(|alive| alive.same(*run));
        let readable = reconcile.local.reads.as_ref().map(exists);
        let view = world.view(place);
        match (reconcile.local.reads, readable) {
            (Some(run), Some(true)) => {
                view.remember(&machine.memories, |memory| drop(memory.results.insert(run.uid(), results(run))));
                view.woken = true;
            }
            (Some(_), _) => view.timer = Some(tick + 1),
            (None, _) => view.woken = reconcile.local.judged,
        }
        reconcile.local.reads.is_some() || reconcile.local.judged
    }

    fn reply(
        machine: &Machine,
        world: &mut World,
        place: Place,
        (request, reply): (RecordRequest, Reply<ModelTrain>),
    ) -> Follows {
        let conflict = ("another object".to_owned(), mono(world.tick));
        let replica = &mut world.replicas[usize::from(place.replica)];
        let view = &mut replica.views[usize::from(place.object)];
        match (request, reply) {
            (RecordRequest::Create { name, spec, before, .. }, Reply::Own(found)) => {
                let (meant, there) = (machine.values.records.get(spec), machine.values.records.get(found.spec));
                // A record at the same place in the chain was written before a crash, from metrics that may have
                // changed since.
                let adopted = meant.run.uid == there.run.uid
                    && (meant.digest == there.digest || there.previous == machine.statuses.get(before).head);
                if adopted {
                    replica.own.take_in(&world.own.records, found);
                } else {
                    remember(machine, view, name, |memory, name| drop(memory.conflicts.insert(name, conflict)));
                }
            }
            (RecordRequest::Create { name, .. }, Reply::Foreign) => {
                remember(machine, view, name, |memory, name| drop(memory.conflicts.insert(name, conflict)));
            }
            (RecordRequest::Get { name }, Reply::Absent) => {
                remember(machine, view, name, |memory, name| memory.absent.extend([name]));
            }
            (RecordRequest::Get { .. } | RecordRequest::WriteStatus { .. }, Reply::Own(record)) => {
                replica.own.take_in(&world.own.records, record);
            }
            (RecordRequest::Delete { record }, Reply::Deleted) => {
                replica.own.records.retain(|stored| stored.name != record.name);
            }
            _ => return Follows::Failed,
        }
        Follows::Effect
    }

    /// Builds the poll as the controller does, with the response of this moment.
    fn poll(machine: &Machine, world: &World, place: Place, context: Context) -> Option<(Response, Option<()>)> {
        let replica = &world.replicas[usize::from(place.replica)];
        let view = &replica.views[usize::from(place.object)];
        let object = view.object.filter(|object| object.generation == context.generation)?;
        let Some(open) = &machine.statuses.get(object.status).reservation else {
            return Some((Response::Observed(world.own.input), None));
        };
        let own = replica.store.runs.iter().filter(|run| run.name.owner == place.object);
        let own: Vec<_> = own.map(|run| (*run, machine.record(*run))).collect();
        let target = poll::measure_next(machine.spec(object.spec), open, own.iter().map(|(_, record)| record));
        let Some(poll::TrainPollTarget::Measure { run_uid, .. }) = target else { return None };
        let run = own.iter().find(|(_, record)| record.uid == run_uid).map(|(run, _)| *run);
        Some((Response::Measured(run.unwrap(), world.own.score), None))
    }
}

fn remember(machine: &Machine, view: &mut View, name: Name, change: impl FnOnce(&mut Memory, String)) {
    let name = machine.run_name(name);
    view.remember(&machine.memories, |memory| change(memory, name));
}

fn read(input: Input) -> poll::Read<InputValue> {
    match input {
        Input::Value(value) => {
            let text = machine::input_text(value);
            let attributes = BTreeMap::from([("value".to_owned(), text.clone())]);
            Ok(Some(InputValue { text, attributes }))
        }
        Input::Absent => Ok(None),
        Input::Failing => Err(PollError { class: PollErrorKind::Source, message: String::new() }),
    }
}

/// The results that a run reports.
pub fn results(run: Run) -> Results {
    let metric = |value: &str| {
        serde_json::from_value(serde_json::json!({ "name": "r2", "value": value, "source": "Results" })).unwrap()
    };
    Results { metrics: run.phase.metric().map(metric).into_iter().collect(), ..Results::default() }
}
