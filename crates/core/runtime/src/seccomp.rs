//! System call filters: OCI profile to BPF, and Docker's default profile.

use oci::runtime::Seccomp;

use crate::Error;

/// The processor architectures that filters are compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arch {
    X86_64,
    Aarch64,
}

impl Arch {
    /// That of this program.
    pub const HOST: Arch = if cfg!(target_arch = "aarch64") { Arch::Aarch64 } else { Arch::X86_64 };
}

/// A filter as the kernel loads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// `struct sock_filter`, eight bytes each.
    pub instructions: Vec<u64>,
    /// `SECCOMP_FILTER_FLAG_*`.
    pub flags: u32,
}

/// Compiles a profile.
pub fn compile(_profile: &Seccomp, _arch: Arch) -> Result<Program, Error> {
    Err(Error::Unsupported { what: "seccomp".to_owned() })
}

/// Docker's default profile for a process whose bounding set holds `capabilities` (`CAP_…`).
pub fn docker_default(_capabilities: &[String]) -> Seccomp {
    Seccomp::default()
}
