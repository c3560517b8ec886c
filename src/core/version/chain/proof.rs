//! The proof of a chain: that nothing was changed, removed, inserted or exchanged since it was written. Pure.

use std::collections::{HashMap, HashSet};

use serde::Serialize;

use super::{Note, Problem, Record};
use crate::api::{AcceptedVersion, ModelTrainStatus, RecordRef, RemovedRecord, Verdict};

/// The field that names the newest record.
const HEAD: &str = "status.head";

/// The result of the proof of one chain.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// How many records there are.
    pub records: usize,
    /// How many entries bridge removed records.
    pub removed: usize,
    /// The newest record. A copy of it can prove later that the chain was not rewritten as a whole.
    pub head: Option<RecordRef>,
    /// The problems.
    pub problems: Vec<Problem>,
    /// Facts that are worth knowing but are not problems.
    pub notes: Vec<Note>,
}

/// Proves the chain of one ModelTrain uid. `records` are all records of that uid, in any order.
///
/// With a status, it proves that each record is as it was written; that from `status.head` back to the first, every
/// record exists or is bridged by `status.removed`; that there is no other record, except one that is written and not
/// yet committed; and that the accepted version is one of them, or one of `predecessors`: records of earlier
/// ModelTrains of the same name.
///
/// Without a status, because the ModelTrain was deleted, it proves that each record is as it was written, and that no
/// two follow the same one.
pub fn verify(records: &[Record], status: Option<&ModelTrainStatus>, predecessors: &[Record]) -> Report {
    let removed = status.map_or(&[][..], |status| &status.removed);
    let mut proof = Proof::new(records, removed, status.is_none());
    proof.each_record();
    let mut head = status.and_then(|status| status.head.clone());
    match (&head, status) {
        (Some(head), _) => proof.follow(HEAD, Some(head)),
        // The very first record may be written and not yet committed.
        (None, Some(_)) if records.len() > 1 || !removed.is_empty() => {
            proof.problems.push(Problem::NoHead { records: records.len() });
            proof.broken = true;
        }
        (None, Some(_)) => {}
        (None, None) => proof.broken = true,
    }
    if status.is_some() && !(proof.broken && head.is_none()) {
        proof.uncommitted(head.as_ref());
    }
    proof.forks();
    if proof.broken {
        let tops = proof.segments(status.is_some());
        head = head.or(tops);
    }
    proof.leftovers();
    if let Some(accepted) = status.and_then(|status| status.accepted_version.as_ref()) {
        proof.accepted(accepted, predecessors);
    }
    Report { records: records.len(), removed: removed.len(), head, problems: proof.problems, notes: proof.notes }
}

/// A record, or the entry of a removed one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum ChainNode {
    Record(usize),
    Removed(usize),
}

/// The state of a proof.
struct Proof<'a> {
    records: &'a [Record],
    removed: &'a [RemovedRecord],
    by_name: HashMap<&'a str, ChainNode>,
    by_digest: HashMap<&'a str, ChainNode>,
    /// Entries of records that still exist.
    noted: HashMap<&'a str, usize>,
    /// Nodes that were reached.
    seen: HashSet<ChainNode>,
    /// Whether a missing record is only noted: without a status, the history limit may have removed it.
    lenient: bool,
    /// Whether the path from the head ended before the first record.
    broken: bool,
    problems: Vec<Problem>,
    notes: Vec<Note>,
}

impl<'a> Proof<'a> {
    fn new(records: &'a [Record], removed: &'a [RemovedRecord], lenient: bool) -> Self {
        let (mut by_name, mut by_digest, mut noted) = (HashMap::new(), HashMap::new(), HashMap::new());
        for (at, entry) in removed.iter().enumerate() {
            noted.insert(entry.name.as_str(), at);
            by_name.insert(entry.name.as_str(), ChainNode::Removed(at));
            by_digest.insert(entry.digest.as_str(), ChainNode::Removed(at));
        }
        for (at, record) in records.iter().enumerate() {
            by_name.insert(&record.name, ChainNode::Record(at));
            by_digest.insert(&record.content, ChainNode::Record(at));
        }
        noted.retain(|name, _| matches!(by_name.get(name), Some(ChainNode::Record(_))));
        Self {
            records,
            removed,
            by_name,
            by_digest,
            noted,
            seen: HashSet::new(),
            lenient,
            broken: false,
            problems: Vec::new(),
            notes: Vec::new(),
        }
    }

