//! Telling a client how far its operation is.

use api::JsonMessage;
use api::common::Progress;
use store::Lease;
use tokio::sync::mpsc::{Sender, channel};

use crate::error::{Error, Result};

/// Where the lines of an operation go. A client that went away cancels the operation at its next line.
#[derive(Clone)]
pub(crate) struct Report {
    sender: Sender<JsonMessage>,
}

impl Report {
    pub fn new(sender: Sender<JsonMessage>) -> Report {
        Report { sender }
    }

    /// Unpacking for this lease ends when the client goes away.
    pub fn stops(&self, lease: &Lease) {
        let sender = self.sender.clone();
        lease.stop_when(move || sender.is_closed());
    }

    /// Whether the client went away.
    pub fn is_closed(&self) -> bool {
        self.sender.is_closed()
    }

    /// Ends when the client goes away.
    pub async fn closed(&self) -> Error {
        self.sender.closed().await;
        cancelled()
    }

    /// Sends a line from synchronous work.
    pub fn line(&self, message: JsonMessage) -> Result<()> {
        self.sender.blocking_send(message).map_err(|_| cancelled())
    }

    /// Sends a line from asynchronous work.
    pub async fn send(&self, message: JsonMessage) -> Result<()> {
        self.sender.send(message).await.map_err(|_| cancelled())
    }

    /// Sends a line if the client keeps up: there will be a newer one.
    pub fn hint(&self, message: JsonMessage) {
        self.sender.try_send(message).ok();
    }
}

/// Messages that may wait where few of them are handed on, or none.
pub(super) const UNREAD: usize = 64;

/// Does what tells how far it is where nobody wants to know.
pub async fn unheard<F: Future>(work: impl FnOnce(Sender<JsonMessage>) -> F) -> F::Output {
    let (sender, mut receiver) = channel(UNREAD);
    let drained = async { while receiver.recv().await.is_some() {} };
    tokio::join!(work(sender), drained).0
}

/// `current` of `total` bytes.
pub(crate) fn bytes(current: u64, total: u64) -> Progress {
    Progress { current: current as i64, total: total as i64, ..Progress::default() }
}

fn cancelled() -> Error {
    Error::cancelled("the client went away")
}
