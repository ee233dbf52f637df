//! The digest of a layer's archive, computed by many threads that each write a piece of it.
//!
//! A digest is a stream's: pieces are taken in their order. Whoever has finished a piece waits for its turn and hashes it itself,
//! so that no more is held in memory than the pieces that are being made.

use super::Error;
use archive::{HashingWriter, Packer};
use oci::Digest;
use std::io::{self, Sink, Write};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// What has passed so far.
pub type Hash = HashingWriter<Sink>;

/// The archive.
pub struct Archive {
    state: Mutex<State>,
    changed: Condvar,
}

struct State {
    /// The piece whose turn it is.
    next: usize,
    /// Whoever has the turn may take it along.
    hash: Option<Hash>,
    is_over: bool,
}

impl Archive {
    /// An empty archive.
    pub fn new() -> Self {
        let state = State { next: 0, hash: Some(HashingWriter::new(io::sink())), is_over: false };
        Self { state: Mutex::new(state), changed: Condvar::new() }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for this piece's turn. Cancelled when another piece will never come.
    pub fn take(&self, piece: usize) -> Result<Hash, Error> {
        let mut state = self.lock();
        loop {
            if state.is_over {
                return Err(Error::Cancelled);
            }
            if state.next == piece
                && let Some(hash) = state.hash.take()
            {
                return Ok(hash);
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Ends the turn.
    pub fn give(&self, hash: Hash) {
        let mut state = self.lock();
        state.next += 1;
        state.hash = Some(hash);
        self.changed.notify_all();
    }

    /// A whole piece.
    pub fn add(&self, piece: usize, bytes: &[u8]) -> Result<(), Error> {
        let mut hash = self.take(piece)?;
        let written = hash.write_all(bytes);
        self.give(hash);
        written.map_err(super::io("hash", "the archive"))
    }

    /// Nothing more comes: nobody waits any longer.
    pub fn abort(&self) {
        self.lock().is_over = true;
        self.changed.notify_all();
    }

    /// The digest and the length of all of it, with its end mark; none if pieces are missing.
    pub fn finish(self, pieces: usize) -> Option<(Digest, u64)> {
        let state = self.state.into_inner().unwrap_or_else(PoisonError::into_inner);
        let hash = state.hash.filter(|_| state.next == pieces && !state.is_over)?;
        let (_, sum, length) = Packer::new(hash).finish().ok()?.finish();
        Some((Digest::from_sha256(sum), length))
    }
}
