//! Compares states with the tables of `docs/states.md`. Reads that file.

use std::{collections::BTreeMap, fmt::Debug};

use modelsync::api::Condition;
use serde_json::Value;

use super::kstatus::{Verdict, kstatus};

/// The decision in a state.
pub struct Found<R> {
    /// The state, as the table names it.
    pub state: &'static str,
    /// The rule that must decide.
    pub expected: R,
    /// The rule that decides.
    pub rule: R,
    /// The conditions afterwards.
    pub conditions: Vec<Condition>,
    /// The object afterwards.
    pub object: Value,
}

/// Fails unless the kind's table in `docs/states.md` has exactly these states, each with these conditions. `columns`
/// names the conditions that have columns of their own.
pub fn compare<R: Debug + PartialEq>(kind: &str, columns: &[&str], states: impl Iterator<Item = Found<R>>) {
    let mut documented = documented(kind, columns);
    let mut wrong = Vec::new();
    for Found { state, expected, rule, conditions, object } in states {
        let found = (shown(&conditions), kstatus(&object));
        match documented.remove(state) {
            None => wrong.push(format!("{state}: not documented; {rule:?}: {found:?}")),
            Some(row) if row == found && rule == expected => {}
            Some(row) => {
                wrong.push(format!("{state}:\n  expected {expected:?}: {row:?}\n  found    {rule:?}: {found:?}"));
            }
        }
    }
    wrong.extend(documented.keys().map(|state| format!("{state}: documented, and not tested")));
    assert!(wrong.is_empty(), "\n{}", wrong.join("\n"));
}

/// Conditions as in `Ready=True Operational, …`.
pub fn shown(conditions: &[Condition]) -> String {
    let words = conditions.iter().map(|c| format!("{:?}={:?} {}", c.type_, c.status, c.reason.as_str()));
    words.collect::<Vec<_>>().join(", ")
}

/// The table of this kind: the conditions of each state, and the verdict of kstatus.
fn documented(kind: &str, columns: &[&str]) -> BTreeMap<String, (String, Verdict)> {
    let text = std::fs::read_to_string(format!("{}/docs/states.md", env!("CARGO_MANIFEST_DIR"))).unwrap();
    let section = text.split(&format!("\n## {kind}\n")).nth(1).unwrap().split("\n## ").next().unwrap();
    let mut rows = BTreeMap::new();
    for line in section.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cells: Vec<_> = line.trim_matches('|').split('|').map(|cell| cell.trim().replace('`', "")).collect();
        let [state, conditions @ .., also, word] = cells.as_slice() else { panic!("{line}") };
        assert_eq!(conditions.len(), columns.len(), "{line}");
        let said = columns.iter().zip(conditions).filter(|(_, cell)| *cell != "–");
        let mut conditions: Vec<_> = said.map(|(type_, cell)| format!("{type_}={cell}")).collect();
        let more = also.split(", ").filter(|also| *also != "–");
        conditions.extend(more.map(|also| also.replacen(' ', "=True ", 1)));
        let verdict = match word.as_str() {
            "Current" => Verdict::Current,
            "InProgress" => Verdict::InProgress,
            "Failed" => Verdict::Failed,
            "Terminating" => Verdict::Terminating,
            _ => panic!("{line}"),
        };
        let twice = rows.insert(state.clone(), (conditions.join(", "), verdict));
        assert!(twice.is_none(), "the state {state:?} is documented twice");
    }
    rows
}
