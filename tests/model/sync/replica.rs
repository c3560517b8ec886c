//! What a process remembers of a ModelSync, and its polls of the endpoint.

use std::{sync::Arc, time::Duration};

use modelsync::core::{
    poll::{
        context::PollContext,
        response::{Demand, PollError, PollErrorKind, PollResponse, PollResult},
    },
    run::claim::{Lookup, Post},
    sync::{LegacyRun, Memory},
    time::MonotonicTime,
};

use super::{
    machine::Machine,
    world::{Earlier, Evidence, Find, ModelSync, Response, World},
};
use crate::common::{Context, Follows, Place, Replies, Reply, mono};

impl Replies for ModelSync {
    fn remember_post(memory: &mut Memory, _run_name: String, post: Post) {
        memory.post = Some(post);
    }

    fn remember_look_up(memory: &mut Memory, look_up: Lookup) {
        memory.lookup = Some(look_up);
    }

    fn remember_response(memory: &mut Memory, context: PollContext, sent: MonotonicTime, response: Response) {
        let valid = |demand| Ok(Arc::new(PollResponse { demand, ..PollResponse::default() }));
        let result = match response {
            Response::Error => Err(PollError { class: PollErrorKind::Timeout, message: String::new() }),
            Response::Needed => valid(Demand::Needed),
            Response::NotNeeded => valid(Demand::NotNeeded),
            Response::DesiredUnknown => valid(Demand::DesiredUnknown),
        };
        memory.record_poll_result(PollResult { context, sent, took: Duration::ZERO, result });
    }

    fn is_installed(world: &World) -> bool {
        world.own.kind_installed
    }

    fn reply(machine: &Machine, world: &mut World, place: Place, (Find, reply): (Find, Reply<ModelSync>)) -> Follows {
        let Reply::Own(Earlier(found)) = reply else { return Follows::Failed };
        let legacy_run = LegacyRun { run: found.then(|| "earlier".to_owned()), at: mono(world.tick) };
        world.view(place).remember(&machine.memories, |memory| memory.legacy_run = Some(legacy_run));
        Follows::Effect
    }

    fn poll(_machine: &Machine, world: &World, place: Place, context: Context) -> Option<(Response, Option<Evidence>)> {
        let response = if world.own.endpoint_up { world.own.response } else { Response::Error };
        let evidence = Evidence {
            needed: response == Response::Needed,
            ends: world.own.ends[usize::from(place.object)],
            generation: context.generation,
            trigger: context.trigger,
        };
        Some((response, Some(evidence)))
    }
}
