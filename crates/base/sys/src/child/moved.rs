//! One process takes the place of another, in the pid namespace that the first has joined for its children.
//!
//! Whoever lives in that namespace may look at its members, at their descriptors and their root directory, if it has
//! CAP_SYS_PTRACE. So the first does from outside what needs descriptors of the machine, closes them, and only then makes
//! the second, which begins with nothing of the machine's in its hands.

use std::arch::asm;

use rustix::io::Errno;

use super::CloneArgs;
use super::run::State;

/// Goes on as another process, a child of this one's parent, and tells the parent which one. This one ends.
pub(super) fn into_pid_namespace(state: &State<'_>) -> Result<(), Errno> {
    let mut pid: libc::pid_t = 0;
    let args = CloneArgs {
        // As the parent numbers it, for this process is still in the parent's pid namespace.
        flags: (libc::CLONE_VM | libc::CLONE_PARENT | libc::CLONE_PARENT_SETTID) as u64,
        parent_tid: &raw mut pid as u64,
        ..CloneArgs::default()
    };
    // SAFETY: `args` is a `struct clone_args` whose only pointer goes to `pid`; this process has one thread.
    let result = unsafe { clone_and_end(&args) };
    if result < 0 {
        return Err(Errno::from_raw_os_error(-result as i32));
    }
    // SAFETY: a live local variable, which the kernel has written to behind the compiler's back.
    state.say_moved(unsafe { (&raw const pid).read_volatile() })
}

/// `clone3` which returns in the child, with zero, or with a negative error: a parent whose child lives exits within. So the
/// two can share memory and stack, which spares a copy of the page tables: nobody uses the stack but the child.
///
/// # Safety
/// The caller is the only thread of its process, and `args` asks for CLONE_VM without a stack.
#[cfg(target_arch = "x86_64")]
unsafe fn clone_and_end(args: &CloneArgs) -> isize {
    let mut result = libc::SYS_clone3 as isize;
    // SAFETY: both sides see the same registers and memory but for rax, and the parent touches neither before it ends.
    unsafe {
        asm!(
            "syscall",
            "test rax, rax",
            "jle 2f",
            "xor edi, edi",
            "mov eax, {exit}",
            "syscall",
            "2:",
            exit = const libc::SYS_exit_group,
            inlateout("rax") result,
            inlateout("rdi") args => _,
            in("rsi") size_of::<CloneArgs>(),
            lateout("rcx") _,
            lateout("r11") _,
        );
    }
    result
}

/// As on x86-64.
///
/// # Safety
/// As on x86-64.
#[cfg(target_arch = "aarch64")]
unsafe fn clone_and_end(args: &CloneArgs) -> isize {
    let result: isize;
    // SAFETY: both sides see the same registers and memory but for x0, and the parent touches neither before it ends.
    unsafe {
        asm!(
            "svc #0",
            "cmp x0, #0",
            "b.le 2f",
            "mov x0, #0",
            "mov x8, #{exit}",
            "svc #0",
            "2:",
            exit = const libc::SYS_exit_group,
            inlateout("x0") args => result,
            in("x1") size_of::<CloneArgs>(),
            inlateout("x8") libc::SYS_clone3 => _,
        );
    }
    result
}
