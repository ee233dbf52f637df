//! What a build may do beyond what steps may by themselves (`--allow`), in BuildKit's words.

use builder::AllowedDevices;

use crate::error::{Error, Result};

/// What is allowed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Entitled {
    pub insecure: bool,
    pub host_network: bool,
    pub devices: AllowedDevices,
}

impl Entitled {
    pub fn read(allowed: &[String]) -> Result<Entitled> {
        let mut entitled = Entitled::default();
        for text in allowed {
            let (word, value) =
                text.split_once('=').map_or((text.as_str(), None), |(word, v)| (word, Some(v)));
            match (word, value) {
                ("security.insecure", None) => entitled.insecure = true,
                ("network.host", None) => entitled.host_network = true,
                ("device", value) => {
                    let wrong = |reason| Error::invalid(format!("entitlement {text}: {reason}"));
                    entitled.devices.allow(value.unwrap_or_default()).map_err(wrong)?;
                }
                _ => {
                    return Err(Error::invalid(format!("unknown entitlement {text}"))
                        .with_hint("there are network.host, security.insecure and device"));
                }
            }
        }
        Ok(entitled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words() {
        let read =
            |words: &[&str]| Entitled::read(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>());
        let all = read(&["network.host", "security.insecure", "device", "device=v.com/c=0,alias=w.com/c=1"])
            .unwrap();
        assert!(all.insecure && all.host_network && all.devices != AllowedDevices::default());
        assert_eq!(read(&[]).unwrap(), Entitled::default());
        assert_eq!(read(&["network.hosts"]).unwrap_err().message, "unknown entitlement network.hosts");
        assert!(read(&["network.host=1"]).is_err() && read(&["device=v.com/c=0,x=y"]).is_err());
    }
}
