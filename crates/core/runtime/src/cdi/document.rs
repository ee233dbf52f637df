//! A vendor's file, as the specification has it: unknown fields and words are refused, and so are fields that came later
//! than the version that the file names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use oci::cdi::{is_kind, is_name};
use serde::Deserialize;

/// The versions that there are.
const VERSIONS: [&str; 10] =
    ["0.1.0", "0.2.0", "0.3.0", "0.4.0", "0.5.0", "0.6.0", "0.7.0", "0.8.0", "1.0.0", "1.1.0"];

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Document {
    pub cdi_version: String,
    /// `vendor.com/class`.
    pub kind: String,
    pub annotations: BTreeMap<String, String>,
    pub devices: Vec<Device>,
    /// What every device of the file needs.
    pub container_edits: Edits,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Device {
    pub name: String,
    pub annotations: BTreeMap<String, String>,
    pub container_edits: Edits,
}

/// Changes of an OCI document.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Edits {
    pub env: Vec<String>,
    pub device_nodes: Vec<Node>,
    pub net_devices: Vec<NetDevice>,
    pub hooks: Vec<Hook>,
    pub mounts: Vec<Mount>,
    pub intel_rdt: Option<Rdt>,
    pub additional_gids: Vec<u32>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Node {
    /// In the container.
    pub path: PathBuf,
    /// On the machine, where it is another.
    pub host_path: PathBuf,
    #[serde(rename = "type")]
    pub typ: String,
    pub major: i64,
    pub minor: i64,
    pub file_mode: Option<u32>,
    /// Of `r`, `w`, `m`; all without, none with `none`.
    pub permissions: String,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct NetDevice {
    pub host_interface_name: String,
    pub name: String,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Hook {
    pub hook_name: String,
    pub path: PathBuf,
    pub args: Vec<String>,
    pub env: Vec<String>,
    /// Seconds.
    pub timeout: Option<u32>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Mount {
    pub host_path: PathBuf,
    pub container_path: PathBuf,
    pub options: Vec<String>,
    #[serde(rename = "type")]
    pub typ: String,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Rdt {
    #[serde(rename = "closID")]
    pub clos_id: String,
    pub l3_cache_schema: String,
    pub mem_bw_schema: String,
    pub schemata: Vec<String>,
    #[serde(rename = "enableCMT")]
    pub enable_cmt: bool,
    #[serde(rename = "enableMBM")]
    pub enable_mbm: bool,
    pub enable_monitoring: bool,
}

impl Document {
    /// Says what is wrong, if something is.
    pub fn check(&self) -> Result<(), String> {
        let version = self.cdi_version.strip_prefix('v').unwrap_or(&self.cdi_version);
        let Some(version) = VERSIONS.iter().position(|known| *known == version) else {
            return Err(format!("invalid version {:?}: up to {} are known", self.cdi_version, VERSIONS[9]));
        };
        if !is_kind(&self.kind) {
            return Err(format!("invalid kind {:?}: it must be vendor/class", self.kind));
        }
        if self.devices.is_empty() {
            return Err("it describes no devices".to_owned());
        }
        let mut names = BTreeSet::new();
        for device in &self.devices {
            let wrong = |reason: String| format!("device {:?}: {reason}", device.name);
            if !is_name(&device.name) {
                return Err(wrong("invalid name".to_owned()));
            }
            if !names.insert(&device.name) {
                return Err(wrong("it stands there twice".to_owned()));
            }
            if device.container_edits == Edits::default() {
                return Err(wrong("it changes nothing of a container".to_owned()));
            }
            device.container_edits.check().map_err(wrong)?;
        }
        self.container_edits.check()?;
        match self.needs() {
            (needed, what) if needed > version => {
                Err(format!("{what} need at least version {}, not {}", VERSIONS[needed], self.cdi_version))
            }
            _ => Ok(()),
        }
    }

    /// The first version, by its place in [`VERSIONS`], that has all that this file says, and what came with it.
    fn needs(&self) -> (usize, &'static str) {
        let mut needed = (0, "");
        let mut ask = |used: bool, version: usize, what| {
            if used && version > needed.0 {
                needed = (version, what);
            }
        };
        let notes = std::iter::once(&self.annotations).chain(self.devices.iter().map(|d| &d.annotations));
        ask(notes.into_iter().any(|notes| !notes.is_empty()), 5, "annotations");
        let class = self.kind.split_once('/').map_or("", |(_, class)| class);
        ask(class.contains('.'), 5, "dots in a class");
        let digit = |device: &Device| device.name.starts_with(|c: char| c.is_ascii_digit());
        ask(self.devices.iter().any(digit), 4, "names that begin with a digit");
        let edits =
            std::iter::once(&self.container_edits).chain(self.devices.iter().map(|d| &d.container_edits));
        for edits in edits {
            ask(edits.mounts.iter().any(|mount| !mount.typ.is_empty()), 3, "types of mounts");
            ask(
                edits.device_nodes.iter().any(|node| !node.host_path.as_os_str().is_empty()),
                4,
                "host paths",
            );
            ask(edits.intel_rdt.is_some(), 6, "intelRdt settings");
            ask(!edits.additional_gids.is_empty(), 6, "additional groups");
            ask(!edits.net_devices.is_empty(), 9, "network devices");
            let newer = |rdt: &Rdt| !rdt.schemata.is_empty() || rdt.enable_monitoring;
            ask(edits.intel_rdt.as_ref().is_some_and(newer), 9, "schemata and monitoring");
        }
        needed
    }
}

impl Edits {
    fn check(&self) -> Result<(), String> {
        variables(&self.env)?;
        self.device_nodes.iter().try_for_each(Node::check)?;
        for hook in &self.hooks {
            if !super::edits::HOOKS.contains(&hook.hook_name.as_str()) {
                return Err(format!("invalid hook name {:?}", hook.hook_name));
            }
            if !hook.path.is_absolute() {
                return Err(format!("hook {}: the path must be absolute", hook.hook_name));
            }
            variables(&hook.env)?;
        }
        for mount in &self.mounts {
            if mount.host_path.as_os_str().is_empty() || !mount.container_path.is_absolute() {
                return Err(format!(
                    "invalid mount of {:?} at {:?}: both paths are needed",
                    mount.host_path, mount.container_path
                ));
            }
        }
        let closed =
            |name: &str| name.len() >= 4096 || name == "." || name == ".." || name.contains(['/', '\n']);
        if let Some(rdt) = self.intel_rdt.as_ref().filter(|rdt| rdt.clos_id != "/" && closed(&rdt.clos_id)) {
            return Err(format!("invalid closID {:?}", rdt.clos_id));
        }
        match self.net_devices.iter().find(|net| net.host_interface_name.is_empty() || net.name.is_empty()) {
            Some(net) => Err(format!("network device {:?} needs both names", net.host_interface_name)),
            None => Ok(()),
        }
    }
}

fn variables(env: &[String]) -> Result<(), String> {
    match env.iter().find(|variable| variable.find('=').is_none_or(|at| at == 0)) {
        Some(variable) => Err(format!("invalid environment variable {variable:?}")),
        None => Ok(()),
    }
}

impl Node {
    fn check(&self) -> Result<(), String> {
        let wrong =
            |what: &str, value: &str| Err(format!("device node {:?}: invalid {what} {value}", self.path));
        if !self.path.is_absolute() {
            return Err(format!("device node {:?}: the path must be absolute", self.path));
        }
        if !matches!(self.typ.as_str(), "" | "b" | "c" | "u" | "p") {
            return wrong("type", &self.typ);
        }
        if self.major < 0 || self.minor < 0 {
            return wrong("device number", &format!("{}:{}", self.major, self.minor));
        }
        match self.permissions.as_str() {
            "none" => Ok(()),
            letters if letters.chars().all(|c| "rwm".contains(c)) => Ok(()),
            other => wrong("permissions", other),
        }
    }
}
