//! Evaluates an expression against a candidate's metrics, or against a live metric. Pure.
//!
//! The `cel` crate's interpreter does not fit: it has no budget of steps, its errors do not name the missing metric, it
//! does not compare whole numbers with fractions, and an error on the left of `||` hides a true on the right.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    function::{self, Function},
    node::{Arithmetic, Comparison, Form, Loop, Node},
    value::{CelValue, Table, entry, presence, shown},
};

/// Most steps of one evaluation. A step is an evaluated part of the expression, an element of a list, or 16 bytes of
/// text.
pub const MAX_STEPS: usize = 100_000;
/// Longest text value, in bytes.
pub const MAX_TEXT: usize = 4096;
/// Longest list, in elements.
pub const MAX_LIST: usize = 1024;
/// Most numbers that a message names.
const MAX_READS: usize = 4;

/// The facts that a candidate is judged by. The caller bounds the number of entries.
#[derive(Clone, Copy, Debug)]
pub struct GateEvidence<'a> {
    /// The candidate's name; empty for a training without `spec.candidates`.
    pub candidate: &'a str,
    /// The candidate's metrics. `None` is a metric that was reported without a finite number.
    pub metrics: &'a BTreeMap<String, Option<f64>>,
    /// Metrics of the accepted version; empty without such a version.
    pub accepted: &'a BTreeMap<String, f64>,
    /// Metrics of the served version; empty without such a version.
    pub served: &'a BTreeMap<String, f64>,
    /// Parameters of the candidate's run.
    pub parameters: &'a BTreeMap<String, String>,
    /// Inputs of the training.
    pub inputs: &'a BTreeMap<String, String>,
}

/// Why an expression has no value. A later variant outweighs an earlier one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// It cannot be computed.
    Undecided(String),
    /// It reads a metric of the candidate that is missing or not a finite number.
    Unavailable(String),
    /// It exceeds a bound. The evaluation stops at once.
    Exhausted(String),
}

/// One evaluation.
pub struct Evaluation<'a> {
    evidence: Option<&'a GateEvidence<'a>>,
    steps: usize,
    scope: Vec<CelValue>,
    reads: Vec<(Table, String, f64)>,
}

type Evaluated = Result<CelValue, Failure>;

impl<'a> Evaluation<'a> {
    /// Evaluates a rule of a gate.
    pub fn of_candidate(evidence: &'a GateEvidence<'a>) -> Self {
        Self {
            evidence: Some(evidence),
            steps: MAX_STEPS,
            scope: vec![CelValue::text(evidence.candidate)],
            reads: Vec::new(),
        }
    }

    /// Evaluates a rule over a live metric.
    pub fn of_value(value: f64) -> Self {
        Self { evidence: None, steps: MAX_STEPS, scope: vec![CelValue::Number(value)], reads: Vec::new() }
    }

    /// Whether the rule holds.
    pub fn holds(&mut self, node: &Node) -> Result<bool, Failure> {
        self.boolean(node)
    }

    /// The numbers that the rule read last: `metrics.r2 = 0.71, accepted.r2 = 0.75`.
    pub fn reads(&self) -> String {
        let shown: Vec<String> = self
            .reads
            .iter()
            .map(|(table, key, number)| format!("{} = {}", entry(*table, key), shown(*number)))
            .collect();
        shown.join(", ")
    }

    fn value(&mut self, node: &Node) -> Evaluated {
        self.spend(1)?;
        match node {
            Node::Constant(value) => Ok(value.clone()),
            Node::Variable(place) => self.scope.get(*place).cloned().ok_or_else(|| undecided("a variable is not set")),
            Node::Entry(parts) => {
                let [container, key] = self.both(parts)?;
                self.entry(&container, &key)
            }
            Node::In(parts) => {
                let [one, container] = self.both(parts)?;
                self.contains(&container, &one).map(CelValue::Bool)
            }
            Node::Not(operand) => self.boolean(operand).map(|holds| CelValue::Bool(!holds)),
            Node::And(sides) => self.decide(sides.iter(), false),
            Node::Or(sides) => self.decide(sides.iter(), true),
            Node::If(parts) => {
                let [condition, one, two] = &**parts;
                let chosen = if self.boolean(condition)? { one } else { two };
                self.value(chosen)
            }
            Node::Negate(operand) => self.number(operand).map(|number| CelValue::Number(-number)),
            Node::Arithmetic(operation, sides) => {
                let [one, two] = self.both(sides)?;
                self.arithmetic(*operation, &one, &two)
            }
            Node::Compare(comparison, sides) => {
                let [one, two] = self.both(sides)?;
                self.spend(one.weight().min(two.weight()))?;
                compare(*comparison, &one, &two).map(CelValue::Bool)
            }
            Node::List(nodes) => self.all(nodes).map(|values| CelValue::List(values.into())),
            Node::Call(function, nodes) => {
                let given = self.all(nodes)?;
                self.call(*function, &given)
            }
            Node::Loop(loop_) => self.run(loop_),
        }
    }

