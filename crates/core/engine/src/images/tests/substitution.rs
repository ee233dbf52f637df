//! Registries whose documents are well formed and don't fit together: nothing of them stays, and nothing gets a name.

use super::pull::{Content, registry};
use super::*;
use api::auth::AuthConfig;
use api::images::PullOptions;
use std::time::Duration;

/// An honest image of one layer.
struct Parts {
    layer: Vec<u8>,
    config: ImageConfig,
    manifest: Manifest,
}

fn parts() -> Parts {
    let layer = tar(&[("a", "1")]);
    let config: ImageConfig = serde_json::from_slice(&config_of(&[&layer])).unwrap();
    let bytes = serde_json::to_vec(&config).unwrap();
    let manifest = Manifest::new(
        Descriptor::of(media_types::OCI_CONFIG, &bytes),
        vec![Descriptor::of(media_types::OCI_LAYER, &layer)],
    );
    Parts { layer, config, manifest }
}

/// What a registry has that serves `document` under the tag and these blobs under these digests.
fn serving(media_type: &str, document: &[u8], blobs: &[(&Digest, &[u8])]) -> Content {
    let mut content = Content::new();
    for name in ["1".to_owned(), Digest::sha256(document).to_string()] {
        content.insert(format!("/v2/app/manifests/{name}"), (media_type.into(), document.to_vec()));
    }
    for (digest, bytes) in blobs {
        let answer = ("application/octet-stream".to_owned(), bytes.to_vec());
        content.insert(format!("/v2/app/blobs/{digest}"), answer);
    }
    content
}

/// A registry that serves an image of these parts; `layer` is what it gives for the layer's digest.
fn image(parts: &Parts, layer: &[u8]) -> Content {
    let config = serde_json::to_vec(&parts.config).unwrap();
    let mut manifest = parts.manifest.clone();
    if manifest.config.media_type == media_types::OCI_CONFIG {
        manifest.config = Descriptor::of(media_types::OCI_CONFIG, &config);
    }
    let mut blobs = vec![(&manifest.config.digest, &config[..])];
    blobs.extend(manifest.layers.iter().map(|wanted| (&wanted.digest, layer)));
    serving(media_types::OCI_MANIFEST, &serde_json::to_vec(&manifest).unwrap(), &blobs)
}

fn index_of(members: Vec<Descriptor>) -> Vec<u8> {
    serde_json::to_vec(&Index::new(members)).unwrap()
}

fn member(media_type: &str, document: &[u8]) -> Descriptor {
    Descriptor { platform: Some(Platform::host()), ..Descriptor::of(media_type, document) }
}

/// Indexes in an index, and one that names something else than it leads to.
fn indexes() -> Vec<(&'static str, Content, &'static str)> {
    let honest = parts();
    let manifest = serde_json::to_vec(&honest.manifest).unwrap();
    let below = |top: &[u8], documents: &[(&str, &[u8])]| {
        let mut content = serving(media_types::OCI_INDEX, top, &[]);
        content.append(&mut image(&honest, &honest.layer));
        content.insert("/v2/app/manifests/1".into(), (media_types::OCI_INDEX.into(), top.to_vec()));
        for (media_type, document) in documents {
            let path = format!("/v2/app/manifests/{}", Digest::sha256(document));
            content.insert(path, ((*media_type).into(), document.to_vec()));
        }
        content
    };
    let mut levels = vec![index_of(vec![member(media_types::OCI_MANIFEST, &manifest)])];
    for level in 0..4 {
        levels.push(index_of(vec![member(media_types::OCI_INDEX, &levels[level])]));
    }
    let served: Vec<(&str, &[u8])> =
        levels.iter().map(|level| (media_types::OCI_INDEX, &level[..])).collect();
    let deep = below(&levels[4], &served);

    let larger = Descriptor { size: 7, ..member(media_types::OCI_MANIFEST, &manifest) };
    let posing = index_of(vec![member(media_types::OCI_MANIFEST, &levels[0])]);
    let other = serde_json::to_vec_pretty(&honest.manifest).unwrap();
    let mut swapped = below(&levels[0], &[]);
    for (path, (_, bytes)) in &mut swapped {
        if path.ends_with(Digest::sha256(&manifest).as_str()) {
            bytes.clone_from(&other);
        }
    }
    vec![
        ("an index five deep", deep, "is an index in an index"),
        ("a member of another size", below(&index_of(vec![larger]), &[]), "instead of 7"),
        ("an index that poses as a manifest", below(&posing, &served), "does not fit"),
        ("a member of another content", swapped, "does not match its digest"),
    ]
}

