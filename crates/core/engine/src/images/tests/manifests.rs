//! What the names of an image stand for, platform by platform.

use super::*;

async fn tree(engine: &Engine) -> Vec<Summary> {
    list(engine, ListOptions { manifests: true, ..ListOptions::default() }).await.unwrap()
}

#[tokio::test]
async fn every_platform_is_told_with_its_sizes() {
    let (_dir, engine) = engine().await;
    let (bytes, target) = multi_platform();
    load_bytes(&engine, bytes.clone()).await.unwrap();
    let image = tree(&engine).await.remove(0);
    let manifests = image.manifests.clone().unwrap();
    let kinds: Vec<&str> = manifests.iter().map(|manifest| manifest.kind.as_str()).collect();
    // This one says of nothing that it is attested.
    assert_eq!(kinds, ["image", "image", "unknown"]);
    assert_eq!(image.descriptor.unwrap().digest, target);
    let blobs: i64 = members(&bytes)
        .iter()
        .filter(|(name, _)| name.starts_with("./blobs/"))
        .map(|(_, bytes)| bytes.len() as i64)
        .sum();
    assert_eq!(image.size, blobs + "s".len() as i64 + "host".len() as i64);
    for (manifest, (platform, unpacked)) in manifests.iter().zip([("linux/s390x", 1), ("", 4)]) {
        let data = manifest.image_data.as_ref().unwrap();
        assert!(manifest.available);
        assert!(platform.is_empty() || data.platform.as_ref().unwrap().to_string() == platform);
        assert_eq!((data.size.unpacked, manifest.size.total), (unpacked, manifest.size.content + unpacked));
        assert_eq!(data.containers, Vec::<String>::new());
    }
    assert_eq!(image.containers, 0);
    assert_eq!(listed(&engine, &[]).await[0].manifests, None, "only where it is asked for");
}

#[tokio::test]
async fn what_is_not_here_is_told_too() {
    let (_dir, engine) = engine().await;
    load_bytes(&engine, multi_platform().0).await.unwrap();
    let platform = "linux/s390x".parse::<Platform>().unwrap();
    let platforms = vec![serde_json::to_string(&platform).unwrap()];
    remove(&engine, "multi:1", RemoveOptions { platforms, ..RemoveOptions::default() }).await.unwrap();
    let manifests = tree(&engine).await.remove(0).manifests.unwrap();
    let told: Vec<(bool, bool)> =
        manifests.iter().map(|manifest| (manifest.available, manifest.size.content > 0)).collect();
    assert_eq!(told[..2], [(false, false), (true, true)]);
    assert_eq!(manifests[0].image_data.as_ref().unwrap().platform, Some(platform));
}

#[tokio::test]
async fn an_image_of_one_platform_is_a_tree_of_one() {
    let (_dir, engine) = engine().await;
    import_as(&engine, "one", &[("file", "12345")], &[]).await;
    let image = tree(&engine).await.remove(0);
    let manifests = image.manifests.unwrap();
    assert_eq!((manifests.len(), manifests[0].kind.as_str()), (1, "image"));
    let data = manifests[0].image_data.as_ref().unwrap();
    assert_eq!((data.size.unpacked, data.platform.clone()), (5, Some(Platform::host())));
    assert_eq!(image.size, manifests[0].size.total);
}

#[tokio::test]
async fn an_image_for_another_platform_has_the_name_that_leads_to_it() {
    let (_dir, engine) = engine().await;
    load_bytes(&engine, multi_platform().0).await.unwrap();
    tag(&engine, "multi:1", "other", "2").await.unwrap();
    let names =
        |list: Vec<Summary>| -> Vec<Vec<String>> { list.into_iter().map(|image| image.repo_tags).collect() };
    let both = ["multi:1".to_owned(), "other:2".to_owned()];
    assert_eq!(names(listed(&engine, &[]).await), [both.to_vec()]);
    let all = || ListOptions { all: true, ..ListOptions::default() };
    assert_eq!(names(list(&engine, all()).await.unwrap()), [both.to_vec(), both.to_vec()]);
    let mut one = all();
    one.filters.add("reference", "other");
    assert_eq!(names(list(&engine, one).await.unwrap()), [["other:2"], ["other:2"]]);
    let mut dangling = all();
    dangling.filters.add("dangling", "true");
    assert!(list(&engine, dangling).await.unwrap().is_empty());
    // The tree of the one has the other.
    assert_eq!(list(&engine, ListOptions { manifests: true, ..all() }).await.unwrap().len(), 1);
    for platform in ["", "linux/s390x"] {
        assert_eq!(inspect(&engine, "multi:1", platform).await.unwrap().repo_tags, both, "{platform:?}");
    }
    assert_eq!(history(&engine, "other:2", "linux/s390x").await.unwrap()[0].tags, both);
}
