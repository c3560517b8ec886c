//! Names of runs: deterministic, so that the name is the lock. Pure.

use sha2::{Digest, Sha256};

use super::digest::hex;

/// Longest name of a run: it becomes a label value, and the prefix of pod names.
pub const MAX_LENGTH: usize = 63;
/// Longest part of a run's name that is taken from its object's name.
const MAX_PREFIX: usize = 20;
/// Largest attempt: eight digits.
pub const MAX_ATTEMPT: i64 = 99_999_999;

/// `<prefix ≤ 20>-<16 hex of SHA-256(uid)>-<attempt>`: a DNS label of at most 63 characters, the same for the same
/// object and attempt, different for any other.
///
/// The prefix is for the reader only. Uniqueness comes from the uid's digest and the attempt, which no prefix can
/// imitate because both are at the end and have a fixed shape.
pub fn run_name(object_name: &str, uid: &str, attempt: i64) -> String {
    let prefix: String = object_name
        .chars()
        .map(|c| if c.is_ascii_lowercase() || c.is_ascii_digit() { c } else { '-' })
        .take(MAX_PREFIX)
        .collect();
    let prefix = prefix.trim_matches('-');
    // A name must begin with a letter for some kinds (Services of a Job's pods); digits at the start are not worth the
    // exception.
    let prefix =
        if prefix.starts_with(|c: char| c.is_ascii_lowercase()) { prefix.to_owned() } else { format!("r{prefix}") };
    let prefix: String = prefix.chars().take(MAX_PREFIX).collect();
    format!("{}-{}-{attempt}", prefix.trim_end_matches('-'), &hex(&Sha256::digest(uid.as_bytes()))[..16])
}

/// [`run_name`] with `-<candidate>` at the end, for a training with several candidates; plain [`run_name`] if
/// `candidate` is empty.
///
/// A candidate's name has at most 16 characters, begins and ends with a letter or a digit, and no attempt has a letter:
/// so no two candidate runs have the same name.
pub fn candidate_run_name(object_name: &str, uid: &str, attempt: i64, candidate: &str) -> String {
    let name = run_name(object_name, uid, attempt);
    if candidate.is_empty() { name } else { format!("{name}-{candidate}") }
}

/// Whether a text can be the name of a run, and so of a ModelVersion: a DNS label that begins with a letter.
pub fn is_run_name(text: &str) -> bool {
    text.len() <= MAX_LENGTH
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text.ends_with(|c: char| c.is_ascii_alphanumeric())
        && text.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keeps_a_short_name_readable() {
        assert_eq!(run_name("labelbot-deploy", "u", 7), "labelbot-deploy-0bfe935e70c321c7-7");
    }

    #[test]
    fn makes_a_label_of_any_object_name() {
        for name in ["a", "9to5", "a.b.c", &"x".repeat(253), "abcdefghijklmnopqrs-.-tuv", "0"] {
            let run = run_name(name, "uid", MAX_ATTEMPT);
            assert!(is_run_name(&run), "{name} gave {run}");
        }
    }

    #[test]
    fn longest_candidate_of_the_longest_name_fits() {
        let name = candidate_run_name(&"x".repeat(253), "uid", MAX_ATTEMPT, "gradient-boost-1");
        assert_eq!(name.len(), MAX_LENGTH);
        assert!(is_run_name(&name), "{name}");
    }

    proptest! {
        #[test]
        fn differs_for_different_objects_and_attempts(
            a in "[a-z0-9]([-a-z0-9.]{0,60}[a-z0-9])?", b in "[a-z0-9]([-a-z0-9.]{0,60}[a-z0-9])?",
            u in "[0-9a-f]{8}", v in "[0-9a-f]{8}", n in 1..=MAX_ATTEMPT, m in 1..=MAX_ATTEMPT,
        ) {
            let (one, other) = (run_name(&a, &u, n), run_name(&b, &v, m));
            prop_assert!(is_run_name(&one), "{one}");
            prop_assert_eq!(u == v && n == m, one.rsplitn(3, '-').take(2).eq(other.rsplitn(3, '-').take(2)));
        }
    }
}
