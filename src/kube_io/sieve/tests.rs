use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;

/// Everything that a sieve lets through, in slices of this size: elements first, each as its own text.
fn sift(shape: Shape, wrapping: Wrapping, text: &str, slice: usize) -> Result<Vec<String>, Malformed> {
    let (mut sieve, mut found) = (Sieve::new(shape, wrapping), Vec::new());
    let mut see = |piece: Piece<'_>| match piece {
        Piece::Element(text) | Piece::Whole(text) => found.push(text.to_owned()),
    };
    for bytes in text.as_bytes().chunks(slice) {
        sieve.push(bytes, &mut see)?;
    }
    Ok(found)
}

fn sifted(shape: Shape, wrapping: Wrapping, text: &str) -> Vec<Value> {
    let found = sift(shape, wrapping, text, 7).unwrap();
    found.iter().map(|text| serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))).collect()
}

fn object() -> Value {
    json!({
        "apiVersion": "v1", "kind": "X",
        "metadata": {
            "managedFields": [{ "a": "}\"{" }], "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7",
            "annotations": { "other": "x", "automl.cloudai.kubeflow.org/target": "t", "third": "\\\"" },
            "labels": { "l": "1", "automl.cloudai.kubeflow.org/attempt": "7" },
        },
        "spec": { "a": [1, { "b": "]}" }] },
        "status": { "conditions": [{ "type": "Complete" }], "active": 3, "startTime": "s" },
    })
}

#[test]
fn keeps_of_an_object_what_its_shape_names() {
    let metadata = json!({
        "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7", "labels": { "automl.cloudai.kubeflow.org/attempt": "7" },
        "annotations": { "automl.cloudai.kubeflow.org/target": "t" },
    });
    let names = json!({ "name": "a", "namespace": "n", "uid": "u", "resourceVersion": "7" });
    let (spec, status) = (object()["spec"].clone(), object()["status"].clone());
    let run_status = json!({ "conditions": [{ "type": "Complete" }], "startTime": "s" });
    for (shape, expected) in [
        (Shape::Object, json!({ "metadata": metadata, "spec": spec, "status": status })),
        (Shape::Run, json!({ "metadata": metadata, "spec": {}, "status": run_status })),
        (Shape::EndedRun, json!({ "metadata": metadata, "spec": {}, "status": run_status })),
        (Shape::Names, json!({ "metadata": names })),
        (Shape::Whole(9999), object()),
        (
            Shape::Parts(vec![vec!["spec".into(), "a".into()], vec!["data".into(), "k".into()]], 99),
            json!({ "metadata": names, "spec": { "a": spec["a"] } }),
        ),
    ] {
        let shown = format!("{shape:?}");
        assert_eq!(sifted(shape, Wrapping::None, &object().to_string()), [expected], "{shown}");
    }
}

#[test]
fn passes_the_objects_of_a_list_on_one_by_one_and_then_the_rest() {
    let list = json!({ "kind": "L", "items": [object(), object()], "metadata": { "resourceVersion": "9" } });
    let found = sifted(Shape::Run, Wrapping::List, &list.to_string());
    assert_eq!(found.len(), 3);
    assert_eq!((&found[0]["metadata"]["uid"], &found[0]["spec"]), (&json!("u"), &json!({})));
    assert_eq!(found[0], found[1]);
    assert_eq!(found[2], json!({ "items": [], "metadata": { "resourceVersion": "9" } }));
    let empty = r#"{"items":null,"metadata":{"resourceVersion":"9"}}"#;
    assert_eq!(sifted(Shape::Run, Wrapping::List, empty).len(), 1, "Go writes null for no items");
}

