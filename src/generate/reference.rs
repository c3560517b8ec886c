//! The API reference `docs/api-reference.md`: the CRDs in words. Pure.
//!
//! A type that several fields share is described once, and the fields link to it.

use serde_json::Value;

use crate::{
    api::{crd, keys},
    core::run::backend::RunBackend,
};

/// Types that are described once: the name, and the kind and path of a field of that type.
const SHARED: &[(&str, &str, &str)] = &[
    ("Source", "ModelSync", "spec.compare.desired"),
    ("Request", "ModelSync", "spec.request"),
    ("TemplateMetadata", "ModelSync", "spec.jobTemplate.metadata"),
    ("Retry", "ModelSync", "spec.retry"),
    ("Window", "ModelSync", "spec.windows[]"),
    ("TrainParameter", "ModelTrain", "spec.parameters[]"),
    ("Condition", "ModelSync", "status.conditions[]"),
    ("StaleReason", "ModelTrain", "status.staleReasons[]"),
    ("RecordedInput", "ModelVersion", "spec.inputs[]"),
    ("RecordedMetric", "ModelVersion", "spec.metrics[]"),
    ("RuleReport", "ModelVersion", "spec.gate.rules[]"),
    ("RecordRef", "ModelVersion", "spec.previous"),
];

/// A type that is described once.
struct SharedSchema {
    name: &'static str,
    schema: Value,
}

/// The whole reference.
pub fn text(backends: &[&dyn RunBackend]) -> String {
    let crds = crd::all();
    let shared: Vec<_> = SHARED
        .iter()
        .filter_map(|(name, kind, path)| {
            let crd = crds.iter().find(|crd| crd["spec"]["names"]["kind"] == *kind)?;
            Some(SharedSchema { name, schema: at(schema_of(crd), path)?.clone() })
        })
        .collect();
    let mut parts = vec![format!(
        "# API reference\n\nAPI version `{}`. The descriptions are those of `kubectl explain`.\n",
        keys::API_VERSION
    )];
    parts.extend(crds.iter().map(|crd| kind(crd, &shared)));
    parts.push(run_kinds(backends));
    parts.push("## Shared types\n\nTypes that several fields have.\n".to_owned());
    parts.extend(shared.iter().map(|one| section(one, &shared)));
    parts.join("\n")
}

/// A kind: its spec, its status and its columns.
fn kind(crd: &Value, shared: &[SharedSchema]) -> String {
    let (names, version) = (&crd["spec"]["names"], &crd["spec"]["versions"][0]);
    let schema = schema_of(crd);
    let short: Vec<_> = names["shortNames"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    let mut parts = vec![format!(
        "## {}\n\n{}\n\n`kubectl get {}` (short: `{}`).\n",
        text_of(&names["kind"]),
        text_of(&schema["description"]),
        text_of(&names["plural"]),
        short.join("`, `")
    )];
    for (title, part) in [("Spec", "spec"), ("Status", "status")] {
        let mut rows = Vec::new();
        collect(&schema["properties"][part], part, None, shared, &mut rows);
        parts.push(format!("### {title}\n\n{}", table("Field | Type | Description", &rows)));
    }
    let columns: Vec<_> = version["additionalPrinterColumns"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|column| {
            let wide = if column["priority"].as_i64().unwrap_or(0) > 0 { " (with `-o wide`)" } else { "" };
            let meaning = column["description"].as_str().unwrap_or("Time since the object was created");
            format!("| {}{wide} | {meaning} |", text_of(&column["name"]))
        })
        .collect();
    parts.push(format!("### Columns of `kubectl get`\n\n{}", table("Column | Description", &columns)));
    parts.join("\n")
}

/// The kinds of run, from the registry.
fn run_kinds(backends: &[&dyn RunBackend]) -> String {
    let rows: Vec<_> = backends
        .iter()
        .map(|backend| {
            format!("| `spec.{}` | {} | {} |", backend.template_field(), backend.kind(), cell(backend.summary()))
        })
        .collect();
    format!("## Kinds of run\n\n{}", table("Template | Runs | Parameters and results", &rows))
}

/// A type that is described once.
fn section(shared: &SharedSchema, all: &[SharedSchema]) -> String {
    let mut rows = Vec::new();
    members(&shared.schema, "", all, &mut rows);
    let refusals = refusals(&shared.schema);
    let refusals = if refusals.is_empty() { String::new() } else { format!("{}\n\n", refusals.join(" ")) };
    format!("### {}\n\n{refusals}{}", shared.name, table("Field | Type | Description", &rows))
}

/// Adds one row for the schema at `path` and one for each schema below it, except below types that are described once.
fn collect(schema: &Value, path: &str, parent: Option<&Value>, shared: &[SharedSchema], rows: &mut Vec<String>) {
    let name = path.rsplit('.').next().unwrap_or(path);
    let required = parent.is_some_and(|parent| {
        parent["required"].as_array().is_some_and(|required| required.iter().any(|member| member == name))
    });
    let (own, items) = (shared_type(schema, shared), shared_type(&schema["items"], shared));
    let mut words = vec![sentence(text_of(&schema["description"]))];
    if own.is_none() {
        words.extend(refusals(schema));
    }
    // Rules of entries have no row of their own.
    if items.is_none() {
        words.extend(refusals(&schema["items"]));
    }
    let required = if required { ", required" } else { "" };
    rows.push(format!("| `{path}` | {}{required} | {} |", type_of(schema, shared), words.join(" ")));
    if own.is_none() {
        members(schema, &format!("{path}."), shared, rows);
    }
    if items.is_none() {
        members(&schema["items"], &format!("{path}[]."), shared, rows);
    }
}

/// Adds the rows of a schema's members. A member without a description is described elsewhere.
fn members(schema: &Value, prefix: &str, shared: &[SharedSchema], rows: &mut Vec<String>) {
    let members = schema["properties"].as_object().into_iter().flatten();
    for (name, member) in members.filter(|(_, member)| member["description"].is_string()) {
        collect(member, &format!("{prefix}{name}"), Some(schema), shared, rows);
    }
}

/// The name of a schema's type, if it is described once.
fn shared_type(schema: &Value, shared: &[SharedSchema]) -> Option<&'static str> {
    let properties = schema.get("properties")?;
    shared.iter().find(|one| one.schema["properties"] == *properties).map(|one| one.name)
}

