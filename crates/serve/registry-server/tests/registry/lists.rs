//! end-8, and Docker's catalog.

use crate::client::{OCI_MANIFEST, World, world};
use serde_json::{Value, json};

async fn pages(world: &World, first: &str, field: &str) -> Vec<Vec<String>> {
    let mut pages = Vec::new();
    let mut next = Some(first.to_owned());
    while let Some(target) = next {
        let page = world.get(&target).await;
        assert_eq!(page.status, 200, "{target}");
        let entries = page.json()[field].as_array().unwrap().clone();
        pages.push(entries.iter().filter_map(Value::as_str).map(str::to_owned).collect());
        next = page.next_page();
    }
    pages
}

#[tokio::test]
async fn tags_in_order_and_in_pages() {
    let world = world().await;
    let document = world.push_image("a/b", "v10", b"layer").await;
    for tag in ["v2", "V1", "latest", "_x"] {
        assert_eq!(world.put("a/b", tag, OCI_MANIFEST, &document).await.status, 201);
    }
    let all = world.get("/v2/a/b/tags/list").await;
    assert_eq!(all.json(), json!({ "name": "a/b", "tags": ["V1", "_x", "latest", "v10", "v2"] }));
    assert_eq!(all.header("link"), None);
    let found = pages(&world, "/v2/a/b/tags/list?n=2", "tags").await;
    assert_eq!(found, [vec!["V1", "_x"], vec!["latest", "v10"], vec!["v2"]]);
    let after = world.get("/v2/a/b/tags/list?last=latest").await.json();
    assert_eq!(after["tags"], json!(["v10", "v2"]));
    let none = world.get("/v2/a/b/tags/list?n=0").await;
    assert_eq!((none.status, none.json()["tags"].clone()), (200, json!([])));
    let exact = world.get("/v2/a/b/tags/list?n=5").await;
    assert_eq!(exact.header("link"), None, "there is nothing behind the last");
    let unknown = world.get("/v2/nobody/tags/list").await;
    assert_eq!((unknown.status, unknown.code().as_str()), (404, "NAME_UNKNOWN"));
}

#[tokio::test]
async fn repositories_in_pages() {
    let world = world().await;
    for name in ["b", "a/c", "a", "a-b"] {
        world.push_blob(name, b"x").await;
    }
    let all = world.get("/v2/_catalog").await;
    assert_eq!(all.json(), json!({ "repositories": ["a", "a/c", "a-b", "b"] }));
    let found = pages(&world, "/v2/_catalog?n=3", "repositories").await;
    assert_eq!(found, [vec!["a", "a/c", "a-b"], vec!["b"]]);
    let found = pages(&world, "/v2/_catalog?n=1", "repositories").await;
    assert_eq!(found.len(), 4);
}

#[tokio::test]
async fn counts_that_are_none_or_huge() {
    let world = world().await;
    world.push_image("a", "v1", b"layer").await;
    for target in ["/v2/_catalog", "/v2/a/tags/list"] {
        for count in ["999999999", "99999999999999999999999"] {
            assert_eq!(world.get(&format!("{target}?n={count}")).await.status, 200, "{target} {count}");
        }
        for count in ["-1", "x", "1.5"] {
            let answer = world.get(&format!("{target}?n={count}")).await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (400, "PAGINATION_NUMBER_INVALID"),
                "{target} {count}"
            );
        }
        let answer = world.send("DELETE", target, &[], b"").await;
        assert_eq!((answer.status, answer.code().as_str()), (405, "UNSUPPORTED"), "{target}");
    }
}
