//! The steps that `create` and `exec` share: streams, limits, filters, credentials, the program.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::os::fd::OwnedFd;
use std::path::Path;

use oci::runtime::{IoPriority, Process, Rlimit, Scheduler, Seccomp, User};
use sys::child::{Argv, Credentials, SECCOMP_NEW_LISTENER, SchedAttr, Step, Target};

use crate::cgroup::Cgroup;
use crate::plan::{Label, Plan, c_string};
use crate::{Error, Stdio, bits, capabilities, seccomp};

/// A process to be, as both entries see it.
pub(crate) struct Request<'a> {
    pub process: &'a Process,
    pub seccomp: Option<&'a Seccomp>,
    /// What it compiles to, where that is known.
    pub filter: Option<&'a seccomp::Program>,
    pub preserve_fds: u32,
    pub die_with_parent: bool,
    /// `$HOME` where the environment has none.
    pub home: String,
    /// In a user namespace of its own every capability can be had.
    pub user_namespace: bool,
    /// A process that lives in its user namespace already; none is this one.
    pub beside: Option<i32>,
    /// What the parent makes of its OOM score before it begins; none leaves the parent's own.
    pub oom_score_adj: Option<i32>,
}

/// Refuses what can't be run, before anything is touched.
pub(crate) fn check(process: &Process) -> Result<(), Error> {
    let bad = |reason: &str| Err(Error::Spec { reason: reason.to_owned() });
    match process.args.first() {
        None => return bad("process has no args"),
        Some(program) if program.is_empty() => return bad("process has an empty program name"),
        Some(_) => {}
    }
    // To the kernel this number says "leave it as it is", and what it is is root (CVE-2024-40635).
    let User { uid, gid, additional_gids, .. } = &process.user;
    if [uid, gid].into_iter().chain(additional_gids).any(|id| *id == u32::MAX) {
        return bad("4294967295 is no user and no group");
    }
    if !process.cwd.is_empty() && !process.cwd.starts_with('/') {
        return bad(&format!("cwd {:?} is not an absolute path", process.cwd));
    }
    for (at, limit) in process.rlimits.iter().enumerate() {
        if process.rlimits[..at].iter().any(|other| other.typ == limit.typ) {
            return bad(&format!("rlimit {} is given twice", limit.typ));
        }
    }
    Ok(())
}

/// The directory of a process; empty is the root.
pub(crate) fn cwd(process: &Process) -> &str {
    if process.cwd.is_empty() { "/" } else { &process.cwd }
}

/// Those who see a process may trace it and look at its descriptors, memory and program if they have its rights, which
/// some have once it has given up most. Until it executes its program nobody may.
pub(crate) fn hide(plan: &mut Plan) {
    plan.push("hide from tracers", Step::Dumpable(false));
}

/// First of all: into the control group, and nothing of ours may outlive us or be in the way.
pub(crate) fn begin(cgroup: Option<&Cgroup>, plan: &mut Plan) -> Result<(), Error> {
    if let Some(cgroup) = cgroup {
        let tasks = cgroup.tasks();
        let tasks = tasks.map_err(|source| Error::Cgroup { path: cgroup.path().to_owned(), source })?;
        plan.push("join the control group", Step::JoinGroups { tasks });
    }
    plan.push("follow the parent's death", Step::ParentDeathSignal(true));
    plan.push("reset signals", Step::ResetSignals);
    plan.push("set umask", Step::Umask(0));
    Ok(())
}

/// The processors to run on from here; empty leaves it.
pub(crate) fn affinity(cpus: &str, plan: &mut Plan) -> Result<(), Error> {
    if !cpus.is_empty() {
        let mask = bits::parse(cpus, "execCPUAffinity")?;
        plan.push(format!("set CPU affinity {cpus:?}"), Step::Affinity { mask });
    }
    Ok(())
}

/// A session of its own, and keys unless it inherits them.
pub(crate) fn session(inherit_keyring: bool, plan: &mut Plan) {
    if !inherit_keyring {
        plan.push("join a new session keyring", Step::SessionKeyring);
    }
    plan.push("setsid", Step::Setsid);
}

