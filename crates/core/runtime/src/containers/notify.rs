//! What a container's program tells a service manager: a socket in a folder of the container's own, which is mounted into it, so
//! that the manager's socket is nothing that a container sees (sd_notify(3)).

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::path::Path;

use oci::runtime::{Mount, Spec};
use rustix::event::{PollFd, PollFlags};
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::{Container, Error};

/// Of the folder in the container's own, and of the socket in that.
pub(super) const FOLDER: &str = "notify";
const SOCKET: &str = "notify.sock";
/// Where the folder is in the container.
const INSIDE: &str = "/run/notify";
/// Longer messages are cut. The manager's own are of some lines.
const LONGEST: usize = 4096;

/// The socket of one container.
#[derive(Debug)]
pub struct Notify {
    socket: UnixDatagram,
}

/// Has a container find the folder, which lies at `source`, and its program the socket.
pub(super) fn adapt(spec: &mut Spec, source: &Path) {
    let options = ["bind", "nosuid", "noexec", "nodev", "ro"].map(str::to_owned).to_vec();
    spec.mounts.push(Mount {
        destination: INSIDE.into(),
        source: source.to_path_buf(),
        options,
        ..Mount::default()
    });
    if let Some(process) = &mut spec.process {
        process.env.push(format!("NOTIFY_SOCKET={INSIDE}/{SOCKET}"));
    }
}

impl Notify {
    /// Listens for a container that was created with such a folder.
    pub fn bind(container: &Container) -> Result<Option<Notify>, Error> {
        let fail = |source| Error::Notify { source };
        let Some(folder) = container.folder.notify()? else { return Ok(None) };
        match rustix::fs::unlinkat(&folder, SOCKET, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(e) => return Err(fail(e.into())),
        }
        // Through the descriptor: the name of a socket may have a hundred bytes only, and of the folder many more.
        let socket =
            UnixDatagram::bind(format!("/proc/self/fd/{}/{SOCKET}", folder.as_raw_fd())).map_err(fail)?;
        // Whoever the program is, in whatever user namespace.
        let mode = Mode::from_raw_mode(0o777);
        rustix::fs::chmodat(&folder, SOCKET, mode, AtFlags::empty()).map_err(|e| fail(e.into()))?;
        Ok(Some(Notify { socket }))
    }

    /// Waits for the word that the program is ready, and gives it; `None` if it has ended without a word.
    pub fn ready(&self, process: BorrowedFd<'_>) -> Result<Option<String>, Error> {
        self.wait(process).map_err(|source| Error::Notify { source })
    }

    fn wait(&self, process: BorrowedFd<'_>) -> io::Result<Option<String>> {
        self.socket.set_nonblocking(true)?;
        let mut buffer = [0; LONGEST];
        loop {
            let mut polled =
                [PollFd::new(&self.socket, PollFlags::IN), PollFd::from_borrowed_fd(process, PollFlags::IN)];
            match rustix::event::poll(&mut polled, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(e) => return Err(e.into()),
            }
            let ended = !polled[1].revents().is_empty();
            match self.socket.recv(&mut buffer) {
                Ok(length) => {
                    let message = String::from_utf8_lossy(&buffer[..length]);
                    if let Some(word) = message.lines().find(|line| line.starts_with("READY=")) {
                        return Ok(Some(word.to_owned()));
                    }
                }
                // All that it has said was read.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock && ended => return Ok(None),
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(e) => return Err(e),
            }
        }
    }
}

impl super::folder::Folder {
    /// Makes the folder that a container gets to see.
    pub(super) fn make_notify(&self) -> Result<(), Error> {
        // Whatever the umask is: it is looked into from a user namespace, too.
        let mode = Mode::from_raw_mode(0o755);
        rustix::fs::mkdirat(self, FOLDER, mode)
            .and_then(|()| rustix::fs::chmodat(self, FOLDER, mode, AtFlags::empty()))
            .map_err(|e| Error::Notify { source: e.into() })
    }

    fn notify(&self) -> Result<Option<std::os::fd::OwnedFd>, Error> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(self, FOLDER, flags, Mode::empty()) {
            Ok(folder) => Ok(Some(folder)),
            Err(Errno::NOENT) => Ok(None),
            Err(e) => Err(Error::Notify { source: e.into() }),
        }
    }

    /// Removes it with its socket, where there is one.
    pub(super) fn remove_notify(&self) -> Result<(), Error> {
        let Some(folder) = self.notify()? else { return Ok(()) };
        let removed = match rustix::fs::unlinkat(folder.as_fd(), SOCKET, AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => rustix::fs::unlinkat(self, FOLDER, AtFlags::REMOVEDIR),
            Err(e) => Err(e),
        };
        match removed {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(e) => Err(Error::Notify { source: e.into() }),
        }
    }
}
