//! end-12.

use crate::client::{CONFIG, OCI_INDEX, OCI_MANIFEST, World, manifest, sha256, world};
use serde_json::{Value, json};

async fn attach(world: &World, subject: &str, kind: Option<&str>, note: &str) -> String {
    let config = CONFIG;
    let mut document = manifest(config, b"layer");
    document["subject"] = json!({ "mediaType": OCI_MANIFEST, "digest": subject, "size": 7 });
    document["annotations"] = json!({ "note": note });
    if let Some(kind) = kind {
        document["artifactType"] = json!(kind);
    }
    let document = document.to_string().into_bytes();
    let digest = sha256(&document);
    let answer = world.put("a", &digest, OCI_MANIFEST, &document).await;
    assert_eq!((answer.status, answer.header("oci-subject")), (201, Some(subject)));
    digest
}

fn digests(list: &Value) -> Vec<&str> {
    list["manifests"].as_array().unwrap().iter().filter_map(|item| item["digest"].as_str()).collect()
}

#[tokio::test]
async fn who_refers_to_a_manifest_is_listed() {
    let world = world().await;
    let subject = sha256(&world.push_image("a", "v1", b"layer").await);
    let target = format!("/v2/a/referrers/{subject}");
    let empty = world.get(&target).await;
    assert_eq!((empty.status, empty.header("content-type")), (200, Some(OCI_INDEX)));
    assert_eq!(empty.json(), json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] }));
    let sbom = attach(&world, &subject, Some("application/spdx+json"), "sbom").await;
    let image = attach(&world, &subject, None, "image").await;
    let list = world.get(&target).await.json();
    let mut all = [sbom.as_str(), image.as_str()];
    all.sort_unstable();
    assert_eq!(digests(&list), all);
    let entry = list["manifests"].as_array().unwrap().iter().find(|item| item["digest"] == sbom).unwrap();
    assert_eq!(entry["artifactType"], "application/spdx+json");
    assert_eq!(entry["annotations"]["note"], "sbom");
    assert_eq!(entry["mediaType"], OCI_MANIFEST);
    let filtered = world.get(&format!("{target}?artifactType=application%2Fspdx%2Bjson")).await;
    assert_eq!(filtered.header("oci-filters-applied"), Some("artifactType"));
    assert_eq!(digests(&filtered.json()), [sbom.as_str()]);
    // Without a type of its own it has its configuration's.
    let kind = "application%2Fvnd.oci.image.config.v1%2Bjson";
    let filtered = world.get(&format!("{target}?artifactType={kind}")).await;
    assert_eq!(digests(&filtered.json()), [image.as_str()]);
    assert_eq!(world.delete(&format!("/v2/a/manifests/{sbom}")).await.status, 202);
    assert_eq!(digests(&world.get(&target).await.json()), [image.as_str()]);
}

#[tokio::test]
async fn what_is_unknown_has_no_referrers() {
    let world = world().await;
    for target in ["/v2/a/referrers/", "/v2/never/seen/referrers/"] {
        let answer = world.get(&format!("{target}{}", sha256(b"x"))).await;
        assert_eq!((answer.status, answer.json()["manifests"].clone()), (200, json!([])), "{target}");
    }
    let answer = world.get("/v2/a/referrers/nonsense").await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "DIGEST_INVALID"));
}

#[tokio::test]
async fn a_subject_may_come_later_and_many_come_in_pages() {
    let world = world().await;
    world.push_image("a", "v1", b"layer").await;
    let subject = sha256(b"not there yet");
    let mut all = Vec::new();
    for number in 0..5 {
        all.push(attach(&world, &subject, Some("x/y"), &number.to_string()).await);
    }
    all.sort();
    let mut found = Vec::new();
    let mut next = Some(format!("/v2/a/referrers/{subject}?n=2&artifactType=x/y"));
    while let Some(target) = next {
        let page = world.get(&target).await;
        let list = page.json();
        assert!(digests(&list).len() <= 2);
        found.extend(digests(&list).into_iter().map(str::to_owned));
        next = page.next_page();
    }
    assert_eq!(found, all);
}
