//! The container's questions for names: the `dns` crate answers, the loop tells it when.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use rustix::event::epoll::EventFlags;

use super::Monitor;
use super::poll::Token;
use super::requests::{failure, system};
use crate::protocol::{Failure, FailureKind};

impl Monitor {
    /// Answers from now on what comes to the two sockets, until the final exit.
    pub(super) fn serve_names(
        &mut self,
        config: &dns::Config,
        mut sockets: VecDeque<OwnedFd>,
    ) -> Result<(), Failure> {
        let Some(container) = &mut self.container else { return Ok(()) };
        let (Some(udp), Some(tcp)) = (sockets.pop_front(), sockets.pop_front()) else {
            return Err(failure(FailureKind::Invalid, "the sockets for questions are missing"));
        };
        let netns = container.netns.as_ref().map(OwnedFd::try_clone).transpose().map_err(|e| system(&e))?;
        let server = dns::Server::new(config, udp, tcp, netns).map_err(|e| system(&e))?;
        self.poll.add(&server, Token::Names, EventFlags::IN).map_err(|e| system(&e))?;
        container.names = Some(server);
        Ok(())
    }

    pub(super) fn answer_questions(&mut self) {
        if let Some(names) = self.container.as_mut().and_then(|container| container.names.as_mut()) {
            names.work();
        }
    }
}
