//! `cluster down`: kills all recorded processes and removes the files. `up` begins with the same. Does IO.

use anyhow::Result;

use super::layout::{self, Layout};
use super::{cgroup, state};
use crate::files;
use crate::lock::Lock;

/// What to keep in the cluster's folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Keep {
    /// Containerd's images, so that the next `up` need not import them.
    ImageStore,
    /// The images and the logs.
    Logs,
    /// Nothing.
    Nothing,
}

/// Takes the cluster down, in whatever state it is.
pub(crate) fn down(layout: &Layout, keep: Keep) -> Result<()> {
    let lock = Lock::take(&layout.lock(), "bringing this cluster up or down")?;
    clean(layout, keep)?;
    if keep == Keep::Nothing {
        lock.remove()?;
    }
    Ok(())
}

/// The names of all clusters that have a folder.
pub(crate) fn all() -> Result<Vec<String>> {
    let root = layout::root()?;
    let names = files::names_in(&root)?;
    Ok(names.into_iter().filter(|name| Layout::of(name).is_ok() && root.join(name).is_dir()).collect())
}

/// The same, for a caller that holds the lock.
pub(crate) fn clean(layout: &Layout, keep: Keep) -> Result<()> {
    for process in state::recorded(layout)? {
        process.identity.kill()?;
    }
    cgroup::remove(layout)?;
    let kept: &[&str] = match keep {
        Keep::ImageStore => &["containerd"],
        Keep::Logs => &["containerd", "log"],
        Keep::Nothing => &[],
    };
    // The records go last: if `down` is killed, the next one starts again from them.
    for name in files::names_in(&layout.dir)? {
        if !kept.contains(&name.as_str()) && name != "pid" {
            files::remove(&layout.dir.join(name))?;
        }
    }
    files::remove(&layout.records())?;
    if keep == Keep::Nothing {
        files::remove(&layout.dir)?;
    }
    Ok(())
}
