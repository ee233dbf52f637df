//! A client's files: `moby.filesync.v1.FileSync/DiffCopy`.
//!
//! ```text
//! client                          server
//!   STAT path …  (each entry, in order; its position is its id)
//!   STAT         (no entry: that was all)
//!                                 REQ id  (for each file that is wanted)
//!   DATA id bytes …
//!   DATA id      (empty: the end of the file)
//!                                 FIN
//!   FIN
//! ```
//!
//! A file that is here already, as it came the last time, is not asked for.
//!
//! Both sides send at once. No more files are asked for at a time than [`ASKED_MAX`], so that asking never waits for a client
//! that waits for us to read.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt as _;

use engine::builds::received::{Entry, EntryKind, Received};
use tokio::sync::mpsc;
use tonic::{Request, Status};

use super::packet::{Kind, Packet, Stat};
use super::{Session, append, mode, next};
use crate::fault;

const METHOD: &str = "/moby.filesync.v1.FileSync/DiffCopy";
/// Files that are on their way at a time.
pub const ASKED_MAX: usize = 64;
/// Packets that wait to be written to the disk.
const BACKLOG: usize = 64;

/// Which files are wanted.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// The client's name for the directory.
    pub name: String,
    pub include: Vec<String>,
    /// Patterns of an ignore file.
    pub exclude: Vec<String>,
    /// These alone, and what links among them lead to.
    pub follow: Vec<String>,
}

impl Session {
    /// Receives files into a directory.
    pub async fn files(&self, wanted: &Wanted, into: Received) -> Result<Received, Status> {
        let (sender, receiver) = mpsc::channel(ASKED_MAX + 2);
        let requests = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|packet| (packet, receiver))
        });
        let mut request = Request::new(requests);
        let metadata = request.metadata_mut();
        append(metadata, "dir-name", std::slice::from_ref(&wanted.name));
        append(metadata, "include-patterns", &wanted.include);
        append(metadata, "exclude-patterns", &wanted.exclude);
        append(metadata, "followpaths", &wanted.follow);
        let mut packets = self.packets(METHOD, request).await?;

        let (fill, filling) = mpsc::channel(BACKLOG);
        let transfer = Transfer::new(into, sender);
        let writing = tokio::task::spawn_blocking(move || transfer.run(filling));
        let mut broken = None;
        loop {
            let sent = match next("files of its directory", &mut packets).await {
                Ok(Some(packet)) => fill.send(packet).await.is_ok(),
                Ok(None) => false,
                Err(status) => {
                    broken = Some(status);
                    false
                }
            };
            if !sent {
                break;
            }
        }
        // Who writes may wait for the client to take what it is asked.
        drop((fill, packets));
        let written = writing.await.map_err(|e| Status::internal(format!("receive files: {e}")))?;
        match (broken, written) {
            // What the client says about its end is the cause of what we saw.
            (Some(status), Err(_)) => Err(status),
            (_, written) => written,
        }
    }
}

/// The receiving side of one call; blocks.
pub struct Transfer {
    pub into: Received,
    sender: mpsc::Sender<Packet>,
    /// Entries so far.
    next: u32,
    /// Files that are still to be asked for.
    waiting: VecDeque<(u32, Entry)>,
    /// Files that were asked for.
    asked: usize,
    /// All entries are there.
    complete: bool,
    finished: bool,
}

impl Transfer {
    pub fn new(into: Received, sender: mpsc::Sender<Packet>) -> Self {
        let (next, waiting, asked) = (0, VecDeque::new(), 0);
        Self { into, sender, next, waiting, asked, complete: false, finished: false }
    }

    fn run(mut self, mut packets: mpsc::Receiver<Packet>) -> Result<Received, Status> {
        while let Some(packet) = packets.blocking_recv() {
            let taken = self.take(packet);
            if let Err(status) = &taken {
                // The client says it too, before it ends the call.
                let _ = self.send(Kind::Error, 0, status.message());
            }
            if taken? {
                return Ok(self.into);
            }
        }
        Err(Status::unavailable("the client ended before its files were there"))
    }

