//! Names and limits of the needs-sync endpoint's responses, shared by client and server. No IO.

use std::time::Duration;

/// `apiVersion` of a response, if it names one.
pub const API_VERSION: &str = "v1alpha1";
/// `kind` of a response, if it names one.
pub const KIND: &str = "NeedsSync";
/// Maximum size of a response body, in bytes after decompression.
pub const MAX_BODY: usize = 64 * 1024;
/// Maximum size of all header lines of a response, in bytes.
pub const MAX_HEADERS: usize = 16 * 1024;
/// Maximum size of all names and values of the parameters that go into a run, in bytes.
pub const MAX_PARAMETERS: usize = 16 * 1024;
/// Maximum number of parameters that go into a run: `status.target.parameters` holds as many.
pub const MAX_PARAMETER_COUNT: usize = 256;
/// Maximum size of a response's `target`, in bytes.
pub const MAX_TARGET: usize = 512;
/// Maximum size of a response's `reason`; the operator cuts a longer one, in bytes.
pub const MAX_REASON: usize = 256;
/// Maximum time until the next poll that a response can request.
pub const MAX_POLL_AFTER: Duration = Duration::from_hours(1);
