//! Verdicts of rules, and expressions that are refused.

use super::{World, gate, judge, metrics, numbers, refusal, texts, verdict};
use crate::{
    api::{Best, Direction, Verdict},
    core::gate::{GateProgram, LiveRule},
};

fn world() -> World {
    World {
        candidate: "deep".to_owned(),
        metrics: metrics(&[
            ("r2", 0.8),
            ("n", 6.0),
            ("val-acc", 0.9),
            ("slice_de", 0.75),
            ("slice_fr", 0.72),
            ("nan", f64::NAN),
        ]),
        accepted: numbers(&[("r2", 0.75)]),
        served: numbers(&[("r2", 0.7)]),
        parameters: texts(&[("lr", "0.01"), ("kind", "big tree")]),
        inputs: texts(&[("data", "s3://bucket/day")]),
    }
}

#[test]
fn rules_that_hold_let_a_candidate_pass() {
    for expression in [
        "true",
        "metrics.r2 > 0.75",
        "metrics.n > 5",
        "metrics.n == 6 && metrics.n >= 6 && metrics.n <= 6 && metrics.n != 7 && metrics.n < 7",
        "metrics.r2 * 2 > 1",
        "1 / 2 == 0.5 && 7 % 4 == 3 && -metrics.r2 < 0 && 2 - (-1.5) > 3",
        "metrics.r2 > accepted.r2 + 1 - 1 + 0.01",
        "metrics[\"val-acc\"] > 0.85",
        "metrics.r2 > accepted.r2 && metrics.r2 > served.r2",
        "has(metrics.r2) && \"r2\" in metrics && !has(metrics.f1) && !(\"f1\" in accepted)",
        "size(accepted) == 1 && served.size() == 1",
        "metrics.all(k, !k.startsWith(\"slice_\") || metrics[k] > 0.7)",
        "metrics.filter(k, k.startsWith('slice_')).map(k, metrics[k]).min() > 0.7",
        "metrics.map(k, k.endsWith('_de'), metrics[k]).sum() == 0.75",
        "metrics.exists_one(k, k == 'n') && metrics.exists(k, k.contains('-'))",
        "['de', 'fr'].all(s, metrics['slice_' + s] > 0.7)",
        "[metrics, metrics].all(m, m.r2 > 0.7 && m['n'] == 6)",
        "[0.1, 0.9][1] == 0.9 && 0.9 in [0.1, 0.9] && [1, 2] == [1, 2] && [1] != [2]",
        "candidate == 'deep' && candidate in ['deep', 'flat']",
        "candidate == 'flat' ? metrics.r2 > 2 : metrics.r2 > 0.5",
        "double(parameters.lr) == 0.01 && parameters.kind.split(' ').size() == 2 && 'a' < 'b'",
        "parameters.kind.upperAscii() == 'BIG TREE' && ' x '.trim() == 'x' && 'X'.lowerAscii() == 'x'",
        "inputs.data.startsWith('s3://') && string(metrics.n) == '6' && int('7.9') == 7 && int(7.9) == 7",
        "math.abs(-2) == 2 && math.ceil(0.2) == 1 && math.floor(0.8) == 0 && math.round(0.5) == 1",
        "math.trunc(-1.5) == -1 && math.sign(-3) == -1 && math.sqrt(4) == 2",
        "math.greatest(1, metrics.n, 3) == 6 && math.least(1, metrics.n) == 1 && [1, 2].max() == 2",
        "size('größe') == 5 && size([1, 2]) == 2",
        "// the usual\nmetrics.r2\n  > 0.5 // enough",
        "true || metrics.missing > 1",
        "metrics.missing > 1 || true",
        "accepted.missing > 1 || metrics.r2 > 0.5",
        "has(metrics.nan) && !(\"it's\" == 'other')",
        "!!true && !!!false && 1 - -1 == 2 && 1 --1 == 2 && --metrics.n == 6",
        "1e-3 < .5 && 1.5E+2 == 150 && metrics.n < 1790000000000",
    ] {
        assert_eq!(verdict(expression, &world()), (Verdict::Passed, String::new()), "{expression}");
    }
}

