//! Making a planned layer: its files, the digests of what is copied and the digest of its archive, all in one pass.
//!
//! Entries are taken in runs by a few threads. A file that is not large is read once; what was read is written, digested and put
//! into the archive. A large one passes through in blocks, while another thread hashes the archive. What another layer has
//! already is not written, only read for the archive.

use super::archive::Archive;
use super::copy::{carried_xattrs, times_of_modification};
use super::digest::with_xattrs;
use super::index::{Stamp, Sum};
use super::plan::{Content, Meta, Node};
use super::walk::{Item, Tree};
use super::{Error, io, joined, open_to_read};
use archive::{Entry, Kind, Packer, Time};
use oci::Digest;
use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use std::collections::BTreeSet;
use std::fs::File;
use std::io::{Read, Write};
use std::ops::Range;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};
use std::sync::{Mutex, MutexGuard, PoisonError};
use sys::root::Root;

/// Threads at most.
const THREADS: usize = 4;
/// Entries of a run.
const RUN: usize = 64;
/// Files of this size and more pass through in blocks of it.
const BLOCK: usize = 1 << 20;
/// Bytes that are written at once. For more the kernel looks for memory in larger pieces, and where most is in use, finding those
/// takes longer than the writing.
const WRITE: usize = 256 << 10;
/// Blocks of a large file that are in memory at once.
const BLOCKS: usize = 4;
/// Bytes of a large file after which what was written of it is sent to the disk.
const OUT: u64 = 64 << 20;
/// Times outside of this many seconds since 1970 are not kept by every file system.
const SECONDS: Range<i64> = 0..1 << 31;

/// What is to be made.
pub struct Work<'a> {
    /// The entries, in order.
    pub nodes: &'a [Node<'a>],
    /// Where they are copied from.
    pub tree: &'a Tree<'a>,
    /// An empty directory on the store's file system.
    pub layer: &'a Root,
    /// The layer that it lies over.
    pub lower: Option<Lower<'a>>,
}

/// Another layer that has some of the entries already.
#[derive(Clone, Copy)]
pub struct Lower<'a> {
    /// Its files.
    pub root: &'a Root,
    /// Which entries it has.
    pub has: &'a [bool],
    /// What else it has, that this layer hasn't.
    pub gone: &'a [PathBuf],
}

/// A layer's files that were made.
pub struct Made {
    /// Digest and length of its archive; none where only a look at the files can tell.
    pub archive: Option<(Digest, u64)>,
    /// Bytes of all files.
    pub size: u64,
    /// Bytes of the files that were written.
    pub own: u64,
    /// The sources that changed meanwhile, by their number among all that was selected.
    pub changed: BTreeSet<usize>,
}

/// Makes the files. `sums` has the digests of files by their number among all that was selected; those that are missing are
/// filled in.
pub fn make(work: &Work<'_>, sums: &mut [Option<Sum>]) -> Result<Made, Error> {
    let maker = Maker {
        work,
        sums: Mutex::new(sums),
        runs: runs(work.nodes),
        next: AtomicUsize::new(0),
        archive: Archive::new(),
        changed: Mutex::default(),
        is_plain: AtomicBool::new(is_plain(work)),
        size: AtomicU64::new(0),
        own: AtomicU64::new(0),
        own_id: (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw()),
        mask: mask(),
    };
    for node in maker.own().filter(|node| node.content == Content::Directory) {
        work.layer.mkdir(&node.path, 0o700).map_err(io("make directory", &node.path))?;
    }
    maker.run()?;
    maker.finish()?;
    let (pieces, is_plain) = (maker.runs.len(), maker.is_plain.into_inner());
    Ok(Made {
        archive: maker.archive.finish(pieces).filter(|_| is_plain),
        size: maker.size.into_inner(),
        own: maker.own.into_inner(),
        changed: maker.changed.into_inner().unwrap_or_else(PoisonError::into_inner),
    })
}

/// Whether the archive can be told beforehand: nothing gets attributes by itself, all times can be kept.
fn is_plain(work: &Work<'_>) -> bool {
    let inherits = work.layer.xattr_names("").unwrap_or_default();
    inherits.iter().all(|name| name != "system.posix_acl_default")
        && work.nodes.iter().all(|node| SECONDS.contains(&node.meta.modified.0))
}

