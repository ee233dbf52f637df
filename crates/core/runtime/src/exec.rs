//! `exec`: one more process in a running container, hardened as its init is.

use oci::runtime::CpuAffinity;
use sys::child::Step;
use sys::root::Root;

use crate::create::resize;
use crate::launch::{Parent, launch};
use crate::namespaces::Namespaces;
use crate::plan::Plan;
use crate::process::{self, Request};
use crate::seccomp::agent::Agent;
use crate::{Error, Exec, Running, home};

/// Runs a process in a running container.
pub fn exec(request: Exec<'_>) -> Result<Running, Error> {
    let process = request.process;
    process::check(process)?;
    let mut plan = Plan::default();
    let mut namespaces = Namespaces::of_process(request.pid, request.pidfd)?;
    let root = Root::of_process(request.pid)
        .map_err(|source| Error::Call { attempt: "open the container's root".to_owned(), source })?;
    let process_request = Request {
        process,
        seccomp: request.seccomp,
        filter: request.filter,
        preserve_fds: request.preserve_fds,
        die_with_parent: request.die_with_parent,
        home: home::of(&root, process.user.uid),
        user_namespace: namespaces.user,
        beside: Some(request.pid),
    };
    process::hide(&mut plan);
    let no_affinity = CpuAffinity::default();
    let affinity = process.exec_cpu_affinity.as_ref().unwrap_or(&no_affinity);
    process::affinity(&affinity.initial, &mut plan)?;
    process::begin(request.cgroup, &mut plan)?;
    process::affinity(&affinity.finally, &mut plan)?;
    let apart = namespaces.joins_mounts();
    namespaces.steps(&mut plan);
    process::session(false, &mut plan);
    if !apart {
        plan.push("enter the root directory", Step::EnterRoot { root: root.into_fd() });
    }
    plan.push("open the root directory", Step::OpenRoot);
    process::streams(&mut plan, request.stdio, process.user.uid, false)?;
    if !process.apparmor_profile.is_empty() || !process.selinux_label.is_empty() {
        plan.push("mount a private procfs", Step::OpenProc);
        process::labels(process, &mut plan)?;
    }
    process::finish(&process_request, &mut plan, |_| Ok(()))?;
    let agent = request.seccomp.zip(request.container);
    let agent = agent.map(|(profile, container)| Agent::new(profile, container.clone()));
    let parent = Parent {
        cgroup: request.cgroup,
        beside: Some(request.pid).filter(|_| !request.cgroup_only),
        maps: None,
        oom_score_adj: process.oom_score_adj,
        agent,
    };
    let mut waiting = launch(&namespaces, plan, &parent, |_| Ok(()))?;
    resize(process, waiting.master.as_ref());
    let (pid, master) = (waiting.pid(), waiting.master.take());
    let (pidfd, warnings) = waiting.start()?;
    Ok(Running { pid, pidfd, master, warnings })
}
