//! Steps about what the process may do: ids, capabilities, limits, filters, signals.

use std::mem::size_of;
use std::os::fd::RawFd;

use rustix::io::Errno;

use super::run::{Failure, State, check, prctl};
use super::step::{CapabilityMasks, Credentials, SECCOMP_NEW_LISTENER, Step};

pub(super) fn run(state: &State<'_>, step: &Step) -> Result<(), Failure> {
    match step {
        Step::Hostname(name) => rustix::system::sethostname(name)?,
        Step::Domainname(name) => rustix::system::setdomainname(name)?,
        Step::NoNewPrivileges => drop(prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0)?),
        Step::Rlimit { resource, soft, hard } => rlimit(state, *resource, *soft, *hard)?,
        Step::Scheduler(attr) => {
            // SAFETY: the struct is of the size that its field says, and is only read.
            check(unsafe { libc::syscall(libc::SYS_sched_setattr, 0, &raw const **attr, 0) })?;
        }
        Step::IoPriority { value } => {
            const IOPRIO_WHO_PROCESS: i32 = 1;
            // SAFETY: numbers only.
            check(unsafe { libc::syscall(libc::SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0, *value) })?;
        }
        Step::Personality { domain } => {
            // SAFETY: numbers only.
            check(unsafe { libc::syscall(libc::SYS_personality, *domain) })?;
        }
        Step::ResetSignals => reset_signals(),
        Step::Affinity { mask } => {
            // SAFETY: a live array of the length that is passed.
            check(unsafe {
                libc::syscall(libc::SYS_sched_setaffinity, 0, size_of_val(&**mask), mask.as_ptr())
            })?;
        }
        Step::MemoryPolicy { mode, nodes } => {
            // The kernel takes one bit less than it is told.
            let bits = if nodes.is_empty() { 0 } else { nodes.len() * 64 + 1 };
            // SAFETY: a live array of that many bits; with none the pointer is not looked at.
            check(unsafe { libc::syscall(libc::SYS_set_mempolicy, *mode, nodes.as_ptr(), bits) })?;
        }
        Step::Seccomp { instructions, flags } => {
            let listener = load_filter(instructions, *flags)?;
            if flags & SECCOMP_NEW_LISTENER != 0 {
                state.hand_over(listener)?;
            }
        }
        Step::Credentials(credentials) => become_user(credentials)?,
        Step::ParentDeathSignal(yes) => {
            let signal = if *yes { libc::SIGKILL as u64 } else { 0 };
            prctl(libc::PR_SET_PDEATHSIG, signal, 0, 0)?;
        }
        _ => return Err(Errno::NOSYS.into()),
    }
    Ok(())
}

fn rlimit(state: &State<'_>, resource: u32, soft: u64, hard: u64) -> Result<(), Errno> {
    let wanted = libc::rlimit64 { rlim_cur: soft, rlim_max: hard };
    match prlimit(resource, Some(&wanted), None) {
        Err(Errno::PERM) => {}
        other => return other,
    }
    // Only CAP_SYS_RESOURCE may raise the hard limit: take what is below the one we have.
    let mut have = libc::rlimit64 { rlim_cur: 0, rlim_max: 0 };
    prlimit(resource, None, Some(&mut have))?;
    let less = libc::rlimit64 { rlim_cur: soft.min(have.rlim_max), rlim_max: hard.min(have.rlim_max) };
    prlimit(resource, Some(&less), None)?;
    state.warn(Errno::PERM)
}

fn prlimit(
    resource: u32,
    new: Option<&libc::rlimit64>,
    old: Option<&mut libc::rlimit64>,
) -> Result<(), Errno> {
    let new = new.map_or(std::ptr::null(), |new| new as *const libc::rlimit64);
    let old = old.map_or(std::ptr::null_mut(), |old| old as *mut libc::rlimit64);
    // SAFETY: each pointer is null or goes to a live struct of the kernel's layout.
    check(unsafe { libc::syscall(libc::SYS_prlimit64, 0, resource, new, old) }).map(drop)
}

