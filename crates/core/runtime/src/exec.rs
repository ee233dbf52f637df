//! `exec`: one more process in a running container, hardened as its init is.

use oci::runtime::{CpuAffinity, NamespaceType};
use sys::child::Step;
use sys::root::Root;

use crate::create::resize;
use crate::launch::{Parent, launch};
use crate::namespaces::{Joined, Namespaces};
use crate::plan::Plan;
use crate::process::{self, Request};
use crate::seccomp::agent::Agent;
use crate::{Error, Exec, Running, Stdio, home};

/// Runs a process in a running container.
pub fn exec(request: Exec<'_>) -> Result<Running, Error> {
    let process = request.process;
    process::check(process)?;
    let mut plan = Plan::default();
    let mut namespaces = match request.namespaces {
        Some(known) => known.plan(request.pidfd)?,
        None => Joined::of_process(request.pid)?.plan(request.pidfd)?,
    };
    let root = || {
        Root::of_process(request.pid)
            .map_err(|source| Error::Call { attempt: "open the container's root".to_owned(), source })
    };
    let has_home = process.env.iter().any(|variable| variable.starts_with("HOME="));
    let process_request = Request {
        process,
        seccomp: request.seccomp,
        filter: request.filter,
        preserve_fds: request.preserve_fds,
        die_with_parent: request.die_with_parent,
        home: if has_home { String::new() } else { home::of(&root()?, process.user.uid) },
        user_namespace: namespaces.user,
        beside: Some(request.pid),
        oom_score_adj: process.oom_score_adj.filter(|asked| own_oom_score_adj() != Some(*asked)),
    };
    process::hide(&mut plan);
    let no_affinity = CpuAffinity::default();
    let affinity = process.exec_cpu_affinity.as_ref().unwrap_or(&no_affinity);
    process::affinity(&affinity.initial, &mut plan)?;
    let crowded = request.cgroup.filter(|cgroup| cgroup.is_crowded());
    let cgroup = request.cgroup.filter(|_| crowded.is_none());
    process::begin(cgroup, &mut plan)?;
    process::affinity(&affinity.finally, &mut plan)?;
    let seen = namespaces.joins(NamespaceType::Pid);
    let root = (!namespaces.joins(NamespaceType::Mount)).then(root).transpose()?;
    enter(&mut namespaces, root, &mut plan);
    go_on_inside(&process_request, request.stdio, seen, crowded.is_some(), &mut plan)?;
    if !process.apparmor_profile.is_empty() || !process.selinux_label.is_empty() {
        plan.push("mount a private procfs", Step::OpenProc);
        process::labels(process, &mut plan)?;
    }
    process::finish(&process_request, &mut plan, |_| Ok(()))?;
    let agent = request.seccomp.zip(request.container);
    let agent = agent.map(|(profile, container)| Agent::new(profile, container.clone()));
    let parent = Parent {
        cgroup,
        beside: Some(request.pid).filter(|_| !request.cgroup_only),
        maps: None,
        oom_score_adj: process_request.oom_score_adj,
        agent,
    };
    let mut waiting = launch(&namespaces, plan, &parent, |pid| match crowded {
        Some(cgroup) => {
            cgroup.add(pid).map_err(|source| Error::Cgroup { path: cgroup.path().to_owned(), source })
        }
        None => Ok(()),
    })?;
    resize(process, waiting.master.as_ref());
    let (pid, master) = (waiting.pid(), waiting.master.take());
    let (pidfd, warnings) = waiting.start()?;
    Ok(Running { pid, pidfd, master, warnings })
}

/// What a new process inherits of this one: most ask for just that, and need no word between the two.
fn own_oom_score_adj() -> Option<i32> {
    crate::proc::read("/proc/self/oom_score_adj").ok()?.trim().parse().ok()
}

/// The namespaces, and the root directory where the mount namespace is ours.
fn enter(namespaces: &mut Namespaces, root: Option<Root>, plan: &mut Plan) {
    namespaces.steps(plan);
    if let Some(root) = root {
        plan.push("enter the root directory", Step::EnterRoot { root: root.into_fd() });
    }
}

/// Where the container will see the process (`seen`), it does so from here on, and who may trace processes there gets at all
/// that this one has: so it has nothing of the machine's any more.
fn go_on_inside(
    request: &Request<'_>,
    stdio: Stdio,
    seen: bool,
    crowded: bool,
    plan: &mut Plan,
) -> Result<(), Error> {
    let uid = request.process.user.uid;
    let terminal = matches!(stdio, Stdio::Terminal);
    process::streams(plan, if terminal { Stdio::Null } else { stdio }, uid, false)?;
    process::close(request.preserve_fds, plan);
    if seen {
        plan.push("enter the pid namespace", Step::Move);
        plan.push("follow the parent's death", Step::ParentDeathSignal(true));
    }
    if crowded {
        plan.push("wait for a place in the control group", Step::Sync);
    }
    process::session(false, plan);
    plan.push("open the root directory", Step::OpenRoot);
    if terminal {
        process::streams(plan, Stdio::Terminal, uid, false)?;
    }
    Ok(())
}
