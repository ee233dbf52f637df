//! Network namespaces as descriptors (man 7 network_namespaces).
//!
//! A namespace is made and entered on a thread of its own, because `unshare` and `setns` move one thread
//! only and the caller's other threads must stay where they are. Nothing is mounted: the namespace lives
//! as long as a descriptor or a process holds it.

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, UnshareFlags};
use std::os::fd::{BorrowedFd, OwnedFd};
use std::thread::JoinHandle;

/// The calling thread's network namespace.
pub fn current() -> Result<OwnedFd, Errno> {
    rustix::fs::open("/proc/thread-self/ns/net", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
}

/// A namespace that is being made: the kernel takes its time.
pub struct Coming<T> {
    thread: JoinHandle<Result<(OwnedFd, T), Errno>>,
}

/// Begins to make a new, empty network namespace. `prepare` runs inside of it before it is handed out.
pub fn begin<T: Send + 'static>(prepare: impl FnOnce() -> T + Send + 'static) -> Result<Coming<T>, Errno> {
    let make = || {
        unshare()?;
        let prepared = prepare();
        Ok((current()?, prepared))
    };
    Ok(Coming { thread: thread().spawn(make).map_err(no_thread)? })
}

impl<T> Coming<T> {
    /// The namespace, and what its preparation gave.
    pub fn get(self) -> Result<(OwnedFd, T), Errno> {
        joined(self.thread.join())
    }
}

/// A new, empty network namespace. `prepare` runs inside of it before it is handed out.
pub fn create(prepare: impl FnOnce() -> Result<(), Errno> + Send + 'static) -> Result<OwnedFd, Errno> {
    let (namespace, prepared) = begin(prepare)?.get()?;
    prepared.map(|()| namespace)
}

/// Runs `work` in the given network namespace: sockets that it opens and `/proc/sys/net` belong to it.
pub fn within<T: Send>(namespace: BorrowedFd<'_>, work: impl FnOnce() -> T + Send) -> Result<T, Errno> {
    on_thread(|| {
        rustix::thread::move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network))?;
        Ok(work())
    })
}

#[allow(unsafe_code)]
fn unshare() -> Result<(), Errno> {
    // SAFETY: only CLONE_FILES has the I/O-safety hazard that makes this function unsafe.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
}

fn on_thread<T: Send>(work: impl FnOnce() -> Result<T, Errno> + Send) -> Result<T, Errno> {
    std::thread::scope(|scope| joined(thread().spawn_scoped(scope, work).map_err(no_thread)?.join()))
}

fn thread() -> std::thread::Builder {
    std::thread::Builder::new().name("netns".into()).stack_size(256 * 1024)
}

fn no_thread(error: std::io::Error) -> Errno {
    Errno::from_io_error(&error).unwrap_or(Errno::AGAIN)
}

fn joined<T>(outcome: std::thread::Result<Result<T, Errno>>) -> Result<T, Errno> {
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::netlink::{Message, Protocol, Socket};
    use std::os::fd::AsFd;

    #[test]
    fn a_new_namespace_has_only_loopback() {
        let namespace = create(|| Ok(())).unwrap();
        let links = within(namespace.as_fd(), || {
            Socket::open(Protocol::Route).unwrap().dump(&Message::new(18, 0, &[0; 16])).unwrap()
        });
        assert_eq!(links.unwrap().len(), 1);
    }
}