#[test]
fn passes_the_events_of_a_watch_on_one_by_one() {
    let event = |kind: &str, object: Value| json!({ "type": kind, "object": object }).to_string() + "\n";
    let error = json!({ "kind": "Status", "code": 410, "message": "gone", "metadata": {} });
    let text = event("ADDED", object()) + &event("ERROR", error);
    let found = sifted(Shape::Run, Wrapping::Event, &text);
    assert_eq!((&found[0]["type"], &found[0]["object"]["metadata"]["name"]), (&json!("ADDED"), &json!("a")));
    assert_eq!(found[1], json!({ "type": "ERROR", "object": { "code": 410, "message": "gone", "metadata": {} } }));
}

#[test]
fn what_is_too_large_is_replaced_by_its_size_and_takes_no_memory() {
    let mut large = object();
    large["spec"]["a"] = json!("x".repeat(3_000_000));
    let mut sieve = Sieve::new(Shape::Object, Wrapping::None);
    let (mut most, mut found) = (0, String::new());
    for bytes in large.to_string().as_bytes().chunks(1000) {
        let mut see = |piece: Piece<'_>| {
            if let Piece::Whole(text) = piece {
                found = text.to_owned();
            }
        };
        sieve.push(bytes, &mut see).unwrap();
        most = most.max(sieve.retained());
    }
    assert!(most <= shape::MAX_SPEC + 2000, "{most}");
    let found: Value = serde_json::from_str(&found).unwrap();
    let bytes = large["spec"].to_string().len();
    let noted = TooLarge::read(&found["spec"].to_string());
    assert_eq!(noted, Some(TooLarge { bytes, most: shape::MAX_SPEC }));
    assert_eq!(found["metadata"]["name"], "a");
    assert_eq!(TooLarge::read(r#"{"needsSyncUrl":"x"}"#), None);
}

#[test]
fn what_is_no_json_is_refused() {
    for text in ["<html>", r#"{"metadata" 1}"#, r#"{"a":}"#, r"{1:2}", "\u{1}"] {
        assert!(sift(Shape::Object, Wrapping::None, text, 3).is_err(), "{text}");
    }
    assert_eq!(sift(Shape::Object, Wrapping::None, r#"{"metadata":{}"#, 3), Ok(vec![]), "it is not complete");
}

fn document() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i32>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a\"\\\\{}\\[\\],:\u{e9}\n]{0,8}".prop_map(Value::from),
    ];
    let key = "metadata|spec|status|items|object|name|a\"|[a-c]";
    leaf.prop_recursive(4, 40, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key, inner, 0..5).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_document_comes_through_as_it_is_in_slices_of_any_size(
        members in prop::collection::btree_map("spec|status|metadata|z", document(), 0..4),
        slice in 1..40_usize,
        pretty in any::<bool>(),
    ) {
        let document = Value::Object(members.into_iter().collect());
        let text = if pretty { serde_json::to_string_pretty(&document) } else { serde_json::to_string(&document) };
        let found = sift(Shape::Whole(1 << 20), Wrapping::None, &text.unwrap(), slice).unwrap();
        prop_assert_eq!(serde_json::from_str::<Value>(&found[0]).unwrap(), document);
    }

    #[test]
    fn what_is_kept_of_any_document_is_a_part_of_it_and_json(document in document(), slice in 1..40_usize) {
        let object = json!({ "metadata": document.clone(), "spec": document.clone(), "status": document.clone(), "x": 1 });
        for shape in [Shape::Object, Shape::Run, Shape::EndedRun, Shape::Names] {
            let list = json!({ "items": [object.clone(), document.clone(), object.clone()] }).to_string();
            let found = sift(shape.clone(), Wrapping::List, &list, slice).unwrap();
            prop_assert_eq!(found.len(), 4);
            let retained: Value = serde_json::from_str(&found[0]).unwrap();
            prop_assert_eq!(&found[0], &found[2]);
            if matches!(shape, Shape::Object) {
                prop_assert_eq!(&retained["spec"], &object["spec"]);
                prop_assert_eq!(&retained["status"], &object["status"]);
            }
            prop_assert!(retained.get("x").is_none());
        }
    }
}
