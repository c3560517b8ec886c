//! `modelsync verify`: proves the chains of records, of a cluster or of a file. IO: reads the API server or the file.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::Read as _,
    path::{Path, PathBuf},
};

use clap::{Args, ValueEnum};
use serde::Serialize;
use serde_json::Value;

use super::namespace::namespace;
use crate::{
    api::ModelTrainStatus,
    app,
    clock::Clock,
    core::version::chain::{self, Note, Problem, Record, Report},
    kube_io::{
        client::{CallError, Clients, Safeguards},
        versions::{Snapshot, Versions},
    },
    source::text::sanitise,
};

/// Longest text of one line that comes from an object.
const MAX_LINE: usize = 4096;

/// Flags of `modelsync verify`.
#[derive(Debug, Args)]
pub struct VerifyArgs {
    /// ModelTrains whose records are verified, including earlier ones of the same name. Without names: all.
    #[arg(value_name = "NAME")]
    pub names: Vec<String>,

    /// Namespace to read; default: that of KUBECONFIG's context, or the pod's own.
    #[arg(short, long, value_name = "NS", value_parser = namespace, conflicts_with = "all_namespaces")]
    pub namespace: Option<String>,

    /// Read every namespace.
    #[arg(short = 'A', long)]
    pub all_namespaces: bool,

    /// Read this file instead of a cluster: what `kubectl get modeltrains,modelversions -o json` wrote; `-` for standard
    /// input.
    #[arg(short, long, value_name = "FILE")]
    pub file: Option<PathBuf>,

    /// Form of the report.
    #[arg(short, long, value_name = "FORM", default_value = "text")]
    pub output: OutputFormat,
}

/// Form of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum OutputFormat {
    /// Lines for people.
    Text,
    /// One JSON object.
    Json,
}

