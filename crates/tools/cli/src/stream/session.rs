//! One attached process: standard input goes there, its output comes here.

use client::Hijacked;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, WriteHalf};
use tokio::sync::oneshot;

use super::copy::demultiplex;
use super::signals;
use super::terminal::Raw;
use crate::error::Error;
use crate::options::keys::{Seen, Watch};

/// Bytes read at once; a terminal's echo should not wait, a pipe's data should not dribble.
const BUFFER: usize = 32 << 10;

/// How a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// The server closed: the process is over, or the container detached.
    Output,
    /// The user pressed the detach keys.
    Detached,
}

pub struct Session {
    pub stream: Hijacked,
    pub tty: bool,
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// Signals go to the process, so that they do not end this one.
    pub proxied: bool,
    /// Keys that end the session while the process lives on; only for a terminal.
    pub detach_keys: Vec<u8>,
}

impl Session {
    /// Copies in both directions until the output ends or the user leaves. The terminal is raw meanwhile.
    pub async fn run(self) -> Result<Ended, Error> {
        let raw = if self.tty && self.stdin { Raw::enter()? } else { None };
        let _restore = if raw.is_some() && !self.proxied { Some(signals::restore_terminal()?) } else { None };
        let (mut from, to) = self.stream.split();
        let (left, mut leaving) = oneshot::channel();
        let watch = raw.is_some().then(|| Watch::new(self.detach_keys));
        // Without input both ends are kept: dropping them would mean something to the other side.
        let (input, _kept) = match self.stdin {
            true => (Some(tokio::spawn(send(to, watch, left))), None),
            false => (None, Some((to, left))),
        };
        let mut output = demultiplex(self.tty).only(self.stdout, self.stderr || self.tty);
        let mut buffer = vec![0; BUFFER];
        let ended = loop {
            tokio::select! {
                biased;
                Ok(()) = &mut leaving => break Ended::Detached,
                read = from.read(&mut buffer) => match read {
                    Ok(0) => break Ended::Output,
                    Ok(count) => output.write(&buffer[..count])?,
                    // A server that goes away ends the session; the exit code tells the rest.
                    Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => break Ended::Output,
                    Err(error) => return Err(error.into()),
                },
            }
        };
        if let Some(input) = input {
            input.abort();
        }
        drop(raw);
        Ok(ended)
    }
}

/// Sends standard input; its end is passed on as a half-closed connection.
async fn send(mut to: WriteHalf<Hijacked>, mut watch: Option<Watch>, left: oneshot::Sender<()>) {
    let mut stdin = tokio::io::stdin();
    let mut buffer = vec![0; BUFFER];
    loop {
        let count = match stdin.read(&mut buffer).await {
            Ok(0) | Err(_) => break,
            Ok(count) => count,
        };
        let typed = &buffer[..count];
        let sent = match watch.as_mut().map(|watch| watch.feed(typed)) {
            None => to.write_all(typed).await,
            Some(Seen::Bytes(bytes)) => to.write_all(&bytes).await,
            Some(Seen::Detach(bytes)) => {
                let _ = to.write_all(&bytes).await;
                let _ = left.send(());
                return;
            }
        };
        if sent.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
    // The sender lives on: the output may last longer than the input.
    std::future::pending::<()>().await;
}
