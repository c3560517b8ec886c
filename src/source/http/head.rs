//! Status and headers of a response: the checks before its body is read, and their form in messages. Pure.

use std::fmt;

use http::{
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
    /// The form of the body, by `Content-Encoding`.
    pub coding: ContentCoding,
    /// `Content-Length` of a body that is not compressed.
    pub length: Option<usize>,
    /// Sum of all header lines, in bytes.
    pub header_bytes: usize,
}

/// The form in which a body is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContentCoding {
    /// As it is.
    Plain,
    /// Compressed with gzip.
    Gzip,
    /// In a way that the operator does not read, for this reason.
    Unreadable(String),
}

impl ContentCoding {
    /// What all `Content-Encoding` lines say together. An empty list, and empty elements of a list, say nothing.
    fn new(headers: &HeaderMap) -> Self {
        let lines: Vec<_> = headers
            .get_all(header::CONTENT_ENCODING)
            .iter()
            .map(|line| String::from_utf8_lossy(line.as_bytes()))
            .collect();
        let mut coding = Self::Plain;
        for name in lines.iter().flat_map(|line| line.split(',')).map(str::trim).filter(|name| !name.is_empty()) {
            // `x-gzip` is the old name of gzip (RFC 9110, section 8.4.1.3).
            coding = match (name.to_ascii_lowercase().as_str(), coding) {
                ("identity", coding) => coding,
                ("gzip" | "x-gzip", Self::Plain) => Self::Gzip,
                ("gzip" | "x-gzip", _) => return Self::Unreadable("the body is compressed more than once".to_owned()),
                _ => {
                    let name = sanitise(name, MAX_SHOWN);
                    let reason = format!("the content encoding {name:?} is not supported; only gzip is");
                    return Self::Unreadable(reason);
                }
            };
        }
        coding
    }
}

impl Head {
    /// Extracts the facts from status and headers.
    pub fn new(status: StatusCode, headers: &HeaderMap) -> Self {
        let shown = |name: HeaderName| {
            headers.get(name).map(|value| sanitise(&String::from_utf8_lossy(value.as_bytes()), MAX_SHOWN))
        };
        let coding = ContentCoding::new(headers);
        let length = shown(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        Self {
            status,
            content_type: shown(header::CONTENT_TYPE),
            length: length.filter(|_| coding != ContentCoding::Gzip),
            coding,
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
        if let ContentCoding::Unreadable(reason) = &self.coding {
            return Err(self.fail(PollErrorKind::Malformed, self.length, reason));
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
