//! Where a monitor is found: names below the run directory, and a socket path of any length.

use std::io;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

/// Locked exclusively for the monitor's life.
pub const LOCK: &str = "monitor.lock";
/// The listening socket.
pub const SOCKET: &str = "monitor.sock";
/// The monitor's standard error.
pub const ERRORS: &str = "monitor.err";

/// The directory of one container below the run directory.
pub fn directory(run_dir: &Path, id: &str) -> PathBuf {
    run_dir.join("containers").join(id)
}

/// The engine's file that says whose further process this is. It goes when the process is forgotten.
pub fn exec(run_dir: &Path, id: &str) -> PathBuf {
    run_dir.join("exec").join(id)
}

/// A link to the id of the running container of this name; `None` for what cannot be a name.
pub fn name(run_dir: &Path, name: &str) -> Option<PathBuf> {
    let plain = !name.starts_with('.') && !name.is_empty() && !name.contains('/');
    plain.then(|| run_dir.join("names").join(name))
}

/// Removes such a link if it leads to this container.
pub fn forget_name(link: &Path, id: &str) {
    if std::fs::read_link(link).is_ok_and(|target| target.as_os_str() == id) {
        // Who is faster has given the name to another one, which is found by the database then.
        let _ = std::fs::remove_file(link);
    }
}

/// Connects to the monitor in a directory. The address goes through `/proc/self/fd`, as the path of a socket may have only
/// 107 bytes and an id alone has 64.
pub fn connect(directory: &Path) -> io::Result<UnixStream> {
    let handle = open(directory)?;
    UnixStream::connect(address(&handle))
}

/// Listens in a directory.
pub fn listen(directory: &OwnedFd) -> io::Result<UnixListener> {
    UnixListener::bind(address(directory))
}

/// A handle on a directory.
pub fn open(directory: &Path) -> io::Result<OwnedFd> {
    Ok(rustix::fs::open(directory, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?)
}

fn address(directory: &OwnedFd) -> PathBuf {
    PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()))
}
