//! What somebody asked of the API server, from the audit log. IO: reads the log.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::Deserialize;

use super::report::Report;

/// The log, from a moment on, for one user.
pub(super) struct Audit {
    log: PathBuf,
    from: u64,
    user: &'static str,
}

/// What requests have in common: verb, resource with subresource, HTTP status.
pub(super) type Request = (String, String, u16);

/// How many requests of each sort there were.
#[derive(Debug, Default)]
pub(super) struct Requests(BTreeMap<Request, u32>);

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

    /// Requests of this user since the cluster is up.
    pub(super) fn of_all(log: &Path, user: &'static str) -> Self {
        Self { log: log.to_path_buf(), from: 0, user }
    }

    /// The requests that were answered so far.
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

    /// The resources whose watch has begun.
    pub(super) fn watched(&self) -> Result<BTreeSet<String>> {
        let begun = |event: &Event| event.stage == "ResponseStarted" && event.verb == "watch";
        Ok(self.events()?.into_iter().filter(begun).map(|event| event.object_ref.resource).collect())
    }

    fn events(&self) -> Result<Vec<Event>> {
        let mut file = File::open(&self.log)?;
        file.seek(SeekFrom::Start(self.from))?;
        let mut found = Vec::new();
        for line in BufReader::new(file).split(b'\n') {
            // The last line may be half written.
            let event = serde_json::from_slice::<Event>(&line?).ok();
            found.extend(event.filter(|event| event.user.username == self.user));
        }
        Ok(found)
    }
}

impl Requests {
    /// Both together.
    pub(super) fn and(mut self, more: Self) -> Self {
        for (sort, count) in more.0 {
            *self.0.entry(sort).or_default() += count;
        }
        self
    }

    /// How many requests are of this sort.
    pub(super) fn count(&self, sort: impl Fn(&str, &str, u16) -> bool) -> u32 {
        self.0.iter().filter(|((verb, resource, code), _)| sort(verb, resource, *code)).map(|(_, count)| count).sum()
    }

    /// Writes but those of the lease, which is renewed whatever happens.
    pub(super) fn writes(&self) -> u32 {
        self.count(|verb, resource, _| !matches!(verb, "get" | "list" | "watch") && resource != "leases")
    }

    /// What each of `count` pieces of work cost, at most `most` writes beside its events; and that nothing was refused.
    pub(super) fn tell(&self, report: &mut Report, count: u32, each: &str, most: f64) {
        let events = self.count(|_, resource, _| resource == "events");
        report.at_most(format!("writes_per_{each}"), f64::from(self.writes() - events) / f64::from(count), "", most);
        report.measure(format!("events_per_{each}"), f64::from(events) / f64::from(count), "");
        // A conflict over the lease is how its holder is found out.
        let refused = |conflict| self.count(|_, of, code| of != "leases" && code >= 400 && (code == 409) == conflict);
        report.at_most("conflicts", f64::from(refused(true)), "", 0.0);
        report.at_most("other_refusals", f64::from(refused(false)), "", 0.0);
        for (sort, number) in self.by_verb() {
            report.measure(format!("requests_{sort}"), f64::from(number), "");
        }
    }

    /// Verb and resource with their number.
    pub(super) fn by_verb(&self) -> BTreeMap<String, u32> {
        let mut by_verb = BTreeMap::new();
        for ((verb, resource, _), count) in &self.0 {
            *by_verb.entry(format!("{verb}_{}", resource.replace('/', "_"))).or_default() += count;
        }
        by_verb
    }
}