    fn spend(&mut self, steps: usize) -> Result<(), Failure> {
        if let Some(left) = self.steps.checked_sub(steps) {
            self.steps = left;
            return Ok(());
        }
        // Every further step fails too, however small.
        self.steps = 0;
        Err(Failure::Exhausted(format!("it takes more than {MAX_STEPS} steps: make it simpler")))
    }

    /// The values of all nodes. Of several failures it returns the most severe, so that a missing metric is reported
    /// wherever it occurs.
    fn all(&mut self, nodes: &[Node]) -> Result<Vec<CelValue>, Failure> {
        let mut values = Vec::with_capacity(nodes.len());
        let mut failure = None;
        for node in nodes {
            match self.value(node) {
                Ok(value) => values.push(value),
                Err(exhausted @ Failure::Exhausted(_)) => return Err(exhausted),
                Err(another) => failure = Some(worse(failure, another)),
            }
        }
        failure.map_or(Ok(values), Err)
    }

    fn both(&mut self, nodes: &[Node; 2]) -> Result<[CelValue; 2], Failure> {
        let values = self.all(nodes)?;
        <[CelValue; 2]>::try_from(values).map_err(|_| undecided("an operand is missing"))
    }

    fn boolean(&mut self, node: &Node) -> Result<bool, Failure> {
        match self.value(node)? {
            CelValue::Bool(holds) => Ok(holds),
            other => Err(undecided(format!("expected true or false, found {}", other.kind()))),
        }
    }

    fn number(&mut self, node: &Node) -> Result<f64, Failure> {
        match self.value(node)? {
            CelValue::Number(number) => Ok(number),
            other => Err(undecided(format!("expected a number, found {}", other.kind()))),
        }
    }

