//! What this kernel's seccomp(2) knows.

/// Whether filters can be loaded with these `SECCOMP_FILTER_FLAG_*`, all at once. Nothing is loaded.
pub fn knows_flags(flags: u32) -> bool {
    const SECCOMP_SET_MODE_FILTER: u32 = 1;
    let nothing = std::ptr::null::<libc::sock_fprog>();
    // SAFETY: flags are looked at first, and then there is no filter to be read.
    unsafe { libc::syscall(libc::SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, nothing) };
    std::io::Error::last_os_error().raw_os_error() == Some(libc::EFAULT)
}

#[cfg(test)]
mod tests {
    #[test]
    fn flags_of_a_kernel_yet_to_come_are_not_known() {
        assert!(super::knows_flags(0) && super::knows_flags(4));
        assert!(!super::knows_flags(1 << 31));
    }
}
