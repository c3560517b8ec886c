//! Files that are generated from code (`src/generate`): each must equal what the code generates now.
//!
//! `cargo xtask generate` runs this test with `MODELSYNC_REGENERATE=1`, which writes the files instead.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test that cannot go on fails")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use modelsync::{
    api::crd,
    generate::{self, Content, GeneratedFile, dictionary, rbac},
    runs,
};
use serde_json::{Value, json};

fn files() -> Vec<GeneratedFile> {
    let mut files = generate::files(runs::backends());
    files.push(dictionary::file(&stored()).unwrap());
    files
}

/// Typical objects of each kind, as the API server stores them.
fn stored() -> Vec<Value> {
    serde_saphyr::from_str(&fs::read_to_string(root().join("tests/fixtures/stored.yaml")).unwrap()).unwrap()
}

fn yaml(object: &Value) -> String {
    serde_saphyr::to_string(object).unwrap()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf()
}

#[test]
fn every_generated_file_is_up_to_date() {
    let write = std::env::var_os("MODELSYNC_REGENERATE").is_some_and(|value| value == "1");
    let mut stale = Vec::new();
    for generated in files() {
        let (path, expected) = (&generated.path, generated.text(yaml));
        let file = root().join(path);
        if fs::read_to_string(&file).is_ok_and(|found| found == expected) {
            continue;
        }
        if write {
            fs::create_dir_all(file.parent().unwrap()).unwrap();
            fs::write(&file, expected).unwrap();
            println!("wrote {path}");
        } else {
            stale.push(path.clone());
        }
    }
    assert!(stale.is_empty(), "run `cargo xtask generate`: these files are out of date: {stale:?}");
}

#[test]
fn nothing_is_left_over_beside_the_crds() {
    let expected: Vec<_> = files().into_iter().map(|file| file.path).collect();
    for entry in fs::read_dir(root().join("crds")).unwrap() {
        let path = format!("crds/{}", entry.unwrap().file_name().to_string_lossy());
        assert!(expected.contains(&path), "{path} is not generated any more: delete it");
    }
}

#[test]
fn messages_of_typical_objects_are_those_of_the_operator() {
    let source: String = ["sync/summarise.rs", "train/summarise.rs", "train/retention.rs"]
        .map(|file| fs::read_to_string(root().join("src/core").join(file)).unwrap())
        .concat();
    for object in stored() {
        for condition in object["status"]["conditions"].as_array().unwrap() {
            let message = condition["message"].as_str().unwrap();
            // The name of a version ends some messages.
            let fixed = message.strip_suffix('m').filter(|text| text.ends_with(' ')).unwrap_or(message);
            assert!(source.contains(&format!("\"{fixed}")), "no condition has the message {message:?}");
        }
    }
}

#[test]
fn every_crd_fits_into_client_side_apply() {
    for crd in crd::all() {
        let size = crd.to_string().len();
        assert!(size < crd::MAX_BYTES, "{size} bytes");
    }
}

#[test]
fn written_yaml_reads_back_unchanged() {
    for file in files() {
        let Content::Objects(objects) = file.content else { continue };
        for object in objects {
            let read: Value = serde_saphyr::from_str(&yaml(&object)).unwrap();
            assert_eq!(read, object);
        }
    }
}

#[test]
fn roles_grant_no_more_than_they_name() {
    for role in rbac::roles(runs::backends()) {
        for rule in role["rules"].as_array().unwrap() {
            let text = rule.to_string();
            assert!(!text.contains("\"*\""), "a wildcard in {text}");
            if text.contains("secrets") {
                assert_eq!(*rule, json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] }));
            }
        }
    }
}
