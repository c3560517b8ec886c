//! The cgroup folder below which kubelet puts the cluster's pods, in every hierarchy of the machine
//! (cgroup v1 has several, v2 one). Reads /proc, writes below the cgroup mounts.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use super::layout::Layout;
use super::wait;

/// A mounted hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hierarchy {
    root: PathBuf,
    version: u8,
}

/// The folder's name, the same in each hierarchy and no other cluster's.
pub(crate) fn name(layout: &Layout) -> String {
    format!("modelsync-{}-{}", layout.name, &layout.digest()[..8])
}

/// Makes the folder: kubelet wants it to be there.
pub(crate) fn make(layout: &Layout) -> Result<()> {
    let all = hierarchies()?;
    let has_v1 = all.iter().any(|hierarchy| hierarchy.version == 1);
    for Hierarchy { root, version } in all {
        // Beside v1 hierarchies, v2 has no controllers and kubelet does not use it.
        if version == 2 && has_v1 {
            continue;
        }
        let dir = root.join(name(layout));
        fs::create_dir_all(&dir).with_context(|| format!("cannot make the cgroup {}", dir.display()))?;
        if version == 2 {
            hand_down_controllers(&root)?;
        }
        // A new cpuset is empty and admits no process.
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if version == 1 && root.join(file).is_file() {
                let all_of_it = fs::read_to_string(root.join(file))?;
                fs::write(dir.join(file), all_of_it.trim())?;
            }
        }
    }
    Ok(())
}

/// Removes the folder and all below it. What was in it is being ended and may take a moment.
pub(crate) fn remove(layout: &Layout) -> Result<()> {
    for Hierarchy { root, .. } in hierarchies()? {
        let dir = root.join(name(layout));
        let what = format!("the cgroup {} to be empty", dir.display());
        wait::until(&what, Duration::from_secs(10), || remove_tree(&dir))?;
    }
    Ok(())
}

/// Whether the folder is gone; not yet, as long as processes are in it.
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

fn hand_down_controllers(root: &Path) -> Result<()> {
    let available = fs::read_to_string(root.join("cgroup.controllers"))?;
    for controller in available.split_whitespace() {
        // One that cannot be handed down is one that kubelet will name if it needs it.
        let _ = fs::write(root.join("cgroup.subtree_control"), format!("+{controller}"));
    }
    Ok(())
}

fn hierarchies() -> Result<Vec<Hierarchy>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("cannot read the mounts")?;
    Ok(parse(&mounts))
}

/// The cgroup mounts in `/proc/self/mountinfo`: field 5 is where, the field after the dash is what.
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
    fn a_tree_without_processes_goes_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let tree = dir.path().join("a");
        fs::create_dir_all(tree.join("b/c")).unwrap();
        assert_eq!(remove_tree(&tree).unwrap(), Some(()));
        assert!(!tree.exists());
        assert_eq!(remove_tree(&tree).unwrap(), Some(()));
    }
}
