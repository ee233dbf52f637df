//! Archives that cost more than they should.

use std::time::Duration;

use super::*;

/// An archive of a layout with these documents as blobs, and `top` as its index.
fn layout(blobs: &[Vec<u8>], top: &Index) -> Vec<u8> {
    let mut packer = Packer::new(Vec::new());
    let mut add =
        |name: &str, bytes: &[u8]| packer.append_bytes(&Entry::file(name, 0o644, 0), bytes).unwrap();
    add("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
    add("index.json", &serde_json::to_vec(top).unwrap());
    for blob in blobs {
        add(&format!("blobs/sha256/{}", Digest::sha256(blob).hex()), blob);
    }
    packer.finish().unwrap()
}

/// An index that names the same document again and again.
fn wide(media_type: &str, document: &[u8]) -> Vec<u8> {
    serde_json::to_vec(&Index::new(vec![Descriptor::of(media_type, document); 2000])).unwrap()
}

#[tokio::test]
async fn an_index_of_the_same_index_a_thousand_times_is_looked_at_once() {
    let (_dir, engine) = engine().await;
    let layer = tar(&[("a", "1")]);
    let config = config_of(&[&layer]);
    let config_descriptor = Descriptor::of(media_types::OCI_CONFIG, &config);
    let layers = vec![Descriptor::of(media_types::OCI_LAYER, &layer)];
    let manifest = serde_json::to_vec(&Manifest::new(config_descriptor, layers)).unwrap();
    let first = wide(media_types::OCI_MANIFEST, &manifest);
    let second = wide(media_types::OCI_INDEX, &first);
    let third = wide(media_types::OCI_INDEX, &second);
    let top = |document: &[u8]| {
        let mut top = Descriptor::of(media_types::OCI_INDEX, document);
        top.annotations.insert("io.containerd.image.name".into(), "docker.io/library/wide:1".into());
        Index::new(vec![top])
    };

    let bytes = layout(
        &[manifest.clone(), config.clone(), layer.clone(), first.clone(), second.clone()],
        &top(&second),
    );
    let loading = load_bytes(&engine, bytes);
    let lines = tokio::time::timeout(Duration::from_secs(60), loading).await.expect("in time").unwrap();
    assert_eq!(lines, ["Loaded image: wide:1\n"]);
    // So it is by all who look for what the name leads to.
    let store = engine.store();
    store.gc().unwrap();
    assert!(store.check(false).unwrap().is_empty());
    assert_eq!(listed(&engine, &[]).await[0].repo_tags, ["wide:1"]);
    let saved = members(&saved(&engine, &["wide:1"]).await.unwrap());
    let is_blob = |name: &&String| name.rsplit('/').next().is_some_and(|name| name.len() == 64);
    assert_eq!(saved.keys().filter(is_blob).count(), 5);
    rmi(&engine, "wide:1", false).await.unwrap();
    assert!(store.images().unwrap().is_empty() && store.blobs().unwrap().is_empty());

    let fourth = wide(media_types::OCI_INDEX, &third);
    let bytes = layout(&[manifest, config, layer, first, second, third, fourth.clone()], &top(&fourth));
    let loading = load_bytes(&engine, bytes);
    let error = tokio::time::timeout(Duration::from_secs(60), loading).await.expect("in time").unwrap_err();
    assert_eq!(error.kind, Kind::InvalidParameter, "{error}");
}

#[tokio::test]
async fn an_index_that_is_named_as_a_manifest_is_refused() {
    let (_dir, engine) = engine().await;
    let inner = serde_json::to_vec(&Index::new(Vec::new())).unwrap();
    let outer = wide(media_types::OCI_MANIFEST, &inner);
    let top = Index::new(vec![Descriptor::of(media_types::OCI_INDEX, &outer)]);
    let error = load_bytes(&engine, layout(&[inner, outer], &top)).await.unwrap_err();
    assert!(error.message.contains("is an index, and is named as"), "{error}");
}

/// A few megabytes that decompress to more than a hundred thousand.
fn bomb() -> Vec<u8> {
    let mut bomb = compressed(Compression::Zstd, &tar(&[("manifest.json", "[]")]));
    let zeros = compressed(Compression::Zstd, &vec![0; 64 << 20]);
    for _ in 0..2000 {
        bomb.extend(&zeros);
    }
    bomb
}

#[tokio::test]
async fn a_bomb_ends_with_its_client() {
    let (_dir, engine) = engine().await;
    let bomb = bomb();
    assert!(bomb.len() < 32 << 20, "{} bytes", bomb.len());
    for import_it in [false, true] {
        let (sender, receiver) = mpsc::channel(64);
        let (engine, body) = (engine.clone(), body(bomb.clone()));
        let work = tokio::spawn(async move {
            let options = ImportOptions { from_src: "-".into(), ..ImportOptions::default() };
            match import_it {
                true => import(&engine, options, body, sender).await,
                false => load(&engine, body, false, Vec::new(), sender).await,
            }
        });
        drop(receiver);
        let outcome = tokio::time::timeout(Duration::from_secs(30), work).await.expect("it ends").unwrap();
        assert!(outcome.is_err());
    }
    assert!(listed(&engine, &[]).await.is_empty());
}

#[tokio::test]
async fn an_archive_of_images_has_no_devices() {
    let (_dir, engine) = engine().await;
    let mut packer = Packer::new(Vec::new());
    let disk = Entry { device: (8, 0), ..Entry::new("disk", archive::Kind::Block, 0o666) };
    packer.append(&disk).unwrap();
    let error = load_bytes(&engine, packer.finish().unwrap()).await.unwrap_err();
    assert_eq!(error.kind, Kind::InvalidParameter);
    assert!(error.message.contains("is a device"), "{error}");
}
