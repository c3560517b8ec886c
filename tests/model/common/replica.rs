//! What a replica does: its watches, its reconciles, its poller. The code follows `controller/`, `kube_io/store` and
//! `schedule/`, with every request split into its sending, its effect and its reply.

use modelsync::{
    api::Reason,
    core::{
        poll::context::PollContext,
        run::claim::{CreateRefusal, Lookup, Post, PostState},
        time::MonotonicTime,
    },
};

use super::{
    Context, Flight, Follows, Id, Kind, Knowledge, Machine, Name, Place, Poll, Reconcile, Refused, Reply, Request,
    Stage, Types, View, World, moment, mono, trigger,
};

/// How a kind stores replies and poll results, and what only this kind has at a replica.
pub trait Replies: Types {
    fn remember_post(memory: &mut Self::Memory, run_name: String, post: Post);
    fn remember_look_up(memory: &mut Self::Memory, look_up: Lookup);
    fn remember_response(
        memory: &mut Self::Memory,
        context: PollContext,
        polled: MonotonicTime,
        response: Self::Response,
    );
    /// Whether the run's kind is installed.
    fn is_installed(_world: &World<Self>) -> bool {
        true
    }
    /// Carries out the effects that need no request. Returns whether the reconcile ends with them.
    fn act_locally(
        _machine: &Machine<Self>,
        _world: &mut World<Self>,
        _place: Place,
        _reconcile: &Reconcile<Self>,
    ) -> bool {
        false
    }
    /// Handles the reply to a request that only this kind has.
    fn reply(
        machine: &Machine<Self>,
        world: &mut World<Self>,
        place: Place,
        request: (Self::Request, Reply<Self>),
    ) -> Follows;
    /// The response to a poll at this moment; `None` if there is nothing to poll.
    fn poll(
        machine: &Machine<Self>,
        world: &World<Self>,
        place: Place,
        context: Context,
    ) -> Option<(Self::Response, Option<Self::Evidence>)>;
}

impl<K: Kind> Machine<K> {
    // The watches.

    pub fn object_news(world: &World<K>, index: u8) -> bool {
        let mut views = (0..).zip(&world.replicas[usize::from(index)].views);
        views.any(|(incarnation, view)| view.object != world.stored_object(incarnation))
    }

    pub fn see_object(world: &mut World<K>, index: u8) {
        let live = [world.stored_object(0), world.stored_object(1)];
        for (view, live) in world.replica(index).views.iter_mut().zip(live) {
            if view.object != live {
                (view.object, view.woken) = (live, true);
            }
        }
    }

    fn reported(world: &World<K>) -> Knowledge {
        if K::is_installed(world) { Knowledge::Known } else { Knowledge::Missing }
    }

    pub fn run_news(world: &World<K>, index: u8) -> bool {
        let replica = &world.replicas[usize::from(index)];
        replica.knowledge != Self::reported(world) || replica.store.has_news(&world.runs)
    }

    pub fn see_runs(world: &mut World<K>, index: u8) {
        let reported = Self::reported(world);
        let replica = &mut world.replicas[usize::from(index)];
        replica.store.catch_up(&world.runs);
        replica.knowledge = reported;
        replica.wake();
    }

    // Reconciles.

    pub fn start_reconcile(&self, world: &mut World<K>, place: Place) {
        let replica = &world.replicas[usize::from(place.replica)];
        let view = &replica.views[usize::from(place.object)];
        let reconcile = self.reconcile(world.tick, place.replica, replica, view);
        let view = world.view(place);
        (view.woken, view.timer) = (false, None);
        let Some(reconcile) = reconcile else { return view.forget() };
        view.memory = reconcile.memory;
        view.plan(reconcile.poll);
        world.broken.add(reconcile.broken);
        if reconcile.carries_nonce {
            world.replica(place.replica).nonces += 1;
        }
        if K::act_locally(self, world, place, &reconcile) {
            return;
        }
        let view = world.view(place);
        let version = view.object.map_or(0, |object| object.version);
        let evidence = view.evidence;
        let mut requests = reconcile.requests.iter().map(|request| match *request {
            Request::Patch { before, after, conditional, evidence: reserve, .. } => {
                let evidence = reserve.map(|_| evidence.unwrap_or_default());
                Request::Patch { version, before, after, conditional, evidence }
            }
            other => other,
        });
        let Some(first) = requests.next() else {
            view.timer = reconcile.wake_up;
            return;
        };
        view.reconcile = Some(requests.collect());
        self.send(world, place, first);
    }

