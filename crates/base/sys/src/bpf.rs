//! BPF programs of control groups: the device filter of cgroup v2.
//!
//! Instructions are the kernel's `struct bpf_insn`. The filter gets `struct bpf_cgroup_dev_ctx` in register 1
//! (three 32-bit words: access in the upper and type in the lower half, major, minor) and allows by returning
//! 1.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

/// One instruction.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    code: u8,
    /// Destination in the lower, source in the upper half.
    registers: u8,
    offset: i16,
    immediate: i32,
}

fn instruction(code: u8, destination: u8, source: u8, offset: i16, immediate: i32) -> Instruction {
    let registers =
        if cfg!(target_endian = "little") { source << 4 | destination } else { destination << 4 | source };
    Instruction { code, registers, offset, immediate }
}

/// `to = *(u32 *)(r1 + offset)`
pub fn load_context(to: u8, offset: i16) -> Instruction {
    instruction(0x61, to, 1, offset, 0)
}

/// `to = value`
pub fn mov(to: u8, value: i32) -> Instruction {
    instruction(0xb4, to, 0, 0, value)
}

/// `to = from`, 32 bits
pub fn mov_register(to: u8, from: u8) -> Instruction {
    instruction(0xbc, to, from, 0, 0)
}

/// `to >>= bits`, 32 bits
pub fn shift_right(to: u8, bits: i32) -> Instruction {
    instruction(0x74, to, 0, 0, bits)
}

/// `to &= mask`, 32 bits
pub fn and(to: u8, mask: i32) -> Instruction {
    instruction(0x54, to, 0, 0, mask)
}

/// Skips instructions unless `register == value`.
pub fn equal_or_skip(register: u8, value: i32, skip: i16) -> Instruction {
    instruction(0x55, register, 0, skip, value)
}

/// Skips instructions unless `register == 0`.
pub fn zero_or_skip(register: u8, skip: i16) -> Instruction {
    equal_or_skip(register, 0, skip)
}

/// Skips instructions if `register == 0`.
pub fn nonzero_or_skip(register: u8, skip: i16) -> Instruction {
    instruction(0x15, register, 0, skip, 0)
}

pub fn exit() -> Instruction {
    instruction(0x95, 0, 0, 0, 0)
}

const BPF_PROG_LOAD: u32 = 5;
const BPF_PROG_ATTACH: u32 = 8;
const BPF_PROG_DETACH: u32 = 9;
const BPF_PROG_GET_FD_BY_ID: u32 = 13;
const BPF_PROG_QUERY: u32 = 16;
const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
const BPF_CGROUP_DEVICE: u32 = 6;
const BPF_F_ALLOW_MULTI: u32 = 2;

/// The part of `union bpf_attr` for loading.
#[repr(C)]
struct Load {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

/// The part of `union bpf_attr` for attaching and detaching.
#[repr(C)]
struct Attach {
    target_fd: u32,
    attach_bpf_fd: u32,
    attach_type: u32,
    attach_flags: u32,
}

/// The part of `union bpf_attr` for asking what is attached.
#[repr(C)]
struct Query {
    target_fd: u32,
    attach_type: u32,
    query_flags: u32,
    attach_flags: u32,
    prog_ids: u64,
    prog_cnt: u32,
    padding: u32,
}

fn bpf<T>(command: u32, attr: &mut T) -> io::Result<libc::c_long> {
    // SAFETY: callers pass the struct of the command; the kernel takes fields past its size as zero and
    // writes inside it.
    let result = unsafe { libc::syscall(libc::SYS_bpf, command, attr as *mut T, size_of::<T>()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// Loads a device filter.
pub fn load_device_filter(code: &[Instruction]) -> io::Result<OwnedFd> {
    let mut attr = Load {
        prog_type: BPF_PROG_TYPE_CGROUP_DEVICE,
        insn_cnt: code.len() as u32,
        insns: code.as_ptr() as u64,
        license: c"Apache".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    let fd = bpf(BPF_PROG_LOAD, &mut attr)?;
    // SAFETY: a new descriptor that nobody else owns; the kernel makes it close-on-exec.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// Attaches a filter to a cgroup v2 directory and detaches those that were there. At no moment is there none.
pub fn replace_device_filter(cgroup: impl AsFd, program: impl AsFd) -> io::Result<()> {
    let target_fd = cgroup.as_fd().as_raw_fd() as u32;
    let old = attached(target_fd)?;
    let attach = |fd: u32, attach_flags| Attach {
        target_fd,
        attach_bpf_fd: fd,
        attach_type: BPF_CGROUP_DEVICE,
        attach_flags,
    };
    let new = program.as_fd().as_raw_fd() as u32;
    bpf(BPF_PROG_ATTACH, &mut attach(new, BPF_F_ALLOW_MULTI))?;
    for program in old {
        bpf(BPF_PROG_DETACH, &mut attach(program.as_raw_fd() as u32, 0))?;
    }
    Ok(())
}

fn attached(target_fd: u32) -> io::Result<Vec<OwnedFd>> {
    let mut ids = [0u32; 64];
    let mut query = Query {
        target_fd,
        attach_type: BPF_CGROUP_DEVICE,
        query_flags: 0,
        attach_flags: 0,
        prog_ids: ids.as_mut_ptr() as u64,
        prog_cnt: ids.len() as u32,
        padding: 0,
    };
    bpf(BPF_PROG_QUERY, &mut query)?;
    let mut programs = Vec::new();
    for id in ids.iter().take(query.prog_cnt as usize) {
        let mut attr = [*id, 0, 0];
        let fd = bpf(BPF_PROG_GET_FD_BY_ID, &mut attr)?;
        // SAFETY: a new descriptor that nobody else owns.
        programs.push(unsafe { OwnedFd::from_raw_fd(fd as i32) });
    }
    Ok(programs)
}
