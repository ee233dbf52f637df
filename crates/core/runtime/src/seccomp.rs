//! System call filters: OCI profile to classic BPF, and Docker's default profile.
//!
//! The program looks at the architecture first, then finds the call by binary search over ranges of numbers
//! with the same outcome, then looks at arguments where rules have some. Of the rules of one call, one
//! without arguments decides; else the first that holds; else the default. Calls newer than the newest that
//! the profile names are ENOSYS rather than denied, so that programs fall back (as runc does). A foreign
//! architecture kills the process.

use oci::runtime::{Seccomp, SeccompAction};

use sys::child::SECCOMP_NEW_LISTENER;

use crate::Error;

pub(crate) mod agent;
mod assemble;
mod docker;
#[cfg(test)]
mod golden;
mod numbers;
#[cfg(test)]
mod tests;

pub use docker::{docker_default, docker_default_for};

/// The processor architectures that filters are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    /// With x86 and x32 where the profile lists them.
    X86_64,
    /// With 32-bit ARM where the profile lists it.
    Aarch64,
}

impl Arch {
    /// That of this program.
    pub const HOST: Arch = if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 };

    fn abis(self) -> &'static [Abi] {
        match self {
            Arch::X86_64 => &[Abi::X86_64, Abi::X86, Abi::X32],
            Arch::Aarch64 => &[Abi::Aarch64, Abi::Arm],
        }
    }
}

/// A table of system calls. The values are its columns.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Abi {
    X86_64,
    X86,
    X32,
    Aarch64,
    Arm,
}

impl Abi {
    fn name(self) -> &'static str {
        match self {
            Abi::X86_64 => "SCMP_ARCH_X86_64",
            Abi::X86 => "SCMP_ARCH_X86",
            Abi::X32 => "SCMP_ARCH_X32",
            Abi::Aarch64 => "SCMP_ARCH_AARCH64",
            Abi::Arm => "SCMP_ARCH_ARM",
        }
    }

    /// `AUDIT_ARCH_*`: x32 shares that of x86_64 and is known by a bit of the call's number.
    fn audit(self) -> u32 {
        match self {
            Abi::X86_64 | Abi::X32 => 0xc000_003e,
            Abi::X86 => 0x4000_0003,
            Abi::Aarch64 => 0xc000_00b7,
            Abi::Arm => 0x4000_0028,
        }
    }

    /// Arguments have 32 bits; for x32 that is what libseccomp says.
    fn narrow(self) -> bool {
        matches!(self, Abi::X86 | Abi::X32 | Abi::Arm)
    }

    fn number(self, (_, numbers): &numbers::Row) -> Option<u32> {
        let number = u32::try_from(numbers[self as usize]).ok()?;
        Some(if self == Abi::X32 { number | X32_BIT } else { number })
    }
}

const X32_BIT: u32 = 0x4000_0000;

/// A filter as the kernel loads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// `struct sock_filter`, eight bytes each. Empty means that everything is allowed and nothing is to be
    /// loaded.
    pub instructions: Vec<u64>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

impl Program {
    /// Whether loading it gives a listener, for the agent at the profile's `listenerPath`.
    pub fn notifies(&self) -> bool {
        self.flags & SECCOMP_NEW_LISTENER != 0
    }
}

/// The kernel's limit.
const MAX_INSTRUCTIONS: usize = 4096;

/// Every name of an architecture that a profile may hold. Those that this machine can't run need no instructions: no call
/// will ever come from them.
pub(crate) const ARCHITECTURES: [&str; 24] = [
    "SCMP_ARCH_X86",
    "SCMP_ARCH_X86_64",
    "SCMP_ARCH_X32",
    "SCMP_ARCH_ARM",
    "SCMP_ARCH_AARCH64",
    "SCMP_ARCH_LOONGARCH64",
    "SCMP_ARCH_M68K",
    "SCMP_ARCH_MIPS",
    "SCMP_ARCH_MIPS64",
    "SCMP_ARCH_MIPS64N32",
    "SCMP_ARCH_MIPSEL",
    "SCMP_ARCH_MIPSEL64",
    "SCMP_ARCH_MIPSEL64N32",
    "SCMP_ARCH_PPC",
    "SCMP_ARCH_PPC64",
    "SCMP_ARCH_PPC64LE",
    "SCMP_ARCH_S390",
    "SCMP_ARCH_S390X",
    "SCMP_ARCH_PARISC",
    "SCMP_ARCH_PARISC64",
    "SCMP_ARCH_RISCV64",
    "SCMP_ARCH_SH",
    "SCMP_ARCH_SHEB",
    "SCMP_ARCH_NATIVE",
];

/// Compiles a profile. Names that no table knows are ignored, as libseccomp's users do: they are newer or of
/// other machines. The machine's own architecture is always among those that the filter is for.
pub fn compile(profile: &Seccomp, arch: Arch) -> Result<Program, Error> {
    check(profile)?;
    let notifies = profile.syscalls.iter().any(|rule| rule.action == SeccompAction::Notify);
    let flags = flags(&profile.flags, notifies)?;
    if profile.syscalls.is_empty() && profile.default_action == SeccompAction::Allow {
        return Ok(Program { instructions: Vec::new(), flags });
    }
    let mut abis: Vec<Abi> = arch.abis().to_vec();
    let native = abis.first().copied();
    abis.retain(|abi| Some(*abi) == native || profile.architectures.iter().any(|name| name == abi.name()));
    let instructions = assemble::program(profile, &abis);
    if instructions.len() > MAX_INSTRUCTIONS {
        return Err(bad(format!("{} instructions are more than the kernel takes", instructions.len())));
    }
    Ok(Program { instructions, flags })
}

