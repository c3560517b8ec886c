//! Paths, as the RFC has them and as people get them wrong.

use proptest::prelude::*;
use serde_json::{Value, json, value::to_raw_value};

use super::{MAX_INDEX, MAX_STEPS, Segment, SingularPath};

fn steps(text: &str) -> Vec<Segment> {
    SingularPath::parse(text).unwrap_or_else(|error| panic!("{text}: {error}")).steps
}

fn member(name: &str) -> Segment {
    Segment::Member(name.to_owned())
}

#[test]
fn reads_every_way_to_write_a_step() {
    for (text, expected) in [
        ("$", vec![]),
        ("$.a", vec![member("a")]),
        ("$._1", vec![member("_1")]),
        ("$.größe.日本", vec![member("größe"), member("日本")]),
        ("$.a.b[0][-1]", vec![member("a"), member("b"), Segment::Element(0), Segment::Element(-1)]),
        (r#"$["a b"]['c"d']"#, vec![member("a b"), member("c\"d")]),
        (r#"$["it's"]['']"#, vec![member("it's"), member("")]),
        (r#"$["a.b/c"]"#, vec![member("a.b/c")]),
        ("$ .a\t[ 'b' ]\r\n[ 7 ]", vec![member("a"), member("b"), Segment::Element(7)]),
        (r#"$["\b\f\n\r\t\/\\\""]"#, vec![member("\u{8}\u{c}\n\r\t/\\\"")]),
        (r"$['\'\u00e4\uD83D\ude00']", vec![member("'ä😀")]),
        ("$[9007199254740991]", vec![Segment::Element(MAX_INDEX)]),
    ] {
        assert_eq!(steps(text), expected, "{text}");
    }
}

#[test]
fn says_what_is_wrong_and_where() {
    for (text, at, problem) in [
        ("", 1, "must begin with $"),
        ("spec.a", 1, "must begin with $"),
        (" $", 1, "must begin with $"),
        ("$.a ", 4, "must not end with a blank"),
        ("$a", 2, "must go on with"),
        ("$..a", 3, "descendants"),
        ("$.*", 3, "wildcard"),
        ("$[*]", 3, "wildcard"),
        ("$[?@.a]", 3, "filter"),
        ("$[1:2]", 4, "slice"),
        ("$[:2]", 3, "slice"),
        ("$[0,1]", 4, "several selectors"),
        ("$['a','b']", 6, "several selectors"),
        ("$.", 3, "after the dot"),
        ("$. a", 3, "after the dot"),
        ("$.1a", 3, "after the dot"),
        ("$.a-b", 4, "needs quotes"),
        ("$.metadata.labels.app/x", 22, "needs quotes"),
        ("$[a]", 3, "a quoted name or an index"),
        ("$[]", 3, "a quoted name or an index"),
        ("$[01]", 3, "leading zeros"),
        ("$[-0]", 3, "leading zeros"),
        ("$[-]", 3, "whole number"),
        ("$[9007199254740992]", 3, "whole number"),
        ("$[99999999999999999999]", 3, "whole number"),
        ("$[1.5]", 4, "lacks a ]"),
        ("$['a'", 6, "lacks a ]"),
        ("$['a", 5, "closing quote"),
        (r"$['a\x']", 6, "unknown escape"),
        (r#"$['a\"']"#, 6, "unknown escape"),
        (r"$['\ud83d']", 6, "does not name a character"),
        (r"$['\ude00']", 6, "does not name a character"),
        (r"$['\u00g0']", 6, "does not name a character"),
        ("$['\u{1}']", 4, "control character"),
        ("$.ä[*]", 5, "wildcard"),
    ] {
        let error = SingularPath::parse(text).unwrap_err();
        assert!(error.problem.contains(problem) && error.at + 1 == at, "{text}: {error}");
    }
}

#[test]
fn bounds_length_and_steps() {
    assert!(SingularPath::parse(&format!("$.{}", "a".repeat(510))).is_ok());
    assert!(SingularPath::parse(&format!("$.{}", "a".repeat(511))).unwrap_err().problem.contains("512 bytes"));
    assert!(SingularPath::parse(&format!("${}", ".a".repeat(MAX_STEPS))).is_ok());
    assert!(SingularPath::parse(&format!("${}", ".a".repeat(MAX_STEPS + 1))).unwrap_err().problem.contains("32 steps"));
}

/// What stands at `path`, as text.
fn found(document: &str, path: &str) -> Option<String> {
    let document = serde_json::from_str(document).unwrap();
    SingularPath::parse(path).unwrap().lookup(document).map(|place| place.get().to_owned())
}

#[test]
fn finds_one_place_or_none() {
    let document = r#"{"a":{"b c":[10,1.50,1e3,"x"],"n":null,"\u00e4":true},"":{"":12345678901234567890}}"#;
    for (path, expected) in [
        ("$.a['b c'][0]", Some("10")),
        ("$.a['b c'][1]", Some("1.50")),
        ("$.a['b c'][2]", Some("1e3")),
        ("$.a['b c'][-1]", Some("\"x\"")),
        ("$.a['b c'][-4]", Some("10")),
        ("$.a['b c'][4]", None),
        ("$.a['b c'][-5]", None),
        ("$.a.n", Some("null")),
        ("$.a.ä", Some("true")),
        ("$.a.n.x", None),
        ("$.a[0]", None),
        ("$.a['b c'].x", None),
        ("$['']['']", Some("12345678901234567890")),
        ("$.A", None),
    ] {
        assert_eq!(found(document, path).as_deref(), expected, "{path}");
    }
    assert_eq!(found("[1]", "$").as_deref(), Some("[1]"));
}

fn any_step() -> impl Strategy<Value = Segment> {
    prop_oneof![any::<String>().prop_map(Segment::Member), (-MAX_INDEX..=MAX_INDEX).prop_map(Segment::Element)]
}

proptest! {
    #[test]
    fn never_panics_and_prints_what_it_reads_back(text in r#"\$?([.\["'\\u*?:,\] 0-9a-z-]|\PC){0,40}"#) {
        if let Ok(path) = SingularPath::parse(&text) {
            let printed = path.to_string();
            if printed.len() <= super::MAX_PATH {
                prop_assert_eq!(SingularPath::parse(&printed).unwrap(), path);
            }
        }
    }

    #[test]
    fn reads_back_whatever_names_there_are(steps in proptest::collection::vec(any_step(), 0..6)) {
        let path = SingularPath { steps };
        let printed = path.to_string();
        prop_assume!(printed.len() <= super::MAX_PATH);
        prop_assert_eq!(SingularPath::parse(&printed).unwrap(), path);
    }

    #[test]
    fn finds_what_was_put_at_the_end_of_a_path(names in proptest::collection::vec(".{0,8}", 0..6), value in 0..1000_u32) {
        let document = names.iter().rev().fold(json!(value), |inner, name| json!({ name: inner }));
        let path = SingularPath { steps: names.into_iter().map(Segment::Member).collect() };
        let document = to_raw_value(&document).unwrap();
        let found: Option<Value> = path.lookup(&document).map(|place| serde_json::from_str(place.get()).unwrap());
        prop_assert_eq!(found, Some(json!(value)));
    }
}
