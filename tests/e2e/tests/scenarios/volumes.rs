//! Named and anonymous volumes, bind mounts, tmpfs.

use testkit::Host;

in_every_mode! {
    a_named_volume_outlives_its_container
    a_new_volume_takes_the_images_files
    anonymous_volumes_go_with_rm_v
    binds_both_spellings
    tmpfs_and_read_only
    volume_commands
}

fn a_named_volume_outlives_its_container(host: &Host) {
    host.busybox();
    host.dhow(&["run", "--rm", "-v", "data:/data", "busybox", "sh", "-c", "echo kept > /data/file"]).ok();
    assert_eq!(host.dhow(&["run", "--rm", "-v", "data:/else", "busybox", "cat", "/else/file"]).ok(), "kept");
    let refused =
        host.dhow(&["run", "--rm", "-v", "data:/data:ro", "busybox", "touch", "/data/new"]).fails(1);
    assert!(refused.contains("Read-only file system"), "{refused}");
    assert_eq!(host.type_in("volume ls -q").ok(), "data");
}

fn a_new_volume_takes_the_images_files(host: &Host) {
    host.busybox();
    let mount = "fresh:/etc";
    assert_eq!(
        host.dhow(&["run", "--rm", "-v", mount, "busybox", "head", "-n1", "/etc/passwd"]).ok(),
        "root:x:0:0:root:/root:/bin/sh"
    );
    assert_eq!(
        host.dhow(&["run", "--rm", "-v", "fresh:/copy", "busybox", "grep", "-c", "app", "/copy/passwd"]).ok(),
        "1"
    );
}

fn anonymous_volumes_go_with_rm_v(host: &Host) {
    host.busybox();
    host.type_in("run --name one -v /data busybox true").ok();
    assert_eq!(host.type_in("volume ls -q").ok().lines().count(), 1);
    host.type_in("rm -v one").ok();
    assert_eq!(host.type_in("volume ls -q").ok(), "");
    host.type_in("run --rm -v /data busybox true").ok();
    assert_eq!(host.type_in("volume ls -q").ok(), "");
    host.type_in("run --name two -v /data busybox true").ok();
    host.type_in("rm two").ok();
    assert_eq!(host.type_in("volume ls -q -f dangling=true").ok().lines().count(), 1);
    assert!(host.type_in("volume prune -f").ok().contains("Total reclaimed space"));
    assert_eq!(host.type_in("volume ls -q").ok(), "");
}

fn binds_both_spellings(host: &Host) {
    host.busybox();
    let file = host.file("shared/file", "from the host");
    let folder = file.parent().unwrap().to_str().unwrap();
    assert_eq!(
        host.dhow(&["run", "--rm", "-v", &format!("{folder}:/in"), "busybox", "cat", "/in/file"]).ok(),
        "from the host"
    );
    let mount = format!("type=bind,source={folder},target=/in,readonly");
    let refused = host.dhow(&["run", "--rm", "--mount", &mount, "busybox", "touch", "/in/new"]).fails(1);
    assert!(refused.contains("Read-only file system"), "{refused}");
    for propagation in ["rshared", "rslave", "rprivate"] {
        let bind = format!("{folder}:/in:{propagation}");
        let seen = host.dhow(&["run", "--rm", "-v", &bind, "busybox", "cat", "/in/file"]).ok();
        assert_eq!(seen, "from the host", "{propagation}");
    }
    let single = format!("{}:/etc/motd:ro", file.display());
    assert_eq!(
        host.dhow(&["run", "--rm", "-v", &single, "busybox", "cat", "/etc/motd"]).ok(),
        "from the host"
    );
    let missing = host
        .dhow(&["run", "--rm", "--mount", "type=bind,src=/no/such/folder,dst=/in", "busybox", "true"])
        .fails(125);
    assert!(missing.contains("bind source path does not exist: /no/such/folder"), "{missing}");
    // `-v` makes the folder, as it always did.
    let made = host.home().join("made/here");
    host.dhow(&["run", "--rm", "-v", &format!("{}:/in", made.display()), "busybox", "true"]).ok();
    assert!(made.is_dir());
}

