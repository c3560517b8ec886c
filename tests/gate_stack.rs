//! Bounds the stack that the parser of rules needs: it is recursive, and users write the rules. The test is here
//! because `core` itself starts no thread.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::thread;

use modelsync::{api::Gate, core::gate::GateProgram};
use serde_json::json;

#[test]
fn deepest_and_longest_expressions_fit_in_half_of_a_workers_stack() {
    for (open, inner, close) in [
        ("(", "true", ")"),
        ("(", "", ""),
        ("!(", "true", ")"),
        ("[", "", ""),
        ("[", "1", "]"),
        ("metrics[", "'a'", "]"),
        ("size(", "", ""),
        ("a||b&&c<1+1*-f(", "1", ")"),
        ("a||b&&c<1+1*-[", "1", "]"),
        ("a.all(x,", "x", ")"),
        ("{1:", "1", "}"),
        ("a.b{c:", "1", "}"),
        ("(a?b:", "c", ")"),
        ("true?true:", "true", ""),
        ("!", "true", ""),
        ("-", "1", ""),
        ("1--", "1", ""),
        ("1+", "1", ""),
        ("metrics.a&&", "true", ""),
        ("a.", "b", ""),
        ("[a]", "", ""),
    ] {
        let longest = (1024 - inner.len()) / (open.len() + close.len());
        for times in [15, 31, 32, 33, 60, 130, 199, longest] {
            let expression = format!("{}{inner}{}", open.repeat(times), close.repeat(times));
            let gate: Gate =
                serde_json::from_value(json!({ "rules": [{ "name": "r", "expression": expression }] })).unwrap();
            let compile = move || GateProgram::compile(Some(&gate)).is_ok();
            let thread = thread::Builder::new().stack_size(1 << 20).spawn(compile).unwrap();
            thread.join().unwrap();
        }
    }
}
