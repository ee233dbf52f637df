//! The parent's side of a start: clone, what only a parent can do, and the conversation up to `execve`.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use oci::runtime::IdMapping;
use sys::child::{Child, Message, Spawn, Step, spawn};

use crate::Error;
use crate::cgroup::Cgroup;
use crate::namespaces::Namespaces;
use crate::plan::{Label, Plan, said};
use crate::seccomp::agent::Agent;

/// What the parent does to the new process before its first step.
pub(crate) struct Parent<'a> {
    pub cgroup: Option<&'a Cgroup>,
    /// A process of the container: where it is, there is room if its group takes no processes.
    pub beside: Option<i32>,
    /// Of a new user namespace.
    pub maps: Option<(&'a [IdMapping], &'a [IdMapping])>,
    pub oom_score_adj: Option<i32>,
    /// Of a filter that notifies.
    pub agent: Option<Agent>,
}

/// A process that stands before its program. Dropping it kills and reaps the process.
#[derive(Debug)]
pub(crate) struct Waiting {
    child: Child,
    labels: Vec<Label>,
    /// Its program runs: it had nothing to wait for.
    runs: bool,
    /// Another process will take its place ([`Step::Move`]).
    moves: bool,
    pub master: Option<OwnedFd>,
    pub warnings: Vec<String>,
}

/// Clones, and lets the child work up to its readiness. `at_sync` runs when the child asks for it.
pub(crate) fn launch(
    namespaces: &Namespaces,
    plan: Plan,
    parent: &Parent<'_>,
    mut at_sync: impl FnMut(i32) -> Result<(), Error>,
) -> Result<Waiting, Error> {
    let directory =
        parent.cgroup.map(Cgroup::birthplace).transpose().map_err(cgroup_error(parent))?.flatten();
    let child = clone(namespaces, directory.as_ref(), &plan);
    let child = match (&child, parent.cgroup.zip(parent.beside)) {
        (Err(Error::Call { source, .. }), Some((cgroup, pid)))
            if source.kind() == io::ErrorKind::ResourceBusy =>
        {
            match cgroup.birthplace_beside(pid).map_err(cgroup_error(parent))? {
                Some(directory) => clone(namespaces, Some(&directory), &plan),
                None => child,
            }
        }
        _ => child,
    }?;
    // The child has its copies: a pipe's end kept here would hide the end of file.
    let Plan { steps, labels, warnings } = plan;
    let asked = !steps.iter().any(|step| matches!(step, Step::Unasked));
    let moves = steps.iter().any(|step| matches!(step, Step::Move));
    drop(steps);
    let mut waiting = Waiting { child, labels, runs: false, moves, master: None, warnings };
    let pid = waiting.child.pid();
    if let Some((uids, gids)) = parent.maps {
        crate::userns::write_maps(pid, uids, gids)?;
    }
    if let Some(score) = parent.oom_score_adj {
        adjust_oom_score(pid, score, &mut waiting.warnings)?;
    }
    if asked {
        waiting.child.go().map_err(talk)?;
    }
    loop {
        match waiting.hear()? {
            Message::End if !asked && !waiting.moves => {
                waiting.runs = true;
                return Ok(waiting);
            }
            Message::Sync => {
                at_sync(waiting.pid())?;
                waiting.child.proceed().map_err(talk)?;
            }
            Message::Listener(number) => {
                let call = |source| Error::Call { attempt: "take the seccomp listener".to_owned(), source };
                let listener = waiting.child.take_fd(number).map_err(call)?;
                let agent = parent.agent.as_ref();
                agent
                    .ok_or_else(|| call(io::ErrorKind::NotConnected.into()))?
                    .send(&listener, waiting.pid())?;
                waiting.child.proceed().map_err(talk)?;
            }
            Message::Ready => return Ok(waiting),
            _ => return Err(waiting.died()),
        }
    }
}

fn clone(namespaces: &Namespaces, cgroup: Option<&OwnedFd>, plan: &Plan) -> Result<Child, Error> {
    let (user, cgroup) = (namespaces.birthplace(), cgroup.map(OwnedFd::as_fd));
    namespaces.around(|| spawn(&Spawn { namespaces: namespaces.clone, user, cgroup, steps: &plan.steps }))
}

fn cgroup_error<'a>(parent: &'a Parent<'_>) -> impl Fn(crate::cgroup::Error) -> Error + 'a {
    |source| Error::Cgroup { path: parent.cgroup.map(|c| c.path().to_owned()).unwrap_or_default(), source }
}

fn talk(source: io::Error) -> Error {
    Error::Call { attempt: "talk to the new process".to_owned(), source }
}

fn adjust_oom_score(pid: i32, score: i32, warnings: &mut Vec<String>) -> Result<(), Error> {
    let path = format!("/proc/{pid}/oom_score_adj");
    match std::fs::write(&path, score.to_string()) {
        // Lowering it takes CAP_SYS_RESOURCE.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => {
            warnings.push(format!("oom_score_adj {score} is not permitted here"));
            Ok(())
        }
        other => other.map_err(|source| Error::Call { attempt: format!("write {path}"), source }),
    }
}

impl Waiting {
    pub fn pid(&self) -> i32 {
        self.child.pid()
    }

    pub fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.child.pidfd()
    }

    /// The next message that is for the caller; warnings and the master are kept, failures become errors.
    fn hear(&mut self) -> Result<Message, Error> {
        loop {
            match self.child.receive().map_err(talk)? {
                Message::Failed { step, errno, text } => {
                    return Err(match self.labels.get(step) {
                        Some(label) => label.error(errno, &text),
                        None => Error::Died { how: said(errno) },
                    });
                }
                Message::Warning { step, errno } => {
                    if let Some(Label::Step(label)) = self.labels.get(step) {
                        self.warnings.push(format!("{label}: {}", said(errno)));
                    }
                }
                Message::Master(fd) => self.master = Some(fd),
                Message::Moved(pid) => {
                    self.child.moved(pid).map_err(talk)?;
                    self.moves = false;
                }
                other => return Ok(other),
            }
        }
    }

    fn died(&mut self) -> Error {
        let how = match self.child.pidfd().map(sys::child::wait) {
            Some(Ok(sys::child::Exit::Signal(signal))) => format!("killed by signal {signal}"),
            Some(Ok(sys::child::Exit::Code(code))) => format!("exited with code {code}"),
            _ => "gone".to_owned(),
        };
        Error::Died { how }
    }

    pub fn behind_gate(&self) -> (usize, &[Label]) {
        let gate = self.labels.iter().position(|label| matches!(label, Label::Gate));
        let first = gate.map_or(self.labels.len(), |gate| gate + 1);
        (first, self.labels.get(first..).unwrap_or_default())
    }

    /// Lets the process go up to its gate, and gives it up.
    pub fn leave(self) -> Result<OwnedFd, Error> {
        self.child.proceed().map_err(talk)?;
        self.child.release().ok_or_else(|| Error::Died { how: "gone".to_owned() })
    }

    /// Runs the program, and gives the pidfd of the running process.
    pub fn start(mut self) -> Result<(OwnedFd, Vec<String>), Error> {
        if !self.runs {
            self.child.proceed().map_err(talk)?;
        }
        while !self.runs {
            match self.hear()? {
                Message::End => self.runs = true,
                Message::Sync | Message::Ready => self.child.proceed().map_err(talk)?,
                _ => {}
            }
        }
        let warnings = std::mem::take(&mut self.warnings);
        match self.child.release() {
            Some(pidfd) => Ok((pidfd, warnings)),
            None => Err(Error::Died { how: "gone".to_owned() }),
        }
    }
}
