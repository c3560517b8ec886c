//! Tests of gates: tables of expressions, and generated ones.

mod bounds;
mod choice;
mod rules;

use std::collections::BTreeMap;

use super::{GateEvidence, GateProgram, Judgement};
use crate::api::{Gate, GateRule, Verdict};

/// An owned [`GateEvidence`].
#[derive(Clone, Debug, Default)]
struct World {
    candidate: String,
    metrics: BTreeMap<String, Option<f64>>,
    accepted: BTreeMap<String, f64>,
    served: BTreeMap<String, f64>,
    parameters: BTreeMap<String, String>,
    inputs: BTreeMap<String, String>,
}

impl World {
    fn evidence(&self) -> GateEvidence<'_> {
        GateEvidence {
            candidate: &self.candidate,
            metrics: &self.metrics,
            accepted: &self.accepted,
            served: &self.served,
            parameters: &self.parameters,
            inputs: &self.inputs,
        }
    }
}

fn texts(entries: &[(&str, &str)]) -> BTreeMap<String, String> {
    entries.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
}

fn numbers(entries: &[(&str, f64)]) -> BTreeMap<String, f64> {
    entries.iter().map(|(name, number)| ((*name).to_owned(), *number)).collect()
}

fn metrics(entries: &[(&str, f64)]) -> BTreeMap<String, Option<f64>> {
    entries.iter().map(|(name, number)| ((*name).to_owned(), number.is_finite().then_some(*number))).collect()
}

fn gate(expressions: &[&str]) -> Gate {
    let rules = expressions
        .iter()
        .enumerate()
        .map(|(place, expression)| GateRule { name: format!("rule-{place}"), expression: (*expression).to_owned() });
    Gate { rules: rules.collect(), ..Gate::default() }
}

fn judge(expression: &str, world: &World) -> Judgement {
    match GateProgram::compile(Some(&gate(&[expression]))) {
        Ok(program) => program.judge(&world.evidence()),
        Err(invalid) => panic!("{expression}: {invalid}"),
    }
}

fn verdict(expression: &str, world: &World) -> (Verdict, String) {
    let judgement = judge(expression, world);
    assert_eq!(judgement.verdict, judgement.rules[0].verdict);
    (judgement.verdict, judgement.rules[0].message.clone())
}

fn refusal(expression: &str) -> String {
    match GateProgram::compile(Some(&gate(&["true", expression]))) {
        Ok(_) => panic!("{expression} compiles"),
        Err(invalid) => {
            assert_eq!(invalid.field, "spec.gate.rules[1].expression");
            invalid.problem
        }
    }
}