/// The process's mask for the modes of new files; all bits if it can't be told.
fn mask() -> u32 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.and_then(|text| u32::from_str_radix(text.trim(), 8).ok()).unwrap_or(0o777)
}

/// Cuts the entries into pieces of the archive: not too many, not too much, a large file alone.
fn runs(nodes: &[Node<'_>]) -> Vec<Range<usize>> {
    let mut runs = Vec::new();
    let (mut begin, mut bytes) = (0, 0);
    for (at, node) in nodes.iter().enumerate() {
        let size = node.size() as usize;
        if at > begin && (at - begin >= RUN || bytes + size >= BLOCK) {
            runs.push(begin..at);
            (begin, bytes) = (at, 0);
        }
        bytes += size;
    }
    if begin < nodes.len() {
        runs.push(begin..nodes.len());
    }
    runs
}

struct Maker<'w> {
    work: &'w Work<'w>,
    sums: Mutex<&'w mut [Option<Sum>]>,
    runs: Vec<Range<usize>>,
    next: AtomicUsize,
    archive: Archive,
    changed: Mutex<BTreeSet<usize>>,
    is_plain: AtomicBool,
    size: AtomicU64,
    own: AtomicU64,
    own_id: (u32, u32),
    mask: u32,
}

/// What a thread keeps between two files.
struct Hand {
    buffer: Vec<u8>,
    packer: Packer<Vec<u8>>,
    /// The entry of a file: allocated once.
    entry: Entry,
    from: Folder,
    lower: Folder,
    to: Folder,
}

impl Hand {
    /// Packs a file whose content is in the buffer.
    fn pack(&mut self, node: &Node<'_>, length: usize) -> Result<(), archive::Error> {
        let path = self.entry.path.as_mut_os_string();
        path.clear();
        path.push(&node.path);
        describe(&mut self.entry, &node.meta);
        self.entry.size = length as u64;
        self.packer.begin(&self.entry)?;
        self.packer.sink().extend(&self.buffer[..length]);
        self.packer.end(&self.entry)
    }
}

/// The directory that was opened last.
#[derive(Default)]
struct Folder(Option<(PathBuf, OwnedFd)>);

impl Folder {
    /// The directory of this path.
    fn of(&mut self, root: &Root, path: &Path) -> Result<&OwnedFd, Error> {
        let parent = path.parent().unwrap_or(Path::new(""));
        if self.0.as_ref().is_none_or(|(open, _)| open != parent) {
            let flags = OFlags::PATH | OFlags::DIRECTORY;
            let fd = root.open_with(parent, flags, Mode::empty()).map_err(io("open", parent))?;
            self.0 = Some((parent.to_path_buf(), fd));
        }
        match &self.0 {
            Some((_, fd)) => Ok(fd),
            None => Err(Error::Cancelled),
        }
    }
}

impl<'w> Maker<'w> {
    fn has(&self, at: usize) -> bool {
        self.work.lower.is_some_and(|lower| lower.has[at])
    }

    /// The entries that have to be made.
    fn own(&self) -> impl DoubleEndedIterator<Item = &'w Node<'w>> {
        let nodes = self.work.nodes;
        (0..nodes.len()).filter(|at| !self.has(*at)).map(move |at| &nodes[at])
    }

