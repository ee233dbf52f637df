//! Docker's seccomp profile documents: the OCI's with conditions on capabilities, architectures and the kernel.
//!
//! A rule whose condition is not understood must not be taken as unconditional: unknown conditions are errors.

use oci::runtime::{Seccomp, SeccompAction, SeccompArg, SeccompRule};
use serde::Deserialize;

use crate::error::{Error, Result};

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Profile {
    default_action: SeccompAction,
    default_errno_ret: Option<u32>,
    #[serde(default)]
    architectures: Option<Vec<String>>,
    #[serde(default)]
    arch_map: Option<Vec<Architecture>>,
    #[serde(default)]
    flags: Option<Vec<String>>,
    #[serde(default)]
    syscalls: Option<Vec<Rule>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Architecture {
    architecture: String,
    #[serde(default)]
    sub_architectures: Option<Vec<String>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rule {
    #[serde(default)]
    name: Option<String>,
    #[serde(default)]
    names: Option<Vec<String>>,
    action: SeccompAction,
    errno_ret: Option<u32>,
    #[serde(default)]
    args: Option<Vec<SeccompArg>>,
    #[serde(default)]
    includes: Option<Condition>,
    #[serde(default)]
    excludes: Option<Condition>,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Condition {
    #[serde(default)]
    caps: Option<Vec<String>>,
    #[serde(default)]
    arches: Option<Vec<String>>,
    #[serde(default)]
    min_kernel: Option<String>,
}

const ARCH: (&str, &str) = if cfg!(target_arch = "aarch64") {
    ("arm64", "SCMP_ARCH_AARCH64")
} else {
    ("amd64", "SCMP_ARCH_X86_64")
};

/// A profile for a container with these capabilities on this machine.
pub fn parse(text: &str, capabilities: &[String], kernel: (u32, u32)) -> Result<Seccomp> {
    let bad =
        |reason: &dyn std::fmt::Display| Error::invalid(format!("Decoding seccomp profile failed: {reason}"));
    let profile: Profile = serde_json::from_str(text).map_err(|e| bad(&e))?;
    let mut syscalls = Vec::new();
    for rule in profile.syscalls.unwrap_or_default() {
        let names = match (rule.name, rule.names.unwrap_or_default()) {
            (Some(_), names) if !names.is_empty() => {
                return Err(bad(&"both 'name' and 'names' are specified in the rule"));
            }
            (Some(name), _) if !name.is_empty() => vec![name],
            (_, names) => names,
        };
        let included =
            rule.includes.unwrap_or_default().includes(capabilities, kernel).map_err(|e| bad(&e))?;
        let excluded =
            rule.excludes.unwrap_or_default().excludes(capabilities, kernel).map_err(|e| bad(&e))?;
        if included && !excluded {
            let args = rule.args.unwrap_or_default();
            syscalls.push(SeccompRule { names, action: rule.action, errno_ret: rule.errno_ret, args });
        }
    }
    let mapped =
        profile.arch_map.unwrap_or_default().into_iter().find(|a| a.architecture == ARCH.1).map(|a| {
            let mut all = vec![a.architecture];
            all.extend(a.sub_architectures.unwrap_or_default());
            all
        });
    Ok(Seccomp {
        default_action: profile.default_action,
        default_errno_ret: profile.default_errno_ret,
        architectures: mapped.or(profile.architectures).unwrap_or_default(),
        flags: profile.flags.unwrap_or_default(),
        syscalls,
        ..Seccomp::default()
    })
}

impl Condition {
    /// All that is listed holds.
    fn includes(&self, capabilities: &[String], kernel: (u32, u32)) -> Result<bool, String> {
        let caps = self.caps.iter().flatten().all(|c| capabilities.contains(c));
        let arches = self.arches.as_deref().is_none_or(|a| a.is_empty() || a.iter().any(|a| a == ARCH.0));
        let enough = self.min_kernel.as_deref().map(version).transpose()?.is_none_or(|min| kernel >= min);
        Ok(caps && arches && enough)
    }

    /// Any of what is listed holds.
    fn excludes(&self, capabilities: &[String], kernel: (u32, u32)) -> Result<bool, String> {
        let caps = self.caps.iter().flatten().any(|c| capabilities.contains(c));
        let arches = self.arches.iter().flatten().any(|a| a == ARCH.0);
        let enough = self.min_kernel.as_deref().map(version).transpose()?.is_some_and(|min| kernel >= min);
        Ok(caps || arches || enough)
    }
}

/// `4.8` as a pair.
fn version(text: &str) -> Result<(u32, u32), String> {
    let mut parts = text.split('.').map(|p| p.parse::<u32>());
    match (parts.next(), parts.next()) {
        (Some(Ok(major)), Some(Ok(minor))) => Ok((major, minor)),
        _ => Err(format!("invalid minKernel {text:?}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROFILE: &str = r#"{
        "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 1,
        "archMap": [{"architecture": "SCMP_ARCH_X86_64", "subArchitectures": ["SCMP_ARCH_X86"]},
                    {"architecture": "SCMP_ARCH_AARCH64", "subArchitectures": null}],
        "syscalls": [
            {"names": ["read"], "action": "SCMP_ACT_ALLOW"},
            {"names": ["mount"], "action": "SCMP_ACT_ALLOW", "includes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["ptrace"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "4.8"}},
            {"names": ["clone"], "action": "SCMP_ACT_ALLOW", "excludes": {"caps": ["CAP_SYS_ADMIN"]}},
            {"names": ["s390"], "action": "SCMP_ACT_ALLOW", "includes": {"arches": ["s390"]}}
        ]}"#;

    fn names(capabilities: &[&str], kernel: (u32, u32)) -> Vec<String> {
        let capabilities: Vec<String> = capabilities.iter().map(|s| (*s).to_owned()).collect();
        let profile = parse(PROFILE, &capabilities, kernel).unwrap();
        profile.syscalls.into_iter().flat_map(|r| r.names).collect()
    }

    #[test]
    fn conditions_are_obeyed() {
        assert_eq!(names(&[], (6, 1)), ["read", "ptrace", "clone"]);
        assert_eq!(names(&["CAP_SYS_ADMIN"], (4, 7)), ["read", "mount"]);
        assert!(!parse(PROFILE, &[], (6, 1)).unwrap().architectures.is_empty());
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for bad in [
            "{",
            r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"names":["a"],"action":"SCMP_ACT_ALLOW","includes":{"moon":1}}]}"#,
            r#"{"defaultAction":"NOPE"}"#,
            r#"{"defaultAction":"SCMP_ACT_ERRNO","syscalls":[{"name":"a","names":["b"],"action":"SCMP_ACT_ALLOW"}]}"#,
        ] {
            let e = parse(bad, &[], (6, 1)).unwrap_err();
            assert!(e.message.starts_with("Decoding seccomp profile failed: "), "{}", e.message);
        }
    }
}
