//! A lock on a file. The kernel releases it when its holder ends. Does IO.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, Result};

use crate::files;

/// A lock. It is held until this and the standard input of every process that received it are closed.
pub(crate) struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    /// Takes the lock. Waits for another holder; `doing` describes what that one does.
    pub(crate) fn take(path: &Path, doing: &str) -> Result<Self> {
        loop {
            let file = open(path)?;
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
            // The previous holder may have removed the file. A lock on a removed file excludes no other process.
            if is_at(&file, path)? {
                return Ok(Self { file, path: path.to_path_buf() });
            }
        }
    }

    /// Removes the lock's file and releases the lock.
    #[cfg(target_os = "linux")]
    pub(crate) fn remove(self) -> Result<()> {
        files::remove(&self.path)
    }

    /// The lock as a child's standard input. It is held until the child closes that, too.
    #[cfg(target_os = "linux")]
    pub(crate) fn as_stdin(&self) -> Result<Stdio> {
        Ok(Stdio::from(self.file.try_clone()?))
    }
}

fn open(path: &Path) -> Result<File> {
    if let Some(dir) = path.parent() {
        files::make_dir(dir)?;
    }
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(path)
        .with_context(|| format!("cannot open the lock {}", path.display()))
}

fn is_at(file: &File, path: &Path) -> Result<bool> {
    let own = file.metadata()?;
    Ok(path.metadata().is_ok_and(|now| (now.dev(), now.ino()) == (own.dev(), own.ino())))
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_child_that_received_the_lock_holds_it() {
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

    #[test]
    fn a_lock_whose_file_was_removed_is_taken_on_a_new_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("lock");
        let first = Lock::take(&path, "testing").unwrap();
        let waiter = {
            let path = path.clone();
            std::thread::spawn(move || Lock::take(&path, "testing").unwrap())
        };
        first.remove().unwrap();
        let second = waiter.join().unwrap();
        assert!(is_at(&second.file, &path).unwrap());
    }
}
