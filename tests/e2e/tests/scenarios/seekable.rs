//! eStargz, images that pass through, and the older forms of caches.

use std::fs;

use serde_json::Value;
use testkit::{DockerRegistry, Host};

in_every_mode! {
    layers_may_have_a_table_of_contents
    an_image_may_pass_through
    caches_have_older_forms
}

const NAME: &str = "127.0.0.1:5000/lazy:1";

fn context(host: &Host) {
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\nRUN echo made > /made && mkfifo /pipe\nCOPY file /dir/\n");
    host.file("ctx/file", "file");
}

fn manifest(host: &Host) -> Value {
    let raw = ["inspect", "--raw", "--tls-verify=false", &format!("docker://{NAME}")];
    serde_json::from_str(&host.program("skopeo", &raw).ok()).unwrap()
}

fn layers_may_have_a_table_of_contents(host: &Host) {
    context(host);
    let _registry = DockerRegistry::start(host);
    let output = format!("type=image,name={NAME},push=true,compression=estargz,force-compression=true");
    host.dhow(&["build", "-o", &output, "ctx"]).ok();
    // It is an image here, too, and one to build on.
    assert_eq!(host.dhow(&["run", "--rm", NAME, "cat", "/made", "/dir/file"]).ok(), "made\nfile");
    host.file("ctx/next", format!("FROM {NAME}\nRUN cat /made /dir/file > /both\n"));
    host.dhow(&["build", "-t", "next", "-f", "ctx/next", "ctx"]).ok();
    assert_eq!(host.dhow(&["run", "--rm", "next", "cat", "/both"]).ok(), "made\nfile");
    host.type_in("system check").ok();

    let sent = manifest(host);
    for layer in sent["layers"].as_array().unwrap() {
        let notes = &layer["annotations"];
        assert!(notes["io.containers.estargz.uncompressed-size"].is_string(), "{layer}");
        let toc = notes["containerd.io/snapshot/stargz/toc.digest"].as_str().unwrap();
        let hex = layer["digest"].as_str().unwrap().trim_start_matches("sha256:");
        let folder = format!("registry/docker/registry/v2/blobs/sha256/{}/{hex}/data", &hex[..2]);
        let bytes = fs::read(host.home().join(folder)).unwrap();
        // The last member says where the table begins; it is an archive of one file.
        let place = std::str::from_utf8(&bytes[bytes.len() - 35..bytes.len() - 19]).unwrap();
        let start = usize::from_str_radix(place, 16).unwrap();
        host.file("table.tar.gz", &bytes[start..]);
        host.program("tar", &["xzf", "table.tar.gz"]).ok();
        let sum = host.program("sha256sum", &["stargz.index.json"]).ok();
        assert!(sum.starts_with(toc.trim_start_matches("sha256:")), "{sum} {toc}");
    }
    // Everybody takes it for gzip, and its files for those that it was made of.
    let copied = ["copy", "--src-tls-verify=false", &format!("docker://{NAME}"), "dir:copied"];
    host.program("skopeo", &copied).ok();
    host.dhow(&["rmi", "next", NAME]).ok();
    host.dhow(&["pull", NAME]).ok();
    assert_eq!(host.dhow(&["run", "--rm", NAME, "sh", "-c", "test -p /pipe && ls /dir"]).ok(), "file");
    assert!(!host.dhow(&["run", "--rm", NAME, "ls", "/"]).ok().contains("stargz"));
}

fn an_image_may_pass_through(host: &Host) {
    context(host);
    let _registry = DockerRegistry::start(host);
    let before = host.type_in("images -aq").ok();
    let output = |more: &str| format!("type=image,name={NAME},store=false{more}");
    host.dhow(&["build", "-o", &output(""), "ctx"]).ok();
    host.dhow(&["build", "-o", &output(",push=true"), "--metadata-file", "told.json", "ctx"]).ok();
    assert_eq!(host.type_in("images -aq").ok(), before);
    let told: Value = serde_json::from_slice(&fs::read(host.home().join("told.json")).unwrap()).unwrap();
    let inspect = ["inspect", "--tls-verify=false", &format!("docker://{NAME}")];
    let there: Value = serde_json::from_str(&host.program("skopeo", &inspect).ok()).unwrap();
    assert_eq!(told["containerimage.digest"], there["Digest"]);
    assert_eq!(told["image.name"], NAME);
    // What was here by another name stays.
    host.dhow(&["build", "-t", "kept", "ctx"]).ok();
    host.dhow(&["build", "-o", &output(",push=true"), "ctx"]).ok();
    assert_eq!(host.dhow(&["run", "--rm", "kept", "cat", "/made"]).ok(), "made");
    host.type_in("system check").ok();
    assert_eq!(host.dhow(&["run", "--rm", NAME, "cat", "/made"]).ok(), "made");
}

fn caches_have_older_forms(host: &Host) {
    context(host);
    let _registry = DockerRegistry::start(host);
    for (words, media_type) in [
        ("image-manifest=false", "application/vnd.oci.image.index.v1+json"),
        ("oci-mediatypes=false", "application/vnd.docker.distribution.manifest.list.v2+json"),
        ("compression=estargz,mode=max", "application/vnd.oci.image.manifest.v1+json"),
    ] {
        for (to, from) in [
            ("type=local,dest=cache".to_owned(), "type=local,src=cache".to_owned()),
            (format!("type=registry,ref={NAME}"), format!("type=registry,ref={NAME}")),
        ] {
            host.dhow(&["build", "--cache-to", &format!("{to},{words}"), "ctx"]).ok();
            host.type_in("image prune -f").ok();
            host.type_in("builder prune -af").ok();
            let told = host.dhow(&["build", "--progress", "plain", "--cache-from", &from, "ctx"]).run();
            assert_eq!(
                (told.code, told.stderr.matches(" CACHED").count()),
                (0, 3),
                "{words}: {}",
                told.stderr
            );
        }
        assert_eq!(manifest(host)["mediaType"], media_type);
    }
}
