//! The first process of a level 2 cluster: pid 1 in namespaces of its own. It makes the mounts and the network, starts the
//! daemons and reaps orphaned processes. When it is killed, the kernel kills every process in the namespaces, and the mounts,
//! links and rules vanish with them. Does IO.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustix::io::Errno;
use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_bind, mount_change};
use rustix::process::{WaitOptions, wait};

use super::control_plane::{CommandLine, ControlPlane, NODE, NODE_ADDRESS, NODE_PORTS, NODE_SERVICES};
use super::kubectl::{Inside, NODE_PROCESS};
use super::layout::Layout;
use super::state::Level;
use super::{daemon, node_config};
use crate::{command, files};

/// Settings of the whole machine that kubelet would change. Inside the namespaces each is covered by a file that already has
/// the value, so that kubelet never changes the machine.
const SETTINGS: [(&str, &str); 6] = [
    ("kernel/keys/root_maxbytes", "25000000"),
    ("kernel/keys/root_maxkeys", "1000000"),
    ("kernel/panic", "10"),
    ("kernel/panic_on_oops", "1"),
    ("vm/overcommit_memory", "1"),
    ("vm/panic_on_oom", "0"),
];

/// Settings of the cluster's own network namespace.
const NETWORK_SETTINGS: [(&str, &str); 3] = [
    ("net/ipv4/ip_forward", "1"),
    ("net/ipv4/conf/all/route_localnet", "1"),
    ("net/bridge/bridge-nf-call-iptables", "1"),
];

struct Node<'a> {
    layout: &'a Layout,
    log: File,
    daemons: BTreeMap<String, u32>,
}

/// Runs until it is killed. Returns only with an error.
pub(crate) fn run(layout: &Layout) -> Result<()> {
    // `/proc` is still the machine's, so the recorded number is the machine's, too.
    daemon::record_own(&layout.record(NODE_PROCESS))?;
    if std::process::id() != 1 {
        bail!("only `cargo xtask cluster up --level 2` may start this");
    }
    let log = OpenOptions::new().create(true).append(true).open(layout.log(NODE_PROCESS))?;
    let mut node = Node { layout, log, daemons: BTreeMap::new() };
    let ended = node.live();
    if let Err(error) = &ended {
        node.say(&format!("{error:#}"))?;
    }
    ended
}

impl Node<'_> {
    fn live(&mut self) -> Result<()> {
        make_mounts(self.layout)?;
        make_network()?;
        self.start_daemons()?;
        loop {
            if let Some(ended) = self.reap(WaitOptions::empty())? {
                self.say(&ended)?;
            }
        }
    }

    /// Reaps one process that has ended. Returns a message if it was a daemon.
    fn reap(&self, options: WaitOptions) -> Result<Option<String>> {
        match wait(options) {
            Ok(Some((pid, status))) => {
                let pid = pid.as_raw_nonzero().get().unsigned_abs();
                let daemon = self.daemons.iter().find(|(_, number)| **number == pid);
                let how = match (status.exit_status(), status.terminating_signal()) {
                    (Some(code), _) => format!("exit code {code}"),
                    (_, Some(signal)) => format!("signal {signal}"),
                    _ => "an unknown status".into(),
                };
                Ok(daemon.map(|(name, _)| format!("{name} has ended with {how}")))
            }
            Ok(None) | Err(Errno::INTR) => Ok(None),
            Err(Errno::CHILD) => {
                thread::sleep(Duration::from_secs(1));
                Ok(None)
            }
            Err(error) => Err(error).context("cannot wait for children"),
        }
    }

    fn start_daemons(&mut self) -> Result<()> {
        let layout = self.layout;
        let plane = ControlPlane::new(Level::Node, NODE_PORTS);
        self.start("etcd", &plane.etcd(layout))?;
        self.start("containerd", &node_config::containerd(layout))?;
        self.start("apiserver", &plane.api_server(layout))?;
        let inside = Inside::here(layout);
        while !inside.api_is_ready() {
            if let Some(ended) = self.reap(WaitOptions::NOHANG)? {
                bail!("{ended}; its log is next to this one");
            }
            thread::sleep(Duration::from_millis(100));
        }
        self.start("controller-manager", &ControlPlane::controller_manager(layout))?;
        self.start("scheduler", &node_config::scheduler(layout))?;
        self.start("kubelet", &node_config::kubelet(layout))?;
        self.start("kube-proxy", &node_config::kube_proxy(layout))
    }

    fn start(&mut self, name: &str, line: &CommandLine) -> Result<()> {
        let [program, arguments @ ..] = line.as_slice() else {
            bail!("{name} has no command line");
        };
        let log = File::create(self.layout.log(name))?;
        let child = Command::new(program)
            .args(arguments)
            .current_dir(&self.layout.dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("cannot start {name}"))?;
        self.daemons.insert(name.to_owned(), child.id());
        files::write(&daemons_file(self.layout), serde_json::to_vec(&self.daemons)?)
    }

    fn say(&mut self, what: &str) -> Result<()> {
        Ok(writeln!(self.log, "{what}")?)
    }
}

