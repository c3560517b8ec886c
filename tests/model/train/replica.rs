//! What a replica does: its watches, its passes, its poller. As `controller/model_train.rs`, `kube_io/store.rs` and
//! `schedule/` do it, with every request split into its sending, its effect and its reply. Reading results and judging change
//! nothing in the world, and are one step.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use modelsync::{
    api::Reason,
    core::{
        poll::response::{PollError, PollErrorKind, PollResult},
        results::Results,
        run::claim::{Lookup, Post, PostState, Refusal},
        train::{InputValue, Observation, TrainPollResponse, poll},
    },
};

use super::{
    super::{
        object::{Incarnation, trigger},
        store::Stored as _,
        time::{Tick, moment, mono},
        view::{Asked, Requeue},
    },
    machine::{self, Machine},
    world::{Flight, Input, Name, Record, Refused, Reply, Request, Run, Said, Score, Stage, View, World},
};

impl Machine {
    // The watches.

    pub fn object_news(world: &World, index: u8) -> bool {
        View::has_news(&world.replicas[usize::from(index)].views, world.object)
    }

    pub fn see_object(world: &mut World, index: u8) {
        View::catch_up(&mut world.replicas[usize::from(index)].views, world.object);
    }

    pub fn run_news(world: &World, index: u8) -> bool {
        let replica = &world.replicas[usize::from(index)];
        !replica.knows.0 || replica.store.has_news(&world.runs)
    }

    pub fn see_runs(world: &mut World, index: u8) {
        let replica = &mut world.replicas[usize::from(index)];
        replica.store.catch_up(&world.runs);
        replica.knows.0 = true;
        View::wake(&mut replica.views);
    }

    pub fn record_news(world: &World, index: u8) -> bool {
        let replica = &world.replicas[usize::from(index)];
        !replica.knows.1 || replica.records != world.records
    }

    pub fn see_records(world: &mut World, index: u8) {
        let actionable = world.records.clone();
        Self::see_records_as(world, index, actionable);
    }

    pub fn see_records_as(world: &mut World, index: u8, records: Vec<Record>) {
        let replica = &mut world.replicas[usize::from(index)];
        (replica.records, replica.knows.1) = (records, true);
        replica.gone_records.clear();
        View::wake(&mut replica.views);
    }

    // Passes.

    pub fn start_reconcile(&self, world: &mut World, index: u8, incarnation: Incarnation) {
        let tick = world.tick;
        let replica = &world.replicas[usize::from(index)];
        let pass = self.pass(tick, index, replica, &replica.views[usize::from(incarnation)]);
        let replica = &mut world.replicas[usize::from(index)];
        let view = &mut replica.views[usize::from(incarnation)];
        (view.woken, view.timer) = (false, None);
        let Some(pass) = pass else {
            view.forget();
            return;
        };
        world.broken.add(pass.broken.0);
        view.memory = pass.memory;
        view.plan(pass.request);
        if pass.used_nonce {
            replica.nonces += 1;
        }
        if let Some(run) = pass.reads {
            if world.runs.iter().any(|actionable| actionable.same(run)) {
                view.remember(&self.memories, |memory| {
                    memory.results.insert(machine::run_uid(run), results(run));
                });
                view.woken = true;
            } else {
                view.timer = Some(tick + 1);
            }
            return;
        }
        if pass.judged {
            view.woken = true;
            return;
        }
        let version = view.object.map_or(0, |object| object.version);
        let mut requests = pass.requests.iter().map(|request| match *request {
            Request::Patch { before, after, conditional, .. } => Request::Patch { version, before, after, conditional },
            other => other,
        });
        let Some(first) = requests.next() else {
            view.timer = pass.wake_up;
            return;
        };
        view.pass = Some(requests.collect());
        self.send(world, index, incarnation, first);
    }

    fn send(&self, world: &mut World, index: u8, owner: Incarnation, request: Request) {
        let tick = world.tick;
        let view = &mut world.replicas[usize::from(index)].views[usize::from(owner)];
        let request = match request {
            Request::Post { name, nonce, .. } => {
                self.remember_post(view, (name, nonce), PostState::Unknown);
                request
            }
            Request::Get { name, .. } => Request::Get { name, sent: tick },
            _ => request,
        };
        world.flights.push(Flight { owner, waiting: Some(index), request, stage: Stage::Sent });
    }

