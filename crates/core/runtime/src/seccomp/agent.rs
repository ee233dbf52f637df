//! Hands the listener of a filter that notifies (`SCMP_ACT_NOTIFY`) to its agent: the container process state as JSON with
//! the descriptor by SCM_RIGHTS, one connection each.

use std::io::{IoSlice, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use oci::runtime::{ContainerProcessState, Seccomp, State};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags};

use crate::Error;

/// Who listens, and what it is told.
#[derive(Debug)]
pub(crate) struct Agent {
    path: String,
    metadata: String,
    /// Of the container; without a pid the process is its init.
    state: State,
}

impl Agent {
    pub fn new(profile: &Seccomp, state: State) -> Agent {
        Agent { path: profile.listener_path.clone(), metadata: profile.listener_metadata.clone(), state }
    }

    /// `pid` is the process that has loaded the filter.
    pub fn send(&self, listener: &OwnedFd, pid: i32) -> Result<(), Error> {
        let mut state = self.state.clone();
        state.pid = state.pid.or(Some(pid));
        let document = ContainerProcessState {
            oci_version: oci::runtime::VERSION.to_owned(),
            fds: vec!["seccompFd".to_owned()],
            pid,
            metadata: self.metadata.clone(),
            state,
        };
        let fail =
            |source| Error::Call { attempt: format!("send the seccomp listener to {}", self.path), source };
        let bytes = serde_json::to_vec(&document).map_err(|e| fail(e.into()))?;
        let mut stream = UnixStream::connect(&self.path).map_err(fail)?;
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let fds = [listener.as_fd()];
        ancillary.push(SendAncillaryMessage::ScmRights(&fds));
        let sent =
            rustix::net::sendmsg(&stream, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL);
        let sent = sent.map_err(|e| fail(e.into()))?;
        stream.write_all(bytes.get(sent..).unwrap_or_default()).map_err(fail)
    }
}
