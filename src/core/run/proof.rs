//! Proves that a run was created for a claim. Pure.
//!
//! Many users can read status and runs, and the name of the next run can be computed from them. So neither the name nor the
//! labels show who created a run. Each claim has a secret: the run carries it, and status holds its digest, the *proof*. Only
//! the process that made the claim can derive the secret before the run exists. Afterwards the name of the run is taken.

use std::fmt;

use sha2::{Digest, Sha256};

use super::{backend::RunRecord, digest::hex};
use crate::api::RunSlot;

/// Bytes of a secret and of a proof. A digest of this length cannot be reversed, and status stays small.
const LENGTH: usize = 16;
/// Most proofs that a claim keeps. Without the fence, another process may claim the same run again while the request of the
/// claim before is in flight. A request of the claim before that one has ended: each claim waits for longer than any request
/// lasts.
const MOST: usize = 2;

/// Derives the secrets of the claims of this process. `Debug` does not show it, and nothing stores it.
#[derive(Clone)]
pub struct ClaimKey([u8; 32]);

impl ClaimKey {
    /// A key of these random bytes.
    pub const fn new(random: [u8; 32]) -> Self {
        Self(random)
    }

    /// The secret of a run: of the claim with this nonce, which no other claim has, on this name. The claims of several
    /// candidates may share a nonce.
    pub fn secret(&self, nonce: &str, run_name: &str) -> String {
        short(Sha256::new_with_prefix(self.0).chain_update(nonce).chain_update([0]).chain_update(run_name))
    }

    /// The proofs of a claim made now. `earlier` are those of the claim before it on the same run.
    pub fn proofs(&self, nonce: &str, run_name: &str, earlier: &[String]) -> Vec<String> {
        let own = proof(&self.secret(nonce, run_name));
        let others = earlier.iter().filter(|other| **other != own).cloned().collect::<Vec<_>>();
        std::iter::once(own).chain(others).take(MOST).collect()
    }
}

impl fmt::Debug for ClaimKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClaimKey(…)")
    }
}

/// The proof of a secret: what status holds of it.
pub fn proof(secret: &str) -> String {
    short(Sha256::new_with_prefix(secret))
}

fn short(digest: Sha256) -> String {
    hex(&digest.finalize()[..LENGTH])
}

/// Whether a run was created for the claim on `run_name` with these proofs. A claim of a release that wrote no proofs takes
/// every run of the name.
pub fn proves(run: &RunRecord, run_name: &str, proofs: &[String]) -> bool {
    run.name == run_name && (proofs.is_empty() || proofs.contains(&run.proof))
}

/// Whether a run that names the object as its own counts as its own.
///
/// Every user who may create runs can set a label. So a run that only its label assigns to the object counts only if the
/// object makes such runs (`owned` is false, or unknown because the spec is invalid), or if it was created for an open claim:
/// the deletion policy may have changed since.
pub fn counts<'a>(
    run: &RunRecord,
    owned: Option<bool>,
    slots: impl IntoIterator<Item = (&'a str, &'a [String])>,
) -> bool {
    run.controlled || owned != Some(true) || slots.into_iter().any(|(name, proofs)| proves(run, name, proofs))
}

/// Whether a run was created for the claim on this slot.
pub fn is_run_of(run: &RunRecord, slot: &RunSlot) -> bool {
    proves(run, &slot.run_name, &slot.proofs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::run::backend::{Observed, Phase, RunKind};

    fn run(name: &str, secret: &str, controlled: bool) -> RunRecord {
        RunRecord {
            kind: RunKind { group: "batch", version: "v1", kind: "Job", plural: "jobs" },
            namespace: "team".into(),
            name: name.into(),
            uid: "run".into(),
            resource_version: "1".into(),
            owner_uid: "object".into(),
            controlled,
            owner_kind: "ModelSync".into(),
            owner_name: "churn".into(),
            proof: proof(secret),
            attempt: 1,
            target: String::new(),
            deleting: false,
            created_at: None,
            stopped: None,
            observed: Observed { phase: Phase::Active, started_at: None, idle: false },
        }
    }

    #[test]
    fn only_the_run_with_the_secret_and_the_name_proves_a_claim() {
        let key = ClaimKey::new([1; 32]);
        let proofs = key.proofs("n", "churn-1", &[]);
        let secret = key.secret("n", "churn-1");
        assert!(proves(&run("churn-1", &secret, true), "churn-1", &proofs));
        assert!(!proves(&run("churn-2", &secret, true), "churn-1", &proofs), "a copy under another name");
        for forged in [
            String::new(),
            proofs[0].clone(),
            key.secret("n", "churn-2"),
            key.secret("m", "churn-1"),
            ClaimKey::new([2; 32]).secret("n", "churn-1"),
        ] {
            assert!(!proves(&run("churn-1", &forged, true), "churn-1", &proofs), "{forged}");
        }
    }

    #[test]
    fn a_claim_keeps_the_proof_of_the_claim_before_and_no_more() {
        let claims = [1, 1, 2, 3].map(|process| ClaimKey::new([process; 32]));
        let made = claims.iter().scan(Vec::new(), |proofs, key| {
            *proofs = key.proofs("n", "churn-1", proofs);
            Some(proofs.clone())
        });
        let of = |process: u8| proof(&ClaimKey::new([process; 32]).secret("n", "churn-1"));
        assert_eq!(made.collect::<Vec<_>>(), [vec![of(1)], vec![of(1)], vec![of(2), of(1)], vec![of(3), of(2)]]);
    }

    #[test]
    fn a_run_with_a_label_alone_counts_only_where_the_object_makes_such_runs() {
        let (key, none) = (ClaimKey::new([1; 32]), None::<(&str, &[String])>);
        let proofs = key.proofs("n", "churn-1", &[]);
        let claimed = run("churn-1", &key.secret("n", "churn-1"), false);
        for (run, owned, open, expected) in [
            (&run("x", "", true), Some(true), none, true),
            (&run("x", "", false), Some(true), none, false),
            (&run("x", "", false), Some(false), none, true),
            (&run("x", "", false), None, none, true),
            (&claimed, Some(true), none, false),
            (&claimed, Some(true), Some(("churn-1", &*proofs)), true),
            (&run("churn-1", "", false), Some(true), Some(("churn-1", &*proofs)), false),
        ] {
            assert_eq!(counts(run, owned, open), expected, "{} {owned:?} {open:?}", run.name);
        }
    }

    #[test]
    fn debug_output_does_not_show_the_key() {
        assert_eq!(format!("{:?}", ClaimKey::new([7; 32])), "ClaimKey(…)");
    }
}
