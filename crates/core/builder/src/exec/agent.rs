//! The socket of an ssh agent as a step sees it: one of its own, with the owner and mode that the mount asks for, behind which
//! the agent's answers.
//!
//! The agent's own socket belongs to whoever runs it and lies in a directory that others may not enter; neither may change for
//! a build.

use std::fs::{File, Permissions};
use std::io;
use std::net::Shutdown;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;

/// Connections at once: a step that opens more gets no further ones.
const CONNECTIONS: usize = 64;

/// How long to wait where no connection can be had: for the process has no descriptor left, say.
const PAUSE: Duration = Duration::from_millis(100);

/// A socket that hands on; it stops when this is dropped.
pub struct Relay {
    path: PathBuf,
    /// By its descriptor the socket has a short name, which is all that an address has room for.
    short: PathBuf,
    _directory: File,
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Who may use a socket.
#[derive(Debug, Clone, Copy)]
pub struct Owner {
    /// Permission bits.
    pub mode: u32,
    /// User.
    pub uid: u32,
    /// Group.
    pub gid: u32,
}

impl Relay {
    /// Listens at `path` for the agent at `agent`.
    pub fn start(path: &Path, agent: &Path, owner: Owner) -> io::Result<Self> {
        let directory = File::open(path.parent().unwrap_or(Path::new("/")))?;
        let below = PathBuf::from(format!("/proc/self/fd/{}", directory.as_raw_fd()));
        let short = below.join(path.file_name().unwrap_or_default());
        let listener = UnixListener::bind(&short)?;
        chown(path, Some(owner.uid), Some(owner.gid))?;
        std::fs::set_permissions(path, Permissions::from_mode(owner.mode))?;
        let over = Arc::new(AtomicBool::new(false));
        let (agent, ended) = (agent.to_owned(), over.clone());
        let thread = Builder::new().spawn(move || serve(&listener, &agent, &ended))?;
        Ok(Self { path: path.to_owned(), short, _directory: directory, over, thread: Some(thread) })
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.over.store(true, Ordering::SeqCst);
        // Wakes the thread; where that fails it is awake, or has ended.
        let woken = UnixStream::connect(&self.short);
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

fn serve(listener: &UnixListener, agent: &Path, over: &AtomicBool) {
    let count = Arc::new(());
    for stream in listener.incoming() {
        if over.load(Ordering::SeqCst) {
            return;
        }
        let Ok(stream) = stream else {
            std::thread::sleep(PAUSE);
            continue;
        };
        if Arc::strong_count(&count) > CONNECTIONS {
            continue;
        }
        let (agent, held) = (agent.to_owned(), count.clone());
        // Without a thread for it, or an agent that answers, the connection is closed, which tells the step enough.
        let _ = Builder::new().spawn(move || {
            let _held = held;
            let _ = hand_on(&stream, &agent);
        });
    }
}

/// Both ways, until either side has ended.
fn hand_on(stream: &UnixStream, agent: &Path) -> io::Result<()> {
    let agent = UnixStream::connect(agent)?;
    std::thread::scope(|scope| {
        let there = || {
            let _ = io::copy(&mut &*stream, &mut &agent);
            let _ = agent.shutdown(Shutdown::Write);
        };
        Builder::new().spawn_scoped(scope, there)?;
        let _ = io::copy(&mut &agent, &mut &*stream);
        let _ = stream.shutdown(Shutdown::Both);
        Ok(())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::os::unix::fs::MetadataExt;

    #[test]
    fn both_ways_with_an_owner_of_its_own() {
        let dir = tempfile::tempdir().unwrap();
        let long = dir.path().join("long".repeat(30));
        std::fs::create_dir(&long).unwrap();
        let (agent, path) = (dir.path().join("agent"), long.join("relay"));
        let listener = UnixListener::bind(&agent).unwrap();
        let echo = std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut asked = [0; 4];
            stream.read_exact(&mut asked).unwrap();
            stream.write_all(&[&asked[..], b"!"].concat()).unwrap();
        });
        let relay = Relay::start(&path, &agent, Owner { mode: 0o640, uid: 7, gid: 8 }).unwrap();
        let status = std::fs::metadata(&path).unwrap();
        assert_eq!((status.mode() & 0o777, status.uid(), status.gid()), (0o640, 7, 8));
        let mut stream = UnixStream::connect(&relay.short).unwrap();
        stream.write_all(b"ping").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "ping!");
        echo.join().unwrap();
        drop(relay);
        assert!(!path.exists());
    }
}
