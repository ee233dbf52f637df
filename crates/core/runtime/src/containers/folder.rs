//! The folder of one container, held by a descriptor: another container that takes the id later is never mistaken for
//! this one.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use oci::runtime::Spec;
use rustix::fs::{AtFlags, CWD, FileType, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use super::record::{self, Record};
use super::{Error, bundle};
use crate::create::Gate;

const LOCK: &str = "lock";
const RECORD: &str = "state.json";
const CONFIG: &str = "config.json";
const GO: &str = "go";
const SAID: &str = "said";

/// A folder that exists, or did when it was opened.
#[derive(Debug)]
pub(super) struct Folder {
    fd: OwnedFd,
    path: PathBuf,
}

/// The right to change a container; it ends with this value.
#[derive(Debug)]
pub(super) struct Lock {
    _file: OwnedFd,
}

/// The two ends that a starter holds.
#[derive(Debug)]
pub(super) struct Starter {
    pub go: OwnedFd,
    pub said: OwnedFd,
}

impl Folder {
    pub fn open(root: &Path, id: &str) -> Result<Folder, Error> {
        let path = root.join(id);
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::open(&path, flags, Mode::empty()) {
            Ok(fd) => Ok(Folder { fd, path }),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Err(Error::NotFound),
            Err(e) => Err(Error::Folder { what: "open the folder", folder: path, source: e.into() }),
        }
    }

    /// Makes the folder, locked.
    pub fn create(root: &Path, id: &str) -> Result<(Folder, Lock), Error> {
        use std::os::unix::fs::DirBuilderExt;
        let path = root.join(id);
        let make = |what, result: io::Result<()>| match result {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Err(Error::Exists),
            other => other.map_err(|source| Error::Folder { what, folder: path.clone(), source }),
        };
        match std::fs::DirBuilder::new().mode(0o700).create(&path) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let parents = std::fs::DirBuilder::new().mode(0o711).recursive(true).create(root);
                make("make the parents", parents)?;
                make("make the folder", std::fs::DirBuilder::new().mode(0o700).create(&path))?;
            }
            other => make("make the folder", other)?,
        }
        let folder = Folder::open(root, id)?;
        let lock = folder.lock()?;
        Ok((folder, lock))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn fail(&self, what: &'static str) -> impl FnOnce(Errno) -> Error + '_ {
        move |e| match e {
            // Somebody has deleted the container meanwhile.
            Errno::NOENT => Error::NotFound,
            e => Error::Folder { what, folder: self.path.clone(), source: e.into() },
        }
    }

    /// Waits for the right to change the container.
    pub fn lock(&self) -> Result<Lock, Error> {
        let file = self.lock_file()?;
        rustix::fs::flock(&file, FlockOperation::LockExclusive).map_err(self.fail("lock the folder"))?;
        Ok(Lock { _file: file })
    }

    /// Whether somebody is changing the container right now.
    pub fn is_locked(&self) -> Result<bool, Error> {
        match rustix::fs::flock(&self.lock_file()?, FlockOperation::NonBlockingLockShared) {
            Err(Errno::WOULDBLOCK) => Ok(true),
            other => other.map(|()| false).map_err(self.fail("lock the folder")),
        }
    }

    fn lock_file(&self) -> Result<OwnedFd, Error> {
        let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.fd, LOCK, flags, Mode::from_raw_mode(0o600))
            .map_err(self.fail("open the lock"))
    }

    pub fn read_record(&self) -> Result<Record, Error> {
        let text = self.read(RECORD, "read the state")?;
        let bad = |reason| Error::Record { what: "read the state", folder: self.path.clone(), reason };
        let record: Record = serde_json::from_slice(&text).map_err(|e| bad(e.to_string()))?;
        if record.version != record::VERSION {
            return Err(bad(format!("it is of version {}, not {}", record.version, record::VERSION)));
        }
        Ok(record)
    }

    pub fn write_record(&self, record: &Record) -> Result<(), Error> {
        let what = "write the state";
        let bad =
            |e: serde_json::Error| Error::Record { what, folder: self.path.clone(), reason: e.to_string() };
        let text = serde_json::to_vec(record).map_err(bad)?;
        self.write(RECORD, &text, what)
    }

    pub fn read_spec(&self) -> Result<Spec, Error> {
        let text = self.read(CONFIG, "read the specification")?;
        bundle::parse(&text, &self.path.join(CONFIG))
    }

    pub fn write_spec(&self, text: &[u8]) -> Result<(), Error> {
        self.write(CONFIG, text, "write the specification")
    }

    /// After a change.
    pub fn rewrite_spec(&self, spec: &Spec) -> Result<(), Error> {
        let bad = |reason: String| Error::Record {
            what: "write the specification",
            folder: self.path.clone(),
            reason,
        };
        self.write_spec(&serde_json::to_vec(spec).map_err(|e| bad(e.to_string()))?)
    }

    fn read(&self, name: &str, what: &'static str) -> Result<Vec<u8>, Error> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, name, flags, Mode::empty()).map_err(self.fail(what))?;
        let mut text = Vec::new();
        let read = File::from(file).read_to_end(&mut text);
        read.map_err(|source| Error::Folder { what, folder: self.path.clone(), source })?;
        Ok(text)
    }

    /// Under another name, and renamed: a reader sees the old or the new.
    fn write(&self, name: &str, text: &[u8], what: &'static str) -> Result<(), Error> {
        let draft = format!(".{name}");
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::TRUNC | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&self.fd, &draft, flags, Mode::from_raw_mode(0o600))
            .map_err(self.fail(what))?;
        let written = File::from(file).write_all(text);
        written.map_err(|source| Error::Folder { what, folder: self.path.clone(), source })?;
        rustix::fs::renameat(&self.fd, &draft, &self.fd, name).map_err(self.fail(what))
    }

    /// Makes the two fifos.
    pub fn make_gate(&self) -> Result<Gate, Error> {
        let fail = || self.fail("make the fifos");
        for name in [GO, SAID] {
            let mode = Mode::from_raw_mode(0o600);
            rustix::fs::mknodat(&self.fd, name, FileType::Fifo, mode, 0).map_err(fail())?;
        }
        let open = |name| {
            rustix::fs::openat(&self.fd, name, OFlags::RDWR | OFlags::CLOEXEC, Mode::empty()).map_err(fail())
        };
        Ok(Gate { go: open(GO)?, said: open(SAID)? })
    }

    /// Whether somebody waits at the gate; its end that lets go.
    pub fn gate(&self) -> Result<Option<OwnedFd>, Error> {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        match rustix::fs::openat(&self.fd, GO, flags, Mode::empty()) {
            Ok(go) => Ok(Some(go)),
            // No fifo, or nobody who reads it.
            Err(Errno::NOENT | Errno::NXIO) => Ok(None),
            Err(e) => Err(self.fail("open the fifo")(e)),
        }
    }

    /// Both ends, if somebody waits.
    pub fn starter(&self) -> Result<Option<Starter>, Error> {
        // The other end first: once this is open, an end of file there is the other side's.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let said = match rustix::fs::openat(&self.fd, SAID, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(None),
            other => other.map_err(self.fail("open the fifo"))?,
        };
        Ok(self.gate()?.map(|go| Starter { go, said }))
    }

    /// Takes the word back that a starter has given; whether it was still there.
    pub fn take_back(&self) -> Result<bool, Error> {
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let go = match rustix::fs::openat(&self.fd, GO, flags, Mode::empty()) {
            Err(Errno::NOENT) => return Ok(false),
            other => other.map_err(self.fail("open the fifo"))?,
        };
        match rustix::io::read(go, &mut [0u8; 1]) {
            Ok(length) => Ok(length > 0),
            Err(Errno::AGAIN) => Ok(false),
            Err(e) => Err(self.fail("read the fifo")(e)),
        }
    }

    /// Whoever waited has gone through.
    pub fn remove_gate(&self) -> Result<(), Error> {
        for name in [GO, SAID] {
            match rustix::fs::unlinkat(&self.fd, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(self.fail("remove the fifo")(e)),
            }
        }
        Ok(())
    }

    /// The user that the folder belongs to.
    pub fn owner(&self) -> Result<u32, Error> {
        Ok(rustix::fs::fstat(&self.fd).map_err(self.fail("look at the folder"))?.st_uid)
    }

    /// Removes the folder; the record goes last but one, so that an interrupted removal can be repeated.
    pub fn remove(&self) -> Result<(), Error> {
        let what = "remove the folder";
        self.remove_notify()?;
        let draft = |name: &str| format!(".{name}");
        let files = [GO, SAID, CONFIG, &draft(CONFIG), &draft(RECORD), RECORD, LOCK].map(str::to_owned);
        for name in files {
            match rustix::fs::unlinkat(&self.fd, name.as_str(), AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(e) => return Err(self.fail(what)(e)),
            }
        }
        match rustix::fs::unlinkat(CWD, &self.path, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            // What isn't ours, as what an older version has left.
            Err(Errno::NOTEMPTY) => std::fs::remove_dir_all(&self.path).map_err(|source| Error::Folder {
                what,
                folder: self.path.clone(),
                source,
            }),
            Err(e) => Err(self.fail(what)(e)),
        }
    }
}

impl AsFd for Folder {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

impl AsFd for Starter {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.said.as_fd()
    }
}
