//! The files of `crds/`. Pure.

use serde_json::{Value, json};

use super::file::{Content, GeneratedFile};
use crate::api::crd;

/// One file for each CRD, and the kustomization that names them.
pub fn files() -> Vec<GeneratedFile> {
    let (mut files, mut names) = (Vec::new(), Vec::new());
    for crd in crd::all() {
        let spec = &crd["spec"];
        let name = format!("{}_{}.yaml", text(&spec["group"]), text(&spec["names"]["plural"]));
        names.push(name.clone());
        files.push(file(&name, crd));
    }
    let kustomization =
        json!({ "apiVersion": "kustomize.config.k8s.io/v1beta1", "kind": "Kustomization", "resources": names });
    files.push(file("kustomization.yaml", kustomization));
    files
}

fn file(name: &str, object: Value) -> GeneratedFile {
    GeneratedFile { path: format!("crds/{name}"), content: Content::Objects(vec![object]) }
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
