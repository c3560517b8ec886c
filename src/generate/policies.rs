//! The admission policies of `config/fence.yaml` and `config/run-owner.yaml`, for every kind of run. Pure.

use crate::core::run::backend::RunBackend;

/// The fence and its binding. `{rules}` is the placeholder of the rules for each kind of run.
const FENCE: &str = include_str!("fence.yaml");
/// The policy that keeps the operator's keys on runs from users, and its binding.
const RUN_OWNER: &str = include_str!("run_owner.yaml");

/// The policy that refuses late creates, and its binding, as YAML.
pub fn fence(backends: &[&dyn RunBackend]) -> String {
    with_rules(FENCE, backends, "CREATE")
}

/// The policy that refuses runs with the operator's keys from users, and its binding, as YAML.
pub fn run_owner(backends: &[&dyn RunBackend]) -> String {
    with_rules(RUN_OWNER, backends, "CREATE, UPDATE")
}

fn with_rules(policy: &str, backends: &[&dyn RunBackend], operations: &str) -> String {
    let rules: Vec<_> = backends.iter().map(|backend| rule(*backend, operations)).collect();
    policy.replace("{rules}", &rules.join("\n"))
}

/// The rule that matches one kind of run, in the version that the operator writes.
fn rule(backend: &dyn RunBackend, operations: &str) -> String {
    let kind = backend.kind();
    let lines = [
        format!("    - apiGroups: [{}]", kind.group),
        format!("      apiVersions: [{}]", kind.version),
        format!("      operations: [{operations}]"),
        format!("      resources: [{}]", kind.plural),
    ];
    lines.join("\n")
}
