//! Pushing and pulling: what is sent and fetched, what is not, and what people read of it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use testkit::{DockerRegistry, Host};

in_every_mode! {
    images_go_there_and_back
    what_is_there_is_not_sent_again
    layers_are_compressed_as_it_is_wished
    builds_send_layers_uncompressed_where_that_is_wished
    documents_that_are_no_images_to_pull
    platforms_that_are_not_all_here
}

const A: &str = "127.0.0.1:5000/some/a:1";

fn id(host: &Host, name: &str) -> String {
    host.type_in(&format!("image inspect -f {{{{.Id}}}} {name}")).ok()
}

/// The digest in a push's or a pull's last lines.
fn digest(told: &str) -> &str {
    let from = told.find("sha256:").unwrap_or_else(|| panic!("a digest in {told:?}"));
    &told[from..from + 71]
}

fn images_go_there_and_back(host: &Host) {
    let _registry = DockerRegistry::start(host);
    host.busybox();
    for tag in ["1", "2"] {
        host.type_in(&format!("tag busybox 127.0.0.1:5000/some/a:{tag}")).ok();
    }
    let all = host.type_in("push -a 127.0.0.1:5000/some/a").ok();
    assert!(all.starts_with("The push refers to repository [127.0.0.1:5000/some/a]\n"), "{all}");
    assert!(all.contains(": Preparing\n") && all.contains(": Pushed\n"), "{all}");
    assert!(all.contains("\n1: digest: sha256:") && all.contains("\n2: digest: sha256:"), "{all}");
    assert_eq!(host.type_in("push -q 127.0.0.1:5000/some/a:2").ok(), "127.0.0.1:5000/some/a:2");
    let (id, digest) = (id(host, A), digest(&all).to_owned());

    host.type_in(&format!("rmi busybox {A} 127.0.0.1:5000/some/a:2")).ok();
    let pulled = host.type_in(&format!("pull {A}")).ok();
    let lines: Vec<_> = pulled.lines().collect();
    let layer = lines[1].split(':').next().unwrap_or_default();
    let expected = [
        "1: Pulling from some/a".to_owned(),
        format!("{layer}: Pulling fs layer"),
        format!("{layer}: Verifying Checksum"),
        format!("{layer}: Download complete"),
        format!("{layer}: Pull complete"),
        format!("Digest: {digest}"),
        format!("Status: Downloaded newer image for {A}"),
        A.to_owned(),
    ];
    assert_eq!(lines, expected);
    assert_eq!(self::id(host, A), id);
    let again = host.type_in(&format!("pull {A}")).ok();
    let expected =
        ["1: Pulling from some/a", &expected[5], &format!("Status: Image is up to date for {A}"), A];
    assert_eq!(again.lines().collect::<Vec<_>>(), expected);
    let by_digest = format!("127.0.0.1:5000/some/a@{digest}");
    assert!(host.type_in(&format!("pull {by_digest}")).ok().ends_with(&by_digest));

    // All tags: the layer is here, its second name is not.
    let all = host.type_in("pull -a 127.0.0.1:5000/some/a").ok();
    assert!(all.contains("Status: Downloaded newer image for 127.0.0.1:5000/some/a:2"), "{all}");
    assert!(all.ends_with("\n127.0.0.1:5000/some/a"), "{all}");
    host.type_in("run --rm --network none 127.0.0.1:5000/some/a:2 true").ok();
    let missing = host.type_in("push 127.0.0.1:5000/some/a:3").fails(1);
    let words = "An image does not exist locally with the tag: 127.0.0.1:5000/some/a";
    assert!(missing.contains(words), "{missing}");
    assert!(host.type_in("pull -a 127.0.0.1:5000/some/a:1").fails(1).contains("tag can't be used"));
}

fn what_is_there_is_not_sent_again(host: &Host) {
    let _registry = DockerRegistry::start(host);
    host.busybox();
    host.type_in(&format!("tag busybox {A}")).ok();
    let first = host.type_in(&format!("push {A}")).ok();
    let second = host.type_in(&format!("push {A}")).ok();
    assert!(second.contains(": Layer already exists\n"), "{second}");
    assert_eq!(digest(&first), digest(&second));
    // Into another repository it is taken from where it was sent to.
    host.type_in("tag busybox 127.0.0.1:5000/b:1").ok();
    let mounted = host.type_in("push 127.0.0.1:5000/b:1").ok();
    assert!(mounted.contains(": Mounted from some/a\n"), "{mounted}");
    assert_eq!(digest(&first), digest(&mounted));
    // As what was pulled is, byte for byte.
    host.type_in(&format!("rmi busybox {A} 127.0.0.1:5000/b:1")).ok();
    host.type_in(&format!("pull -q {A}")).ok();
    host.type_in(&format!("tag {A} 127.0.0.1:5000/c:1")).ok();
    let pulled = host.type_in("push 127.0.0.1:5000/c:1").ok();
    assert!(pulled.contains(": Mounted from some/a\n"), "{pulled}");
    assert_eq!(digest(&first), digest(&pulled));
    let other = host.type_in("push --platform linux/s390x 127.0.0.1:5000/c:1").fails(1);
    assert!(other.contains("does not provide the specified platform (linux/s390x)"), "{other}");
    host.type_in("push -q --platform linux/amd64 127.0.0.1:5000/c:1").ok();
}

