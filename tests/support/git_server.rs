//! A real Git server for tests: `git http-backend` behind a small CGI gateway on loopback, and repositories made by
//! `git`. IO.

use std::{
    io::Write,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Request, State},
    http::Response,
};
use tokio::net::TcpListener;

/// Serves every repository below its own folder. Dropping the server deletes the folder.
pub struct GitServer {
    base: String,
    root: PathBuf,
}

/// State of the gateway.
#[derive(Clone)]
struct Gateway {
    root: PathBuf,
    /// Whether the backend receives the protocol version that the client requests.
    v2: bool,
}

impl GitServer {
    /// Starts it on a free port, with no repositories.
    pub async fn start() -> Self {
        Self::with_versions(true).await
    }

    /// Starts one that speaks no protocol version but 0.
    #[allow(dead_code, reason = "not every test crate that has this module needs old servers")]
    pub async fn start_old() -> Self {
        Self::with_versions(false).await
    }

    async fn with_versions(v2: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let root = std::env::temp_dir().join(format!("modelsync-git-{}-{}", std::process::id(), address.port()));
        std::fs::create_dir_all(&root).unwrap();
        let router = Router::new().fallback(serve).with_state(Gateway { root: root.clone(), v2 });
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { base: format!("http://{address}"), root }
    }

    /// Makes an empty repository with the branch `main`.
    pub fn init(&self, name: &str) {
        git(&self.root, &["init", "--quiet", "--bare", "--initial-branch=main", name]);
    }

    /// Makes an empty repository with the branch `main`, whose ids are SHA-256.
    #[allow(dead_code, reason = "not every test crate that has this module needs unusual repositories")]
    pub fn init_sha256(&self, name: &str) {
        let format = ["--object-format=sha256", "--initial-branch=main", name];
        git(&self.root, &[&["init", "--quiet", "--bare"][..], &format].concat());
    }

    /// Adds a commit to a branch; returns its id.
    pub fn commit(&self, name: &str, branch: &str) -> String {
        let repository = self.root.join(name);
        let tree = git(&repository, &["hash-object", "-t", "tree", "-w", "/dev/null"]);
        let reference = format!("refs/heads/{branch}");
        let message = format!("a commit on {branch}");
        let mut arguments = vec!["commit-tree", &*tree, "-m", &message];
        let parent = git_or_nothing(&repository, &["rev-parse", "--verify", "--quiet", &reference]);
        if let Some(parent) = &parent {
            arguments.extend(["-p", parent]);
        }
        let commit = git(&repository, &arguments);
        git(&repository, &["update-ref", &reference, &commit]);
        commit
    }

    /// Tags the head of a branch, with an annotated tag, which is a separate object, or with a plain one.
    #[allow(dead_code, reason = "not every test crate that has this module needs tags")]
    pub fn tag(&self, name: &str, tag: &str, branch: &str, annotated: bool) {
        let repository = self.root.join(name);
        if annotated {
            git(&repository, &["tag", "--annotate", "-m", "a tag", tag, branch]);
        } else {
            git(&repository, &["tag", tag, branch]);
        }
    }

    /// Runs `git` in a repository; returns its output.
    #[allow(dead_code, reason = "not every test crate that has this module needs unusual repositories")]
    pub fn git(&self, name: &str, arguments: &[&str]) -> String {
        git(&self.root.join(name), arguments)
    }

    /// Adds refs to this commit, with any bytes as names, as `git pack-refs` stores them.
    #[allow(dead_code, reason = "not every test crate that has this module needs unusual repositories")]
    pub fn pack_refs(&self, name: &str, commit: &str, refs: impl IntoIterator<Item = Vec<u8>>) {
        let mut lines = Vec::new();
        for reference in refs {
            lines.extend([commit.as_bytes(), b" ", &reference, b"\n"].concat());
        }
        std::fs::write(self.root.join(name).join("packed-refs"), lines).unwrap();
    }

    /// Makes a repository shallow: it lacks the parents of this commit.
    #[allow(dead_code, reason = "not every test crate that has this module needs unusual repositories")]
    pub fn cut(&self, name: &str, commit: &str) {
        std::fs::write(self.root.join(name).join("shallow"), format!("{commit}\n")).unwrap();
    }

    /// URL of a repository.
    pub fn url(&self, name: &str) -> String {
        format!("{}/{name}", self.base)
    }
}

impl Drop for GitServer {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.root);
    }
}

/// `git`, without the configuration of the user or the system.
fn command(folder: &Path) -> Command {
    let mut git = Command::new("git");
    git.current_dir(folder).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
    for (name, value) in [
        ("GIT_CONFIG_NOSYSTEM", "1"),
        ("HOME", "/nonexistent"),
        ("GIT_AUTHOR_NAME", "test"),
        ("GIT_AUTHOR_EMAIL", "test@example.com"),
        ("GIT_COMMITTER_NAME", "test"),
        ("GIT_COMMITTER_EMAIL", "test@example.com"),
    ] {
        git.env(name, value);
    }
    git
}

fn git_or_nothing(folder: &Path, arguments: &[&str]) -> Option<String> {
    let output = command(folder).args(arguments).output().unwrap();
    output.status.success().then(|| String::from_utf8(output.stdout).unwrap().trim().to_owned())
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    git_or_nothing(folder, arguments).unwrap_or_else(|| panic!("git {arguments:?} failed"))
}

async fn serve(State(gateway): State<Gateway>, request: Request) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 1024 * 1024).await.unwrap();
    tokio::task::spawn_blocking(move || run(&gateway, &head, &body)).await.unwrap()
}

/// Handles one request by CGI (RFC 3875).
fn run(gateway: &Gateway, head: &axum::http::request::Parts, body: &Bytes) -> Response<Body> {
    let header = |name: &str| head.headers.get(name).map_or("", |value| value.to_str().unwrap());
    let mut backend = command(&gateway.root);
    backend
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &gateway.root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", head.method.as_str())
        .env("PATH_INFO", head.uri.path())
        .env("QUERY_STRING", head.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type"))
        .env("CONTENT_LENGTH", body.len().to_string())
        .env("REMOTE_ADDR", "127.0.0.1");
    if gateway.v2 {
        backend.env("HTTP_GIT_PROTOCOL", header("git-protocol"));
    }
    let mut backend =
        backend.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("git is installed");
    backend.stdin.take().unwrap().write_all(body).unwrap();
    let output = backend.wait_with_output().unwrap().stdout;
    let end = output.windows(4).position(|window| window == b"\r\n\r\n").expect("a CGI response has a head");
    let mut response = Response::builder();
    for line in std::str::from_utf8(&output[..end]).unwrap().lines() {
        let (name, value) = line.split_once(": ").unwrap();
        response = match name {
            "Status" => response.status(value[..3].parse::<u16>().unwrap()),
            name => response.header(name, value),
        };
    }
    response.body(Body::from(output[end + 4..].to_vec())).unwrap()
}