/// The file with the daemons' names and their process numbers inside the namespaces.
pub(crate) fn daemons_file(layout: &Layout) -> std::path::PathBuf {
    layout.dir.join("daemons.json")
}

fn make_mounts(layout: &Layout) -> Result<()> {
    // Private: no mount reaches the machine. Shared: pods see what is mounted later.
    let all = MountPropagationFlags::REC;
    mount_change("/", MountPropagationFlags::PRIVATE | all).context("cannot separate the mounts from the machine's")?;
    mount_change("/", MountPropagationFlags::SHARED | all).context("cannot share the mounts")?;
    let plain = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    mount("proc", "/proc", "proc", plain, None).context("cannot mount /proc")?;
    let plain = MountFlags::NOSUID | MountFlags::NODEV;
    mount("tmpfs", "/run", "tmpfs", plain, Some(c"mode=755")).context("cannot mount /run")?;
    for dir in ["/run/netns", "/run/lock", "/run/settings"] {
        fs::create_dir_all(dir)?;
    }
    for (from, to) in [("var-lib", "/var/lib"), ("var-log", "/var/log")] {
        bind(&layout.dir.join(from), Path::new(to))?;
    }
    for (name, value) in SETTINGS {
        let setting = Path::new("/proc/sys").join(name);
        if setting.exists() {
            let cover = Path::new("/run/settings").join(name.replace('/', "."));
            fs::write(&cover, value)?;
            bind(&cover, &setting)?;
        }
    }
    Ok(())
}

fn bind(from: &Path, to: &Path) -> Result<()> {
    mount_bind(from, to).with_context(|| format!("cannot mount {} at {}", from.display(), to.display()))
}

/// Sets up loopback, and a bridge without ports that has the node's address. No route leads out. Services have a route
/// because the kernel looks for one before it rewrites the address of a connection from the node.
fn make_network() -> Result<()> {
    rustix::system::sethostname(NODE.as_bytes()).context("cannot set the host name")?;
    let address = format!("{NODE_ADDRESS}/24");
    for words in [
        "link set lo up",
        "link add node0 type bridge",
        &format!("addr add {address} dev node0"),
        "link set node0 up",
        &format!("route add {NODE_SERVICES} dev node0 src {NODE_ADDRESS}"),
    ] {
        command::output(Command::new("ip").args(words.split(' ')))?;
    }
    for (name, value) in NETWORK_SETTINGS {
        let setting = Path::new("/proc/sys").join(name);
        // The last one exists only if the kernel filters bridges.
        if setting.exists() {
            fs::write(&setting, value).with_context(|| format!("cannot write {}", setting.display()))?;
        }
    }
    Ok(())
}
