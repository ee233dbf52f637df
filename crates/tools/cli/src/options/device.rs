//! `--device` and the limits on block devices.

use api::containers::{DeviceMapping, DeviceRequest, ThrottleDevice, WeightDevice};

use crate::format::units::ram_in_bytes;

/// A device as `--device` names it.
#[derive(Debug, Clone, PartialEq)]
pub enum Device {
    /// A node of the machine.
    Node(DeviceMapping),
    /// What a vendor has given a name to.
    Named(String),
}

/// `vendor.com/class=name`, or a node's path.
pub fn device(spec: &str) -> Result<Device, String> {
    match oci::cdi::is_qualified(spec) {
        true => Ok(Device::Named(spec.to_owned())),
        false => mapping(spec).map(Device::Node),
    }
}

/// What is asked of the vendors' files, if something is.
pub fn request(devices: &[Device]) -> Option<DeviceRequest> {
    let named = devices.iter().filter_map(|device| match device {
        Device::Named(name) => Some(name.clone()),
        Device::Node(_) => None,
    });
    let request =
        DeviceRequest { driver: "cdi".to_owned(), device_ids: named.collect(), ..DeviceRequest::default() };
    (!request.device_ids.is_empty()).then_some(request)
}

/// The nodes among devices.
pub fn nodes(devices: &[Device]) -> Vec<DeviceMapping> {
    let nodes = devices.iter().filter_map(|device| match device {
        Device::Node(mapping) => Some(mapping.clone()),
        Device::Named(_) => None,
    });
    nodes.collect()
}

/// `host[:container][:rwm]`.
fn mapping(spec: &str) -> Result<DeviceMapping, String> {
    let parts: Vec<&str> = spec.split(':').collect();
    let (host, container, mode) = match parts.as_slice() {
        [host] => (*host, *host, "rwm"),
        [host, second] if is_mode(second) => (*host, *host, *second),
        [host, container] => (*host, *container, "rwm"),
        [host, container, mode] => (*host, *container, *mode),
        _ => return Err(format!("invalid device specification: {spec}")),
    };
    if host.is_empty() {
        return Err(format!("bad format for path: {spec}"));
    }
    if !is_mode(mode) {
        return Err(format!("bad mode specified: {mode}"));
    }
    let container = if container.is_empty() { host } else { container };
    Ok(DeviceMapping {
        path_on_host: host.to_owned(),
        path_in_container: container.to_owned(),
        cgroup_permissions: mode.to_owned(),
    })
}

/// Letters of `rwm`, each at most once.
fn is_mode(text: &str) -> bool {
    !text.is_empty()
        && text.chars().all(|c| matches!(c, 'r' | 'w' | 'm'))
        && text.chars().enumerate().all(|(index, c)| !text[..index].contains(c))
}

/// `--device-cgroup-rule 'c 1:3 mr'`.
pub fn cgroup_rule(text: &str) -> Result<String, String> {
    let number = |part: &str| part == "*" || (!part.is_empty() && part.bytes().all(|b| b.is_ascii_digit()));
    let good = match text.split(' ').collect::<Vec<_>>().as_slice() {
        [kind, numbers, mode] => {
            matches!(*kind, "a" | "b" | "c")
                && numbers.split_once(':').is_some_and(|(major, minor)| number(major) && number(minor))
                && is_mode(mode)
        }
        _ => false,
    };
    if good { Ok(text.to_owned()) } else { Err(format!("invalid device cgroup format '{text}'")) }
}

fn split(spec: &str) -> Result<(&str, &str), String> {
    let Some((path, value)) = spec.split_once(':') else { return Err(format!("bad format: {spec}")) };
    if path.is_empty() || value.is_empty() {
        return Err(format!("bad format: {spec}"));
    }
    match path.starts_with("/dev/") {
        true => Ok((path, value)),
        false => Err(format!("bad format for device path: {spec}")),
    }
}

/// `--blkio-weight-device /dev/sda:200`.
pub fn weight(spec: &str) -> Result<WeightDevice, String> {
    let (path, value) = split(spec)?;
    match value.parse::<u16>() {
        Ok(weight) if weight == 0 || (10..=1000).contains(&weight) => {
            Ok(WeightDevice { path: path.to_owned(), weight })
        }
        _ => Err(format!("invalid weight for device: {spec}")),
    }
}

/// `--device-read-bps /dev/sda:1mb`.
pub fn bps(spec: &str) -> Result<ThrottleDevice, String> {
    let (path, value) = split(spec)?;
    match ram_in_bytes(value) {
        Ok(rate) => Ok(ThrottleDevice { path: path.to_owned(), rate: rate.unsigned_abs() }),
        Err(_) => Err(format!(
            "invalid rate for device: {spec}. The correct format is <device-path>:<number>[<unit>]. Number must \
             be a positive integer. Unit is optional and can be kb, mb, or gb"
        )),
    }
}

/// `--device-read-iops /dev/sda:1000`.
pub fn iops(spec: &str) -> Result<ThrottleDevice, String> {
    let (path, value) = split(spec)?;
    match value.parse::<u64>() {
        Ok(rate) => Ok(ThrottleDevice { path: path.to_owned(), rate }),
        Err(_) => Err(format!(
            "invalid rate for device: {spec}. The correct format is <device-path>:<number>. Number must be a \
             positive integer"
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings() {
        let run = |spec: &str| {
            mapping(spec)
                .map(|d| format!("{} {} {}", d.path_on_host, d.path_in_container, d.cgroup_permissions))
        };
        assert_eq!(run("/dev/fuse").as_deref(), Ok("/dev/fuse /dev/fuse rwm"));
        assert_eq!(run("/dev/a:/dev/b").as_deref(), Ok("/dev/a /dev/b rwm"));
        assert_eq!(run("/dev/a:r").as_deref(), Ok("/dev/a /dev/a r"));
        assert_eq!(run("/dev/a:/dev/b:rw").as_deref(), Ok("/dev/a /dev/b rw"));
        assert_eq!(run("/dev/a:/dev/b:rr").unwrap_err(), "bad mode specified: rr");
        assert_eq!(run("a:b:c:d").unwrap_err(), "invalid device specification: a:b:c:d");
        assert!(cgroup_rule("c 1:* rwm").is_ok());
        assert!(cgroup_rule("x 1:3 r").is_err());
    }

    #[test]
    fn names_of_vendors() {
        let devices = ["v.com/d=0", "/dev/fuse", "v.com/d=1"].map(|spec| device(spec).unwrap());
        assert_eq!(nodes(&devices).len(), 1);
        let request = request(&devices).unwrap();
        assert_eq!(
            (request.driver.as_str(), request.device_ids.join(" ")),
            ("cdi", "v.com/d=0 v.com/d=1".to_owned())
        );
        assert_eq!(super::request(&devices[1..2]), None);
    }

    #[test]
    fn limits() {
        assert_eq!(bps("/dev/sda:1mb").map(|t| t.rate), Ok(1 << 20));
        assert_eq!(iops("/dev/sda:100").map(|t| t.rate), Ok(100));
        assert_eq!(weight("/dev/sda:200").map(|w| w.weight), Ok(200));
        assert_eq!(weight("/dev/sda:5").unwrap_err(), "invalid weight for device: /dev/sda:5");
        assert_eq!(iops("/dev/sda").unwrap_err(), "bad format: /dev/sda");
        assert_eq!(bps("sda:1").unwrap_err(), "bad format for device path: sda:1");
        assert!(bps("/dev/sda:zz").unwrap_err().starts_with("invalid rate for device: /dev/sda:zz."));
    }
}
