//! Selects the best candidate of a training, and gives every candidate its fate. Pure.

use std::collections::BTreeMap;

use crate::{
    api::{Direction, Gate, OnUndecided, Over, Verdict},
    core::{gate::value::shown, invalid::Invalid},
};

/// A candidate of the training.
#[derive(Clone, Copy, Debug)]
pub struct JudgedCandidate<'a> {
    /// The gate's verdict; `NotJudged` if the candidate's run did not succeed.
    pub verdict: Verdict,
    /// The candidate's metrics. `None` is a metric that was reported without a finite number.
    pub metrics: &'a BTreeMap<String, Option<f64>>,
}

/// The versions that existed before this training.
#[derive(Clone, Copy, Debug, Default)]
pub struct Earlier<'a> {
    /// Metrics of the accepted version; `None` without such a version.
    pub accepted: Option<&'a BTreeMap<String, f64>>,
    /// Metrics of the served version; `None` without such a version.
    pub served: Option<&'a BTreeMap<String, f64>>,
}

/// The result of a training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Index of the candidate to accept.
    pub winner: Option<usize>,
    /// Index of the candidate that waits for a user's approval. `None` if there is a winner, or if the gate does not
    /// require approval.
    pub awaiting: Option<usize>,
    /// The fate of each candidate, in the order of the candidates.
    pub fates: Vec<Fate>,
    /// Why there is no winner; empty if there is one.
    pub message: String,
}

/// The result of the selection for one candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// The candidate is the winner.
    Best,
    /// The candidate passed, but another one is better or comes first.
    NotBest,
    /// The candidate is the best of this training, but does not improve on the earlier version.
    NotImproved,
    /// The candidate is the best of this training, but the earlier version lacks the metric to compare with.
    Incomparable,
    /// A rule is false.
    GateFailed,
    /// A rule cannot be decided.
    Inconclusive,
    /// A required metric is missing or not a finite number.
    MetricsUnavailable,
    /// The candidate's run did not succeed.
    NotJudged,
}

/// How a gate selects among candidates.
#[derive(Debug)]
pub struct Chooser {
    best: Option<Measure>,
    on_inconclusive: OnUndecided,
    on_metrics_unavailable: OnUndecided,
}

/// `spec.gate.best`.
#[derive(Debug)]
struct Measure {
    metric: String,
    direction: Direction,
    over: Over,
    min_improvement: f64,
}

impl Chooser {
    /// Reads the gate's fields about selection.
    pub fn of(gate: Option<&Gate>) -> Result<Self, Invalid> {
        let best = gate.and_then(|gate| gate.best.as_ref()).map(|best| {
            Ok(Measure {
                metric: best.metric.clone(),
                direction: best.direction,
                over: best.over.unwrap_or_default(),
                min_improvement: min_improvement(best.min_improvement.as_deref())?,
            })
        });
        Ok(Self {
            best: best.transpose()?,
            on_inconclusive: gate.and_then(|gate| gate.on_inconclusive).unwrap_or_default(),
            on_metrics_unavailable: gate.and_then(|gate| gate.on_metrics_unavailable).unwrap_or_default(),
        })
    }

    /// The metric of `best`, if the gate has one.
    pub fn metric(&self) -> Option<&str> {
        self.best.as_ref().map(|best| best.metric.as_str())
    }