/// Opens the standard streams. A terminal comes from the devpts below the root; `console` is bound to it.
pub(crate) fn streams(plan: &mut Plan, stdio: Stdio, uid: u32, console: bool) -> Result<(), Error> {
    match stdio {
        Stdio::Inherit => {}
        Stdio::Null => plan.push("open /dev/null", Step::Stdio { fds: [null()?, null()?, null()?] }),
        Stdio::Fds { stdin, stdout, stderr } => {
            plan.push("set up standard streams", Step::Stdio { fds: [stdin, stdout, stderr] });
        }
        Stdio::Terminal => {
            let console = console.then(|| Target::new(Path::new("/dev/console"), true)).transpose();
            let console = console.map_err(|_| Error::Spec { reason: "bad console".to_owned() })?;
            plan.push("open a terminal of the container", Step::Console { uid, console });
            return Ok(());
        }
    }
    plan.push("give the standard streams to the user", Step::ChownStdio { uid });
    Ok(())
}

/// The null device of the machine.
pub(crate) fn null() -> Result<OwnedFd, Error> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null");
    Ok(file.map_err(|source| Error::Call { attempt: "open /dev/null".to_owned(), source })?.into())
}

/// All but the standard streams and as many more as asked.
pub(crate) fn close(preserve_fds: u32, plan: &mut Plan) {
    plan.push("close descriptors", Step::CloseFds { first: 3 + preserve_fds });
}

/// Labels of security modules, written through the private procfs.
pub(crate) fn labels(process: &Process, plan: &mut Plan) -> Result<(), Error> {
    let profile = process.apparmor_profile.as_str();
    if !profile.is_empty() && profile != "unconfined" {
        let enabled = std::fs::read_to_string("/sys/module/apparmor/parameters/enabled").unwrap_or_default();
        if !enabled.starts_with('Y') {
            let reason = "apparmor: config provided but apparmor not supported".to_owned();
            return Err(Error::Label { what: format!("AppArmor profile {profile:?}"), reason });
        }
        let own = Path::new("/proc/self/attr/apparmor/exec").exists();
        let path = if own { "thread-self/attr/apparmor/exec" } else { "thread-self/attr/exec" };
        write_attribute(plan, path, format!("exec {profile}"), "apparmor failed to apply profile")?;
    }
    if !process.selinux_label.is_empty() {
        if !selinux() {
            let reason =
                "selinux label is specified in config, but selinux is disabled or not supported".to_owned();
            return Err(Error::Label { what: format!("SELinux label {:?}", process.selinux_label), reason });
        }
        write_attribute(plan, "thread-self/attr/exec", process.selinux_label.clone(), "apply SELinux label")?;
    }
    Ok(())
}

/// Whether this kernel labels by SELinux.
pub(crate) fn selinux() -> bool {
    Path::new("/sys/fs/selinux/enforce").exists()
}

fn write_attribute(plan: &mut Plan, path: &str, content: String, label: &str) -> Result<(), Error> {
    let step = Step::WriteProc { path: c_string(path, "a path")?, content: content.into(), optional: false };
    plan.push(label, step);
    Ok(())
}

/// The last part: from limits to the program. What `before_program` plans comes between the parent's word and
/// `execve`.
pub(crate) fn finish(
    request: &Request<'_>,
    plan: &mut Plan,
    before_program: impl FnOnce(&mut Plan) -> Result<(), Error>,
) -> Result<(), Error> {
    let process = request.process;
    plan.push("open the container's /dev/null", Step::OwnNull);
    limits(process, plan)?;
    close(request.preserve_fds, plan);
    // As root the directory may be entered where the user may not; if root may not, the user may (NFS).
    let chdir = |plan: &mut Plan, ignore_denied| {
        let path = c_string(cwd(process), "cwd")?;
        plan.labeled(Label::Chdir(cwd(process).to_owned()), Step::Chdir { path, ignore_denied });
        Ok::<_, Error>(())
    };
    let needs_user = process.user.uid != 0;
    chdir(plan, needs_user)?;
    let filter = request.seccomp.map(|profile| filter(profile, request.filter)).transpose()?.flatten();
    // Without no_new_privs loading a filter takes CAP_SYS_ADMIN, which is given up next.
    let (early, late) = if process.no_new_privileges { (None, filter) } else { (filter, None) };
    if process.no_new_privileges {
        plan.push("set no_new_privs", Step::NoNewPrivileges);
    }
    plan.steps.extend(early);
    plan.labels.resize_with(plan.steps.len(), || Label::Step("load the seccomp filter".to_owned()));
    credentials(request, plan)?;
    plan.push("set umask", Step::Umask(process.user.umask.unwrap_or(0o022)));
    plan.push("follow the parent's death", Step::ParentDeathSignal(request.die_with_parent));
    plan.steps.extend(late);
    plan.labels.resize_with(plan.steps.len(), || Label::Step("load the seccomp filter".to_owned()));
    program(request, plan, before_program)
}

