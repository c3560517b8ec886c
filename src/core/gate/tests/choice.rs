//! Tests of the selection among candidates.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{metrics, numbers};
use crate::{
    api::{Best, Direction, Gate, OnUndecided, Over, Verdict},
    core::gate::{Earlier, Fate, GateProgram, JudgedCandidate, Selection},
};

type Metrics = BTreeMap<String, Option<f64>>;

fn gate(direction: Direction, over: Option<Over>, min_improvement: &str) -> Gate {
    let min_improvement = (!min_improvement.is_empty()).then(|| min_improvement.to_owned());
    Gate { best: Some(Best { metric: "r2".to_owned(), direction, over, min_improvement }), ..Gate::default() }
}

fn select(gate: Option<&Gate>, candidates: &[(Verdict, Metrics)], earlier: &Earlier<'_>) -> Selection {
    let candidates: Vec<JudgedCandidate<'_>> =
        candidates.iter().map(|(verdict, metrics)| JudgedCandidate { verdict: *verdict, metrics }).collect();
    GateProgram::compile(gate).unwrap().select(&candidates, earlier)
}

fn passed(scores: &[f64]) -> Vec<(Verdict, Metrics)> {
    scores.iter().map(|score| (Verdict::Passed, metrics(&[("r2", *score)]))).collect()
}

const NOTHING: Earlier<'static> = Earlier { accepted: None, served: None };

#[test]
fn without_best_the_first_candidate_that_passed_wins() {
    let none = BTreeMap::new();
    let candidates = [
        (Verdict::Failed, none.clone()),
        (Verdict::NotJudged, none.clone()),
        (Verdict::Passed, none.clone()),
        (Verdict::Passed, none),
    ];
    let selection = select(None, &candidates, &NOTHING);
    assert_eq!((selection.winner, selection.awaiting, selection.message.as_str()), (Some(2), None, ""));
    assert_eq!(selection.fates, [Fate::GateFailed, Fate::NotJudged, Fate::Best, Fate::NotBest]);
}

#[test]
fn best_candidate_by_metric_wins_and_the_first_of_equals() {
    for (direction, winner) in [(Direction::Maximize, 1), (Direction::Minimize, 0)] {
        let selection = select(Some(&gate(direction, None, "")), &passed(&[0.5, 0.9, 0.9, 0.5]), &NOTHING);
        assert_eq!(selection.winner, Some(winner), "{direction:?}");
        assert_eq!(selection.fates.iter().filter(|fate| **fate == Fate::NotBest).count(), 3);
    }
}

#[test]
fn candidate_that_did_not_pass_is_never_chosen() {
    let mut candidates = passed(&[0.5, 0.9]);
    candidates[1].0 = Verdict::Failed;
    let gate = gate(Direction::Maximize, None, "");
    let selection = select(Some(&gate), &candidates, &NOTHING);
    assert_eq!((selection.winner, selection.fates), (Some(0), vec![Fate::Best, Fate::GateFailed]));
    candidates[0].0 = Verdict::Inconclusive;
    let selection = select(Some(&gate), &candidates, &NOTHING);
    assert_eq!((selection.winner, selection.message.as_str()), (None, "no candidate passed the gate"));
    assert_eq!(selection.fates, [Fate::Inconclusive, Fate::GateFailed]);
}

#[test]
fn improvement_is_positive_and_at_least_the_minimum() {
    for (direction, new, old, least, improves) in [
        (Direction::Maximize, 0.8, 0.8, "", false),
        (Direction::Maximize, 0.8, 0.8, "0", false),
        (Direction::Maximize, 0.800_000_000_1, 0.8, "", true),
        (Direction::Maximize, 0.79, 0.8, "", false),
        (Direction::Minimize, 0.79, 0.8, "", true),
        (Direction::Minimize, 0.8, 0.79, "", false),
        (Direction::Minimize, 0.78, 0.8, "0.02", true),
        (Direction::Minimize, 0.781, 0.8, "0.02", false),
        // As decimals: in doubles, 0.3 - 0.2 is 0.09999999999999998.
        (Direction::Maximize, 0.3, 0.2, "0.1", true),
        (Direction::Maximize, 0.81, 0.8, "0.01", true),
        (Direction::Maximize, 1.1, 1.0, "0.1", true),
        (Direction::Maximize, 100.3, 100.2, "0.1", true),
        (Direction::Maximize, 0.1 + 0.2, 0.3, "", true),
        (Direction::Maximize, 0.299_999_9, 0.2, "0.1", false),
        (Direction::Maximize, 1e-12, 0.0, "1e-12", true),
        (Direction::Maximize, 0.5e-12, 0.0, "1e-12", false),
        (Direction::Maximize, -0.2, -0.3, "0.1", true),
    ] {
        let old_metrics = numbers(&[("r2", old)]);
        for (over, earlier) in [
            (None, Earlier { accepted: Some(&old_metrics), served: None }),
            (Some(Over::Served), Earlier { accepted: None, served: Some(&old_metrics) }),
        ] {
            let selection = select(Some(&gate(direction, over, least)), &passed(&[new]), &earlier);
            let expected = if improves { Fate::Best } else { Fate::NotImproved };
            assert_eq!(selection.fates, [expected], "{direction:?} {new} over {old} by {least:?}");
            assert_eq!(selection.winner, improves.then_some(0));
            assert_eq!(selection.message.is_empty(), improves);
        }
    }
}

