//! What must hold in every state of a ModelSync.

use modelsync::{api::ModelSyncStatus, core::sync::Rule};
use stateright::Property;

use super::{
    machine::Machine,
    world::{ModelSync, World},
};
use crate::common::{Broken, Checks, unbroken};

pub const SHRUNK: Broken = Broken::own(0);
pub const END_NOT_DURABLE: Broken = Broken::own(1);
pub const END_UNTRUE: Broken = Broken::own(2);
pub const NO_RESPONSE: Broken = Broken::own(3);
pub const DELETION: Broken = Broken::own(4);
pub const UNKNOWN_RUNS: Broken = Broken::own(5);
pub const DEADLINE_LOWERED: Broken = Broken::own(6);
pub const OLD_LOOK_UP: Broken = Broken::own(7);
pub const OLD_RESPONSE: Broken = Broken::own(8);
pub const WAITING: Broken = Broken::own(9);
pub const REFUSED_IS_GONE: Broken = Broken::own(10);

impl Checks for ModelSync {
    const RULES: &'static [Rule] = Rule::ALL;

    fn attempt(status: &ModelSyncStatus) -> i64 {
        status.attempt
    }

    fn properties(machine: &Machine) -> Vec<Property<Machine>> {
        let mut properties = vec![
            Property::always("1: at most one unfinished run per object", |machine: &Machine, world: &World| {
                machine.excused(world) || one_unfinished_run(world)
            }),
            Property::always(
                "3: an end is recorded of ended runs only, and as what it was",
                |machine: &Machine, world: &World| machine.excused(world) || !world.broken.has(END_UNTRUE),
            ),
        ];
        properties.extend(unbroken! { ModelSync,
            "3: the attempt never shrinks" SHRUNK
            "3: a new attempt only after the end of the last is durable" END_NOT_DURABLE
            "3.1: the deadline of an attempt is never lowered" DEADLINE_LOWERED
            "3.1: gone requires a look-up after the last sighting" OLD_LOOK_UP
            "3.1: a run that was certainly refused is never recorded as gone" REFUSED_IS_GONE
            "3.2: no reserve while runs are unknown" UNKNOWN_RUNS
            "4: no reserve without a usable response" NO_RESPONSE
            "4: no reserve of a target that waits or is parked" WAITING
            "4: no reserve by a response from before the end of a wait" OLD_RESPONSE
            "5: only runs that may go are deleted" DELETION
        });
        if machine.configuration.own.exception {
            properties.push(Property::sometimes("the one exception is found", |_, world: &World| {
                world.own.exception && !one_unfinished_run(world)
            }));
        }
        properties
    }

    /// States after the one exception show nothing new.
    fn is_sound(world: &World) -> bool {
        one_unfinished_run(world)
    }
}

impl Machine {
    /// The one exception: a run was deleted while a request for it was in flight. With the fence this requires a
    /// request that was delivered twice, all within 90 seconds of the reservation.
    fn excused(&self, world: &World) -> bool {
        world.own.exception && (self.retried(world) || !self.configuration.fenced)
    }
}

fn one_unfinished_run(world: &World) -> bool {
    (0..2).all(|owner| world.active(owner) + usize::from(world.own.earlier && owner == 0) <= 1)
}
