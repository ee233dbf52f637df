//! Specifications that try to reach beyond their container by what they say.

use oci::runtime::{NamespaceType, Resources};
use runtime::{Error, Stdio};

use super::Trap;
use crate::scene::{Scene, cleanup};

fn core_pattern() -> String {
    std::fs::read_to_string("/proc/sys/kernel/core_pattern").unwrap()
}

/// CVE-2022-0811: one value that smuggles in a second parameter; and names that lead elsewhere.
#[test]
fn a_kernel_parameter_of_the_machine() {
    let before = core_pattern();
    for (name, value) in [
        ("net.ipv4.ip_forward", "1+kernel.core_pattern=|/evil"),
        ("net.ipv4.ip_forward", "1\nkernel.core_pattern=|/evil"),
        ("kernel.shmmni", "4096+kernel.core_pattern=|/evil\n"),
        ("kernel.core_pattern", "|/evil"),
        ("kernel/core_pattern", "|/evil"),
        ("net/../kernel/core_pattern", "|/evil"),
        ("net.ipv4.../../kernel/core_pattern", "|/evil"),
        ("net/ipv4/./../../kernel/core_pattern", "|/evil"),
        ("/kernel/core_pattern", "|/evil"),
        ("net", "1"),
        ("net.", "1"),
        ("", "1"),
        ("net.ipv4.ip_forward\0x", "1"),
        ("vm.overcommit_memory", "1"),
        ("kernel.hostname.x", "1"),
    ] {
        let mut scene = Scene::script("cat /proc/sys/net/ipv4/ip_forward");
        scene.linux().sysctl = [(name.to_owned(), value.to_owned())].into();
        let error = scene.run().unwrap_err().to_string();
        assert!(error.contains("sysctl"), "{name:?}: {error}");
    }
    assert_eq!(core_pattern(), before);
}

/// A namespace that is joined by its path may be the machine's own.
#[test]
fn a_parameter_of_a_joined_namespace_that_is_the_machines() {
    for (typ, file, name) in [
        (NamespaceType::Ipc, "ipc", "kernel.shmmni"),
        (NamespaceType::Network, "net", "net.ipv4.ip_forward"),
        (NamespaceType::Uts, "uts", "kernel.domainname"),
    ] {
        let mut scene = Scene::new(&["true"]).without(typ);
        scene.spec.hostname.clear();
        let path = Some(format!("/proc/self/ns/{file}").into());
        scene.linux().namespaces.push(oci::runtime::Namespace { typ, path });
        // The value that it has, so that a runtime that sets it does no harm here.
        let value = std::fs::read_to_string(format!("/proc/sys/{}", name.replace('.', "/"))).unwrap();
        scene.linux().sysctl = [(name.to_owned(), value)].into();
        let error = scene.run().unwrap_err().to_string();
        assert!(error.contains("sysctl"), "{name}: {error}");
    }
}

#[test]
fn a_control_group_elsewhere() {
    for path in ["/../../evil", "/dhow/../../evil", "relative", "/a//b", "/./a", "/", "/a/", "/a\0b"] {
        let mut scene = Scene::new(&["true"]);
        scene.linux().cgroups_path = path.to_owned();
        let error = scene.run().unwrap_err();
        assert!(matches!(error, Error::Cgroup { .. } | Error::Spec { .. }), "{path:?}: {error}");
    }
    for file in ["../cgroup.procs", "../../x", "a/b"] {
        let unified = [(file.to_owned(), "1".to_owned())].into();
        let scene = Scene::new(&["true"]).resources(Resources { unified, ..Resources::default() });
        if std::path::Path::new("/sys/fs/cgroup/unified").exists()
            || std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists()
        {
            assert!(matches!(scene.run().unwrap_err(), Error::Cgroup { .. }), "{file}");
        }
    }
}

