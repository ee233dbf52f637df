//! What requests and answers of images and containers say, besides names.

use super::world;

#[tokio::test]
async fn what_cannot_be_started_is_not_made() {
    let world = world().await;
    world.image().await;
    for (wrong, words) in [
        (r#""MacAddress":"02:42:zz""#, "invalid MAC address: 02:42:zz"),
        (r#""HostConfig":{"CgroupParent":"a/../b"}"#, "invalid cgroup parent"),
    ] {
        let body = format!(r#"{{"Image":"base","Cmd":["true"],{wrong}}}"#);
        let answer = world.post("/containers/create", &body).await;
        assert_eq!(answer.status, 400, "{}", answer.body);
        assert!(answer.body.contains(words), "{}", answer.body);
    }
    assert_eq!(world.get("/containers/json?all=1").await.body.trim(), "[]");
}

#[tokio::test]
async fn older_clients_are_told_what_an_image_was_made_from() {
    let world = world().await;
    world.image().await;
    let old = world.get("/v1.44/images/base/json").await.body;
    assert!(old.contains(r#""Container":"","ContainerConfig":{"Hostname":"""#), "{old}");
    let new = world.get("/v1.45/images/base/json").await.body;
    assert!(!new.contains(r#""Container"#), "{new}");
}
