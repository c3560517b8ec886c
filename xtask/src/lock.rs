//! One at a time: a lock on a file, given back by the kernel however its holder ends. Does IO.

use std::fs::{File, OpenOptions, TryLockError};
use std::path::Path;
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::files;

/// Held until dropped, and by every process that was handed it as its standard input.
pub(crate) struct Lock(File);

impl Lock {
    /// Takes the lock, waiting for another holder; `doing` is what that one is at.
    pub(crate) fn take(path: &Path, doing: &str) -> Result<Self> {
        if let Some(dir) = path.parent() {
            files::make_dir(dir)?;
        }
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(path)
            .with_context(|| format!("cannot open the lock {}", path.display()))?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                println!("waiting: another process is {doing}");
                file.lock()?;
            }
            Err(TryLockError::Error(error)) => {
                return Err(error).with_context(|| format!("cannot lock {}", path.display()));
            }
        }
        Ok(Self(file))
    }

    /// The lock as a child's standard input: held until that child lets go of it, too.
    #[cfg(target_os = "linux")]
    pub(crate) fn as_stdin(&self) -> Result<Stdio> {
        Ok(Stdio::from(self.0.try_clone()?))
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_that_was_handed_the_lock_holds_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let lock = Lock::take(&path, "testing").unwrap();
        let mut child = Command::new("sleep").arg("60").stdin(lock.as_stdin().unwrap()).spawn().unwrap();
        drop(lock);
        let other = File::open(&path).unwrap();
        assert!(matches!(other.try_lock(), Err(TryLockError::WouldBlock)));
        child.kill().unwrap();
        child.wait().unwrap();
        other.try_lock().unwrap();
    }
}
