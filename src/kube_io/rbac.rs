//! What the operator needs of the API server: the source of the roles in `config/` and in the chart. No IO.

use serde_json::{Value, json};

use crate::{api::keys, core::run::backend::RunBackend};

/// Rules within a namespace, or in all of them.
pub fn namespaced_rules(backends: &[&dyn RunBackend]) -> Vec<Value> {
    let mut rules = vec![
        json!({ "apiGroups": [keys::GROUP], "resources": ["modelsyncs", "modeltrains"], "verbs": ["get", "list", "watch"] }),
        json!({ "apiGroups": [keys::GROUP], "resources": ["modelsyncs/status", "modeltrains/status"], "verbs": ["patch"] }),
        // Where OwnerReferencesPermissionEnforcement is on, a blocking owner reference needs this.
        json!({ "apiGroups": [keys::GROUP], "resources": ["modelsyncs/finalizers", "modeltrains/finalizers"], "verbs": ["update"] }),
        // A record is written once. Its spec cannot be changed, and only its status is.
        json!({ "apiGroups": [keys::GROUP], "resources": ["modelversions"], "verbs": ["create", "delete", "get", "list", "watch"] }),
        json!({ "apiGroups": [keys::GROUP], "resources": ["modelversions/status"], "verbs": ["patch"] }),
    ];
    rules.extend(backends.iter().map(|backend| {
        let kind = backend.kind();
        json!({ "apiGroups": [kind.group], "resources": [kind.plural], "verbs": ["create", "delete", "get", "list", "patch", "watch"] })
    }));
    // A Job's results are in the termination messages of its pods. They are listed once, by label, when it has ended.
    rules.push(json!({ "apiGroups": [""], "resources": ["pods"], "verbs": ["list"] }));
    // What `request` names: read when a question needs it, never listed or watched.
    rules.push(json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get"] }));
    rules.push(json!({ "apiGroups": [""], "resources": ["serviceaccounts/token"], "verbs": ["create"] }));
    // Values may come from them. Other kinds that values come from are the user's to grant.
    rules.push(json!({ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list", "watch"] }));
    rules.push(json!({ "apiGroups": ["events.k8s.io"], "resources": ["events"], "verbs": ["create"] }));
    rules
}

/// Rules for what belongs to no namespace.
pub fn cluster_rules() -> Vec<Value> {
    vec![json!({
        "apiGroups": ["admissionregistration.k8s.io"],
        "resources": ["validatingadmissionpolicies", "validatingadmissionpolicybindings"],
        "resourceNames": [keys::FENCE],
        "verbs": ["get"],
    })]
}

/// Rules for taking turns, within the operator's own namespace. A create cannot be bound to a name.
pub fn lease_rules() -> Vec<Value> {
    vec![
        json!({ "apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["create", "get", "update", "watch"] }),
    ]
}
