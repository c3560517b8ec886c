//! Writes container images without a container engine: one layer, in the format of `docker save`, the same bytes for the same
//! content. Reads the files of the image, writes the archive.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use crate::{digest, files};

pub(crate) mod kubectl;
pub(crate) mod libraries;
pub(crate) mod operator;
pub(crate) mod training;

const EPOCH: &str = "1970-01-01T00:00:00Z";
const PASSWD: &str = "root:x:0:0:root:/root:/bin/sh\n\
                      nobody:x:65534:65534:nobody:/nonexistent:/bin/false\n\
                      nonroot:x:65532:65532:nonroot:/home/nonroot:/bin/false\n";
/// Without this file some C libraries look up host names neither in files nor on servers.
const NAME_SERVICES: &str = "hosts: files dns\n";
const GROUP: &str = "root:x:0:\nnobody:x:65534:\nnonroot:x:65532:\n";

/// An entry at a path in the image.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Entry {
    Dir { mode: u32 },
    File { from: PathBuf, mode: u32 },
    Text { content: &'static str },
    Link { to: String },
}

/// An image that can be written.
#[derive(Clone, Debug)]
pub(crate) struct Image {
    reference: String,
    entries: BTreeMap<PathBuf, Entry>,
    config: BTreeMap<&'static str, Value>,
}

impl Image {
    /// An empty image with this name and tag. Its programs run as `user`.
    pub(crate) fn new(reference: &str, user: &str) -> Result<Self> {
        check_reference(reference)?;
        let config = BTreeMap::from([
            ("User", json!(user)),
            ("WorkingDir", json!("/")),
            ("Env", json!(["PATH=/usr/local/bin:/usr/bin:/bin"])),
        ]);
        let mut image = Self { reference: reference.to_owned(), entries: BTreeMap::new(), config };
        image.put("/etc/passwd", Entry::Text { content: PASSWD });
        image.put("/etc/group", Entry::Text { content: GROUP });
        image.put("/etc/nsswitch.conf", Entry::Text { content: NAME_SERVICES });
        image.put("/tmp", Entry::Dir { mode: 0o1777 });
        Ok(image)
    }

    /// Name and tag.
    pub(crate) fn reference(&self) -> &str {
        &self.reference
    }

    /// Adds a program of this machine, with the libraries that it is linked to.
    pub(crate) fn program(&mut self, from: &Path, at: &str) -> Result<()> {
        for library in libraries::of(from)? {
            let at = library.to_string_lossy().into_owned();
            self.file(&library, &at, 0o755);
        }
        self.file(from, at, 0o755);
        Ok(())
    }

    pub(crate) fn file(&mut self, from: &Path, at: &str, mode: u32) {
        let from = from.to_path_buf();
        self.put(at, Entry::File { from, mode });
    }

    /// Adds a folder of this machine with the entries whose name is `wanted`, and the libraries outside of the folder that
    /// its Python modules are linked to. Follows links.
    pub(crate) fn tree(&mut self, from: &Path, at: &str, wanted: &dyn Fn(&str) -> bool) -> Result<()> {
        let mut libraries = BTreeSet::new();
        let mut folders = vec![(from.to_path_buf(), at.to_owned())];
        while let Some((folder, at)) = folders.pop() {
            for name in files::names_in(&folder)?.into_iter().filter(|name| wanted(name)) {
                let (path, at) = (folder.join(&name), format!("{at}/{name}"));
                if path.is_dir() {
                    folders.push((path, at));
                } else if path.is_file() {
                    if libraries::is_module(&name) {
                        libraries
                            .extend(libraries::of(&path)?.into_iter().filter(|library| !library.starts_with(from)));
                    }
                    self.file(&path, &at, 0o644);
                }
            }
        }
        for library in libraries {
            self.file(&library, &library.to_string_lossy(), 0o755);
        }
        Ok(())
    }

    pub(crate) fn dir(&mut self, at: &str) {
        self.put(at, Entry::Dir { mode: 0o755 });
    }

    pub(crate) fn link(&mut self, at: &str, to: &str) {
        self.put(at, Entry::Link { to: to.to_owned() });
    }

    pub(crate) fn entrypoint(&mut self, words: &[&str]) {
        self.config.insert("Entrypoint", json!(words));
    }

    pub(crate) fn cmd(&mut self, words: &[&str]) {
        self.config.insert("Cmd", json!(words));
    }

    pub(crate) fn env(&mut self, variables: &[&str]) {
        self.config.insert("Env", json!(variables));
    }

