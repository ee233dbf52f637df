//! Packet forwarding between interfaces (`net.ipv4.ip_forward`): without it a container reaches its bridge
//! and nothing else.
//!
//! The switch is the machine's. When it was off and we turn it on, the firewall gets to know, so that the
//! machine does not start to route between its other interfaces.

use crate::error::Error;
use crate::model::Bridge;
use crate::sysctl;
use std::io::ErrorKind;
use std::path::Path;

const IPV4: &str = "/proc/sys/net/ipv4/ip_forward";
const IPV6: &str = "/proc/sys/net/ipv6/conf/all/forwarding";

/// Which switches were off before.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct TurnedOn {
    pub ipv4: bool,
    pub ipv6: bool,
}

/// Turns on the forwarding that the bridge needs; an internal network needs none.
pub(crate) fn turn_on(bridge: &Bridge) -> Result<TurnedOn, Error> {
    let needs =
        |ipv6: bool| !bridge.internal && bridge.subnets.iter().any(|subnet| subnet.gateway.is_ipv6() == ipv6);
    let mut turned_on = TurnedOn { ipv4: needs(false) && switch_on(Path::new(IPV4))?, ipv6: false };
    if needs(true) && !sysctl::is(Path::new(IPV6), "1") {
        keep_router_advertisements()?;
        turned_on.ipv6 = switch_on(Path::new(IPV6))?;
    }
    Ok(turned_on)
}

/// A machine that forwards stops to listen to router advertisements, and loses the routes that it has from
/// them, unless it is told (by 2) to go on.
fn keep_router_advertisements() -> Result<(), Error> {
    let Ok(interfaces) = std::fs::read_dir("/proc/sys/net/ipv6/conf") else { return Ok(()) };
    let files = interfaces
        .flatten()
        .filter(|entry| !["all", "default"].iter().any(|name| entry.file_name() == *name));
    for file in files.map(|entry| entry.path().join("accept_ra")) {
        if sysctl::is(&file, "1") {
            sysctl::set(file, "2")?;
        }
    }
    Ok(())
}

fn switch_on(path: &Path) -> Result<bool, Error> {
    if sysctl::is(path, "1") {
        return Ok(false);
    }
    match std::fs::write(path, "1") {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied) => {
            Err(Error::ForwardingForbidden(path.to_owned()))
        }
        Err(source) => Err(Error::Sysctl { path: path.to_owned(), value: "1", source }),
    }
}