fn tmpfs_and_read_only(host: &Host) {
    host.busybox();
    let script = "touch /tmp/ok && ! touch /etc/no 2>/dev/null && grep ' /tmp ' /proc/mounts";
    let seen = host
        .dhow(&["run", "--rm", "--read-only", "--tmpfs", "/tmp:size=1m", "busybox", "sh", "-c", script])
        .ok();
    assert!(seen.starts_with("tmpfs /tmp tmpfs rw") && seen.contains("size=1024k"), "{seen}");
    let seen = host
        .dhow(&[
            "run",
            "--rm",
            "--mount",
            "type=tmpfs,dst=/scratch",
            "busybox",
            "grep",
            "/scratch",
            "/proc/mounts",
        ])
        .ok();
    assert!(seen.starts_with("tmpfs /scratch tmpfs"), "{seen}");
}

fn volume_commands(host: &Host) {
    host.busybox();
    assert_eq!(host.type_in("volume create my-data --label a=b").ok(), "my-data");
    let path = host.dhow(&["volume", "inspect", "-f", "{{.Mountpoint}}", "my-data"]).ok();
    assert_eq!(path, format!("{}/volumes/my-data/_data", host.root().display()));
    assert!(host.type_in("volume ls").ok().starts_with("DRIVER    VOLUME NAME\nlocal     my-data"));
    host.type_in("create --name user -v my-data:/data busybox true").ok();
    let used = host.type_in("volume rm my-data").fails(1);
    assert!(used.contains("volume is in use"), "{used}");
    host.type_in("rm user").ok();
    assert_eq!(host.type_in("volume rm my-data").ok(), "my-data");
    assert!(host.type_in("volume inspect my-data").run().stderr.to_lowercase().contains("no such volume"));
}

/// Links of an image that lead to what isn't there: `/etc/resolv.conf` of Ubuntu, `/var/run`, directories of data.
#[test]
fn mounts_on_dangling_links_are_where_they_lead() {
    let host = Host::new(testkit::Mode::Embedded);
    host.busybox();
    host.file(
        "ctx/Dockerfile",
        "FROM busybox\nRUN rm -rf /etc/resolv.conf /run /var/run; mkdir -p /var; ln -s ../run/systemd/stub /etc/resolv.conf; \
         ln -s /run /var/run; ln -s /nosuch/dir /data; ln -s ../../../../up /out; ln -s loop /loop\nVOLUME /out/volume\n\
         WORKDIR /data/made\nRUN pwd > /where\n",
    );
    host.dhow(&["build", "-t", "linked", "ctx"]).ok();
    assert_eq!(host.type_in("run --rm linked cat /where").ok(), "/nosuch/dir/made");
    let home = host.file("bound/file", "bound").parent().unwrap().display().to_string();
    let bind = format!("{home}:/data");
    let prints = |options: &[&str], script: &str| {
        host.dhow(&[&["run", "--rm"][..], options, &["linked", "sh", "-c", script]].concat()).ok()
    };
    assert_eq!(prints(&["-v", &bind], "cat /nosuch/dir/file"), "bound");
    assert_eq!(prints(&["--network", "host"], "test -s /etc/resolv.conf && echo there"), "there");
    assert_eq!(prints(&["--tmpfs", "/var/run"], "grep -c ' /run tmpfs' /proc/mounts"), "1");
    assert_eq!(prints(&["--tmpfs", "/data"], "grep -c ' /nosuch/dir tmpfs' /proc/mounts"), "1");
    assert_eq!(prints(&["-v", "named:/data"], "touch /data/x; ls /nosuch/dir"), "made\nx");
    assert_eq!(prints(&["-w", "/data/x/y"], "pwd"), "/nosuch/dir/x/y");
    assert_eq!(prints(&[], "grep -c ' /up/volume ' /proc/mounts"), "1");
    let error = host.type_in("run --rm --tmpfs /loop/x linked true").run();
    assert!(error.code != 0 && error.stderr.contains("/loop"), "{}", error.stderr);
}
