//! System call filters: OCI profile to classic BPF, and Docker's default profile.
//!
//! The program looks at the architecture first, then finds the call by binary search over ranges of numbers
//! with the same outcome, then looks at arguments where rules have some. Of the rules of one call, one
//! without arguments decides; else the first that holds; else the default. Calls newer than the newest that
//! the profile names are ENOSYS rather than denied, so that programs fall back (as runc does). A foreign
//! architecture kills the process.

use oci::runtime::{Seccomp, SeccompAction};

use crate::Error;

mod assemble;
mod docker;
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

    /// Arguments have 32 bits.
    fn narrow(self) -> bool {
        matches!(self, Abi::X86 | Abi::Arm)
    }

    fn number(self, name: &str) -> Option<u32> {
        let at = numbers::TABLE.binary_search_by(|(row, _)| row.cmp(&name)).ok()?;
        let number = u32::try_from(numbers::TABLE.get(at)?.1[self as usize]).ok()?;
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

/// The kernel's limit.
const MAX_INSTRUCTIONS: usize = 4096;

/// Compiles a profile. Names that no table knows are ignored, as libseccomp's users do: they are newer or of
/// other machines.
pub fn compile(profile: &Seccomp, arch: Arch) -> Result<Program, Error> {
    let bad = |reason: String| Error::Seccomp { reason };
    let notifies = profile.syscalls.iter().any(|rule| rule.action == SeccompAction::Notify);
    if notifies || profile.default_action == SeccompAction::Notify || !profile.listener_path.is_empty() {
        return Err(Error::Unsupported { what: "seccomp notification (SCMP_ACT_NOTIFY)".to_owned() });
    }
    if let Some(arg) = profile.syscalls.iter().flat_map(|rule| &rule.args).find(|arg| arg.index > 5) {
        return Err(bad(format!("there is no argument {}", arg.index)));
    }
    let flags = flags(&profile.flags)?;
    if profile.syscalls.is_empty() && profile.default_action == SeccompAction::Allow {
        return Ok(Program { instructions: Vec::new(), flags });
    }
    let listed = |abi: &&Abi| profile.architectures.iter().any(|name| name == abi.name());
    let mut abis: Vec<Abi> = arch.abis().iter().filter(listed).copied().collect();
    if abis.is_empty() {
        abis.extend(arch.abis().first());
    }
    let instructions = assemble::program(profile, &abis);
    if instructions.len() > MAX_INSTRUCTIONS {
        return Err(bad(format!("{} instructions are more than the kernel takes", instructions.len())));
    }
    Ok(Program { instructions, flags })
}

fn flags(names: &[String]) -> Result<u32, Error> {
    const SPEC_ALLOW: u32 = 4;
    if names.is_empty() {
        // As runc, where the kernel would slow the process down otherwise.
        return Ok(SPEC_ALLOW);
    }
    names.iter().try_fold(0, |flags, name| match name.as_str() {
        "SECCOMP_FILTER_FLAG_TSYNC" => Ok(flags | 1),
        "SECCOMP_FILTER_FLAG_LOG" => Ok(flags | 2),
        "SECCOMP_FILTER_FLAG_SPEC_ALLOW" => Ok(flags | SPEC_ALLOW),
        // About notifications, which there are none of.
        "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV" => Ok(flags),
        other => Err(Error::Seccomp { reason: format!("unknown flag {other:?}") }),
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
