//! The requests of one user to the API server, from its audit log. IO: reads the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::report::Report;

/// The entries of one user in the log, from a position on.
pub(super) struct Audit {
    log: PathBuf,
    from: u64,
    user: &'static str,
}

/// A kind of request: verb, resource with subresource, HTTP status.
type Kind = (String, String, u16);

/// The number of requests of each kind.
#[derive(Debug, Default)]
pub(super) struct Requests(BTreeMap<Kind, u32>);

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Event {
    stage: String,
    verb: String,
    user: User,
    #[serde(default)]
    object_ref: Reference,
    #[serde(default)]
    response_status: Status,
}

#[derive(Deserialize)]
struct User {
    #[serde(default)]
    username: String,
}

#[derive(Default, Deserialize)]
struct Reference {
    #[serde(default)]
    resource: String,
    #[serde(default)]
    subresource: String,
}

#[derive(Default, Deserialize)]
struct Status {
    #[serde(default)]
    code: u16,
}

impl Audit {
    /// Requests of this user from now on.
    pub(super) fn from_now(log: &Path, user: &'static str) -> Result<Self> {
        let from = fs::metadata(log).with_context(|| format!("no audit log at {}", log.display()))?.len();
        Ok(Self { log: log.to_path_buf(), from, user })
    }

    /// Requests of this user since the cluster came up.
    pub(super) fn of_all(log: &Path, user: &'static str) -> Self {
        Self { log: log.to_path_buf(), from: 0, user }
    }

    /// The requests that the API server has responded to so far.
    pub(super) fn requests(&self) -> Result<Requests> {
        let mut found = BTreeMap::new();
        for event in self.events()?.into_iter().filter(|event| event.stage == "ResponseComplete") {
            let Reference { mut resource, subresource } = event.object_ref;
            if !subresource.is_empty() {
                resource = format!("{resource}/{subresource}");
            }
            *found.entry((event.verb, resource, event.response_status.code)).or_default() += 1;
        }
        Ok(Requests(found))
    }

    /// The resources that the user has begun to watch.
    pub(super) fn watched(&self) -> Result<BTreeSet<String>> {
        let begun = |event: &Event| event.stage == "ResponseStarted" && event.verb == "watch";
        Ok(self.events()?.into_iter().filter(begun).map(|event| event.object_ref.resource).collect())
    }

    fn events(&self) -> Result<Vec<Event>> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut found = Vec::new();
        for line in BufReader::new(file).split(b'\n') {
            // The API server may still be writing the last line.
            let event = serde_json::from_slice::<Event>(&line?).ok();
            found.extend(event.filter(|event| event.user.username == self.user));
        }
        Ok(found)
    }
}

impl Requests {
    /// The sum of both.
    pub(super) fn and(mut self, more: Self) -> Self {
        for (kind, count) in more.0 {
            *self.0.entry(kind).or_default() += count;
        }
        self
    }

    /// Number of requests that match.
    pub(super) fn count(&self, matches: impl Fn(&str, &str, u16) -> bool) -> u32 {
        self.0.iter().filter(|((verb, resource, code), _)| matches(verb, resource, *code)).map(|(_, count)| count).sum()
    }

    /// Number of writes, without those of the lease, which the leader always renews.
    pub(super) fn writes(&self) -> u32 {
        self.count(|verb, resource, _| !matches!(verb, "get" | "list" | "watch") && resource != "leases")
    }

    /// Reports the writes of each of `count` runs or trainings, of which it may need `most` without its events, and the
    /// requests that the API server refused.
    pub(super) fn report(&self, report: &mut Report, count: u32, each: &str, most: f64) {
        let events = self.count(|_, resource, _| resource == "events");
        report.at_most(format!("writes_per_{each}"), f64::from(self.writes() - events) / f64::from(count), "", most);
        report.measure(format!("events_per_{each}"), f64::from(events) / f64::from(count), "");
        // Replicas learn by conflicts that another one holds the lease.
        let refused = |conflict| self.count(|_, of, code| of != "leases" && code >= 400 && (code == 409) == conflict);
        report.at_most("conflicts", f64::from(refused(true)), "", 0.0);
        report.at_most("other_refusals", f64::from(refused(false)), "", 0.0);
        for (kind, number) in self.by_verb() {
            report.measure(format!("requests_{kind}"), f64::from(number), "");
        }
    }

    /// Number of requests by verb and resource.
    pub(super) fn by_verb(&self) -> BTreeMap<String, u32> {
        let mut by_verb = BTreeMap::new();
        for ((verb, resource, _), count) in &self.0 {
            *by_verb.entry(format!("{verb}_{}", resource.replace('/', "_"))).or_default() += count;
        }
        by_verb
    }
}
