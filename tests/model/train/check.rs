//! What must hold in every state of a ModelTrain.

use modelsync::{api::ModelTrainStatus, core::train::Rule};
use stateright::Property;

use super::{
    machine::Machine,
    world::{ModelTrain, World},
};
use crate::common::{Broken, Checks, unbroken};

pub const UNRESERVED: Broken = Broken::own(0);
pub const NUMBER: Broken = Broken::own(1);
pub const END: Broken = Broken::own(2);
pub const RECORD: Broken = Broken::own(3);
pub const RECORD_CHANGED: Broken = Broken::own(4);
pub const ACCEPTED: Broken = Broken::own(5);
pub const DECISION: Broken = Broken::own(6);
pub const HOLD: Broken = Broken::own(7);
pub const REASON: Broken = Broken::own(8);
pub const BUDGET: Broken = Broken::own(9);
pub const INPUT: Broken = Broken::own(10);
pub const RUN_DELETION: Broken = Broken::own(11);
pub const RECORD_DELETION: Broken = Broken::own(12);
pub const REFUSED_IS_RECORDED: Broken = Broken::own(13);

impl Checks for ModelTrain {
    const RULES: &'static [Rule] = Rule::ALL;

    fn attempt(status: &ModelTrainStatus) -> i64 {
        status.attempt
    }

    fn properties(_machine: &Machine) -> Vec<Property<Machine>> {
        let mut properties = vec![
            Property::always("1: no more runs at once than may be", |machine: &Machine, world: &World| {
                (0..2).all(|owner| world.active(owner) <= machine.configuration.own.at_once())
            }),
            Property::always("9: the chain is sound", |machine: &Machine, world: &World| machine.chain_is_sound(world)),
        ];
        properties.extend(unbroken! { ModelTrain,
            "3.1: no run without its reservation" UNRESERVED
            "3: no attempt's number is used twice, none shrinks" NUMBER
            "3: a training ends once every slot is recorded or left out, and nothing of it follows" END
            "4: a reserve is for a reason, and pins inputs since the last end" INPUT
            "5: only runs that are recorded and no evidence are deleted" RUN_DELETION
            "3.1: a run that was certainly refused has no record" REFUSED_IS_RECORDED
            "5: only records whose removal is noted and that are no evidence are deleted" RECORD_DELETION
            "9: a record is true to its run" RECORD
            "9: a record is written once, and never changed" RECORD_CHANGED
            "9: an accepted version is on record and has passed, or a user has named it" ACCEPTED
            "the accepted version is the best that passed" DECISION
            "while a hold is set nothing else is accepted" HOLD
            "a reason that a training has answered starts no other" REASON
            "no window has more starts than the budget" BUDGET
        });
        properties
    }

    fn explain(machine: &Machine, property: &str, last: &World) -> Vec<String> {
        let Some(object) = last.object.filter(|_| property.contains("chain")) else { return Vec::new() };
        let proof = machine.proof(object.status, &last.own.records, object.incarnation);
        proof.problems.iter().map(ToString::to_string).collect()
    }
}

impl Machine {
    /// Proves the chain as `modelsync verify` does. A record that a user deletes and a status that is lost break the
    /// chain, and are excused.
    fn chain_is_sound(&self, world: &World) -> bool {
        let Some(object) = world.object else { return true };
        let tampered = world.own.history.lost || !world.own.history.deleted.is_empty();
        tampered || self.proof(object.status, &world.own.records, object.incarnation).problems.is_empty()
    }
}