    fn put(&mut self, at: &str, entry: Entry) {
        let at = PathBuf::from(at.trim_start_matches('/'));
        for parent in at.ancestors().skip(1).filter(|p| !p.as_os_str().is_empty()) {
            self.entries.entry(parent.to_path_buf()).or_insert(Entry::Dir { mode: 0o755 });
        }
        self.entries.insert(at, entry);
    }

    /// A digest of the image's entries. It does not read files, but uses their sizes and modification times.
    pub(crate) fn fingerprint(&self) -> Result<String> {
        let mut parts = vec![format!("{} {:?}", self.reference, self.config)];
        for (path, entry) in &self.entries {
            parts.push(format!("{} {entry:?}", path.display()));
            if let Entry::File { from, .. } = entry {
                let about = fs::metadata(from).with_context(|| format!("cannot find {}", from.display()))?;
                let changed = about.modified()?.duration_since(UNIX_EPOCH)?.as_nanos();
                parts.push(format!("{} bytes, changed {changed}", about.len()));
            }
        }
        Ok(digest::sha256(parts.join("\n").as_bytes()))
    }

    /// Writes the archive.
    pub(crate) fn write(&self, archive: &Path) -> Result<()> {
        if let Some(dir) = archive.parent() {
            files::make_dir(dir)?;
        }
        let draft = files::draft_of(archive);
        let written = File::create(&draft)
            .map_err(anyhow::Error::from)
            .and_then(|file| self.write_to(file))
            .and_then(|()| Ok(fs::rename(&draft, archive)?));
        if written.is_err() {
            files::remove(&draft)?;
        }
        written.with_context(|| format!("cannot write the image {}", archive.display()))
    }

    fn write_to(&self, out: impl Write) -> Result<()> {
        let layer = self.layer()?;
        let layer_digest = digest::sha256(&layer);
        let config = serde_json::to_vec(&json!({
            "architecture": architecture(),
            "os": "linux",
            "created": EPOCH,
            "config": self.config,
            "rootfs": {"type": "layers", "diff_ids": [format!("sha256:{layer_digest}")]},
            "history": [{"created": EPOCH, "created_by": "cargo xtask"}],
        }))?;
        let config_name = format!("{}.json", digest::sha256(&config));
        let layer_name = format!("{layer_digest}/layer.tar");
        let manifest = serde_json::to_vec(&json!([{
            "Config": config_name,
            "RepoTags": [self.reference],
            "Layers": [layer_name],
        }]))?;
        let mut tar = Builder::new(out);
        for (name, content) in
            [(config_name.as_str(), &config), (layer_name.as_str(), &layer), ("manifest.json", &manifest)]
        {
            let mut header = header(EntryType::Regular, 0o644);
            header.set_size(content.len() as u64);
            tar.append_data(&mut header, name, content.as_slice())?;
        }
        tar.into_inner()?.flush()?;
        Ok(())
    }

    /// The only layer. The order of the map puts each folder before its content.
    fn layer(&self) -> Result<Vec<u8>> {
        let mut tar = Builder::new(Vec::new());
        for (path, entry) in &self.entries {
            match entry {
                Entry::Dir { mode } => {
                    let mut header = header(EntryType::Directory, *mode);
                    tar.append_data(&mut header, path.join(""), std::io::empty())?;
                }
                Entry::File { from, mode } => {
                    let content = fs::read(from).with_context(|| format!("cannot read {}", from.display()))?;
                    append_file(&mut tar, path, &content, *mode)?;
                }
                Entry::Text { content } => {
                    append_file(&mut tar, path, content.as_bytes(), 0o644)?;
                }
                Entry::Link { to } => {
                    let mut header = header(EntryType::Symlink, 0o777);
                    tar.append_link(&mut header, path, to)?;
                }
            }
        }
        Ok(tar.into_inner()?)
    }
}

fn append_file(tar: &mut Builder<Vec<u8>>, path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut header = header(EntryType::Regular, mode);
    header.set_size(content.len() as u64);
    Ok(tar.append_data(&mut header, path, content)?)
}

/// A header without time and user, so that equal content gives equal bytes.
fn header(kind: EntryType, mode: u32) -> Header {
    let mut header = Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(0);
    header
}

fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Refuses the tag `latest`: Kubernetes always pulls it, and there is no registry to pull from.
fn check_reference(reference: &str) -> Result<()> {
    match reference.rsplit_once(':') {
        Some((name, tag)) if !name.is_empty() && !tag.is_empty() && !tag.contains('/') => {
            if tag == "latest" {
                bail!("{reference}: choose another tag than `latest`, which Kubernetes always pulls");
            }
            Ok(())
        }
        _ => bail!("{reference:?} is not an image name with a tag, such as modelsync.local/modelsync:dev"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(dir: &Path) -> Image {
        let source = dir.join("data");
        if !source.exists() {
            fs::write(&source, "content").unwrap();
        }
        let mut image = Image::new("example.test/x:1", "65532").unwrap();
        image.file(&source, "/opt/deep/data", 0o644);
        image.link("/bin/sh", "/bin/busybox");
        image.entrypoint(&["/opt/deep/data"]);
        image
    }

    fn paths_in(tar: &[u8]) -> Vec<String> {
        tar::Archive::new(tar)
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned())
            .collect()
    }

    #[test]
    fn the_same_content_gives_the_same_bytes() {
        let dir = tempfile::tempdir().unwrap();
        let (one, two) = (dir.path().join("one.tar"), dir.path().join("two.tar"));
        example(dir.path()).write(&one).unwrap();
        // Changes the file's time but not its content.
        fs::write(dir.path().join("data"), "content").unwrap();
        example(dir.path()).write(&two).unwrap();
        assert_eq!(fs::read(one).unwrap(), fs::read(two).unwrap());
    }

    #[test]
    fn tree_adds_the_wanted_entries_of_a_folder_and_follows_links() {
        let dir = tempfile::tempdir().unwrap();
        for file in ["tree/one", "tree/deep/two", "tree/tests/three", "beside"] {
            files::write(&dir.path().join(file), file).unwrap();
        }
        std::os::unix::fs::symlink("../beside", dir.path().join("tree/link")).unwrap();
        std::os::unix::fs::symlink("nowhere", dir.path().join("tree/broken")).unwrap();
        let mut image = Image::new("example.test/x:1", "").unwrap();
        image.tree(&dir.path().join("tree"), "/opt/x", &|name| name != "tests").unwrap();
        let mut paths = paths_in(&image.layer().unwrap());
        paths.retain(|path| path.starts_with("opt/x/"));
        assert_eq!(paths, ["opt/x/", "opt/x/deep/", "opt/x/deep/two", "opt/x/link", "opt/x/one"]);
    }

    #[test]
    fn folders_come_before_their_content() {
        let dir = tempfile::tempdir().unwrap();
        let layer = example(dir.path()).layer().unwrap();
        assert_eq!(
            paths_in(&layer),
            [
                "bin/",
                "bin/sh",
                "etc/",
                "etc/group",
                "etc/nsswitch.conf",
                "etc/passwd",
                "opt/",
                "opt/deep/",
                "opt/deep/data",
                "tmp/"
            ]
        );
    }

    #[test]
    fn the_manifest_names_the_files_of_the_archive() {
        let dir = tempfile::tempdir().unwrap();
        let archive = dir.path().join("x.tar");
        example(dir.path()).write(&archive).unwrap();
        let bytes = fs::read(&archive).unwrap();
        let paths = paths_in(&bytes);
        let mut tar = tar::Archive::new(bytes.as_slice());
        let manifest = tar
            .entries()
            .unwrap()
            .map(Result::unwrap)
            .find(|entry| entry.path().unwrap().ends_with("manifest.json"))
            .unwrap();
        let manifest: Value = serde_json::from_reader(manifest).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], "example.test/x:1");
        assert!(paths.contains(&manifest[0]["Config"].as_str().unwrap().to_owned()));
        assert!(paths.contains(&manifest[0]["Layers"][0].as_str().unwrap().to_owned()));
        assert_eq!(paths.len(), 3);
    }

    #[test]
    fn the_fingerprint_changes_with_the_entries() {
        let dir = tempfile::tempdir().unwrap();
        let base = example(dir.path());
        assert_eq!(base.fingerprint().unwrap(), example(dir.path()).fingerprint().unwrap());
        let mut other = example(dir.path());
        other.dir("/more");
        assert_ne!(base.fingerprint().unwrap(), other.fingerprint().unwrap());
    }

    #[test]
    fn references_need_a_tag_that_is_not_latest() {
        assert!(check_reference("a.test/b:1").is_ok());
        assert!(check_reference("host:5000/b:1").is_ok());
        for bad in ["a.test/b", "a.test/b:latest", "host:5000/b", ":1", "a:"] {
            assert!(check_reference(bad).is_err(), "{bad}");
        }
    }
}
