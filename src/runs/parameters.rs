//! The parameters of a run: strings, by the names that the run uses. Pure.

use std::collections::BTreeMap;

use crate::core::invalid::Invalid;

/// Values by name, in the order in which they are written.
pub(super) type Parameters<'a> = BTreeMap<&'a str, &'a str>;

/// Where users map parameters. Errors about names point there, not to the template.
pub(super) const FIELD: &str = "spec.parameters";

/// Parameters whose values are not known yet. A letter stands for each: texts that are refused with it are refused with any
/// value.
pub(super) fn named<'a>(names: &[&'a str]) -> Result<Parameters<'a>, Invalid> {
    checked(names.iter().map(|name| (*name, "x")).collect())
}

/// Parameters with their values.
pub(super) fn valued(parameters: &BTreeMap<String, String>) -> Result<Parameters<'_>, Invalid> {
    checked(parameters.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
}

fn checked(parameters: Parameters<'_>) -> Result<Parameters<'_>, Invalid> {
    for (name, value) in &parameters {
        if name.is_empty() {
            return Err(Invalid::new(FIELD, "maps to a parameter without a name: name the run's parameter"));
        }
        // No argument and no environment variable can hold a NUL: the run would wait for its container for ever.
        if name.contains('\0') || value.contains('\0') {
            let problem = format!("has {name:?} with a NUL character, which no run can take: remove it");
            return Err(Invalid::new(FIELD, problem));
        }
    }
    Ok(parameters)
}
