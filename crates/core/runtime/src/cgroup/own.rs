//! Where this process is itself (`/proc/self/cgroup`, man 7 cgroups).

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use super::layout::{Layout, unescape};

/// The path of this process' group below each hierarchy's mount point, where that is not the top. With version 2 alone it is
/// the path of the group above: in ours are processes, so that it may give no controller down.
pub(super) fn paths(layout: &Layout, mountinfo: &str, groups: &str) -> BTreeMap<PathBuf, String> {
    let mut paths = BTreeMap::new();
    for line in groups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let first = controllers.split(',').next().unwrap_or_default();
        let mountpoint = if first.is_empty() { layout.v2.as_deref() } else { layout.v1(first) };
        let Some(mountpoint) = mountpoint else { continue };
        let mut seen = below(Path::new(&root_of(mountinfo, mountpoint)), Path::new(path));
        if first.is_empty() && layout.v1.is_empty() {
            seen.pop();
        }
        match seen.to_str() {
            None | Some("" | "/") => {}
            Some(path) => drop(paths.insert(mountpoint.to_owned(), path.to_owned())),
        }
    }
    paths
}

/// What of a hierarchy is mounted at a place.
fn root_of(mountinfo: &str, mountpoint: &Path) -> String {
    let find = |line: &str| {
        let mut fields = line.split(' ').skip(3);
        let (root, at) = (fields.next()?, fields.next()?);
        (Path::new(&unescape(at)) == mountpoint).then(|| unescape(root))
    };
    mountinfo.lines().rev().find_map(find).unwrap_or_else(|| "/".to_owned())
}

/// `path` as it is seen below a mount of `root`; one that cannot be seen there is the top.
fn below(root: &Path, path: &Path) -> PathBuf {
    let hidden = path.components().any(|part| part == Component::ParentDir);
    let seen = path.strip_prefix(root).ok().filter(|_| !hidden);
    Path::new("/").join(seen.unwrap_or(Path::new("")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "30 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n\
        31 25 0:28 /docker/x /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
        32 25 0:29 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
        33 25 0:30 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,name=systemd\n";

    #[test]
    fn each_hierarchy_has_its_own() {
        let groups = "4:memory:/docker/x/y\n3:cpu,cpuacct:/a/../b\n2:name=systemd:/s\n1:pids:/p\n0::/u/v\n";
        let found = paths(&Layout::parse(HYBRID), HYBRID, groups);
        let found: Vec<_> = found.iter().map(|(at, path)| (at.to_str().unwrap(), path.as_str())).collect();
        assert_eq!(
            found,
            [
                ("/sys/fs/cgroup/memory", "/y"),
                ("/sys/fs/cgroup/systemd", "/s"),
                ("/sys/fs/cgroup/unified", "/u/v"),
            ]
        );
    }

    #[test]
    fn version_2_alone_is_beside() {
        let mounts = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        let found = |groups: &str| paths(&Layout::parse(mounts), mounts, groups);
        assert_eq!(Vec::from_iter(found("0::/user.slice/one.scope\n").values()), ["/user.slice"]);
        assert!(found("0::/one\n").is_empty() && found("0::/\n").is_empty() && found("").is_empty());
    }
}