#[test]
fn rules_that_do_not_hold_fail_and_name_what_they_read() {
    for (expression, message) in [
        ("false", ""),
        ("metrics.r2 > 0.85", "metrics.r2 = 0.8"),
        ("metrics.n > 6", "metrics.n = 6"),
        ("metrics.r2 > accepted.r2 + 0.1", "metrics.r2 = 0.8, accepted.r2 = 0.75"),
        ("metrics[\"val-acc\"] > 0.95", "metrics[\"val-acc\"] = 0.9"),
        ("candidate == 'flat'", ""),
        ("metrics.missing > 1 && false", ""),
        ("false && metrics.missing > 1", ""),
        ("accepted.missing > 1 && metrics.r2 > 0.9", "metrics.r2 = 0.8"),
        (
            "metrics.all(k, metrics[k] > 0.73)",
            "metrics.n = 6, metrics.r2 = 0.8, metrics.slice_de = 0.75, metrics.slice_fr = 0.72",
        ),
        ("metrics.exists(k, k == 'f1')", ""),
    ] {
        assert_eq!(verdict(expression, &world()), (Verdict::Failed, message.to_owned()), "{expression}");
    }
}

#[test]
fn metrics_that_cannot_be_read_are_unavailable() {
    for (expression, message) in [
        ("metrics.f1 > 0.5", "metrics.f1 is missing"),
        ("metrics['f 1'] > 0.5", "metrics[\"f 1\"] is missing"),
        ("metrics.nan > 0.5", "metrics.nan is not a finite number"),
        ("!has(metrics.nan) || metrics.nan > 0.5", "metrics.nan is not a finite number"),
        ("metrics.f1 > 0.5 || false", "metrics.f1 is missing"),
        ("true && metrics.f1 > 0.5", "metrics.f1 is missing"),
        // The missing metric outweighs other failures, on either side.
        ("accepted.f1 < metrics.f1", "metrics.f1 is missing"),
        ("metrics.f1 > accepted.f1", "metrics.f1 is missing"),
        ("1 / 0 > 1 || metrics.f1 > 0.5", "metrics.f1 is missing"),
        ("[accepted.f1, metrics.f1].max() > 1", "metrics.f1 is missing"),
        ("metrics.all(k, k == 'n' || metrics[k] > 0.5)", "metrics.nan is not a finite number"),
        ("metrics.map(k, metrics[k]).max() > 5", "metrics.nan is not a finite number"),
        ("['f1'].exists_one(k, metrics[k] > 0)", "metrics.f1 is missing"),
    ] {
        let expected = (Verdict::MetricsUnavailable, message.to_owned());
        assert_eq!(verdict(expression, &world()), expected, "{expression}");
    }
}

#[test]
fn rules_that_cannot_be_computed_are_inconclusive() {
    for (expression, message) in [
        ("metrics.r2 > accepted.f1", "accepted.f1 is absent: begin with !has(accepted.f1) ||"),
        ("metrics.r2 > served[\"f-1\"]", "served[\"f-1\"] is absent: begin with !(\"f-1\" in served) ||"),
        ("parameters.size == 'big'", "parameters.size is absent"),
        ("metrics.r2 / 0 > 1", "it divides by zero"),
        ("metrics.r2 % (metrics.n - 6) > 1", "it divides by zero"),
        ("1e308 * 10 > 1", "a result is not a finite number"),
        ("math.sqrt(-1) < 1", "a result is not a finite number"),
        ("double('nan') < 1", "a result is not a finite number"),
        ("double(parameters.kind) > 1", "double(…) of a text that is no number"),
        ("[1, 2][2] == 1", "a list of 2 has no element 2"),
        ("[1, 2][0.5] == 1", "a list of 2 has no element 0.5"),
        ("[].max() > 1", "an empty list has no least or greatest"),
        ("[1, 'a'][1]", "expected true or false, found text"),
        ("[1, 'a'][1] > 2", "text cannot be compared with a number"),
        ("[1, 'a'].all(x, x + 1 > 0)", "arithmetic on text and a number is not possible"),
    ] {
        assert_eq!(verdict(expression, &world()), (Verdict::Inconclusive, message.to_owned()), "{expression}");
    }
}