#[test]
fn texts_that_the_kernel_would_cut_short() {
    let name = rustix::system::uname().nodename().to_owned();
    type Change = fn(&mut Scene);
    let changes: [(&str, Change); 8] = [
        ("argument", |scene| scene.process().args.push("a\0b".to_owned())),
        ("program", |scene| scene.process().args = vec!["/bin/true\0x".to_owned()]),
        ("environment", |scene| scene.process().env.push("A\0B=1".to_owned())),
        ("directory", |scene| scene.process().cwd = "/tmp\0/../..".to_owned()),
        ("masked path", |scene| scene.linux().masked_paths.push("/proc/keys\0x".to_owned())),
        ("read-only path", |scene| scene.linux().readonly_paths.push("/proc/bus\0x".to_owned())),
        ("host name", |scene| scene.spec.hostname = "a\0b".to_owned()),
        ("domain name", |scene| scene.spec.domainname = "a\0b".to_owned()),
    ];
    for (what, change) in changes {
        let mut scene = Scene::new(&["true"]);
        change(&mut scene);
        let error = scene.run().unwrap_err();
        assert!(matches!(error, Error::Spec { .. }), "{what}: {error}");
    }
    assert_eq!(rustix::system::uname().nodename(), name.as_c_str());
}

/// Odd variables are the program's own business; what the kernel does not take is an error, not a shorter environment.
#[test]
fn an_environment_of_any_text() {
    let mut scene = Scene::new(&["env"]);
    scene.process().env.extend(["=x", "", "NOVALUE", "LINES=a\nb"].map(str::to_owned));
    scene.prints("PATH=/usr/bin:/bin\n=x\n\nNOVALUE\nLINES=a\nb\nHOME=/");
    let mut scene = Scene::new(&["true"]);
    scene.process().env.push(format!("HUGE={}", "x".repeat(1 << 20)));
    let error = scene.run().unwrap_err().to_string();
    assert!(error.contains("argument list too long"), "{error}");
}

/// A user that the document gives as a number is that number or nobody.
#[test]
fn users_that_wrap_around() {
    for text in ["4294967296", "-1", "1e3", "\"0\"", "4294967295.0"] {
        let document = format!(r#"{{"uid": {text}, "gid": 0}}"#);
        assert!(serde_json::from_str::<oci::runtime::User>(&document).is_err(), "{text}");
    }
    // To setresuid(2) this number means "leave it as it is", which is root.
    for (uid, gid) in [(u32::MAX, 0), (0, u32::MAX)] {
        let mut scene = Scene::new(&["id"]);
        scene.process().user = oci::runtime::User { uid, gid, ..Default::default() };
        let error = scene.run().unwrap_err();
        assert!(matches!(error, Error::Spec { .. }), "{uid}:{gid}: {error}");
    }
}

/// The files that a container brings are read by us with care: the user database may be a device or endless.
#[test]
fn a_user_database_that_is_none() {
    let trap = Trap::new();
    for place in ["/dev/zero", "/proc/self/fd/0", trap.canary().to_str().unwrap(), "/etc/fifo", "/etc/passwd"]
    {
        let mut scene = Scene::script("echo $HOME");
        let passwd = scene.rootfs().join("etc/passwd");
        std::os::unix::fs::symlink(place, &passwd).unwrap();
        let fifo = scene.rootfs().join("etc/fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        scene.process().user = oci::runtime::User { uid: 7, gid: 7, ..Default::default() };
        scene.prints("/");
    }
    trap.is_untouched();
}

/// Nothing of a failed attack stays: no group, no process.
#[test]
fn what_is_refused_leaves_nothing() {
    let mut scene = Scene::new(&["true"]);
    scene.process().cwd = "/proc/self/fd/9".to_owned();
    let path = scene.linux().cgroups_path.clone();
    assert!(scene.create(Stdio::Null).is_err());
    let cgroup = runtime::cgroup::Cgroup::new(&path).unwrap();
    assert!(!cgroup.exists());
    cleanup(Some(&cgroup));
}
