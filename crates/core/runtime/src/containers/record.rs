//! The record of a container: what a later process can't find out from the kernel.

use std::collections::BTreeMap;
use std::path::PathBuf;

use oci::runtime::{Hook, Spec};
use serde::{Deserialize, Serialize};

use super::identity::Identity;
use crate::hooks::Subject;
use crate::plan::Label;

/// The form of this document. A record of another form is refused, not guessed at.
pub(super) const VERSION: u32 = 1;

/// `state.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Record {
    pub version: u32,
    pub oci_version: String,
    pub id: String,
    pub bundle: PathBuf,
    pub rootfs: PathBuf,
    /// The mount that covers it on the machine, by its id, if the container has no mount namespace of its own.
    pub mount: Option<u64>,
    /// RFC 3339, in UTC.
    pub created: String,
    pub annotations: BTreeMap<String, String>,
    /// Empty for none.
    pub cgroup: String,
    /// The hierarchies in which that is at another path, by mount point.
    #[serde(default)]
    pub elsewhere: BTreeMap<PathBuf, String>,
    /// The unit that has the control group, if systemd made it.
    pub scope: Option<String>,
    /// Whether the container's processes end with its init, because it has a pid namespace of its own.
    pub own_pids: bool,
    pub poststart: Vec<Hook>,
    pub poststop: Vec<Hook>,
    /// `None` up to the moment when everything is set up.
    pub init: Option<Identity>,
    pub gate: Gate,
}

/// What the init does when it is let go; steps are numbered as in its messages.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Gate {
    pub first: usize,
    pub hooks: Vec<PathBuf>,
    pub program: String,
}

impl Gate {
    pub fn new(first: usize, labels: &[Label]) -> Gate {
        let mut gate = Gate { first, ..Gate::default() };
        for label in labels {
            match label {
                Label::Hook { path, .. } => gate.hooks.push(path.clone()),
                Label::Exec { program } => gate.program.clone_from(program),
                _ => {}
            }
        }
        gate
    }

    /// What a step is about.
    pub fn label(&self, step: usize) -> Label {
        match step.checked_sub(self.first).and_then(|at| self.hooks.get(at)) {
            Some(path) => Label::Hook { kind: "startContainer", path: path.clone() },
            None => Label::Exec { program: self.program.clone() },
        }
    }
}

impl Record {
    /// Of a container that is about to be created.
    pub fn new(id: &str, spec: &Spec, bundle: PathBuf, rootfs: PathBuf) -> Record {
        let hooks = spec.hooks.clone().unwrap_or_default();
        let linux = spec.linux.as_ref();
        let own_pids = linux.is_some_and(|linux| {
            linux.namespace(oci::runtime::NamespaceType::Pid).is_some_and(|n| n.path.is_none())
        });
        Record {
            version: VERSION,
            oci_version: oci::runtime::VERSION.to_owned(),
            id: id.to_owned(),
            bundle,
            rootfs,
            mount: None,
            created: jiff::Timestamp::now().to_string(),
            annotations: spec.annotations.clone(),
            cgroup: linux.map(|linux| linux.cgroups_path.clone()).unwrap_or_default(),
            elsewhere: BTreeMap::new(),
            scope: None,
            own_pids,
            poststart: hooks.poststart,
            poststop: hooks.poststop,
            init: None,
            gate: Gate::default(),
        }
    }

    /// What hooks are told.
    pub fn subject(&self) -> Subject {
        Subject { id: self.id.clone(), bundle: self.bundle.clone(), annotations: self.annotations.clone() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_behind_the_gate_find_their_names() {
        let hook = Label::Hook { kind: "startContainer", path: "/hook".into() };
        let gate = Gate::new(40, &[hook, Label::Exec { program: "sh".to_owned() }]);
        assert!(matches!(gate.label(40), Label::Hook { path, .. } if path == *"/hook"));
        assert!(matches!(gate.label(41), Label::Exec { program } if program == "sh"));
    }
}
