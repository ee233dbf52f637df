//! Devices of this machine that a container gets.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use api::containers::{DeviceMapping, DeviceRequest, HostConfig, Resources};
use oci::runtime::Spec;
use runtime::cdi::Registry;

use crate::Engine;
use crate::error::{Context as _, Error, Result};
use crate::spec::{HostDevice, is_access};

/// The driver of requests for devices by the names that their vendors give them.
pub(crate) const CDI: &str = "cdi";

/// Whether a request of this driver can be one.
pub(crate) fn check(request: &DeviceRequest) -> Result<()> {
    if request.count != 0 {
        return Err(Error::invalid("unexpected count in CDI device request"));
    }
    match request.options.is_empty() {
        true => Ok(()),
        false => Err(Error::invalid("unexpected options in CDI device request")),
    }
}

/// Gives a container the devices that it asks for by name: what their vendors say is done to its document.
pub(crate) fn inject(engine: &Engine, host: &HostConfig, spec: &mut Spec) -> Result<()> {
    let asked = host.resources.device_requests.iter().filter(|request| request.driver == CDI);
    let names: Vec<&str> = asked.flat_map(|request| request.device_ids.iter().map(String::as_str)).collect();
    if names.is_empty() {
        return Ok(());
    }
    let registry = Registry::read(&engine.config().cdi_directories);
    registry.inject(spec, names).during("CDI device injection failed")
}

/// The devices of `--device`; of a privileged container all.
pub(crate) fn of(host: &HostConfig) -> Result<Vec<HostDevice>> {
    if host.privileged {
        let mut all = Vec::new();
        collect(Path::new("/dev"), Path::new("/dev"), "rwm", &mut all);
        return Ok(all);
    }
    let mut devices = Vec::new();
    for mapping in &host.resources.devices {
        devices.extend(one(mapping)?);
    }
    Ok(devices)
}

fn one(mapping: &DeviceMapping) -> Result<Vec<HostDevice>> {
    let source = Path::new(&mapping.path_on_host);
    let failed = |reason: &dyn std::fmt::Display| {
        Error::invalid(format!(
            "error gathering device information while adding custom device {source:?}: {reason}"
        ))
    };
    let access = if mapping.cgroup_permissions.is_empty() { "rwm" } else { &mapping.cgroup_permissions };
    if !is_access(access) {
        return Err(Error::invalid(format!("invalid device mode: {access}")));
    }
    let target = match mapping.path_in_container.as_str() {
        "" => source.to_owned(),
        path => PathBuf::from(path),
    };
    if !target.is_absolute() {
        return Err(failed(&format_args!("{} is not an absolute path", target.display())));
    }
    // `/dev/disk/by-id/x` is a link to the device.
    let real = source.canonicalize().map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => failed(&"no such file or directory"),
        _ => failed(&e),
    })?;
    let meta = fs::metadata(&real).map_err(|e| failed(&e))?;
    if let Some(device) = device(&meta, target.clone(), access) {
        return Ok(vec![device]);
    }
    if !meta.is_dir() {
        return Err(failed(&"not a device node"));
    }
    let mut found = Vec::new();
    collect(&real, &target, access, &mut found);
    if found.is_empty() { Err(failed(&"no devices found")) } else { Ok(found) }
}

fn device(meta: &fs::Metadata, path: PathBuf, access: &str) -> Option<HostDevice> {
    let kind = meta.file_type();
    let typ = if kind.is_char_device() {
        'c'
    } else if kind.is_block_device() {
        'b'
    } else {
        return None;
    };
    Some(HostDevice {
        path,
        typ,
        major: i64::from(rustix::fs::major(meta.rdev())),
        minor: i64::from(rustix::fs::minor(meta.rdev())),
        mode: meta.mode() & 0o7777,
        uid: meta.uid(),
        gid: meta.gid(),
        access: access.to_owned(),
    })
}

/// All device nodes below a directory; terminals and shared memory are the container's own.
fn collect(dir: &Path, target: &Path, access: &str, found: &mut Vec<HostDevice>) {
    const OWN: [&str; 9] = ["pts", "shm", "fd", "mqueue", ".lxc", ".lxd-mounts", ".udev", "console", "ptmx"];
    let Ok(entries) = fs::read_dir(dir) else { return };
    let mut entries: Vec<_> = entries.flatten().collect();
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        if dir == Path::new("/dev") && OWN.iter().any(|own| name == *own) {
            continue;
        }
        // Not followed: links are no devices and could lead in circles.
        let Ok(meta) = fs::symlink_metadata(entry.path()) else { continue };
        if meta.is_dir() {
            collect(&entry.path(), &target.join(&name), access, found);
        } else if let Some(device) = device(&meta, target.join(&name), access) {
            found.push(device);
        }
    }
}

/// The device numbers of the paths in block I/O limits.
pub(crate) fn block_numbers(r: &Resources) -> Result<BTreeMap<String, (i64, i64)>> {
    let throttled = [
        &r.blkio_device_read_bps,
        &r.blkio_device_write_bps,
        &r.blkio_device_read_iops,
        &r.blkio_device_write_iops,
    ];
    let paths =
        throttled.into_iter().flatten().map(|d| &d.path).chain(r.blkio_weight_device.iter().map(|d| &d.path));
    paths
        .map(|path| {
            let meta = fs::metadata(path).map_err(|e| Error::invalid(format!("{path}: {e}")))?;
            if !meta.file_type().is_block_device() {
                return Err(Error::invalid(format!("{path}: not a block device")));
            }
            let number =
                (i64::from(rustix::fs::major(meta.rdev())), i64::from(rustix::fs::minor(meta.rdev())));
            Ok((path.clone(), number))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mapping(source: &str, access: &str) -> DeviceMapping {
        DeviceMapping {
            path_on_host: source.into(),
            path_in_container: String::new(),
            cgroup_permissions: access.into(),
        }
    }

    #[test]
    fn devices_are_found_or_refused() {
        let found = one(&mapping("/dev/null", "r")).unwrap();
        assert_eq!(
            (found[0].typ, found[0].major, found[0].minor, found[0].access.as_str()),
            ('c', 1, 3, "r")
        );
        assert_eq!(
            one(&mapping("/dev/nope", "")).unwrap_err().message,
            "error gathering device information while adding custom device \"/dev/nope\": no such file or directory"
        );
        assert_eq!(one(&mapping("/dev/null", "x")).unwrap_err().message, "invalid device mode: x");
        assert!(one(&mapping("/etc/hostname", "")).is_err());
    }
}
