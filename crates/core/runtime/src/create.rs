//! `create`: the whole container as one plan.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use oci::runtime::{DeviceRule, Hooks, Linux, NamespaceType, Process};
use rustix::mount::MountAttrFlags;
use sys::child::{Step, Target};
use sys::root::Root;

use crate::cgroup::Cgroup;
use crate::cgroup::systemd::Keeper;
use crate::hooks::{self, Subject};
use crate::launch::{Parent, launch};
use crate::mounts::{self, Scene};
use crate::namespaces::Namespaces;
use crate::plan::{Label, Plan, c_string};
use crate::process::{self, Request};
use crate::seccomp::agent::Agent;
use crate::{
    Create, Created, Error, Rootfs, Stdio, home, memory_policy, net_devices, resctrl, sysctl, validate,
};

/// Where a container stands that is started by another process than the one that has created it.
#[derive(Debug)]
pub(crate) struct Gate {
    pub go: OwnedFd,
    pub said: OwnedFd,
}

/// Sets a container up, blocked just before its program.
pub fn create(request: Create<'_>) -> Result<Created, Error> {
    set_up(request, None, None, None)
}

/// As [`create`]; with a gate, [`Created::leave`] takes the place of [`Created::start`]. `keeper` is in the control group, and
/// goes when the init is there or will never be. `cgroup` takes the place of the specification's `cgroupsPath`.
pub(crate) fn set_up(
    request: Create<'_>,
    gate: Option<Gate>,
    keeper: Option<Keeper>,
    cgroup: Option<Cgroup>,
) -> Result<Created, Error> {
    let (process, linux) = validate::check(request.spec)?;
    let mut warnings = Vec::new();
    let cgroup = make_cgroup(linux, cgroup, &mut warnings)?;
    match assemble(request, gate, process, linux, cgroup.as_ref(), warnings) {
        Ok(mut created) => {
            drop(keeper);
            created.cgroup = cgroup;
            Ok(created)
        }
        Err(error) => {
            drop(keeper);
            let Some(cgroup) = cgroup else { return Err(error) };
            let error = starved(linux, &cgroup).unwrap_or(error);
            // The error that stopped us is the one to tell.
            let _ = cgroup.delete(Duration::from_secs(5));
            Err(error)
        }
    }
}

/// Whether the container was to have less memory than it takes to set it up: its process was killed for that, or refused.
fn starved(linux: &Linux, cgroup: &Cgroup) -> Option<Error> {
    let limit = linux.resources.as_ref()?.memory.as_ref()?.limit.filter(|limit| *limit > 0)?;
    let memory = cgroup.stats().ok()?.memory;
    let (usage, peak) = (memory.usage, memory.max_usage);
    (cgroup.oom_kills() > 0).then_some(Error::Memory { limit, usage, peak })
}

fn make_cgroup(
    linux: &Linux,
    known: Option<Cgroup>,
    warnings: &mut Vec<String>,
) -> Result<Option<Cgroup>, Error> {
    let fail = |source| Error::Cgroup { path: linux.cgroups_path.clone(), source };
    let cgroup = match known {
        Some(known) => known,
        None if linux.cgroups_path.is_empty() => return Ok(None),
        None => Cgroup::new(&linux.cgroups_path).map_err(fail)?,
    };
    if !cgroup.is_mounted() {
        warnings.push("no control groups are mounted here: limits are discarded".to_owned());
        return Ok(None);
    }
    let applied = cgroup.create().and_then(|()| {
        let mut resources = linux.resources.clone().unwrap_or_default();
        // Without rules a container has the devices that every container has, and not all of the machine's.
        if resources.devices.is_empty() {
            resources.devices.push(DeviceRule { access: "rwm".to_owned(), ..DeviceRule::default() });
        }
        cgroup.apply(&resources)
    });
    match applied {
        Ok(found) => warnings.extend(found),
        Err(e) => {
            let _ = cgroup.delete(Duration::ZERO);
            return Err(fail(e));
        }
    }
    Ok(Some(cgroup))
}

