//! ModelVersions, reduced to what decisions need, and which of them are kept. Pure.

use std::{collections::BTreeSet, sync::Arc};

use jiff::Timestamp;

use super::chain::Link;
use crate::api::{Condition, ModelTrainStatus, Outcome, Reason, RecordRef, ServedBy, SlotState, Verdict};

/// How many versions are kept besides the protected ones if the user sets no limit.
pub const DEFAULT_LIMIT: usize = 20;

/// A ModelVersion, without the fields that no decision needs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VersionRecord {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name, which is that of its run.
    pub name: Box<str>,
    /// Its uid.
    pub uid: Arc<str>,
    /// Its resourceVersion, the precondition of every write.
    pub resource_version: Box<str>,
    /// Name of its ModelTrain.
    pub train_name: Arc<str>,
    /// Uid of its ModelTrain.
    pub train_uid: Arc<str>,
    /// The training that it came from.
    pub attempt: i64,
    /// The candidate; empty for a training without candidates.
    pub candidate: Box<str>,
    /// Uid of its run; empty if the run was never seen.
    pub run_uid: Box<str>,
    /// How its run ended.
    pub outcome: Outcome,
    /// When its run ended.
    pub finished_at: Option<Timestamp>,
    /// The verdict of the gate.
    pub verdict: Verdict,
    /// Its metric of `spec.gate.best`.
    pub score: Option<Box<str>>,
    /// The digest that it states.
    pub digest: Box<str>,
    /// The record before it.
    pub previous: Option<Box<RecordRef>>,
    /// Whether its digest is that of its content and its name that of its run. A version that is not sound is ignored:
    /// it is neither accepted nor held.
    pub sound: bool,
    /// The conditions of its status.
    pub conditions: Box<[Condition]>,
    /// The decision about it: the reason of its condition Accepted.
    pub decision: Option<Reason>,
    /// The ModelSyncs that serve it.
    pub served_by: Box<[ServedBy]>,
    /// Whether it is being deleted.
    pub deleting: bool,
}

impl VersionRecord {
    /// Its place in the chain.
    pub fn link(&self) -> Link<'_> {
        Link { name: &self.name, digest: &self.digest, previous: self.previous.as_deref() }
    }

    /// The reference to it in the next record, or in `status.head`.
    pub fn reference(&self) -> RecordRef {
        RecordRef { name: self.name.to_string(), digest: self.digest.to_string() }
    }

    /// Whether a ModelSync serves it.
    pub const fn is_served(&self) -> bool {
        !self.served_by.is_empty()
    }
}

/// Names of the versions that are evidence for what is deployed: accepted, held, waiting for approval, or served.
/// Neither they nor their runs are deleted. `held` is the version that the hold annotation names.
pub fn evidence<'a>(
    versions: impl IntoIterator<Item = &'a VersionRecord>,
    status: &'a ModelTrainStatus,
    held: Option<&'a str>,
) -> BTreeSet<&'a str> {
    let served = versions.into_iter().filter(|version| version.is_served()).map(|version| &*version.name);
    let accepted = status.accepted_version.as_ref().map(|accepted| accepted.name.as_str());
    let pending = status.pending_approval.as_ref().map(|pending| pending.version.as_str());
    served.chain(accepted).chain(pending).chain(status.served_version.as_deref()).chain(held).collect()
}

/// Whether the records allow deleting a finished run of a ModelTrain: the run is recorded, so that nothing is lost with
/// it, and it is not evidence for what is deployed.
///
/// A training ends once each of its runs is recorded. The record itself may already be deleted: it has a limit of its
/// own.
pub fn run_may_be_deleted(run_name: &str, attempt: i64, status: &ModelTrainStatus, evidence: &BTreeSet<&str>) -> bool {
    let recorded = match &status.reservation {
        Some(open) if attempt >= open.attempt => {
            open.slots.iter().any(|slot| slot.run_name == run_name && slot.state == SlotState::Recorded)
        }
        _ => attempt <= status.attempt,
    };
    recorded && !evidence.contains(run_name)
}

