//! What engines and people have got used to with runc, which is nowhere specified: measured against version 1.1.5.

use std::fs;

use serde_json::{Value, json};

use super::bundle::Bundle;

#[test]
fn of_a_variable_that_is_given_twice_the_last_value_counts() {
    let bundle = Bundle::new("env");
    bundle.edit(|config| config["process"]["env"] = json!(["A=1", "PATH=/bin", "A=2=3", "HOME=/"]));
    let printed = bundle.runtime(&["run", "@one"]).ok();
    let lines: Vec<&str> = printed.lines().filter(|line| !line.starts_with("PWD")).collect();
    assert!(lines.contains(&"A=2=3") && !lines.contains(&"A=1"), "{printed}");
}

#[test]
fn processes_that_say_too_little_are_refused() {
    let bundle = Bundle::new("true");
    let refused = |field: &str, value: Value, says: &str| {
        let mut before = Value::Null;
        bundle.edit(|config| before = std::mem::replace(&mut config["process"][field], value));
        let error = bundle.runtime(&["run", "@one"]).fails(1);
        assert!(error.contains(says), "{says}: {error}");
        bundle.edit(|config| config["process"][field] = before);
    };
    refused("cwd", json!(""), "Cwd property must not be empty");
    refused("cwd", json!("tmp"), "Cwd must be an absolute path");
    refused("env", json!(["A=1", "B"]), r#"invalid environment variable: \"B\""#);
    refused("env", json!(["=x"]), r#"environment variable name can't be empty: \"=x\""#);
    bundle.runtime(&["run", "@one"]).ok();
}

/// The caller's directory is nobody's business: a hook finds what lies in the bundle, one in the container's namespaces
/// what lies in its root file system.
#[test]
fn hooks_run_in_the_bundle_or_in_the_root_file_system() {
    let bundle = Bundle::new("cat /where");
    let (log, home) = (bundle.path("log"), bundle.path(""));
    bundle.edit(|config| {
        let hook = |kind: &str, command: &str| json!([{"path": "/bin/sh", "args": ["sh", "-c", command], "env": [format!("K={kind}")]}]);
        let told = format!("echo $K $(pwd) >> {}", log.display());
        for kind in ["prestart", "createRuntime", "poststart", "poststop"] {
            config["hooks"][kind] = hook(kind, &told);
        }
        config["hooks"]["createContainer"] = hook("createContainer", "test -x bin/busybox && echo $K > here && umask > mask");
        config["hooks"]["startContainer"] = hook("startContainer", "pwd > /where");
        config["process"]["cwd"] = json!("/proc");
    });
    let mut command = std::process::Command::new(testkit::binary());
    command.arg("runtime").arg("--root").arg(bundle.path("state")).arg("run").arg("--bundle").arg(&home);
    let output = command.arg(bundle.id("one")).current_dir("/").output().expect("run");
    assert_eq!(String::from_utf8_lossy(&output.stdout), "/proc\n", "{output:?}");
    let home = home.canonicalize().expect("a bundle");
    let lines = ["prestart", "createRuntime", "poststart", "poststop"];
    let lines: String = lines.iter().map(|kind| format!("{kind} {}\n", home.display())).collect();
    assert_eq!(fs::read_to_string(log).expect("read"), lines);
    assert_eq!(fs::read_to_string(bundle.path("rootfs/here")).expect("read"), "createContainer\n");
    assert_eq!(fs::read_to_string(bundle.path("rootfs/mask")).expect("read"), "0022\n");
}

#[test]
fn null_is_nothing_and_what_follows_a_document_is_not_read() {
    let bundle = Bundle::new("exec sleep 1000");
    bundle.edit(|config| {
        for pointer in ["/process", "/process/user", "/linux", "/root"] {
            let object = config.pointer_mut(pointer).and_then(Value::as_object_mut).expect("an object");
            for field in [
                "rlimits",
                "additionalGids",
                "noNewPrivileges",
                "terminal",
                "devices",
                "maskedPaths",
                "readonlyPaths",
                "sysctl",
                "cgroupsPath",
                "uidMappings",
                "timeOffsets",
                "readonly",
            ] {
                object.insert(field.to_owned(), Value::Null);
            }
        }
        config["process"]["capabilities"]["ambient"] = Value::Null;
        config["linux"]["resources"] = json!({"devices": null, "memory": null});
        config["annotations"] = Value::Null;
        config["mounts"][0]["options"] = Value::Null;
        let name = config.as_object_mut().and_then(|config| config.remove("hostname"));
        config["HostName"] = name.expect("a name");
    });
    let file = bundle.path("config.json");
    let text = fs::read_to_string(&file).expect("read");
    fs::write(&file, format!("{text}\n}} and more")).expect("write");
    bundle.create("one");
    bundle.runtime(&["start", "@one"]).ok();
    assert_eq!(bundle.runtime(&["exec", "@one", "hostname"]).ok(), "contained");
    for resources in ["null", "{\"memory\": null} {", "{\"CPU\": null}"] {
        bundle.runtime(&["update", "-r", "-", "@one"]).input(resources.as_bytes().to_vec()).ok();
    }
    bundle.runtime(&["kill", "@one", ""]).ok();
    bundle.runtime(&["kill", "@one", "KILL"]).ok();
    bundle.await_status("one", "stopped");
}

/// Joining another kind of namespace than is said would leave the container in the machine's.
#[test]
fn a_namespace_of_another_kind_is_refused() {
    let bundle = Bundle::new("readlink /proc/self/ns/pid");
    let own = format!("/proc/{}/ns", std::process::id());
    for (kind, other) in
        [("pid", "uts"), ("network", "ipc"), ("ipc", "uts"), ("uts", "time"), ("mount", "net")]
    {
        bundle.edit(|config| {
            let list = config["linux"]["namespaces"].as_array_mut().expect("a list");
            list.retain(|namespace| namespace["type"] != kind);
            list.push(json!({"type": kind, "path": format!("{own}/{other}")}));
        });
        let error = bundle.runtime(&["run", "@one"]).fails(1);
        assert!(error.contains(&format!("ns/{other} is a namespace of kind")), "{kind}: {error}");
        bundle.edit(|config| {
            let list = config["linux"]["namespaces"].as_array_mut().expect("a list");
            list.pop();
            list.push(json!({"type": kind}));
        });
    }
    bundle.runtime(&["run", "@one"]).ok();
}

#[test]
fn masks_need_a_mount_namespace_and_the_first_of_two_devices_is_made() {
    let bundle = Bundle::new("stat -c %t:%T /dev/twice; grep -c ' /count ' /proc/mounts");
    bundle.edit(|config| {
        config["linux"]["devices"] = json!([
            {"path": "/dev/twice", "type": "c", "major": 1, "minor": 3},
            {"path": "/dev/twice", "type": "c", "major": 1, "minor": 5}
        ]);
        let mounts = config["mounts"].as_array_mut().expect("a list");
        mounts.push(
            json!({"destination": "/count", "type": "tmpfs", "source": "tmpfs", "options": ["iversion"]}),
        );
        config["linux"]["mountLabel"] = json!("system_u:object_r:x_t:s0");
    });
    let ran = bundle.runtime(&["run", "@one"]).run();
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "1:3\n1\n"), "{}", ran.stderr);
    if !std::path::Path::new("/sys/fs/selinux/enforce").exists() {
        assert_eq!(ran.stderr.matches("mountLabel").count(), 1, "{}", ran.stderr);
    }
    bundle.edit(|config| {
        config["linux"]["maskedPaths"] = json!(["/proc/kcore"]);
        let list = config["linux"]["namespaces"].as_array_mut().expect("a list");
        list.retain(|namespace| namespace["type"] != "mount");
    });
    let error = bundle.runtime(&["run", "@one"]).fails(1);
    assert!(error.contains("unable to restrict sys entries without a private MNT namespace"), "{error}");
}

