//! The permissions that the operator needs: the roles of `config/rbac/role.yaml`. Pure.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::{api::keys, core::run::backend::RunBackend};

/// Name of the operator's role; the names of its other roles begin with it.
const ROLE: &str = "modelsync-controller";

/// Every role.
pub fn roles(backends: &[&dyn RunBackend]) -> Vec<Value> {
    vec![
        role(ROLE, namespaced_rules(backends)),
        role(&format!("{ROLE}-cluster"), cluster_rules()),
        role(&format!("{ROLE}-lease"), lease_rules()),
    ]
}

fn role(name: &str, rules: Vec<Value>) -> Value {
    let labels = json!({ "app.kubernetes.io/name": "modelsync", "app.kubernetes.io/component": "controller" });
    let mut role = json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": { "name": name, "labels": labels },
    });
    role["rules"] = rules.into();
    role
}

/// Rules for objects in one namespace, or in all of them.
pub fn namespaced_rules(backends: &[&dyn RunBackend]) -> Vec<Value> {
    let mut rules = vec![
        json!({ "apiGroups": [keys::GROUP], "resources": ["modelsyncs", "modeltrains"], "verbs": ["get", "list", "watch"] }),
        json!({ "apiGroups": [keys::GROUP], "resources": ["modelsyncs/status", "modeltrains/status"], "verbs": ["patch"] }),
        // If OwnerReferencesPermissionEnforcement is on, a blocking owner reference needs this.
        json!({ "apiGroups": [keys::GROUP], "resources": ["modelsyncs/finalizers", "modeltrains/finalizers"], "verbs": ["update"] }),
        // A record is written once. Its spec cannot be changed, and only its status is.
        json!({ "apiGroups": [keys::GROUP], "resources": ["modelversions"], "verbs": ["create", "delete", "get", "list", "watch"] }),
        json!({ "apiGroups": [keys::GROUP], "resources": ["modelversions/status"], "verbs": ["patch"] }),
    ];
    rules.extend(backends.iter().map(|backend| {
        let kind = backend.kind();
        json!({ "apiGroups": [kind.group], "resources": [kind.plural], "verbs": ["create", "delete", "get", "list", "patch", "watch"] })
    }));
    // A Job's results are in the termination messages of its pods. The operator lists them once, by label, after its
    // end. What says why an idle run does not start is listed by label or field, at most once a minute for each run.
    let clues = backends.iter().flat_map(|backend| backend.clues()).map(|clue| (clue.group, clue.plural));
    let listed: BTreeSet<_> = clues.chain([("", "pods")]).collect();
    let list = |(group, plural)| json!({ "apiGroups": [group], "resources": [plural], "verbs": ["list"] });
    rules.extend(listed.into_iter().map(list));
    // `request` names these: the operator reads one when a poll needs it, and never lists or watches them.
    rules.push(json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] }));
    rules.push(json!({ "apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"] }));
    // Sources may read them. Users grant the other kinds that sources read.
    rules.push(json!({ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"] }));
    rules.push(json!({ "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"] }));
    rules
}

/// Rules for objects of the cluster as a whole.
pub fn cluster_rules() -> Vec<Value> {
    vec![
        json!({
            "apiGroups": ["admissionregistration.k8s.io"],
            "resources": ["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
            "resourceNames": [keys::FENCE],
            "verbs": ["get"],
        }),
        // The addresses of the API server, which endpoints must not have.
        json!({
            "apiGroups": ["discovery.k8s.io"],
            "resources": ["endpointslices"],
            "resourceNames": ["kubernetes"],
            "verbs": ["get"],
        }),
    ]
}

/// Rules for leader election, within the operator's own namespace. RBAC cannot limit a create to a name.
pub fn lease_rules() -> Vec<Value> {
    vec![
        json!({ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "get", "update", "watch"] }),
    ]
}