fn assemble(
    mut request: Create<'_>,
    gate: Option<Gate>,
    process: &Process,
    linux: &Linux,
    cgroup: Option<&Cgroup>,
    warnings: Vec<String>,
) -> Result<Created, Error> {
    let spec = request.spec;
    let stdio = std::mem::replace(&mut request.stdio, Stdio::Null);
    let subject = hooks::subject(request.id, spec, request.bundle);
    let no_hooks = Hooks::default();
    let hooks = spec.hooks.as_ref().unwrap_or(&no_hooks);
    let mut plan = Plan { warnings, ..Plan::default() };
    let mut namespaces = Namespaces::plan(linux, request.netns)?;
    let makes_user = namespaces.clone & libc::CLONE_NEWUSER as u64 != 0;
    let ready = request.mounted.is_some();
    let tree = match request.mounted.take() {
        Some(tree) => tree,
        None => mounts::rootfs(&request.rootfs)?,
    };
    let root = tree.try_clone().and_then(Root::from_fd);
    let root =
        root.map_err(|source| Error::Call { attempt: "open the root file system".to_owned(), source })?;
    let bundle = request.bundle.unwrap_or(Path::new("/"));
    let over = place(&request.rootfs, linux, ready)?;
    let scene = Scene { spec, bundle, root: &root, cgroup, over, in_order: gate.is_some() };
    let process_request = Request {
        process,
        seccomp: linux.seccomp.as_ref(),
        filter: None,
        preserve_fds: request.preserve_fds,
        die_with_parent: request.die_with_parent,
        home: home::of(&root, process.user.uid),
        user_namespace: namespaces.user,
        beside: None,
        oom_score_adj: process.oom_score_adj,
    };
    if namespaces.shares_pids() {
        process::hide(&mut plan);
    }
    process::begin(cgroup, &mut plan)?;
    namespaces.steps(&mut plan);
    let early = linux.intel_rdt.is_some() || !linux.net_devices.is_empty();
    if early {
        plan.push("wait for what only the parent can do", Step::Sync);
    }
    process::session(request.inherit_keyring, &mut plan);
    time_offsets(linux, &mut plan)?;
    file_systems(&scene, hooks, &subject, tree, stdio, process, &mut plan)?;
    kernel_settings(&request, over.is_none(), linux, process, &mut plan)?;
    process::finish(&process_request, &mut plan, |plan| {
        if let Some(Gate { go, said }) = gate {
            plan.labeled(Label::Gate, Step::Gate { go, said });
        }
        subject.plan("startContainer", &hooks.start_container, "created", plan)
    })?;
    let maps = makes_user.then_some((linux.uid_mappings.as_slice(), linux.gid_mappings.as_slice()));
    let agent = linux.seccomp.as_ref().map(|profile| Agent::new(profile, subject.document("creating", None)));
    let parent = Parent { cgroup, beside: None, maps, oom_score_adj: process.oom_score_adj, agent };
    let mut first = early;
    let mut waiting = launch(&namespaces, plan, &parent, |pid| {
        if std::mem::take(&mut first) {
            linux.intel_rdt.as_ref().map_or(Ok(()), |rdt| resctrl::join(rdt, request.id, pid))?;
            return net_devices::give(linux, pid);
        }
        // They were called after create once, and the validation suite still wants them told so.
        subject.run("prestart", &hooks.prestart, "created", Some(pid))?;
        subject.run("createRuntime", &hooks.create_runtime, "creating", Some(pid))
    })?;
    resize(process, waiting.master.as_ref());
    let pidfd = waiting.pidfd().map(|fd| fd.try_clone_to_owned()).transpose();
    let pidfd = pidfd.map_err(|source| Error::Call { attempt: "duplicate the pidfd".to_owned(), source })?;
    Ok(Created {
        pid: waiting.pid(),
        pidfd: pidfd.ok_or_else(|| Error::Died { how: "gone".to_owned() })?,
        master: waiting.master.take(),
        cgroup: None,
        warnings: std::mem::take(&mut waiting.warnings),
        waiting,
        poststart: hooks.poststart.clone(),
        subject,
    })
}

/// Where the root file system of a container is attached that has the machine's mounts. Somebody has to take it away
/// again: who has made it.
fn place<'r>(rootfs: &'r Rootfs, linux: &Linux, ready: bool) -> Result<Option<&'r Path>, Error> {
    match rootfs {
        _ if linux.namespace(NamespaceType::Mount).is_some() => Ok(None),
        Rootfs::Path(path) if ready => Ok(Some(path)),
        _ => Err(Error::Spec { reason: "a root file system needs a mount namespace".to_owned() }),
    }
}

/// A size that the terminal refuses is not worth a container.
pub(crate) fn resize(process: &Process, master: Option<&OwnedFd>) {
    if let (Some(size), Some(master)) = (process.console_size, master) {
        let size =
            rustix::termios::Winsize { ws_row: size.height, ws_col: size.width, ws_xpixel: 0, ws_ypixel: 0 };
        let _ = rustix::termios::tcsetwinsize(master.as_fd(), size);
    }
}

fn time_offsets(linux: &Linux, plan: &mut Plan) -> Result<(), Error> {
    for (clock, offset) in &linux.time_offsets {
        if !matches!(clock.as_str(), "monotonic" | "boottime") {
            return Err(Error::Spec { reason: format!("unknown clock {clock:?}") });
        }
        let content = format!("{clock} {} {}\n", offset.secs, offset.nanosecs).into_bytes();
        let path = c"/proc/self/timens_offsets".to_owned();
        plan.push(format!("set the offset of {clock}"), Step::WriteFile { path, content });
    }
    Ok(())
}

