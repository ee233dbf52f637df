//! `RUN`: a process in a container of its own, whose writes become the layer.

use super::output::{Decoder, Tail, hint};
use super::{Prepared, Workspace, kept, mounts, network, spec, stubs};
use crate::error::{Error, FailedProcess, Left, StepError};
use crate::event::Stream;
use crate::export::emulation;
use crate::graph::{Op, Run};
use crate::progress::Step;
use crate::session::{Session, io_error};
use crate::step::Inputs;
use crate::turn::Others;
use crate::users::Users;
use dockerfile::render::clipped;
use oci::ChainId;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::Signal;
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::{Duration, Instant};

/// How often a running process looks whether the build was cancelled.
const CANCEL_POLL: Timespec = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
/// How long the last processes of a killed group may take to go.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the kernel says of a program of another architecture.
const NO_FORMAT: &str = "exec format error";

/// Runs the process and makes the layer.
pub(crate) fn run(
    session: &Session<'_>,
    op: &Op,
    run: &Run,
    inputs: &Inputs,
    parent: Option<&ChainId>,
    step: &Step<'_, '_>,
    prepared: &mut Prepared,
) -> Result<Option<ChainId>, Error> {
    let workspace = Workspace::new(session)?;
    let mut held = mounts::set_up(session, op, run, inputs, step)?;
    let net = network::set_up(session, op, run, &workspace.scratch)?;
    let (spec, rootfs) = plan(session, op, run, (&held, &net), (&workspace, parent))?;
    let (others, mut goes_on) = (prepared.others.take(), false);
    let mut stop = || is_to_stop(session, others.as_ref(), step, &mut goes_on);
    let say = |stream, text: String| {
        if let Some(others) = &others {
            others.tell(stream, &text);
        }
        step.log(stream, text);
    };
    let ended = execute(&mut stop, &spec, rootfs, net.handle.netns.as_ref(), &say)?;
    let (mounts, spare) = (std::mem::take(&mut held.kept), std::mem::take(&mut held.spare));
    // Before the layer is made: nothing of the step may be in use any more.
    drop((held, net));
    match ended {
        Ended::Cancelled => Err(Error::Cancelled),
        Ended::Exited { code, reason: None, .. } if run.own.is_success(code) => {
            prepared.kept =
                mounts.into_iter().map(|mount| mount.commit(session)).collect::<Result<_, _>>()?;
            // What is read-only has not changed.
            match run.own.readonly {
                true => Ok(parent.cloned()),
                false => workspace.commit(session, parent).map(Some),
            }
        }
        Ended::Exited { code, output, reason } => {
            if reason.as_ref().is_some_and(|reason| reason.contains(NO_FORMAT))
                && let Some(error) = emulation::foreign(session, op)
            {
                return Err(error);
            }
            // What can't be kept is no other failure than the one there is.
            let written = mounts.into_iter().chain(spare).collect();
            let kept = kept::keep(session, op, run, inputs, (workspace, parent, written));
            let (kept, left) = kept.map(|(id, left)| (Some(id), Some(Box::new(left)))).unwrap_or_default();
            let exit = Exit { code, output, reason, kept, left };
            Err(exited(session, op, run, exit))
        }
        Ended::NotStarted(error) => Err(Error::Step(Box::new(StepError {
            source: Some(error.into()),
            ..*session.step_error(op, "start the process of the step")
        }))),
    }
}