#[test]
fn expressions_are_refused_with_place_and_remedy() {
    for (expression, problem) in [
        ("metrics.r2 >", "at line 1, column 13: "),
        ("metrics.r2 > 0.5)", "at line 1, column 17: "),
        (
            "metrics.r2 > 0.5 &&\n  metric.f1 > 1",
            "at line 2, column 3: there is no metric: a rule reads metrics, accepted",
        ),
        ("metrics.val-acc > 1", "at line 1, column 13: there is no acc: "),
        ("metrics.r2", "it yields a number, and a rule yields true or false"),
        ("'metric' == metric", "at line 1, column 13: there is no metric"),
        (
            "metrics.a > 1 && parameters.lr > 0.5",
            "at line 1, column 32: > cannot compare text with a number: double(…)",
        ),
        ("metrics.filter(k, k > 'a').size() > k", "at line 1, column 37: there is no k"),
        ("metrics.r2 + parameters.lr > 1", "at line 1, column 12: + cannot take a number and text: double(…)"),
        ("metrics > accepted", "at line 1, column 9: metrics is a map: compare one of its entries"),
        ("true < false", "at line 1, column 6: < cannot compare true or false with true or false"),
        ("!metrics.r2", "at line 1, column 1: ! takes true or false, not a number"),
        ("metrics.r2 && true", "at line 1, column 12: && takes true or false, not a number"),
        ("-candidate == 1", "at line 1, column 1: - takes a number, not text"),
        (
            "metrics.all(k, metrics[k])",
            "at line 1, column 9: all takes an expression that is true or false, not a number",
        ),
        ("metrics.all(1, true)", "at line 1, column 13: "),
        ("metrics.all(metrics, true)", "at line 1, column 13: a variable cannot be called metrics"),
        ("metrics[1] > 2", "at line 1, column 8: an entry of a map is named by text, not by a number"),
        ("candidate.r2 > 2", "at line 1, column 11: text has no entry r2"),
        ("1 in metrics", "at line 1, column 3: a number is never in a map"),
        ("candidate.matches('a')", "at line 1, column 11: regular expressions are not available"),
        ("candidate.size() == 4 && median(metrics)", "at line 1, column 26: there is no function median"),
        ("contains(candidate, 'a')", "at line 1, column 1: contains is called as x.contains(…)"),
        ("abs(metrics.r2) > 1", "at line 1, column 1: abs is called as math.abs(…)"),
        ("math.abs(1, 2) > 1", "at line 1, column 6: math.abs takes 1 value(s), and has 2"),
        ("math.abs(parameters.lr) > 1", "at line 1, column 6: math.abs takes a number, not text: double(…)"),
        ("metrics.r2 = 1", "at line 1, column 12: values are compared with =="),
        ("{'a': 1}.a == 1", "at line 1, column 1: maps and messages cannot be written here"),
        ("metrics.r2 > null", "at line 1, column 14: null does not exist here"),
        ("metrics.`val-acc` > 1", "at line 1, column 9: a name in backticks is not understood"),
        ("candidate == r'a'", "at line 1, column 14: a prefixed text is not understood"),
        ("candidate == '''a'''", "at line 1, column 14: three quotes in a row are not understood"),
        ("candidate == \"it\\'s\"", "at line 1, column 14: a text may only escape"),
        ("candidate == 'a", "at line 1, column 14: a text has no closing quote"),
        ("metrics.n > 5u", "at line 1, column 13: a number is written in decimal digits"),
        ("metrics.n > 0x5", "at line 1, column 13: a number is written in decimal digits"),
        (
            "metrics.n > 9007199254740993",
            "at line 1, column 13: 9007199254740993 is too large for an exact number: write it as 1e18",
        ),
        ("metrics.n > 99999999999999999999", "at line 1, column 13: invalid int literal"),
        ("metrics.?r2 > 1", "at line 1, column 8: unsupported syntax '.?'"),
        ("metrics.r2 > 1 # more", "at line 1, column 16: the character '#' has no meaning here"),
        ("größe > 1", "at line 1, column 3: the character 'ö' has no meaning here"),
        ("metrics.r2 < 5ms", "at line 1, column 15: a number is written in decimal digits"),
        ("candidate == 'a\\q'", "at line 1, column 14: a text may only escape"),
        ("metrics.all(var, true)", "at line 1, column 13: var is a reserved word: choose another name"),
        ("metrics.r2 > 1 ? true", "at line 1, column 22: mismatched input 'the end'"),
        ("[metrics.in].max() > 1", "at line 1, column 10: no viable alternative at input '.in'"),
        ("has(candidate.r2)", "at line 1, column 5: text has no entry r2"),
        ("size(size(metrics)) > 1", "at line 1, column 1: size takes text, a list or a map, not a number"),
        ("candidate.all(k, true)", "at line 1, column 11: text is not a map or a list"),
        (
            "metrics.map(k, k)\n  .filter(k, metrics[k]).size() > 1",
            "at line 2, column 4: filter takes an expression that is true or false, not a number",
        ),
        ("metrics.map( m, metrics.map(n, metrics.map( o, o))) == []", "at line 1, column 45: loops are nested"),
        ("", ""),
        ("// nothing", ""),
    ] {
        let refused = refusal(expression);
        let rest = refused.strip_prefix("is not a rule").unwrap_or_else(|| panic!("{expression}: {refused}"));
        assert!(rest.trim_start_matches([':', ' ']).starts_with(problem), "{expression}: {refused}");
    }
}

