//! What limits the control groups of this machine can enforce, for those who must say so before they promise any.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use super::layout;

/// The controllers that a container's control group would have.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Controllers {
    names: BTreeSet<String>,
    /// Those of them that are of version 1.
    old: BTreeSet<String>,
    weighs_io: bool,
}

impl Controllers {
    /// Looks at what is mounted; one that the kernel has and nobody mounted, or that is mounted read-only, is of no use.
    /// Without an answer from the kernel there are none.
    pub fn available() -> Controllers {
        let layout = layout().unwrap_or_default();
        let mut found = Controllers::default();
        for hierarchy in &layout.v1 {
            found.old.extend(hierarchy.controllers.iter().cloned());
        }
        found.names.clone_from(&found.old);
        if let Some(v2) = &layout.v2 {
            let names = fs::read_to_string(v2.join("cgroup.controllers")).unwrap_or_default();
            found.names.extend(names.split_whitespace().map(str::to_owned));
            // The root group itself has no weight; the scheduler decides whether others do.
            found.weighs_io = found.names.contains("io");
        }
        if let Some(blkio) = layout.v1("blkio") {
            found.weighs_io = weighs(blkio);
        }
        found
    }

    /// Whether there is the version 1 or 2 controller of this name.
    pub fn has(&self, name: &str) -> bool {
        self.names.contains(name)
    }

    /// Whether there is that of version 1, which knows some limits that version 2 has no file for.
    pub fn has_v1(&self, name: &str) -> bool {
        self.old.contains(name)
    }

    /// Whether shares of a disk can be given out, not only upper bounds.
    pub fn weighs_io(&self) -> bool {
        self.weighs_io
    }
}

/// Version 1 shows the files of the disk scheduler that weighs.
fn weighs(blkio: &Path) -> bool {
    ["blkio.weight", "blkio.bfq.weight"].iter().any(|name| blkio.join(name).exists())
}
