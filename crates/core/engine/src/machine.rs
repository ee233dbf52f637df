//! Facts about this machine that plans depend on. Read when needed; cheap.

use std::io::Read as _;

use crate::containers::validate;
use crate::spec;
use crate::spec::capabilities;

/// What this machine offers.
#[derive(Debug, Clone)]
pub struct Facts {
    /// cgroup v2 is the only hierarchy.
    pub cgroup2: bool,
    /// AppArmor is enabled.
    pub apparmor: bool,
    /// Bits of the capabilities that we may give.
    pub capabilities: u64,
    /// Major and minor version of the kernel.
    pub kernel: (u32, u32),
}

impl Facts {
    /// What limits are checked against.
    pub fn limits(&self) -> validate::Machine {
        validate::Machine { cpus: cpus() }
    }

    /// What the OCI document depends on.
    pub fn spec(&self) -> spec::Machine {
        spec::Machine {
            cgroup2: self.cgroup2,
            capabilities: capabilities::from_mask(self.capabilities),
            apparmor: self.apparmor,
            kernel: self.kernel,
        }
    }
}

/// Processors that we may use.
pub fn cpus() -> u32 {
    std::thread::available_parallelism().map_or(1, |n| n.get() as u32)
}

/// Looks at the machine.
pub fn facts() -> Facts {
    Facts {
        cgroup2: std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists(),
        apparmor: std::fs::read("/sys/module/apparmor/parameters/enabled").is_ok_and(|b| b.starts_with(b"Y")),
        capabilities: capabilities(),
        kernel: kernel_version(&release()),
    }
}

/// Bits of the capabilities that may be given to a container: our own bounding set.
pub fn capabilities() -> u64 {
    bounding_set().unwrap_or(0)
}

fn bounding_set() -> Option<u64> {
    // One read: the kernel writes all of it at once.
    let mut buffer = [0; 8 << 10];
    let length = std::fs::File::open("/proc/thread-self/status").ok()?.read(&mut buffer).ok()?;
    let status = std::str::from_utf8(&buffer[..length]).ok()?;
    let hex = status.lines().find_map(|l| l.strip_prefix("CapBnd:"))?;
    u64::from_str_radix(hex.trim(), 16).ok()
}

/// The kernel's release text.
pub fn release() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// The machine's host name.
pub fn hostname() -> String {
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// When the machine was started, in nanoseconds since 1970.
pub fn booted() -> i64 {
    let up = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
    let now = jiff::Timestamp::now().as_nanosecond();
    let up = i128::from(up.tv_sec) * 1_000_000_000 + i128::from(up.tv_nsec);
    i64::try_from(now - up).unwrap_or(0)
}

/// Bytes of memory, from `/proc/meminfo`.
pub fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let kib =
        text.lines().find_map(|l| l.strip_prefix("MemTotal:")).and_then(|v| v.split_whitespace().next());
    kib.and_then(|v| v.parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn kernel_version(release: &str) -> (u32, u32) {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions() {
        assert_eq!(kernel_version("6.18.44-fc-v657"), (6, 18));
        assert_eq!(kernel_version("x"), (0, 0));
        assert!(cpus() >= 1 && memory() > 0);
    }
}
