//! The operator's leader on the node: its pod, its process, and what its pod wrote. IO.

use std::{fs, path::PathBuf, process::Command, time::Duration};

use serde_json::Value;

use crate::world::{SYSTEM, World, kubectl};

/// `--lease-duration` of `config/`.
pub const DURATION: Duration = Duration::from_secs(15);
const LEASE: &str = "modelsync-controller";

/// A replica that holds the Lease.
#[derive(Clone, Debug)]
pub struct Leader {
    /// Its identity in the Lease: different for every process.
    pub identity: String,
    pub pod: String,
}

/// A write that the API server accepted.
#[derive(Clone, Debug)]
pub struct Write {
    pub verb: String,
    pub resource: String,
    pub namespace: String,
    pub pod: String,
}

impl Leader {
    /// Waits until another replica than `former` holds the Lease.
    pub async fn other_than(world: &World, former: Option<&Self>) -> Self {
        world
            .eventually("another replica to lead", async || {
                let lease = world.get_in(SYSTEM, "coordination.k8s.io/v1", "Lease", LEASE).await?;
                let identity = lease["spec"]["holderIdentity"].as_str().filter(|holder| !holder.is_empty())?.to_owned();
                let pod = identity.rsplit_once('_').expect("pod_process").0.to_owned();
                (former.is_none_or(|former| former.identity != identity)).then_some(Self { identity, pod })
            })
            .await
    }

    /// Id of its process on this machine, which is the node: the one in the pod's cgroup that runs the operator's
    /// program.
    pub fn pid(&self) -> u32 {
        let uid = kubectl(&["get", "pod", "-n", SYSTEM, &self.pod, "-o", "jsonpath={.metadata.uid}"]);
        let ids = fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        let of_pod = |pid: &u32| {
            let groups = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default().replace('_', "-");
            let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap_or_default();
            groups.contains(&format!("pod{uid}")) && program.ends_with("modelsync")
        };
        let found: Vec<u32> = ids.filter(of_pod).collect();
        let [pid] = found[..] else { panic!("processes of {}: {found:?}", self.pod) };
        pid
    }
}

/// Sends a signal to a process that may have ended.
pub fn signal(pid: u32, name: &str) {
    let mut kill = Command::new("kill");
    let sent = kill.args([format!("-{name}"), pid.to_string()]).output().unwrap();
    assert!(sent.status.success() || !lives(pid), "kill -{name} {pid}: {}", String::from_utf8_lossy(&sent.stderr));
}

/// Whether the process is still there.
pub fn lives(pid: u32) -> bool {
    PathBuf::from(format!("/proc/{pid}")).exists()
}

/// The API server's audit log, from a moment on.
pub struct Audit {
    path: PathBuf,
    from: usize,
}

impl Audit {
    pub fn from_now() -> Self {
        let kubeconfig = PathBuf::from(std::env::var_os("KUBECONFIG").unwrap());
        let path = kubeconfig.with_file_name("log").join("audit.log");
        let from = fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).len();
        Self { path, from }
    }

    /// The writes of the operator's pods, in order. Events are left out: they may come late, and nothing depends on
    /// them.
    pub fn writes(&self) -> Vec<Write> {
        let log = fs::read(&self.path).unwrap();
        let events = log[self.from..].split(|byte| *byte == b'\n');
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let mut writes: Vec<(String, Write)> = events
            .filter_map(|event| serde_json::from_slice::<Value>(event).ok())
            .filter(|event| event["user"]["username"] == format!("system:serviceaccount:{SYSTEM}:modelsync-controller"))
            .filter(|event| !["get", "list", "watch"].contains(&event["verb"].as_str().unwrap()))
            .filter(|event| event["objectRef"]["resource"] != "events")
            .filter(|event| event["responseStatus"]["code"].as_u64().is_some_and(|code| code < 300))
            .map(|event| {
                let pod = text(&event["user"]["extra"]["authentication.kubernetes.io/pod-name"][0]);
                let object = &event["objectRef"];
                let (resource, namespace) = (text(&object["resource"]), text(&object["namespace"]));
                let write = Write { verb: text(&event["verb"]), resource, namespace, pod };
                (text(&event["stageTimestamp"]), write)
            })
            .collect();
        writes.sort_by(|one, other| one.0.cmp(&other.0));
        writes.into_iter().map(|(_, write)| write).collect()
    }
}
