//! Being a small process of one's own: no inherited descriptors, limits of open files that are known, little memory.

use std::io;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::OnceLock;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

/// What limited this process's open files before [`raise_files`].
static FILES: OnceLock<Rlimit> = OnceLock::new();

/// What masked the modes of this process's new files before [`mask_as_server`].
static MASK: OnceLock<Mode> = OnceLock::new();

/// From now on new files have the modes that they would have if a server made them, whoever started this process: what
/// containers see of them depends on it.
pub fn mask_as_server() {
    let before = umask(Mode::from_raw_mode(0o022));
    let _ = MASK.set(before);
}

/// Runs `work` with the mask that this process was started with: for files that whoever started it asked for.
pub fn with_mask_as_before<T>(work: impl FnOnce() -> T) -> T {
    let Some(before) = MASK.get() else { return work() };
    let now = umask(*before);
    let result = work();
    umask(now);
    result
}

/// Lets this process open as many files as it may. The lower limit is for programs that keep descriptors in a fixed set of
/// bits (`select`): what is started from here gets it back, by [`with_files_as_before`] or the limits of a container.
pub fn raise_files() -> io::Result<()> {
    let before = getrlimit(Resource::Nofile);
    if before.current == before.maximum {
        return Ok(());
    }
    setrlimit(Resource::Nofile, Rlimit { current: before.maximum, maximum: before.maximum })?;
    let _ = FILES.set(before);
    Ok(())
}

/// The limits of open files, lower and upper, that this process was started with, if it has raised them.
pub fn files_before() -> Option<(u64, u64)> {
    let before = FILES.get()?;
    Some((before.current.unwrap_or(u64::MAX), before.maximum.unwrap_or(u64::MAX)))
}

/// Has `command` started with the limits of open files that this process was started with.
pub fn with_files_as_before(command: &mut Command) -> &mut Command {
    let Some(&before) = FILES.get() else { return command };
    // SAFETY: between fork and exec nothing but one system call is made: no lock, no allocation.
    unsafe { command.pre_exec(move || Ok(setrlimit(Resource::Nofile, before)?)) }
}

/// Closes every descriptor from 3 on. What a shell or another program left open would otherwise stay open for this
/// process's life, and with it pipes that somebody waits on.
///
/// To be called first thing in `main`: descriptors that the program itself has opened are closed as well, and their
/// owners would not know.
pub fn close_inherited() {
    // SAFETY: close_range(2) takes three integers. By the contract above nobody owns these descriptors yet.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32);
    }
}

/// Marks every descriptor from 3 on to be closed by `execve`, in this process and what it spawns from now on (Linux 5.11).
pub fn inherit_nothing() {
    const CLOSE_RANGE_CLOEXEC: u32 = 4;
    // SAFETY: close_range(2) takes three integers, and with this flag it closes nothing.
    unsafe {
        libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, CLOSE_RANGE_CLOEXEC);
    }
}

/// Lets all threads allocate from the same few pools. By default each busy thread gets one of its own, and what a burst
/// of work has freed in it stays there. To be called before there is a second thread.
pub fn share_pools() {
    /// One for the main thread, one for all others.
    #[cfg(target_env = "gnu")]
    const POOLS: i32 = 2;
    // SAFETY: mallopt takes two integers; by the contract above nobody allocates at the same time.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, POOLS);
    }
}

/// Gives the program's own code and constants back to the kernel: they come again from the page cache when they are
/// next used. For long-lived idle processes, after a burst of work; a process that runs on right away only loses time.
pub fn drop_code() {
    // SAFETY: the C library calls back once an object with a pointer to a record that is valid for the call; a static
    // program has one object.
    unsafe {
        libc::dl_iterate_phdr(Some(drop_segments), std::ptr::null_mut());
    }
}

/// Drops the loaded segments of one object that nobody can write to.
extern "C" fn drop_segments(
    info: *mut libc::dl_phdr_info,
    _size: usize,
    _data: *mut libc::c_void,
) -> libc::c_int {
    // SAFETY: see `drop_code`: the record is valid for this call, and so are the headers that it counts.
    let (base, headers) = unsafe {
        let info = &*info;
        (info.dlpi_addr, std::slice::from_raw_parts(info.dlpi_phdr, usize::from(info.dlpi_phnum)))
    };
    // SAFETY: sysconf takes and gives an integer.
    let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as u64;
    for header in headers.iter().filter(|header| header.p_type == libc::PT_LOAD) {
        if header.p_flags & libc::PF_W != 0 {
            continue;
        }
        // Whole pages inside of the segment: the pages at its ends may belong to a neighbour that is written to.
        let start = (base + header.p_vaddr).next_multiple_of(page);
        let end = (base + header.p_vaddr + header.p_memsz) / page * page;
        if start < end {
            // SAFETY: these pages are mapped from the program's file and were never writable, so that what is read
            // from them afterwards is what was there before: dropping them changes no value.
            unsafe {
                libc::madvise(start as *mut libc::c_void, (end - start) as usize, libc::MADV_DONTNEED);
            }
        }
    }
    0
}

/// Takes memory from one place for all threads, in larger steps, and keeps it. For a short life: each page is got once.
pub fn keep_memory() {
    #[cfg(target_env = "gnu")]
    for (what, value) in
        [(libc::M_ARENA_MAX, 1), (libc::M_TOP_PAD, 1 << 20), (libc::M_TRIM_THRESHOLD, 256 << 20)]
    {
        // SAFETY: mallopt takes two integers.
        unsafe { libc::mallopt(what, value) };
    }
}

/// Gives freed memory back to the kernel. For long-lived idle processes, after a burst of work.
pub fn trim_memory() {
    // SAFETY: malloc_trim takes no pointer and touches free memory only.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_started_has_the_limits_of_before() {
        let before = getrlimit(Resource::Nofile);
        let soft = before.maximum.map_or(512, |most| most.min(512));
        setrlimit(Resource::Nofile, Rlimit { current: Some(soft), maximum: before.maximum }).unwrap();
        raise_files().unwrap();
        assert_eq!(getrlimit(Resource::Nofile).current, before.maximum);
        assert_eq!(files_before().map(|(lower, _)| lower), Some(soft));
        let output = |command: &mut Command| String::from_utf8(command.output().unwrap().stdout).unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "ulimit -n"]);
        assert_eq!(output(with_files_as_before(&mut command)).trim(), soft.to_string());
        setrlimit(Resource::Nofile, before).unwrap();
    }
}
