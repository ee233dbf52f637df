//! Content that was damaged on the disk: whoever needs it gets it back from where its image came, without asking for it.

use std::fs;
use std::path::PathBuf;

use testkit::{DockerRegistry, Host};

in_every_mode! {
    damage_heals_when_it_is_met
    what_was_made_here_is_not_replaced
}

const APP: &str = "127.0.0.1:5000/team/app:1";

/// The directory of the image's topmost layer.
fn top(host: &Host) -> PathBuf {
    let below =
        |host: &Host| fs::read_dir(host.root().join("layers")).unwrap().map(|entry| entry.unwrap().path());
    // The one on which no other lies.
    let text = |path: &PathBuf| fs::read_to_string(path.join("layer.json")).unwrap();
    let all: String = below(host).map(|path| text(&path)).collect();
    below(host)
        .find(|path| {
            let parent = format!("\"parent\":\"sha256:{}\"", path.file_name().unwrap().to_str().unwrap());
            text(path).contains("parent") && !all.contains(&parent)
        })
        .unwrap()
}

fn blob(host: &Host, digest: &str) -> PathBuf {
    host.root().join("blobs/sha256").join(digest.trim_start_matches("sha256:"))
}

fn damage_heals_when_it_is_met(host: &Host) {
    let registry = DockerRegistry::start(host);
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\nCOPY file /\n");
    host.file("ctx/file", "content");
    host.type_in(&format!("build -q -t {APP} ctx")).ok();
    host.type_in(&format!("push -q {APP}")).ok();
    host.type_in(&format!("rmi {APP} busybox")).ok();
    host.type_in("builder prune -af").ok();
    host.type_in(&format!("pull -q {APP}")).ok();
    let id = host.type_in(&format!("inspect -f {{{{.Id}}}} {APP}")).ok();
    let fetched = "fetched again from 127.0.0.1:5000/team/app";

    // A container that is there already, and one that is made with `run`.
    host.type_in(&format!("create --name one --network none {APP} cat /file")).ok();
    let layer = top(host);
    fs::remove_dir_all(layer.join("diff")).unwrap();
    let checked = host.type_in("system check").run();
    assert!(checked.code == 1 && checked.stdout.contains("are missing"), "{}", checked.stdout);
    let started = host.type_in("start -a one").run();
    assert_eq!((started.code, started.stdout.as_str()), (0, "content"), "{}", started.stderr);
    fs::write(layer.join("layer.json"), "{").unwrap();
    let ran = host.type_in(&format!("run --rm --network none {APP} cat /file")).run();
    assert_eq!((ran.code, ran.stdout.as_str()), (0, "content"), "{}", ran.stderr);
    fs::remove_dir_all(&layer).unwrap();
    host.type_in("restart -t 0 one").ok();
    assert!(layer.join("diff/file").exists());

    // Documents: told where a container is made.
    for damage in
        [|path: &PathBuf| fs::write(path, "{}").unwrap(), |path: &PathBuf| fs::remove_file(path).unwrap()]
    {
        damage(&blob(host, &id));
        let ran = host.type_in(&format!("run --rm --network none {APP} cat /file")).run();
        assert_eq!((ran.code, ran.stdout.as_str()), (0, "content"), "{}", ran.stderr);
        assert!(ran.stderr.contains("WARNING: image") && ran.stderr.contains(fetched), "{}", ran.stderr);
    }
    // A check that repairs does it for what nobody has met yet.
    fs::remove_dir_all(&layer).unwrap();
    let checked = host.type_in("system check --repair").run();
    assert!(checked.code == 0 && checked.stdout.contains(fetched), "{}{}", checked.stdout, checked.stderr);
    assert_eq!(host.type_in("start -a one").ok(), "content");
    assert_eq!(host.type_in("system check").run().code, 0);

    // Without the registry it is told what to do; and done, the container is as it was.
    drop(registry);
    fs::remove_dir_all(&layer).unwrap();
    let told = host.type_in("start one").fails(1);
    assert!(told.contains("pull, load or build it again"), "{told}");
    let _registry = DockerRegistry::start(host);
    host.type_in(&format!("pull -q {APP}")).ok();
    assert_eq!(host.type_in("start -a one").ok(), "content");
    assert_eq!(host.type_in(&format!("inspect -f {{{{.Id}}}} {APP}")).ok(), id);
}

/// The registry has somebody else's image under the name that one made here has.
fn what_was_made_here_is_not_replaced(host: &Host) {
    let _registry = DockerRegistry::start(host);
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\nARG WHOSE\nRUN echo $WHOSE > /whose\n");
    host.type_in(&format!("build -q --network none --build-arg WHOSE=theirs -t {APP} ctx")).ok();
    host.type_in(&format!("push -q {APP}")).ok();
    host.type_in(&format!("rmi {APP}")).ok();
    host.type_in("builder prune -af").ok();
    host.type_in(&format!("build -q --network none --build-arg WHOSE=mine -t {APP} ctx")).ok();
    let id = host.type_in(&format!("inspect -f {{{{.Id}}}} {APP}")).ok();
    host.type_in(&format!("create --name one --network none {APP} cat /whose")).ok();
    let damages: [(&dyn Fn(), &str); 2] = [
        (&|| fs::remove_dir_all(top(host)).unwrap(), "lacks a part of its content"),
        (&|| fs::write(blob(host, &id), "{").unwrap(), "is damaged"),
    ];
    for (damage, said) in damages {
        damage();
        let told = host.type_in(&format!("run --rm --network none {APP} cat /whose")).fails(125);
        assert!(told.contains(said) && told.contains("pull, load or build it again"), "{told}");
        host.type_in("start -a one").fails(1);
    }
    assert_eq!(host.type_in("images -q -f dangling=true").ok(), "", "the name has not moved");
    host.type_in("rm one").ok();
    host.type_in(&format!("rmi {APP}")).ok();
}
