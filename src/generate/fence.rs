//! The admission policy of `config/fence.yaml`, for every kind of run. Pure.

use crate::core::run::backend::RunBackend;

/// The policy and its binding as text. `{rules}` is the placeholder of the rules for each kind of run.
const POLICY: &str = include_str!("fence.yaml");

/// The policy and its binding, as YAML.
pub fn policy(backends: &[&dyn RunBackend]) -> String {
    let rules: Vec<_> = backends.iter().map(|backend| rule(*backend)).collect();
    POLICY.replace("{rules}", &rules.join("\n"))
}

/// The rule that matches one kind of run: its creation, in the version that the operator writes.
fn rule(backend: &dyn RunBackend) -> String {
    let kind = backend.kind();
    let lines = [
        format!("    - apiGroups: [{}]", kind.group),
        format!("      apiVersions: [{}]", kind.version),
        "      operations: [CREATE]".to_owned(),
        format!("      resources: [{}]", kind.plural),
    ];
    lines.join("\n")
}
