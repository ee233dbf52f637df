//! What is mounted, where it is seen, and what is left of it.

use std::fs;

use serde_json::json;
use testkit::eventually;

use super::bundle::Bundle;

/// The machine's mounts at or below a bundle.
fn on_the_machine(bundle: &Bundle) -> usize {
    let home = bundle.path("");
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("read the mounts");
    mounts.lines().filter(|line| line.contains(home.to_str().expect("UTF-8"))).count()
}

#[test]
fn mounts_are_listed_in_the_order_of_the_specification() {
    let bundle = Bundle::new("cut -d' ' -f5 /proc/self/mountinfo | grep ^/m");
    fs::create_dir(bundle.path("source")).expect("make a folder");
    fs::write(bundle.path("source/file"), "").expect("write a file");
    bundle.edit(|config| {
        let mounts = config["mounts"].as_array_mut().expect("a list");
        for (name, source, kind) in
            [("a", "source", "rbind"), ("b", "source/file", "bind"), ("c", "tmpfs", ""), ("d", "source", "bind")]
        {
            let (typ, options) = if kind.is_empty() { ("tmpfs", json!([])) } else { ("none", json!([kind, "unbindable"])) };
            mounts.push(json!({"destination": format!("/m{name}"), "type": typ, "source": source, "options": options}));
        }
    });
    assert_eq!(bundle.runtime(&["run", "@one"]).ok(), "/ma\n/mb\n/mc\n/md");
}

#[test]
fn a_container_may_have_the_mounts_of_the_machine_and_takes_its_own_away() {
    let bundle = Bundle::new("readlink /proc/self/ns/mnt; ls -d /rootfs; exec sleep 1000");
    bundle.edit(|config| {
        let namespaces = config["linux"]["namespaces"].as_array_mut().expect("a list");
        namespaces.retain(|namespace| namespace["type"] != "mount");
    });
    bundle.create("one");
    assert_eq!(on_the_machine(&bundle), 4);
    bundle.runtime(&["start", "@one"]).ok();
    let own = fs::read_link("/proc/self/ns/mnt").expect("read a link");
    let told = format!("{}\nls: /rootfs: No such file or directory\n", own.display());
    eventually("it tells where it is", || bundle.out() == told);
    let passwd = fs::read_to_string(bundle.path("rootfs/etc/passwd")).expect("read a file");
    assert_eq!(bundle.runtime(&["exec", "@one", "cat", "/etc/passwd"]).ok(), passwd.trim());
    bundle.runtime(&["delete", "--force", "@one"]).ok();
    assert_eq!(on_the_machine(&bundle), 0);
    bundle.edit(|config| config["process"]["args"] = json!(["/no/such"]));
    bundle.runtime(&["create", "@one"]).fails(1);
    assert_eq!(on_the_machine(&bundle), 0);
    bundle.edit(|config| {
        let user = json!({"type": "user"});
        config["linux"]["namespaces"].as_array_mut().expect("a list").push(user);
    });
    assert!(bundle.runtime(&["create", "@one"]).fails(1).contains("no right to mount"));
}

#[test]
fn a_file_does_not_cover_a_directory() {
    let bundle = Bundle::new("true");
    fs::write(bundle.path("file"), "").expect("write a file");
    bundle.edit(|config| {
        let mount = json!({"destination": "/etc", "type": "bind", "source": "file", "options": ["bind"]});
        config["mounts"].as_array_mut().expect("a list").push(mount);
    });
    let told = bundle.runtime(&["run", "@one"]).fails(1);
    // Docker adds a hint to these words.
    assert!(told.contains("not a directory"), "{told}");
}
