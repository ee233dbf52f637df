//! end-3, end-7, end-9.

use crate::client::{CONFIG, OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, manifest, sha256, sha512, world, world_of};
use serde_json::json;

const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

#[tokio::test]
async fn a_manifest_is_what_was_pushed() {
    let world = world().await;
    let document = world.push_image("a/b", "v1", b"layer").await;
    let digest = sha256(&document);
    for reference in ["v1", &digest] {
        let answer = world.get(&format!("/v2/a/b/manifests/{reference}")).await;
        assert_eq!((answer.status, &answer.body), (200, &document));
        assert_eq!(answer.header("content-type"), Some(OCI_MANIFEST));
        assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
        let head = world.head(&format!("/v2/a/b/manifests/{reference}")).await;
        assert_eq!((head.status, head.body.len()), (200, 0));
        assert_eq!(head.header("content-length"), Some(document.len().to_string().as_str()));
        assert_eq!(head.header("docker-content-digest"), Some(digest.as_str()));
    }
    let etag = format!("\"{digest}\"");
    let same = world.send("GET", "/v2/a/b/manifests/v1", &[("If-None-Match", &etag)], b"").await;
    assert_eq!((same.status, same.body.len()), (304, 0));
    for target in ["/v2/a/b/manifests/v2", "/v2/a/manifests/v1", "/v2/a/b/manifests/.INVALID"] {
        let answer = world.get(target).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "MANIFEST_UNKNOWN"), "{target}");
        assert_eq!(world.head(target).await.status, 404, "{target}");
    }
    let answer = world.get("/v2/A/manifests/v1").await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "NAME_INVALID"));
}

#[tokio::test]
async fn a_push_says_where_it_is() {
    let world = world().await;
    let document = world.push_image("a", "v1", b"layer").await;
    let digest = sha256(&document);
    let answer = world.put("a", &format!("{digest}?tag=v2&tag=v3"), OCI_MANIFEST, &document).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("location"), Some(format!("/v2/a/manifests/{digest}").as_str()));
    assert_eq!(answer.header("docker-content-digest"), Some(digest.as_str()));
    assert_eq!(answer.headers("oci-tag").collect::<Vec<_>>(), ["v2", "v3"]);
    assert_eq!(world.get("/v2/a/tags/list").await.json()["tags"], json!(["v1", "v2", "v3"]));
    let long = sha512(&document);
    assert_eq!(world.put("a", &long, OCI_MANIFEST, &document).await.status, 201);
    let answer = world.get(&format!("/v2/a/manifests/{long}")).await;
    assert_eq!((answer.status, answer.header("docker-content-digest")), (200, Some(long.as_str())));
    let wrong = world.put("a", &sha256(b"x"), OCI_MANIFEST, &document).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "DIGEST_INVALID"));
    let wrong = world.put("a", ".INVALID", OCI_MANIFEST, &document).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "TAG_INVALID"));
    let wrong = world.put("a", &format!("{digest}?tag=.x"), OCI_MANIFEST, &document).await;
    assert_eq!((wrong.status, wrong.code().as_str()), (400, "TAG_INVALID"));
}

#[tokio::test]
async fn a_tag_moves() {
    let world = world().await;
    let first = world.push_image("a", "v1", b"one").await;
    let second = world.push_image("a", "v1", b"two").await;
    assert_eq!(world.get("/v2/a/manifests/v1").await.body, second);
    assert_eq!(world.get(&format!("/v2/a/manifests/{}", sha256(&first))).await.body, first);
}

#[tokio::test]
async fn what_a_manifest_names_must_be_there() {
    let world = world().await;
    let document = manifest(b"{}", b"layer");
    let push = async |document: &serde_json::Value| {
        let answer = world.put("a", "v1", OCI_MANIFEST, document.to_string().as_bytes()).await;
        (answer.status, if answer.status == 201 { String::new() } else { answer.code() })
    };
    let lacking = (400, "MANIFEST_BLOB_UNKNOWN".to_owned());
    assert_eq!(push(&document).await, lacking);
    world.push_blob("a", b"{}").await;
    world.push_blob("b", b"layer").await;
    assert_eq!(push(&document).await, lacking, "another repository's blob does not count");
    let mut foreign = document.clone();
    foreign["layers"][0]["urls"] = json!(["https://example.com/layer"]);
    assert_eq!(push(&foreign).await.0, 201);
    world.push_blob("a", b"layer").await;
    let mut large = document.clone();
    large["layers"][0]["size"] = json!(6);
    assert_eq!(push(&large).await, (400, "SIZE_INVALID".to_owned()));
    assert_eq!(push(&document).await.0, 201);
    let member = json!({ "mediaType": OCI_MANIFEST, "digest": sha256(b"absent"), "size": 6 });
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [member] });
    let answer = world.put("a", "v2", OCI_INDEX, index.to_string().as_bytes()).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "MANIFEST_BLOB_UNKNOWN"));
}

