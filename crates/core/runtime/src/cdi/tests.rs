use std::fs;
use std::path::PathBuf;

use oci::runtime::{Linux, Mount, Process, Spec};

use super::*;

const GOOD: &str = r#"{"cdiVersion":"0.7.0","kind":"v.com/d","annotations":{"note":"file"},
    "containerEdits":{"env":["ALL=1"],"additionalGids":[0,44]},
    "devices":[
        {"name":"0","annotations":{"note":"own"},"containerEdits":{"env":["ONE=0","PATH=/cdi"],
            "deviceNodes":[{"path":"/dev/first","hostPath":"/dev/null","permissions":"rw"}],
            "mounts":[{"hostPath":"/etc","containerPath":"/a","options":["ro","rbind"]}],
            "hooks":[{"hookName":"createContainer","path":"/bin/true","timeout":3}],
            "intelRdt":{"closID":"x","l3CacheSchema":"L3:0=f"}}},
        {"name":"none","containerEdits":{"deviceNodes":[{"path":"/dev/zero","permissions":"none"}]}}]}"#;

/// A registry of files of one directory.
fn registry(files: &[(&str, &str)]) -> Registry {
    let home = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(home.path().join(name), text).unwrap();
    }
    Registry::read(&[home.path().to_owned()])
}

fn spec() -> Spec {
    let mount = |path: &str| Mount { destination: path.into(), ..Mount::default() };
    let env = vec!["PATH=/bin".to_owned()];
    Spec {
        process: Some(Process { env, ..Process::default() }),
        mounts: vec![mount("/proc"), mount("/a/b"), mount("/a")],
        linux: Some(Linux::default()),
        ..Spec::default()
    }
}

#[test]
fn a_device_changes_what_its_vendor_says() {
    let registry = registry(&[("v.json", GOOD)]);
    assert_eq!(registry.problems(), []);
    assert_eq!(registry.names().collect::<Vec<_>>(), ["v.com/d=0", "v.com/d=none"]);
    assert_eq!(registry.annotation("v.com/d=0", "note"), Some("own"));
    assert_eq!(registry.annotation("v.com/d=none", "note"), Some("file"));
    let mut changed = spec();
    registry.inject(&mut changed, ["v.com/d=0", "v.com/d=none"]).unwrap();
    let (process, linux) = (changed.process.unwrap(), changed.linux.unwrap());
    assert_eq!(process.env, ["PATH=/cdi", "ALL=1", "ONE=0"]);
    assert_eq!(process.user.additional_gids, [44]);
    let order: Vec<_> = changed.mounts.iter().map(|mount| mount.destination.to_str().unwrap()).collect();
    assert_eq!(order, ["/proc", "/a", "/a/b"]);
    assert_eq!(changed.mounts[1].source, PathBuf::from("/etc"));
    let device = &linux.devices[0];
    assert_eq!((device.path.to_str(), device.major, device.minor), (Some("/dev/first"), 1, 3));
    assert_eq!(linux.devices.len(), 2);
    let rules = linux.resources.unwrap().devices;
    assert_eq!((rules.len(), rules[0].access.as_str(), rules[0].minor), (1, "rw", Some(3)));
    assert_eq!(changed.hooks.unwrap().create_container[0].timeout, Some(3));
    assert_eq!(linux.intel_rdt.unwrap().clos_id, "x");
}

#[test]
fn yaml_is_read_too() {
    let text = "cdiVersion: 0.6.0\nkind: v.com/d\ndevices:\n- name: a\n  containerEdits:\n    env: [A=1]\n";
    let registry = registry(&[("v.yaml", text), ("other.txt", "not read")]);
    assert_eq!(registry.problems(), []);
    assert_eq!(registry.names().collect::<Vec<_>>(), ["v.com/d=a"]);
}

#[test]
fn a_later_directory_comes_first_and_equals_contradict_each_other() {
    let (low, high) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let file = |value: &str| {
        format!(
            r#"{{"cdiVersion":"0.5.0","kind":"v.com/d","devices":[{{"name":"0","containerEdits":{{"env":["V={value}"]}}}}]}}"#
        )
    };
    fs::write(low.path().join("a.json"), file("low")).unwrap();
    fs::write(high.path().join("a.json"), file("high")).unwrap();
    let places = [low.path().to_owned(), high.path().to_owned(), PathBuf::from("/nowhere/cdi")];
    let value = |registry: &Registry| {
        let mut changed = spec();
        registry.inject(&mut changed, ["v.com/d=0"]).map(|()| changed.process.unwrap().env[1].clone())
    };
    let registry = Registry::read(&places);
    assert_eq!((value(&registry).unwrap().as_str(), registry.problems()), ("V=high", &[][..]));
    fs::write(high.path().join("b.json"), file("other")).unwrap();
    let error = value(&Registry::read(&places)).unwrap_err().to_string();
    assert!(error.starts_with("unresolvable CDI devices v.com/d=0 ("), "{error}");
    assert!(error.contains("b.json: device \"v.com/d=0\" is described by another file"), "{error}");
}

