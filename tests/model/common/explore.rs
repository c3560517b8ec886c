//! Explores a model completely, or up to its first violated property, and reports what was found. This code explores
//! every model.

use std::{
    collections::BTreeSet,
    fmt::{Debug, Display},
    hash::Hash,
    io::Write as _,
    time::Instant,
};

use stateright::{Checker, Expectation, HasDiscoveries, Model, Property};

/// Threads of one exploration.
const THREADS: usize = 2;

/// A model that is explored, with the rules by which it decides.
pub trait Explored:
    Model<State: Clone + Debug + Hash + PartialEq + Send + Sync, Action: Display + PartialEq + Clone + Debug>
    + Send
    + Sync
    + 'static
{
    type Rule: Copy + Debug + Ord + 'static;
    /// Every rule.
    const RULES: &'static [Self::Rule];

    fn name(&self) -> &'static str;
    /// Rules that this world must reach.
    fn declared(&self) -> &'static [Self::Rule];
    /// Whether this rule decides a reconcile that is due now.
    fn decides_by(&self, state: &Self::State, rule: Self::Rule) -> bool;
    /// Further figures of a complete exploration.
    fn explored(&self) -> String;
    /// A further explanation of a state that violates this property.
    fn explain(&self, property: &str, last: &Self::State) -> Vec<String>;
}

/// An `always` property for each of these bits, which the states of a kind keep in `broken`.
macro_rules! unbroken {
    ($kind:ty, $($name:literal $bit:path)*) => {
        [$(stateright::Property::always($name, |_, world: &$crate::common::World<$kind>| !world.broken.has($bit)),)*]
    };
}
pub(crate) use unbroken;

/// A `sometimes` property for each rule that this world declares.
pub fn declared<M: Explored>(machine: &M) -> impl Iterator<Item = Property<M>> {
    let rules = M::RULES.iter().enumerate();
    rules.filter(|(_, rule)| machine.declared().contains(rule)).map(|(number, _)| reaches(number))
}

/// A `sometimes` property for one rule, by its place in [`Explored::RULES`]. Properties are plain functions, so each
/// rule needs its own.
fn reaches<M: Explored>(number: usize) -> Property<M> {
    macro_rules! rules {
        ($($index:literal $name:literal)*) => {
            match number {
                $($index => Property::sometimes($name, |machine: &M, state: &M::State| {
                    machine.decides_by(state, M::RULES[$index])
                }),)*
                _ => panic!("give rule {number} a line here"),
            }
        };
    }
    rules! {
        0 "rule 0" 1 "rule 1" 2 "rule 2" 3 "rule 3" 4 "rule 4" 5 "rule 5" 6 "rule 6" 7 "rule 7" 8 "rule 8" 9 "rule 9"
        10 "rule 10" 11 "rule 11" 12 "rule 12" 13 "rule 13" 14 "rule 14" 15 "rule 15" 16 "rule 16" 17 "rule 17"
        18 "rule 18" 19 "rule 19" 20 "rule 20" 21 "rule 21" 22 "rule 22" 23 "rule 23" 24 "rule 24" 25 "rule 25"
        26 "rule 26" 27 "rule 27" 28 "rule 28" 29 "rule 29" 30 "rule 30" 31 "rule 31" 32 "rule 32" 33 "rule 33"
        34 "rule 34" 35 "rule 35" 36 "rule 36" 37 "rule 37" 38 "rule 38" 39 "rule 39"
    }
}

/// What an exploration found.
pub struct Found<R> {
    pub states: usize,
    /// The violated property and the path to it.
    pub broken: Option<(&'static str, Vec<String>)>,
    pub reached: BTreeSet<R>,
}

/// Explores a model completely, or up to the first violated property.
#[expect(clippy::disallowed_methods, reason = "tests say how long they took")]
fn explore<M: Explored>(machine: M) -> Found<M::Rule> {
    let started = Instant::now();
    let builder = machine.checker().threads(THREADS).finish_when(HasDiscoveries::AnyFailures);
    let checker = builder.spawn_bfs().join();
    let machine = checker.model();
    let name = machine.name();
    let (mut reached, mut missed, mut broken) = (BTreeSet::new(), Vec::new(), None);
    for property in machine.properties() {
        let found = checker.discovery(property.name);
        let rule = property.name.strip_prefix("rule ").map(|number| M::RULES[number.parse::<usize>().unwrap()]);
        match (property.expectation, found, rule) {
            (Expectation::Always, Some(path), _) => broken = Some((property.name, path)),
            (Expectation::Sometimes, Some(_), Some(rule)) => reached.extend([rule]),
            (Expectation::Sometimes, None, None) => missed.push(property.name),
            _ => {}
        }
    }
    let states = checker.unique_state_count();
    let rules = match machine.declared().len() {
        0 => String::new(),
        declared => format!(", {} of {declared} rules", reached.len()),
    };
    say(&format!(
        "{name}: {states} states, depth {}{}{rules}, {:.1} s",
        checker.max_depth(),
        machine.explored(),
        started.elapsed().as_secs_f32(),
    ));
    let broken = broken.map(|(property, path)| {
        let last = path.last_state().clone();
        let mut way: Vec<String> = path.into_actions().iter().map(ToString::to_string).collect();
        way.extend(machine.explain(property, &last));
        (property, way)
    });
    assert!(broken.is_some() || missed.is_empty(), "{name}: not found: {missed:?}");
    Found { states, broken, reached }
}

/// Explores worlds, each of which must keep every property and reach the rules that it declares. Fewer than `least`
/// states mean nothing, and fail. Returns all rules that were reached.
pub fn explore_all<M: Explored>(least: usize, machines: impl IntoIterator<Item = M>) -> BTreeSet<M::Rule> {
    let (mut states, mut reached) = (0, BTreeSet::new());
    for machine in machines {
        let (name, declared) = (machine.name(), machine.declared().iter().copied().collect::<BTreeSet<_>>());
        let found = explore(machine);
        if let Some((property, way)) = found.broken {
            panic!("{name}: \"{property}\" does not hold:\n{}", way.join("\n"));
        }
        assert_eq!(found.reached, declared, "{name}: rules reached");
        states += found.states;
        reached.extend(found.reached);
    }
    let rules = match M::RULES.len() {
        0 => String::new(),
        all => format!(", {} of {all} rules reached", reached.len()),
    };
    say(&format!("{states} states, every invariant kept{rules}"));
    assert!(states >= least, "{states} states are too few to mean anything");
    reached
}

/// Explores mutants, each in the world that exposes it. Each must violate a property; the path to it is printed.
pub fn catch_all<D: Debug, M: Explored>(mutants: impl IntoIterator<Item = (D, M)>) {
    let (mut states, mut all, mut missed) = (0, 0, Vec::new());
    for (mutant, machine) in mutants {
        let found = explore(machine);
        (states, all) = (states + found.states, all + 1);
        match found.broken {
            Some((property, way)) => {
                say(&format!("{mutant:?} breaks \"{property}\" in {} steps:\n    {}", way.len(), way.join("\n    ")));
            }
            None => missed.push(mutant),
        }
    }
    say(&format!("{states} states, {} of {all} mutants caught", all - missed.len()));
    assert!(missed.is_empty(), "not caught: {missed:?}");
}

/// Prints a text that is visible even if the test passes.
pub fn say(text: &str) {
    // A closed output is no reason to fail.
    let _ = writeln!(std::io::stdout(), "{text}");
}
