//! Hooks of the specification: programs with the container's state on their standard input and no environment
//! but their own.
//!
//! Those of the runtime namespace are run where the runtime was called. A process that has to enter the container's user
//! namespace to make it at all leaves a copy of itself behind for that, which ends with it.

use std::borrow::Cow;
use std::io::{self, BufRead, BufReader, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use oci::runtime::{Hook, Hooks, Spec, State};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::process::{Pid, PidfdFlags, Signal};
use serde::{Deserialize, Serialize};
use sys::child::{Argv, HookStep, Step};
use sys::userns::Behind;

use crate::Error;
use crate::plan::{Label, Plan, c_string, said};

/// What hooks are told.
#[derive(Clone, Debug)]
pub(crate) struct Subject {
    pub id: String,
    pub bundle: std::path::PathBuf,
    pub annotations: std::collections::BTreeMap<String, String>,
}

impl Subject {
    pub fn document(&self, status: &str, pid: Option<i32>) -> State {
        State {
            oci_version: oci::runtime::VERSION.to_owned(),
            id: self.id.clone(),
            status: status.to_owned(),
            pid,
            bundle: self.bundle.clone(),
            annotations: self.annotations.clone(),
        }
    }

    fn state(&self, status: &str, pid: Option<i32>) -> Result<String, Error> {
        serde_json::to_string(&self.document(status, pid))
            .map_err(|e| Error::Call { attempt: "write the state for hooks".to_owned(), source: e.into() })
    }

    /// Runs hooks in the machine's namespaces, one after the other; the first failure ends it. As runc's they are in
    /// the bundle, which may be gone when they are the last ones.
    pub fn run(
        &self,
        kind: &'static str,
        hooks: &[Hook],
        status: &str,
        pid: Option<i32>,
    ) -> Result<(), Error> {
        for hook in hooks {
            let order = Order {
                hook: Cow::Borrowed(hook),
                state: self.state(status, pid)?,
                directory: self.bundle.is_dir().then(|| self.bundle.clone()),
            };
            let failed = |reason| Error::Hook { kind, path: hook.path.clone(), reason };
            match &*behind() {
                Some(behind) => have_run(behind, &order),
                None => order.run(),
            }
            .map_err(failed)?;
        }
        Ok(())
    }

    /// Plans hooks that the new process itself runs. Before the pivot they get the machine's null device.
    pub fn plan(
        &self,
        kind: &'static str,
        hooks: &[Hook],
        status: &str,
        plan: &mut Plan,
    ) -> Result<(), Error> {
        const MARK: i32 = 1_234_567_891;
        let null = kind == "createContainer";
        // The mounts around them are made without a mask.
        let masked = null && !hooks.is_empty();
        if masked {
            plan.push("change to the root file system for hooks", Step::ChdirRoot);
            plan.push("set umask", Step::Umask(0o022));
        }
        for hook in hooks {
            let state = self.state(status, Some(MARK))?;
            let pid_at = state.rfind(&MARK.to_string()).unwrap_or_default();
            let bad = |_| Error::Spec { reason: format!("{kind} hook contains a NUL byte") };
            let argv = if hook.args.is_empty() {
                Argv::new([hook.path.as_os_str().as_encoded_bytes()])
            } else {
                Argv::new(hook.args.iter().map(String::as_bytes))
            };
            let step = HookStep {
                path: c_string(hook.path.as_os_str().as_encoded_bytes(), "a hook")?,
                argv: argv.map_err(bad)?,
                envp: Argv::new(hook.env.iter().map(String::as_str)).map_err(bad)?,
                state: state.into_bytes(),
                pid_at,
                timeout_ms: hook
                    .timeout
                    .map_or(-1, |s| i32::try_from(s).unwrap_or(i32::MAX).saturating_mul(1000)),
                null: null.then(crate::process::null).transpose()?,
            };
            plan.labeled(Label::Hook { kind, path: hook.path.clone() }, Step::Hook(Box::new(step)));
        }
        if masked {
            plan.push("set umask", Step::Umask(0));
        }
        Ok(())
    }
}

/// Runs the `poststop` hooks, which is the caller's to do after the container is gone. Failures of one don't
/// hold up the next; they come back.
pub fn poststop(id: &str, spec: &Spec, bundle: Option<&Path>) -> Vec<Error> {
    let subject = subject(id, spec, bundle);
    let hooks = spec.hooks.as_ref().map(|hooks| hooks.poststop.as_slice()).unwrap_or_default();
    let one = |hook: &Hook| subject.run("poststop", std::slice::from_ref(hook), "stopped", None).err();
    hooks.iter().filter_map(one).collect()
}

pub(crate) fn subject(id: &str, spec: &Spec, bundle: Option<&Path>) -> Subject {
    Subject {
        id: id.to_owned(),
        bundle: bundle.unwrap_or(Path::new("/")).to_owned(),
        annotations: spec.annotations.clone(),
    }
}

/// The copy of this process in the runtime namespace, once this one has left that.
static BEHIND: Mutex<Option<Behind>> = Mutex::new(None);

/// A hook to run.
#[derive(Debug, Serialize, Deserialize)]
struct Order<'a> {
    hook: Cow<'a, Hook>,
    state: String,
    directory: Option<PathBuf>,
}

