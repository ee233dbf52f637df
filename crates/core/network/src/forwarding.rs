//! Packet forwarding between interfaces (`net.ipv4.ip_forward`): without it a container reaches its bridge
//! and nothing else.
//!
//! The switch is the machine's. When it is off and we turn it on, the firewall gets to know before, so that
//! the machine does not start to route between its other interfaces.

use crate::error::Error;
use crate::model::Bridge;
use crate::sysctl;
use std::io::ErrorKind;
use std::path::Path;

const IPV4: &str = "/proc/sys/net/ipv4/ip_forward";
const IPV6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// Switches of both address families.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Switches {
    pub ipv4: bool,
    pub ipv6: bool,
}

/// The switches that the bridge needs and that are off. An internal network needs none.
pub(crate) fn switched_off(bridge: &Bridge) -> Switches {
    let needs =
        |ipv6: bool| !bridge.internal && bridge.subnets.iter().any(|subnet| subnet.gateway.is_ipv6() == ipv6);
    Switches {
        ipv4: needs(false) && !sysctl::is(Path::new(IPV4), "1"),
        ipv6: needs(true) && !sysctl::is(Path::new(IPV6), "1"),
    }
}

/// Turns the given switches on.
pub(crate) fn switch_on(switches: Switches) -> Result<(), Error> {
    if switches.ipv4 {
        write(Path::new(IPV4))?;
    }
    if switches.ipv6 {
        keep_router_advertisements()?;
        write(Path::new(IPV6))?;
    }
    Ok(())
}

/// A machine that forwards stops to listen to router advertisements, and loses the routes that it has from
/// them, unless it is told (by 2) to go on.
fn keep_router_advertisements() -> Result<(), Error> {
    let Ok(interfaces) = std::fs::read_dir("/proc/sys/net/ipv6/conf") else { return Ok(()) };
    let real = |name: &std::ffi::OsStr| name != "all" && name != "default";
    for entry in interfaces.flatten().filter(|entry| real(&entry.file_name())) {
        let file = entry.path().join("accept_ra");
        if sysctl::is(&file, "1") {
            sysctl::set(file, "2")?;
        }
    }
    Ok(())
}

fn write(path: &Path) -> Result<(), Error> {
    match std::fs::write(path, "1") {
        Err(error) if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => {
            Err(Error::ForwardingForbidden(path.to_owned()))
        }
        outcome => outcome.map_err(|source| Error::Sysctl { path: path.to_owned(), value: "1", source }),
    }
}