#[tokio::test]
async fn indexes_and_dockers_types() {
    let world = world().await;
    let document = world.push_image("a", "one", b"layer").await;
    let mut docker = manifest(CONFIG, b"layer");
    docker["mediaType"] = json!(DOCKER_MANIFEST);
    let docker = docker.to_string().into_bytes();
    assert_eq!(world.put("a", "two", DOCKER_MANIFEST, &docker).await.status, 201);
    let describe = |kind: &str, document: &[u8]| json!({ "mediaType": kind, "digest": sha256(document), "size": document.len() });
    for (tag, kind, members) in [
        ("oci", OCI_INDEX, vec![describe(OCI_MANIFEST, &document)]),
        ("docker", DOCKER_INDEX, vec![describe(DOCKER_MANIFEST, &docker)]),
        ("empty", OCI_INDEX, vec![]),
    ] {
        let index = json!({ "schemaVersion": 2, "mediaType": kind, "manifests": members }).to_string();
        assert_eq!(world.put("a", tag, kind, index.as_bytes()).await.status, 201, "{tag}");
        let answer = world.get(&format!("/v2/a/manifests/{tag}")).await;
        assert_eq!((answer.header("content-type"), answer.body.as_slice()), (Some(kind), index.as_bytes()));
    }
    let silent = json!({ "schemaVersion": 2, "manifests": [] }).to_string();
    for kind in [OCI_INDEX, DOCKER_INDEX] {
        assert_eq!(world.put("a", "silent", kind, silent.as_bytes()).await.status, 201);
        assert_eq!(world.get("/v2/a/manifests/silent").await.header("content-type"), Some(kind));
    }
}

#[tokio::test]
async fn documents_that_are_no_manifests() {
    let world = world().await;
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let both = json!({ "schemaVersion": 2, "config": {}, "layers": [], "manifests": [] }).to_string();
    let old = json!({ "schemaVersion": 1, "fsLayers": [] }).to_string();
    let liar = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "config": {}, "layers": [] }).to_string();
    let evil = json!({ "schemaVersion": 2, "layers": [], "config": {
        "mediaType": OCI_CONFIG, "digest": "sha256:../../../etc/passwd", "size": 1 } })
    .to_string();
    for document in ["", "{}", "null", "nonsense", "{\"schemaVersion\":2}", &deep, &both, &old, &liar, &evil]
    {
        let answer = world.put("a", "v1", OCI_MANIFEST, document.as_bytes()).await;
        let shown: String = document.chars().take(60).collect();
        assert_eq!((answer.status, answer.code().as_str()), (400, "MANIFEST_INVALID"), "{shown}");
    }
    let document = world.push_image("a", "v1", b"layer").await;
    for kind in [OCI_INDEX, DOCKER_MANIFEST, "application/json", "text/html"] {
        let answer = world.put("a", "v2", kind, &document).await;
        assert_eq!((answer.status, answer.code().as_str()), (400, "MANIFEST_INVALID"), "{kind}");
    }
    assert_eq!(world.get("/v2/a/tags/list").await.json()["tags"], json!(["v1"]));
}

#[tokio::test]
async fn a_manifest_has_a_largest_size() {
    let world = world().await;
    let document = vec![b' '; (4 << 20) + 1];
    let answer = world.put("a", "v1", OCI_MANIFEST, &document).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "SIZE_INVALID"));
    let head = "PUT /v2/a/manifests/v1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
    let answer = world.raw((head.to_owned() + &chunk.repeat(6)).as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 413"), "a length that is not said counts as well");
}

#[tokio::test]
async fn the_client_says_what_it_takes() {
    let world = world().await;
    let document = world.push_image("a", "v1", b"layer").await;
    let ask = async |reference: &str, accept: &str| {
        world.send("GET", &format!("/v2/a/manifests/{reference}"), &[("Accept", accept)], b"").await
    };
    for accept in [OCI_MANIFEST, "*/*", "application/json, application/vnd.oci.image.manifest.v1+json;q=0.5"]
    {
        assert_eq!(ask("v1", accept).await.status, 200, "{accept}");
    }
    let answer = ask("v1", DOCKER_MANIFEST).await;
    assert_eq!((answer.status, answer.code().as_str()), (404, "MANIFEST_UNKNOWN"));
    assert!(String::from_utf8_lossy(&answer.body).contains(OCI_MANIFEST), "{answer:?}");
    assert_eq!(ask(&sha256(&document), DOCKER_MANIFEST).await.status, 200, "by digest it is what it is");
}

#[tokio::test]
async fn manifests_and_tags_are_deleted() {
    let world = world().await;
    let document = world.push_image("a", "v1", b"layer").await;
    let digest = sha256(&document);
    assert_eq!(world.put("a", "v2", OCI_MANIFEST, &document).await.status, 201);
    world.push_image("a", "other", b"other").await;
    assert_eq!(world.delete("/v2/a/manifests/v1").await.status, 202);
    assert_eq!(world.get("/v2/a/manifests/v1").await.status, 404);
    assert_eq!(world.get("/v2/a/manifests/v2").await.status, 200, "a tag alone went");
    assert_eq!(world.delete(&format!("/v2/a/manifests/{digest}")).await.status, 202);
    for target in ["/v2/a/manifests/v2", &format!("/v2/a/manifests/{digest}")] {
        let answer = world.get(target).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "MANIFEST_UNKNOWN"), "{target}");
        let answer = world.delete(target).await;
        assert_eq!((answer.status, answer.code().as_str()), (404, "MANIFEST_UNKNOWN"), "{target}");
    }
    assert_eq!(world.get("/v2/a/tags/list").await.json()["tags"], json!(["other"]));
}

#[tokio::test]
async fn nothing_is_changed_in_a_registry_that_is_read_only() {
    let world = world_of(|config| config.read_only = true).await;
    for (method, target) in [
        ("POST", "/v2/a/blobs/uploads/".to_owned()),
        ("PUT", "/v2/a/manifests/v1".to_owned()),
        ("DELETE", "/v2/a/manifests/v1".to_owned()),
        ("DELETE", format!("/v2/a/blobs/{}", sha256(b""))),
    ] {
        let answer = world.send(method, &target, &[], b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (405, "UNSUPPORTED"), "{method} {target}");
    }
    assert_eq!(world.get("/v2/").await.status, 200);
}
