//! `cp` both ways, `export`, `commit`.

use std::os::unix::fs::symlink;

use testkit::Host;

in_every_mode! {
    copy_in_and_out
    copy_never_leaves_the_container
    export_and_commit
}

fn copy_in_and_out(host: &Host) {
    host.busybox();
    host.type_in("run -d --name box busybox sleep 1000").ok();
    let file = host.file("folder/file", "content");
    let folder = file.parent().unwrap().to_str().unwrap().to_owned();
    host.dhow(&["cp", file.to_str().unwrap(), "box:/tmp/renamed"]).ok();
    assert_eq!(host.type_in("exec box cat /tmp/renamed").ok(), "content");
    host.dhow(&["cp", &folder, "box:/tmp"]).ok();
    assert_eq!(host.type_in("exec box cat /tmp/folder/file").ok(), "content");
    host.dhow(&["cp", &format!("{folder}/."), "box:/home/app"]).ok();
    assert_eq!(host.type_in("exec box cat /home/app/file").ok(), "content");
    let out = host.home().join("out");
    host.dhow(&["cp", "box:/etc/passwd", out.to_str().unwrap()]).ok();
    assert!(std::fs::read_to_string(&out).unwrap().starts_with("root:"));
    // All of what runs, without the kernel's file systems.
    let whole = host.dhow(&["cp", "box:/", "-"]).run();
    assert_eq!(whole.code, 0, "{}", whole.stderr);
    let mut whole = tar::Archive::new(&whole.bytes[..]);
    let paths: Vec<_> =
        whole.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().into_owned()).collect();
    assert!(paths.iter().any(|path| path.ends_with("etc/passwd")), "{paths:?}");
    assert!(!paths.iter().any(|path| path.ends_with("proc/1") || path.ends_with("sys/kernel")), "{paths:?}");
    let all = host.home().join("all");
    host.dhow(&["cp", "box:/", all.to_str().unwrap()]).ok();
    assert!(all.join("etc/passwd").exists() && !host.home().join("etc").exists());
    let nowhere = host.dhow(&["cp", "box:/etc/passwd", "no/such/folder/"]).fails(1);
    assert!(nowhere.contains("invalid output path") || nowhere.contains("no such directory"), "{nowhere}");
    host.type_in("stop -t 0 box").ok();
    host.dhow(&["cp", "box:/tmp/folder", host.home().join("back").to_str().unwrap()]).ok();
    assert_eq!(std::fs::read_to_string(host.home().join("back/file")).unwrap(), "content");
    let archive = host.dhow(&["cp", "box:/tmp/folder", "-"]).run();
    let names: Vec<_> = tar::Archive::new(&archive.bytes[..])
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned())
        .collect();
    assert_eq!(names, ["folder/", "folder/file"]);
    let missing = host.dhow(&["cp", "box:/no/such", "/tmp/x"]).fails(1);
    assert!(missing.contains("Could not find the file /no/such in container box"), "{missing}");
}

fn copy_never_leaves_the_container(host: &Host) {
    host.busybox();
    let canary = host.file("canary", "untouched");
    host.dhow(&["run", "--name", "trap", "busybox", "ln", "-s", host.home().to_str().unwrap(), "/tmp/link"])
        .ok();
    let evil = host.file("evil", "overwritten");
    // The link's target is resolved inside the container, where no such folder is.
    host.dhow(&["cp", evil.to_str().unwrap(), "trap:/tmp/link/canary"]).run();
    assert_eq!(std::fs::read_to_string(&canary).unwrap(), "untouched");
    let read =
        host.dhow(&["cp", "trap:/tmp/link/canary", host.home().join("stolen").to_str().unwrap()]).run();
    assert!(read.code != 0 || std::fs::read_to_string(host.home().join("stolen")).unwrap() != "untouched");
    // And a link on our side is followed only where it is the argument.
    symlink(&canary, host.home().join("link")).unwrap();
}

fn export_and_commit(host: &Host) {
    host.busybox();
    host.dhow(&["run", "--name", "made", "busybox", "sh", "-c", "echo new > /made; rm /etc/group"]).ok();
    let path = host.home().join("export.tar");
    host.dhow(&["export", "-o", path.to_str().unwrap(), "made"]).ok();
    let names: Vec<_> = tar::Archive::new(std::fs::File::open(&path).unwrap())
        .entries()
        .unwrap()
        .map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned())
        .collect();
    assert!(
        names.iter().any(|name| name == "made") && !names.iter().any(|name| name == "etc/group"),
        "{names:?}"
    );
    let id = host
        .dhow(&[
            "commit",
            "-m",
            "a message",
            "-a",
            "me",
            "--change",
            "CMD [\"cat\", \"/made\"]",
            "made",
            "made:1",
        ])
        .ok();
    assert!(id.starts_with("sha256:"), "{id}");
    assert_eq!(host.type_in("run --rm made:1").ok(), "new");
    assert_ne!(host.type_in("run --rm made:1 ls /etc/group").run().code, 0);
    assert!(host.type_in("history made:1").ok().contains("a message"));
}