fn filter(profile: &Seccomp, known: Option<&seccomp::Program>) -> Result<Option<Step>, Error> {
    let program = match known {
        Some(program) => program.clone(),
        None => seccomp::compile(profile, seccomp::Arch::HOST)?,
    };
    // Those that every kernel that we run on knows need no question.
    const OLD: u32 = 0b111;
    if program.flags & !OLD != 0 && !sys::seccomp::knows_flags(program.flags) {
        let what = format!("seccomp: {:?} with this profile on this kernel", profile.flags);
        return Err(Error::Unsupported { what });
    }
    // A profile that allows everything needs no filter.
    Ok((!program.instructions.is_empty())
        .then_some(Step::Seccomp { instructions: program.instructions, flags: program.flags }))
}

fn limits(process: &Process, plan: &mut Plan) -> Result<(), Error> {
    const FILES: &str = "RLIMIT_NOFILE";
    // What a daemon has raised for itself is not meant for what runs in its containers.
    let before =
        sys::daemon::files_before().filter(|_| process.rlimits.iter().all(|limit| limit.typ != FILES));
    let before = before.map(|(soft, hard)| Rlimit { typ: FILES.to_owned(), soft, hard });
    for limit in before.iter().chain(&process.rlimits) {
        let step = Step::Rlimit { resource: resource(limit)?, soft: limit.soft, hard: limit.hard };
        plan.push(format!("set {}", limit.typ), step);
    }
    if let Some(scheduler) = &process.scheduler {
        plan.push("set the scheduler", Step::Scheduler(Box::new(schedule(scheduler)?)));
    }
    if let Some(priority) = &process.io_priority {
        plan.push("set the I/O priority", Step::IoPriority { value: io_priority(priority)? });
    }
    Ok(())
}

fn resource(limit: &Rlimit) -> Result<u32, Error> {
    const NAMES: [&str; 16] = [
        "CPU",
        "FSIZE",
        "DATA",
        "STACK",
        "CORE",
        "RSS",
        "NPROC",
        "NOFILE",
        "MEMLOCK",
        "AS",
        "LOCKS",
        "SIGPENDING",
        "MSGQUEUE",
        "NICE",
        "RTPRIO",
        "RTTIME",
    ];
    let name = limit.typ.strip_prefix("RLIMIT_").unwrap_or_default();
    let number = NAMES.iter().position(|n| *n == name);
    let number = number.ok_or_else(|| Error::Spec { reason: format!("unknown rlimit {:?}", limit.typ) })?;
    if limit.soft > limit.hard {
        return Err(Error::Spec { reason: format!("{}: soft limit is above the hard limit", limit.typ) });
    }
    Ok(number as u32)
}

