//! Archives of images go from each engine to each other, and an image is the same wherever it arrives: its id and its layers.

use testkit::{Host, Mode};

use crate::docker;
use crate::dockerd::Dockerd;

/// The image's id and its layers; engines do not agree on whether an id says what made it.
fn identity(text: &str) -> String {
    text.split(['"', '[', ']', ',', ' ', '\n'])
        .filter(|word| !word.is_empty())
        .map(|word| word.trim_start_matches("sha256:"))
        .collect::<Vec<_>>()
        .join(" ")
}

const FORMAT: &str = "{{.Id}} {{json .RootFS.Layers}}";

/// Loads an archive in place of what is here, and tells what came.
fn loaded(host: &Host, archive: &str, name: &str) -> String {
    host.dhow(&["rmi", "-f", name]).run();
    let said = host.dhow(&["load", "-i", archive]).ok();
    assert!(said.contains("Loaded image"), "{archive}: {said}");
    let there = identity(&host.dhow(&["image", "inspect", "-f", FORMAT, name]).ok());
    assert_eq!(host.dhow(&["run", "--rm", "--network", "none", name, "cat", "/made"]).ok(), "made");
    there
}

#[test]
fn archives_go_every_way_and_images_stay_the_same() {
    let host = Host::new(Mode::Embedded);
    host.busybox();
    host.file(
        "ctx/Dockerfile",
        "FROM busybox\nRUN echo made > /made\nCOPY copied /\nENV A=b\nCMD [\"sh\"]\n",
    );
    host.file("ctx/copied", "copied\n".repeat(1000));
    host.dhow(&["build", "-q", "-t", "docker.io/library/travels:1", "ctx"]).ok();
    let right = identity(&host.dhow(&["image", "inspect", "-f", FORMAT, "travels:1"]).ok());
    assert_eq!(right.split(' ').count(), 4, "{right}");
    host.dhow(&["save", "-o", "ours.tar", "travels:1"]).ok();
    assert_eq!(loaded(&host, "ours.tar", "travels:1"), right);
    // What was saved once is what is saved again, byte for byte.
    host.dhow(&["save", "-o", "again.tar", "travels:1"]).ok();
    let read = |name: &str| std::fs::read(host.home().join(name)).expect("an archive");
    assert!(read("ours.tar") == read("again.tar"));

    through_docker(&host, &right);
    through_podman(&host, &right);
    through_buildah(&host, &right);
    through_skopeo(&host, &right);
}

fn through_docker(host: &Host, right: &str) {
    let dockerd = Dockerd::start(host.home());
    let run = |arguments: &[&str]| docker(host, &dockerd.socket, arguments).ok();
    run(&["load", "-i", "ours.tar"]);
    assert_eq!(identity(&run(&["image", "inspect", "-f", FORMAT, "travels:1"])), right, "docker.io");
    run(&["save", "-o", "docker.tar", "travels:1"]);
    assert_eq!(loaded(host, "docker.tar", "travels:1"), right, "from docker.io");
    // An image that docker.io made itself, and several in one archive.
    run(&["create", "--name", "box", "travels:1"]);
    run(&["commit", "-c", "LABEL by=docker", "box", "made:1"]);
    let made = identity(&run(&["image", "inspect", "-f", FORMAT, "made:1"]));
    run(&["save", "-o", "both.tar", "travels:1", "made:1"]);
    for compressed in [&["gzip", "-k"][..], &["zstd", "-qk"], &["xz", "-0k"], &["bzip2", "-k"]] {
        host.program(compressed[0], &[&compressed[1..], &["both.tar"]].concat()).ok();
    }
    for archive in ["both.tar", "both.tar.gz", "both.tar.zst", "both.tar.xz", "both.tar.bz2"] {
        assert_eq!(loaded(host, archive, "made:1"), made, "{archive}");
    }
    // And back.
    host.dhow(&["save", "-o", "back.tar", "made:1", "travels:1"]).ok();
    run(&["rm", "box"]);
    run(&["rmi", "made:1", "travels:1"]);
    run(&["load", "-i", "back.tar"]);
    assert_eq!(identity(&run(&["image", "inspect", "-f", FORMAT, "made:1"])), made, "back at docker.io");
}

