//! What is stored about a cluster: its level, its ports, whether `up` finished, and its recorded processes. Reads and writes
//! files in the cluster's folder.

use std::fs;
use std::io::ErrorKind;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::layout::Layout;
use crate::files;
use crate::process::ProcessIdentity;

/// The size of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
pub(crate) enum Level {
    /// A control plane on loopback: etcd, API server, controller manager, Tekton's CRDs. No root.
    #[value(name = "1")]
    #[serde(rename = "1")]
    ControlPlane,
    /// A whole node that runs containers, with Tekton, in namespaces of its own. Root on Linux.
    #[value(name = "2")]
    #[serde(rename = "2")]
    Node,
}

impl Level {
    /// The level's number, as users write it.
    pub(crate) fn number(self) -> u8 {
        match self {
            Self::ControlPlane => 1,
            Self::Node => 2,
        }
    }
}

/// The ports that a cluster listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Ports {
    pub(crate) api: u16,
    pub(crate) etcd_client: u16,
    pub(crate) etcd_peer: u16,
}

/// The content of `state.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct State {
    pub(crate) level: Level,
    pub(crate) ports: Ports,
    /// Whether `up` finished.
    pub(crate) ready: bool,
    /// Whether `up` installed Tekton (level 1: its CRDs).
    pub(crate) tekton: bool,
}

/// A process that was recorded at its start.
#[derive(Clone, Debug)]
pub(crate) struct Recorded {
    pub(crate) name: String,
    pub(crate) identity: ProcessIdentity,
}

impl State {
    /// Reads the state. `None` if the cluster was never started or was taken down.
    pub(crate) fn read(layout: &Layout) -> Result<Option<Self>> {
        let file = layout.state();
        let text = match fs::read_to_string(&file) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.with_context(|| format!("cannot read {}", file.display()))?,
        };
        let state = serde_json::from_str(&text).with_context(|| {
            format!("{} is damaged: clean up with `cargo xtask cluster down --name {}`", file.display(), layout.name)
        })?;
        Ok(Some(state))
    }

    /// Writes the state.
    pub(crate) fn write(&self, layout: &Layout) -> Result<()> {
        files::write(&layout.state(), serde_json::to_vec_pretty(self)?)
    }

    /// The state of a cluster that must be up.
    pub(crate) fn of_running(layout: &Layout) -> Result<Self> {
        match Self::read(layout)? {
            Some(state) => Ok(state),
            None => bail!("cluster {0:?} is not up: start it with `cargo xtask cluster up --name {0}`", layout.name),
        }
    }
}

/// All recorded processes of the cluster, running or not.
pub(crate) fn recorded(layout: &Layout) -> Result<Vec<Recorded>> {
    let mut all = Vec::new();
    for file in files::names_in(&layout.records())? {
        if let Some(name) = file.strip_suffix(".json") {
            let text = fs::read_to_string(layout.record(name))?;
            let identity =
                serde_json::from_str(&text).with_context(|| format!("the record of process {name} is damaged"))?;
            all.push(Recorded { name: name.to_owned(), identity });
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn layout(root: &Path) -> Layout {
        Layout { root: root.to_path_buf(), name: "x".into(), dir: root.join("x") }
    }

    fn state() -> State {
        State { level: Level::Node, ports: Ports { api: 1, etcd_client: 2, etcd_peer: 3 }, ready: true, tekton: false }
    }

    #[test]
    fn state_comes_back_as_written() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        assert_eq!(State::read(&layout).unwrap(), None);
        state().write(&layout).unwrap();
        assert_eq!(State::read(&layout).unwrap(), Some(state()));
    }

    #[test]
    fn the_level_is_written_as_users_write_it() {
        let text = serde_json::to_string(&state()).unwrap();
        assert!(text.contains(r#""level":"2""#), "{text}");
    }

    #[test]
    fn damaged_state_says_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        files::write(&layout.state(), "{").unwrap();
        let error = format!("{:#}", State::read(&layout).unwrap_err());
        assert!(error.contains("down --name x"), "{error}");
    }

    #[test]
    fn drafts_of_records_are_no_records() {
        let dir = tempfile::tempdir().unwrap();
        let layout = layout(dir.path());
        let own = ProcessIdentity::own().unwrap();
        files::write(&layout.record("etcd"), serde_json::to_vec(&own).unwrap()).unwrap();
        files::write(&layout.records().join("kubelet.json.draft-1"), "{").unwrap();
        let all = recorded(&layout).unwrap();
        assert_eq!(all.len(), 1);
        assert_eq!(all[0].name, "etcd");
        assert_eq!(all[0].identity, own);
    }
}