    /// `&&` and `||`: an operand that decides the result outweighs one that fails, on either side.
    fn decide<'n>(&mut self, operands: impl Iterator<Item = &'n Node>, deciding: bool) -> Evaluated {
        let mut failure = None;
        for operand in operands {
            match self.boolean(operand) {
                Ok(holds) if holds == deciding => return Ok(CelValue::Bool(deciding)),
                Ok(_) => {}
                Err(exhausted @ Failure::Exhausted(_)) => return Err(exhausted),
                Err(another) => failure = Some(worse(failure, another)),
            }
        }
        failure.map_or(Ok(CelValue::Bool(!deciding)), Err)
    }

    fn entry(&mut self, container: &CelValue, key: &CelValue) -> Evaluated {
        match (container, key) {
            (CelValue::Table(table), CelValue::Text(key)) => self.read(*table, key),
            (CelValue::List(list), CelValue::Number(index)) => {
                #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole and not below 0")]
                let place = (index.fract() == 0.0 && *index >= 0.0).then_some(*index as usize);
                let element = place.and_then(|place| list.get(place)).cloned();
                element.ok_or_else(|| undecided(format!("a list of {} has no element {}", list.len(), shown(*index))))
            }
            (container, key) => Err(undecided(format!("{} has no entry named by {}", container.kind(), key.kind()))),
        }
    }

    fn read(&mut self, table: Table, key: &str) -> Evaluated {
        let Some(evidence) = self.evidence else { return Err(undecided("there are no maps here")) };
        let name = entry(table, key);
        let found = match table {
            Table::Metrics => {
                let found =
                    evidence.metrics.get(key).ok_or_else(|| Failure::Unavailable(format!("{name} is missing")))?;
                let number = found.filter(|number| number.is_finite());
                number.ok_or_else(|| Failure::Unavailable(format!("{name} is not a finite number")))?
            }
            Table::Accepted | Table::Served => {
                let of = if table == Table::Accepted { evidence.accepted } else { evidence.served };
                let number = of.get(key).copied().filter(|number| number.is_finite());
                number.ok_or_else(|| undecided(format!("{name} is absent: begin with !{} ||", presence(table, key))))?
            }
            Table::Parameters | Table::Inputs => {
                let of = if table == Table::Parameters { evidence.parameters } else { evidence.inputs };
                let text = of.get(key).ok_or_else(|| undecided(format!("{name} is absent")))?;
                return self.bounded(CelValue::text(text), &name);
            }
        };
        self.remember(table, key, found);
        Ok(CelValue::Number(found))
    }

    fn remember(&mut self, table: Table, key: &str, number: f64) {
        self.reads.retain(|(known_table, known, _)| (*known_table, known.as_str()) != (table, key));
        if self.reads.len() == MAX_READS {
            self.reads.remove(0);
        }
        self.reads.push((table, key.to_owned(), number));
    }

    fn contains(&mut self, container: &CelValue, one: &CelValue) -> Result<bool, Failure> {
        match (container, one) {
            (CelValue::Table(table), CelValue::Text(key)) => {
                let evidence = self.evidence.ok_or_else(|| undecided("there are no maps here"))?;
                Ok(match table {
                    Table::Metrics => evidence.metrics.contains_key(&**key),
                    Table::Accepted => evidence.accepted.contains_key(&**key),
                    Table::Served => evidence.served.contains_key(&**key),
                    Table::Parameters => evidence.parameters.contains_key(&**key),
                    Table::Inputs => evidence.inputs.contains_key(&**key),
                })
            }
            (CelValue::List(list), one) => {
                self.spend(container.weight())?;
                Ok(list.contains(one))
            }
            (container, one) => Err(undecided(format!("{} is never in {}", one.kind(), container.kind()))),
        }
    }

    fn arithmetic(&mut self, operation: Arithmetic, one: &CelValue, two: &CelValue) -> Evaluated {
        match (operation, one, two) {
            (Arithmetic::Add, CelValue::Text(one), CelValue::Text(two)) => {
                if one.len() + two.len() > MAX_TEXT {
                    return Err(too_long("a text"));
                }
                self.bounded(CelValue::text(&format!("{one}{two}")), "a text")
            }
            (Arithmetic::Divide | Arithmetic::Remainder, CelValue::Number(_), CelValue::Number(0.0)) => {
                Err(undecided("it divides by zero"))
            }
            (operation, CelValue::Number(one), CelValue::Number(two)) => finite(CelValue::Number(match operation {
                Arithmetic::Add => one + two,
                Arithmetic::Subtract => one - two,
                Arithmetic::Multiply => one * two,
                Arithmetic::Divide => one / two,
                Arithmetic::Remainder => one % two,
            })),
            (_, one, two) => Err(undecided(format!("arithmetic on {} and {} is not possible", one.kind(), two.kind()))),
        }
    }

    fn call(&mut self, function: Function, given: &[CelValue]) -> Evaluated {
        if let (Function::Size, [CelValue::Table(table)]) = (function, given) {
            return self.keys(*table).map(|keys| function::count(keys.len()));
        }
        self.spend(given.iter().map(CelValue::weight).sum())?;
        let result = function::call(function, given).map_err(Failure::Undecided)?;
        finite(self.bounded(result, "a value")?)
    }

    fn keys(&self, table: Table) -> Result<Vec<&'a str>, Failure> {
        let evidence = self.evidence.ok_or_else(|| undecided("there are no maps here"))?;
        Ok(match table {
            Table::Metrics => evidence.metrics.keys().map(String::as_str).collect(),
            Table::Accepted => evidence.accepted.keys().map(String::as_str).collect(),
            Table::Served => evidence.served.keys().map(String::as_str).collect(),
            Table::Parameters => evidence.parameters.keys().map(String::as_str).collect(),
            Table::Inputs => evidence.inputs.keys().map(String::as_str).collect(),
        })
    }

    fn run(&mut self, loop_: &Loop) -> Evaluated {
        let range: Arc<[CelValue]> = match self.value(&loop_.range)? {
            CelValue::List(list) => list,
            CelValue::Table(table) => self.keys(table)?.into_iter().map(CelValue::text).collect(),
            other => return Err(undecided(format!("{} is not a map or a list", other.kind()))),
        };
        if range.len() > MAX_LIST {
            return Err(too_long("a list"));
        }
        let mut failure = None;
        let mut collected = Vec::new();
        let mut held = 0_usize;
        for element in range.iter() {
            self.scope.push(element.clone());
            let step = self.step(loop_);
            self.scope.pop();
            match (loop_.form, step) {
                (Form::All, Ok(Some(CelValue::Bool(false)))) => return Ok(CelValue::Bool(false)),
                (Form::Exists, Ok(Some(CelValue::Bool(true)))) => return Ok(CelValue::Bool(true)),
                (Form::Collect, Ok(value)) => collected.extend(value),
                (_, Ok(value)) => held += usize::from(value == Some(CelValue::Bool(true))),
                (_, Err(exhausted @ Failure::Exhausted(_))) => return Err(exhausted),
                (_, Err(another)) => failure = Some(worse(failure, another)),
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        Ok(match loop_.form {
            Form::All => CelValue::Bool(true),
            Form::Exists => CelValue::Bool(false),
            Form::ExistsOne => CelValue::Bool(held == 1),
            Form::Collect => CelValue::List(collected.into()),
        })
    }

    /// The body's value for the element on top of the scope; `None` if the filter leaves the element out.
    fn step(&mut self, loop_: &Loop) -> Result<Option<CelValue>, Failure> {
        if let Some(filter) = &loop_.filter
            && !self.boolean(filter)?
        {
            return Ok(None);
        }
        match loop_.form {
            Form::Collect => self.value(&loop_.body),
            Form::All | Form::Exists | Form::ExistsOne => self.boolean(&loop_.body).map(CelValue::Bool),
        }
        .map(Some)
    }

    /// A new value: charges its steps and refuses it if it is too long.
    fn bounded(&mut self, value: CelValue, name: &str) -> Evaluated {
        let too_much = match &value {
            CelValue::Text(text) => text.len() > MAX_TEXT,
            CelValue::List(list) => list.len() > MAX_LIST,
            CelValue::Bool(_) | CelValue::Number(_) | CelValue::Table(_) => false,
        };
        if too_much {
            return Err(too_long(name));
        }
        self.spend(value.weight())?;
        Ok(value)
    }
}

fn compare(comparison: Comparison, one: &CelValue, two: &CelValue) -> Result<bool, Failure> {
    let order = match (one, two) {
        (CelValue::Number(one), CelValue::Number(two)) => one.partial_cmp(two),
        (CelValue::Text(one), CelValue::Text(two)) => Some(one.cmp(two)),
        (CelValue::Bool(_), CelValue::Bool(_)) | (CelValue::List(_), CelValue::List(_)) => None,
        (one, two) => return Err(undecided(format!("{} cannot be compared with {}", one.kind(), two.kind()))),
    };
    match (comparison, order) {
        (Comparison::Equal, _) => Ok(one == two),
        (Comparison::NotEqual, _) => Ok(one != two),
        (Comparison::Less, Some(order)) => Ok(order.is_lt()),
        (Comparison::LessOrEqual, Some(order)) => Ok(order.is_le()),
        (Comparison::Greater, Some(order)) => Ok(order.is_gt()),
        (Comparison::GreaterOrEqual, Some(order)) => Ok(order.is_ge()),
        (_, None) => Err(undecided(format!("{} has no order", one.kind()))),
    }
}

/// Refuses infinite numbers and NaN: comparisons with them would decide a rule by accident.
fn finite(value: CelValue) -> Evaluated {
    match value {
        CelValue::Number(number) if !number.is_finite() => Err(undecided("a result is not a finite number")),
        value => Ok(value),
    }
}

fn undecided(what: impl Into<String>) -> Failure {
    Failure::Undecided(what.into())
}

fn too_long(what: &str) -> Failure {
    Failure::Exhausted(format!("{what} is too long: at most {MAX_TEXT} bytes, {MAX_LIST} elements"))
}

fn worse(one: Option<Failure>, two: Failure) -> Failure {
    match one {
        Some(one) if one.severity() >= two.severity() => one,
        _ => two,
    }
}

impl Failure {
    const fn severity(&self) -> u8 {
        match self {
            Self::Undecided(_) => 0,
            Self::Unavailable(_) => 1,
            Self::Exhausted(_) => 2,
        }
    }
}