    fn run(&self) -> Result<(), Error> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let threads = processors.min(THREADS).min(self.runs.len());
        std::thread::scope(|scope| {
            let others: Vec<_> = (1..threads).map(|_| scope.spawn(|| self.serve())).collect();
            let mut done = self.serve();
            for other in others {
                let other = other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                done = joined(done, other);
            }
            done
        })
    }

    /// Takes runs until there are none left.
    fn serve(&self) -> Result<(), Error> {
        let mut hand = Hand {
            buffer: vec![0; BLOCK],
            packer: Packer::new(Vec::with_capacity(BLOCK)),
            entry: Entry::new("", Kind::File, 0),
            from: Folder::default(),
            lower: Folder::default(),
            to: Folder::default(),
        };
        loop {
            let piece = self.next.fetch_add(1, Ordering::Relaxed);
            let Some(run) = self.runs.get(piece) else { break };
            let done = if (self.work.tree.cancelled)() {
                Err(Error::Cancelled)
            } else {
                self.piece(piece, run.clone(), &mut hand)
            };
            if done.is_err() {
                self.archive.abort();
                return done;
            }
        }
        Ok(())
    }

    fn sums(&self) -> MutexGuard<'_, &'w mut [Option<Sum>]> {
        self.sums.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn piece(&self, piece: usize, run: Range<usize>, hand: &mut Hand) -> Result<(), Error> {
        if self.work.nodes[run.start].size() as usize >= BLOCK {
            return self.large(piece, run.start, hand);
        }
        hand.packer.sink().clear();
        for at in run {
            let node = &self.work.nodes[at];
            match (&node.content, node.source) {
                (Content::File, Some((number, item))) => self.small(at, number, item, hand)?,
                (Content::Symlink, Some((_, item))) => {
                    let target = item.target.as_deref().unwrap_or(Path::new(""));
                    if !self.has(at) {
                        self.symlink(node, target, hand)?;
                    }
                    pack(hand, &Entry { link: target.to_path_buf(), ..entry(node, Kind::Symlink) })?;
                }
                (Content::Hardlink(first), _) => {
                    pack(hand, &Entry { link: first.clone(), ..entry(node, Kind::HardLink) })?;
                }
                _ => {
                    let mut name = node.path.clone().into_os_string();
                    name.push("/");
                    pack(hand, &Entry { path: name.into(), ..entry(node, Kind::Directory) })?;
                }
            }
        }
        self.archive.add(piece, hand.packer.sink())
    }

    /// A file that is read whole.
    fn small(&self, at: usize, number: usize, item: &Item, hand: &mut Hand) -> Result<(), Error> {
        let node = &self.work.nodes[at];
        let mut file = self.open(at, item, hand)?;
        let wanted = item.stat.size as usize;
        let mut length = 0;
        // A regular file gives less than was asked for at its end only.
        while length < wanted {
            match file.read(&mut hand.buffer[length..wanted]).map_err(io("read", &item.path))? {
                0 => break,
                count => length += count,
            }
        }
        hand.pack(node, length).map_err(packing)?;
        self.size.fetch_add(length as u64, Ordering::Relaxed);
        if self.has(at) {
            return if length == wanted { Ok(()) } else { Err(short(node)) };
        }
        let is_unknown = self.sums()[number].is_none();
        let sum = is_unknown.then(|| *blake3::hash(&hand.buffer[..length]).as_bytes());
        let into = self.create(node, &mut hand.to)?;
        write(&into, &hand.buffer[..length], 0).map_err(io("write", &node.path))?;
        self.own.fetch_add(length as u64, Ordering::Relaxed);
        self.settle(node, number, item, (&file, &into), sum)
    }

    /// A file that passes through in blocks.
    fn large(&self, piece: usize, at: usize, hand: &mut Hand) -> Result<(), Error> {
        let node = &self.work.nodes[at];
        let Some((number, item)) = node.source else { return Err(short(node)) };
        let file = self.open(at, item, hand)?;
        let into = if self.has(at) { None } else { Some(self.create(node, &mut hand.to)?) };
        let mut digest = (into.is_some() && self.sums()[number].is_none()).then(blake3::Hasher::new);
        let size = item.stat.size;
        let entry = Entry { size, ..entry(node, Kind::File) };
        let mut hash = Packer::new(self.archive.take(piece)?);
        hash.begin(&entry).map_err(packing)?;
        let passed = self.pass(item, (&file, into.as_ref()), hash.sink(), &mut digest)?;
        hash.end(&entry).map_err(packing)?;
        self.archive.give(hash.into_sink());
        self.size.fetch_add(passed, Ordering::Relaxed);
        let Some(into) = into else {
            return if passed == size { Ok(()) } else { Err(short(node)) };
        };
        if passed < size {
            // The header said more.
            self.is_plain.store(false, Ordering::Relaxed);
        }
        self.own.fetch_add(passed, Ordering::Relaxed);
        let sum = digest.map(|digest| *digest.finalize().as_bytes());
        self.settle(node, number, item, (&file, &into), sum)
    }

    /// Passes the listed length of a file on, block by block; how much there was.
    fn pass(
        &self,
        item: &Item,
        (file, into): (&File, Option<&File>),
        hash: &mut (impl Write + Send),
        digest: &mut Option<blake3::Hasher>,
    ) -> Result<u64, Error> {
        // Sharing the blocks costs nothing where the file system can do it.
        let into = into.filter(|into| rustix::fs::ioctl_ficlone(into, file).is_err());
        let size = item.stat.size;
        std::thread::scope(|scope| {
            let (full, blocks) = sync_channel::<Vec<u8>>(BLOCKS);
            let (used, empty) = sync_channel(BLOCKS);
            for _ in 0..BLOCKS {
                let _ = used.send(Vec::new());
            }
            scope.spawn(move || {
                for block in blocks {
                    // A sink takes everything.
                    let _ = hash.write_all(&block);
                    let _ = used.send(block);
                }
            });
            let out = into.filter(|_| size >= 2 * OUT).map(|into| send_out(scope, into));
            let mut offset = 0;
            while offset < size {
                if (self.work.tree.cancelled)() {
                    return Err(Error::Cancelled);
                }
                let mut block = empty.recv().unwrap_or_default();
                block.resize(BLOCK.min((size - offset) as usize), 0);
                let count = read(file, &mut block).map_err(io("read", &item.path))?;
                if count == 0 {
                    break;
                }
                block.truncate(count);
                if let Some(digest) = digest {
                    digest.update(&block);
                }
                // What is zero needs no room.
                if let Some(into) = into
                    && block.iter().any(|byte| *byte != 0)
                {
                    write(into, &block, offset).map_err(io("write", &item.path))?;
                }
                offset += count as u64;
                let _ = full.send(block);
                if let Some(out) = out.as_ref().filter(|_| offset % OUT == 0) {
                    let _ = out.try_send(());
                }
            }
            drop(full);
            if let Some(into) = into {
                into.set_len(offset).map_err(io("write", &item.path))?;
            }
            Ok(offset)
        })
    }

    /// The file to be read: of the lower layer if that has it.
    fn open(&self, at: usize, item: &Item, hand: &mut Hand) -> Result<File, Error> {
        let node = &self.work.nodes[at];
        let (folder, path) = match self.work.lower.filter(|lower| lower.has[at]) {
            Some(lower) => (hand.lower.of(lower.root, &node.path)?, &node.path),
            None => (hand.from.of(self.work.tree.root, &item.path)?, &item.path),
        };
        let name = path.file_name().unwrap_or_default();
        open_to_read(|flags| rustix::fs::openat(folder, name, flags, Mode::empty())).map_err(io("open", path))
    }

    fn create(&self, node: &Node<'_>, to: &mut Folder) -> Result<File, Error> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let name = node.path.file_name().unwrap_or_default();
        let mode = Mode::from_raw_mode(node.meta.mode & 0o777);
        let made = rustix::fs::openat(to.of(self.work.layer, &node.path)?, name, flags, mode);
        Ok(File::from(made.map_err(|e| io("create", &node.path)(e.into()))?))
    }

    /// Gives a file what belongs to it, and looks whether its source is what was listed.
    fn settle(
        &self,
        node: &Node<'_>,
        number: usize,
        item: &Item,
        (from, into): (&File, &File),
        sum: Option<Sum>,
    ) -> Result<(), Error> {
        let tree = self.work.tree;
        let now = rustix::fs::fstat(from).map_err(|e| io("stat", &item.path)(e.into()))?;
        let is_same = Stamp::from(&now) == Stamp::of(&item.stat);
        self.set(into, &node.meta).map_err(|e| io("set owner, mode and times of", &node.path)(e.into()))?;
        // Nearly no file has attributes: one call tells. A change of the owner would take capabilities away.
        let has_attributes = rustix::fs::flistxattr_query(from).unwrap_or(0) > 0;
        if has_attributes {
            self.attributes(item, node);
        }
        if let Some(sum) = sum {
            let sum = if has_attributes { with_xattrs(tree, &item.path, sum) } else { sum };
            self.sums()[number] = Some(sum);
        }
        if !is_same {
            self.changed.lock().unwrap_or_else(PoisonError::into_inner).insert(number);
        }
        Ok(())
    }

    /// Owner first: giving a file away takes its set-id bits.
    fn set(&self, file: &File, meta: &Meta) -> rustix::io::Result<()> {
        if meta.owner != self.own_id {
            let (uid, gid) = meta.owner;
            rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))?;
        }
        if meta.mode & (0o7000 | self.mask) != 0 {
            rustix::fs::fchmod(file, Mode::from_raw_mode(meta.mode))?;
        }
        rustix::fs::futimens(file, &times_of_modification(meta.modified))
    }

    fn symlink(&self, node: &Node<'_>, target: &Path, hand: &mut Hand) -> Result<(), Error> {
        let folder = hand.to.of(self.work.layer, &node.path)?;
        let name = node.path.file_name().unwrap_or_default();
        let made = rustix::fs::symlinkat(target, folder, name);
        made.map_err(|e| io("make link", &node.path)(e.into()))?;
        let (uid, gid) = node.meta.owner;
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let times = times_of_modification(node.meta.modified);
        rustix::fs::chownat(folder, name, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)), flags)
            .and_then(|()| rustix::fs::utimensat(folder, name, &times, flags))
            .map_err(|e| io("set owner and times of", &node.path)(e.into()))
    }

    /// Carries attributes over. What the destination refuses is left out, as BuildKit does; only a look can then tell.
    fn attributes(&self, item: &Item, node: &Node<'_>) {
        for (name, value) in carried_xattrs(self.work.tree.root, &item.path) {
            let _ = self.work.layer.set_xattr(&node.path, &name, &value);
            self.is_plain.store(false, Ordering::Relaxed);
        }
    }

    /// Second names, marks of what is gone, and what directories get: writing into them moves their times.
    fn finish(&self) -> Result<(), Error> {
        let layer = self.work.layer;
        for node in self.own() {
            if let Content::Hardlink(first) = &node.content {
                layer.hardlink(first, &node.path).map_err(io("link", &node.path))?;
            }
        }
        for path in self.work.lower.iter().flat_map(|lower| lower.gone) {
            layer.mknod(path, FileType::CharacterDevice, 0, 0).map_err(io("mark", path))?;
        }
        for node in self.own().rev().filter(|node| node.content == Content::Directory) {
            let (uid, gid) = node.meta.owner;
            layer
                .chown(&node.path, uid, gid)
                .and_then(|()| layer.chmod(&node.path, node.meta.mode))
                .and_then(|()| {
                    if let Some((_, item)) = node.source.filter(|(_, item)| !item.is_plain) {
                        self.attributes(item, node);
                    }
                    layer.utimes(&node.path, &times_of_modification(node.meta.modified))
                })
                .map_err(io("set owner, mode and times of", &node.path))?;
        }
        Ok(())
    }
}

