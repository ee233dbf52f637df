//! Archives that we write are what others read, and the other way round.

use testkit::{Host, Mode};

#[test]
fn skopeo_reads_what_we_save_and_we_load_what_it_writes() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.dhow(&["save", "-o", "saved.tar", "busybox"]).ok();
    let skopeo =
        |arguments: &[&str]| host.program("skopeo", &[&["--insecure-policy"], arguments].concat()).ok();
    let seen = skopeo(&["inspect", "--config", "--raw", "docker-archive:saved.tar"]);
    assert!(seen.contains("\"rootfs\""), "{seen}");
    skopeo(&["copy", "docker-archive:saved.tar", "oci-archive:layout.tar:layout:1"]);
    skopeo(&["copy", "docker-archive:saved.tar", "docker-archive:again.tar:again:1"]);
    host.dhow(&["load", "-i", "again.tar"]).ok();
    assert_eq!(host.dhow(&["run", "--rm", "again:1", "echo", "works"]).ok(), "works");
    let loaded = host.dhow(&["load", "-i", "layout.tar"]).ok();
    assert!(loaded.contains("Loaded image"), "{loaded}");
}