fn schedule(scheduler: &Scheduler) -> Result<SchedAttr, Error> {
    let bad = |what: &str| Error::Spec { reason: format!("unknown scheduler {what:?}") };
    let policy = match scheduler.policy.as_str() {
        "SCHED_OTHER" => 0,
        "SCHED_FIFO" => 1,
        "SCHED_RR" => 2,
        "SCHED_BATCH" => 3,
        "SCHED_ISO" => 4,
        "SCHED_IDLE" => 5,
        "SCHED_DEADLINE" => 6,
        other => return Err(bad(other)),
    };
    consistent(scheduler)?;
    let mut flags = 0;
    for flag in &scheduler.flags {
        flags |= match flag.as_str() {
            "SCHED_FLAG_RESET_ON_FORK" => 0x01,
            "SCHED_FLAG_RECLAIM" => 0x02,
            "SCHED_FLAG_DL_OVERRUN" => 0x04,
            "SCHED_FLAG_KEEP_POLICY" => 0x08,
            "SCHED_FLAG_KEEP_PARAMS" => 0x10,
            "SCHED_FLAG_UTIL_CLAMP_MIN" => 0x20,
            "SCHED_FLAG_UTIL_CLAMP_MAX" => 0x40,
            other => return Err(bad(other)),
        };
    }
    Ok(SchedAttr {
        size: size_of::<SchedAttr>() as u32,
        policy,
        flags,
        nice: scheduler.nice.unwrap_or(0),
        priority: scheduler.priority.unwrap_or(0) as u32,
        runtime: scheduler.runtime.unwrap_or(0),
        deadline: scheduler.deadline.unwrap_or(0),
        period: scheduler.period.unwrap_or(0),
    })
}

/// What the kernel would take no notice of, or answer with no more than "invalid argument".
fn consistent(scheduler: &Scheduler) -> Result<(), Error> {
    let bad = |text: &str| Err(Error::Spec { reason: format!("scheduler: {text}") });
    let policy = scheduler.policy.as_str();
    let (priority, nice) = (scheduler.priority.unwrap_or(0), scheduler.nice.unwrap_or(0));
    if !(-20..=19).contains(&nice) {
        return bad(&format!("nice {nice} is not between -20 and 19"));
    }
    if priority < 0 || (priority != 0 && !matches!(policy, "SCHED_FIFO" | "SCHED_RR")) {
        return bad("priority can only be specified for SCHED_FIFO or SCHED_RR, from 1 to 99");
    }
    let times = [scheduler.runtime, scheduler.deadline, scheduler.period];
    if times.iter().flatten().any(|time| *time != 0) && policy != "SCHED_DEADLINE" {
        return bad("runtime, deadline and period can only be specified for SCHED_DEADLINE");
    }
    Ok(())
}

fn io_priority(priority: &IoPriority) -> Result<i32, Error> {
    let class = match priority.class.as_str() {
        "IOPRIO_CLASS_RT" => 1,
        "IOPRIO_CLASS_BE" => 2,
        "IOPRIO_CLASS_IDLE" => 3,
        other => return Err(Error::Spec { reason: format!("unknown I/O priority class {other:?}") }),
    };
    if !(0..=7).contains(&priority.priority) {
        return Err(Error::Spec { reason: format!("invalid ioPriority.Priority: {}", priority.priority) });
    }
    Ok(class << 13 | priority.priority)
}

fn credentials(request: &Request<'_>, plan: &mut Plan) -> Result<(), Error> {
    let available = if request.user_namespace { u64::MAX } else { capabilities::available() };
    let (masks, refused) = capabilities::masks(request.process.capabilities.as_ref(), available);
    if !refused.is_empty() {
        plan.warnings.push(format!("capabilities are unknown or not available here: {}", refused.join(", ")));
    }
    let user = &request.process.user;
    // Engines name one twice that the image and the user ask for.
    let mut groups: Vec<u32> = Vec::with_capacity(user.additional_gids.len());
    for gid in &user.additional_gids {
        if !groups.contains(gid) {
            groups.push(*gid);
        }
    }
    let groups_stay = crate::userns::denies_groups(request.beside);
    if groups_stay && !groups.is_empty() {
        let reason = "cannot set any additional groups in a rootless container".to_owned();
        return Err(Error::Spec { reason });
    }
    let credentials = Credentials {
        uid: user.uid,
        gid: user.gid,
        groups,
        set_groups: !groups_stay,
        capabilities: Some(masks),
        last_capability: capabilities::last(),
    };
    plan.push("set credentials", Step::Credentials(Box::new(credentials)));
    Ok(())
}