/// Has a thread send what was written of a file to the disk whenever it is told to: the sync before the layer gets its name
/// then has little left to wait for.
fn send_out<'scope, 'f: 'scope>(
    scope: &'scope std::thread::Scope<'scope, 'f>,
    file: &'f File,
) -> SyncSender<()> {
    let (tell, told) = sync_channel(1);
    scope.spawn(move || {
        for () in told {
            // Whatever goes wrong here, the sync that counts meets it again.
            let _ = rustix::fs::fdatasync(file);
        }
    });
    tell
}

fn write(file: &File, bytes: &[u8], mut offset: u64) -> std::io::Result<()> {
    for piece in bytes.chunks(WRITE) {
        file.write_all_at(piece, offset)?;
        offset += piece.len() as u64;
    }
    Ok(())
}

/// Fills the block as far as there is something.
fn read(mut file: &File, block: &mut [u8]) -> std::io::Result<usize> {
    let mut length = 0;
    while length < block.len() {
        match file.read(&mut block[length..])? {
            0 => break,
            count => length += count,
        }
    }
    Ok(length)
}

/// A node as packing the layer's files would give it.
fn entry(node: &Node<'_>, kind: Kind) -> Entry {
    let mut entry = Entry::new(&node.path, kind, 0);
    describe(&mut entry, &node.meta);
    entry
}

fn describe(entry: &mut Entry, meta: &Meta) {
    entry.mode = meta.mode;
    (entry.uid, entry.gid) = (meta.owner.0.into(), meta.owner.1.into());
    entry.mtime = Time { seconds: meta.modified.0, nanoseconds: 0 };
}

fn pack(hand: &mut Hand, entry: &Entry) -> Result<(), Error> {
    hand.packer.append(entry).map_err(packing)
}

fn packing(error: archive::Error) -> Error {
    io("pack", "the layer")(std::io::Error::other(error))
}

/// A layer of the store that is not what was noted of it.
fn short(node: &Node<'_>) -> Error {
    io("read", &node.path)(std::io::ErrorKind::UnexpectedEof.into())
}
