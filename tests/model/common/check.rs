//! A model as stateright sees it: states, actions and properties.

use stateright::{Model, Property};

use super::{Action, Broken, Explored, Kind, Machine, Types, World, unbroken};

/// What must hold in every state of a kind.
pub trait Checks: Types {
    /// Every rule of the `decide`.
    const RULES: &'static [Self::Rule];

    fn attempt(status: &Self::Status) -> i64;
    /// The further properties of this kind.
    fn properties(machine: &Machine<Self>) -> Vec<Property<Machine<Self>>>
    where
        Self: Kind;
    /// Whether the runs of this state keep their properties. If not, its successors are not explored.
    fn is_sound(_world: &World<Self>) -> bool {
        true
    }
    /// A further explanation of a state that violates this property.
    fn explain(_machine: &Machine<Self>, _property: &str, _last: &World<Self>) -> Vec<String> {
        Vec::new()
    }
}

impl<K: Kind> Model for Machine<K> {
    type State = World<K>;
    type Action = Action<K>;

    fn init_states(&self) -> Vec<World<K>> {
        vec![self.first_world()]
    }

    fn actions(&self, world: &World<K>, actions: &mut Vec<Action<K>>) {
        // States after a violated property show nothing new.
        if world.broken == Broken::default() && K::is_sound(world) {
            self.possible(world, actions);
        }
    }

    fn next_state(&self, world: &World<K>, action: Action<K>) -> Option<World<K>> {
        let after = self.after(world, &action);
        (after != *world).then_some(after)
    }

    fn format_action(&self, action: &Action<K>) -> String {
        action.to_string()
    }

    fn within_boundary(&self, world: &World<K>) -> bool {
        world.object.is_none_or(|object| K::attempt(&self.statuses.get(object.status)) <= self.configuration.attempts)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut properties = K::properties(self);
        properties.extend(unbroken! { K,
            "2: at most one run for each attempt and slot" Broken::TWICE
            "3.1: only the run that was decided on is stopped" Broken::STOP
            "6: Ready describes the present generation" Broken::READY
            "7: every plan has a wake-up, a poll or an event" Broken::NO_WAKE_UP
            "8: no write that changes nothing" Broken::EMPTY_WRITE
        });
        if self.configuration.mutant == K::Mutant::default() {
            properties.push(Property::always(
                "8: a drain ends at rest, whichever replica leads",
                |machine: &Self, world| {
                    (0..machine.configuration.replicas).all(|leader| machine.drains(world, leader).is_ok())
                },
            ));
        }
        properties.extend(super::explore::declared(self));
        properties
    }
}

impl<K: Kind> Explored for Machine<K> {
    type Rule = K::Rule;

    const RULES: &'static [K::Rule] = K::RULES;

    fn name(&self) -> &'static str {
        self.configuration.name
    }

    fn declared(&self) -> &'static [K::Rule] {
        self.configuration.rules
    }

    fn decides_by(&self, world: &World<K>, rule: K::Rule) -> bool {
        (0..self.configuration.replicas).any(|index| {
            let replica = &world.replicas[usize::from(index)];
            let mut due = replica.views.iter().filter(|view| view.is_due(world.tick));
            due.any(|view| self.reconcile(world.tick, index, replica, view).is_some_and(|made| made.rule == rule))
        })
    }

    fn explored(&self) -> String {
        format!(", longest drain {} steps", self.drained.longest())
    }

    /// Adds the drains from here that do not end well.
    fn explain(&self, property: &str, last: &World<K>) -> Vec<String> {
        let mut lines = K::explain(self, property, last);
        for leader in (0..self.configuration.replicas).filter(|_| property.contains("drain")) {
            if let Err(way) = self.drains(last, leader) {
                lines.push(format!("then, with replica {leader} leading:"));
                lines.extend(way);
            }
        }
        lines
    }
}
