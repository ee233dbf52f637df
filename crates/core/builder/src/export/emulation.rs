//! Whether programs of another architecture can run here: the processor itself does, or an emulator that is registered with
//! the kernel (`binfmt_misc`, Documentation/admin-guide/binfmt-misc.rst).

use crate::error::Error;
use crate::graph::{Fs, Op};
use crate::session::Session;
use oci::Platform;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsmount, fsopen};
use sys::root::Root;

/// Fails if a step's programs cannot run here, naming its stage: the kernel would say `exec format error`.
pub(crate) fn check(session: &Session<'_>, op: &Op) -> Result<(), Error> {
    if runs(&op.platform) { Ok(()) } else { Err(cannot(session, op, &op.platform)) }
}

/// A step's program turned out to be of another architecture: the same error, if its stage is based on an image for one.
pub(crate) fn foreign(session: &Session<'_>, op: &Op) -> Option<Error> {
    let mut fs = &op.base;
    while let Fs::Op(below) = fs {
        fs = &session.graph.ops[*below].base;
    }
    let Fs::Image(image) = fs else { return None };
    let platform = session.images[*image].config.platform();
    (!runs(&platform)).then(|| cannot(session, op, &platform))
}

fn cannot(session: &Session<'_>, op: &Op, wanted: &Platform) -> Error {
    let host = Platform::host();
    if wanted.os == host.os && native(&host.architecture, &wanted.architecture) {
        let supported =
            Platform::new(&host.os, "amd64", Some(&format!("v{}", sys::processor::x86_64_level())));
        let message = format!(
            "no support for running processes with {wanted}: this processor has the instructions of {supported}, stage {:?} needs more",
            op.stage
        );
        return Error::Step(session.step_error(op, message));
    }
    let message = format!(
        "stage {:?} runs programs for {wanted}, which this machine ({host}) cannot execute: no emulator is registered for them",
        op.stage
    );
    let mut error = session.step_error(op, message);
    error.hint = Some(
        "install qemu-user-static with binfmt-support, or let the stage run here: `FROM --platform=$BUILDPLATFORM`".into(),
    );
    Error::Step(error)
}

/// Whether programs for a platform can run here.
pub fn runs(wanted: &Platform) -> bool {
    let host = Platform::host();
    if wanted.os != host.os {
        return false;
    }
    if native(&host.architecture, &wanted.architecture) {
        return has_variant(wanted, sys::processor::x86_64_level());
    }
    let names = names(wanted);
    registered().iter().any(|emulator| names.iter().any(|name| emulator.contains(name)))
}

/// Whether the processor itself runs programs of this architecture.
fn native(host: &str, wanted: &str) -> bool {
    host == wanted || matches!((host, wanted), ("amd64", "386") | ("arm64", "arm"))
}

/// Whether a processor of this level has the instructions of a variant of amd64; of other architectures nothing is known.
fn has_variant(wanted: &Platform, level: u32) -> bool {
    let variant = wanted.variant.as_deref().filter(|_| wanted.architecture == "amd64");
    variant.is_none_or(|variant| (1..=level).any(|number| variant == format!("v{number}")))
}

/// What QEMU's entries for an architecture are called.
fn names(platform: &Platform) -> Vec<&'static str> {
    match platform.architecture.as_str() {
        "amd64" => vec!["qemu-x86_64", "rosetta"],
        "386" => vec!["qemu-i386"],
        "arm64" => vec!["qemu-aarch64"],
        "arm" => vec!["qemu-arm"],
        "ppc64le" => vec!["qemu-ppc64le"],
        "s390x" => vec!["qemu-s390x"],
        "riscv64" => vec!["qemu-riscv64"],
        "loong64" => vec!["qemu-loongarch64"],
        "mips64le" => vec!["qemu-mips64el"],
        "mips64" => vec!["qemu-mips64"],
        _ => Vec::new(),
    }
}

/// The entries that are switched on. Read from a mount of our own: nobody may have mounted the file system.
fn registered() -> Vec<String> {
    let mounted = || {
        let fs = fsopen("binfmt_misc", FsOpenFlags::FSOPEN_CLOEXEC).ok()?;
        fsconfig_create(&fs).ok()?;
        let fd = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty()).ok()?;
        Root::from_fd(fd).ok()
    };
    let Some(root) =
        Root::open("/proc/sys/fs/binfmt_misc").ok().filter(|r| r.lstat("status").is_ok()).or_else(mounted)
    else {
        return Vec::new();
    };
    let is_on = |name: &str| {
        root.read_file(name, 4096).is_ok_and(|text| String::from_utf8_lossy(&text).starts_with("enabled"))
    };
    let entries = root.read_dir("").unwrap_or_default();
    let all = entries.into_iter().filter_map(|entry| entry.name.into_string().ok());
    all.filter(|name| !matches!(name.as_str(), "status" | "register") && is_on(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_runs_by_itself() {
        assert!(native("amd64", "386") && native("arm64", "arm") && native("amd64", "amd64"));
        assert!(!native("amd64", "arm64") && !native("386", "amd64"));
        let on_third = |text: &str| has_variant(&text.parse().unwrap(), 3);
        assert!(
            ["amd64", "amd64/v1", "amd64/v3", "386", "arm64/v9"]
                .map(|name| format!("linux/{name}"))
                .iter()
                .all(|name| on_third(name))
        );
        assert!(!on_third("linux/amd64/v4") && !on_third("linux/amd64/v9") && !on_third("linux/amd64/other"));
        assert!(names(&"linux/arm64".parse().unwrap()).contains(&"qemu-aarch64"));
    }
}
