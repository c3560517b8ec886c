//! Hostile expressions, and texts that are no expressions.

use proptest::prelude::*;

use super::{World, gate, metrics, refusal, texts, verdict};
use crate::{
    api::Verdict,
    core::gate::{GateProgram, LiveRule},
};

/// The largest evidence of a training.
fn full() -> World {
    let names: Vec<String> = (0..64).map(|place| format!("metric_{place}")).collect();
    let entries: Vec<(&str, f64)> = names.iter().map(|name| (name.as_str(), 0.5)).collect();
    let long = "a".repeat(4096);
    World { metrics: metrics(&entries), parameters: texts(&[("long", &long)]), ..World::default() }
}

#[test]
fn expression_that_exceeds_a_bound_is_inconclusive() {
    for expression in [
        // Texts that grow.
        "parameters.long + 'a' == ''".to_owned(),
        format!("['aaaaaaaa'].all(x, [{}x].all(y, {}y != ''))", "x + ".repeat(15), "y + ".repeat(39)),
        // Nested loops.
        format!("metrics.all(a, metrics.all(b, {}a != ''))", "a + b + ".repeat(8)),
        "metrics.all(a, metrics.all(b, parameters.long.contains(a + b + 'x') || true))".to_owned(),
        // Lists that grow from a text.
        "parameters.long.split('').size() > 1".to_owned(),
        "metrics.all(a, parameters.long.split('aaaaaaaa').all(b, b == '' && a != ''))".to_owned(),
    ] {
        let (verdict, message) = verdict(&expression, &full());
        assert_eq!(verdict, Verdict::Inconclusive, "{expression}");
        assert!(message.contains("too long") || message.contains("more than 100000 steps"), "{expression}: {message}");
    }
}

#[test]
fn nothing_outweighs_an_exceeded_bound() {
    let (verdict, message) = verdict("parameters.long.split('').size() > 1 || true", &full());
    assert_eq!(verdict, Verdict::Inconclusive);
    assert_eq!(message, "a value is too long: at most 4096 bytes, 1024 elements");
}

#[test]
fn usual_expressions_stay_below_the_bounds() {
    for expression in [
        "metrics.all(k, metrics[k] >= 0.5 && (k in accepted ? metrics[k] > accepted[k] : true))",
        "metrics.all(a, metrics.all(b, a == b || metrics[a] - metrics[b] < 0.1))",
        "metrics.filter(k, k.startsWith('metric_')).map(k, metrics[k]).sum() == 32",
        "metrics.all(k, parameters.long.startsWith('a'))",
    ] {
        assert_eq!(verdict(expression, &full()), (Verdict::Passed, String::new()), "{expression}");
    }
}

/// A worker of the operator has a stack of 2 MiB.
#[test]
fn nesting_and_length_are_bounded() {
    let nested = "brackets and conditionals are nested more than 32 deep";
    for (expression, problem) in [
        (format!("{}true{}", "(".repeat(33), ")".repeat(33)), nested),
        (format!("{}true", "!(".repeat(100)), nested),
        (format!("{}true", "true?true:".repeat(33)), nested),
        (format!("{}true", "!(".repeat(400)), "there are more than 400 words and signs"),
        (format!("{}1 > 0", "1+".repeat(300)), "there are more than 400 words and signs"),
        (format!("// it's\n{}1 > 0", "1+".repeat(300)), "there are more than 400 words and signs"),
        (format!("'it\\'s' + ' // ' + {}1 > 0", "1+".repeat(300)), "there are more than 400 words and signs"),
        (format!("{}1 > 0", "1+".repeat(198)), "it is nested more than 64 deep"),
        (format!("metrics{} > 0", ".a".repeat(198)), "it is nested more than 64 deep"),
        (format!("{}true", " ".repeat(1024)), "has more than 1024 bytes"),
        ("metrics.all(a, metrics.all(b, metrics.all(c, true)))".to_owned(), "loops are nested more than 2 deep"),
    ] {
        assert!(refusal(&expression).contains(problem), "{expression}: {}", refusal(&expression));
    }
    for expression in [
        format!("{}true{}", "(".repeat(32), ")".repeat(32)),
        format!("{}true", "true ? true : ".repeat(32)),
        // The words of texts and comments do not count.
        format!("candidate in [{}'last'] // {}", "'a b', ".repeat(100), "word ".repeat(40)),
        // A chain of loops is not nested.
        "metrics.filter(a, true).map(a, a).filter(a, true).all(a, a != '')".to_owned(),
    ] {
        let compiled = GateProgram::compile(Some(&gate(&[&expression])));
        assert!(compiled.is_ok(), "{expression}: {compiled:?}");
    }
}