fn layers_are_compressed_as_it_is_wished(host: &Host) {
    let _registry = DockerRegistry::start(host);
    host.busybox();
    host.type_in(&format!("tag busybox {A}")).ok();
    let id = id(host, A);
    let mut digests = Vec::new();
    for options in ["", "--compression gzip --compression-level 9", "--compression zstd"] {
        let told = host.type_in(&format!("push {options} {A}")).ok();
        assert!(told.contains(": Pushed\n"), "{options}: {told}");
        let again = host.type_in(&format!("push {options} {A}")).ok();
        assert_eq!(digest(&told), digest(&again));
        digests.push(digest(&told).to_owned());
    }
    digests.dedup();
    assert_eq!(digests.len(), 3);
    host.type_in(&format!("rmi busybox {A}")).ok();
    host.type_in(&format!("pull -q {A}")).ok();
    assert_eq!(self::id(host, A), id);
    let shown = host.type_in(&format!("manifest inspect --insecure {A}")).ok();
    assert!(shown.contains("tar+zstd"), "{shown}");
    // What came compressed stays as it came, unless something else is asked for.
    let told = host.type_in(&format!("push {A}")).ok();
    assert!(told.contains("Layer already exists") && digest(&told) == digests[2], "{told}");
    let told = host.type_in(&format!("push --compression gzip {A}")).ok();
    assert_eq!(digest(&told), digests[0], "{told}");
    let error = host.type_in(&format!("push --compression gzip --compression-level 22 {A}")).fails(1);
    assert!(error.contains("9 is the highest"), "{error}");
    // Docker's documents have no name for it, so what has such a layer is one of OCI's.
    host.busybox();
    host.file("ctx/Dockerfile", "FROM busybox\n");
    let name = "127.0.0.1:5000/docker:1";
    host.type_in(&format!("build -q -o type=image,name={name},oci-mediatypes=false ctx")).ok();
    for (options, docker) in [("", true), ("--compression zstd", false)] {
        host.type_in(&format!("push -q {options} {name}")).ok();
        let shown = host.type_in(&format!("manifest inspect --insecure {name}")).ok();
        assert_eq!(shown.contains("vnd.docker.distribution.manifest"), docker, "{shown}");
        assert_eq!(shown.contains("vnd.docker."), docker, "{shown}");
    }
}

fn builds_send_layers_uncompressed_where_that_is_wished(host: &Host) {
    let _registry = DockerRegistry::start(host);
    host.busybox();
    host.type_in(&format!("tag busybox {A}")).ok();
    host.type_in(&format!("push -q {A}")).ok();
    host.type_in(&format!("rmi busybox {A}")).ok();
    host.file("ctx/Dockerfile", format!("FROM {A}\nRUN echo made > /made\n"));
    let name = "127.0.0.1:5000/plain:1";
    let layers = || {
        let shown = host.type_in(&format!("manifest inspect --insecure {name}")).ok();
        let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
        let of = |layer: &serde_json::Value| {
            layer["mediaType"].as_str().unwrap().rsplit('.').next().unwrap().to_owned()
        };
        shown["layers"].as_array().unwrap().iter().map(of).collect::<Vec<_>>()
    };
    for (output, force, want) in [
        ("type=registry", false, ["tar+gzip", "tar"]),
        ("type=registry", true, ["tar", "tar"]),
        ("type=image,push=true", false, ["tar+gzip", "tar"]),
        ("type=image,push=true", true, ["tar", "tar"]),
    ] {
        let wish = format!("{output},name={name},compression=uncompressed,force-compression={force}");
        host.dhow(&["build", "-q", "-o", &wish, "ctx"]).ok();
        assert_eq!(layers(), want, "{wish}");
        // Without the wish the same layers are sent as any others.
        host.dhow(&["build", "-q", "-t", name, "--push", "ctx"]).ok();
        assert_eq!(layers(), ["tar+gzip", "tar+gzip"], "after {wish}");
    }
    assert_eq!(host.dhow(&["run", "--rm", name, "cat", "/made"]).ok(), "made");
    host.dhow(&["build", "-q", "-t", name, "--label", "other=1", "ctx"]).ok();
    host.type_in(&format!("push -q {name}")).ok();
    assert_eq!(layers(), ["tar+gzip", "tar+gzip"]);
}