/// The kernel's `struct sigaction` with a default handler is all zeros, of at most this size.
const SIGACTION: [u64; 8] = [0; 8];

fn reset_signals() {
    const SIGSET_SIZE: usize = 8;
    for signal in 1..=64 {
        // SAFETY: the kernel reads a zeroed struct. KILL and STOP refuse, which is fine.
        unsafe {
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                SIGACTION.as_ptr(),
                std::ptr::null_mut::<u64>(),
                SIGSET_SIZE,
            )
        };
    }
    let none = 0u64;
    // SAFETY: the kernel reads eight bytes.
    unsafe {
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            &raw const none,
            std::ptr::null_mut::<u64>(),
            SIGSET_SIZE,
        )
    };
}

/// Gives the listener's descriptor where the flags ask for one.
fn load_filter(instructions: &[u64], flags: u32) -> Result<RawFd, Errno> {
    const SECCOMP_SET_MODE_FILTER: u32 = 1;
    let program = libc::sock_fprog {
        len: instructions.len() as u16,
        filter: instructions.as_ptr() as *mut libc::sock_filter,
    };
    // SAFETY: `sock_filter` is eight bytes without padding; the kernel copies `len` of them and changes
    // nothing.
    check(unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &raw const program) })
        .map(|listener| listener as RawFd)
}

/// Bounding set, groups, ids, then the other sets: each needs the rights that the next takes away.
fn become_user(credentials: &Credentials) -> Result<(), Failure> {
    if let Some(sets) = &credentials.capabilities {
        for capability in 0..=credentials.last_capability {
            if sets.bounding & (1 << capability) == 0 {
                prctl(libc::PR_CAPBSET_DROP, capability.into(), 0, 0)?;
            }
        }
        prctl(libc::PR_SET_KEEPCAPS, 1, 0, 0)?;
    }
    let Credentials { uid, gid, groups, .. } = credentials;
    // SAFETY: numbers, and a live array of the length that is passed.
    unsafe {
        if credentials.set_groups {
            check(libc::syscall(libc::SYS_setgroups, groups.len(), groups.as_ptr()))?;
        }
        check(libc::syscall(libc::SYS_setresgid, *gid, *gid, *gid))?;
        check(libc::syscall(libc::SYS_setresuid, *uid, *uid, *uid))?;
    }
    if let Some(sets) = &credentials.capabilities {
        prctl(libc::PR_SET_KEEPCAPS, 0, 0, 0)?;
        capset(sets)?;
        prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_CLEAR_ALL as u64, 0, 0)?;
        for capability in 0..=credentials.last_capability {
            if sets.ambient & (1 << capability) != 0 {
                prctl(libc::PR_CAP_AMBIENT, libc::PR_CAP_AMBIENT_RAISE as u64, capability.into(), 0)?;
            }
        }
    }
    Ok(())
}

/// The kernel's `__user_cap_header_struct`.
#[repr(C)]
struct CapHeader {
    version: u32,
    pid: i32,
}

fn capset(sets: &CapabilityMasks) -> Result<(), Errno> {
    const VERSION_3: u32 = 0x2008_0522;
    let header = CapHeader { version: VERSION_3, pid: 0 };
    let low = |set: u64| set as u32;
    let high = |set: u64| (set >> 32) as u32;
    let data: [u32; 6] = [
        low(sets.effective),
        low(sets.permitted),
        low(sets.inheritable),
        high(sets.effective),
        high(sets.permitted),
        high(sets.inheritable),
    ];
    const _: () = assert!(size_of::<[u32; 6]>() == 24);
    // SAFETY: a header and two data structs of version 3, as the kernel lays them out.
    check(unsafe { libc::syscall(libc::SYS_capset, &raw const header, data.as_ptr()) }).map(drop)
}
