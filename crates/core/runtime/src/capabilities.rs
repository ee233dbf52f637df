//! Capability names and sets. The numbers are the kernel's (`linux/capability.h`).

use std::sync::OnceLock;

use oci::runtime::Capabilities;
use sys::child::CapabilityMasks;

/// By number, without the `CAP_` prefix.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// All names, `CAP_…`, by number: what `--privileged` grants.
pub fn all() -> impl Iterator<Item = String> {
    NAMES.iter().map(|name| format!("CAP_{name}"))
}

/// The number of a capability; the prefix may lack, case does not matter.
pub fn number(name: &str) -> Option<u32> {
    let upper = name.to_ascii_uppercase();
    let bare = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES.iter().position(|n| *n == bare).map(|n| n as u32)
}

/// The highest capability that this kernel knows.
pub(crate) fn last() -> u32 {
    static LAST: OnceLock<u32> = OnceLock::new();
    *LAST.get_or_init(read_last)
}

fn read_last() -> u32 {
    std::fs::read_to_string("/proc/sys/kernel/cap_last_cap")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(NAMES.len() as u32 - 1)
        .min(63)
}

/// What this process may pass on.
pub(crate) fn available() -> u64 {
    rustix::thread::capabilities(None).map_or(u64::MAX, |sets| sets.permitted.bits())
}

/// The masks of the sets, cut to `available`; and the names that were cut or are unknown. Without a document
/// all sets are empty.
pub(crate) fn masks(sets: Option<&Capabilities>, available: u64) -> (CapabilityMasks, Vec<String>) {
    let mut refused = Vec::new();
    let Some(sets) = sets else { return (CapabilityMasks::default(), refused) };
    let mut mask = |names: &[String]| {
        let mut mask = 0;
        for name in names {
            match number(name) {
                Some(n) if available & (1 << n) != 0 => mask |= 1 << n,
                _ if refused.contains(name) => {}
                _ => refused.push(name.clone()),
            }
        }
        mask
    };
    let mut masks = CapabilityMasks {
        bounding: mask(&sets.bounding),
        effective: mask(&sets.effective),
        inheritable: mask(&sets.inheritable),
        permitted: mask(&sets.permitted),
        ambient: mask(&sets.ambient),
    };
    // The kernel has no other ambient ones (capabilities(7)), and specifications name them all the same.
    masks.ambient &= masks.permitted & masks.inheritable;
    (masks, refused)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_the_kernels_numbers() {
        for (name, n) in
            [("CAP_CHOWN", 0), ("net_raw", 13), ("CAP_SYS_ADMIN", 21), ("CAP_CHECKPOINT_RESTORE", 40)]
        {
            assert_eq!(number(name), Some(n), "{name}");
        }
        assert_eq!(number("CAP_NOTHING"), None);
    }

    #[test]
    fn what_is_not_ours_to_give_is_named_once() {
        let names = vec!["CAP_CHOWN".to_owned(), "CAP_SYS_RESOURCE".to_owned()];
        let sets = Capabilities { bounding: names.clone(), permitted: names, ..Capabilities::default() };
        let (masks, refused) = masks(Some(&sets), !(1 << 24));
        assert_eq!((masks.bounding, masks.permitted, masks.effective), (1, 1, 0));
        assert_eq!(refused, ["CAP_SYS_RESOURCE"]);
    }

    #[test]
    fn ambient_ones_are_permitted_and_inheritable() {
        let name = |name: &str| vec![name.to_owned()];
        let sets = |inheritable| Capabilities {
            permitted: name("CAP_CHOWN"),
            ambient: name("CAP_CHOWN"),
            inheritable,
            ..Capabilities::default()
        };
        assert_eq!(masks(Some(&sets(name("CAP_CHOWN"))), u64::MAX).0.ambient, 1);
        assert_eq!(masks(Some(&sets(Vec::new())), u64::MAX).0.ambient, 0);
    }
}
