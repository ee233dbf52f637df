//! Which capabilities a container gets: Docker's default set, `--cap-add`, `--cap-drop`, `--privileged`.

use runtime::defaults;

use crate::error::{Error, Result};

/// All capabilities by number (`linux/capability.h`).
pub const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The names of the capabilities whose bit is set in `mask` (what this machine lets us give).
pub fn from_mask(mask: u64) -> Vec<&'static str> {
    ALL.iter().enumerate().filter(|(bit, _)| mask & (1 << bit) != 0).map(|(_, name)| *name).collect()
}

/// Docker's spelling rules: any case, `CAP_` optional, `ALL` means all.
fn normalised(list: &str, name: &str) -> Result<String> {
    let upper = name.trim().to_ascii_uppercase();
    if upper == "ALL" || upper == "CAP_ALL" {
        return Ok("ALL".to_owned());
    }
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    if ALL.contains(&full.as_str()) {
        return Ok(full);
    }
    Err(Error::invalid(format!("invalid {list}: unknown capability: {full:?}")))
}

/// The set of a container, in the kernel's order. `available` bounds what `ALL` and `privileged` mean.
pub fn set(add: &[String], drop: &[String], privileged: bool, available: &[&str]) -> Result<Vec<String>> {
    let normal =
        |list: &str, names: &[String]| names.iter().map(|n| normalised(list, n)).collect::<Result<Vec<_>>>();
    let (add, drop) = (normal("CapAdd", add)?, normal("CapDrop", drop)?);
    let (add_all, drop_all) = (add.iter().any(|c| c == "ALL"), drop.iter().any(|c| c == "ALL"));
    let keep = |name: &str| {
        if privileged {
            return available.contains(&name);
        }
        let added = add.iter().any(|c| c == name);
        let dropped = drop.iter().any(|c| c == name);
        match (add_all, drop_all) {
            (true, false) => available.contains(&name) && !dropped,
            (true, true) => available.contains(&name),
            (false, true) => added,
            (false, false) => added || (defaults::CAPABILITIES.contains(&name) && !dropped),
        }
    };
    Ok(ALL.iter().filter(|name| keep(name)).map(|name| (*name).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(add: &[&str], drop: &[&str], privileged: bool) -> Vec<String> {
        let own = |v: &[&str]| v.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        set(&own(add), &own(drop), privileged, &ALL).unwrap()
    }

    #[test]
    fn sets() {
        assert_eq!(names(&[], &[], false).len(), 14);
        assert_eq!(names(&[], &["ALL"], false), Vec::<String>::new());
        assert_eq!(names(&["net_bind_service"], &["all"], false), ["CAP_NET_BIND_SERVICE"]);
        assert_eq!(names(&["ALL"], &["CAP_SYS_ADMIN"], false).len(), 40);
        assert!(names(&["SYS_TIME"], &["mknod"], false).contains(&"CAP_SYS_TIME".to_owned()));
        assert!(!names(&["SYS_TIME"], &["mknod"], false).contains(&"CAP_MKNOD".to_owned()));
        assert_eq!(names(&[], &["ALL"], true).len(), 41);
        let limited = set(&["ALL".into()], &[], false, &["CAP_KILL"]).unwrap();
        assert_eq!(limited, ["CAP_KILL"]);
    }

    #[test]
    fn unknown_is_an_error() {
        let e = set(&["CAP_FOO".into()], &[], false, &ALL).unwrap_err();
        assert_eq!(e.message, "invalid CapAdd: unknown capability: \"CAP_FOO\"");
    }

    #[test]
    fn the_mask_is_by_number() {
        assert_eq!(from_mask(1 << 5 | 1 << 40), ["CAP_KILL", "CAP_CHECKPOINT_RESTORE"]);
    }
}