fn program(
    request: &Request<'_>,
    plan: &mut Plan,
    before_program: impl FnOnce(&mut Plan) -> Result<(), Error>,
) -> Result<(), Error> {
    let process = request.process;
    let name = process.args.first().cloned().unwrap_or_default();
    let mut env = environment(&process.env);
    if !env.iter().any(|variable| variable.starts_with("HOME=")) {
        env.push(format!("HOME={}", request.home));
    }
    let path = env.iter().find_map(|variable| variable.strip_prefix("PATH=")).unwrap_or_default();
    let (candidates, search) = candidates(&name, path)?;
    let own = sys::exe::Place::own().ok();
    let step = Step::LookPath { candidates, search, own };
    plan.labeled(Label::LookPath { program: name.clone(), search }, step);
    let ready = if is_awaited(request, plan) { Step::Ready } else { Step::Unasked };
    plan.push("wait for the start", ready);
    before_program(plan)?;
    let vector = |strings: &[String], what: &str| {
        Argv::new(strings.iter().map(String::as_str))
            .map_err(|_| Error::Spec { reason: format!("{what} contains a NUL byte") })
    };
    let step = Step::Exec { argv: vector(&process.args, "args")?, envp: vector(&env, "env")? };
    plan.labeled(Label::Exec { program: name }, step);
    Ok(())
}

/// Whether the parent of a process has something to do before its program runs. With one more process of a container that is
/// seldom so, and each word between the two costs two changes of the process on the processor.
fn is_awaited(request: &Request<'_>, plan: &Plan) -> bool {
    let heard = |step: &Step| match step {
        Step::Console { .. } | Step::Sync => true,
        Step::Seccomp { flags, .. } => flags & SECCOMP_NEW_LISTENER != 0,
        _ => false,
    };
    request.beside.is_none() || request.oom_score_adj.is_some() || plan.steps.iter().any(heard)
}

/// Of a variable that is given twice the last value counts, at the place of the first.
fn environment(given: &[String]) -> Vec<String> {
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(given.len());
    let mut env: Vec<String> = Vec::with_capacity(given.len() + 1);
    for variable in given {
        let Some((name, _)) = variable.split_once('=') else {
            env.push(variable.clone());
            continue;
        };
        match places.entry(name) {
            Entry::Occupied(place) => env[*place.get()].clone_from(variable),
            Entry::Vacant(place) => {
                place.insert(env.len());
                env.push(variable.clone());
            }
        }
    }
    env
}

/// Where a program may be, and whether that is a search in `$PATH`. Relative directories are not searched.
fn candidates(name: &str, path: &str) -> Result<(Vec<std::ffi::CString>, bool), Error> {
    if name.contains('/') {
        return Ok((vec![c_string(name, "args")?], false));
    }
    let dirs = path.split(':').filter(|dir| dir.starts_with('/'));
    let found = dirs.map(|dir| c_string(format!("{}/{name}", dir.trim_end_matches('/')), "PATH"));
    Ok((found.collect::<Result<_, _>>()?, true))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_path_is_searched_for_bare_names_only() {
        let (found, search) = candidates("sh", "/bin:.::/usr/bin/").unwrap();
        assert!(search);
        assert_eq!(found, [c"/bin/sh".to_owned(), c"/usr/bin/sh".to_owned()]);
        assert_eq!(candidates("./sh", "/bin").unwrap(), (vec![c"./sh".to_owned()], false));
        assert_eq!(candidates("sh", "").unwrap(), (vec![], true));
    }

    #[test]
    fn the_last_value_of_a_variable_counts() {
        let env = environment(&["A=1", "B=2", "A=3=4", "C", "B="].map(str::to_owned));
        assert_eq!(env, ["A=3=4", "B=", "C"]);
    }

    #[test]
    fn limits_are_checked() {
        let limit = |typ: &str, soft, hard| Rlimit { typ: typ.to_owned(), soft, hard };
        assert_eq!(resource(&limit("RLIMIT_NOFILE", 1, 2)).unwrap(), 7);
        assert!(resource(&limit("RLIMIT_NOFILE", 2, 1)).is_err());
        assert!(resource(&limit("NOFILE", 1, 2)).is_err());
    }
}
