//! Namespaces of every kind, made and joined.

use std::os::unix::fs::MetadataExt;

use oci::runtime::{IdMapping, Namespace, NamespaceType};
use runtime::{Created, Stdio};

use crate::scene::{Scene, cleanup, finish, pipes};

/// A container that waits, whose namespaces others join. It is gone with the value.
struct Host {
    created: Option<Created>,
    _scene: Scene,
}

impl Host {
    fn new(scene: Scene) -> Host {
        let created = scene.create(Stdio::Null).unwrap();
        Host { created: Some(created), _scene: scene }
    }

    fn path(&self, name: &str) -> String {
        format!("/proc/{}/ns/{name}", self.created.as_ref().unwrap().pid)
    }

    fn inode(&self, name: &str) -> u64 {
        std::fs::metadata(self.path(name)).unwrap().ino()
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        if let Some(created) = self.created.take() {
            let cgroup = created.cgroup.clone();
            drop(created);
            cleanup(cgroup.as_ref());
        }
    }
}

const KINDS: [(NamespaceType, &str); 7] = [
    (NamespaceType::Pid, "pid"),
    (NamespaceType::Network, "net"),
    (NamespaceType::Mount, "mnt"),
    (NamespaceType::Ipc, "ipc"),
    (NamespaceType::Uts, "uts"),
    (NamespaceType::Cgroup, "cgroup"),
    (NamespaceType::Time, "time"),
];

fn with_clock(mut scene: Scene) -> Scene {
    scene.linux().namespaces.push(Namespace { typ: NamespaceType::Time, path: None });
    scene
}

fn join(scene: &mut Scene, typ: NamespaceType, path: &str) {
    let namespaces = &mut scene.linux().namespaces;
    namespaces.retain(|namespace| namespace.typ != typ);
    namespaces.push(Namespace { typ, path: Some(path.into()) });
}

#[test]
fn each_kind_is_joined_by_its_path() {
    let host = Host::new(with_clock(Scene::new(&["sleep", "100"])));
    for (typ, name) in KINDS {
        let mut scene = Scene::new(&["readlink", &format!("/proc/self/ns/{name}")]);
        if typ == NamespaceType::Uts {
            scene.spec.hostname.clear();
        }
        join(&mut scene, typ, &host.path(name));
        scene.prints(&format!("{name}:[{}]", host.inode(name)));
    }
}

/// A joined namespace of another kind is an error whoever joins it: the process itself, or its parent around the clone.
#[test]
fn a_path_to_another_kind_is_refused() {
    let refused = |mut scene: Scene, typ, path: &str| {
        scene.spec.hostname.clear();
        join(&mut scene, typ, path);
        let error = scene.run().map(drop).expect_err(path).to_string();
        assert!(error.contains(&format!("{path} is a namespace of kind")), "{typ:?} at {path}: {error}");
    };
    for (at, (typ, _)) in KINDS.into_iter().enumerate() {
        for step in [1, 3] {
            let (_, wrong) = KINDS[(at + step) % KINDS.len()];
            refused(Scene::new(&["true"]), typ, &format!("/proc/self/ns/{wrong}"));
        }
        // A mount namespace is not joined from a new user namespace at all.
        if typ != NamespaceType::Mount {
            let (_, wrong) = KINDS[(at + 2) % KINDS.len()];
            refused(mapped(Scene::new(&["true"])), typ, &format!("/proc/self/ns/{wrong}"));
        }
        refused(Scene::new(&["true"]), NamespaceType::User, &format!("/proc/self/ns/{}", KINDS[at].1));
    }
    let mut scene = Scene::new(&["true"]);
    join(&mut scene, NamespaceType::Ipc, "/nowhere");
    assert!(scene.run().unwrap_err().to_string().contains("/nowhere"));
}

const MAP: IdMapping = IdMapping { container_id: 0, host_id: 100_000, size: 65_536 };

