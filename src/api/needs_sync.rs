//! The diff endpoint's vocabulary, shared by the client and by whoever serves it. No IO.

use std::time::Duration;

/// `apiVersion` of an answer, if it names one.
pub const API_VERSION: &str = "v1alpha1";
/// `kind` of an answer, if it names one.
pub const KIND: &str = "NeedsSync";
/// Largest body of an answer, in bytes after decompression.
pub const MAX_BODY: usize = 64 * 1024;
/// Largest sum of the header lines of an answer, in bytes.
pub const MAX_HEADERS: usize = 16 * 1024;
/// Largest sum of all names and values of the parameters that go into a run, in bytes.
pub const MAX_PARAMETERS: usize = 16 * 1024;
/// Most parameters that go into a run: `status.target.parameters` holds as many.
pub const MAX_PARAMETER_COUNT: usize = 256;
/// Largest `target` of an answer, in bytes.
pub const MAX_TARGET: usize = 512;
/// Largest part of an answer's `reason` that is kept, in bytes.
pub const MAX_REASON: usize = 256;
/// Longest time until the next question that an answer can ask for.
pub const MAX_POLL_AFTER: Duration = Duration::from_hours(1);
