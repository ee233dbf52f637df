//! Handing files out: `moby.filesync.v1.FileSend/DiffCopy` with packets, the way back of `files`.
//!
//! All entries are told first, then what the client asks for is sent. It asks for no file twice, so what waits is bounded by
//! what was told.

use std::collections::HashMap;
use std::io::Read as _;
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::{Path, PathBuf};

use api::containers::go_mode;
use engine::images::{Item, View};
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tonic::{Request, Status};

use super::outputs::{EXPORTER, METHOD};
use super::packet::{Kind, Packet, Stat};
use super::{Session, append};
use crate::fault;

const CHUNK: usize = 32 << 10;
/// Packets that wait for the client.
const BACKLOG: usize = 64;

/// Files of images, sorted by their directories.
pub type Folder = Vec<Part>;

/// The files of one image.
pub struct Part {
    /// Where they go; an empty name is the top.
    pub directory: String,
    pub view: View,
    /// A file beside the image's own: name and content.
    pub extra: Option<(String, Vec<u8>)>,
    /// The time of all of them, in nanoseconds since 1970; without, each has its own.
    pub time: Option<i64>,
}

/// Where the content of a file is.
enum Source {
    Image(usize, PathBuf),
    Bytes(Vec<u8>),
}

impl Session {
    /// Sends files to the output of this number.
    pub async fn send_folder(&self, output: usize, folder: Folder) -> Result<(), Status> {
        self.needs(METHOD)?;
        let (sender, receiver) = mpsc::channel::<Packet>(BACKLOG);
        let packets = futures_util::stream::unfold(receiver, |mut receiver| async {
            receiver.recv().await.map(|packet| (packet, receiver))
        });
        let mut request = Request::new(packets);
        append(request.metadata_mut(), EXPORTER, &[output.to_string()]);
        append(request.metadata_mut(), "buildkit-exporter-multi-platform", &["1".to_owned()]);
        // What the client asks for waits here until all entries are told.
        let (ask, asked) = mpsc::unbounded_channel();
        let sending = tokio::task::spawn_blocking(move || {
            let files = HashMap::new();
            Sender { folder, told: Vec::new(), sender, files }.run(asked)
        });
        let mut answers = self.packets(METHOD, request).await?;
        let mut failure = None;
        while let Some(answer) = answers.next().await {
            match answer {
                Ok(packet) if packet.kind() == Kind::Error => {
                    let text = String::from_utf8_lossy(&packet.data).into_owned();
                    failure = Some(Status::aborted(format!("error from receiver: {text}")));
                    // The client waits for the end of the call then, and we must not wait for its.
                    break;
                }
                Ok(packet) => {
                    if ask.send(packet).is_err() {
                        break;
                    }
                }
                Err(status) => {
                    failure.get_or_insert(status);
                    break;
                }
            }
        }
        // With the call goes what waits to be sent, and with that the sender.
        drop((ask, answers));
        let sent = sending.await.map_err(|e| Status::internal(format!("send files: {e}")))?;
        match failure {
            Some(status) => Err(status),
            None => sent,
        }
    }
}

struct Sender {
    folder: Folder,
    /// The images of the parts that were told.
    told: Vec<View>,
    sender: mpsc::Sender<Packet>,
    files: HashMap<u32, Source>,
}

impl Sender {
    fn run(mut self, mut asked: mpsc::UnboundedReceiver<Packet>) -> Result<(), Status> {
        let told = self.tell();
        if let Err(status) = told {
            let _ = self.send(Kind::Error, 0, None, status.message().as_bytes().to_vec());
            return Err(status);
        }
        while let Some(packet) = asked.blocking_recv() {
            match packet.kind() {
                Kind::Request => self.content(packet.id)?,
                Kind::End => return self.send(Kind::End, 0, None, Vec::new()),
                _ => return Err(Status::invalid_argument("a receiver of files sends none")),
            }
        }
        Err(Status::unavailable("the client ended before it had all files"))
    }

    fn tell(&mut self) -> Result<(), Status> {
        let mut id = 0;
        for (number, part) in std::mem::take(&mut self.folder).into_iter().enumerate() {
            self.part(&mut id, number, &part)?;
            self.told.push(part.view);
        }
        self.send(Kind::Stat, 0, None, Vec::new())
    }

