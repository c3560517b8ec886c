//! Which of the candidates is chosen, and what becomes of the others. Pure.

use std::collections::BTreeMap;

use crate::{
    api::{Direction, Gate, OnUndecided, Over, Verdict},
    core::{gate::value::shown, invalid::Invalid},
};

/// A candidate of the training.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// What the gate said; `NotJudged` for one whose run did not succeed.
    pub verdict: Verdict,
    /// Its metrics. `None`: it is there, and no finite number.
    pub metrics: &'a BTreeMap<String, Option<f64>>,
}

/// What there was before this training.
#[derive(Clone, Copy, Debug, Default)]
pub struct Earlier<'a> {
    /// Metrics of the accepted version; `None` if there is no such version.
    pub accepted: Option<&'a BTreeMap<String, f64>>,
    /// Metrics of the version that is served; `None` if there is no such version.
    pub served: Option<&'a BTreeMap<String, f64>>,
}

/// What came of a training.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selection {
    /// Place of the candidate that is to be accepted.
    pub winner: Option<usize>,
    /// Place of the candidate that is to wait for a person's approval. Only without a winner, and where the gate says so.
    pub awaiting: Option<usize>,
    /// What became of each, in the order of the candidates.
    pub fates: Vec<Fate>,
    /// Why there is no winner; empty where there is one.
    pub message: String,
}

/// What became of a candidate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It is the one.
    Best,
    /// It passed, and another one is better, or comes first.
    NotBest,
    /// It is the best of this training, and does not improve on the earlier version.
    NotImproved,
    /// It is the best of this training, and the earlier version lacks the metric to compare it by.
    Incomparable,
    /// A rule does not hold.
    GateFailed,
    /// A rule cannot be decided.
    Inconclusive,
    /// A metric that is needed cannot be read.
    MetricsUnavailable,
    /// Its run did not succeed.
    NotJudged,
}

/// How a gate chooses.
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
    /// Reads what a gate says about choosing.
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

    /// The metric that chooses, if one does.
    pub fn metric(&self) -> Option<&str> {
        self.best.as_ref().map(|best| best.metric.as_str())
    }

    /// See [`super::GateProgram::select`].
    pub fn select(&self, candidates: &[Candidate<'_>], earlier: &Earlier<'_>) -> Selection {
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

    /// What becomes of a candidate if it is not the leader.
    fn fate_alone(&self, candidate: &Candidate<'_>) -> Fate {
        match candidate.verdict {
            // The gate does not let it pass without its score; this is for verdicts of an earlier gate.
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

    /// The best of those that passed; the first of equals.
    fn leader(&self, candidates: &[Candidate<'_>], fates: &[Fate]) -> Option<usize> {
        let passed = (0..candidates.len()).filter(|place| fates[*place] == Fate::NotBest);
        let Some(best) = &self.best else { return passed.min() };
        passed
            .filter_map(|place| Some((place, best.score(&candidates[place])?)))
            .reduce(|one, two| if best.gain(two.1, one.1) > 0.0 { two } else { one })
            .map(|(place, _)| place)
    }

    /// The first candidate about which a person is to be asked: one that cannot be compared, else one that cannot be judged.
    fn awaiting(&self, fates: &[Fate]) -> Option<usize> {
        let asks = |on: OnUndecided| on == OnUndecided::AwaitApproval;
        let incomparable = fates.iter().position(|fate| *fate == Fate::Incomparable && asks(self.on_inconclusive));
        incomparable.or_else(|| {
            fates.iter().position(|fate| match fate {
                Fate::Inconclusive => asks(self.on_inconclusive),
                Fate::MetricsUnavailable => asks(self.on_metrics_unavailable),
                _ => false,
            })
        })
    }
}

impl Measure {
    fn score(&self, candidate: &Candidate<'_>) -> Option<f64> {
        candidate.metrics.get(&self.metric).copied().flatten().filter(|score| score.is_finite())
    }

    /// By how much `new` is better than `old`.
    fn gain(&self, new: f64, old: f64) -> f64 {
        match self.direction {
            Direction::Maximize => new - old,
            Direction::Minimize => old - new,
        }
    }

    /// What becomes of the leader with this score, and why.
    fn against(&self, earlier: &Earlier<'_>, score: f64) -> (Fate, String) {
        let (version, metrics) = match self.over {
            Over::Accepted => ("accepted", earlier.accepted),
            Over::Served => ("served", earlier.served),
            Over::Candidates => return (Fate::Best, String::new()),
        };
        let Some(metrics) = metrics else { return (Fate::Best, String::new()) };
        let metric = &self.metric;
        let Some(old) = metrics.get(metric).copied().filter(|old| old.is_finite()) else {
            // To accept would be to replace a model by one that nobody knows to be better.
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

    /// More than nothing, and at least the least improvement.
    ///
    /// The three numbers were written as decimals, and each is off by half a unit in its last place; so is the
    /// difference. 0.3 improves on 0.2 by 0.1, though 0.3 - 0.2 is 0.09999999999999998: what these errors can add up to is
    /// forgiven. It is no more than a part in 10^15 of the larger number.
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
