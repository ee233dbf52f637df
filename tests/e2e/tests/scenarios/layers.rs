//! Layers as images: what is loaded as such runs, changes, builds and travels as if it were directories.

use std::fs;
use testkit::{Host, Mode};

/// The files of layers that are images, and of those that are directories.
fn forms(host: &Host) -> (usize, usize) {
    let layers = fs::read_dir(host.root().join("layers")).unwrap().map(|layer| layer.unwrap().path());
    layers.fold((0, 0), |(images, directories), layer| {
        (
            images + usize::from(layer.join("layer.erofs").is_file()),
            directories + usize::from(layer.join("diff").is_dir()),
        )
    })
}

/// An image of three layers, loaded as images.
fn load(host: &Host) -> String {
    host.busybox();
    let write = "echo one > /one; ln /one /two; mkdir -p /d/e; echo x > /d/e/x; chown 5:6 /d; chmod 1770 /d";
    host.dhow(&["run", "--name", "first", "busybox", "sh", "-c", write]).ok();
    host.type_in("commit first middle").ok();
    let change = "rm /two; rm -r /d/e; mkdir /d/e; echo y > /d/e/y; echo more >> /one";
    host.dhow(&["run", "--name", "second", "middle", "sh", "-c", change]).ok();
    host.type_in("commit second app").ok();
    let id = host.dhow(&["inspect", "-f", "{{.Id}}", "app"]).ok();
    host.type_in("save -o app.tar app").ok();
    host.type_in("rm first second").ok();
    host.type_in("rmi busybox middle app").ok();
    host.type_in("load -i app.tar").env("DHOW_LAYERS", "erofs").ok();
    assert_eq!(host.dhow(&["inspect", "-f", "{{.Id}}", "app"]).ok(), id);
    assert_eq!(forms(host), (3, 0));
    id
}

/// Whose engine lives in a user namespace gets directories, and is told why.
#[test]
fn in_a_user_namespace_layers_are_directories() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.type_in("save -o busybox.tar busybox").ok();
    host.type_in("rmi busybox").ok();
    let root = host.home().join("inner");
    let script = format!(
        "export DHOW_LAYERS=erofs DHOW_ROOT={0}/root DHOW_RUN={0}/run; {1} load -q -i busybox.tar && ls {0}/root/layers/*",
        root.display(),
        testkit::binary().display()
    );
    let loaded = host.program("unshare", &["-Um", "--map-root-user", "sh", "-ec", &script]).run();
    assert_eq!(loaded.code, 0, "{}{}", loaded.stdout, loaded.stderr);
    assert!(loaded.stdout.contains("diff") && !loaded.stdout.contains("erofs"), "{}", loaded.stdout);
    assert_eq!(loaded.stderr.matches("does not mount EROFS images").count(), 1, "{}", loaded.stderr);
    // `host` is the only one that a container of ours can have.
    assert!(host.type_in("run --rm --userns other busybox true").run().code != 0);
}

#[test]
fn a_container_runs_on_images() {
    let host = Host::new(Mode::Embedded);
    load(&host);
    let look = "cat /one; ls /two /d/e; stat -c '%u:%g %a' /d; find / -xdev -name y; stat -c %h /one";
    let seen = host.dhow(&["run", "--rm", "app", "sh", "-c", look]).run().stdout;
    assert_eq!(seen, "one\nmore\n/d/e:\ny\n5:6 1770\n/d/e/y\n1\n");
    host.dhow(&["run", "-d", "--name", "user", "app", "sh", "-c", "echo z > /d/e/y; rm /one; sleep 1000"])
        .ok();
    testkit::eventually("the container has written", || {
        host.type_in("diff user").run().stdout.contains("D /one")
    });
    assert_eq!(host.type_in("diff user").ok(), "C /d/e/y\nD /one");
    // The monitor mounts them once more.
    host.type_in("restart -t 0 user").ok();
    assert_eq!(host.type_in("exec user cat /d/e/y").ok(), "z");
    host.type_in("cp user:/d/e/y taken").ok();
    assert_eq!(fs::read_to_string(host.home().join("taken")).unwrap(), "z\n");
    host.type_in("cp taken user:/given").ok();
    host.type_in("commit user further").ok();
    assert_eq!(host.type_in("run --rm further cat /given").ok(), "z");
    host.type_in("rm -f user").ok();
}

#[test]
fn images_are_built_on_and_travel_on() {
    let host = Host::new(Mode::Embedded);
    let id = load(&host);
    host.file(
        "Dockerfile",
        "FROM app AS from\nRUN echo run > /run && rm /one\nFROM app\nCOPY --from=from /run /d/e/y /got/\n",
    );
    host.type_in("build -q -t built .").ok();
    let seen = host.dhow(&["run", "--rm", "built", "sh", "-c", "cat /got/* /one"]).ok();
    assert_eq!(seen, "run\ny\none\nmore");
    host.type_in("build -q --squash -t squashed .").ok();
    assert_eq!(host.type_in("run --rm squashed cat /got/y").ok(), "y");
    // Saved again it is what it was.
    host.type_in("save -o again.tar app").ok();
    host.type_in("rmi built squashed app").ok();
    host.type_in("builder prune -af").ok();
    assert_eq!(forms(&host), (0, 0));
    host.type_in("load -i again.tar").ok();
    assert_eq!(forms(&host), (0, 3));
    assert_eq!(host.dhow(&["inspect", "-f", "{{.Id}}", "app"]).ok(), id);
    // An image is found damaged, and made anew of the archive that it came in.
    host.type_in("rmi app").ok();
    host.type_in("load -i again.tar").env("DHOW_LAYERS", "erofs").ok();
    for layer in fs::read_dir(host.root().join("layers")).unwrap() {
        let image = layer.unwrap().path().join("layer.erofs");
        let file = fs::OpenOptions::new().write(true).open(image).unwrap();
        std::os::unix::fs::FileExt::write_all_at(&file, &[0; 64], 1024).unwrap();
    }
    let found = host.type_in("system check").run();
    assert!(found.code != 0 && found.stdout.contains("its image cannot be read"), "{found:?}");
    host.type_in("system check --repair").run();
    assert_eq!(host.type_in("run --rm app cat /one").ok(), "one\nmore");
    host.type_in("rmi app").ok();
}
