//! The text of `/etc/hosts`, `/etc/hostname` and `/etc/resolv.conf` of a container.
//!
//! Three files in the container's own directory, written at each start and bound over the image's. They are rewritten
//! in place: a running container has their inodes bound.

use std::fs::Permissions;
use std::io::Read as _;
use std::net::IpAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use api::containers::HostConfig;
use network::hosts::Entry;
use network::resolv::{self, Mode, Options, Resolv};
use sys::root::Root;

use crate::error::{Context, Error, Result};

/// Puts plain files where an image has links, which may lead to files of programs that don't run here, or nowhere.
/// Nothing can be mounted on a link. Everything else is the runtime's to make.
pub fn make_mount_points(root: &Root) -> Result<()> {
    for name in ["etc/hosts", "etc/hostname", "etc/resolv.conf"] {
        if root.readlink(name).is_ok() {
            let replaced = root.unlink(name).and_then(|()| root.create_file(name, 0o644));
            replaced.during(format_args!("replace the link /{name} of the image"))?;
        }
    }
    Ok(())
}

/// Splits `--add-host` arguments `name:address` or `name=address`; `host-gateway` becomes `gateway`.
///
/// The name ends at the first separator, so that IPv6 addresses need no brackets (which are allowed).
pub fn extra_hosts(specs: &[String], gateway: Option<IpAddr>) -> Result<Vec<Entry>> {
    specs
        .iter()
        .map(|spec| {
            let bad = || Error::invalid(format!("bad format for add-host: {spec:?}"));
            let (name, address) = spec.split_once(['=', ':']).ok_or_else(bad)?;
            if name.is_empty() || name.chars().any(|c| c.is_whitespace() || c.is_control()) {
                return Err(bad());
            }
            let address = if address == "host-gateway" {
                gateway.ok_or_else(|| Error::invalid("unable to derive the IP value for host-gateway"))?
            } else {
                let bare = address.trim_start_matches('[').trim_end_matches(']');
                bare.parse()
                    .map_err(|_| Error::invalid(format!("invalid IP address in add-host: {address:?}")))?
            };
            Ok(Entry { address, names: vec![name.to_owned()] })
        })
        .collect()
}

/// `/etc/hosts` of a container in the host's network: the host's own and the `--add-host` entries.
pub fn hosts_of_host(own: &str, extra: &[Entry]) -> String {
    let mut text = own.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for entry in extra {
        text.push_str(&format!("{}\t{}\n", entry.address, entry.names.join(" ")));
    }
    text
}

/// `/etc/resolv.conf` for the options of a container, and the servers outside of it.
pub fn resolv_conf(host: &HostConfig, mode: Mode) -> Result<Resolv> {
    let servers = host
        .dns
        .iter()
        .map(|s| {
            s.parse().map_err(|_| Error::invalid(format!("bad nameserver address {s}: invalid IP address")))
        })
        .collect::<Result<Vec<IpAddr>>>()?;
    let asked = Options { servers, search: host.dns_search.clone(), options: host.dns_options.clone() };
    Ok(resolv::resolv_conf(&resolv::host_resolv_conf(mode), &asked, mode))
}

/// The longest of the files that is read: a container may write to its own.
const READ_MAX: u64 = 64 << 10;

/// Reads one of the files, up to a limit.
pub fn read(dir: &Path, file: &str) -> Result<String> {
    let path = dir.join(file);
    let mut bytes = Vec::new();
    let opened = std::fs::File::open(&path);
    opened
        .and_then(|opened| opened.take(READ_MAX).read_to_end(&mut bytes))
        .during(format_args!("read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Writes one of the files, readable for all, keeping its inode.
pub fn write(dir: &Path, file: &str, text: &str) -> Result<()> {
    let path = dir.join(file);
    std::fs::write(&path, text).during(format_args!("write {}", path.display()))?;
    std::fs::set_permissions(&path, Permissions::from_mode(0o644))
        .during(format_args!("set the mode of {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn add_host_forms() {
        let specs = ["a:1.2.3.4", "b=::1", "c:[fd00::2]", "d:host-gateway"].map(str::to_owned);
        let got = extra_hosts(&specs, Some("172.17.0.1".parse().unwrap())).unwrap();
        let flat: Vec<_> = got.iter().map(|e| format!("{} {}", e.names[0], e.address)).collect();
        assert_eq!(flat, ["a 1.2.3.4", "b ::1", "c fd00::2", "d 172.17.0.1"]);
        assert!(extra_hosts(&["a".into()], None).is_err());
        assert!(extra_hosts(&["a:host-gateway".into()], None).is_err());
        assert!(extra_hosts(&["a\nb:1.2.3.4".into()], None).is_err());
        assert_eq!(hosts_of_host("127.0.0.1\tlocalhost", &got[..1]), "127.0.0.1\tlocalhost\n1.2.3.4\ta\n");
    }
}