/// The versions beyond `limit`, oldest first. Kept besides the limit are [`evidence`], the newest version (the head of
/// the chain, which the next record names), and the versions of a training that has not been decided.
///
/// `versions` are all of one ModelTrain uid. Those that are being deleted are neither counted nor returned.
pub fn surplus_versions<'a>(
    versions: impl IntoIterator<Item = &'a VersionRecord>,
    limit: usize,
    status: &ModelTrainStatus,
    evidence: &BTreeSet<&str>,
) -> Vec<&'a VersionRecord> {
    let head = status.head.as_ref().map(|head| head.name.as_str());
    let open = status.reservation.as_ref().map_or(i64::MAX, |reservation| reservation.attempt);
    let mut all: Vec<_> = versions.into_iter().filter(|version| !version.deleting).collect();
    // A total order, so that the result is unique.
    all.sort_by_key(|version| (version.attempt, &version.candidate, &version.name));
    let newest = all.last().map(|version| &*version.name);
    all.retain(|version| {
        let name = Some(&*version.name);
        !evidence.contains(&*version.name) && name != head && name != newest && version.attempt < open
    });
    all.truncate(all.len().saturating_sub(limit));
    all
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::api::{AcceptedVersion, PendingApproval, TrainReservation, TrainSlot};

    fn version(attempt: i64, candidate: &str, served: bool, deleting: bool) -> VersionRecord {
        let name = format!("m-{attempt}-{candidate}");
        VersionRecord {
            namespace: "ns".into(),
            uid: format!("uid-{name}").into(),
            run_uid: format!("run-{name}").into(),
            name: name.into(),
            resource_version: "1".into(),
            train_name: "m".into(),
            train_uid: "t".into(),
            attempt,
            candidate: candidate.into(),
            outcome: Outcome::Succeeded,
            finished_at: None,
            verdict: Verdict::Passed,
            score: None,
            digest: "v1:sha256:00".into(),
            previous: None,
            sound: true,
            conditions: Box::default(),
            decision: None,
            served_by: if served {
                Box::new([ServedBy { model_sync: "sync".into(), uid: "sync".into(), since: Timestamp::UNIX_EPOCH }])
            } else {
                Box::default()
            },
            deleting,
        }
    }

    fn status(accepted: &str, pending: &str, head: &str) -> ModelTrainStatus {
        ModelTrainStatus {
            accepted_version: Some(Box::new(AcceptedVersion {
                name: accepted.into(),
                metrics: Vec::new(),
                score: None,
                uri: String::new(),
                digest: String::new(),
                inputs: Vec::new(),
                trained_at: Timestamp::UNIX_EPOCH,
                accepted_at: Timestamp::UNIX_EPOCH,
            })),
            pending_approval: Some(PendingApproval { version: pending.into(), since: Timestamp::UNIX_EPOCH }),
            head: Some(RecordRef { name: head.into(), digest: String::new() }),
            ..ModelTrainStatus::default()
        }
    }

    #[test]
    fn accepted_held_served_waiting_and_newest_versions_are_kept_beyond_any_limit() {
        let versions: Vec<_> = (1..=8).map(|attempt| version(attempt, "a", attempt == 2, false)).collect();
        let status = status("m-1-a", "m-3-a", "m-8-a");
        let evidence = evidence(&versions, &status, Some("m-4-a"));
        let named: Vec<_> = surplus_versions(&versions, 0, &status, &evidence).iter().map(|v| &*v.name).collect();
        assert_eq!(named, ["m-5-a", "m-6-a", "m-7-a"], "oldest first");
        let named: Vec<_> = surplus_versions(&versions, 2, &status, &evidence).iter().map(|v| &*v.name).collect();
        assert_eq!(named, ["m-5-a"]);
    }

    #[test]
    fn unrecorded_runs_and_runs_of_evidence_are_kept() {
        let slot = |candidate: &str, state| TrainSlot {
            candidate: candidate.into(),
            api_version: "batch/v1".into(),
            kind: "Job".into(),
            run_name: format!("m-3-{candidate}"),
            parameters: BTreeMap::new(),
            state,
            nonce: String::new(),
            proofs: Vec::new(),
            not_after: None,
            create_failures: 0,
            refusal: None,
        };
        let reservation = TrainReservation {
            attempt: 3,
            generation: 1,
            target: String::new(),
            slots: vec![slot("a", SlotState::Recorded), slot("b", SlotState::Reserved)],
            inputs: Vec::new(),
            reasons: Vec::new(),
            trigger: None,
        };
        let status =
            ModelTrainStatus { attempt: 3, reservation: Some(Box::new(reservation)), ..ModelTrainStatus::default() };
        let versions = [version(2, "a", true, false)];
        let evidence = evidence(&versions, &status, None);
        for (run, attempt, may_go) in
            [("m-1-a", 1, true), ("m-2-a", 2, false), ("m-3-a", 3, true), ("m-3-b", 3, false), ("m-4-a", 4, false)]
        {
            assert_eq!(run_may_be_deleted(run, attempt, &status, &evidence), may_go, "{run}");
        }
    }

    proptest! {
        #[test]
        fn surplus_is_exactly_what_exceeds_the_limit(
            all in prop::collection::vec((1..20_i64, 0..4_usize, any::<bool>(), any::<bool>()), 0..40),
            limit in 0..8_usize, accepted in 0..40_usize, held in 0..40_usize,
        ) {
            let versions: Vec<_> = all.iter().map(|(n, c, served, deleting)| version(*n, ["", "a", "b", "c"][*c], *served, *deleting)).collect();
            let name = |at: usize| versions.get(at).map_or(String::new(), |version| version.name.to_string());
            let (status, held) = (status(&name(accepted), "", ""), name(held));
            let evidence = evidence(&versions, &status, Some(&held));
            let named = surplus_versions(&versions, limit, &status, &evidence);
            prop_assert!(named.iter().all(|v| !v.deleting && !evidence.contains(&*v.name)));
            prop_assert!(named.is_sorted_by_key(|v| v.attempt), "oldest first");
            let newest = versions.iter().filter(|v| !v.deleting).max_by_key(|v| (v.attempt, &v.candidate, &v.name));
            let unprotected = versions.iter()
                .filter(|v| !v.deleting && !evidence.contains(&*v.name) && newest.is_none_or(|newest| newest.name != v.name));
            prop_assert_eq!(named.len(), unprotected.clone().count().saturating_sub(limit));
            let last = named.last().map(|v| v.attempt);
            let remaining = unprotected.filter(|v| !named.iter().any(|named| std::ptr::eq(*named, *v)));
            prop_assert!(remaining.into_iter().all(|v| last.is_none_or(|last| last <= v.attempt)), "a kept one is older");
        }
    }
}
