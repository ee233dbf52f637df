//! What Docker gives and hides by default: the same for containers and for the steps of a build, so it is said once.
//! The runtime itself applies only what a specification says.

use oci::runtime::DeviceRule;

/// Of `/proc` and `/sys`, hidden (moby `oci/defaults.go`): information about the host, or doors to it.
pub const MASKED: [&str; 13] = [
    "/proc/asound",
    "/proc/acpi",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
    "/sys/devices/system/cpu/cpu0/thermal_throttle",
];

/// Of `/proc` and `/sys`, readable but not writable.
pub const READONLY: [&str; 5] = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"];

/// What an unprivileged container has unless it asks otherwise (moby `oci/caps/defaults.go`).
pub const CAPABILITIES: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// What every container may use, whatever the rules say before: making nodes, the default devices, terminals.
const DEVICES: [(char, Option<i64>, Option<i64>, &str); 11] = [
    ('c', None, None, "m"),
    ('b', None, None, "m"),
    ('c', Some(1), Some(3), "rwm"),
    ('c', Some(1), Some(5), "rwm"),
    ('c', Some(1), Some(7), "rwm"),
    ('c', Some(1), Some(8), "rwm"),
    ('c', Some(1), Some(9), "rwm"),
    ('c', Some(5), Some(0), "rwm"),
    ('c', Some(5), Some(1), "rwm"),
    ('c', Some(5), Some(2), "rwm"),
    ('c', Some(136), None, "rwm"),
];

/// Nothing but the devices that every container has.
pub fn devices() -> Vec<DeviceRule> {
    let none = DeviceRule { allow: false, access: "rwm".to_owned(), ..DeviceRule::default() };
    std::iter::once(none).chain(allowed_devices()).collect()
}

/// Nodes may be made but not opened; the harmless ones and terminals may be opened.
pub(crate) fn allowed_devices() -> impl Iterator<Item = DeviceRule> {
    DEVICES.into_iter().map(|(typ, major, minor, access)| DeviceRule {
        allow: true,
        typ: Some(typ.into()),
        major,
        minor,
        access: access.to_owned(),
    })
}
