//! A vendor's changes, made to an OCI document.

use std::io;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use oci::runtime::{self as document, Device, DeviceRule, Hooks, IntelRdt, Linux, Process, Spec};

use super::Error;
use super::document::{Edits, Hook, Mount, Node, Rdt};

/// The moments of a container's life that vendors may add to.
pub const HOOKS: [&str; 6] =
    ["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"];

/// Makes the changes. The document of a container that can't have them is not to be used any more.
pub fn apply(edits: &Edits, spec: &mut Spec) -> Result<(), Error> {
    for mount in &edits.mounts {
        add_mount(&mut spec.mounts, mount);
    }
    for hook in &edits.hooks {
        add_hook(spec.hooks.get_or_insert_default(), hook);
    }
    let process = spec.process.as_mut().ok_or(Error::Bare { part: "process" })?;
    variables(process, &edits.env);
    let groups = &mut process.user.additional_gids;
    for group in edits.additional_gids.iter().filter(|group| **group != 0) {
        if !groups.contains(group) {
            groups.push(*group);
        }
    }
    let owner = (process.user.uid, process.user.gid);
    let linux = spec.linux.as_mut().ok_or(Error::Bare { part: "linux" })?;
    for node in &edits.device_nodes {
        add_node(linux, node, owner)?;
    }
    for net in &edits.net_devices {
        let device = document::NetDevice { name: net.name.clone() };
        linux.net_devices.insert(net.host_interface_name.clone(), device);
    }
    if let Some(rdt) = &edits.intel_rdt {
        linux.intel_rdt = Some(intel_rdt(rdt));
    }
    Ok(())
}

/// A variable takes the place of one of the same name.
fn variables(process: &mut Process, env: &[String]) {
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    for variable in env {
        match process.env.iter_mut().find(|known| name(known) == name(variable)) {
            Some(known) => known.clone_from(variable),
            None => process.env.push(variable.clone()),
        }
    }
}

/// A mount takes the place of one at the same path, and comes before those that lie below it.
fn add_mount(mounts: &mut Vec<document::Mount>, mount: &Mount) {
    mounts.retain(|known| known.destination != mount.container_path);
    let new = document::Mount {
        destination: mount.container_path.clone(),
        // Files that say nothing mean what nearly all of them mean.
        typ: if mount.typ.is_empty() { "bind".to_owned() } else { mount.typ.clone() },
        source: mount.host_path.clone(),
        options: mount.options.clone(),
        ..document::Mount::default()
    };
    let below = mounts.iter().position(|known| known.destination.starts_with(&mount.container_path));
    mounts.insert(below.unwrap_or(mounts.len()), new);
}

fn add_hook(hooks: &mut Hooks, hook: &Hook) {
    let new = document::Hook {
        path: hook.path.clone(),
        args: hook.args.clone(),
        env: hook.env.clone(),
        timeout: hook.timeout,
    };
    let list = match hook.hook_name.as_str() {
        "prestart" => &mut hooks.prestart,
        "createRuntime" => &mut hooks.create_runtime,
        "createContainer" => &mut hooks.create_container,
        "startContainer" => &mut hooks.start_container,
        "poststart" => &mut hooks.poststart,
        _ => &mut hooks.poststop,
    };
    list.push(new);
}

fn intel_rdt(rdt: &Rdt) -> IntelRdt {
    IntelRdt {
        clos_id: rdt.clos_id.clone(),
        l3_cache_schema: rdt.l3_cache_schema.clone(),
        mem_bw_schema: rdt.mem_bw_schema.clone(),
        schemata: rdt.schemata.clone(),
        enable_monitoring: rdt.enable_monitoring || rdt.enable_cmt || rdt.enable_mbm,
    }
}

fn add_node(linux: &mut Linux, node: &Node, owner: (u32, u32)) -> Result<(), Error> {
    let (typ, major, minor) = numbers(node)?;
    let some = |id: u32| Some(id).filter(|id| *id != 0);
    linux.devices.retain(|known| known.path != node.path);
    linux.devices.push(Device {
        path: node.path.clone(),
        typ: typ.clone(),
        major,
        minor,
        file_mode: node.file_mode,
        uid: node.uid.or_else(|| some(owner.0)),
        gid: node.gid.or_else(|| some(owner.1)),
    });
    let access = match node.permissions.as_str() {
        "" => "rwm",
        "none" => return Ok(()),
        some => some,
    };
    if typ == "b" || typ == "c" {
        linux.resources.get_or_insert_default().devices.push(DeviceRule {
            allow: true,
            typ: Some(typ),
            major: Some(major),
            minor: Some(minor),
            access: access.to_owned(),
        });
    }
    Ok(())
}

/// Kind and number of a node: as the file says, or else as the machine's own node has them.
fn numbers(node: &Node) -> Result<(String, i64, i64), Error> {
    if node.typ == "p" || !node.typ.is_empty() && node.major != 0 {
        return Ok((node.typ.clone(), node.major, node.minor));
    }
    let path = if node.host_path.as_os_str().is_empty() { &node.path } else { &node.host_path };
    let (typ, major, minor) = look(path)?;
    let said = if node.typ == "u" { "c" } else { &node.typ };
    if !said.is_empty() && said != typ {
        let reason = format!("it is of type {typ} and not {}", node.typ);
        return Err(Error::Unfit { path: path.clone(), reason });
    }
    Ok((typ.to_owned(), major, minor))
}

fn look(path: &Path) -> Result<(&'static str, i64, i64), Error> {
    let failed = |source: io::Error| Error::Node { path: path.to_owned(), source };
    let found = std::fs::metadata(path).map_err(failed)?;
    let kind = found.file_type();
    let typ = match (kind.is_char_device(), kind.is_block_device(), kind.is_fifo()) {
        (true, ..) => "c",
        (_, true, _) => "b",
        (.., true) => return Ok(("p", 0, 0)),
        _ => return Err(Error::Unfit { path: path.to_owned(), reason: "it is no device node".to_owned() }),
    };
    let number = found.rdev();
    Ok((typ, i64::from(rustix::fs::major(number)), i64::from(rustix::fs::minor(number))))
}
