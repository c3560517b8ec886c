//! A server for one test: a process on a free port of loopback, with its own folder. Dropping the server ends the
//! process and deletes the folder. IO.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

/// How long a server may take until it responds. Python on a busy machine takes a minute.
const START: Duration = Duration::from_mins(3);

/// A running server.
pub struct Server {
    /// `http://127.0.0.1:PORT`.
    pub url: String,
    child: Child,
    folder: PathBuf,
}

/// A free port, and a folder for a server.
pub struct Place {
    /// It was free a moment ago.
    pub port: u16,
    /// Empty.
    pub folder: PathBuf,
}

impl Place {
    /// A place for a server of this name.
    pub fn new(name: &str) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let folder = std::env::temp_dir().join(format!("modelsync-{name}-{}-{port}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Self { port, folder }
    }

    /// Starts this command here and waits until `ready`, a path, returns status 200.
    pub async fn start(self, command: &mut Command, ready: &str) -> Server {
        let log = File::create(self.folder.join("log")).unwrap();
        let command = command.current_dir(&self.folder).stdin(Stdio::null());
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let url = format!("http://127.0.0.1:{}", self.port);
        let mut server = Server { url, child, folder: self.folder };
        let answered = tokio::time::timeout(START, server.answered(ready)).await;
        assert!(answered.is_ok(), "no server after {START:?}:\n{}", server.log());
        server
    }
}

impl Server {
    /// Waits until `ready` returns status 200.
    async fn answered(&mut self, ready: &str) {
        while !answers(&format!("{}{ready}", self.url)).await {
            let ended = self.child.try_wait().unwrap();
            assert!(ended.is_none(), "the server is gone: {ended:?}\n{}", self.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// An HTTP client for the test itself.
pub fn client() -> reqwest::Client {
    // This fails if another test has already installed it.
    let _ = rustls::crypto::ring::default_provider().install_default();
    reqwest::Client::new()
}

async fn answers(url: &str) -> bool {
    client().get(url).send().await.is_ok_and(|reply| reply.status() == 200)
}

/// A program that `cargo xtask servers` has installed.
pub fn installed(program: &str) -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty()).map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("target"),
        |folder| std::path::absolute(folder).unwrap(),
    );
    let path = target.join("servers").join(program);
    assert!(path.is_file(), "{} is missing: run `cargo xtask servers` first", path.display());
    path
}
