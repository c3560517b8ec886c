//! The result of a poll, and the parameters that a run gets from it (see `docs/modelsync.md`). Pure.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use super::context::PollContext;
use crate::api::{
    ParameterMapping, UnmappedParameters,
    needs_sync::{MAX_PARAMETER_COUNT, MAX_PARAMETERS},
};
use crate::core::time::MonotonicTime;

/// A response or a poll error, with the context of the poll.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollResult<A = PollResponse> {
    /// The facts under which the poll was made.
    pub context: PollContext,
    /// When the poll was sent.
    pub sent: MonotonicTime,
    /// How long the poll took, including the wait for its turn.
    pub took: Duration,
    /// The response, or the error.
    pub result: Result<Arc<A>, PollError>,
}

/// What a response says about the need for a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Demand {
    /// Desired and actual agree.
    #[default]
    NotNeeded,
    /// They differ.
    Needed,
    /// There is no desired value yet.
    DesiredUnknown,
}

/// A valid response.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PollResponse {
    /// Whether a sync is needed.
    pub demand: Demand,
    /// Parameters by the endpoint's names.
    pub parameters: BTreeMap<String, String>,
    /// Name of the target, if the endpoint gives one or values are compared.
    pub target: Option<String>,
    /// When the endpoint wants to be polled again, counted from this poll; ≤ 1 h.
    pub poll_after: Option<Duration>,
    /// The reason that the endpoint gives: sanitised, ≤ 256 bytes.
    pub reason: Option<String>,
    /// The values that were compared.
    pub values: Option<Values>,
    /// The response's entity tag: with it, a later poll may find out whether the response still holds.
    pub etag: Option<String>,
}

/// The two values of a comparison.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Values {
    /// The desired value; `None` if there is none yet.
    pub desired: Option<String>,
    /// The actual value; empty if there is none.
    pub actual: String,
}

/// Why a poll has no valid response. Never starts a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PollError {
    /// The class, for metrics and logs.
    pub class: PollErrorKind,
    /// For the user: sanitised, ≤ 512 bytes, without the body of a foreign service and without the URL's query.
    pub message: String,
}

/// Classes of poll errors: few and stable, because they are metric labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PollErrorKind {
    /// The URL cannot be polled, or the operator refuses its address.
    Refused,
    /// The name could not be resolved, or no connection was made.
    Unreachable,
    /// There is certainly no server: the name does not exist, or the connection was refused.
    NotThere,
    /// The connection's TLS failed.
    Tls,
    /// There was no complete response within the deadline.
    Timeout,
    /// The HTTP status is not 200.
    Status,
    /// The body or the headers are larger than allowed.
    TooLarge,
    /// The body is not a valid response.
    Malformed,
    /// A valid response that reports errors.
    Errors,
    /// A valid response whose parameters do not fit the object's mapping.
    Parameters,
    /// A Secret, a certificate or a token that the poll needs is missing or refused.
    Credentials,
    /// A source cannot be read: the object is not permitted, its kind is not installed, or its value is unusable.
    Source,
    /// The poll was not sent: the endpoint has failed too often in a row.
    Paused,
}

impl PollErrorKind {
    /// The stable string, for metrics and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Unreachable => "unreachable",
            Self::NotThere => "not_there",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::Status => "status",
            Self::TooLarge => "too_large",
            Self::Malformed => "malformed",
            Self::Errors => "errors",
            Self::Parameters => "parameters",
            Self::Credentials => "credentials",
            Self::Source => "source",
            Self::Paused => "paused",
        }
    }
}

/// Maps a response's parameters to the run's.
///
/// Guarantees: a mapped name that the response lacks is an error, never a placeholder; the result is in stable order;
/// its names and values together take ≤ 16 KiB.
pub fn map_parameters(
    response: &BTreeMap<String, String>,
    mapping: &[ParameterMapping],
    unmapped: UnmappedParameters,
) -> Result<BTreeMap<String, String>, PollError> {
    let refuse = |message: String| Err(PollError { class: PollErrorKind::Parameters, message });
    let mut mapped = BTreeMap::new();
    let mut used = std::collections::BTreeSet::new();
    for entry in mapping {
        let (from, to) = names(entry);
        let Some(value) = response.get(from) else {
            return refuse(format!(
                "the response says that a sync is needed but lacks the parameter {from:?}, which spec.parameters maps to {to:?}"
            ));
        };
        used.insert(from);
        mapped.insert(to.to_owned(), value.clone());
    }
    for (name, value) in response.iter().filter(|(name, _)| !used.contains(name.as_str())) {
        match unmapped {
            UnmappedParameters::Ignore => {}
            UnmappedParameters::Pass => {
                mapped.entry(name.clone()).or_insert_with(|| value.clone());
            }
            UnmappedParameters::Reject => {
                return refuse(format!(
                    "the response has the parameter {name:?}, which spec.parameters does not map, and spec.unmappedParameters is Reject"
                ));
            }
        }
    }
    if mapped.len() > MAX_PARAMETER_COUNT {
        let count = mapped.len();
        return refuse(format!(
            "the response gives the run {count} parameters; at most {MAX_PARAMETER_COUNT} are allowed"
        ));
    }
    let size: usize = mapped.iter().map(|(name, value)| name.len() + value.len()).sum();
    if size > MAX_PARAMETERS {
        return refuse(format!("the mapped parameters take {size} bytes; at most {MAX_PARAMETERS} are allowed"));
    }
    Ok(mapped)
}

/// The endpoint's and the run's name of a mapping; an empty or absent one equals the other.
pub fn names(entry: &ParameterMapping) -> (&str, &str) {
    let needs_sync = entry.needs_sync_name.as_deref().unwrap_or_default();
    let pipeline = entry.pipeline_name.as_deref().unwrap_or_default();
    match (needs_sync.is_empty(), pipeline.is_empty()) {
        (false, true) => (needs_sync, needs_sync),
        (true, false) => (pipeline, pipeline),
        _ => (needs_sync, pipeline),
    }
}