    fn remember_post(&self, view: &mut View, (name, nonce): (Name, u32), state: PostState) {
        let nonce = (*self.nonces.get(nonce)).clone();
        let name = self.text(name);
        view.remember(&self.memories, |memory| drop(memory.posts.insert(name, Post { nonce, state })));
    }

    /// The pass that waits takes in a reply.
    pub fn reply(&self, world: &mut World, flight: Flight) {
        let (Some(index), Stage::Replied(reply)) = (flight.waiting, flight.stage) else { return };
        let actionable = world.object.filter(|object| object.incarnation == flight.owner);
        let tick = world.tick;
        let replica = &mut world.replicas[usize::from(index)];
        let view = &mut replica.views[usize::from(flight.owner)];
        let next = match (flight.request, reply) {
            (Request::Patch { .. }, Reply::Stored(stored)) => {
                view.take_in(stored);
                Requeue::Effect
            }
            // The object is read live: a conflict means that there is something newer.
            (Request::Patch { .. }, Reply::Conflict) => {
                view.object = actionable;
                Requeue::Reconcile
            }
            (Request::Post { name, nonce, generation, trigger: value, .. }, reply) => {
                let state = match reply {
                    Reply::Ours(run) => {
                        replica.store.take_in(&world.runs, run);
                        PostState::Created
                    }
                    Reply::Refused(why) => PostState::Refused(Refusal {
                        reason: match why {
                            Refused::Fence => Reason::ApiUnavailable,
                            Refused::Quota => Reason::QuotaExceeded,
                            Refused::Foreign => Reason::NameConflict,
                        },
                        message: String::new(),
                        stalled: why == Refused::Foreign,
                        generation: i64::from(generation),
                        trigger: trigger(value),
                        at: mono(tick),
                    }),
                    _ => PostState::Unknown,
                };
                self.remember_post(view, (name, nonce), state);
                Requeue::Effect
            }
            (Request::Get { .. } | Request::Stop { .. }, Reply::Ours(run)) => {
                replica.store.take_in(&world.runs, run);
                Requeue::Effect
            }
            (Request::Get { name, sent }, Reply::Absent | Reply::Foreign) => {
                let run_name = self.text(name);
                let foreign = (reply == Reply::Foreign).then(|| "somebody".to_owned());
                let (sent_at, sent) = (moment(sent), mono(sent));
                let lookup = Lookup { run_name: run_name.clone(), sent_at, sent, foreign };
                view.remember(&self.memories, |memory| drop(memory.lookups.insert(run_name, lookup)));
                Requeue::Effect
            }
            (Request::DeleteRun { run }, Reply::Deleted) => {
                replica.store.remove(run);
                Requeue::Effect
            }
            (Request::Record { name, spec, before, .. }, Reply::Stands(found)) => {
                let (meant, stands) = (self.records.get(spec), self.records.get(found.spec));
                // Written before a crash, from metrics that may have changed since, at the same place in the chain.
                let adopted = meant.run.uid == stands.run.uid
                    && (meant.digest == stands.digest || stands.previous == self.statuses.get(before).head);
                if adopted {
                    take_in_record(&mut replica.records, &replica.gone_records, &world.records, found);
                } else {
                    self.conflict(view, name, tick);
                }
                Requeue::Effect
            }
            (Request::Record { name, .. }, Reply::Foreign) => {
                self.conflict(view, name, tick);
                Requeue::Effect
            }
            (Request::GetRecord { name }, Reply::Absent) => {
                let name = self.text(name);
                view.remember(&self.memories, |memory| memory.absent.extend([name]));
                Requeue::Effect
            }
            (Request::Tell { .. } | Request::GetRecord { .. }, Reply::Stands(record)) => {
                take_in_record(&mut replica.records, &replica.gone_records, &world.records, record);
                Requeue::Effect
            }
            (Request::DeleteRecord { record }, Reply::Deleted) => {
                replica.records.retain(|stored| stored.name != record.name);
                Requeue::Effect
            }
            _ => Requeue::Failed,
        };
        if let Some(request) = view.go_on(&next, tick) {
            self.send(world, index, flight.owner, request);
        }
    }