fn through_podman(host: &Host, right: &str) {
    let (root, run) = (host.home().join("pods/root"), host.home().join("pods/run"));
    let storage = ["--root", root.to_str().expect("UTF-8"), "--runroot", run.to_str().expect("UTF-8")];
    let podman = |arguments: &[&str]| {
        host.program("podman", &[&storage[..], &["--storage-driver", "vfs"], arguments].concat()).ok()
    };
    podman(&["load", "-q", "-i", "ours.tar"]);
    let name = "docker.io/library/travels:1";
    assert_eq!(identity(&podman(&["image", "inspect", "-f", FORMAT, name])), right, "podman");
    for format in ["docker-archive", "oci-archive"] {
        let archive = format!("{format}.tar");
        podman(&["save", "-q", "--format", format, "-o", &archive, name]);
        assert_eq!(loaded(host, &archive, "travels:1"), right, "podman's {format}");
    }
    podman(&["save", "-q", "--format", "oci-dir", "-o", "layout", name]);
    assert_eq!(loaded(host, "layout", "travels:1"), right, "podman's layout");
}

const MADE: &str = "docker.io/library/made:2";
/// The same as [`FORMAT`] of what buildah tells.
const BUILDAHS_FORMAT: &str = "{{.FromImageID}} {{range .OCIv1.RootFS.DiffIDs}}{{.}} {{end}}";

fn through_buildah(host: &Host, right: &str) {
    let (root, run) = (host.home().join("buildah/root"), host.home().join("buildah/run"));
    let storage = ["--root", root.to_str().expect("UTF-8"), "--runroot", run.to_str().expect("UTF-8")];
    let buildah = |arguments: &[&str]| {
        host.program("buildah", &[&storage[..], &["--storage-driver", "vfs"], arguments].concat()).ok()
    };
    let name = "docker.io/library/travels:1";
    let told =
        |name: &str| identity(&buildah(&["inspect", "--type", "image", "--format", BUILDAHS_FORMAT, name]));
    // From an archive it takes no names.
    let pull = |archive: &str, name: &str| {
        let id = buildah(&["pull", "-q", archive]);
        buildah(&["tag", id.trim(), name]);
    };
    for format in ["docker-archive", "oci-archive"] {
        pull(&format!("{format}:ours.tar"), name);
        assert_eq!(told(name), right, "buildah's {format}");
        let archive = format!("buildah-{format}.tar");
        buildah(&["push", "-q", name, &format!("{format}:{archive}:{name}")]);
        assert_eq!(loaded(host, &archive, "travels:1"), right, "from buildah's {format}");
        // An image that it has made itself.
        let container = buildah(&["from", "--pull-never", name]);
        buildah(&["config", "--label", "by=buildah", container.trim()]);
        buildah(&["commit", "-q", container.trim(), MADE]);
        buildah(&["push", "-q", MADE, &format!("{format}:made-{archive}:{MADE}")]);
        let made = loaded(host, &format!("made-{archive}"), "made:2");
        host.dhow(&["save", "-o", "made-back.tar", "made:2"]).ok();
        buildah(&["rm", container.trim()]);
        buildah(&["rmi", MADE, name]);
        pull(&format!("{format}:made-back.tar"), MADE);
        assert_eq!(told(MADE), made, "back at buildah as {format}");
        buildah(&["rmi", MADE]);
    }
}

fn through_skopeo(host: &Host, right: &str) {
    let skopeo =
        |from: &str, to: &str| host.program("skopeo", &["--insecure-policy", "copy", "-q", from, to]).ok();
    skopeo("oci-archive:ours.tar", "oci-archive:skopeo-oci.tar:docker.io/library/travels:1");
    skopeo("docker-archive:ours.tar", "docker-archive:skopeo-docker.tar:docker.io/library/travels:1");
    skopeo("oci-archive:ours.tar", "oci:skopeo-layout:docker.io/library/travels:1");
    for archive in ["skopeo-oci.tar", "skopeo-docker.tar", "skopeo-layout"] {
        assert_eq!(loaded(host, archive, "travels:1"), right, "{archive}");
    }
    // From the one kind to the other it writes the configuration anew; the layers stay.
    skopeo("docker-archive:ours.tar", "oci-archive:converted.tar:docker.io/library/travels:1");
    let layers = |identity: &str| identity.split_once(' ').expect("layers").1.to_owned();
    assert_eq!(layers(&loaded(host, "converted.tar", "travels:1")), layers(right));
}
