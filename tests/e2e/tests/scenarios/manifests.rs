//! Lists of images for several platforms, written down member by member (`manifest`).

use serde_json::Value;
use testkit::{DockerRegistry, Host};

in_every_mode! {
    lists_are_written_down_and_sent
    lists_that_are_refused
}

const LIST: &str = "127.0.0.1:5000/app:all";

/// Images for two platforms, each under a tag of its own.
fn images(host: &Host) {
    host.file("ctx/Dockerfile", "FROM scratch\nARG TARGETARCH\nCOPY file /$TARGETARCH\n");
    host.file("ctx/file", "file");
    for architecture in ["amd64", "arm64"] {
        let name = format!("127.0.0.1:5000/app:{architecture}");
        let platform = format!("linux/{architecture}");
        host.dhow(&["build", "-q", "--push", "--platform", &platform, "-t", &name, "ctx"]).ok();
    }
}

fn lists_are_written_down_and_sent(host: &Host) {
    let _registry = DockerRegistry::start(host);
    images(host);
    let manifest = |words: &str| host.type_in(&format!("manifest {words}"));
    let json = |words: &str| serde_json::from_str::<Value>(&manifest(words).ok()).unwrap();
    let created = manifest(&format!("create {LIST} 127.0.0.1:5000/app:amd64")).ok();
    assert_eq!(created, "Created manifest list 127.0.0.1:5000/app:all");
    manifest(&format!("create --amend {LIST} 127.0.0.1:5000/app:arm64")).ok();
    let list = json(&format!("inspect {LIST}"));
    assert_eq!(list["mediaType"], "application/vnd.oci.image.index.v1+json");
    let platforms = |list: &Value| {
        let members = list["manifests"].as_array().unwrap();
        members.iter().map(|member| member["platform"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(platforms(&list)[1], serde_json::json!({ "architecture": "arm64", "os": "linux" }));
    manifest(&format!(
        "annotate --variant v8 --os-features a,b --os-version 1.2 {LIST} 127.0.0.1:5000/app:arm64"
    ))
    .ok();
    let known = json(&format!("inspect -v {LIST}"));
    assert_eq!(known[1]["Descriptor"]["platform"]["variant"], "v8");
    assert_eq!(known[1]["Descriptor"]["platform"]["os.features"], serde_json::json!(["a", "b"]));
    assert!(known[1]["OCIManifest"]["layers"].is_array() && known[1].get("SchemaV2Manifest").is_none());

    let digest = manifest(&format!("push {LIST}")).ok();
    let shown = host.type_in(&format!("buildx imagetools inspect {LIST}")).ok();
    assert!(shown.contains(&digest) && shown.contains("linux/arm64/v8"), "{shown}");
    // What this user has written down comes first; without it the registry is asked.
    manifest(&format!("rm {LIST}")).ok();
    let sent = json(&format!("inspect {LIST}"));
    assert_eq!(platforms(&sent)[1]["os.version"], "1.2");
    let of_registry = json(&format!("inspect -v {LIST}"));
    assert_eq!(
        of_registry[0]["Ref"],
        format!("{LIST}@{}", of_registry[0]["Descriptor"]["digest"].as_str().unwrap())
    );
    assert_eq!(json("inspect 127.0.0.1:5000/app:amd64")["schemaVersion"], 2);

    // Members come from other repositories too, and are brought along.
    manifest("create 127.0.0.1:5000/other:x 127.0.0.1:5000/app:amd64").ok();
    let pushed = manifest("push --purge 127.0.0.1:5000/other:x").ok();
    assert!(pushed.starts_with("Pushed ref 127.0.0.1:5000/other@sha256:"), "{pushed}");
    assert_eq!(pushed.lines().count(), 2, "{pushed}");
    assert_eq!(host.type_in("pull -q 127.0.0.1:5000/other:x").ok(), "127.0.0.1:5000/other:x");
    assert!(
        manifest("rm 127.0.0.1:5000/other:x").fails(1).contains("No such manifest: 127.0.0.1:5000/other:x")
    );
}

fn lists_that_are_refused(host: &Host) {
    let _registry = DockerRegistry::start(host);
    images(host);
    host.type_in(&format!("manifest create {LIST} 127.0.0.1:5000/app:amd64")).ok();
    host.type_in(&format!("manifest push {LIST}")).ok();
    for (words, want) in [
        (
            format!("create {LIST} 127.0.0.1:5000/app:arm64"),
            "refusing to amend an existing manifest list with no --amend flag",
        ),
        (
            format!("create 127.0.0.1:5000/b:x 127.0.0.1:5000/app:amd64 {LIST}"),
            "127.0.0.1:5000/app:all is a manifest list",
        ),
        (
            "create 127.0.0.1:5000/b:x 127.0.0.1:5000/app:nope".to_owned(),
            "no such manifest: 127.0.0.1:5000/app:nope",
        ),
        ("create 127.0.0.1:5000/b:x UPPER".to_owned(), "must be lowercase"),
        ("create 127.0.0.1:5000/b:x".to_owned(), "requires at least 2 arguments"),
        (
            format!("annotate --arch bogus {LIST} 127.0.0.1:5000/app:amd64"),
            "unsupported os/arch combination: linux/bogus",
        ),
        (
            format!("annotate {LIST} 127.0.0.1:5000/app:arm64"),
            "manifest for image 127.0.0.1:5000/app:arm64 does not exist in 127.0.0.1:5000/app:all",
        ),
        ("push nothing".to_owned(), "No such manifest: docker.io/library/nothing:latest"),
        ("rm nothing".to_owned(), "No such manifest: docker.io/library/nothing:latest"),
        ("inspect 127.0.0.1:5000/app:nope".to_owned(), "no such manifest: 127.0.0.1:5000/app:nope"),
    ] {
        let refused = host.type_in(&format!("manifest {words}")).fails(1);
        assert!(refused.contains(want), "{words}: {refused}");
    }
    // What failed half-way has written nothing down.
    assert!(host.type_in("manifest push 127.0.0.1:5000/b:x").fails(1).contains("No such manifest"));
}