#[test]
fn failed_rule_outweighs_missing_metrics_and_both_outweigh_an_inconclusive_rule() {
    let judge = |expressions: &[&str]| {
        let judgement = GateProgram::compile(Some(&gate(expressions))).unwrap().judge(&world().evidence());
        assert_eq!(judgement.rules.len(), expressions.len(), "every rule is reported");
        judgement.verdict
    };
    let (passed, failed) = ("metrics.r2 > 0.5", "metrics.r2 > 0.9");
    let (unavailable, inconclusive) = ("metrics.f1 > 0.5", "accepted.f1 > 0.5");
    assert_eq!(judge(&[]), Verdict::Passed);
    assert_eq!(judge(&[passed, passed]), Verdict::Passed);
    assert_eq!(judge(&[passed, inconclusive]), Verdict::Inconclusive);
    assert_eq!(judge(&[inconclusive, unavailable, passed]), Verdict::MetricsUnavailable);
    assert_eq!(judge(&[unavailable, inconclusive, failed]), Verdict::Failed);
}

#[test]
fn no_gate_lets_every_candidate_pass() {
    let judgement = GateProgram::compile(None).unwrap().judge(&World::default().evidence());
    assert_eq!((judgement.verdict, judgement.rules.len()), (Verdict::Passed, 0));
}