impl Order<'_> {
    fn run(&self) -> Result<(), String> {
        run(&self.hook, &self.state, self.directory.as_deref())
    }
}

/// To be called before this process leaves the runtime namespace, if any of the hooks have to be run there.
pub(crate) fn stay(hooks: &Hooks) -> io::Result<()> {
    let outside = [&hooks.prestart, &hooks.create_runtime, &hooks.poststart, &hooks.poststop];
    if outside.iter().all(|hooks| hooks.is_empty()) {
        return Ok(());
    }
    *behind() = Some(sys::userns::leave_behind(serve)?);
    Ok(())
}

/// Ends the process that was left behind, if there is one: to be called by a program that ends. Nobody may be there to bury it.
pub fn dismiss() {
    drop(behind().take());
}

fn behind() -> MutexGuard<'static, Option<Behind>> {
    BEHIND.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Runs what is ordered, a line each; answers with a line each. Ends with the process that orders.
fn serve(stream: UnixStream) {
    for line in BufReader::new(&stream).lines().map_while(Result::ok) {
        let order: Result<Order<'_>, _> = serde_json::from_str(&line);
        let answer = order.map_err(|e| e.to_string()).and_then(|order| order.run());
        if write_line(&stream, &answer).is_err() {
            return;
        }
    }
}

fn have_run(behind: &Behind, order: &Order<'_>) -> Result<(), String> {
    let ask = |stream: &UnixStream| {
        let mut answer = String::new();
        write_line(stream, order)?;
        BufReader::new(stream).read_line(&mut answer)?;
        Ok(serde_json::from_str(&answer)?)
    };
    behind.stream().and_then(ask).map_err(|e| format!("no answer from the runtime namespace: {e}"))?
}

fn write_line(mut stream: &UnixStream, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value)?;
    line.push(b'\n');
    stream.write_all(&line)
}

fn run(hook: &Hook, state: &str, directory: Option<&Path>) -> Result<(), String> {
    let text = |e: io::Error| e.raw_os_error().map_or_else(|| e.to_string(), said);
    let mut command = Command::new(&hook.path);
    if let Some((name, rest)) = hook.args.split_first() {
        command.arg0(name).args(rest);
    }
    if let Some(directory) = directory {
        command.current_dir(directory);
    }
    command.env_clear().envs(hook.env.iter().filter_map(|variable| variable.split_once('=')));
    // A group of its own: what a hook has started ends with it when its time is up.
    command.process_group(0);
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
    // What somebody has left open in this process is not for hooks (CVE-2016-9962).
    sys::daemon::inherit_nothing();
    let mut child = command.spawn().map_err(text)?;
    if let Some(mut input) = child.stdin.take() {
        // A hook that doesn't read its input is in its right.
        let _ = input.write_all(state.as_bytes());
    }
    if let Some(seconds) = hook.timeout {
        let pid = Pid::from_raw(child.id() as i32).ok_or("has no process id")?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|e| text(e.into()))?;
        let limit = Timespec { tv_sec: seconds.into(), tv_nsec: 0 };
        if !ended(pidfd.as_fd(), &limit) {
            // Both fail only when it has ended in this very moment.
            let _ = rustix::process::kill_process_group(pid, Signal::KILL);
            let _ = child.wait();
            return Err(format!("timed out after {seconds} s"));
        }
    }
    let output = child.wait_with_output().map_err(text)?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{}{}{}", output.status, if said.trim().is_empty() { "" } else { ": " }, said.trim()))
}

fn ended(pidfd: std::os::fd::BorrowedFd<'_>, limit: &Timespec) -> bool {
    let mut polled = [PollFd::new(&pidfd, PollFlags::IN)];
    loop {
        match rustix::event::poll(&mut polled, Some(limit)) {
            Err(rustix::io::Errno::INTR) => continue,
            other => return other.is_ok_and(|n| n > 0),
        }
    }
}
