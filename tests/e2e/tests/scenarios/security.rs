//! What a container may not do.

use testkit::Host;

in_every_mode! {
    capabilities_are_dockers
    system_calls_are_filtered
    the_kernel_is_out_of_reach
    privileged_is_privileged
    no_new_privileges
}

fn status(host: &Host, arguments: &[&str], field: &str) -> String {
    let line = host
        .dhow(&[&["run", "--rm"], arguments, &["busybox", "grep", field, "/proc/self/status"]].concat())
        .ok();
    line.split_whitespace().last().unwrap().to_owned()
}

fn capabilities_are_dockers(host: &Host) {
    host.busybox();
    assert_eq!(status(host, &[], "CapEff"), "00000000a80425fb");
    assert_eq!(status(host, &[], "CapBnd"), "00000000a80425fb");
    assert_eq!(status(host, &[], "CapInh"), "0000000000000000");
    assert_eq!(status(host, &["--cap-drop", "ALL"], "CapEff"), "0000000000000000");
    assert_eq!(
        status(host, &["--cap-drop", "ALL", "--cap-add", "NET_BIND_SERVICE"], "CapEff"),
        "0000000000000400"
    );
    assert_eq!(status(host, &["-u", "app"], "CapEff"), "0000000000000000");
    host.type_in("run --rm --cap-add NONSENSE busybox true").fails(125);
}

fn system_calls_are_filtered(host: &Host) {
    host.busybox();
    assert_eq!(status(host, &[], "Seccomp:"), "2");
    assert_eq!(status(host, &["--security-opt", "seccomp=unconfined"], "Seccomp:"), "0");
    assert_ne!(host.type_in("run --rm busybox unshare -m true").run().code, 0);
    let profile = host.file("profile.json", r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":1}]}"#);
    let option = format!("seccomp={}", profile.display());
    let refused =
        host.dhow(&["run", "--rm", "--security-opt", &option, "busybox", "mkdir", "/tmp/x"]).fails(1);
    assert!(refused.contains("Operation not permitted"), "{refused}");
}

fn the_kernel_is_out_of_reach(host: &Host) {
    host.busybox();
    for path in ["/proc/sys/kernel/core_pattern", "/proc/sysrq-trigger", "/sys/kernel/mm/ksm/run"] {
        let script = format!("echo x > {path}");
        assert_ne!(
            host.dhow(&["run", "--rm", "busybox", "sh", "-c", &script]).run().code,
            0,
            "{path} is writable"
        );
    }
    let script = "cat /proc/kcore | wc -c; ls /proc/acpi /proc/scsi 2>/dev/null | grep -v : | wc -w";
    assert_eq!(
        host.dhow(&["run", "--rm", "busybox", "sh", "-c", script]).ok().split_whitespace().next(),
        Some("0")
    );
    assert_ne!(host.dhow(&["run", "--rm", "busybox", "mount", "-t", "tmpfs", "x", "/tmp"]).run().code, 0);
    assert_ne!(
        host.dhow(&["run", "--rm", "busybox", "sh", "-c", "mknod /tmp/d b 8 0 && cat /tmp/d"]).run().code,
        0
    );
    let folder = host.dhow(&["run", "--rm", "-w", "/proc/self/fd/7", "busybox", "pwd"]).run();
    assert_ne!(folder.code, 0, "{}", folder.stdout);
}

fn privileged_is_privileged(host: &Host) {
    host.busybox();
    assert_eq!(status(host, &["--privileged"], "Seccomp:"), "0");
    assert_eq!(
        host.dhow(&["run", "--rm", "--privileged", "busybox", "mount", "-t", "tmpfs", "x", "/tmp"])
            .run()
            .code,
        0
    );
}

fn no_new_privileges(host: &Host) {
    host.busybox();
    assert_eq!(status(host, &["--security-opt", "no-new-privileges"], "NoNewPrivs"), "1");
    assert_eq!(status(host, &[], "NoNewPrivs"), "0");
}