/// Texts made of pieces of expressions, and of pieces that no expression has.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "metrics",
        "accepted",
        "candidate",
        "parameters",
        ".r2",
        ".lr",
        "[",
        "]",
        "(",
        ")",
        "'a'",
        "\"r2\"",
        "0.5",
        "1",
        "-",
        "+",
        "*",
        "/",
        "%",
        "!",
        "&&",
        "||",
        "==",
        "<",
        ">=",
        "in",
        "has",
        ".all(x, ",
        ".map(x, ",
        ".filter(x, ",
        "x",
        "?",
        ":",
        ",",
        "size(",
        "math.greatest(",
        ".contains(",
        "true",
        "false",
        " ",
        "\n",
        "// c\n",
        "'",
        "\\",
        "{",
        "null",
        "é",
        "1e400",
        ".5",
        "r'",
        "`",
        "value",
    ]);
    prop::collection::vec(piece, 0..40).prop_map(|pieces| pieces.concat())
}

/// Expressions that compile often.
fn expressions() -> impl Strategy<Value = String> {
    let leaf = prop::sample::select(vec!["metrics.r2", "metrics.f1", "accepted.r2", "0.5", "2", "value", "x"]);
    leaf.prop_map(str::to_owned).prop_recursive(4, 24, 3, |inner| {
        prop_oneof![
            (inner.clone(), prop::sample::select(vec!["+", "-", "*", "/", "<", ">=", "==", "&&", "||"]), inner.clone())
                .prop_map(|(one, sign, two)| format!("({one} {sign} {two})")),
            inner.clone().prop_map(|one| format!("!({one})")),
            inner.clone().prop_map(|one| format!("metrics.all(x, {one})")),
            inner.clone().prop_map(|one| format!("[0.5].map(x, {one}).max()")),
            (inner.clone(), inner.clone(), inner).prop_map(|(one, two, three)| format!("({one} ? {two} : {three})")),
        ]
    })
}

fn try_it(text: &str) {
    if let Ok(program) = GateProgram::compile(Some(&gate(&[text]))) {
        let world = World { metrics: metrics(&[("r2", 0.5), ("nan", f64::NAN)]), ..full() };
        let judgement = program.judge(&world.evidence());
        assert!(judgement.rules.iter().all(|rule| rule.message.len() <= 256));
        assert_eq!(judgement, program.clone().judge(&world.evidence()), "the same evidence, the same verdict");
    }
    if let Ok(rule) = LiveRule::compile("spec.freshness.metrics[0].rule", text) {
        let _: Result<bool, String> = rule.holds(0.5);
    }
}

proptest! {
    #[test]
    fn no_text_makes_compiling_or_judging_panic(text in any::<String>()) {
        try_it(&text);
    }

    #[test]
    fn no_mix_of_pieces_makes_compiling_or_judging_panic(text in pieces()) {
        try_it(&text);
    }

    #[test]
    fn no_expression_makes_judging_panic(text in expressions()) {
        try_it(&text);
        try_it(&format!("{text} > 0.5"));
    }

    #[test]
    fn deciding_operand_decides_on_either_side(text in expressions()) {
        let world = World { metrics: metrics(&[("r2", 0.5)]), ..World::default() };
        for (expression, expected) in [
            (format!("({text} > 0.5) || true"), Verdict::Passed),
            (format!("true || ({text} > 0.5)"), Verdict::Passed),
            (format!("({text} > 0.5) && false"), Verdict::Failed),
            (format!("false && ({text} > 0.5)"), Verdict::Failed),
        ] {
            if let Ok(program) = GateProgram::compile(Some(&gate(&[&expression]))) {
                prop_assert_eq!(program.judge(&world.evidence()).verdict, expected, "{}", expression);
            }
        }
    }

    #[test]
    fn unknown_name_is_refused_at_its_place(text in expressions()) {
        let text = format!("// größe\n'größe' == 'ä' || {}", text.replacen("metrics.f1", "unknown", 1));
        if let Some((before, _)) = text.split_once("unknown")
            && let Err(invalid) = GateProgram::compile(Some(&gate(&[&text])))
            && invalid.problem.contains("there is no unknown")
        {
            let column = before.lines().last().unwrap_or_default().chars().count() + 1;
            let place = format!("is not a rule at line 2, column {column}: ");
            prop_assert!(invalid.problem.starts_with(&place), "{}: {}", text, invalid.problem);
        }
    }
}
