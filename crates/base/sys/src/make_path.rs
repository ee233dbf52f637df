//! Making what lacks of a path below a root, also where links on the way lead to what isn't there: an image's
//! `/etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf` is to be mounted on, and the file it means is made.
//!
//! The kernel follows no dangling link, so the links are read here, a component at a time: each is opened by its bare name in
//! a directory that is held open, an absolute target starts at the root, `..` stops there, and links of a procfs, which
//! may jump, are refused. Whoever swaps things meanwhile gains what the descriptors already meant. Nothing is
//! allocated: the process between clone and program uses this.

use std::ffi::CStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// What is wanted at the end of a path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Want {
    Directory,
    /// Anything; an empty regular file is made where nothing is.
    File,
}

const PATH_MAX: usize = 4096;
const NAME_MAX: usize = 255;
/// As many as the kernel follows in one path.
const LINKS_MAX: usize = 40;
/// Names that came into being just when we would have made them, and ways back by `..`.
const TRIES_MAX: usize = 128;
const PROC_SUPER_MAGIC: i64 = 0x9fa0;

/// Opens `path` below `root`, with `O_PATH`, and makes what lacks of it: directories with `mode`, a file at its end for
/// everybody to read. With `links` false a link anywhere is `LOOP`.
pub(crate) fn make_path(
    root: BorrowedFd<'_>,
    path: &[u8],
    want: Want,
    mode: Mode,
    links: bool,
) -> Result<OwnedFd, Errno> {
    let mut rest = Rest { bytes: [0; 2 * PATH_MAX], start: 2 * PATH_MAX };
    rest.prepend(path)?;
    let mut done = Done { bytes: [0; PATH_MAX], length: 0 };
    let mut current = open(root, c".", OFlags::DIRECTORY)?;
    let mut name = [0; NAME_MAX + 1];
    let (mut links_left, mut tries_left) = (if links { LINKS_MAX } else { 0 }, TRIES_MAX);
    // Whether `current` is no longer what has been done.
    let mut behind = false;
    while let Some(component) = rest.next(&mut name)? {
        if component == c".." {
            done.pop();
            behind = true;
            continue;
        }
        if behind {
            tries_left = tries_left.checked_sub(1).ok_or(Errno::LOOP)?;
            current = done.open(root)?;
            behind = false;
        }
        let last = rest.is_at_end();
        let found = loop {
            match open(current.as_fd(), component, OFlags::NOFOLLOW) {
                Err(Errno::NOENT) => {}
                other => break other?,
            }
            let made = if last && want == Want::File {
                let mode = Mode::from_raw_mode(0o644);
                rustix::fs::mknodat(&current, component, FileType::RegularFile, mode, 0)
            } else {
                rustix::fs::mkdirat(&current, component, mode)
            };
            match made {
                Err(Errno::EXIST) if tries_left > 0 => tries_left -= 1,
                other => other?,
            }
        };
        match FileType::from_raw_mode(rustix::fs::fstat(&found)?.st_mode) {
            FileType::Directory => {
                done.push(component)?;
                current = found;
            }
            FileType::Symlink => {
                links_left = links_left.checked_sub(1).ok_or(Errno::LOOP)?;
                if rest.follow(found.as_fd())? {
                    done.length = 0;
                    behind = true;
                }
            }
            _ if last && want == Want::File => return Ok(found),
            _ => return Err(Errno::NOTDIR),
        }
    }
    if behind { done.open(root) } else { Ok(current) }
}

fn open(dir: BorrowedFd<'_>, name: &CStr, flags: OFlags) -> Result<OwnedFd, Errno> {
    rustix::fs::openat(dir, name, flags | OFlags::PATH | OFlags::CLOEXEC, Mode::empty())
}

/// What is still to be walked: at the end of the buffer, so that the target of a link goes before it.
struct Rest {
    bytes: [u8; 2 * PATH_MAX],
    start: usize,
}

impl Rest {
    fn prepend(&mut self, text: &[u8]) -> Result<(), Errno> {
        let start = self.start.checked_sub(text.len()).ok_or(Errno::NAMETOOLONG)?;
        self.bytes.get_mut(start..self.start).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(text);
        self.start = start;
        Ok(())
    }

    /// Puts a link's target before the rest, and tells whether it starts at the root.
    fn follow(&mut self, link: BorrowedFd<'_>) -> Result<bool, Errno> {
        if rustix::fs::fstatfs(link)?.f_type == PROC_SUPER_MAGIC {
            return Err(Errno::LOOP);
        }
        let mut target = [0; PATH_MAX];
        let length = rustix::fs::readlinkat_raw(link, c"", &mut target[..])?;
        let target =
            target.get(..length).filter(|target| target.len() < PATH_MAX).ok_or(Errno::NAMETOOLONG)?;
        self.prepend(b"/")?;
        self.prepend(target)?;
        Ok(target.first() == Some(&b'/'))
    }

    fn pending(&self) -> &[u8] {
        self.bytes.get(self.start..).unwrap_or_default()
    }

    /// The next component but `.`, taken off.
    fn next<'n>(&mut self, name: &'n mut [u8; NAME_MAX + 1]) -> Result<Option<&'n CStr>, Errno> {
        loop {
            let skip = self.pending().iter().take_while(|byte| **byte == b'/').count();
            self.start += skip;
            let length = self.pending().iter().take_while(|byte| **byte != b'/').count();
            match self.pending().get(..length).unwrap_or_default() {
                b"" => return Ok(None),
                b"." => self.start += length,
                component => {
                    name.fill(0);
                    name.get_mut(..length)
                        .filter(|room| room.len() <= NAME_MAX)
                        .ok_or(Errno::NAMETOOLONG)?
                        .copy_from_slice(component);
                    self.start += length;
                    let name = CStr::from_bytes_until_nul(name).map_err(|_| Errno::INVAL)?;
                    // A NUL in the path would have cut it.
                    return if name.count_bytes() == length { Ok(Some(name)) } else { Err(Errno::INVAL) };
                }
            }
        }
    }

    /// Whether no component is left.
    fn is_at_end(&self) -> bool {
        self.pending().split(|byte| *byte == b'/').all(|part| matches!(part, b"" | b"."))
    }
}

/// The directory that was come to, as a path without links.
struct Done {
    bytes: [u8; PATH_MAX],
    length: usize,
}

impl Done {
    fn push(&mut self, name: &CStr) -> Result<(), Errno> {
        let name = name.to_bytes();
        // The last byte stays zero.
        let room = self.bytes.get_mut(self.length..PATH_MAX - 1).unwrap_or_default();
        let (slash, room) = room.split_first_mut().ok_or(Errno::NAMETOOLONG)?;
        *slash = b'/';
        room.get_mut(..name.len()).ok_or(Errno::NAMETOOLONG)?.copy_from_slice(name);
        self.length += name.len() + 1;
        Ok(())
    }

    fn pop(&mut self) {
        let path = self.bytes.get(..self.length).unwrap_or_default();
        self.length = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
    }

    /// Opens it anew, where nothing may be a link by now.
    fn open(&mut self, root: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
        if self.length == 0 {
            return open(root, c".", OFlags::DIRECTORY);
        }
        self.bytes.get_mut(self.length..).unwrap_or_default().fill(0);
        let path = CStr::from_bytes_until_nul(&self.bytes).map_err(|_| Errno::NAMETOOLONG)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_SYMLINKS;
        rustix::fs::openat2(root, path, flags, Mode::empty(), resolve)
    }
}

#[cfg(test)]
mod tests;