fn bad(reason: impl Into<String>) -> Error {
    Error::Seccomp { reason: reason.into() }
}

fn check(profile: &Seccomp) -> Result<(), Error> {
    if let Some(name) = profile.architectures.iter().find(|name| !ARCHITECTURES.contains(&name.as_str())) {
        return Err(bad(format!("unknown architecture {name:?}")));
    }
    if profile.listener_path.is_empty() && !profile.listener_metadata.is_empty() {
        return Err(bad("listenerMetadata without listenerPath"));
    }
    if profile.default_action == SeccompAction::Notify {
        return Err(bad("SCMP_ACT_NOTIFY cannot be used as default action"));
    }
    let takes_errno = |action| matches!(action, SeccompAction::Errno | SeccompAction::Trace);
    if profile.default_errno_ret.is_some() && !takes_errno(profile.default_action) {
        return Err(bad(format!("defaultErrnoRet does nothing with {:?}", profile.default_action)));
    }
    for rule in &profile.syscalls {
        if rule.names.is_empty() {
            return Err(bad("a rule without names"));
        }
        if rule.errno_ret.is_some() && !takes_errno(rule.action) {
            return Err(bad(format!("errnoRet of {:?} does nothing with {:?}", rule.names[0], rule.action)));
        }
        if let Some(arg) = rule.args.iter().find(|arg| arg.index > 5) {
            return Err(bad(format!("there is no argument {}", arg.index)));
        }
        if rule.action == SeccompAction::Notify {
            // With it the process tells us of the listener: nobody would be there yet to let the call go.
            if rule.names.iter().any(|name| name == "write") {
                return Err(bad("SCMP_ACT_NOTIFY cannot be used for the write syscall"));
            }
            if profile.listener_path.is_empty() {
                return Err(bad("SCMP_ACT_NOTIFY without listenerPath"));
            }
        }
    }
    Ok(())
}

const TSYNC: u32 = 1;
const LOG: u32 = 2;
const SPEC_ALLOW: u32 = 4;
/// Without it the kernel refuses TSYNC beside a listener: both want to be the result.
const TSYNC_ESRCH: u32 = 16;
const WAIT_KILLABLE_RECV: u32 = 32;

/// `SECCOMP_FILTER_FLAG_*` that a profile may name.
const FLAGS: [(&str, u32); 4] = [
    ("SECCOMP_FILTER_FLAG_LOG", LOG),
    ("SECCOMP_FILTER_FLAG_SPEC_ALLOW", SPEC_ALLOW),
    ("SECCOMP_FILTER_FLAG_TSYNC", TSYNC),
    ("SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV", WAIT_KILLABLE_RECV),
];

/// The flags that a profile may name, and whether this kernel takes them.
pub(crate) fn known_flags() -> impl Iterator<Item = (&'static str, bool)> {
    FLAGS.into_iter().map(|(name, flag)| {
        // It is about listeners, and means nothing to the kernel without one.
        let beside = if flag == WAIT_KILLABLE_RECV { SECCOMP_NEW_LISTENER } else { 0 };
        (name, sys::seccomp::knows_flags(flag | beside))
    })
}

fn flags(names: &[String], notifies: bool) -> Result<u32, Error> {
    let listener = if notifies { SECCOMP_NEW_LISTENER } else { 0 };
    if names.is_empty() {
        // As runc, where the kernel would slow the process down otherwise.
        return Ok(listener | SPEC_ALLOW);
    }
    names.iter().try_fold(listener, |flags, name| {
        let known = FLAGS.iter().find(|(known, _)| known == name);
        Ok(match *known.ok_or_else(|| bad(format!("unknown flag {name:?}")))? {
            (_, TSYNC) if notifies => flags | TSYNC | TSYNC_ESRCH,
            // About notifications, which there are none of.
            (_, WAIT_KILLABLE_RECV) if !notifies => flags,
            (_, flag) => flags | flag,
        })
    })
}

/// The filter's answer (`SECCOMP_RET_*`).
fn answer(action: SeccompAction, errno: Option<u32>) -> u32 {
    // The kernel cuts an errno above its largest to that one.
    let data = errno.unwrap_or(libc::EPERM as u32) & 0xffff;
    match action {
        SeccompAction::KillProcess => 0x8000_0000,
        SeccompAction::KillThread => 0,
        SeccompAction::Trap => 0x0003_0000,
        SeccompAction::Errno => 0x0005_0000 | data,
        SeccompAction::Notify => 0x7fc0_0000,
        SeccompAction::Trace => 0x7ff0_0000 | data,
        SeccompAction::Log => 0x7ffc_0000,
        SeccompAction::Allow => 0x7fff_0000,
    }
}
