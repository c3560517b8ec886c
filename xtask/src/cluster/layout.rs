//! The folders and files of a cluster, and the rules for its name. Pure.
//!
//! ```text
//! target/cluster/bin/        programs, shared by all clusters
//! target/cluster/images/     image archives, shared
//! target/cluster/.locks/     one lock per cluster
//! target/cluster/NAME/       one cluster: state.json, kubeconfig, pki, pid, log, …
//! ```

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

use crate::{digest, workspace};

/// Names of other folders beside those of the clusters.
const RESERVED: [&str; 2] = ["bin", "images"];
const LONGEST_NAME: usize = 32;

/// The paths of one cluster.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    /// The folder of all clusters.
    pub(crate) root: PathBuf,
    /// The cluster's name.
    pub(crate) name: String,
    /// The cluster's folder.
    pub(crate) dir: PathBuf,
}

impl Layout {
    /// The cluster with this name below the workspace's target folder.
    pub(crate) fn of(name: &str) -> Result<Self> {
        Self::below(&root()?, name)
    }

    fn below(root: &Path, name: &str) -> Result<Self> {
        check_name(name)?;
        Ok(Self { root: root.to_path_buf(), name: name.to_owned(), dir: root.join(name) })
    }

    pub(crate) fn bin(&self) -> PathBuf {
        self.root.join("bin")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.root.join("images")
    }

    pub(crate) fn lock(&self) -> PathBuf {
        self.root.join(".locks").join(&self.name)
    }

    pub(crate) fn ports_lock(&self) -> PathBuf {
        self.root.join(".locks/.ports")
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.dir.join("state.json")
    }

    pub(crate) fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    pub(crate) fn pki(&self, file: &str) -> PathBuf {
        self.dir.join("pki").join(file)
    }

    pub(crate) fn records(&self) -> PathBuf {
        self.dir.join("pid")
    }

    pub(crate) fn record(&self, process: &str) -> PathBuf {
        self.records().join(format!("{process}.json"))
    }

    pub(crate) fn logs(&self) -> PathBuf {
        self.dir.join("log")
    }

    pub(crate) fn log(&self, process: &str) -> PathBuf {
        self.logs().join(format!("{process}.log"))
    }

    /// The YAML of all of Tekton, for level 2.
    pub(crate) fn tekton(&self) -> PathBuf {
        self.dir.join("tekton.yaml")
    }

    /// The YAML of Tekton's CRDs without conversion by a webhook, for level 1.
    pub(crate) fn tekton_crds(&self) -> PathBuf {
        self.dir.join("tekton-crds.yaml")
    }

    /// Containerd's image store, which `down` keeps.
    pub(crate) fn image_store(&self) -> PathBuf {
        self.dir.join("containerd")
    }

    /// A digest of the cluster's path. It differs between clusters of the same name in two workspaces.
    pub(crate) fn digest(&self) -> String {
        digest::sha256(self.dir.as_os_str().as_encoded_bytes())
    }
}

/// The folder of all clusters of this workspace.
pub(crate) fn root() -> Result<PathBuf> {
    Ok(workspace::target_dir()?.join("cluster"))
}

fn check_name(name: &str) -> Result<()> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = name.len() <= LONGEST_NAME
        && name.chars().all(|c| plain(c) || c == '-')
        && name.starts_with(plain)
        && name.ends_with(plain);
    if !good {
        bail!(
            "{name:?} is not a valid cluster name: use at most {LONGEST_NAME} lower-case letters, digits \
             and, between them, dashes"
        );
    }
    if RESERVED.contains(&name) {
        bail!("a cluster cannot be named {name:?}: that folder is shared by all clusters");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_names_are_accepted_and_others_refused() {
        for good in ["default", "a", "0", "test-1-x"] {
            assert!(check_name(good).is_ok(), "{good}");
        }
        for bad in ["", "-a", "a-", "A", "a/b", "..", ".locks", "bin", "images", "ä"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
        assert!(check_name(&"a".repeat(33)).is_err());
    }

    #[test]
    fn one_name_in_two_workspaces_is_two_clusters() {
        let one = Layout::below(Path::new("/one"), "default").unwrap();
        let two = Layout::below(Path::new("/two"), "default").unwrap();
        assert_ne!(one.digest(), two.digest());
    }
}