#[test]
fn metric_of_best_must_be_available() {
    let mut gate = gate(&["metrics.r2 > 0.5"]);
    for (metric, verdict, message) in [
        ("r2", Verdict::Passed, None),
        ("f1", Verdict::MetricsUnavailable, Some("metrics.f1 is missing")),
        ("nan", Verdict::MetricsUnavailable, Some("metrics.nan is not a finite number")),
    ] {
        gate.best =
            Some(Best { metric: metric.to_owned(), direction: Direction::Maximize, over: None, min_improvement: None });
        let judgement = GateProgram::compile(Some(&gate)).unwrap().judge(&world().evidence());
        assert_eq!(judgement.verdict, verdict, "{metric}");
        let best = judgement.rules.iter().find(|rule| rule.name == "best");
        assert_eq!(best.map(|best| best.message.as_str()), message, "{metric}");
    }
}

#[test]
fn usual_comparisons_pass_without_an_earlier_version() {
    let first = World { metrics: metrics(&[("r2", 0.6)]), ..World::default() };
    for expression in [
        "!(\"r2\" in accepted) || metrics.r2 > accepted.r2",
        "!has(served.r2) || metrics.r2 > served.r2",
        "size(accepted) == 0 || metrics.r2 > accepted.r2",
    ] {
        assert_eq!(verdict(expression, &first).0, Verdict::Passed, "{expression}");
        let better = World { accepted: numbers(&[("r2", 0.7)]), served: numbers(&[("r2", 0.7)]), ..first.clone() };
        assert_eq!(verdict(expression, &better).0, Verdict::Failed, "{expression}");
    }
}

#[test]
fn messages_stay_within_their_bound_and_on_one_line() {
    let long = "ä\n".repeat(200);
    let world = World { metrics: metrics(&[(&long, f64::NAN)]), ..World::default() };
    let judgement = judge("metrics.all(k, metrics[k] > 0)", &world);
    let message = &judgement.rules[0].message;
    assert!(message.len() <= 256 && !message.contains('\n') && message.contains("metrics[\"ä\\n"), "{message}");
}

#[test]
fn live_rules_read_the_value_alone() {
    let rule = LiveRule::compile("spec.freshness.metrics[0].rule", "value < 0.8 || value > 2").unwrap();
    assert_eq!((rule.holds(0.7), rule.holds(0.8), rule.holds(3.0)), (Ok(true), Ok(false), Ok(true)));
    assert_eq!(rule.holds(f64::NAN), Err("the value is not a finite number".to_owned()));
    let division = LiveRule::compile("spec.freshness.metrics[0].rule", "1 / value > 1").unwrap();
    assert_eq!(division.holds(0.0), Err("it divides by zero".to_owned()));
    for (text, problem) in [
        ("metrics.r2 < 1", "is not a rule at line 1, column 1: there is no metrics: a rule reads value"),
        ("value", "is not a rule: it yields a number"),
        (&"1 < value &&".repeat(30), "is not a rule: has more than 256 bytes"),
    ] {
        let invalid = LiveRule::compile("spec.freshness.metrics[3].rule", text).unwrap_err();
        assert_eq!(invalid.field, "spec.freshness.metrics[3].rule");
        assert!(invalid.problem.starts_with(problem), "{invalid}");
    }
}

#[test]
fn every_gate_of_the_documents_compiles() {
    let text = include_str!("../../../../docs/gates.md");
    let blocks = text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let mut gates = 0;
    for block in blocks {
        // Templates keep their JSON text, so the object must come from JSON, as it does from the API server.
        let json: serde_json::Value = serde_saphyr::from_str(block).unwrap_or_else(|error| panic!("{error}: {block}"));
        let train: crate::api::ModelTrain =
            serde_json::from_str(&json.to_string()).unwrap_or_else(|error| panic!("{error}: {block}"));
        if let Some(gate) = &train.spec.gate {
            gates += 1;
            GateProgram::compile(Some(gate)).unwrap_or_else(|invalid| panic!("{invalid}: {block}"));
        }
        for metric in train.spec.freshness.iter().flat_map(|freshness| &freshness.metrics) {
            LiveRule::compile("rule", &metric.rule).unwrap_or_else(|invalid| panic!("{invalid}: {block}"));
        }
    }
    assert!(gates >= 8, "only {gates} gates");
}
