//! Handing files out: `moby.filesync.v1.FileSend/DiffCopy` with packets, the way back of `files`.
//!
//! All entries are told first, then what the client asks for is sent. It asks for no file twice, so what waits is bounded by
//! what was told.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Place;
use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::ffi::OsStringExt as _;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

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
/// The bit of a directory among Go's modes.
const DIRECTORY: u32 = 1 << 31;
/// Packets that wait for the client.
const BACKLOG: usize = 64;

/// Files of images, sorted by their directories.
pub type Folder = Vec<Part>;

/// The files of one image.
pub struct Part {
    /// Where they go; an empty name is the top.
    pub directory: String,
    /// Whose they are.
    pub platform: String,
    pub view: View,
    /// Files beside the image's own, which stand in place of what is called so there: name and content.
    pub beside: Vec<(String, Vec<u8>)>,
    /// The time of all of them, in nanoseconds since 1970; without, each has its own.
    pub time: Option<i64>,
}

/// An entry that is to be told.
struct Entry {
    stat: Stat,
    /// What it holds, if it is a file.
    source: Option<Source>,
    /// The number of the part that it is of.
    part: usize,
    /// Which file of that it is, where it has several names.
    file: Option<(u64, u64)>,
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

    /// Tells all entries in the order of their names. What lies in one directory is put together.
    fn tell(&mut self) -> Result<(), Status> {
        let mut id = 0;
        let mut entries = Vec::new();
        let parts = std::mem::take(&mut self.folder);
        let names: Vec<_> =
            parts.iter().map(|part| (part.directory.clone(), part.platform.clone())).collect();
        for (number, part) in parts.into_iter().enumerate() {
            listed(number, &part, &mut entries)?;
            self.told.push(part.view);
            if names.get(number + 1).is_some_and(|(directory, _)| *directory == part.directory) {
                continue;
            }
            let mut told = merged(std::mem::take(&mut entries), |part| &names[part].1)?;
            linked(&mut told);
            for entry in told {
                self.stat(&mut id, entry.stat, entry.source)?;
            }
        }
        self.send(Kind::Stat, 0, None, Vec::new())
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

/// Adds the entries of a part.
fn listed(number: usize, part: &Part, entries: &mut Vec<Entry>) -> Result<(), Status> {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let modified = i64::try_from(now.as_nanos()).unwrap_or(i64::MAX);
    let mut add = |stat: Stat, source, file| {
        let stat = Stat { modified: part.time.unwrap_or(stat.modified), ..stat };
        entries.push(Entry { stat, source, part: number, file });
    };
    if !part.directory.is_empty() {
        add(Stat { modified, ..folder(&part.directory) }, None, None);
    }
    let walked = part.view.walk(&mut |item| {
        if !part.beside.iter().any(|(name, _)| item.path == Path::new(name)) {
            let source = item.is_regular().then(|| Source::Image(number, item.path.clone()));
            let file = item.file.filter(|_| source.is_some());
            add(stat(&part.directory, item), source, file);
        }
        Ok(())
    });
    walked.map_err(fault::status)?;
    for (name, bytes) in &part.beside {
        let path = Path::new(&part.directory).join(name).into_os_string().into_vec();
        let size = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
        // What is attested is its owner's alone, as with BuildKit.
        let stat = Stat { path, mode: 0o600, size, modified, ..Stat::default() };
        add(stat, Some(Source::Bytes(bytes.clone())), None);
    }
    Ok(())
}

/// Makes further names of a file links to the first that is told.
fn linked(entries: &mut [Entry]) {
    let mut first: HashMap<(usize, (u64, u64)), Vec<u8>> = HashMap::new();
    for entry in entries {
        let Some(file) = entry.file else { continue };
        match first.entry((entry.part, file)) {
            Place::Vacant(place) => _ = place.insert(entry.stat.path.clone()),
            Place::Occupied(known) => {
                entry.stat = Stat { link: known.get().clone(), size: 0, ..std::mem::take(&mut entry.stat) };
                entry.source = None;
            }
        }
    }
}

/// The entries in the order in which a receiver wants them, each directory once. A file of one part is no other part's.
fn merged<'n>(mut entries: Vec<Entry>, platform: impl Fn(usize) -> &'n String) -> Result<Vec<Entry>, Status> {
    let path = |entry: &Entry| PathBuf::from(OsString::from_vec(entry.stat.path.clone()));
    let is_directory = |entry: &Entry| entry.stat.mode & DIRECTORY != 0;
    entries.sort_by_cached_key(path);
    let mut merged: Vec<Entry> = Vec::with_capacity(entries.len());
    for entry in entries {
        match merged.last().filter(|last| last.stat.path == entry.stat.path) {
            None => merged.push(entry),
            Some(last) if is_directory(last) && is_directory(&entry) => {}
            Some(last) => {
                return Err(Status::invalid_argument(format!(
                    "cannot overwrite {} from {} with {} when split option is disabled",
                    path(&entry).display(),
                    platform(last.part),
                    platform(entry.part),
                )));
            }
        }
    }
    Ok(merged)
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

#[cfg(test)]
mod tests {
    use super::*;

    fn entries(part: usize, names: &[&str]) -> Vec<Entry> {
        let entry = |name: &&str| {
            let mode = if name.ends_with('/') { DIRECTORY | 0o755 } else { 0o644 };
            let stat = Stat { path: name.trim_end_matches('/').into(), mode, ..Stat::default() };
            Entry { stat, source: None, part, file: None }
        };
        names.iter().map(entry).collect()
    }

    #[test]
    fn a_file_with_several_names_is_sent_once() {
        let mut told = entries(0, &["a", "b", "c", "d"]);
        for (entry, file) in told.iter_mut().zip([1, 2, 1, 1]) {
            entry.file = Some((7, file));
            entry.source = Some(Source::Bytes(Vec::new()));
        }
        told[3].part = 1;
        linked(&mut told);
        let links: Vec<&[u8]> = told.iter().map(|entry| &entry.stat.link[..]).collect();
        assert_eq!(links, [b"", b"", &b"a"[..], b""], "a file of another image is another file");
        assert_eq!(told.iter().map(|e| e.source.is_some()).collect::<Vec<_>>(), [true, true, false, true]);
    }

    fn order(parts: &[&[&str]]) -> Result<Vec<String>, String> {
        let names = ["linux/amd64".to_owned(), "linux/arm64".to_owned()];
        let all = parts.iter().enumerate().flat_map(|(part, names)| entries(part, names)).collect();
        let merged = merged(all, |part| &names[part]).map_err(|status| status.message().to_owned())?;
        Ok(merged.into_iter().map(|entry| String::from_utf8(entry.stat.path).unwrap()).collect())
    }

    #[test]
    fn files_of_several_platforms_are_told_in_one_order() {
        let told = order(&[&["b/", "b/z", "b-c", "zoo"], &["abc", "b/", "b/a"]]).unwrap();
        // What is in a directory comes right after it.
        assert_eq!(told, ["abc", "b", "b/a", "b/z", "b-c", "zoo"]);
        let told = order(&[&["foo_amd64", "zoo", "provenance.linux_amd64.json"]]).unwrap();
        assert_eq!(told, ["foo_amd64", "provenance.linux_amd64.json", "zoo"]);
    }

    #[test]
    fn no_platform_overwrites_the_files_of_another() {
        for theirs in ["b/x", "b/x/"] {
            assert_eq!(
                order(&[&["b/", "b/x"], &["b/", theirs]]).unwrap_err(),
                "cannot overwrite b/x from linux/amd64 with linux/arm64 when split option is disabled"
            );
        }
    }
}