#[test]
fn limits_that_cannot_be_are_told_in_words() {
    let bundle = Bundle::new("true");
    let refused = |resources: Value, says: &[&str]| {
        bundle.edit(|config| {
            config["linux"]["resources"] = resources;
            config["linux"]["cgroupsPath"] = json!(format!("/{}", bundle.id("one")));
        });
        let error = bundle.runtime(&["run", "@one"]).fails(1);
        assert!(says.iter().all(|word| error.contains(word)) && !error.contains("None"), "{error}");
    };
    refused(json!({"devices": [{"allow": true, "type": "z"}]}), &[r#"invalid cgroup device type \"z\""#]);
    refused(json!({"devices": [{"allow": true, "access": "x"}]}), &[r#"invalid cgroup device access \"x\""#]);
    refused(json!({"memory": {"limit": 1}}), &["unable to set memory limit to 1", "usage"]);
}

#[test]
fn unknown_words_and_help_are_as_engines_probe_them() {
    let bundle = Bundle::new("true");
    assert_eq!(bundle.runtime(&["nonsense"]).fails(3).trim(), "No help topic for 'nonsense'");
    assert!(bundle.runtime(&["h"]).ok().contains("Create a container, which waits for its start"));
    assert!(bundle.runtime(&["h", "kill"]).ok().contains("SIGTERM"));
    assert!(bundle.runtime(&["h", "nonsense"]).fails(3).contains("No help topic for 'nonsense'"));
}