fn cases() -> Vec<(&'static str, Content, &'static str)> {
    let honest = parts();
    let change = |change: fn(&mut Parts)| {
        let mut parts = parts();
        change(&mut parts);
        image(&parts, &parts.layer)
    };
    let mut cases = indexes();
    cases.extend([
        ("another layer", image(&honest, &tar(&[("a", "2")])), "does not match its digest"),
        (
            "a layer that goes on",
            image(&honest, &[honest.layer.clone(), vec![0; 4096]].concat()),
            "instead of",
        ),
        (
            "a layer of another diff id",
            change(|parts| parts.config.rootfs.diff_ids = vec![Digest::sha256(b"x")]),
            "sha256:",
        ),
        (
            "more diff ids than layers",
            change(|parts| {
                let first = parts.config.rootfs.diff_ids[0].clone();
                parts.config.rootfs.diff_ids.push(first);
            }),
            "2",
        ),
        ("a layer of a size that it hasn't", change(|parts| parts.manifest.layers[0].size += 1), "bytes"),
        ("a layer of no end", change(|parts| parts.manifest.layers[0].size = u64::MAX), "bytes"),
        (
            "a layer of a type that is none",
            change(|parts| {
                parts.manifest.layers[0].media_type = media_types::OCI_MANIFEST.into();
            }),
            "not supported",
        ),
        (
            "a layer from elsewhere",
            change(|parts| {
                parts.manifest.layers[0].media_type = media_types::DOCKER_FOREIGN_LAYER.into();
                parts.manifest.layers[0].urls =
                    vec!["file:///etc/passwd".into(), "http://169.254.169.254/".into()];
            }),
            "not supported",
        ),
        (
            "a configuration too large",
            change(|parts| {
                parts.manifest.config.media_type = media_types::DOCKER_CONFIG.into();
                parts.manifest.config.size = (8 << 20) + 1;
            }),
            "larger than",
        ),
        (
            "a configuration in a configuration",
            {
                let deep = [b"{\"x\":".repeat(100_000), b"1".to_vec(), b"}".repeat(100_000)].concat();
                let manifest = Manifest::new(Descriptor::of(media_types::OCI_CONFIG, &deep), vec![]);
                let digest = manifest.config.digest.clone();
                serving(
                    media_types::OCI_MANIFEST,
                    &serde_json::to_vec(&manifest).unwrap(),
                    &[(&digest, &deep)],
                )
            },
            "read the configuration",
        ),
    ]);
    cases
}

#[tokio::test]
async fn what_does_not_fit_together_leaves_nothing() {
    let (dir, engine) = engine().await;
    let pull = async |content: Content| {
        let options = PullOptions {
            from_image: format!("127.0.0.1:{}/app", registry(content).await),
            tag: "1".into(),
            ..PullOptions::default()
        };
        let pulled = told(|sender| crate::images::pull(&engine, options, AuthConfig::default(), sender));
        tokio::time::timeout(Duration::from_secs(60), pulled).await.expect("it ends")
    };
    for (what, content, expected) in cases() {
        let error = pull(content).await.expect_err(what);
        assert!(error.message.contains(expected), "{what}: {error}");
        let left = std::fs::read_dir(dir.path().join("root/ingest")).unwrap().flatten().count();
        assert_eq!(left, 0, "{what}");
        let tags = engine.db().read(state::tags::all).unwrap();
        assert!(tags.is_empty(), "{what}");
    }
    assert!(listed(&engine, &[]).await.is_empty());
    engine.store().gc().unwrap();
    assert!(engine.store().blobs().unwrap().is_empty() && engine.store().layers().unwrap().is_empty());
    assert_eq!(engine.store().check(false).unwrap(), vec![]);
    // The honest one is taken.
    pull(image(&parts(), &parts().layer)).await.unwrap();
}

/// Where a layer's files are here, nobody needs its archive for them; yet it is what is saved and pushed.
#[tokio::test]
async fn an_archive_of_another_layer_is_refused_where_the_files_are_here() {
    let (_dir, engine) = engine().await;
    let pull = async |layer: &[u8], media_type: &str| {
        let mut parts = parts();
        parts.manifest.layers[0] = Descriptor::of(media_type, layer);
        let options = PullOptions {
            from_image: format!("127.0.0.1:{}/app", registry(image(&parts, layer)).await),
            tag: "1".into(),
            ..PullOptions::default()
        };
        told(|sender| crate::images::pull(&engine, options, AuthConfig::default(), sender)).await
    };
    let (good, evil) = (parts().layer, tar(&[("a", "2")]));
    pull(&good, media_types::OCI_LAYER).await.unwrap();
    let names = || engine.db().read(state::tags::all).unwrap().len();
    let before = names();
    for evil in [evil.clone(), compressed(Compression::Gzip, &evil)] {
        // The second time its bytes are here.
        for _ in 0..2 {
            let error = pull(&evil, media_types::OCI_LAYER_GZIP).await.unwrap_err();
            assert!(error.to_string().contains("layer has digest"), "{error}");
        }
    }
    assert_eq!(names(), before);
    // The same layer in another archive is no other layer.
    for _ in 0..2 {
        pull(&compressed(Compression::Zstd, &good), media_types::OCI_LAYER_ZSTD).await.unwrap();
    }
    let config = config_of(&[&good]);
    let error = load_bytes(&engine, legacy(&config, &[evil], &["app:evil"])).await.unwrap_err();
    assert!(error.to_string().contains("layer has digest"), "{error}");
    for archive in [compressed(Compression::Gzip, &good), compressed(Compression::Zstd, &good)] {
        let lines = load_bytes(&engine, legacy(&config, &[archive], &["app:good"])).await.unwrap();
        assert_eq!(lines, ["Loaded image: app:good\n"], "it is no other image");
    }
    assert_eq!(engine.store().check(false).unwrap(), vec![]);
}
