//! Device nodes and links in `/dev`.

use std::path::{Path, PathBuf};

use oci::runtime::{Device, Spec};
use sys::child::{NodeStep, Step};

use crate::Error;
use crate::mounts::{makes_dev, target};
use crate::plan::{Plan, c_string};

/// Every container has these, world-writable: path, major, minor.
const DEFAULTS: [(&str, u32, u32); 6] = [
    ("/dev/null", 1, 3),
    ("/dev/zero", 1, 5),
    ("/dev/full", 1, 7),
    ("/dev/random", 1, 8),
    ("/dev/urandom", 1, 9),
    ("/dev/tty", 5, 0),
];

const LINKS: [(&str, &str); 4] = [
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
];

/// Plans nodes and links; nothing where the specification binds a `/dev` of its own.
pub(crate) fn plan(spec: &Spec, plan: &mut Plan) -> Result<(), Error> {
    if !makes_dev(spec) {
        return Ok(());
    }
    let wanted = spec.linux.as_ref().map(|linux| linux.devices.as_slice()).unwrap_or_default();
    for (path, major, minor) in DEFAULTS {
        if !wanted.iter().any(|device| device.path == Path::new(path)) {
            let device = Device {
                path: path.into(),
                typ: "c".to_owned(),
                major: major.into(),
                minor: minor.into(),
                ..Device::default()
            };
            node(plan, &device)?;
        }
    }
    for (at, device) in wanted.iter().enumerate() {
        // Of two at one path the first one is made, as in runc.
        if !wanted[..at].iter().any(|earlier| earlier.path == device.path) {
            node(plan, device)?;
        }
    }
    for (to, at) in LINKS {
        link(plan, to, at, false)?;
    }
    if Path::new("/proc/kcore").exists() {
        link(plan, "/proc/kcore", "/dev/core", false)?;
    }
    // The image's own would be the machine's first pseudo terminal file system.
    link(plan, "pts/ptmx", "/dev/ptmx", true)
}

fn link(plan: &mut Plan, to: &str, at: &str, replace: bool) -> Result<(), Error> {
    let step = Step::Symlink { to: c_string(to, "a link")?, at: target(Path::new(at))?, replace };
    plan.push(format!("make the link {at}"), step);
    Ok(())
}

fn node(plan: &mut Plan, device: &Device) -> Result<(), Error> {
    let bad = |what: &str| Error::Spec { reason: format!("device {}: {what}", device.path.display()) };
    let kind = match device.typ.as_str() {
        "c" | "u" => libc::S_IFCHR,
        "b" => libc::S_IFBLK,
        "p" => libc::S_IFIFO,
        _ => return Err(bad("unknown type")),
    };
    let number = |n: i64| u32::try_from(n).map_err(|_| bad("bad device number"));
    let dev = if kind == libc::S_IFIFO {
        0
    } else {
        rustix::fs::makedev(number(device.major)?, number(device.minor)?)
    };
    if !device.path.is_absolute() || device.path == Path::new("/") {
        return Err(bad("the path is not absolute"));
    }
    let path: PathBuf = device.path.clone();
    let step = NodeStep {
        target: target(&path)?,
        mode: kind | (device.file_mode.unwrap_or(0o666) & 0o7777),
        dev,
        uid: device.uid.unwrap_or(0),
        gid: device.gid.unwrap_or(0),
        host: c_string(path.as_os_str().as_encoded_bytes(), "a device path")?,
    };
    plan.push(format!("make the device {}", path.display()), Step::Node(Box::new(step)));
    Ok(())
}