/// Why there is no report.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// No API server is configured.
    #[error(transparent)]
    Config(#[from] app::Error),
    /// The API server's client could not be built.
    #[error("the API server's client could not be built: {0}")]
    Client(#[from] kube::Error),
    /// The request to the API server failed.
    #[error("ModelTrains and ModelVersions cannot be read: {0}")]
    Call(#[from] CallError),
    /// The file cannot be read.
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    /// The file has another content.
    #[error("{0}: is not what `kubectl get modeltrains,modelversions -o json` writes: {1}")]
    Form(String, String),
    /// There is neither a ModelTrain nor a record of this name.
    #[error("there is no ModelTrain {0}, and no record of one")]
    Nothing(String),
}

/// The result of the command.
#[derive(Debug)]
pub struct Verified {
    /// The text to print.
    pub text: String,
    /// Whether every chain is whole.
    pub whole: bool,
}

/// Reads the objects that the flags name and verifies them.
pub async fn run(args: &VerifyArgs) -> Result<Verified, VerifyError> {
    let snapshot = match &args.file {
        Some(file) => of_file(file, args.namespace.as_deref())?,
        None => of_cluster(args).await?,
    };
    let chains = examine(snapshot, &args.names)?;
    let whole = chains.iter().all(|chain| chain.report.problems.is_empty());
    let text = match args.output {
        OutputFormat::Text => text_report(&chains),
        OutputFormat::Json => format!("{:#}\n", as_json(&chains)),
    };
    Ok(Verified { text, whole })
}

async fn of_cluster(args: &VerifyArgs) -> Result<Snapshot, VerifyError> {
    let config = app::cluster_config().await?;
    let clients = Clients::new(&config, &Clock::system(), Safeguards::default())?;
    let namespace = args.namespace.clone().unwrap_or(config.default_namespace);
    Ok(Versions::new(clients).snapshot((!args.all_namespaces).then_some(&namespace)).await?)
}

fn of_file(path: &Path, namespace: Option<&str>) -> Result<Snapshot, VerifyError> {
    let shown = path.display().to_string();
    let mut text = String::new();
    let read = if shown == "-" {
        std::io::stdin().read_to_string(&mut text).map(drop)
    } else {
        std::fs::read_to_string(path).map(|read| text = read)
    };
    read.map_err(|error| VerifyError::File(shown.clone(), error))?;
    let mut snapshot = of_text(&text).map_err(|problem| VerifyError::Form(shown, problem))?;
    if let Some(namespace) = namespace {
        for objects in [&mut snapshot.trains, &mut snapshot.versions] {
            objects.retain(|object| member(object, "/metadata/namespace") == namespace);
        }
    }
    Ok(snapshot)
}

/// A List, or one object. Objects of other kinds are left out.
fn of_text(text: &str) -> Result<Snapshot, String> {
    let mut read: Value = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let objects = match read.get_mut("items").map(Value::take) {
        Some(Value::Array(items)) => items,
        Some(_) => return Err("its items are no list".to_owned()),
        None => vec![read],
    };
    let mut snapshot = Snapshot { trains: Vec::new(), versions: Vec::new() };
    for object in objects {
        match object["kind"].as_str() {
            Some("ModelTrain") => snapshot.trains.push(object),
            Some("ModelVersion") => snapshot.versions.push(object),
            Some(_) => {}
            None => return Err("an object without a kind".to_owned()),
        }
    }
    Ok(snapshot)
}

/// One chain, of a ModelTrain that exists or of one that was deleted.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Chain {
    namespace: String,
    train: String,
    uid: String,
    /// Whether its ModelTrain is gone.
    deleted: bool,
    #[serde(skip)]
    report: Report,
}

/// Namespace and uid of a ModelTrain.
type Key = (String, String);

#[derive(Default)]
struct FoundRecords {
    train: String,
    /// `None` where the ModelTrain is gone.
    status: Option<ModelTrainStatus>,
    records: Vec<Record>,
    unreadable: Vec<Problem>,
}

/// Verifies each chain. A deleted ModelTrain is known by its records.
fn examine(snapshot: Snapshot, names: &[String]) -> Result<Vec<Chain>, VerifyError> {
    let found = gather(snapshot);
    if let Some(name) = names.iter().find(|name| !found.values().any(|found| found.train == **name)) {
        return Err(VerifyError::Nothing(name.clone()));
    }
    let mut chains = Vec::new();
    for ((namespace, uid), of) in &found {
        if !names.is_empty() && !names.contains(&of.train) {
            continue;
        }
        let earlier = found
            .iter()
            .filter(|((other, another), found)| other == namespace && another != uid && found.train == of.train);
        let predecessors: Vec<_> = earlier.flat_map(|(_, found)| found.records.iter().cloned()).collect();
        let mut report = chain::verify(&of.records, of.status.as_ref(), &predecessors);
        report.problems.splice(0..0, of.unreadable.iter().cloned());
        chains.push(Chain {
            namespace: namespace.clone(),
            train: of.train.clone(),
            uid: uid.clone(),
            deleted: of.status.is_none(),
            report,
        });
    }
    chains.sort_by(|one, other| {
        let key = |chain: &Chain| (chain.namespace.clone(), chain.train.clone(), chain.deleted, chain.uid.clone());
        key(one).cmp(&key(other))
    });
    Ok(chains)
}

/// The status and the records of each ModelTrain, by its uid.
fn gather(snapshot: Snapshot) -> BTreeMap<Key, FoundRecords> {
    let mut found: BTreeMap<Key, FoundRecords> = BTreeMap::new();
    for mut train in snapshot.trains {
        let key = (member(&train, "/metadata/namespace"), member(&train, "/metadata/uid"));
        let of = found.entry(key).or_default();
        of.train = member(&train, "/metadata/name");
        let status = train.get_mut("status").map(Value::take).filter(|status| !status.is_null());
        of.status = Some(match status.map(serde_json::from_value).transpose() {
            Ok(status) => status.unwrap_or_default(),
            Err(error) => {
                of.unreadable.push(Problem::Unreadable { record: "status".to_owned(), error: error.to_string() });
                ModelTrainStatus::default()
            }
        });
    }
    for mut version in snapshot.versions {
        let key = (member(&version, "/metadata/namespace"), member(&version, "/spec/trainRef/uid"));
        let (name, train) = (member(&version, "/metadata/name"), member(&version, "/spec/trainRef/name"));
        let of = found.entry(key).or_default();
        if of.status.is_none() {
            of.train = train;
        }
        match Record::read(name.clone(), version["spec"].take()) {
            Ok(record) => of.records.push(record),
            Err(error) => of.unreadable.push(Problem::Unreadable { record: name, error: error.to_string() }),
        }
    }
    found
}

fn member(object: &Value, pointer: &str) -> String {
    object.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned()
}

/// One line for each chain, one for each of its problems and notes, and one for the total.
fn text_report(chains: &[Chain]) -> String {
    let mut words = String::new();
    // A file may contain anything, and this text goes to a terminal.
    let mut line = |indent: &str, text: String| {
        let _ = writeln!(words, "{indent}{}", sanitise(&text, MAX_LINE));
    };
    for Chain { namespace, train, uid, deleted, report } in chains {
        let verdict = match report.problems.len() {
            0 => "ok".to_owned(),
            1 => "1 problem".to_owned(),
            n => format!("{n} problems"),
        };
        let gone = if *deleted { format!(" (deleted, uid {uid})") } else { String::new() };
        let bridged = if report.removed > 0 { format!(", {} removed", report.removed) } else { String::new() };
        let head = report.head.as_ref().map(|head| format!(", newest {} {}", head.name, head.digest));
        let head = head.unwrap_or_default();
        line("", format!("{namespace}/{train}{gone}: {verdict}: {} records{bridged}{head}", report.records));
        report.problems.iter().for_each(|problem| line("  ", format!("problem: {problem}")));
        report.notes.iter().for_each(|note| line("  ", format!("note: {note}")));
    }
    let problems: usize = chains.iter().map(|chain| chain.report.problems.len()).sum();
    let records: usize = chains.iter().map(|chain| chain.report.records).sum();
    line("", format!("{} chains, {records} records, {problems} problems", chains.len()));
    words
}

fn as_json(chains: &[Chain]) -> Value {
    #[derive(Serialize)]
    struct Described<'a, T> {
        #[serde(flatten)]
        what: &'a T,
        message: String,
    }
    #[derive(Serialize)]
    struct ChainReport<'a> {
        #[serde(flatten)]
        chain: &'a Chain,
        records: usize,
        removed: usize,
        newest: &'a Option<crate::api::RecordRef>,
        problems: Vec<Described<'a, Problem>>,
        notes: Vec<Described<'a, Note>>,
    }
    let all: Vec<_> = chains
        .iter()
        .map(|chain| {
            let Report { records, removed, head, problems, notes } = &chain.report;
            ChainReport {
                chain,
                records: *records,
                removed: *removed,
                newest: head,
                problems: problems.iter().map(|what| Described { what, message: what.to_string() }).collect(),
                notes: notes.iter().map(|what| Described { what, message: what.to_string() }).collect(),
            }
        })
        .collect();
    let whole = chains.iter().all(|chain| chain.report.problems.is_empty());
    serde_json::json!({ "whole": whole, "chains": all })
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use serde_json::json;

    use super::*;
    use crate::cli::{Cli, Command};
    use crate::{
        api::{ModelVersionSpec, RecordRef},
        core::version::chain::{next_record, reference},
    };

    fn parse(flags: &[&str]) -> Result<VerifyArgs, String> {
        match Cli::try_parse_from(["modelsync", "verify"].iter().chain(flags))
            .map_err(|error| error.to_string())?
            .command
        {
            Command::Verify(args) => Ok(args),
            other => Err(format!("{other:?}")),
        }
    }

    /// Records of a ModelTrain `name` with this uid, and the reference of the newest.
    fn records(name: &str, uid: &str, count: i64) -> (Vec<Value>, Option<RecordRef>) {
        let (mut objects, mut head) = (Vec::new(), None);
        for attempt in 1..=count {
            let spec: ModelVersionSpec = serde_json::from_value(json!({
                "trainRef": { "name": name, "uid": uid }, "attempt": attempt,
                "run": { "apiVersion": "batch/v1", "kind": "Job", "name": format!("{name}-{uid}-{attempt}"),
                         "uid": "u", "outcome": "Failed" },
                "gate": { "verdict": "NotJudged" }, "digest": "",
            }))
            .unwrap();
            let spec = next_record(spec, head.as_ref());
            head = Some(reference(&spec));
            objects.push(json!({ "kind": "ModelVersion", "metadata": { "namespace": "ns", "name": spec.run.name },
                "spec": spec }));
        }
        (objects, head)
    }

    fn train(name: &str, uid: &str, status: &Value) -> Value {
        json!({ "kind": "ModelTrain", "metadata": { "namespace": "ns", "name": name, "uid": uid }, "status": status })
    }

    fn chains(objects: &[Value], names: &[&str]) -> Result<Vec<Chain>, String> {
        let names: Vec<_> = names.iter().map(ToString::to_string).collect();
        let snapshot = of_text(&json!({ "kind": "List", "items": objects }).to_string())?;
        examine(snapshot, &names).map_err(|unread| unread.to_string())
    }

    fn words(objects: &[Value]) -> String {
        text_report(&chains(objects, &[]).unwrap())
    }

    #[test]
    fn reports_each_train_the_records_of_deleted_ones_and_each_problem() {
        let (mut objects, head) = records("a", "1", 3);
        objects.extend(records("a", "0", 2).0);
        objects.push(train("a", "1", &json!({ "head": head })));
        objects.push(train("b", "2", &Value::Null));
        objects.push(json!({ "kind": "ConfigMap" }));
        let whole = words(&objects);
        assert!(whole.starts_with("ns/a: ok: 3 records, newest a-1-3 v1:sha256:"), "{whole}");
        assert!(whole.contains("\nns/a (deleted, uid 0): ok: 2 records, newest a-0-2 v1:"), "{whole}");
        assert!(whole.ends_with("\nns/b: ok: 0 records\n3 chains, 5 records, 0 problems\n"), "{whole}");
        objects[1]["spec"]["run"]["outcome"] = json!("Succeeded");
        objects[3]["spec"]["attempt"] = json!("many");
        let changed = words(&objects);
        for line in [
            "\nns/a (deleted, uid 0): 1 problem: 1 records",
            "\n  problem: a-1-2: states digest v1:sha256:",
            "\n  problem: a-0-1: cannot be read (",
            "\n3 chains, 4 records, 2 problems\n",
        ] {
            assert!(changed.contains(line), "{line}: {changed}");
        }
    }

    #[test]
    fn a_name_limits_the_report_to_one_train_and_must_exist() {
        let (mut objects, head) = records("a", "1", 1);
        objects.push(train("a", "1", &json!({ "head": head })));
        objects.extend(records("gone", "9", 1).0);
        let names = |found: Vec<Chain>| found.into_iter().map(|chain| chain.train).collect::<Vec<_>>();
        assert_eq!(names(chains(&objects, &[]).unwrap()), ["a", "gone"]);
        assert_eq!(names(chains(&objects, &["gone"]).unwrap()), ["gone"]);
        assert_eq!(chains(&objects, &["b"]).unwrap_err(), "there is no ModelTrain b, and no record of one");
    }

    #[test]
    fn json_has_the_type_the_record_and_the_message_of_each_problem() {
        let (mut objects, head) = records("a", "1", 2);
        objects.push(train("a", "1", &json!({ "head": head })));
        objects.remove(0);
        let report = as_json(&chains(&objects, &[]).unwrap());
        assert_eq!(report["whole"], false);
        let problem = &report["chains"][0]["problems"][0];
        assert_eq!(
            (&problem["type"], &problem["record"], &problem["namedBy"]),
            (&json!("Missing"), &json!("a-1-1"), &json!("a-1-2"))
        );
        assert!(problem["message"].as_str().unwrap().contains("it was deleted"), "{problem}");
        assert_eq!(report["chains"][0]["newest"]["name"], "a-1-2");
    }

    #[test]
    fn file_with_another_content_is_not_reported_as_a_broken_chain() {
        for (text, expected) in [
            ("not JSON", "expected ident"),
            (r#"{"items":{}}"#, "its items are no list"),
            (r#"{"items":[{"metadata":{}}]}"#, "an object without a kind"),
            ("{}", "an object without a kind"),
        ] {
            let error = of_text(text).unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert_eq!(of_text(r#"{"kind":"ModelTrain"}"#).unwrap().trains.len(), 1);
        let status = train("a", "1", &json!({ "head": 7 }));
        assert!(words(&[status]).contains("problem: status: cannot be read"), "an unreadable status is reported");
    }

    #[test]
    fn text_of_a_file_cannot_steer_the_terminal() {
        let shown = words(&[train("a\u{1b}[2J\nns/b: ok", "1", &Value::Null)]);
        assert!(!shown.contains('\u{1b}') && shown.lines().count() == 2, "{shown:?}");
    }

    #[test]
    fn takes_every_documented_flag() {
        let args = parse(&["-n", "ns", "-o", "json", "-f", "x", "a", "b"]).unwrap();
        assert_eq!((args.names.len(), args.output, args.namespace.as_deref()), (2, OutputFormat::Json, Some("ns")));
        assert!(parse(&["--all-namespaces", "--file=-", "--output", "text"]).unwrap().all_namespaces);
        for flags in [&["-A", "-n", "ns"][..], &["-o", "yaml"], &["-n", "A_b"]] {
            parse(flags).unwrap_err();
        }
    }
}