    /// Tells one image's files. Names come in order, and what the image has of the extra file's name does not.
    fn part(&mut self, id: &mut u32, number: usize, part: &Part) -> Result<(), Status> {
        let directory = &part.directory;
        if !directory.is_empty() {
            self.stat(id, dated(folder(directory), part.time), None)?;
        }
        let mut extra = part.extra.clone();
        let name = extra.as_ref().map(|(name, _)| name.clone()).unwrap_or_default();
        let mut failed = None;
        let walked = part.view.walk(&mut |item| {
            let tell = || {
                if extra.as_ref().is_some_and(|(name, _)| is_past(&item.path, name)) {
                    self.bytes(id, part, extra.take())?;
                }
                if !name.is_empty() && item.path == Path::new(&name) {
                    return Ok(());
                }
                let source = item.is_regular().then(|| Source::Image(number, item.path.clone()));
                self.stat(id, dated(stat(directory, item), part.time), source)
            };
            tell().map_err(|status: Status| {
                let message = status.message().to_owned();
                failed = Some(status);
                engine::Error::cancelled(message)
            })
        });
        match failed {
            Some(status) => return Err(status),
            None => walked.map_err(fault::status)?,
        }
        self.bytes(id, part, extra)
    }

    fn bytes(&mut self, id: &mut u32, part: &Part, file: Option<(String, Vec<u8>)>) -> Result<(), Status> {
        let Some((name, bytes)) = file else { return Ok(()) };
        let directory = &part.directory;
        let path = if directory.is_empty() { name } else { format!("{directory}/{name}") };
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        let stat = Stat { path: path.into(), mode: 0o644, size, ..Stat::default() };
        self.stat(id, dated(stat, part.time), Some(Source::Bytes(bytes)))
    }

    fn stat(&mut self, id: &mut u32, stat: Stat, source: Option<Source>) -> Result<(), Status> {
        if let Some(source) = source {
            self.files.insert(*id, source);
        }
        *id = id.checked_add(1).ok_or_else(|| Status::resource_exhausted("too many files"))?;
        self.send(Kind::Stat, 0, Some(stat), Vec::new())
    }

    fn content(&mut self, id: u32) -> Result<(), Status> {
        let source = self.files.remove(&id);
        match source.ok_or_else(|| Status::invalid_argument(format!("invalid file id {id}")))? {
            Source::Image(part, path) => {
                let mut file = self.told[part].file(&path).map_err(fault::status)?;
                let mut buffer = vec![0; CHUNK];
                loop {
                    let count = file.read(&mut buffer);
                    let count =
                        count.map_err(|e| Status::internal(format!("read {}: {e}", path.display())))?;
                    if count == 0 {
                        break;
                    }
                    self.send(Kind::Data, id, None, buffer[..count].to_vec())?;
                }
            }
            Source::Bytes(bytes) => {
                for chunk in bytes.chunks(CHUNK) {
                    self.send(Kind::Data, id, None, chunk.to_vec())?;
                }
            }
        }
        self.send(Kind::Data, id, None, Vec::new())
    }

    fn send(&self, kind: Kind, id: u32, stat: Option<Stat>, data: Vec<u8>) -> Result<(), Status> {
        let packet = Packet { kind: kind.into(), stat, id, data };
        self.sender.blocking_send(packet).map_err(|_| Status::unavailable("the client went away"))
    }
}

/// Whether an entry at the top has this name or comes behind it.
fn is_past(path: &Path, name: &str) -> bool {
    let path = path.as_os_str().as_bytes();
    !path.contains(&b'/') && path >= name.as_bytes()
}

fn dated(stat: Stat, time: Option<i64>) -> Stat {
    Stat { modified: time.unwrap_or(stat.modified), ..stat }
}

fn folder(path: &str) -> Stat {
    Stat { path: path.into(), mode: go_mode(0o040_755), ..Stat::default() }
}

/// An entry of an image as fsutil has it.
fn stat(directory: &str, item: Item) -> Stat {
    let size = if item.is_regular() { item.size.try_into().unwrap_or(i64::MAX) } else { 0 };
    Stat {
        path: Path::new(directory).join(item.path).into_os_string().into_vec(),
        mode: go_mode(item.mode),
        uid: item.uid,
        gid: item.gid,
        size,
        modified: item.modified,
        link: item.link.into_vec(),
        device_major: item.device.0.into(),
        device_minor: item.device.1.into(),
        attributes: item.attributes.into_iter().map(Into::into).collect(),
    }
}