/// A root file system that the mapped root owns.
fn mapped(mut scene: Scene) -> Scene {
    let root = scene.rootfs();
    let dirs = ["", "tmp", "dev", "proc", "sys"].map(|name| root.join(name));
    for path in dirs.iter().chain([&scene.dir.path().to_owned()]) {
        std::os::unix::fs::chown(path, Some(100_000), Some(100_000)).unwrap();
    }
    std::fs::set_permissions(scene.dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    scene.linux().namespaces.push(Namespace { typ: NamespaceType::User, path: None });
    scene.linux().uid_mappings = vec![MAP];
    scene.linux().gid_mappings = vec![MAP];
    scene
}

#[test]
fn a_user_namespace_has_kernel_file_systems_and_a_cgroup_of_its_own() {
    let scene = mapped(Scene::script(
        "id -u; grep -c . /proc/self/uid_map; ls /sys/class/net; ls /dev/mqueue | wc -l; ls /sys/fs/cgroup | wc -l | grep -v '^0$' >/dev/null && echo groups; \
         grep CapEff /proc/self/status | tr -s '\\t' ' '",
    ));
    scene.prints("0\n1\nlo\n0\ngroups\nCapEff: 00000000a80425fb");
}

#[test]
fn a_user_namespace_is_joined_with_new_ones_beside_it() {
    let host = Host::new(mapped(Scene::new(&["sleep", "100"])));
    let mut scene = mapped(Scene::script(
        "id -u; echo $$; readlink /proc/self/ns/user; touch /tmp/file; ls /sys/class/net",
    ));
    scene.linux().uid_mappings.clear();
    scene.linux().gid_mappings.clear();
    join(&mut scene, NamespaceType::User, &host.path("user"));
    scene.prints(&format!("0\n1\nuser:[{}]\nlo", host.inode("user")));
    assert_eq!(std::fs::metadata(scene.rootfs().join("tmp/file")).unwrap().uid(), 100_000);
}

#[test]
fn the_namespaces_of_a_pod_are_joined_at_once() {
    let host = Host::new(mapped(Scene::new(&["sleep", "100"])));
    let mut scene =
        mapped(Scene::script("for kind in user net ipc pid; do readlink /proc/self/ns/$kind; done"));
    scene.linux().uid_mappings.clear();
    scene.linux().gid_mappings.clear();
    let kinds = [
        (NamespaceType::User, "user"),
        (NamespaceType::Network, "net"),
        (NamespaceType::Ipc, "ipc"),
        (NamespaceType::Pid, "pid"),
    ];
    let mut expected = Vec::new();
    for (typ, name) in kinds {
        join(&mut scene, typ, &host.path(name));
        expected.push(format!("{name}:[{}]", host.inode(name)));
    }
    scene.prints(&expected.join("\n"));
}

#[test]
fn a_time_namespace_that_is_joined_keeps_its_clock() {
    let mut scene = with_clock(Scene::new(&["sleep", "100"]));
    let offset = oci::runtime::TimeOffset { secs: 2_000_000, nanosecs: 500 };
    scene.linux().time_offsets.insert("boottime".to_owned(), offset);
    scene.linux().time_offsets.insert("monotonic".to_owned(), offset);
    let created = scene.create(Stdio::Null).unwrap();
    let group = created.cgroup.clone();
    // The namespace is the program's, from its first instruction on.
    let running = created.start().unwrap();
    let mut other = Scene::new(&["cat", "/proc/uptime"]);
    join(&mut other, NamespaceType::Time, &format!("/proc/{}/ns/time", running.pid));
    let (reader, stdio) = pipes();
    let joined = other.create(stdio).unwrap();
    let other_group = joined.cgroup.clone();
    let outcome = finish(&joined.start().unwrap(), reader);
    cleanup(other_group.as_ref());
    cleanup(group.as_ref());
    let uptime: f64 = outcome.output.split(' ').next().unwrap().parse().unwrap();
    assert!(uptime > 2_000_000.0, "{outcome:?}");
}