/// What the process is and what it finds, on the layers below it.
fn plan(
    session: &Session<'_>,
    op: &Op,
    run: &Run,
    (held, net): (&mounts::Held, &network::Net<'_>),
    (workspace, parent): (&Workspace, Option<&ChainId>),
) -> Result<(oci::runtime::Spec, runtime::Rootfs), Error> {
    let view = session.view(parent)?;
    let who = Users::read(view.as_ref()).and_then(|users| users.process(&run.user));
    let who = who.map_err(|unknown| unknown.of_step(session, op))?;
    let has = |name: &str| run.env.iter().any(|e| e.split('=').next() == Some(name));
    let proxies = run.proxies.iter().filter(|p| !has(p.split('=').next().unwrap_or_default()));
    let mut spec = spec::spec(spec::Inputs {
        run,
        who,
        env: proxies.chain(&held.env).cloned().collect(),
        hosts: &net.hosts,
        resolv_conf: &net.resolv_conf,
        mounts: held.mounts.clone(),
        host_network: net.handle.netns.is_none(),
        all_capabilities: runtime::capabilities::all().collect(),
        limits: &session.request.limits,
        cgroup: cgroup_path(session),
    });
    give_devices(session, op, run, &mut spec)?;
    let stubs: Vec<stubs::Stub> =
        spec::mount_points(&spec).into_iter().map(|(path, is_dir)| stubs::Stub { path, is_dir }).collect();
    let stubs = stubs::make(&workspace.scratch, view.as_ref(), &stubs)?;
    let mut overlay = workspace.overlay(session, parent)?;
    overlay.lower.push(stubs);
    Ok((spec, runtime::Rootfs::Overlay(overlay)))
}

/// What the vendors of the step's devices say.
fn give_devices(
    session: &Session<'_>,
    op: &Op,
    run: &Run,
    spec: &mut oci::runtime::Spec,
) -> Result<(), Error> {
    if run.devices.is_empty() {
        return Ok(());
    }
    let registry = runtime::cdi::Registry::read(&session.env.cdi);
    registry.inject(spec, run.devices.iter().map(String::as_str)).map_err(|error| {
        Error::Step(Box::new(StepError {
            source: Some(error.into()),
            ..*session.step_error(op, "CDI device injection failed")
        }))
    })?;
    // Where nothing is forbidden, there is nothing to allow.
    let resources = spec.linux.as_mut().and_then(|linux| linux.resources.as_mut());
    if let Some(resources) = resources.filter(|_| run.insecure) {
        resources.devices.clear();
    }
    Ok(())
}

fn cgroup_path(session: &Session<'_>) -> String {
    match session.env.cgroup_prefix.as_str() {
        "" => String::new(),
        prefix => format!("{prefix}{}-{:016x}", session.lease.id(), fastrand::u64(..)),
    }
}

/// Characters of a command line that an error repeats at most.
const COMMAND_MAX: usize = 4096;

/// How a process ended.
enum Ended {
    Exited { code: i32, output: String, reason: Option<String> },
    NotStarted(runtime::Error),
    Cancelled,
}

/// What is told of a process that failed.
struct Exit {
    code: i32,
    output: String,
    reason: Option<String>,
    /// The id under which its file system is kept.
    kept: Option<String>,
    left: Option<Box<Left>>,
}

/// BuildKit's sentence, with the output and what may help.
fn exited(session: &Session<'_>, op: &Op, run: &Run, exit: Exit) -> Error {
    let Exit { code, output, reason, kept, left } = exit;
    let mut command = run.argv.join(" ");
    if command.len() > COMMAND_MAX {
        command = clipped(&command, COMMAND_MAX);
    }
    let mut error = session
        .step_error(op, format!("process {command:?} did not complete successfully: exit code: {code}"));
    if let Some(reason) = &reason {
        error.message = format!("{}: {reason}", error.message);
    }
    let foreign = op.platform.architecture != oci::Platform::host().architecture;
    error.hint = match &reason {
        Some(reason) if reason.contains(NO_FORMAT) || foreign => Some(format!(
            "the step is for {}, this machine is {}: it needs an emulator (binfmt_misc) or a cross build with --platform=$BUILDPLATFORM",
            op.platform,
            oci::Platform::host()
        )),
        Some(reason) if reason.to_lowercase().contains("argument list too long") => Some(
            "the kernel takes no argument above 128 KiB: bring the script in as a file (COPY <<EOF /script) and run that"
                .to_owned(),
        ),
        Some(_) => hint(code, &format!("{}: not found", run.argv.first().map_or("", String::as_str))),
        None => hint(code, &output),
    };
    if let Some(id) = kept {
        let look = format!("look around where it failed: dhow build shell {id}");
        error.hint = Some(error.hint.map_or(look.clone(), |hint| format!("{hint}\n{look}")));
    }
    error.process = Some(FailedProcess { command, code });
    error.output = output;
    error.left = left;
    Error::Step(error)
}

/// Whether a process is to be stopped. A step that fails takes the others of its build along; a build that is cancelled leaves
/// what other builds wait for, and says so once.
fn is_to_stop(
    session: &Session<'_>,
    others: Option<&Others>,
    step: &Step<'_, '_>,
    goes_on: &mut bool,
) -> bool {
    if !session.stopped() {
        return false;
    }
    let is_wanted = !session.failed() && others.is_some_and(Others::wait);
    if is_wanted && !std::mem::replace(goes_on, true) {
        step.log(Stream::Stderr, "canceled here; it goes on for another build\n".into());
    }
    !is_wanted
}

/// Takes what a process says.
type Say<'a> = dyn Fn(Stream, String) + 'a;

/// Starts the process and stays with it until its end.
fn execute(
    stop: &mut dyn FnMut() -> bool,
    spec: &oci::runtime::Spec,
    rootfs: runtime::Rootfs,
    netns: Option<&OwnedFd>,
    say: &Say<'_>,
) -> Result<Ended, Error> {
    let pipe = || rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC);
    let failed = |e: rustix::io::Errno| io_error("make a pipe for", Path::new("the step's output"))(e.into());
    let (out, stdout) = pipe().map_err(failed)?;
    let (err, stderr) = pipe().map_err(failed)?;
    let null = File::open("/dev/null").map_err(io_error("open", Path::new("/dev/null")))?;
    let id = format!("build-{:016x}", fastrand::u64(..));
    let created = runtime::create(runtime::Create {
        id: &id,
        spec,
        rootfs,
        mounted: None,
        bundle: None,
        stdio: runtime::Stdio::Fds { stdin: null.into(), stdout, stderr },
        netns: netns.map(AsFd::as_fd),
        preserve_fds: 0,
        die_with_parent: true,
        no_pivot: false,
        inherit_keyring: false,
    });
    let mut created = match created {
        Ok(created) => created,
        Err(error) => return Ok(not_started(error)),
    };
    for warning in &created.warnings {
        say(Stream::Stderr, format!("warning: {warning}\n"));
    }
    let cgroup = created.cgroup.take();
    let ended = match created.start() {
        Ok(running) => follow(stop, running.pidfd.as_fd(), out, err, say),
        Err(error) => Ok(not_started(error)),
    };
    if let Some(cgroup) = cgroup {
        // The process is reaped; a group that does not go is found by `system check`.
        let _ = cgroup.kill_all();
        let _ = cgroup.delete(PATIENCE);
    }
    for error in runtime::poststop(&id, spec, None) {
        say(Stream::Stderr, format!("warning: {error}\n"));
    }
    ended
}