    /// Whether that was all.
    pub fn take(&mut self, packet: Packet) -> Result<bool, Status> {
        match packet.kind() {
            Kind::Stat => match packet.stat {
                // What comes now would be made and never be asked for.
                Some(_) if self.complete => {
                    return Err(Status::invalid_argument(
                        "the client told of a file after it had told of all",
                    ));
                }
                Some(stat) => self.entry(stat)?,
                None => self.complete = true,
            },
            Kind::Data if packet.data.is_empty() => {
                self.into.close(packet.id).map_err(fault::status)?;
                self.asked -= 1;
            }
            Kind::Data => self.into.write(packet.id, &packet.data).map_err(fault::status)?,
            Kind::Error => {
                let text = String::from_utf8_lossy(&packet.data).into_owned();
                return Err(Status::aborted(format!("error from sender: {text}")));
            }
            Kind::End => {
                return match self.finished {
                    true => Ok(true),
                    false => Err(Status::aborted("the client ended its files before they were all there")),
                };
            }
            Kind::Request => return Err(Status::invalid_argument("a sender of files asks for none")),
        }
        self.ask()?;
        Ok(false)
    }

    fn entry(&mut self, stat: Stat) -> Result<(), Status> {
        let id = self.next;
        self.next = id.checked_add(1).ok_or_else(|| Status::resource_exhausted("too many files"))?;
        let Some(kind) = mode::kind(&stat) else { return Ok(()) };
        let entry = Entry {
            path: OsString::from_vec(stat.path),
            kind,
            mode: mode::permissions(stat.mode),
            uid: stat.uid,
            gid: stat.gid,
            modified: stat.modified,
            size: stat.size.try_into().unwrap_or(0),
            attributes: stat.attributes.into_iter().map(Into::into).collect(),
        };
        self.into.add(&entry).map_err(fault::status)?;
        if entry.kind == EntryKind::File && mode::has_content(stat.mode) && !self.into.has(&entry) {
            self.waiting.push_back((id, entry));
        }
        Ok(())
    }

    /// Asks for more files; when all are there, says so.
    fn ask(&mut self) -> Result<(), Status> {
        while self.asked < ASKED_MAX
            && let Some((id, entry)) = self.waiting.pop_front()
        {
            self.into.open(id, &entry).map_err(fault::status)?;
            self.send(Kind::Request, id, "")?;
            self.asked += 1;
        }
        if self.complete && self.asked == 0 && !self.finished {
            self.finished = true;
            self.into.finish().map_err(fault::status)?;
            self.send(Kind::End, 0, "")?;
        }
        Ok(())
    }

    fn send(&self, kind: Kind, id: u32, text: &str) -> Result<(), Status> {
        let packet = Packet { kind: kind.into(), stat: None, id, data: text.as_bytes().to_vec() };
        self.sender.blocking_send(packet).map_err(|_| Status::unavailable("the client went away"))
    }
}

#[cfg(test)]
mod tests {
    use engine::{Config, Engine};

    use super::*;

    fn packet(kind: Kind, path: Option<&str>) -> Packet {
        let stat = |path: &str| Stat { path: path.into(), mode: 0o644, size: 1, ..Stat::default() };
        Packet { kind: kind.into(), stat: path.map(stat), id: 0, data: Vec::new() }
    }

    #[tokio::test]
    async fn nothing_comes_after_the_last() {
        let dir = tempfile::tempdir().unwrap();
        let config = Config::new(dir.path().join("root"), dir.path().join("run"), "/proc/self/exe");
        let engine = Engine::open(config).await.unwrap();
        for late in ["late", "again"] {
            let into = Received::new(&engine).await.unwrap();
            let (sender, mut answers) = mpsc::channel(ASKED_MAX);
            let work = move || {
                let mut transfer = Transfer::new(into, sender);
                assert!(!transfer.take(packet(Kind::Stat, Some("again"))).unwrap());
                assert!(!transfer.take(packet(Kind::Stat, None)).unwrap());
                if late == "late" {
                    // Its content is there: we have said that we are done.
                    assert!(!transfer.take(packet(Kind::Data, None)).unwrap());
                }
                transfer.take(packet(Kind::Stat, Some(late))).unwrap_err()
            };
            let refused = tokio::task::spawn_blocking(work).await.unwrap();
            assert!(refused.message().contains("after it had told of all"), "{refused}");
            assert_eq!(answers.recv().await.map(|answer| answer.kind()), Some(Kind::Request));
        }
    }
}