    fn name(&self, node: ChainNode) -> &'a str {
        match node {
            ChainNode::Record(at) => &self.records[at].name,
            ChainNode::Removed(at) => &self.removed[at].name,
        }
    }

    /// The record before it. A merged entry bridges more than its record does, so an entry takes precedence.
    fn previous(&self, node: ChainNode) -> Option<&'a RecordRef> {
        match node {
            ChainNode::Record(at) => match self.noted.get(self.records[at].name.as_str()) {
                Some(entry) => self.removed[*entry].previous.as_ref(),
                None => self.records[at].spec.previous.as_ref(),
            },
            ChainNode::Removed(at) => self.removed[at].previous.as_ref(),
        }
    }

    /// Whether the reference means this node.
    fn is(&self, node: ChainNode, meant: &RecordRef) -> bool {
        let digest = match node {
            ChainNode::Record(at) => {
                let record = &self.records[at];
                // The stated digest counts, too, so that a changed record is reported once only, as `WrongDigest`.
                record.content == meant.digest || record.spec.digest == meant.digest
            }
            ChainNode::Removed(at) => self.removed[at].digest == meant.digest,
        };
        digest && self.name(node) == meant.name
    }

    /// Every node that was not reached, in the order of the input.
    fn unseen(&self) -> Vec<ChainNode> {
        let records = (0..self.records.len()).map(ChainNode::Record);
        // The entry of a record that still exists counts with its record.
        let entries = (0..self.removed.len())
            .filter(|at| !self.noted.contains_key(self.removed[*at].name.as_str()))
            .map(ChainNode::Removed);
        records.chain(entries).filter(|node| !self.seen.contains(node)).collect()
    }

    /// Checks each record by itself.
    fn each_record(&mut self) {
        for record in self.records {
            let Record { name, spec, content } = record;
            if spec.digest != *content {
                let (stated, content) = (spec.digest.clone(), content.clone());
                self.problems.push(Problem::WrongDigest { record: name.clone(), stated, content });
            }
            if spec.run.name != *name {
                self.problems.push(Problem::WrongName { record: name.clone(), run: spec.run.name.clone() });
            }
            if let Some(entry) = self.noted.get(name.as_str()) {
                let expected = RecordRef { name: name.clone(), digest: self.removed[*entry].digest.clone() };
                if expected.digest != *content {
                    let named_by = "status.removed".to_owned();
                    self.problems.push(Problem::Replaced { record: name.clone(), named_by, expected });
                }
                self.notes.push(Note::BeingRemoved { record: name.clone() });
            }
        }
    }

    /// Follows the links as far as they lead.
    fn follow(&mut self, named_by: &str, first: Option<&RecordRef>) {
        let (mut named_by, mut link) = (named_by.to_owned(), first.cloned());
        let (mut least_attempt, mut entry_after) = (i64::MAX, usize::MAX);
        while let Some(meant) = link {
            let found = self.by_name.get(meant.name.as_str()).or_else(|| self.by_digest.get(meant.digest.as_str()));
            let Some(node) = found.copied() else {
                self.broken = true;
                let (record, missing) = (named_by.clone(), meant.name.clone());
                if self.lenient {
                    self.notes.push(Note::Gap { record, missing });
                } else {
                    self.problems.push(Problem::Missing { record: missing, named_by });
                }
                return;
            };
            let name = self.name(node).to_owned();
            if !self.is(node, &meant) {
                self.problems.push(Problem::Replaced { record: name.clone(), named_by, expected: meant });
            }
            if !self.seen.insert(node) {
                self.problems.push(Problem::Circle { record: name });
                self.broken = true;
                return;
            }
            if let ChainNode::Record(at) = node {
                let attempt = self.records[at].spec.attempt;
                if attempt > least_attempt {
                    self.problems.push(Problem::OutOfOrder { record: name.clone(), attempt });
                }
                least_attempt = attempt;
            }
            let entry = match node {
                ChainNode::Record(_) => self.noted.get(name.as_str()).copied(),
                ChainNode::Removed(at) => Some(at),
            };
            if let Some(at) = entry {
                if at >= entry_after {
                    self.problems.push(Problem::RemovedMisplaced { record: name.clone() });
                }
                entry_after = at;
            }
            (named_by, link) = (name, self.previous(node).cloned());
        }
    }

    /// Accepts one record right after the head: it is written, and its ModelTrain's status not yet.
    fn uncommitted(&mut self, head: Option<&RecordRef>) {
        let after_head: Vec<_> = self
            .unseen()
            .into_iter()
            .filter(|node| matches!(node, ChainNode::Record(_)) && self.previous(*node) == head)
            .collect();
        if let [node] = after_head[..] {
            self.seen.insert(node);
            self.notes.push(Note::Uncommitted { record: self.name(node).to_owned() });
        }
    }

    /// Finds the records that follow the same record as another.
    fn forks(&mut self) {
        let mut followed: HashMap<Option<&str>, ChainNode> = HashMap::new();
        let after = |proof: &Self, node| proof.previous(node).map(|link| link.digest.as_str());
        let seen: Vec<_> = self.seen.iter().copied().collect();
        followed.extend(seen.into_iter().map(|node| (after(self, node), node)));
        for node in self.unseen() {
            let ChainNode::Record(_) = node else { continue };
            if followed.insert(after(self, node), node).is_none() {
                continue;
            }
            self.seen.insert(node);
            let after = self.previous(node).map_or_else(String::new, |link| link.name.clone());
            self.problems.push(Problem::Fork { record: self.name(node).to_owned(), after });
        }
    }

    /// Follows each segment that the broken path from the head did not reach. Returns the newest record of all
    /// segments.
    fn segments(&mut self, severed: bool) -> Option<RecordRef> {
        let unseen = self.unseen();
        let named: HashSet<_> =
            unseen.iter().filter_map(|node| self.previous(*node)).map(|link| link.name.as_str()).collect();
        let mut tops: Vec<_> = unseen.into_iter().filter(|node| !named.contains(self.name(*node))).collect();
        let attempt = |node: &ChainNode| match node {
            ChainNode::Record(at) => self.records[*at].spec.attempt,
            ChainNode::Removed(_) => 0,
        };
        tops.sort_by_key(|node| std::cmp::Reverse(attempt(node)));
        let newest = tops.iter().find_map(|node| match node {
            ChainNode::Record(at) => Some(super::reference(&self.records[*at].spec)),
            ChainNode::Removed(_) => None,
        });
        for top in tops {
            let (before, record) = (self.seen.len(), self.name(top).to_owned());
            self.seen.insert(top);
            self.follow(&record, self.previous(top));
            if severed {
                self.notes.push(Note::Severed { record, records: self.seen.len() - before });
            }
        }
        newest
    }

    /// Reports the nodes that are not linked to the chain.
    fn leftovers(&mut self) {
        for node in self.unseen() {
            let record = self.name(node).to_owned();
            self.problems.push(match node {
                ChainNode::Record(_) => Problem::Outside { record },
                ChainNode::Removed(_) => Problem::RemovedMisplaced { record },
            });
        }
    }

    /// Compares the accepted version in the ModelTrain's status with its record.
    fn accepted(&mut self, accepted: &AcceptedVersion, predecessors: &[Record]) {
        let loose: Vec<_> = self
            .problems
            .iter()
            .filter_map(|problem| match problem {
                Problem::Outside { record } | Problem::Fork { record, .. } => Some(record.as_str()),
                _ => None,
            })
            .chain(self.notes.iter().filter_map(|note| match note {
                Note::Uncommitted { record } => Some(record.as_str()),
                _ => None,
            }))
            .collect();
        let own = self.records.iter().find(|record| record.name == accepted.name && !loose.contains(&&*record.name));
        let earlier = || predecessors.iter().find(|record| record.name == accepted.name && record.is_sound());
        let record = accepted.name.clone();
        let Some(found) = own.or_else(earlier) else {
            self.problems.push(Problem::AcceptedMissing { record });
            return;
        };
        let spec = &found.spec;
        if !matches!(spec.gate.verdict, Verdict::Passed | Verdict::Inconclusive | Verdict::MetricsUnavailable) {
            let (record, verdict) = (record.clone(), spec.gate.verdict.as_str());
            self.problems.push(Problem::AcceptedUnfit { record, verdict });
        }
        let artifact = spec.artifact.clone().unwrap_or_default();
        // The gate may have named another metric when the version was judged.
        let score = accepted.score.is_none()
            || accepted.score == spec.gate.score
            || spec.metrics.iter().any(|metric| metric.value == accepted.score);
        // If the run states no end, the status has the time of acceptance, which the record cannot confirm.
        let trained_at = spec.run.finished_at.is_none_or(|finished| finished == accepted.trained_at);
        for (field, same) in [
            ("metrics", accepted.metrics == spec.metrics),
            ("score", score),
            ("uri", accepted.uri == artifact.uri),
            ("digest", accepted.digest == artifact.digest),
            ("inputs", accepted.inputs == spec.inputs),
            ("trainedAt", trained_at),
        ] {
            if !same {
                self.problems.push(Problem::AcceptedDiffers { record: record.clone(), field });
            }
        }
    }
}
