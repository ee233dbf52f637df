//! The network of a `RUN`, and the files that tell a process about it.

use crate::error::Error;
use crate::graph::{NetKind, Op, Run};
use crate::idle::Idle;
use crate::request::{NetHandle, NetMode};
use crate::session::{Scratch, Session};
use std::fmt::Write as _;
use std::path::PathBuf;

/// Name of the machine that a `RUN` sees.
pub(crate) const HOSTNAME: &str = "buildkitsandbox";

/// A network and its files.
pub(crate) struct Net<'s> {
    pub handle: NetHandle,
    pub hosts: PathBuf,
    pub resolv_conf: PathBuf,
    /// Where it goes when the step has ended.
    next: Option<&'s Idle>,
}

impl Drop for Net<'_> {
    fn drop(&mut self) {
        if let Some(next) = self.next {
            next.give(std::mem::replace(&mut self.handle, NetHandle::host()));
        }
    }
}

/// Sets up what the `RUN`, or else the build, asks for.
pub(crate) fn set_up<'s>(
    session: &Session<'s>,
    op: &Op,
    run: &Run,
    scratch: &Scratch,
) -> Result<Net<'s>, Error> {
    let mode = match run.network {
        None => session.request.network.clone(),
        Some(NetKind::None) => NetMode::None,
        Some(NetKind::Host) => NetMode::Host,
    };
    // Who may do everything may have done it to the network as well.
    let next = (mode == NetMode::Bridge && !run.insecure).then_some(&session.shared.networks);
    let made = match next.and_then(Idle::take) {
        Some(handle) => Ok(handle),
        None => (session.env.network)(&mode),
    };
    let handle = made.map_err(|source| {
        let mut error = session.step_error(op, "set up the network of the step");
        error.source = Some(source);
        Error::Step(error)
    })?;
    let name = run.hostname.as_deref().unwrap_or(HOSTNAME);
    let extra: Vec<_> = session.request.extra_hosts.iter().chain(&run.own.hosts).cloned().collect();
    let hosts = scratch.file("hosts", hosts(&handle, name, &extra).as_bytes(), 0o644)?;
    let resolv_conf = scratch.file("resolv.conf", handle.resolv_conf.as_bytes(), 0o644)?;
    Ok(Net { handle, hosts, resolv_conf, next })
}

fn hosts(handle: &NetHandle, own: &str, extra: &[(String, String)]) -> String {
    let mut text = format!(
        "127.0.0.1\tlocalhost {own}\n::1\tlocalhost ip6-localhost ip6-loopback\nfe00::\tip6-localnet\nff00::\tip6-mcastprefix\nff02::1\tip6-allnodes\nff02::2\tip6-allrouters\n"
    );
    for (name, address) in handle.hosts.iter().chain(extra) {
        let _ = writeln!(text, "{address}\t{name}");
    }
    text
}