    fn send(&self, world: &mut World<K>, place: Place, request: Request<K>) {
        let (at, lag) = (world.tick, world.replica(place.replica).lag);
        let request = match request {
            Request::Post { run, nonce, .. } => {
                self.remember_post(world.view(place), (run.name, nonce), PostState::Unknown);
                request
            }
            Request::Get { name, .. } => Request::Get { name, sent: at - lag, at },
            other => other,
        };
        let Place { replica, object: owner } = place;
        world.flights.push(Flight { owner, waiting: Some(replica), request, stage: Stage::Sent });
    }

    fn remember_post(&self, view: &mut View<K>, (name, nonce): (Name, Id), state: PostState) {
        let nonce = (*self.nonces.get(nonce)).clone();
        let run_name = self.run_name(name);
        view.remember(&self.memories, |memory| K::remember_post(memory, run_name, Post { nonce, state }));
    }

    /// Delivers a reply to the reconcile that waits for it.
    pub fn reply(&self, world: &mut World<K>, flight: Flight<K>) {
        let (Some(index), Stage::Replied(reply)) = (flight.waiting, flight.stage) else { return };
        let place = Place { replica: index, object: flight.owner };
        let (tick, live) = (world.tick, world.stored_object(flight.owner));
        let replica = &mut world.replicas[usize::from(index)];
        let view = &mut replica.views[usize::from(flight.owner)];
        let next = match (flight.request, reply) {
            (Request::Patch { .. }, Reply::Stored(stored)) => {
                view.take_in(stored);
                Follows::Effect
            }
            // The controller reads the object from the API server: a conflict means that there is a newer version.
            (Request::Patch { .. }, Reply::Conflict) => {
                view.object = live;
                Follows::Reconcile
            }
            (Request::Post { run, nonce, generation, trigger: value, .. }, reply) => {
                let state = match reply {
                    Reply::Ours(run) => {
                        replica.store.take_in(&world.runs, run);
                        PostState::Created
                    }
                    Reply::Refused(why) => PostState::Refused(CreateRefusal {
                        reason: match why {
                            Refused::Fence => Reason::ApiUnavailable,
                            Refused::Quota => Reason::QuotaExceeded,
                            Refused::Invalid => Reason::RunRefused,
                            Refused::KindMissing => Reason::RunKindMissing,
                            Refused::Foreign => Reason::NameConflict,
                        },
                        message: String::new(),
                        stalled: matches!(why, Refused::Invalid | Refused::Foreign),
                        generation: i64::from(generation),
                        trigger: trigger(value).map(|value| value.to_string()),
                        at: mono(tick),
                    }),
                    _ => PostState::Unknown,
                };
                self.remember_post(view, (run.name, nonce), state);
                Follows::Effect
            }
            (Request::Get { .. } | Request::Stop { .. }, Reply::Ours(run)) => {
                replica.store.take_in(&world.runs, run);
                Follows::Effect
            }
            (Request::Get { name, sent, at }, Reply::Absent | Reply::Foreign) => {
                let run_name = self.run_name(name);
                let foreign = (reply == Reply::Foreign).then(|| "another owner".to_owned());
                let look_up = Lookup { run_name, sent_at: moment(sent), sent: mono(at), foreign };
                view.remember(&self.memories, |memory| K::remember_look_up(memory, look_up));
                Follows::Effect
            }
            (Request::Delete { run }, Reply::Deleted) => {
                replica.store.remove(run);
                Follows::Effect
            }
            (Request::Own(request), reply) => K::reply(self, world, place, (request, reply)),
            _ => Follows::Failed,
        };
        if let Some(request) = world.view(place).go_on(&next, tick) {
            self.send(world, place, request);
        }
    }

    // The poller.

    pub fn poll(&self, world: &mut World<K>, place: Place) {
        let Some((_, context)) = world.view(place).planned.take() else { return };
        if let Some((response, evidence)) = K::poll(self, world, place, context) {
            let poll = Poll { context, at: world.tick, response, evidence };
            world.view(place).in_flight = Some(poll);
        }
    }

    pub fn take_response(&self, world: &mut World<K>, place: Place) {
        let view = world.view(place);
        let Some(Poll { context, at, response, evidence }) = view.in_flight.take() else { return };
        if view.object.is_none() {
            return;
        }
        view.remember(&self.memories, |memory| K::remember_response(memory, context.into(), mono(at), response));
        (view.evidence, view.woken) = (evidence, true);
    }
}
