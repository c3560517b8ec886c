//! Reads bodies of responses within their limits, and all bodies together within a bound. Network IO.
//!
//! The first 32 KiB of a body are covered by the bound of requests in flight, so a usual body never waits for memory. What
//! a larger body may need beyond that is taken from one store for all objects, at once and before it is read: no reader
//! waits for memory while it holds some of the store, so readers cannot block each other for ever. A server that is slow
//! with a large body does not keep that memory for long either: it has ten seconds for the rest.

use std::{
    io::{self, BufRead, Read},
    time::Duration,
};

use bytes::{Buf, Bytes};
use flate2::bufread::MultiGzDecoder;
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

use super::{
    deadline::{Progress, Stage},
    head::{ContentCoding, Head},
    shares::{Part, Shares},
};
use crate::{
    core::poll::response::{PollError, PollErrorKind},
    source::text::{bytes, poll_error},
};

/// The part of every body that needs nothing from the store, in bytes.
pub(super) const USUAL: usize = 32 * 1024;
/// What large bodies together may take beyond [`USUAL`] bytes each. The largest body that a source reads has 1 MiB.
pub(super) const STORE: usize = 8 * 1024 * 1024;
/// How long a large body may take after its first [`USUAL`] bytes. A link that is slower than 100 KiB/s is of no use here.
pub(super) const LARGE_WITHIN: Duration = Duration::from_secs(10);
/// How much is decompressed at once, in bytes.
const STEP: usize = 4096;

/// What a body is read with.
pub(super) struct BodyReader<'a> {
    pub(super) store: &'a Shares,
    pub(super) namespace: &'a str,
    /// Most bytes of the body, after decompression.
    pub(super) max: usize,
    /// How long the rest of a large body may take.
    pub(super) large_within: Duration,
    pub(super) progress: &'a Progress,
}

/// A body, and the right to keep it in memory if it is large.
#[derive(Debug, Default)]
pub(super) struct ReadBody {
    pub(super) bytes: Vec<u8>,
    pub(super) memory: Option<Part>,
}

impl BodyReader<'_> {
    /// Reads the whole body. Fails as soon as it exceeds its limit and reads no further.
    pub(super) async fn read(self, head: &Head, body: Incoming) -> Result<ReadBody, PollError> {
        let known = body.size_hint().exact().filter(|_| head.coding == ContentCoding::Plain);
        let most = known.and_then(|known| usize::try_from(known).ok()).unwrap_or(self.max).min(self.max);
        let usual = self.max.min(USUAL);
        let mut inflow = Inflow::new(&head.coding, body);
        let mut read = ReadBody::default();
        inflow.fill(&mut read.bytes, usual + 1).await.map_err(|broken| broken.blame(head, read.bytes.len()))?;
        if read.bytes.len() > usual && usual < self.max {
            self.progress.set(Stage::Memory);
            read.memory = self.store.take(self.namespace, most.saturating_sub(usual).min(STORE)).await;
            self.progress.set(Stage::Body);
            read.bytes.reserve_exact(most.saturating_sub(read.bytes.len()));
            tokio::time::timeout(self.large_within, inflow.fill(&mut read.bytes, self.max + 1))
                .await
                .map_err(|_| too_slow(read.bytes.len(), self.large_within))?
                .map_err(|broken| broken.blame(head, read.bytes.len()))?;
        }
        if read.bytes.len() > self.max { Err(head.body_too_large(self.max)) } else { Ok(read) }
    }
}

fn too_slow(read: usize, within: Duration) -> PollError {
    let message = format!(
        "the response was not complete: after its first {}, {within:?} brought {} more",
        bytes(USUAL),
        bytes(read.saturating_sub(USUAL))
    );
    poll_error(PollErrorKind::Timeout, &message)
}

/// Why a body could not be read to its end.
enum Broken {
    Connection(hyper::Error),
    Compression(io::Error),
}

impl Broken {
    fn blame(&self, head: &Head, read: usize) -> PollError {
        match self {
            Self::Connection(error) => super::failure::broken_body(error, head, read),
            Self::Compression(error) => super::failure::broken_body(error, head, read),
        }
    }
}

/// A body on its way, decompressed.
enum Inflow {
    Plain(Arrived),
    Gzip(Box<MultiGzDecoder<Arrived>>),
}

/// What has arrived and was not read yet. Reading more than that fails with [`io::ErrorKind::WouldBlock`]: the decoder
/// then goes on where it stopped.
struct Arrived {
    body: Incoming,
    chunk: Bytes,
    ended: bool,
}

impl Inflow {
    fn new(coding: &ContentCoding, body: Incoming) -> Self {
        let arrived = Arrived { body, chunk: Bytes::new(), ended: false };
        match coding {
            ContentCoding::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(arrived))),
            ContentCoding::Plain | ContentCoding::Unreadable(_) => Self::Plain(arrived),
        }
    }

    /// Appends to `bytes` until it has this length, or the body has ended.
    async fn fill(&mut self, bytes: &mut Vec<u8>, length: usize) -> Result<(), Broken> {
        while bytes.len() < length {
            // Data that is always there must not keep this task from its deadline.
            tokio::task::consume_budget().await;
            match self {
                Self::Plain(arrived) => {
                    let more = arrived.chunk.len().min(length - bytes.len());
                    bytes.extend_from_slice(&arrived.chunk.split_to(more));
                    if arrived.chunk.is_empty() && (arrived.ended || !arrived.next().await?) {
                        return Ok(());
                    }
                }
                Self::Gzip(decoder) => {
                    let before = bytes.len();
                    bytes.resize(length.min(before + STEP), 0);
                    let read = decoder.read(&mut bytes[before..]);
                    bytes.truncate(before + *read.as_ref().unwrap_or(&0));
                    match read {
                        Ok(0) => return Ok(()),
                        Ok(_) => {}
                        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                            decoder.get_mut().next().await?;
                        }
                        Err(error) => return Err(Broken::Compression(error)),
                    }
                }
            }
        }
        Ok(())
    }
}

impl Arrived {
    /// Waits for more; `false` at the end of the body.
    async fn next(&mut self) -> Result<bool, Broken> {
        while let Some(frame) = self.body.frame().await {
            // Trailers are ignored.
            if let Ok(data) = frame.map_err(Broken::Connection)?.into_data()
                && data.has_remaining()
            {
                self.chunk = data;
                return Ok(true);
            }
        }
        self.ended = true;
        Ok(false)
    }
}

impl Read for Arrived {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let mut available = self.fill_buf()?;
        let read = available.read(into)?;
        self.consume(read);
        Ok(read)
    }
}

impl BufRead for Arrived {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.chunk.is_empty() && !self.ended { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(&self.chunk) }
    }

    fn consume(&mut self, read: usize) {
        self.chunk.advance(read);
    }
}
