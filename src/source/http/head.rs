//! Status and headers of a response: the checks before its body is read, and their form in messages. Pure.

use std::fmt;

use reqwest::{
    StatusCode,
    header::{self, HeaderMap, HeaderName},
};

use crate::{
    core::poll::response::{PollError, PollErrorKind},
    source::text::{bytes, poll_error, sanitise},
};

/// Bounds of a response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResponseLimits {
    /// Largest body, in bytes after decompression.
    pub body: usize,
    /// Largest sum of the header lines, in bytes.
    pub headers: usize,
}

/// Largest part of a header's value that a message shows, in bytes.
const MAX_SHOWN: usize = 60;

/// The facts of a response's status line and headers that the operator checks or shows to users.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Head {
    /// The status code.
    pub status: StatusCode,
    /// `Content-Type`, sanitised and bounded. For messages only: it does not affect how the body is read.
    pub content_type: Option<String>,
    /// A `Content-Encoding` that was not decoded, sanitised and bounded.
    pub encoding: Option<String>,
    /// `Content-Length`. A decompressed response has none.
    pub length: Option<usize>,
    /// Sum of all header lines, in bytes.
    pub header_bytes: usize,
}

impl Head {
    /// Extracts the facts from status and headers.
    pub fn new(status: StatusCode, headers: &HeaderMap) -> Self {
        let shown = |name: HeaderName| {
            headers.get(name).map(|value| sanitise(&String::from_utf8_lossy(value.as_bytes()), MAX_SHOWN))
        };
        Self {
            status,
            content_type: shown(header::CONTENT_TYPE),
            encoding: shown(header::CONTENT_ENCODING).filter(|encoding| !encoding.eq_ignore_ascii_case("identity")),
            length: shown(header::CONTENT_LENGTH).and_then(|length| length.parse().ok()),
            header_bytes: headers.iter().map(|(name, value)| name.as_str().len() + value.len() + ": \r\n".len()).sum(),
        }
    }

    /// Fails unless the status is 200.
    pub fn must_be_ok(&self) -> Result<(), PollError> {
        if self.status == StatusCode::OK {
            return Ok(());
        }
        let hint =
            if self.status.is_redirection() { "redirects are not followed" } else { "only status 200 is accepted" };
        Err(self.fail(PollErrorKind::Status, self.length, hint))
    }

    /// Fails unless the status is 200, the encoding is supported, and headers and body are within their limits.
    pub fn check(&self, limits: &ResponseLimits) -> Result<(), PollError> {
        self.must_be_ok()?;
        self.check_body(limits)
    }

    /// Fails unless the encoding is supported, and headers and body are within their limits.
    pub(super) fn check_body(&self, limits: &ResponseLimits) -> Result<(), PollError> {
        if self.header_bytes > limits.headers {
            let reason =
                format!("the headers take {}; at most {} are allowed", bytes(self.header_bytes), limits.headers);
            return Err(self.fail(PollErrorKind::TooLarge, self.length, &reason));
        }
        if let Some(encoding) = &self.encoding {
            let reason = format!("the content encoding {encoding:?} is not supported; only gzip is");
            return Err(self.fail(PollErrorKind::Malformed, self.length, &reason));
        }
        if self.length.is_some_and(|length| length > limits.body) {
            return Err(self.body_too_large(limits.body));
        }
        Ok(())
    }

    /// The error of a body over `max` bytes.
    pub(in crate::source) fn body_too_large(&self, max: usize) -> PollError {
        let reason = format!("the body takes more than {}", bytes(max));
        self.fail(PollErrorKind::TooLarge, self.length, &reason)
    }

    /// An error whose message gives status, content type and length before the reason.
    pub(in crate::source) fn fail(&self, class: PollErrorKind, length: Option<usize>, reason: &str) -> PollError {
        let length = length.map_or("of unknown length".into(), bytes);
        poll_error(class, &format!("{self}, {length}: {reason}"))
    }
}

/// Status and content type, as in `status 503 Service Unavailable, text/html`. The reason phrase is the
/// standard's, not the server's.
impl fmt::Display for Head {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "status {}", self.status.as_str())?;
        if let Some(words) = self.status.canonical_reason() {
            write!(f, " {words}")?;
        }
        match &self.content_type {
            Some(content_type) => write!(f, ", {content_type}"),
            None => f.write_str(", no content type"),
        }
    }
}
