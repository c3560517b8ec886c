//! The cgroup folder in which kubelet creates the cgroups of the cluster's pods, in every hierarchy of the machine (cgroup v1
//! has several, v2 has one). Reads /proc, writes below the cgroup mounts.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::layout::Layout;
use super::wait;

/// A mounted cgroup hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    root: PathBuf,
    version: u8,
}

/// The folder's name: the same in each hierarchy, and unique to the cluster.
pub(crate) fn name(layout: &Layout) -> String {
    format!("modelsync-{}-{}", layout.name, &layout.digest()[..8])
}

/// Creates the folder, which kubelet requires to exist.
pub(crate) fn make(layout: &Layout) -> Result<()> {
    let all = hierarchies()?;
    let has_v1 = all.iter().any(|hierarchy| hierarchy.version == 1);
    for Hierarchy { root, version } in all {
        // Beside v1 hierarchies v2 has no controllers, and kubelet does not use it.
        if version == 2 && has_v1 {
            continue;
        }
        let dir = root.join(name(layout));
        fs::create_dir_all(&dir).with_context(|| format!("cannot create the cgroup {}", dir.display()))?;
        if version == 2 {
            enable_controllers(&root)?;
        }
        // A new cpuset is empty, and no process can join it.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if version == 1 && root.join(file).is_file() {
                let whole_set = fs::read_to_string(root.join(file))?;
                fs::write(dir.join(file), whole_set.trim())?;
            }
        }
    }
    Ok(())
}

/// Removes the folder with everything in it, once the processes in it, which were killed before, have ended.
pub(crate) fn remove(layout: &Layout) -> Result<()> {
    for Hierarchy { root, .. } in hierarchies()? {
        let dir = root.join(name(layout));
        let what = format!("the cgroup {} to be empty", dir.display());
        wait::until(&what, Duration::from_secs(10), || remove_tree(&dir))?;
    }
    Ok(())
}

/// Removes the folder. `None` while there are processes in it.
fn remove_tree(dir: &Path) -> Result<Option<()>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Some(())),
        other => other.with_context(|| format!("cannot list {}", dir.display()))?,
    };
    let mut gone = true;
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            gone &= remove_tree(&entry.path())?.is_some();
        }
    }
    if !gone {
        return Ok(None);
    }
    match fs::remove_dir(dir) {
        Ok(()) => Ok(Some(())),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(Some(())),
        Err(error) if error.kind() == ErrorKind::ResourceBusy => Ok(None),
        Err(error) => Err(error).with_context(|| format!("cannot remove {}", dir.display())),
    }
}

fn enable_controllers(root: &Path) -> Result<()> {
    let available = fs::read_to_string(root.join("cgroup.controllers"))?;
    for controller in available.split_whitespace() {
        // Kubelet reports a missing controller if it needs it.
        let _ = fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    Ok(())
}

fn hierarchies() -> Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    Ok(parse(&mounts))
}

/// The cgroup mounts in `/proc/self/mountinfo`. Field 5 is the mount point; the field after the dash is the file system.
fn parse(mountinfo: &str) -> Vec<Hierarchy> {
    mountinfo
        .lines()
        .filter_map(|line| {
            let (before, after) = line.split_once(" - ")?;
            let root = PathBuf::from(before.split(' ').nth(4)?);
            let version = match after.split(' ').next()? {
                "cgroup" => 1,
                "cgroup2" => 2,
                _ => return None,
            };
            Some(Hierarchy { root, version })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let mounts = "25 1 0:5 / / rw,relatime - ext4 /dev/vda rw\n\
                      30 25 0:26 / /sys/fs/cgroup/cpu rw,nosuid shared:9 - cgroup cgroup rw,cpu\n\
                      31 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let found = parse(mounts);
        let expected = [("/sys/fs/cgroup/cpu", 1), ("/sys/fs/cgroup/unified", 2)]
            .map(|(root, version)| Hierarchy { root: root.into(), version });
        assert_eq!(found, expected);
    }

    #[test]
    fn a_tree_without_processes_is_removed_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("a");
        fs::create_dir_all(tree.join("b/c")).unwrap();
        assert_eq!(remove_tree(&tree).unwrap(), Some(()));
        assert!(!tree.exists());
        assert_eq!(remove_tree(&tree).unwrap(), Some(()));
    }
}