/// The rules by which the API server refuses a value, with its own messages.
fn refusals(schema: &Value) -> Vec<String> {
    let rules = schema["x-kubernetes-validations"].as_array().into_iter().flatten();
    rules.map(|rule| format!("Refused otherwise: *{}*.", cell(text_of(&rule["message"])))).collect()
}

/// Type and bounds in words.
fn type_of(schema: &Value, shared: &[SharedSchema]) -> String {
    if let Some(name) = shared_type(schema, shared) {
        return link(name);
    }
    if let Some(values) = schema["enum"].as_array() {
        let values: Vec<_> = values.iter().filter_map(Value::as_str).map(|value| format!("`{value}`")).collect();
        return values.join(", ");
    }
    let number = |key: &str| schema[key].as_i64();
    let at_most = |what: String, key: &str, unit: &str| match number(key) {
        Some(most) => format!("{what}, at most {most}{unit}"),
        None => what,
    };
    match schema["type"].as_str().unwrap_or("any") {
        "array" => {
            let items = &schema["items"];
            let of =
                shared_type(items, shared).map_or_else(|| items["type"].as_str().unwrap_or("any").to_owned(), link);
            at_most(format!("list of {of}"), "maxItems", "")
        }
        "string" if schema["format"] == "date-time" => "time".to_owned(),
        "string" => at_most("string".to_owned(), "maxLength", " characters"),
        "integer" => match (number("minimum"), number("maximum")) {
            (Some(min), Some(max)) => format!("integer, {min} to {max}"),
            _ => "integer".to_owned(),
        },
        "object" if schema["additionalProperties"]["type"] == "string" => {
            at_most("map of strings".to_owned(), "maxProperties", "")
        }
        "object" if schema["x-kubernetes-preserve-unknown-fields"] == true => "object of the run's kind".to_owned(),
        other => other.to_owned(),
    }
}

fn link(name: &str) -> String {
    format!("[{name}](#{})", name.to_lowercase())
}

fn table(head: &str, rows: &[String]) -> String {
    let columns = "---|".repeat(head.split('|').count());
    format!("| {head} |\n|{columns}\n{}\n", rows.join("\n"))
}

fn schema_of(crd: &Value) -> &Value {
    &crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
}

/// The schema at a path such as `spec.windows[]`.
fn at<'a>(schema: &'a Value, path: &str) -> Option<&'a Value> {
    path.split('.').try_fold(schema, |schema, part| {
        let member = schema.get("properties")?.get(part.trim_end_matches("[]"))?;
        if part.ends_with("[]") { member.get("items") } else { Some(member) }
    })
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn sentence(text: &str) -> String {
    let text = cell(text);
    if text.is_empty() || text.ends_with('.') { text } else { format!("{text}.") }
}

/// The text as one cell of a table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_shared_type_has_a_section_and_a_field_that_links_to_it() {
        let text = text(&[]);
        for (name, _, path) in SHARED {
            assert!(text.contains(&format!("\n### {name}\n")), "{name}: no schema at {path}");
            assert!(text.contains(&link(name)), "no field links to {name}");
        }
    }

    #[test]
    fn a_shared_type_is_spelled_out_nowhere_else() {
        let text = text(&[]);
        for line in text.lines().filter(|line| line.starts_with("| `spec.")) {
            assert!(!line.contains(".serviceAccountToken.") && !line.contains(".configMapKeyRef.digest"), "{line}");
        }
    }
}
