//! The gate of a training: evaluates rules in CEL for each candidate, and selects the best candidate. Pure.
//!
//! The `cel` crate parses expressions and expands their macros. Type checks and evaluation are our own, so that type
//! errors are found before a training starts, and every evaluation ends within a bounded number of steps.

mod evaluate;
mod function;
mod lower;
mod node;
mod parse;
mod select;
#[cfg(test)]
mod tests;
mod value;

use std::sync::Arc;

pub use evaluate::GateEvidence;
pub use select::{Earlier, Fate, JudgedCandidate, Selection};

use self::{
    evaluate::{Evaluation, Failure},
    lower::Setting,
    node::Node,
    parse::RuleProblem,
    select::Chooser,
    value::{Table, entry},
};
use crate::{
    api::{Gate, RuleReport, Verdict},
    core::{invalid::Invalid, status::condition::truncated},
};

/// Longest message of a rule, in bytes. The API's schema has the same limit.
const MAX_MESSAGE: usize = 256;
/// The name of the report about the metric of `best`.
const BEST: &str = "best";

/// A compiled gate. Cheap to clone; callers keep it until the spec changes.
#[derive(Clone, Debug)]
pub struct GateProgram {
    rules: Arc<[CompiledRule]>,
    chooser: Arc<Chooser>,
}

#[derive(Debug)]
struct CompiledRule {
    name: String,
    node: Node,
}

/// The result of a gate for one candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Judgement {
    /// Never `NotJudged`, which belongs to candidates whose run did not succeed.
    pub verdict: Verdict,
    /// A report for each rule, in order, then one for `best` if its metric is unavailable.
    pub rules: Vec<RuleReport>,
}

impl GateProgram {
    /// Compiles a gate. Without a gate every candidate passes.
    pub fn compile(gate: Option<&Gate>) -> Result<Self, Invalid> {
        let rules = gate.map_or(&[][..], |gate| &gate.rules).iter().enumerate().map(|(place, rule)| {
            let node = lower::compile(Setting::Gate, &rule.expression)
                .map_err(|problem| invalid(format!("spec.gate.rules[{place}].expression"), &problem))?;
            Ok(CompiledRule { name: rule.name.clone(), node })
        });
        Ok(Self { rules: rules.collect::<Result<_, _>>()?, chooser: Arc::new(Chooser::of(gate)?) })
    }

    /// Judges a candidate whose run succeeded. Each rule takes at most 100,000 steps, some milliseconds.
    pub fn judge(&self, evidence: &GateEvidence<'_>) -> Judgement {
        let mut rules: Vec<RuleReport> = self.rules.iter().map(|rule| rule.judge(evidence)).collect();
        rules.extend(self.chooser.metric().and_then(|metric| report_of_best(metric, evidence)));
        let verdict = [Verdict::Failed, Verdict::MetricsUnavailable, Verdict::Inconclusive]
            .into_iter()
            .find(|verdict| rules.iter().any(|rule| rule.verdict == *verdict))
            .unwrap_or(Verdict::Passed);
        Judgement { verdict, rules }
    }

    /// Selects one of a training's candidates, which come in the order of `spec.candidates` with their verdicts.
    pub fn select(&self, candidates: &[JudgedCandidate<'_>], earlier: &Earlier<'_>) -> Selection {
        self.chooser.select(candidates, earlier)
    }
}

impl CompiledRule {
    fn judge(&self, evidence: &GateEvidence<'_>) -> RuleReport {
        let mut evaluation = Evaluation::of_candidate(evidence);
        let (verdict, message) = match evaluation.holds(&self.node) {
            Ok(true) => (Verdict::Passed, String::new()),
            Ok(false) => (Verdict::Failed, evaluation.reads()),
            Err(Failure::Unavailable(message)) => (Verdict::MetricsUnavailable, message),
            Err(Failure::Undecided(message) | Failure::Exhausted(message)) => (Verdict::Inconclusive, message),
        };
        RuleReport { name: self.name.clone(), verdict, message: truncated(&message, MAX_MESSAGE) }
    }
}

/// The report about the metric of `best`; `None` if it is a finite number.
fn report_of_best(metric: &str, evidence: &GateEvidence<'_>) -> Option<RuleReport> {
    let problem = match evidence.metrics.get(metric) {
        Some(Some(number)) if number.is_finite() => return None,
        Some(_) => "is not a finite number",
        None => "is missing",
    };
    let message = truncated(&format!("{} {problem}", entry(Table::Metrics, metric)), MAX_MESSAGE);
    Some(RuleReport { name: BEST.to_owned(), verdict: Verdict::MetricsUnavailable, message })
}

/// A compiled rule over the number `value` of a live metric. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LiveRule {
    node: Arc<Node>,
}

impl LiveRule {
    /// Compiles the rule of the spec's field `field`.
    pub fn compile(field: &str, text: &str) -> Result<Self, Invalid> {
        match lower::compile(Setting::Live, text) {
            Ok(node) => Ok(Self { node: Arc::new(node) }),
            Err(problem) => Err(invalid(field.to_owned(), &problem)),
        }
    }

    /// Whether the rule holds for this value. The error says why it cannot be evaluated.
    pub fn holds(&self, value: f64) -> Result<bool, String> {
        if !value.is_finite() {
            return Err("the value is not a finite number".to_owned());
        }
        Evaluation::of_value(value).holds(&self.node).map_err(|failure| match failure {
            Failure::Undecided(message) | Failure::Unavailable(message) | Failure::Exhausted(message) => {
                truncated(&message, MAX_MESSAGE)
            }
        })
    }
}

fn invalid(field: String, problem: &RuleProblem) -> Invalid {
    let place = match problem.place {
        Some(place) => format!(" at line {}, column {}", place.line, place.column),
        None => String::new(),
    };
    Invalid::new(field, format!("is not a rule{place}: {}", truncated(&problem.what, 512)))
}