#[test]
fn files_that_are_wrong_are_told_and_spoil_no_other() {
    let with = |version: &str, kind: &str, devices: &str| {
        format!(r#"{{"cdiVersion":"{version}","kind":"{kind}","devices":[{devices}]}}"#)
    };
    let device =
        |edits: &str| with("0.5.0", "v.com/d", &format!(r#"{{"name":"0","containerEdits":{{{edits}}}}}"#));
    let env = r#"{"name":"0","containerEdits":{"env":["A=1"]}}"#;
    for (text, want) in [
        (with("9.9.9", "v.com/d", env), "invalid version \"9.9.9\""),
        (with("0.5.0", "v.com", env), "invalid kind \"v.com\""),
        (with("0.5.0", "v.com/../d", env), "invalid kind"),
        (with("0.5.0", "v.com/d", ""), "describes no devices"),
        (with("0.5.0", "v.com/d", &format!("{env},{env}")), "stands there twice"),
        (with("0.4.0", "v.com/d", env), "need at least version 0.5.0"),
        (device(""), "changes nothing"),
        (device(r#""env":["=x"]"#), "invalid environment variable"),
        (device(r#""additionalGids":[4]"#), "need at least version 0.7.0"),
        (device(r#""unknown":1"#), "unknown field"),
        (device(r#""deviceNodes":[{"path":"/dev/x","permissions":"rx"}]"#), "invalid permissions rx"),
        (device(r#""deviceNodes":[{"path":"dev/x"}]"#), "must be absolute"),
        (device(r#""hooks":[{"hookName":"later","path":"/x"}]"#), "invalid hook name"),
        (device(r#""hooks":[{"hookName":"prestart","path":"x"}]"#), "must be absolute"),
        (device(r#""mounts":[{"hostPath":"/x","containerPath":""}]"#), "both paths are needed"),
        (" ".repeat((4 << 20) + 1), "larger than"),
        ("[".repeat(100_000), "invalid type"),
        (String::new(), "EOF"),
    ] {
        let registry = registry(&[("bad.json", &text), ("good.json", GOOD)]);
        assert!(registry.names().any(|name| name == "v.com/d=none"), "{want}");
        let [problem] = registry.problems() else { panic!("{want}: {:?}", registry.problems()) };
        assert!(problem.reason.contains(want), "{want}: {}", problem.reason);
    }
}

#[test]
fn what_is_no_file_is_not_waited_for() {
    let home = tempfile::tempdir().unwrap();
    let at = |name: &str| home.path().join(name);
    std::os::unix::fs::symlink("/dev/zero", at("device.json")).unwrap();
    std::os::unix::fs::symlink("/nowhere", at("dangling.json")).unwrap();
    fs::create_dir(at("folder.json")).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, at("pipe.json"), rustix::fs::FileType::Fifo, 0o600.into(), 0)
        .unwrap();
    fs::write(at("real"), GOOD).unwrap();
    std::os::unix::fs::symlink(at("real"), at("link.json")).unwrap();
    let registry = Registry::read(&[home.path().to_owned(), at("real")]);
    assert_eq!(registry.names().count(), 2);
    let told: Vec<String> =
        registry.problems().iter().map(|p| format!("{}: {}", p.path.display(), p.reason)).collect();
    assert_eq!(told.iter().filter(|text| text.contains("no regular file")).count(), 3, "{told:?}");
    assert!(told.iter().any(|text| text.contains("dangling.json: No such file")), "{told:?}");
    assert!(told.iter().any(|text| text.contains("real: Not a directory")), "{told:?}");
}

#[test]
fn what_the_machine_has_not_is_said() {
    let file = |node: &str| {
        format!(
            r#"{{"cdiVersion":"0.5.0","kind":"v.com/d","devices":[{{"name":"0","containerEdits":{{"deviceNodes":[{node}]}}}}]}}"#
        )
    };
    for (node, want) in [
        (r#"{"path":"/dev/nowhere"}"#, "CDI device node /dev/nowhere"),
        (r#"{"path":"/dev/x","hostPath":"/etc/passwd"}"#, "it is no device node"),
        (r#"{"path":"/dev/null","type":"b"}"#, "it is of type c and not b"),
    ] {
        let error = registry(&[("v.json", &file(node))]).inject(&mut spec(), ["v.com/d=0"]).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }
    let registry = registry(&[("v.json", &file(r#"{"path":"/dev/x","type":"c","major":9,"minor":8}"#))]);
    assert!(registry.inject(&mut spec(), ["v.com/d=0"]).is_ok());
    let error = registry.inject(&mut spec(), ["v.com/d=1", "w.com/d=0"]).unwrap_err();
    assert_eq!(error.to_string(), "unresolvable CDI devices v.com/d=1, w.com/d=0");
}