/// Root, mounts, devices, terminal, masks; last the pivot, until which the machine's tree is at hand.
fn file_systems(
    scene: &Scene<'_>,
    hooks: &Hooks,
    subject: &Subject,
    tree: OwnedFd,
    stdio: Stdio,
    process: &Process,
    plan: &mut Plan,
) -> Result<(), Error> {
    let (spec, no_linux) = (scene.spec, Linux::default());
    let linux = spec.linux.as_ref().unwrap_or(&no_linux);
    if scene.over.is_none() {
        plan.push("leave the machine's mounts", Step::SlaveMounts);
    }
    let over = scene.over.unwrap_or(Path::new("/")).as_os_str().as_encoded_bytes();
    let over = c_string(over, "the root file system")?;
    plan.push("attach the root file system", Step::AttachRoot { tree, over });
    let late = mounts::plan(scene, plan)?;
    crate::devices::plan(spec, plan)?;
    let cwd = process::cwd(process);
    let bad = |_| Error::Spec { reason: format!("bad cwd {cwd:?}") };
    let target = Target::new(&mounts::clean(Path::new(cwd))?, false).map_err(bad)?;
    plan.labeled(Label::Chdir(cwd.to_owned()), Step::MakeDir { target });
    if !(hooks.prestart.is_empty() && hooks.create_runtime.is_empty()) {
        plan.push("wait for hooks", Step::Sync);
    }
    subject.plan("createContainer", &hooks.create_container, "creating", plan)?;
    process::streams(plan, stdio, process.user.uid, mounts::makes_dev(spec))?;
    for path in &linux.readonly_paths {
        let step = Step::ReadonlyPath { path: c_string(path.as_str(), "a readonly path")? };
        plan.push(format!("make {path} read-only"), step);
    }
    for path in &linux.masked_paths {
        plan.push(format!("mask {path}"), Step::Mask { path: c_string(path.as_str(), "a masked path")? });
    }
    late.close(plan);
    if spec.root.as_ref().is_some_and(|root| root.readonly) {
        let set = MountAttrFlags::MOUNT_ATTR_RDONLY.bits().into();
        let step = Step::SetAttr { slot: None, set, propagation: 0, recursive: false };
        plan.push("make the root file system read-only", step);
    }
    Ok(())
}

/// Names, sysctls, labels, personality; then the pivot.
fn kernel_settings(
    request: &Create<'_>,
    apart: bool,
    linux: &Linux,
    process: &Process,
    plan: &mut Plan,
) -> Result<(), Error> {
    let spec = request.spec;
    if !spec.hostname.is_empty() {
        plan.push("set hostname", Step::Hostname(spec.hostname.clone().into_bytes()));
    }
    if !spec.domainname.is_empty() {
        plan.push("set domainname", Step::Domainname(spec.domainname.clone().into_bytes()));
    }
    let labelled = !process.apparmor_profile.is_empty() || !process.selinux_label.is_empty();
    if !linux.sysctl.is_empty() || labelled {
        plan.push("mount a private procfs", Step::OpenProc);
        sysctl::plan(linux, plan)?;
        process::labels(process, plan)?;
    }
    const PER_LINUX32: u64 = 0x0008;
    if let Some(personality) = &linux.personality {
        let domain = match personality.domain.as_str() {
            "LINUX" => 0,
            "LINUX32" => PER_LINUX32,
            other => return Err(Error::Spec { reason: format!("unknown personality {other:?}") }),
        };
        plan.push("set personality", Step::Personality { domain });
    }
    if let Some(policy) = &linux.memory_policy {
        memory_policy::plan(policy, plan)?;
    }
    match (apart, request.no_pivot) {
        (true, false) => plan.push("pivot_root", Step::Pivot),
        (true, true) => enter(plan)?,
        (false, _) => plan.push("enter the root file system", Step::Chroot),
    }
    // Only now: a shared mount can be no one's new root.
    if let Some((propagation, recursive)) = mounts::root_propagation(&linux.rootfs_propagation)? {
        let step = Step::SetAttr { slot: None, set: 0, propagation, recursive };
        plan.push("set the root's propagation", step);
    }
    Ok(())
}

/// Enters the root file system without a pivot. A procfs or sysfs of the machine that stayed reachable would let a user
/// namespace in the container mount a whole one of its own.
fn enter(plan: &mut Plan) -> Result<(), Error> {
    let attempt = "read /proc/self/mountinfo";
    let text = crate::proc::read("/proc/self/mountinfo")
        .map_err(|source| Error::Call { attempt: attempt.to_owned(), source })?;
    for path in mounts::full_of_knobs(&text) {
        plan.push(format!("hide {path}"), Step::Hide { path: c_string(path, "a mount point")? });
    }
    plan.push("enter the root file system", Step::Chroot);
    Ok(())
}
