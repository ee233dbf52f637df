//! Docker's default profile, from the facts of moby's `profiles/seccomp/default.json` (2026-10).
//!
//! It allows what programs need and denies the rest with EPERM; some calls come back with the capability that
//! they are about. `clone3` is ENOSYS, so that the C library falls back to `clone`, whose flags a filter can
//! see.

use oci::runtime::{Seccomp, SeccompAction, SeccompArg, SeccompOp, SeccompRule};

use super::Arch;

/// Allowed to everybody.
const ALWAYS: &str = "_llseek _newselect accept accept4 access adjtimex alarm bind brk cachestat capget capset chdir chmod chown \
    chown32 clock_adjtime clock_adjtime64 clock_getres clock_getres_time64 clock_gettime clock_gettime64 \
    clock_nanosleep clock_nanosleep_time64 close close_range connect copy_file_range creat dup dup2 dup3 \
    epoll_create epoll_create1 epoll_ctl epoll_ctl_old epoll_pwait epoll_pwait2 epoll_wait epoll_wait_old \
    eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fadvise64_64 fallocate \
    fanotify_mark fchdir fchmod fchmodat fchmodat2 fchown fchown32 fchownat fcntl fcntl64 fdatasync fgetxattr \
    flistxattr flock fork fremovexattr fsetxattr fstat fstat64 fstatat64 fstatfs fstatfs64 fsync ftruncate \
    ftruncate64 futex futex_requeue futex_time64 futex_wait futex_waitv futex_wake futimesat get_robust_list \
    get_thread_area getcpu getcwd getdents getdents64 getegid getegid32 geteuid geteuid32 getgid getgid32 \
    getgroups getgroups32 getitimer getpeername getpgid getpgrp getpid getppid getpriority getrandom getresgid \
    getresgid32 getresuid getresuid32 getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday \
    getuid getuid32 getxattr getxattrat inotify_add_watch inotify_init inotify_init1 inotify_rm_watch \
    io_cancel io_destroy io_getevents io_pgetevents io_pgetevents_time64 io_setup io_submit ioctl ioprio_get \
    ioprio_set ipc kill landlock_add_rule landlock_create_ruleset landlock_restrict_self lchown lchown32 \
    lgetxattr link linkat listen listmount listxattr listxattrat llistxattr lremovexattr lseek lsetxattr lstat \
    lstat64 madvise map_shadow_stack membarrier memfd_create memfd_secret mincore mkdir mkdirat mknod mknodat \
    mlock mlock2 mlockall mmap mmap2 mprotect mq_getsetattr mq_notify mq_open mq_timedreceive \
    mq_timedreceive_time64 mq_timedsend mq_timedsend_time64 mq_unlink mremap mseal msgctl msgget msgrcv msgsnd \
    msync munlock munlockall munmap name_to_handle_at nanosleep newfstatat open openat openat2 pause \
    pidfd_open pidfd_send_signal pipe pipe2 pkey_alloc pkey_free pkey_mprotect poll ppoll ppoll_time64 prctl \
    pread64 preadv preadv2 prlimit64 process_mrelease process_vm_readv process_vm_writev pselect6 \
    pselect6_time64 ptrace pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recv recvfrom \
    recvmmsg recvmmsg_time64 recvmsg remap_file_pages removexattr removexattrat rename renameat renameat2 \
    restart_syscall riscv_hwprobe rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo \
    rt_sigreturn rt_sigsuspend rt_sigtimedwait rt_sigtimedwait_time64 rt_tgsigqueueinfo sched_get_priority_max \
    sched_get_priority_min sched_getaffinity sched_getattr sched_getparam sched_getscheduler \
    sched_rr_get_interval sched_rr_get_interval_time64 sched_setaffinity sched_setattr sched_setparam \
    sched_setscheduler sched_yield seccomp select semctl semget semop semtimedop semtimedop_time64 send \
    sendfile sendfile64 sendmmsg sendmsg sendto set_robust_list set_thread_area set_tid_address setfsgid \
    setfsgid32 setfsuid setfsuid32 setgid setgid32 setgroups setgroups32 setitimer setpgid setpriority \
    setregid setregid32 setresgid setresgid32 setresuid setresuid32 setreuid setreuid32 setrlimit setsid \
    setsockopt setuid setuid32 setxattr setxattrat shmat shmctl shmdt shmget shutdown sigaltstack signalfd \
    signalfd4 sigprocmask sigreturn socketcall socketpair splice stat stat64 statfs statfs64 statmount statx \
    symlink symlinkat sync sync_file_range syncfs sysinfo tee tgkill time timer_create timer_delete \
    timer_getoverrun timer_gettime timer_gettime64 timer_settime timer_settime64 timerfd_create \
    timerfd_gettime timerfd_gettime64 timerfd_settime timerfd_settime64 times tkill truncate truncate64 \
    ugetrlimit umask uname unlink unlinkat uretprobe utime utimensat utimensat_time64 utimes vfork vmsplice \
    wait4 waitid waitpid write writev";

