//! What a container may not do.

use testkit::Host;

in_every_mode! {
    capabilities_are_dockers
    system_calls_are_filtered
    the_kernel_is_out_of_reach
    privileged_is_privileged
    no_new_privileges
    links_in_an_image_lead_nowhere
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

fn links_in_an_image_lead_nowhere(host: &Host) {
    host.busybox();
    let victim = host.file("victim", "untouched");
    let link = |name: &str, target: &std::path::Path| {
        let path = host.home().join("ctx").join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::os::unix::fs::symlink(target, path).unwrap();
    };
    // Distributions have such: what it leads to is not there, or is another's.
    link("files/etc/resolv.conf", "../run/systemd/resolve/stub-resolv.conf".as_ref());
    link("files/etc/hosts", &victim);
    link("files/etc/hostname", "/proc/1/root/etc/hostname".as_ref());
    link("files/.dockerenv", &victim);
    host.file("ctx/Dockerfile", "FROM busybox\nCOPY files/ /\n");
    host.type_in("build -t links ctx").ok();
    let script = "cat /etc/resolv.conf >/dev/null && cat /etc/hostname && echo more >> /etc/hosts && grep -c more /etc/hosts";
    assert_eq!(host.dhow(&["run", "--rm", "--hostname", "me", "links", "sh", "-c", script]).ok(), "me\n1");
    // Where file systems of the kernel go no link is followed; elsewhere one is, inside the image.
    for (name, code) in [("proc", 125), ("sys", 125), ("dev", 125), ("sbin", 0)] {
        let _ = std::fs::remove_dir_all(host.home().join("ctx"));
        link(&format!("files/{name}"), host.home());
        host.file("ctx/Dockerfile", "FROM scratch\nCOPY files/ /\nCOPY --from=busybox /bin /bin\n");
        host.type_in("build -t links ctx").ok();
        assert_eq!(host.type_in("run --rm --init links true").run().code, code, "{name}");
    }
    assert_eq!(std::fs::read_to_string(victim).unwrap(), "untouched");
    assert!(!host.home().join("docker-init").exists());
}
