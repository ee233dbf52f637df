//! Networks of steps that come one after the other: to make one and take it down again costs more than many a step.
//!
//! A step can't change its network: it has no capability over it, and its processes have ended. What could be left are the
//! ends of its connections, which would keep their ports from the next one. Only a network without any is used again.

use crate::request::NetHandle;
use std::os::fd::AsFd;
use std::sync::{Mutex, PoisonError};

/// What counts the sockets of a network namespace.
const COUNTS: [&str; 2] = ["/proc/thread-self/net/sockstat", "/proc/thread-self/net/sockstat6"];

/// Networks that no step uses at the moment; they are taken down when the build ends.
#[derive(Default)]
pub(crate) struct Idle(Mutex<Vec<NetHandle>>);

impl Idle {
    /// A network to be used.
    pub fn take(&self) -> Option<NetHandle> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop()
    }

    /// Keeps a network for the next step, or takes it down if something is left in it.
    pub fn give(&self, handle: NetHandle) {
        if is_clean(&handle) {
            self.0.lock().unwrap_or_else(PoisonError::into_inner).push(handle);
        }
    }
}

fn is_clean(handle: &NetHandle) -> bool {
    let Some(namespace) = &handle.netns else { return false };
    let read = || COUNTS.map(|path| std::fs::read_to_string(path).is_ok_and(|text| is_unused(&text)));
    sys::netns::within(namespace.as_fd(), read).is_ok_and(|unused| unused.into_iter().all(|unused| unused))
}

/// Whether no line tells of sockets in use, or of connections that wait for their end.
fn is_unused(text: &str) -> bool {
    text.lines().all(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().skip(1).collect();
        words.chunks(2).all(|pair| match pair {
            ["inuse" | "tw", count] => *count == "0",
            _ => true,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_sockets() {
        let none = "sockets: used 0\nTCP: inuse 0 orphan 3 tw 0 alloc 4 mem 366\nUDP: inuse 0 mem 256\nFRAG: inuse 0 memory 0\n";
        assert!(is_unused(none));
        for (from, to) in
            [("TCP: inuse 0", "TCP: inuse 1"), ("tw 0", "tw 2"), ("UDP: inuse 0", "UDP: inuse 1")]
        {
            assert!(!is_unused(&none.replace(from, to)), "{to}");
        }
        assert!(is_unused("TCP6: inuse 0\nRAW6: inuse 0\nFRAG6: inuse 0 memory 0\n"));
    }
}
