//! Devices by the names that their vendors give them (CDI): of containers and of builds.

use std::fs;

use testkit::Host;

in_every_mode! {
    containers_get_devices_by_name
    builds_get_devices_by_name
}

/// A vendor's file, and one that is of a version to come.
fn vendors(host: &Host) {
    host.busybox();
    let stopped = host.home().join("stopped").display().to_string();
    let hostname = host.file("name", "mounted\n").display().to_string();
    let file = serde_json::json!({
        "cdiVersion": "0.7.0",
        "kind": "v.com/d",
        "containerEdits": { "additionalGids": [77] },
        "devices": [{ "name": "0", "containerEdits": {
            "env": ["CDI=yes"],
            "deviceNodes": [{ "path": "/dev/first", "hostPath": "/dev/null", "permissions": "rw" }],
            "mounts": [{ "hostPath": hostname, "containerPath": "/opt/deep/name", "options": ["ro", "rbind"] }],
            "hooks": [{ "hookName": "poststop", "path": "/bin/sh", "args": ["sh", "-c", format!("echo gone >> {stopped}")] }],
        } }],
    });
    host.file("cdi/v.json", file.to_string());
    host.file(
        "cdi/w.json",
        r#"{"cdiVersion":"9.9.9","kind":"w.com/d","devices":[{"name":"0","containerEdits":{}}]}"#,
    );
}

fn containers_get_devices_by_name(host: &Host) {
    vendors(host);
    let look = "echo $CDI; id -G; echo x > /dev/first && stat -c %t:%T /dev/first; cat /opt/deep/name; ! echo x 2>&- > /opt/deep/name";
    let told = host.dhow(&["run", "--rm", "--device", "v.com/d=0", "busybox", "sh", "-c", look]).ok();
    assert_eq!(told.lines().collect::<Vec<_>>(), ["yes", "0 77", "1:3", "mounted"]);
    assert_eq!(fs::read_to_string(host.home().join("stopped")).unwrap(), "gone\n");
    let missing = host.dhow(&["run", "--rm", "--device", "w.com/d=0", "busybox", "true"]).fails(125);
    assert!(missing.contains("CDI device injection failed: unresolvable CDI devices w.com/d=0"), "{missing}");
    assert!(missing.contains("w.json: invalid version \"9.9.9\""), "{missing}");
    host.type_in("create --name made --device v.com/d=0 busybox true").ok();
    let asked = host.dhow(&["inspect", "-f", "{{json .HostConfig.DeviceRequests}}", "made"]).ok();
    assert!(asked.contains(r#""Driver":"cdi""#) && asked.contains("v.com/d=0"), "{asked}");
    let info = host.type_in("info").ok();
    assert!(info.contains(" Discovered Devices:\n  cdi: v.com/d=0\n"), "{info}");
    let told = host.dhow(&["info", "-f", "{{json .Warnings}}"]).ok();
    assert!(told.contains("w.json: invalid version"), "{told}");
}

fn builds_get_devices_by_name(host: &Host) {
    vendors(host);
    let asks = "FROM busybox\nRUN --device=v.com/d=0,required test $CDI = yes && test -c /dev/first && test -f /opt/deep/name\n\
                RUN --device=v.com/none test -z \"$CDI\" && test ! -e /opt\n";
    host.file("ctx/Dockerfile", asks);
    let refused = host.type_in("build ctx").fails(1);
    assert!(refused.contains("device v.com/d=0 is requested by the build but not allowed"), "{refused}");
    host.type_in("build -q --allow device=v.com/d=0 -t one ctx").ok();
    host.type_in("build -q --no-cache --allow device ctx").ok();
    assert!(!host.type_in("inspect -f {{.Config.Env}} one").ok().contains("CDI"));
    host.file("ctx/Dockerfile", "FROM busybox\nRUN --device=w.com/d=0,required true\n");
    let missing = host.type_in("build --allow device ctx").fails(1);
    assert!(missing.contains("required device \"w.com/d=0\" is not registered"), "{missing}");
    assert!(missing.contains("w.json: invalid version"), "{missing}");
    let unknown = host.type_in("build --allow devices ctx").fails(1);
    assert!(unknown.contains("unknown entitlement devices"), "{unknown}");
}