/// A program that cannot be executed is an exit code, as a shell has it.
fn not_started(error: runtime::Error) -> Ended {
    match &error {
        runtime::Error::Exec { .. } => {
            Ended::Exited { code: error.exit_code(), output: String::new(), reason: Some(error.to_string()) }
        }
        _ => Ended::NotStarted(error),
    }
}

/// Passes output on until the process has ended and said everything.
fn follow(
    stop: &mut dyn FnMut() -> bool,
    pidfd: std::os::fd::BorrowedFd<'_>,
    out: OwnedFd,
    err: OwnedFd,
    say: &Say<'_>,
) -> Result<Ended, Error> {
    let mut streams = [Reader::new(out, Stream::Stdout), Reader::new(err, Stream::Stderr)];
    let mut tail = Tail::default();
    let mut killed = None;
    // A process that has closed its output may run on, and is to be stopped all the same.
    while streams.iter().any(|s| s.file.is_some()) || !has_exited(pidfd)? {
        if killed.is_none() && stop() {
            // The process is the init of its pid namespace: all others go with it, and their pipe ends.
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
            killed = Some(Instant::now());
        }
        if killed.is_some_and(|at| at.elapsed() > PATIENCE) {
            break;
        }
        wait_for_news(&streams, pidfd)?;
        for stream in &mut streams {
            let text = stream.read();
            if !text.is_empty() {
                tail.push(&text);
                say(stream.name, text);
            }
        }
    }
    let exit = sys::child::wait(pidfd).map_err(io_error("wait for", Path::new("the step's process")))?;
    if killed.is_some() {
        return Ok(Ended::Cancelled);
    }
    Ok(Ended::Exited { code: exit.code(), output: tail.lines(), reason: None })
}

/// Whether the process has ended.
fn has_exited(pidfd: std::os::fd::BorrowedFd<'_>) -> Result<bool, Error> {
    let mut fds = [PollFd::new(&pidfd, PollFlags::IN)];
    let ready = poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }));
    ready.map(|n| n > 0).map_err(|e| io_error("look at", Path::new("the step's process"))(e.into()))
}

/// Waits until there is output (or, when there is none to come, the process has ended), or it is time to look whether to
/// stop.
fn wait_for_news(streams: &[Reader], pidfd: std::os::fd::BorrowedFd<'_>) -> Result<(), Error> {
    let mut fds: Vec<PollFd<'_>> =
        streams.iter().filter_map(|s| s.file.as_ref()).map(|f| PollFd::new(f, PollFlags::IN)).collect();
    if fds.is_empty() {
        fds.push(PollFd::from_borrowed_fd(pidfd, PollFlags::IN));
    }
    match poll(&mut fds, Some(&CANCEL_POLL)) {
        Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
        Err(e) => Err(io_error("wait for", Path::new("the step's output"))(e.into())),
    }
}

/// One output stream; reading never blocks.
struct Reader {
    file: Option<File>,
    name: Stream,
    decoder: Decoder,
}

impl Reader {
    fn new(fd: OwnedFd, name: Stream) -> Self {
        // Without O_NONBLOCK one silent stream would hold up the other.
        let _ = rustix::io::ioctl_fionbio(&fd, true);
        Self { file: Some(fd.into()), name, decoder: Decoder::default() }
    }

    /// What is there now; at the end the file is closed.
    fn read(&mut self) -> String {
        let Some(file) = &mut self.file else { return String::new() };
        let mut buffer = [0; 16 << 10];
        match file.read(&mut buffer) {
            Ok(n) if n > 0 => self.decoder.push(&buffer[..n]),
            Err(e)
                if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted) =>
            {
                String::new()
            }
            _ => {
                self.file = None;
                self.decoder.finish()
            }
        }
    }
}
