//! When a ModelSync rests: the demand is served, and nothing is left to do. If a target waits for a user, the ModelSync
//! also rests, until the trigger is set.

use modelsync::core::sync::Rule;

use super::{
    machine::{Machine, Reconcile},
    steps::{Action, Own},
    world::{ATTEMPTS, ModelSync, Object, OwnWorld, Response, View, World},
};
use crate::common::{Drains, Rest};

impl Drains for ModelSync {
    const MOST_STEPS: usize = 60;
    const USER: Action = Action::Own(Own::TriggerOverriding);

    fn without_faults(world: &mut World) {
        (world.own.endpoint_up, world.own.kind_installed, world.own.old) = (true, true, None);
    }

    fn before_ends(world: &World) -> Option<Action> {
        world.own.earlier.then_some(Action::Own(Own::EndEarlier))
    }

    fn succeeded(world: &mut World) {
        world.own.serve();
    }

    fn forget(world: &mut OwnWorld) {
        (world.ends, world.end_since, world.exception) = ([0; 2], [[0; ATTEMPTS]; 2], false);
    }

    fn rests(machine: &Machine, world: &World, object: &Object, view: &View, reconcile: &Reconcile) -> Option<Rest> {
        let response = world.own.response;
        let rests = match reconcile.rule {
            _ if view.timer.is_some() => false,
            Rule::UpToDate => response == Response::NotNeeded,
            Rule::DesiredUnknown => response == Response::DesiredUnknown,
            Rule::Suspended => machine.suspends(object.spec),
            Rule::InvalidSpec => !machine.is_valid(object.spec),
            Rule::RetriesExhausted | Rule::Cancelled | Rule::SettledForGood | Rule::OutsideWindow
                if response == Response::Needed =>
            {
                return Some(Rest::Parked);
            }
            _ => false,
        };
        rests.then_some(Rest::Served)
    }

    fn describe(world: &World) -> String {
        format!("the endpoint responds {:?}", world.own.response)
    }
}
