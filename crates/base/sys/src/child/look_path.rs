//! Finding the program, as the user of the process.

use std::ffi::{CStr, CString};

use rustix::fs::{Access, AtFlags, CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::run::Failure;
use crate::exe::{Place, on_readonly_mount};

/// As a shell finds a program; errno as `stat` and `access` give it, EISDIR for a directory.
pub(super) fn find(candidates: &[CString], search: bool) -> Result<&CStr, Errno> {
    let mut failure = Errno::NOENT;
    for candidate in candidates {
        match executable(candidate) {
            Ok(()) => return Ok(candidate),
            Err(e) => failure = e,
        }
    }
    Err(if search { Errno::NOENT } else { failure })
}

fn executable(path: &CStr) -> Result<(), Errno> {
    let stat = rustix::fs::stat(path)?;
    if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
        return Err(Errno::ISDIR);
    }
    match rustix::fs::accessat(CWD, path, Access::EXEC_OK, AtFlags::empty()) {
        // A filter may forbid access(2): the mode must do then.
        Err(Errno::NOSYS | Errno::PERM) if stat.st_mode & 0o111 != 0 => Ok(()),
        Err(Errno::NOSYS | Errno::PERM) => Err(Errno::ACCESS),
        other => other,
    }
}

/// How many interpreters of interpreters the kernel follows.
const MAX_INTERPRETERS: usize = 5;

/// Up to `execve`, `/proc/self/exe` is the machine's own program: an image whose program or interpreter leads
/// there would run it inside, where it can be opened and later overwritten (CVE-2019-5736). By another, read-only mount, as
/// `--init` brings it along, it may be run: nobody can write to it.
pub(super) fn refuse_own(program: &CStr, own: Place) -> Result<(), Failure> {
    let mut line = [0u8; 257];
    let mut name = [0u8; 257];
    let mut path = program;
    for _ in 0..MAX_INTERPRETERS {
        // What can't be looked at is for execve to refuse.
        let Ok(place) = Place::of(path) else { return Ok(()) };
        if place.is_file_of(own) && (place == own || !on_readonly_mount(path).unwrap_or(false)) {
            return Err(Failure::with_text(
                Errno::ACCESS,
                b"permission denied: the container runtime itself",
            ));
        }
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let Ok(file) = rustix::fs::open(path, flags, Mode::empty()) else { return Ok(()) };
        let Ok(length) = rustix::io::read(&file, &mut line[..256]) else { return Ok(()) };
        let Some(interpreter) = interpreter(line.get(..length).unwrap_or_default()) else { return Ok(()) };
        name.fill(0);
        for (to, from) in name.iter_mut().zip(interpreter.iter().take(256)) {
            *to = *from;
        }
        let Ok(next) = CStr::from_bytes_until_nul(&name) else { return Ok(()) };
        path = next;
    }
    Ok(())
}

/// The word after `#!`.
fn interpreter(head: &[u8]) -> Option<&[u8]> {
    let rest = head.strip_prefix(b"#!")?;
    let blank = |b: &u8| *b == b' ' || *b == b'\t';
    let start = rest.iter().position(|b| !blank(b))?;
    let word = rest.get(start..)?;
    let end = word.iter().position(|b| blank(b) || *b == b'\n' || *b == 0).unwrap_or(word.len());
    word.get(..end).filter(|word| !word.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_are_found_as_the_kernel_finds_them() {
        assert_eq!(interpreter(b"#!/bin/sh\nx"), Some(&b"/bin/sh"[..]));
        assert_eq!(interpreter(b"#! \t/bin/sh -e\n"), Some(&b"/bin/sh"[..]));
        assert_eq!(interpreter(b"#!\n"), None);
        assert_eq!(interpreter(b"\x7fELF"), None);
    }
}
