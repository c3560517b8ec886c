//! Requests of one user to the API server, from its audit log. IO: reads the log.

use std::{
    fs::File,
    io::{BufRead, BufReader, Seek, SeekFrom},
    path::PathBuf,
};

use serde_json::Value;

use super::cluster::repository;

/// One request that got its response.
#[derive(Clone, Debug)]
pub struct Request {
    pub verb: String,
    /// Plural, with the subresource, as in `modelsyncs/status`.
    pub resource: String,
    pub code: u64,
}

/// The entries of one user in the audit log from a moment on.
pub struct Audit {
    path: PathBuf,
    from: u64,
    user: String,
}

impl Audit {
    /// The audit log of this user from now on.
    pub fn of(user: String) -> Self {
        let path = std::env::var_os("MODELSYNC_TEST_AUDIT_LOG")
            .map_or_else(|| repository().join("target/cluster/default/log/audit.log"), PathBuf::from);
        let from = std::fs::metadata(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())).len();
        Self { path, from, user }
    }

    /// All entries of this user so far, one JSON object in each line.
    pub fn text(&self) -> String {
        self.events().iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
    }

    fn events(&self) -> Vec<Value> {
        let mut file = File::open(&self.path).unwrap();
        file.seek(SeekFrom::Start(self.from)).unwrap();
        let lines = BufReader::new(file).split(b'\n').map_while(Result::ok);
        let events = lines.filter_map(|line| serde_json::from_slice::<Value>(&line).ok());
        events.filter(|event| event["user"]["username"] == self.user.as_str()).collect()
    }

    /// The completed requests so far. A watch is among them only once it has ended.
    pub fn requests(&self) -> Vec<Request> {
        let events = self.events();
        let ours = events.iter().filter(|event| event["stage"] == "ResponseComplete");
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        ours.map(|event| {
            let reference = &event["objectRef"];
            let subresource = text(&reference["subresource"]);
            let resource = text(&reference["resource"]);
            Request {
                verb: text(&event["verb"]),
                resource: if subresource.is_empty() { resource } else { format!("{resource}/{subresource}") },
                code: event["responseStatus"]["code"].as_u64().unwrap_or(0),
            }
        })
        .collect()
    }

    /// The writes so far, without those of events and leases.
    pub fn writes(&self) -> Vec<Request> {
        let reading = ["get", "list", "watch"];
        self.requests()
            .into_iter()
            .filter(|request| {
                !reading.contains(&request.verb.as_str()) && !["events", "leases"].contains(&request.resource.as_str())
            })
            .collect()
    }
}
