//! Writes files such that a killed process leaves either the old file or the new one. Does IO.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// Creates the folder and its parents.
pub(crate) fn make_dir(dir: &Path) -> Result<()> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create the folder {}", dir.display()))
}

/// Replaces the file's content in one step. Only its owner can read it.
pub(crate) fn write(file: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    if let Some(dir) = file.parent() {
        make_dir(dir)?;
    }
    let draft = draft_of(file);
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&draft)
        .and_then(|mut out| out.write_all(content.as_ref()))
        .and_then(|()| fs::rename(&draft, file))
        .with_context(|| format!("cannot write {}", file.display()))
}

/// Removes a file or a whole folder, if it exists.
pub(crate) fn remove(path: &Path) -> Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(about) if about.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", path.display()))
        }
        _ => Ok(()),
    }
}

/// Fills the folder, unless it was filled from the same pin. A stamp is written last, when the folder is complete. A draft
/// folder that is renamed would not do: some content depends on its path.
pub(crate) fn fill_once(folder: &Path, pin: &str, fill: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let stamp = folder.join(".pin");
    if fs::read_to_string(&stamp).is_ok_and(|filled_from| filled_from == pin) {
        return Ok(());
    }
    remove(folder)?;
    make_dir(folder)?;
    fill(folder)?;
    write(&stamp, pin)
}

/// The names in a folder, sorted. Empty if the folder does not exist.
pub(crate) fn names_in(dir: &Path) -> Result<Vec<String>> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        other => other.with_context(|| format!("cannot list {}", dir.display()))?,
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names)
}

/// The path at which a file is written before it is renamed. Unique to this process.
pub(crate) fn draft_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_os_string();
    name.push(format!(".draft-{}", std::process::id()));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writing_replaces_and_leaves_no_draft() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("deep/er/file");
        write(&file, "one").unwrap();
        write(&file, "two").unwrap();
        assert_eq!(fs::read_to_string(&file).unwrap(), "two");
        assert_eq!(names_in(file.parent().unwrap()).unwrap(), ["file"]);
    }

    #[test]
    fn folder_is_filled_once_for_each_pin_and_again_after_a_failure() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("folder");
        let fill = |name: &'static str| move |folder: &Path| write(&folder.join(name), "");
        fill_once(&folder, "1", fill("one")).unwrap();
        fill_once(&folder, "1", fill("other")).unwrap();
        assert_eq!(names_in(&folder).unwrap(), [".pin", "one"]);
        assert!(fill_once(&folder, "2", |_| anyhow::bail!("no network")).is_err());
        fill_once(&folder, "2", fill("two")).unwrap();
        assert_eq!(names_in(&folder).unwrap(), [".pin", "two"]);
    }

    #[test]
    fn removing_a_missing_file_is_no_error() {
        let dir = tempfile::tempdir().unwrap();
        remove(&dir.path().join("nothing")).unwrap();
        assert!(names_in(&dir.path().join("nothing")).unwrap().is_empty());
    }
}
