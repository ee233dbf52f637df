//! `--security-opt`.

use oci::runtime::Seccomp;

use super::seccomp;
use crate::error::{Error, Result};

/// The parsed options of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SecurityOptions {
    /// `no-new-privileges`.
    pub no_new_privileges: bool,
    /// `seccomp=…`: `unconfined`, `builtin` or a profile's JSON text.
    pub seccomp: Option<String>,
    /// `apparmor=…`.
    pub apparmor: Option<String>,
    /// `systempaths=unconfined`.
    pub system_paths_unconfined: bool,
    /// `writable-cgroups=true`.
    pub writable_cgroups: bool,
}

impl SecurityOptions {
    /// Parses the list. SELinux labels are accepted and mean nothing: no machine that we run on enforces them for us,
    /// and Docker too ignores them where SELinux is off.
    pub fn parse(list: &[String]) -> Result<SecurityOptions> {
        let mut options = SecurityOptions::default();
        for text in list {
            let invalid = || Error::invalid(format!("invalid --security-opt 2: {text:?}"));
            let malformed = || Error::invalid(format!("invalid --security-opt 1: {text:?}"));
            // `:` is the old separator; a profile's JSON text contains colons, but never before the first `=`.
            let (key, value) = match text.split_once('=').or_else(|| text.split_once(':')) {
                Some((key, value)) => (key, value),
                None if text == "no-new-privileges" => (text.as_str(), "true"),
                None => return Err(malformed()),
            };
            match key {
                "no-new-privileges" => options.no_new_privileges = boolean(value).ok_or_else(invalid)?,
                "writable-cgroups" => options.writable_cgroups = boolean(value).ok_or_else(invalid)?,
                "seccomp" => options.seccomp = Some(value.to_owned()),
                "apparmor" => options.apparmor = Some(value.to_owned()),
                "systempaths" if value == "unconfined" => options.system_paths_unconfined = true,
                "label" => {}
                _ => return Err(invalid()),
            }
        }
        Ok(options)
    }

    /// The seccomp profile: the given one, else the built-in one that fits the capabilities.
    pub fn seccomp(
        &self,
        privileged: bool,
        capabilities: &[String],
        kernel: (u32, u32),
    ) -> Result<Option<Seccomp>> {
        match self.seccomp.as_deref() {
            Some("unconfined") => Ok(None),
            Some("builtin") => Ok(Some(runtime::seccomp::docker_default(capabilities))),
            Some(profile) => seccomp::parse(profile, capabilities, kernel).map(Some),
            None if privileged => Ok(None),
            None => Ok(Some(runtime::seccomp::docker_default(capabilities))),
        }
    }

    /// The AppArmor profile's name; empty for none.
    pub fn apparmor(&self, enabled: bool) -> Result<String> {
        match self.apparmor.as_deref() {
            None | Some("" | "unconfined") => Ok(String::new()),
            Some(profile) if enabled => Ok(profile.to_owned()),
            Some(profile) => Err(Error::invalid(format!(
                "AppArmor is not enabled on this machine: profile {profile:?} cannot be applied"
            ))),
        }
    }
}

fn boolean(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "t" => Some(true),
        "false" | "0" | "f" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(list: &[&str]) -> Result<SecurityOptions> {
        SecurityOptions::parse(&list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>())
    }

    #[test]
    fn options() {
        assert!(parse(&["no-new-privileges"]).unwrap().no_new_privileges);
        assert!(parse(&["no-new-privileges:true"]).unwrap().no_new_privileges);
        assert!(!parse(&["no-new-privileges=false"]).unwrap().no_new_privileges);
        assert_eq!(parse(&["seccomp=unconfined"]).unwrap().seccomp.as_deref(), Some("unconfined"));
        assert_eq!(parse(&["seccomp={\"a\":1}"]).unwrap().seccomp.as_deref(), Some("{\"a\":1}"));
        assert_eq!(parse(&["apparmor:p"]).unwrap().apparmor.as_deref(), Some("p"));
        assert!(parse(&["label=disable", "systempaths=unconfined"]).unwrap().system_paths_unconfined);
        for bad in ["", "x"] {
            assert_eq!(parse(&[bad]).unwrap_err().message, format!("invalid --security-opt 1: {bad:?}"));
        }
        for bad in ["x=y", "no-new-privileges=maybe", "systempaths=x"] {
            assert_eq!(parse(&[bad]).unwrap_err().message, format!("invalid --security-opt 2: {bad:?}"));
        }
    }

    #[test]
    fn a_profile_needs_apparmor() {
        let options = parse(&["apparmor=p"]).unwrap();
        assert_eq!(options.apparmor(true).unwrap(), "p");
        assert!(options.apparmor(false).is_err());
        assert_eq!(parse(&["apparmor=unconfined"]).unwrap().apparmor(false).unwrap(), "");
    }
}
