//! Receives the body of a reply through a sieve, so that its objects need not fit into memory together. IO.

use std::time::Duration;

use http_body_util::BodyExt;
use kube::client::Body;
use serde::de::Error;

use super::{
    client::{CallError, Guarded, within},
    sieve::{Piece, Sieve},
    turns::{Turn, Turns},
};

/// What is kept of one object may have this size whatever else is in memory; a larger one waits for its turn.
const SMALL: usize = 64 * 1024;
/// The sieve gets a body in slices of this size. After each, the size of what it keeps is checked.
const SLICE: usize = 16 * 1024;

/// The body of a reply.
pub(super) struct Incoming {
    body: Body,
    sieve: Sieve,
    turns: Turns,
    turn: Option<Turn>,
    silence: Option<Duration>,
    /// Bytes so far.
    pub(super) received: usize,
}

impl Incoming {
    /// Reads this body. Silence that is longer than `silence` is an error.
    pub(super) fn new(client: &Guarded, body: Body, sieve: Sieve, silence: Option<Duration>) -> Self {
        Self { body, sieve, turns: client.turns.clone(), turn: None, silence, received: 0 }
    }

    /// Receives the next bytes, and calls `see` with every part that they complete. Returns false at the end of the body.
    pub(super) async fn receive(&mut self, see: &mut (dyn FnMut(Piece<'_>) + Send)) -> Result<bool, CallError> {
        let broken = |error: kube::Error| CallError::Unknown(error.to_string());
        let Some(frame) = within(self.silence, self.body.frame()).await?.transpose().map_err(broken)? else {
            return Ok(false);
        };
        let Ok(data) = frame.into_data() else { return Ok(true) };
        self.received += data.len();
        for slice in data.chunks(SLICE) {
            self.sieve.push(slice, see).map_err(serde_json::Error::custom)?;
            self.take_turn().await;
        }
        Ok(true)
    }

    /// Takes a turn for a large object, and gives it back after the object. Waiting for it is no silence of the API server.
    async fn take_turn(&mut self) {
        if self.sieve.held() <= SMALL {
            return;
        }
        if self.sieve.retained() <= SMALL {
            self.sieve.release();
            self.turn = None;
        } else if self.turn.is_none() {
            self.turn = self.turns.take(self.sieve.most()).await;
            self.sieve.reserve();
        }
    }
}