    /// See [`super::GateProgram::select`].
    pub fn select(&self, candidates: &[JudgedCandidate<'_>], earlier: &Earlier<'_>) -> Selection {
        let mut fates: Vec<Fate> = candidates.iter().map(|candidate| self.fate_alone(candidate)).collect();
        let Some(first) = self.leader(candidates, &fates) else {
            let message = "no candidate passed the gate".to_owned();
            return Selection { winner: None, awaiting: self.awaiting(&fates), fates, message };
        };
        let (fate, message) = match &self.best {
            Some(best) => best.against(earlier, best.score(&candidates[first]).unwrap_or_default()),
            None => (Fate::Best, String::new()),
        };
        fates[first] = fate;
        if fate == Fate::Best {
            Selection { winner: Some(first), awaiting: None, fates, message }
        } else {
            Selection { winner: None, awaiting: self.awaiting(&fates), fates, message }
        }
    }

    /// The fate of a candidate that is not the best.
    fn fate_alone(&self, candidate: &JudgedCandidate<'_>) -> Fate {
        match candidate.verdict {
            // This gate passes no candidate without a score, but the verdict may come from an earlier gate.
            Verdict::Passed if self.best.as_ref().is_some_and(|best| best.score(candidate).is_none()) => {
                Fate::MetricsUnavailable
            }
            Verdict::Passed => Fate::NotBest,
            Verdict::Failed => Fate::GateFailed,
            Verdict::Inconclusive => Fate::Inconclusive,
            Verdict::MetricsUnavailable => Fate::MetricsUnavailable,
            Verdict::NotJudged | Verdict::Unrecognised => Fate::NotJudged,
        }
    }

    /// The best candidate that passed; the first one of equals.
    fn leader(&self, candidates: &[JudgedCandidate<'_>], fates: &[Fate]) -> Option<usize> {
        let passed = (0..candidates.len()).filter(|place| fates[*place] == Fate::NotBest);
        let Some(best) = &self.best else { return passed.min() };
        passed
            .filter_map(|place| Some((place, best.score(&candidates[place])?)))
            .reduce(|one, two| if best.gain(two.1, one.1) > 0.0 { two } else { one })
            .map(|(place, _)| place)
    }

    /// The first candidate that waits for approval: one that cannot be compared, else one that cannot be judged.
    fn awaiting(&self, fates: &[Fate]) -> Option<usize> {
        let awaits_approval = |on: OnUndecided| on == OnUndecided::AwaitApproval;
        let incomparable =
            fates.iter().position(|fate| *fate == Fate::Incomparable && awaits_approval(self.on_inconclusive));
        incomparable.or_else(|| {
            fates.iter().position(|fate| match fate {
                Fate::Inconclusive => awaits_approval(self.on_inconclusive),
                Fate::MetricsUnavailable => awaits_approval(self.on_metrics_unavailable),
                _ => false,
            })
        })
    }
}

impl Measure {
    fn score(&self, candidate: &JudgedCandidate<'_>) -> Option<f64> {
        candidate.metrics.get(&self.metric).copied().flatten().filter(|score| score.is_finite())
    }

    /// The improvement of `new` over `old`.
    fn gain(&self, new: f64, old: f64) -> f64 {
        match self.direction {
            Direction::Maximize => new - old,
            Direction::Minimize => old - new,
        }
    }

    /// The fate of the best candidate, and the reason if it is not accepted.
    fn against(&self, earlier: &Earlier<'_>, score: f64) -> (Fate, String) {
        let (version, metrics) = match self.over {
            Over::Accepted => ("accepted", earlier.accepted),
            Over::Served => ("served", earlier.served),
            Over::Candidates => return (Fate::Best, String::new()),
        };
        let Some(metrics) = metrics else { return (Fate::Best, String::new()) };
        let metric = &self.metric;
        let Some(old) = metrics.get(metric).copied().filter(|old| old.is_finite()) else {
            // The candidate may be worse than this version: it is not accepted without a comparison.
            let message = format!(
                "the {version} version has no metric {metric} to compare with: approve or hold a version, or set \
                 spec.gate.best.over to Candidates for one training"
            );
            return (Fate::Incomparable, message);
        };
        if self.improves(score, old) {
            return (Fate::Best, String::new());
        }
        let by =
            if self.min_improvement > 0.0 { format!(" by {}", shown(self.min_improvement)) } else { String::new() };
        let message =
            format!("{metric} of {} does not improve on {} of the {version} version{by}", shown(score), shown(old));
        (Fate::NotImproved, message)
    }

    /// Whether the improvement is positive and at least `minImprovement`.
    ///
    /// The three numbers are decimals that binary rounds, and the subtraction rounds again: 0.3 improves on 0.2 by 0.1,
    /// but 0.3 - 0.2 is 0.09999999999999998. The comparison allows for the sum of these errors, at most a part in 10^15
    /// of the larger number.
    fn improves(&self, new: f64, old: f64) -> bool {
        let gain = self.gain(new, old);
        let rounding = 4.0 * f64::EPSILON * new.abs().max(old.abs());
        gain > 0.0 && gain >= self.min_improvement - rounding
    }
}

fn min_improvement(text: Option<&str>) -> Result<f64, Invalid> {
    let Some(text) = text else { return Ok(0.0) };
    let number = text.parse::<f64>().ok().filter(|number| number.is_finite() && *number >= 0.0);
    number.ok_or_else(|| {
        Invalid::new("spec.gate.best.minImprovement", "must be a decimal number of at least 0, such as 0.01")
    })
}
