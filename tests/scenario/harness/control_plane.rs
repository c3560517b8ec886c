//! The processes of a cluster that `cargo xtask cluster up` started at level 1: kills, stops and starts them, and restores
//! etcd from a copy of its data. IO: signals, processes, files.
//!
//! A process that is started here is recorded as `cargo xtask cluster` records it, so that `cluster down` ends it.

use std::{
    fs::{self, File},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};

use super::cluster::{Cluster, eventually};

/// etcd, as `cargo xtask cluster` names it.
pub const ETCD: &str = "etcd";
/// The API server.
pub const API_SERVER: &str = "apiserver";

/// How long a process may take to end or to be ready.
const PATIENCE: Duration = Duration::from_secs(90);

/// The control plane of one cluster.
pub struct ControlPlane {
    cluster: Cluster,
    folder: PathBuf,
}

/// A process that was killed, and how it was started.
pub struct Dead {
    name: &'static str,
    line: Vec<String>,
}

impl ControlPlane {
    /// The control plane of a cluster of `cargo xtask cluster`.
    pub fn of(cluster: &Cluster) -> Self {
        let folder = cluster.kubeconfig_path().parent().unwrap().to_owned();
        Self { cluster: cluster.clone(), folder }
    }

    fn pid(&self, name: &str) -> u32 {
        let record = self.folder.join("pid").join(format!("{name}.json"));
        let text = fs::read_to_string(&record).unwrap_or_else(|error| panic!("{}: {error}", record.display()));
        let record: Value = serde_json::from_str(&text).unwrap();
        record["pid"].as_u64().unwrap().try_into().unwrap()
    }

    /// Sends a signal to a process.
    pub fn signal(&self, name: &str, signal: &str) {
        let sent = Command::new("kill").args([signal, &self.pid(name).to_string()]).output().unwrap();
        assert!(sent.status.success(), "kill {signal} {name}: {}", String::from_utf8_lossy(&sent.stderr));
    }

    /// Kills a process with SIGKILL and waits until it has ended.
    pub async fn kill(&self, name: &'static str) -> Dead {
        let pid = self.pid(name);
        let line = fs::read(format!("/proc/{pid}/cmdline")).unwrap();
        let line: Vec<_> = line.split(|byte| *byte == 0).filter(|part| !part.is_empty()).collect();
        let line: Vec<_> = line.into_iter().map(|part| String::from_utf8(part.to_vec()).unwrap()).collect();
        assert!(line.first().is_some_and(|program| program.contains(name)), "{name} is {line:?}");
        self.signal(name, "-KILL");
        eventually("it has ended", PATIENCE, async || has_ended(pid).then_some(())).await.unwrap();
        Dead { name, line }
    }

    /// Starts a killed process again.
    pub fn start(&self, dead: &Dead) {
        let log = self.folder.join("log").join(format!("{}.log", dead.name));
        let log = File::options().create(true).append(true).open(log).unwrap();
        let child = Command::new(&dead.line[0])
            .args(&dead.line[1..])
            .current_dir(&self.folder)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .process_group(0)
            .spawn()
            .unwrap();
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap();
        let record = json!({ "pid": child.id(), "started": started(child.id()).unwrap(), "boot": boot.trim() });
        let (path, draft) = (self.folder.join("pid").join(format!("{}.json", dead.name)), self.folder.join("draft"));
        fs::write(&draft, record.to_string()).unwrap();
        fs::rename(draft, path).unwrap();
        // It is this process's child: it must not stay as a zombie once it has been killed.
        std::thread::spawn(move || {
            let mut child = child;
            child.wait()
        });
    }

    /// Waits until the API server and its storage are ready.
    pub async fn until_ready(&self) {
        let client = self.cluster.client();
        let ready = async || {
            let request = http::Request::get("/readyz").body(Vec::new()).unwrap();
            client.request_text(request).await.ok().filter(|text| text == "ok")
        };
        eventually("the API server is ready", PATIENCE, ready).await.unwrap();
    }

    /// Copies etcd's data: a backup. etcd and the API server stand still meanwhile.
    pub async fn back_up(&self) {
        self.without_storage(|data, backup| {
            let _ = fs::remove_dir_all(backup);
            copy(data, backup);
        })
        .await;
    }

    /// Restores etcd from the backup: the storage and its revisions are as they were.
    pub async fn restore(&self) {
        self.without_storage(|data, backup| {
            fs::remove_dir_all(data).unwrap();
            copy(backup, data);
        })
        .await;
    }

    /// The API server is started anew, because its cache would remember what etcd has forgotten.
    async fn without_storage(&self, work: impl FnOnce(&Path, &Path)) {
        let (api_server, etcd) = (self.kill(API_SERVER).await, self.kill(ETCD).await);
        work(&self.folder.join("etcd"), &self.folder.join("etcd-backup"));
        self.start(&etcd);
        self.start(&api_server);
        self.until_ready().await;
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").args(["-a"]).args([from, to]).output().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
}

/// When the process started, in ticks since the boot. `None` if it has ended.
fn started(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    let fields: Vec<_> = after_name.split_whitespace().collect();
    if ["Z", "X"].contains(fields.first()?) { None } else { fields.get(19)?.parse().ok() }
}

/// Whether the process has ended with all its threads: while one of them ends, its ports are still in use.
fn has_ended(pid: u32) -> bool {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
    started(pid).is_none() && threads <= 1
}