/// Allowed to everybody on one family of architectures.
const X86: &str = "arch_prctl modify_ldt";
const ARM: &str = "arm_fadvise64_64 arm_sync_file_range breakpoint cacheflush set_tls sync_file_range2";

/// Allowed to those whose bounding set has a capability.
const BY_CAPABILITY: [(&str, &str); 14] = [
    ("CAP_BPF", "bpf"),
    ("CAP_DAC_READ_SEARCH", "open_by_handle_at"),
    ("CAP_PERFMON", "perf_event_open"),
    ("CAP_SYSLOG", "syslog"),
    (
        "CAP_SYS_ADMIN",
        "bpf clone clone3 fanotify_init fsconfig fsmount fsopen fspick lookup_dcookie lsm_get_self_attr \
    lsm_list_modules lsm_set_self_attr mount mount_setattr move_mount open_tree perf_event_open quotactl \
    quotactl_fd setdomainname sethostname setns syslog umount umount2 unshare",
    ),
    ("CAP_SYS_BOOT", "reboot"),
    ("CAP_SYS_CHROOT", "chroot"),
    ("CAP_SYS_MODULE", "delete_module finit_module init_module"),
    ("CAP_SYS_NICE", "get_mempolicy mbind set_mempolicy set_mempolicy_home_node"),
    ("CAP_SYS_PACCT", "acct"),
    ("CAP_SYS_PTRACE", "kcmp pidfd_getfd process_madvise process_vm_readv process_vm_writev ptrace"),
    ("CAP_SYS_RAWIO", "ioperm iopl"),
    ("CAP_SYS_TIME", "clock_settime clock_settime64 settimeofday stime"),
    ("CAP_SYS_TTY_CONFIG", "vhangup"),
];

/// `clone` flags that make namespaces, but for time, which is the lowest signal bits of `clone`.
const NAMESPACES: u64 = 0x7e02_0000;

/// Personalities that change nothing dangerous: Linux, 32 bit names, and the query.
const PERSONALITIES: [u64; 5] = [0x0, 0x0008, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// Address families but AF_ALG (38) and AF_VSOCK (40), as masks and values that together cover 0 to 63. The
/// kernel looks at the lower half of the argument only, so the upper half must not be compared: with moby's
/// plain comparisons a set upper half gets past them.
const FAMILIES: [(u64, u64); 8] = [
    (0xffff_ffe0, 0),
    (0xffff_fffc, 32),
    (0xffff_fffe, 36),
    (0xffff_ffff, 39),
    (0xffff_ffff, 41),
    (0xffff_fffe, 42),
    (0xffff_fffc, 44),
    (0xffff_fff0, 48),
];

/// Docker's default profile for a process whose bounding set holds `capabilities` (`CAP_…`), on this machine.
pub fn docker_default(capabilities: &[String]) -> Seccomp {
    docker_default_for(capabilities, Arch::HOST)
}

/// The same for any architecture.
pub fn docker_default_for(capabilities: &[String], arch: Arch) -> Seccomp {
    let has = |name: &str| capabilities.iter().any(|capability| capability == name);
    let (architectures, own): (&[&str], &str) = match arch {
        Arch::X86_64 => (&["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"], X86),
        Arch::Aarch64 => (&["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"], ARM),
    };
    let mut syscalls = vec![allow(ALWAYS, None), allow(own, None)];
    for (capability, names) in BY_CAPABILITY {
        if has(capability) {
            syscalls.push(allow(names, None));
        }
    }
    for (mask, value) in FAMILIES {
        syscalls.push(allow("socket", Some(masked(mask, value))));
    }
    for value in PERSONALITIES {
        let arg = SeccompArg { index: 0, value, value_two: 0, op: SeccompOp::Equal };
        syscalls.push(allow("personality", Some(arg)));
    }
    if !has("CAP_SYS_ADMIN") {
        syscalls.push(allow("clone", Some(masked(NAMESPACES, 0))));
        let mut clone3 = allow("clone3", None);
        (clone3.action, clone3.errno_ret) = (SeccompAction::Errno, Some(libc::ENOSYS as u32));
        syscalls.push(clone3);
    }
    Seccomp {
        default_action: SeccompAction::Errno,
        default_errno_ret: Some(libc::EPERM as u32),
        architectures: architectures.iter().map(|name| (*name).to_owned()).collect(),
        syscalls,
        ..Seccomp::default()
    }
}

fn masked(mask: u64, value: u64) -> SeccompArg {
    SeccompArg { index: 0, value: mask, value_two: value, op: SeccompOp::MaskedEqual }
}

fn allow(names: &str, arg: Option<SeccompArg>) -> SeccompRule {
    SeccompRule {
        names: names.split_whitespace().map(str::to_owned).collect(),
        action: SeccompAction::Allow,
        errno_ret: None,
        args: arg.into_iter().collect(),
    }
}
