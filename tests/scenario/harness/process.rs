//! The operator as a process of its own: with its log, and if wanted with a limit on its memory. IO.
//!
//! The limit is `RLIMIT_DATA`, which needs no rights. An operator that needs more ends with "memory allocation failed",
//! where a pod would be killed. The limit counts what is allocated, so it is a little stricter than that of a pod, which
//! counts what is in use.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use super::{World, cluster::eventually, world::DEADLINE};

/// The memory limit of `config/deployment.yaml`, in MiB.
pub const SHIPPED_LIMIT: u64 = 128;

/// An operator as a process. It ends with this value; if the test fails, its log is printed.
pub struct Process {
    child: Child,
    kubeconfig: PathBuf,
    log: Arc<Mutex<String>>,
}

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident memory now.
    pub resident: u64,
    /// The largest resident memory since the start, or since [`Process::forget_peak`].
    pub peak: u64,
    /// The part of the resident memory that is the program itself. A debug build has much of it, and a pod under pressure
    /// gives it back.
    pub program: u64,
}

impl Memory {
    /// By how many KiB the peak is above the resident memory of an idle operator. Pages of the program do not count.
    pub fn above(&self, idle: &Self) -> u64 {
        (self.peak - self.program).saturating_sub(idle.resident - idle.program)
    }
}

impl Process {
    /// Starts the operator in the namespace of the world. Without the flag `--log`, its log is at level `debug`.
    pub fn start(world: &World, flags: &[&str]) -> Self {
        Self::spawn(world, Command::new(env!("CARGO_BIN_EXE_modelsync")), flags)
    }

    /// The same, with these variables in its environment.
    pub fn start_in(world: &World, variables: &[(&str, &str)], flags: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_modelsync"));
        command.envs(variables.iter().copied());
        Self::spawn(world, command, flags)
    }

    /// The same, with at most this many MiB of memory.
    pub fn start_limited(world: &World, mebibytes: u64, flags: &[&str]) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("ulimit -d {} && exec \"$0\" \"$@\"", mebibytes * 1024);
        shell.args(["-c", &script, env!("CARGO_BIN_EXE_modelsync")]);
        Self::spawn(world, shell, flags)
    }

    fn spawn(world: &World, mut command: Command, flags: &[&str]) -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let kubeconfig = std::env::temp_dir().join(format!("{}-{number}.kubeconfig", world.namespace));
        let mut config = world.kubeconfig();
        for cluster in config["clusters"].as_array_mut().unwrap() {
            // A debug build takes seconds to decompress a megabyte.
            cluster["cluster"]["disable-compression"] = true.into();
        }
        fs::write(&kubeconfig, config.to_string()).unwrap();
        let mut child = command
            .args(["controller", "--leader-elect=false", "--listen=127.0.0.1:0", "--allow-address=127.0.0.0/8"])
            .arg(format!("--namespace={}", world.namespace))
            .args(flags)
            .env("KUBECONFIG", &kubeconfig)
            .env("MODELSYNC_LOG", "info,modelsync=debug")
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (lines, log) = (BufReader::new(child.stderr.take().unwrap()), Arc::new(Mutex::new(String::new())));
        let sink = log.clone();
        std::thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                let mut log = sink.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        Self { child, kubeconfig, log }
    }

    /// Its log so far.
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// Waits until the operator serves its pages; returns their address.
    pub async fn address(&self, world: &World) -> String {
        world
            .wait("the operator has started", async || {
                let log = self.log();
                let line = log.lines().find(|line| line.contains("controller started"))?;
                line.split("address=").nth(1)?.split(' ').next().map(str::to_owned)
            })
            .await
    }

    /// Waits until the operator is ready: every list is read.
    pub async fn until_ready(&self, world: &World) {
        let url = format!("http://{}/readyz", self.address(world).await);
        let ready = async || reqwest::get(&url).await.is_ok_and(|page| page.status() == 200).then_some(());
        world.wait("the operator is ready", ready).await;
    }

    /// Its memory. Fails if the process has ended.
    pub fn memory(&self) -> Memory {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).unwrap_or_default();
        let field = |name: &str| {
            let value = status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
            value.and_then(|value| value.trim().parse().ok()).unwrap_or_else(|| panic!("the operator has ended"))
        };
        Memory { resident: field("VmRSS:"), peak: field("VmHWM:"), program: field("RssFile:") }
    }

    /// Lets the peak begin anew, at what is resident now.
    pub fn forget_peak(&self) {
        fs::write(format!("/proc/{}/clear_refs", self.child.id()), "5").unwrap();
    }

    /// Waits until it has ended.
    pub async fn until_ended(&mut self) -> ExitStatus {
        let probe = || std::future::ready(self.child.try_wait().unwrap());
        eventually("the operator ends", DEADLINE, probe).await.unwrap_or_else(|late| panic!("{late}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let ended = self.child.wait();
        let _ = fs::remove_file(&self.kubeconfig);
        if std::thread::panicking() {
            println!("---- the operator's process, {ended:?} ----\n{}", self.log());
        }
    }
}