    fn conflict(&self, view: &mut View, name: Name, tick: Tick) {
        let seen = ("stands".to_owned(), mono(tick));
        let name = self.text(name);
        view.remember(&self.memories, |memory| drop(memory.conflicts.insert(name, seen)));
    }

    // The poller.

    /// As `build_poll`, with the answer of the moment.
    pub fn ask(&self, world: &mut World, index: u8, incarnation: Incarnation) {
        let (tick, input, score) = (world.tick, world.input, world.score);
        let replica = &mut world.replicas[usize::from(index)];
        let view = &mut replica.views[usize::from(incarnation)];
        let Some((_, context)) = view.planned.take() else { return };
        let Some(object) = view.object.filter(|object| object.generation == context.generation) else { return };
        let status = self.statuses.get(object.status);
        let said = match &status.reservation {
            None => Said::Observed(input),
            Some(open) => {
                let own: Vec<_> = replica
                    .store
                    .runs
                    .iter()
                    .filter(|run| run.name.owner == incarnation)
                    .map(|run| (*run, self.run_record(*run)))
                    .collect();
                let sent = poll::measure_next(self.spec(object.spec), open, own.iter().map(|(_, record)| record));
                let Some(poll::TrainPollTarget::Measure { run_uid, .. }) = sent else { return };
                let run = own.iter().find(|(_, record)| record.uid == run_uid).map(|(run, _)| *run);
                Said::Measured(run.unwrap(), score)
            }
        };
        view.in_flight = Some(Asked { context, at: tick, said, evidence: () });
    }

    pub fn response(&self, world: &mut World, index: u8, incarnation: Incarnation) {
        let view = &mut world.replicas[usize::from(index)].views[usize::from(incarnation)];
        let Some(Asked { context, at, said, .. }) = view.in_flight.take() else { return };
        if view.object.is_none() {
            return;
        }
        let response = match said {
            Said::Observed(input) => {
                let inputs = BTreeMap::from([("data".to_owned(), read(input))]);
                TrainPollResponse::Observed(Observation { inputs, ..Observation::default() })
            }
            Said::Measured(run, score) => {
                let text = match score {
                    Score::Absent => None,
                    Score::Good => Some("0.7".to_owned()),
                    Score::Bad => Some("0.3".to_owned()),
                };
                TrainPollResponse::Measured(machine::run_uid(run), BTreeMap::from([("r2".to_owned(), Ok(text))]))
            }
        };
        let (context, sent) = (context.into(), mono(at));
        let polled = PollResult { context, sent, took: Duration::ZERO, result: Ok(Arc::new(response)) };
        view.remember(&self.memories, |memory| memory.record_poll_result(polled));
        view.woken = true;
    }

    /// The watch tells that the input's source has changed: what was heard before says nothing any more.
    pub fn see_source(&self, world: &mut World, index: u8) {
        for view in &mut world.replicas[usize::from(index)].views {
            if view.object.is_some() {
                view.remember(&self.memories, |memory| memory.revision += 1);
                view.woken = true;
            }
        }
    }
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

/// What a run reports.
pub fn results(run: Run) -> Results {
    let metric = |value: &str| {
        serde_json::from_value(serde_json::json!({ "name": "r2", "value": value, "source": "Results" })).unwrap()
    };
    Results { metrics: run.phase.metric().map(metric).into_iter().collect(), ..Results::default() }
}

/// What a request returned of a record. Where the watch is ahead, what it brought stays; a record whose deletion it has
/// brought stays away.
fn take_in_record(records: &mut Vec<Record>, undelivered: &[Record], actionable: &[Record], record: Record) {
    let same = |known: &Record| known.name == record.name;
    if records.iter().any(|known| same(known) && actionable.contains(known)) {
        return;
    }
    if actionable.iter().chain(undelivered).any(same) {
        records.retain(|known| !same(known));
        records.push(record);
    }
}
