//! What differs between the worlds of ModelSyncs: their specs, and their first state.

use modelsync::api::ModelSyncSpec;

use super::world::ModelSync;
use crate::common::{self, moment};

/// Kinds of spec that an object can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Spec {
    Plain,
    /// Another template: another target.
    Changed,
    Suspended,
    Invalid,
    /// Runs may take one step of time.
    Bounded,
    /// One failure exhausts the retries.
    Once,
    /// The same after an edit: another generation, the same target.
    OnceEdited,
    /// A run that succeeded is not repeated.
    NotRepeated,
    /// No run may start in the first two steps of time.
    DeniedAtFirst,
    /// No run may start any more.
    NeverAllowed,
}

/// Further settings of a configuration.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a fact of its own")]
pub struct Options {
    /// History limits, or the default of 100.
    pub limits: Option<i32>,
    /// Whether a run's success makes the endpoint respond that no sync is needed.
    pub success_serves: bool,
    /// Whether a user has put the last possible attempt number on a finished run.
    pub forged: bool,
    /// Whether an earlier operator's run is unfinished at first.
    pub earlier: bool,
    /// Whether the run's kind is missing at first.
    pub kind_missing: bool,
    /// Whether the one exception to invariants 1 and 2 must be found.
    pub exception: bool,
}

pub type Configuration = common::Configuration<ModelSync>;

impl Configuration {
    /// Whether the start times of runs matter.
    pub fn bounds_runs(&self) -> bool {
        self.specs.contains(&Spec::Bounded)
    }

    pub fn specs(&self) -> Vec<ModelSyncSpec> {
        self.specs
            .iter()
            .map(|spec| {
                let pipeline = if *spec == Spec::Changed { "other" } else { "deploy" };
                let mut text = serde_json::json!({
                    "needsSyncUrl": if *spec == Spec::Invalid { "ftp://endpoint" } else { "http://endpoint/" },
                    "interval": "10m",
                    "suspend": *spec == Spec::Suspended,
                    "retry": { "minBackoff": "30s" },
                    "pipelineRunTemplate": { "spec": { "pipelineRef": { "name": pipeline } } },
                });
                match spec {
                    Spec::Bounded => text["runTimeout"] = "15s".into(),
                    Spec::Once => text["retry"]["maxAttempts"] = 1.into(),
                    Spec::OnceEdited => {
                        text["retry"]["maxAttempts"] = 1.into();
                        text["retry"]["maxBackoff"] = "2h".into();
                    }
                    Spec::NotRepeated => text["settle"] = serde_json::json!({ "repeat": "Never" }),
                    Spec::DeniedAtFirst => {
                        text["windows"] = serde_json::json!([{ "kind": "Deny", "from": moment(0), "to": moment(2) }]);
                    }
                    Spec::NeverAllowed => {
                        let (from, to) = (moment(-2), moment(-1));
                        text["windows"] = serde_json::json!([{ "kind": "Allow", "from": from, "to": to }]);
                    }
                    Spec::Plain | Spec::Changed | Spec::Suspended | Spec::Invalid => {}
                }
                if let Some(limit) = self.own.limits {
                    text["successfulPipelineRunsHistoryLimit"] = limit.into();
                    text["failedPipelineRunsHistoryLimit"] = limit.into();
                }
                serde_json::from_value(text).unwrap()
            })
            .collect()
    }
}