fn platforms_that_are_not_all_here(host: &Host) {
    let _registry = DockerRegistry::start(host);
    host.file("ctx/Dockerfile", "FROM scratch\nARG TARGETPLATFORM\nCOPY Dockerfile /$TARGETPLATFORM\n");
    let platforms = "linux/amd64,linux/arm64,linux/arm/v7";
    host.type_in(&format!("build -q --platform {platforms} -t {A} --push ctx")).ok();
    host.type_in(&format!("rmi {A}")).ok();
    let index = digest(&host.type_in(&format!("pull {A}")).ok()).to_owned();
    host.type_in(&format!("tag {A} 127.0.0.1:5000/b:1")).ok();
    let told = host.type_in("push 127.0.0.1:5000/b:1").ok();
    assert!(told.contains("only the available single-platform image was pushed"), "{told}");
    assert!(told.contains(&format!("{index} -> sha256:")), "{told}");
    // Which of two, and that not all are there, is for people to say.
    host.type_in(&format!("pull -q --platform linux/arm64 {A}")).ok();
    let refused = host.type_in("push 127.0.0.1:5000/b:1").fails(1);
    assert!(refused.contains("missing content: linux/arm/v7 of 127.0.0.1:5000/b:1"), "{refused}");
    host.type_in("push -q --platform linux/arm64 127.0.0.1:5000/b:1").ok();
    host.type_in(&format!("pull -q --platform linux/arm/v7 {A}")).ok();
    let whole = host.type_in("push 127.0.0.1:5000/b:1").ok();
    assert!(whole.contains(&index) && !whole.contains("single-platform"), "{whole}");
}

/// Serves these documents under `/v2/odd/manifests/<tag>` until the test ends; its address.
fn odd_registry(documents: Vec<(&'static str, &'static str, String)>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("a listener has one").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(stream);
            let mut line = String::new();
            if reader.read_line(&mut line).is_err() {
                continue;
            }
            let mut header = String::new();
            while reader.read_line(&mut header).is_ok_and(|count| count > 2) {
                header.clear();
            }
            let path = line.split_whitespace().nth(1).unwrap_or_default();
            let found = documents.iter().find(|(name, ..)| path.ends_with(name));
            let (status, kind, body) = match found {
                Some((_, kind, body)) => ("200 OK", *kind, body.as_str()),
                None if path == "/v2/" => ("200 OK", "application/json", "{}"),
                None => ("404 Not Found", "application/json", "{}"),
            };
            let length = body.len();
            let head = line.starts_with("HEAD");
            let body = if head { "" } else { body };
            // The client may have left.
            let _ = write!(
                reader.into_inner(),
                "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    address
}

fn documents_that_are_no_images_to_pull(host: &Host) {
    const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":["sha256:0000000000000000000000000000000000000000000000000000000000000000"]}}"#;
    let manifest = |layer: &str| {
        let config = host.file("config.json", CONFIG);
        let sum = host.program("sha256sum", &[&config.display().to_string()]).ok();
        format!(
            r#"{{"schemaVersion":2,"mediaType":"application/vnd.docker.distribution.manifest.v2+json","config":{{"mediaType":"application/vnd.docker.container.image.v1+json","size":{},"digest":"sha256:{}"}},"layers":[{{"mediaType":"{layer}","size":7,"digest":"sha256:1111111111111111111111111111111111111111111111111111111111111111"}}]}}"#,
            CONFIG.len(),
            &sum[..64]
        )
    };
    let kind = "application/vnd.docker.distribution.manifest.v2+json";
    let foreign = manifest("application/vnd.docker.image.rootfs.foreign.diff.tar.gzip");
    let config = foreign.split("\"digest\":\"").nth(1).map(|rest| rest[..71].to_owned()).expect("a digest");
    let config: &'static str = Box::leak(config.into_boxed_str());
    let old = r#"{"schemaVersion":1,"name":"odd","tag":"old","fsLayers":[],"history":[]}"#;
    let address = odd_registry(vec![
        (config, "application/octet-stream", CONFIG.to_owned()),
        ("/foreign", kind, foreign),
        ("/strange", kind, manifest("application/vnd.example.layer")),
        ("/old", "application/vnd.docker.distribution.manifest.v1+prettyjws", old.to_owned()),
    ]);
    for (tag, words) in [
        ("foreign", "is a foreign one"),
        ("strange", r#"layers of type "application/vnd.example.layer" are not supported"#),
        ("old", "manifest schema version 1 is not supported"),
    ] {
        let error = host.type_in(&format!("pull {address}/odd:{tag}")).fails(1);
        assert!(error.contains(words), "{tag}: {error}");
    }
    assert_eq!(host.type_in("images -aq").ok(), "");
}
