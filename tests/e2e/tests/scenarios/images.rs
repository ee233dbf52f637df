//! Images: import, tag, list, inspect, history, save, load, remove.

use testkit::Host;

in_every_mode! {
    list_tag_and_remove
    what_is_used_stays
    save_and_load_are_exact
    inspect_and_history
    disk_use_and_prune
    hostile_archives_are_refused
}

fn list_tag_and_remove(host: &Host) {
    host.busybox();
    let list = host.type_in("images").ok();
    assert!(list.starts_with("REPOSITORY   TAG       IMAGE ID       CREATED"), "{list}");
    host.type_in("tag busybox registry.example.com:5000/team/box:1.0").ok();
    let rows = host.dhow(&["images", "--format", "{{.Repository}}:{{.Tag}}"]).ok();
    assert!(rows.contains("registry.example.com:5000/team/box:1.0"), "{rows}");
    assert_eq!(host.type_in("images -q busybox").ok().len(), 12);
    assert_eq!(host.type_in("images nothing -q").ok(), "");
    let removed = host.type_in("rmi registry.example.com:5000/team/box:1.0").ok();
    assert_eq!(removed, "Untagged: registry.example.com:5000/team/box:1.0");
    let removed = host.type_in("rmi busybox").ok();
    assert!(removed.starts_with("Untagged: busybox:latest\nDeleted: sha256:"), "{removed}");
    assert_eq!(host.type_in("images -q").ok(), "");
    let missing = host.type_in("rmi busybox").fails(1);
    assert!(missing.contains("No such image: busybox"), "{missing}");
    assert!(host.type_in("tag nothing x").fails(1).contains("No such image: nothing"));
    assert!(host.type_in("tag busybox Upper/Case").fails(1).contains("invalid reference format"));
}

fn what_is_used_stays(host: &Host) {
    host.busybox();
    host.type_in("run -d --name user busybox sleep 1000").ok();
    let refused = host.type_in("rmi busybox").fails(1);
    assert!(refused.contains("conflict: unable to remove repository reference"), "{refused}");
    let id = host.type_in("images -q").ok();
    let refused = host.dhow(&["rmi", "-f", &id]).fails(1);
    assert!(refused.contains("cannot be forced") && refused.contains("running container"), "{refused}");
    host.type_in("stop -t 0 user").ok();
    let forced = host.type_in("rmi -f busybox").ok();
    assert!(forced.contains("Untagged: busybox:latest"), "{forced}");
    // Its layers are still the container's.
    host.type_in("start user").ok();
}

fn save_and_load_are_exact(host: &Host) {
    host.busybox();
    host.type_in("tag busybox other:2").ok();
    let path = host.home().join("save.tar");
    host.dhow(&["save", "-o", path.to_str().unwrap(), "busybox", "other:2"]).ok();
    let before = host.dhow(&["inspect", "-f", "{{.Id}}", "busybox"]).ok();
    host.type_in("rmi busybox other:2").ok();
    let loaded = host.dhow(&["load", "-i", path.to_str().unwrap()]).ok();
    assert!(
        loaded.contains("Loaded image: busybox:latest") && loaded.contains("Loaded image: other:2"),
        "{loaded}"
    );
    assert_eq!(host.dhow(&["inspect", "-f", "{{.Id}}", "other:2"]).ok(), before);
    assert_eq!(host.type_in("run --rm other:2 echo works").ok(), "works");
    host.file("folder/below/index.json", "{}");
    let refused = host.type_in("load -i folder").fails(1);
    assert!(
        refused.contains("read folder: is a directory without an index.json or a manifest.json"),
        "{refused}"
    );
    // Through standard input, compressed, and once more the same bytes.
    let again = host.dhow(&["save", "busybox", "other:2"]).run();
    assert_eq!(again.code, 0);
    assert_eq!(again.bytes, std::fs::read(&path).unwrap());
    let mut gzip = std::process::Command::new("gzip").arg("-k").arg(&path).spawn().unwrap();
    assert!(gzip.wait().unwrap().success());
    host.type_in("rmi busybox other:2").ok();
    host.dhow(&["load"]).input(std::fs::read(path.with_extension("tar.gz")).unwrap()).ok();
    assert_eq!(host.dhow(&["inspect", "-f", "{{.Id}}", "busybox"]).ok(), before);
}

fn inspect_and_history(host: &Host) {
    host.busybox();
    let text = host.type_in("inspect busybox").ok();
    let document: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(document[0]["RepoTags"][0], "busybox:latest");
    assert_eq!(document[0]["Os"], "linux");
    assert_eq!(document[0]["Config"]["Cmd"][0], "sh");
    assert!(document[0]["Size"].as_u64().unwrap() > 500_000);
    let history = host.type_in("history busybox").ok();
    assert!(
        history.starts_with("IMAGE          CREATED") && history.contains("Imported from -"),
        "{history}"
    );
}

fn disk_use_and_prune(host: &Host) {
    host.busybox();
    host.dhow(&["build", "-t", "made", "-"]).input("FROM busybox\nRUN echo 1 > /one\n").ok();
    host.dhow(&["build", "-t", "made", "-"]).input("FROM busybox\nRUN echo 2 > /two\n").ok();
    assert_eq!(host.type_in("images -q -f dangling=true").ok().lines().count(), 1);
    let use_of = host.type_in("system df").ok();
    assert!(use_of.starts_with("TYPE            TOTAL     ACTIVE    SIZE      RECLAIMABLE"), "{use_of}");
    assert!(host.type_in("image prune -f").ok().contains("Total reclaimed space"));
    assert_eq!(host.type_in("images -q -f dangling=true").ok(), "");
    host.type_in("image prune -a -f").ok();
    assert_eq!(host.type_in("images -q").ok(), "");
    host.type_in("system prune -a -f --volumes").ok();
}

fn hostile_archives_are_refused(host: &Host) {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_gnu();
    let name = b"../../escaped";
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_size(4);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append(&header, &b"evil"[..]).unwrap();
    let bytes = archive.into_inner().unwrap();
    let error = host.dhow(&["import", "-", "evil"]).input(bytes).run();
    assert!(error.code != 0 || !host.root().join("escaped").exists());
    assert!(!host.root().parent().unwrap().join("escaped").exists());
    let error = host.dhow(&["load"]).input("this is no archive").fails(1);
    assert!(!error.is_empty());
    assert_eq!(host.dhow(&["system", "check"]).run().code, 0);
}