#[test]
fn message_names_the_compared_numbers() {
    let old = numbers(&[("r2", 0.8)]);
    let earlier = Earlier { accepted: Some(&old), served: None };
    let selection = select(Some(&gate(Direction::Maximize, None, "0.01")), &passed(&[0.805, 0.8]), &earlier);
    assert_eq!(selection.message, "r2 of 0.805 does not improve on 0.8 of the accepted version by 0.01");
    assert_eq!(selection.fates, [Fate::NotImproved, Fate::NotBest]);
}

#[test]
fn without_an_earlier_version_any_candidate_that_passed_may_win() {
    let better = numbers(&[("r2", 0.99)]);
    for (over, earlier) in [
        (None, NOTHING),
        (Some(Over::Served), Earlier { accepted: Some(&better), served: None }),
        (Some(Over::Candidates), Earlier { accepted: Some(&better), served: Some(&better) }),
    ] {
        let selection = select(Some(&gate(Direction::Maximize, over, "0.5")), &passed(&[0.1]), &earlier);
        assert_eq!(selection.winner, Some(0), "{over:?}");
    }
}

#[test]
fn earlier_version_without_the_metric_is_not_replaced() {
    let other = numbers(&[("f1", 0.5)]);
    let earlier = Earlier { accepted: Some(&other), served: None };
    let mut gate = gate(Direction::Maximize, None, "");
    let selection = select(Some(&gate), &passed(&[0.9]), &earlier);
    assert_eq!((selection.winner, selection.awaiting, selection.fates), (None, None, vec![Fate::Incomparable]));
    assert!(selection.message.starts_with("the accepted version has no metric r2"), "{}", selection.message);
    gate.on_inconclusive = Some(OnUndecided::AwaitApproval);
    assert_eq!(select(Some(&gate), &passed(&[0.9]), &earlier).awaiting, Some(0));
}

#[test]
fn undecided_candidate_waits_for_approval_if_configured_and_without_a_winner() {
    let none = BTreeMap::new();
    let candidates = [
        (Verdict::Failed, none.clone()),
        (Verdict::MetricsUnavailable, none.clone()),
        (Verdict::Inconclusive, none.clone()),
    ];
    let mut gate = Gate::default();
    assert_eq!(select(Some(&gate), &candidates, &NOTHING).awaiting, None);
    gate.on_inconclusive = Some(OnUndecided::AwaitApproval);
    assert_eq!(select(Some(&gate), &candidates, &NOTHING).awaiting, Some(2));
    gate.on_metrics_unavailable = Some(OnUndecided::AwaitApproval);
    assert_eq!(select(Some(&gate), &candidates, &NOTHING).awaiting, Some(1));
    let with_one_that_passed = [candidates.as_slice(), &[(Verdict::Passed, none)]].concat();
    let selection = select(Some(&gate), &with_one_that_passed, &NOTHING);
    assert_eq!((selection.winner, selection.awaiting), (Some(3), None));
}

#[test]
fn improvement_that_is_no_number_is_refused() {
    for text in ["1e999", "nan", "-1", "a"] {
        let invalid = GateProgram::compile(Some(&gate(Direction::Maximize, None, text))).unwrap_err();
        assert_eq!(invalid.field, "spec.gate.best.minImprovement", "{text}");
    }
}

proptest! {
    #[test]
    fn worse_candidates_change_nothing(
        scores in prop::collection::vec(-10.0..10.0_f64, 1..8),
        losses in prop::collection::vec(0.001..10.0_f64, 0..8),
        old in prop::option::of(-10.0..10.0_f64),
        maximize in any::<bool>(),
    ) {
        let direction = if maximize { Direction::Maximize } else { Direction::Minimize };
        let gate = gate(direction, None, "0.01");
        let old = old.map(|old| numbers(&[("r2", old)]));
        let earlier = Earlier { accepted: old.as_ref(), served: None };
        let few = passed(&scores);
        let best = if maximize { scores.iter().copied().reduce(f64::max) } else { scores.iter().copied().reduce(f64::min) };
        let worse: Vec<f64> = losses.iter().map(|loss| best.unwrap() + if maximize { -loss } else { *loss }).collect();
        let many = [few.as_slice(), &passed(&worse)].concat();
        let (few, many) = (select(Some(&gate), &few, &earlier), select(Some(&gate), &many, &earlier));
        prop_assert_eq!(few.winner, many.winner);
        prop_assert_eq!(few.message, many.message);
        prop_assert_eq!(&many.fates[..few.fates.len()], &few.fates[..]);
    }

    #[test]
    fn winner_passed_and_improves(
        scores in prop::collection::vec((0..4_u8, -10.0..10.0_f64), 0..8),
        old in -10.0..10.0_f64,
    ) {
        let verdicts = [Verdict::Passed, Verdict::Failed, Verdict::Inconclusive, Verdict::NotJudged];
        let candidates: Vec<(Verdict, Metrics)> = scores
            .iter()
            .map(|(verdict, score)| (verdicts[usize::from(*verdict)], metrics(&[("r2", *score)])))
            .collect();
        let old_metrics = numbers(&[("r2", old)]);
        let earlier = Earlier { accepted: Some(&old_metrics), served: None };
        let selection = select(Some(&gate(Direction::Maximize, None, "")), &candidates, &earlier);
        prop_assert_eq!(selection.fates.len(), candidates.len());
        prop_assert_eq!(selection.fates.iter().position(|fate| *fate == Fate::Best), selection.winner);
        if let Some(winner) = selection.winner {
            prop_assert_eq!(candidates[winner].0, Verdict::Passed);
            prop_assert!(scores[winner].1 > old);
        }
    }
}
