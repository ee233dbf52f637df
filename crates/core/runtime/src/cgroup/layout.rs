//! Which hierarchies this machine has mounted, from `/proc/self/mountinfo`.

use std::path::{Path, PathBuf};

/// The hierarchies. A pure version 2 machine has no `v1`, a hybrid one has both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Layout {
    pub v2: Option<PathBuf>,
    pub v1: Vec<Hierarchy>,
}

/// One version 1 hierarchy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hierarchy {
    pub mountpoint: PathBuf,
    /// As in the mount options; a named hierarchy has one that starts with `name=`.
    pub controllers: Vec<String>,
}

const CONTROLLERS: [&str; 13] = [
    "cpu",
    "cpuacct",
    "cpuset",
    "memory",
    "devices",
    "freezer",
    "blkio",
    "pids",
    "hugetlb",
    "net_cls",
    "net_prio",
    "perf_event",
    "rdma",
];

impl Layout {
    pub fn parse(mountinfo: &str) -> Layout {
        let mut layout = Layout::default();
        for line in mountinfo.lines() {
            let Some((left, right)) = line.split_once(" - ") else { continue };
            let (Some(mountpoint), mut right) = (left.split(' ').nth(4), right.split(' ')) else { continue };
            let mountpoint = PathBuf::from(unescape(mountpoint));
            // What cannot be written to makes no groups: it is as good as not mounted.
            if left.split(' ').nth(5).is_some_and(|options| options.split(',').any(|o| o == "ro")) {
                continue;
            }
            match right.next() {
                Some("cgroup2") if layout.v2.is_none() => layout.v2 = Some(mountpoint),
                Some("cgroup") => {
                    let options = right.nth(1).unwrap_or_default().split(',');
                    let known = |o: &&str| CONTROLLERS.contains(o) || o.starts_with("name=");
                    let controllers: Vec<String> = options.filter(known).map(str::to_owned).collect();
                    // The same hierarchy may be mounted at several places; the first will do.
                    let seen = layout.v1.iter().any(|h| h.controllers == controllers);
                    if !controllers.is_empty() && !seen {
                        layout.v1.push(Hierarchy { mountpoint, controllers });
                    }
                }
                _ => {}
            }
        }
        layout
    }

    /// The version 1 hierarchy that has a controller.
    pub fn v1(&self, controller: &str) -> Option<&Path> {
        let has = |h: &&Hierarchy| h.controllers.iter().any(|c| c == controller);
        self.v1.iter().find(has).map(|h| h.mountpoint.as_path())
    }
}

/// Blanks and backslashes are octal in mountinfo.
pub(crate) fn unescape(text: &str) -> String {
    let escapes = [("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")];
    escapes.iter().fold(text.to_owned(), |text, (from, to)| text.replace(from, to))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hybrid() {
        let layout = Layout::parse(
            "30 25 0:26 / /sys/fs/cgroup ro,nosuid - tmpfs tmpfs ro,mode=755\n\
             31 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate\n\
             32 30 0:28 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd\n\
             33 30 0:29 / /sys/fs/cgroup/cpu,cpuacct rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct\n\
             33 30 0:30 / /sys/fs/cgroup/memory ro,relatime - cgroup cgroup rw,memory\n\
             34 30 0:29 / /somewhere\\040else rw - cgroup cgroup rw,cpu,cpuacct\n",
        );
        assert_eq!(layout.v2.as_deref(), Some(Path::new("/sys/fs/cgroup/unified")));
        assert_eq!(layout.v1.len(), 2);
        assert_eq!(layout.v1("cpuacct"), Some(Path::new("/sys/fs/cgroup/cpu,cpuacct")));
        assert_eq!(layout.v1("memory"), None);
    }

    #[test]
    fn pure_version_2() {
        let layout = Layout::parse("30 25 0:26 / /sys/fs/cgroup rw shared:4 - cgroup2 cgroup rw\n");
        assert_eq!(layout, Layout { v2: Some("/sys/fs/cgroup".into()), v1: Vec::new() });
    }
}
