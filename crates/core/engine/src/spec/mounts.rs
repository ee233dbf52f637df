//! The mounts of a container: the kernel's file systems, its own files below `/etc`, what the user asked for.

use std::path::{Path, PathBuf};

use oci::runtime::Mount;

use super::{Inputs, SecurityOptions};
use crate::containers::bind;
use crate::containers::record::{Mount as Asked, MountKind};
use crate::error::Result;

/// Where the init of `--init` is bound.
pub const INIT_PATH: &str = "/sbin/docker-init";

/// All mounts in the order of mounting: the defaults that nothing the user asked for replaces, then the user's by depth.
pub fn mounts(inputs: &Inputs<'_>, options: &SecurityOptions) -> Result<Vec<Mount>> {
    let mut asked = tmpfs(inputs)?;
    asked.extend(inputs.mounts.iter().map(user_mount));
    asked.extend(
        etc(inputs)
            .into_iter()
            .filter(|m| !asked.iter().any(|a| a.destination == m.destination))
            .collect::<Vec<_>>(),
    );
    if let Some(init) = inputs.init {
        asked.retain(|m| m.destination != Path::new(INIT_PATH));
        asked.push(bind_mount(init, INIT_PATH, &["bind", "ro", "rprivate"]));
    }
    // Stable: of two at the same depth the one given first is mounted first.
    asked.sort_by_key(|m| m.destination.components().count());
    let hidden = |destination: &Path| {
        asked.iter().any(|m| {
            m.destination == destination
                || (m.destination == Path::new("/dev") && destination.starts_with("/dev"))
                || (m.destination == Path::new("/sys") && destination.starts_with("/sys"))
        })
    };
    let mut all: Vec<Mount> =
        kernel(inputs, options).into_iter().filter(|m| !hidden(&m.destination)).collect();
    all.extend(asked);
    Ok(all)
}

fn mount(typ: &str, destination: &str, options: &[&str]) -> Mount {
    Mount {
        destination: PathBuf::from(destination),
        typ: typ.to_owned(),
        source: PathBuf::from(typ),
        options: options.iter().map(|o| (*o).to_owned()).collect(),
        ..Mount::default()
    }
}

fn bind_mount(source: &Path, destination: &str, options: &[&str]) -> Mount {
    Mount {
        destination: PathBuf::from(destination),
        typ: "bind".to_owned(),
        source: source.to_owned(),
        options: options.iter().map(|o| (*o).to_owned()).collect(),
        ..Mount::default()
    }
}

/// The kernel's file systems.
fn kernel(inputs: &Inputs<'_>, options: &SecurityOptions) -> Vec<Mount> {
    let host = inputs.host;
    let access = if host.privileged { "rw" } else { "ro" };
    let mut list = vec![
        mount("proc", "/proc", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("sysfs", "/sys", &["nosuid", "noexec", "nodev", access]),
        mount(
            "cgroup",
            "/sys/fs/cgroup",
            &[if options.writable_cgroups { "rw" } else { access }, "nosuid", "noexec", "nodev"],
        ),
    ];
    // Message queues are those of the namespace that the mount is made in, the machine's included.
    list.push(mount("mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]));
    if host.ipc_mode == "host" {
        list.push(bind_mount(Path::new("/dev/shm"), "/dev/shm", &["rbind", "nosuid", "noexec", "nodev"]));
        return list;
    }
    match &inputs.joined.shm {
        Some(namespace) => {
            let of = format!("{}={}", runtime::MOUNTS_OF, namespace.display());
            let options = ["bind", "rprivate", "nosuid", "noexec", "nodev", &of];
            list.push(bind_mount(Path::new("/dev/shm"), "/dev/shm", &options));
        }
        None if host.ipc_mode == "none" => {}
        None => {
            let size = format!("size={}", host.shm_size);
            let shm = mount("tmpfs", "/dev/shm", &["nosuid", "noexec", "nodev", "mode=1777", &size]);
            list.push(Mount { source: PathBuf::from("shm"), ..shm });
        }
    }
    list
}

/// The three files that say who and where the container is.
fn etc(inputs: &Inputs<'_>) -> Vec<Mount> {
    let access: &[&str] =
        if inputs.host.readonly_rootfs { &["bind", "rprivate", "ro"] } else { &["bind", "rprivate"] };
    [("resolv.conf", "/etc/resolv.conf"), ("hostname", "/etc/hostname"), ("hosts", "/etc/hosts")]
        .iter()
        .map(|(file, destination)| bind_mount(&inputs.etc.join(file), destination, access))
        .collect()
}

/// `--tmpfs path:options`.
fn tmpfs(inputs: &Inputs<'_>) -> Result<Vec<Mount>> {
    inputs
        .host
        .tmpfs
        .iter()
        .map(|(path, options)| {
            let destination = bind::destination_path(path)?;
            let given = options.split(',').filter(|o| !o.is_empty()).map(str::to_owned);
            Ok(Mount {
                destination: PathBuf::from(destination),
                typ: "tmpfs".to_owned(),
                source: PathBuf::from("tmpfs"),
                options: with_defaults(given.collect()),
                ..Mount::default()
            })
        })
        .collect()
}

/// `noexec,nosuid,nodev` unless the options say the contrary.
fn with_defaults(given: Vec<String>) -> Vec<String> {
    let mut options: Vec<String> = [("noexec", "exec"), ("nosuid", "suid"), ("nodev", "dev")]
        .iter()
        .filter(|(default, contrary)| !given.iter().any(|g| g == default || g == contrary))
        .map(|(default, _)| (*default).to_owned())
        .collect();
    options.extend(given);
    options
}

fn user_mount(asked: &Asked) -> Mount {
    let destination = PathBuf::from(&asked.destination);
    if asked.kind == MountKind::Tmpfs {
        let mut options = with_defaults(asked.options.clone());
        if !asked.rw {
            options.push("ro".to_owned());
        }
        let source = PathBuf::from("tmpfs");
        return Mount { destination, typ: "tmpfs".to_owned(), source, options, ..Mount::default() };
    }
    let mut options = vec![if asked.non_recursive { "bind" } else { "rbind" }.to_owned()];
    if !asked.rw {
        options.push("ro".to_owned());
    }
    let propagation = if asked.propagation.is_empty() { "rprivate" } else { &asked.propagation };
    options.push(propagation.to_owned());
    if !asked.subpath.is_empty() {
        options.push(format!("{}={}", runtime::SUBPATH, asked.subpath));
    }
    let source = asked.source.clone();
    Mount { destination, typ: "bind".to_owned(), source, options, ..Mount::default() }
}
