//! Pages for people.

use crate::client::{OCI_CONFIG, OCI_INDEX, OCI_MANIFEST, manifest, sha256, world};
use serde_json::json;

#[tokio::test]
async fn what_is_there_is_shown() {
    let world = world().await;
    let empty = world.get("/").await;
    assert_eq!((empty.status, empty.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(String::from_utf8_lossy(&empty.body).contains("docker push"));
    let document = world.push_image("team/app", "v1", b"layer").await;
    let front = String::from_utf8(world.get("/").await.body).unwrap();
    assert!(front.contains("<a href=\"/repository/team/app\">team/app</a>"), "{front}");
    let tags = String::from_utf8(world.get("/repository/team/app").await.body).unwrap();
    assert!(tags.contains("<a href=\"/image/team/app:v1\">v1</a>"), "{tags}");
    assert!(
        tags.contains("linux/amd64") && tags.contains(&sha256(&document)) && tags.contains("83 B"),
        "{tags}"
    );
    let image = String::from_utf8(world.get("/image/team/app:v1").await.body).unwrap();
    let pull = format!("docker pull {}/team/app:v1", world.served.address);
    for text in
        [pull.as_str(), &sha256(b"layer"), "<caption>Layers", "5 B", "scope=\"col\"", "lang=\"en\"", "<main"]
    {
        assert!(image.contains(text), "{text}: {image}");
    }
    let member = json!({ "mediaType": OCI_MANIFEST, "digest": sha256(&document), "size": document.len(),
        "platform": { "os": "linux", "architecture": "arm64" } });
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [member] }).to_string();
    assert_eq!(world.put("team/app", "all", OCI_INDEX, index.as_bytes()).await.status, 201);
    let all = String::from_utf8(world.get("/image/team/app:all").await.body).unwrap();
    assert!(
        all.contains("linux/arm64") && all.contains(&format!("/image/team/app@{}", sha256(&document))),
        "{all}"
    );
    assert_eq!(world.get(&format!("/image/team/app@{}", sha256(&document))).await.status, 200);
    for target in ["/repository/nobody", "/image/team/app:none", "/image/team/app"] {
        assert_eq!(world.get(target).await.status, 404, "{target}");
    }
    assert_eq!(world.send("POST", "/", &[], b"").await.status, 405);
}

#[tokio::test]
async fn what_images_say_is_only_text() {
    let world = world().await;
    let evil = "<script>alert(1)</script>";
    let config = json!({ "architecture": evil, "os": "linux\"><img src=x>", "created": evil,
        "rootfs": { "type": "layers", "diff_ids": [] }, "history": [{ "created_by": evil }] })
    .to_string();
    world.push_blob("a", config.as_bytes()).await;
    world.push_blob("a", b"layer").await;
    let mut document = manifest(config.as_bytes(), b"layer");
    document["layers"][0]["mediaType"] = json!(evil);
    document["config"]["mediaType"] = json!(OCI_CONFIG);
    let answer = world.put("a", "v1", OCI_MANIFEST, document.to_string().as_bytes()).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    for target in ["/image/a:v1", "/repository/a", "/repository/a?after=%3Cscript%3E", "/?after=%3Cscript%3E"]
    {
        let answer = world.get(target).await;
        let text = String::from_utf8_lossy(&answer.body);
        assert_eq!(answer.status, 200, "{target}");
        assert!(!text.contains("<script") && !text.contains("<img"), "{target}: {text}");
        let policy = answer.header("content-security-policy").unwrap();
        assert!(
            policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'none'"),
            "{policy}"
        );
    }
}
