//! Archives of images: one platform of several, files in strange places, and what must not be believed.

use api::images::DeleteResponse;

use super::*;

async fn load_for(engine: &Engine, bytes: Vec<u8>, platforms: &[&str]) -> Result<Vec<String>> {
    let platforms = platforms.iter().map(|text| (*text).into()).collect();
    let messages = told(|sender| load(engine, body(bytes), false, platforms, sender)).await?;
    Ok(messages.into_iter().map(|message| message.stream).filter(|text| !text.is_empty()).collect())
}

async fn saved_for(engine: &Engine, name: &str, platforms: &[&str]) -> Result<Vec<u8>> {
    let platforms = platforms.iter().map(|text| (*text).into()).collect();
    let mut receiver = save(engine, vec![name.into()], platforms).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = receiver.recv().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes)
}

fn platforms_of(engine: &Engine) -> Vec<String> {
    let images = engine.store().images().unwrap();
    let mut found: Vec<_> =
        images.into_iter().map(|(_, image)| image.unwrap().config.platform().to_string()).collect();
    found.sort();
    found
}

#[tokio::test]
async fn one_platform_of_several_travels_alone() {
    let host = Platform::host().to_string();
    let (bytes, target) = multi_platform();
    let (_a, one) = engine().await;
    load_for(&one, bytes.clone(), &[]).await.unwrap();
    assert_eq!(platforms_of(&one).len(), 2);

    // Taken out when it is saved, or when it is loaded: the same either way, and the name means the same index.
    let json = r#"{"os":"linux","architecture":"s390x"}"#;
    let out = saved_for(&one, "multi:1", &[json]).await.unwrap();
    let list: serde_json::Value = serde_json::from_slice(&members(&out)["manifest.json"]).unwrap();
    assert_eq!(list.as_array().unwrap().len(), 1);
    for (bytes, wanted) in [(out, &[][..]), (bytes.clone(), &["linux/s390x"])] {
        let (_b, two) = engine().await;
        assert_eq!(load_for(&two, bytes, wanted).await.unwrap(), ["Loaded image: multi:1\n"]);
        assert_eq!(platforms_of(&two), ["linux/s390x"]);
        let tag = two.db().read(|tx| state::tags::get(tx, &Reference::parse("multi:1").unwrap()));
        assert_eq!(tag.unwrap().unwrap().target, target);
        let there = inspect(&two, "multi:1", "linux/s390x").await.unwrap();
        assert_eq!(there.id, inspect(&one, "multi:1", "linux/s390x").await.unwrap().id);
        assert!(inspect(&two, "multi:1", &host).await.is_err());
        assert_eq!(two.store().check(false).unwrap(), vec![]);
    }
    let error = saved_for(&one, "multi:1", &["linux/arm64/v8", "linux/riscv64"]).await.unwrap_err();
    assert_eq!(error.kind, Kind::NotFound, "{error}");
    let (_c, three) = engine().await;
    let error = load_for(&three, bytes, &["linux/riscv64"]).await.unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (Kind::NotFound, "the archive has no image for linux/riscv64")
    );
    assert!(three.store().blobs().unwrap().is_empty());
}

#[tokio::test]
async fn one_platform_of_several_is_removed_alone() {
    let (_dir, engine) = engine().await;
    load_for(&engine, multi_platform().0, &[]).await.unwrap();
    let take = |platform: &str| {
        let platforms = vec![platform.to_owned()];
        remove(&engine, "multi:1", RemoveOptions { platforms, ..RemoveOptions::default() })
    };
    let other = inspect(&engine, "multi:1", "linux/s390x").await.unwrap().id;
    assert_eq!(take("linux/riscv64").await.unwrap_err().kind, Kind::NotFound);
    let gone: Vec<DeleteResponse> = take("linux/s390x").await.unwrap();
    assert_eq!((gone.len(), &gone[0].deleted), (2, &other), "the image and its layer: {gone:?}");
    assert_eq!(platforms_of(&engine), [Platform::host().to_string()]);
    assert!(inspect(&engine, "multi:1", "linux/s390x").await.is_err());
    assert_eq!(inspect(&engine, "multi:1", "").await.unwrap().repo_tags, ["multi:1"]);
    assert_eq!(engine.store().check(false).unwrap(), vec![]);
    // The last one takes the name along.
    let gone = take(&Platform::host().to_string()).await.unwrap();
    assert_eq!(gone[0].untagged, "multi:1");
    assert!(engine.store().blobs().unwrap().is_empty() && engine.store().layers().unwrap().is_empty());
}

/// Whoever saves what is removed at the same moment has all of it, or is told that it is not there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_removed_while_it_is_saved_is_there_or_is_not() {
    let (_dir, engine) = engine().await;
    let layer = tar(&[("file", "content")]);
    let archive = with_layer(&config_of(&[&layer]), "l/layer.tar", |packer| {
        packer.append_bytes(&Entry::file("l/layer.tar", 0o644, 0), &layer).unwrap();
    });
    let whole = {
        load_bytes(&engine, archive.clone()).await.unwrap();
        saved(&engine, &["x:1"]).await.unwrap()
    };
    let mut outcomes = BTreeMap::new();
    for _ in 0..60 {
        load_bytes(&engine, archive.clone()).await.unwrap();
        let saver = engine.clone();
        let savers: Vec<_> = (0..3)
            .map(|_| {
                let engine = saver.clone();
                tokio::spawn(async move { saved(&engine, &["x:1"]).await })
            })
            .collect();
        rmi(&engine, "x:1", false).await.unwrap();
        for saver in savers {
            match saver.await.unwrap() {
                Ok(bytes) => assert!(bytes == whole),
                Err(error) => {
                    assert_eq!(error.kind, Kind::NotFound, "{error}");
                    *outcomes.entry(error.to_string()).or_insert(0) += 1;
                }
            }
        }
    }
    assert!(outcomes.keys().all(|text| text.contains("No such image")), "{outcomes:?}");
}

/// An archive as Docker's, whose single layer is written by `add`.
fn with_layer(config: &[u8], path: &str, add: impl FnOnce(&mut Packer<Vec<u8>>)) -> Vec<u8> {
    let mut packer = Packer::new(Vec::new());
    packer.append_bytes(&Entry::file("config.json", 0o644, 0), config).unwrap();
    add(&mut packer);
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": ["x:1"], "Layers": [path]}]);
    packer.append_bytes(&Entry::file("manifest.json", 0o644, 0), manifest.to_string().as_bytes()).unwrap();
    packer.finish().unwrap()
}

#[tokio::test]
async fn files_are_those_that_the_archive_has_last() {
    let (right, wrong) = (tar(&[("a", "right")]), tar(&[("a", "wrong")]));
    let config = config_of(&[&right]);
    let file = |packer: &mut Packer<Vec<u8>>, path: &str, bytes: &[u8]| {
        packer.append_bytes(&Entry::file(path, 0o644, 0), bytes).unwrap();
    };
    type Add<'a> = &'a dyn Fn(&mut Packer<Vec<u8>>);
    let cases: [(&str, &str, bool, Add<'_>); 8] = [
        ("the later of two", "l/layer.tar", true, &|packer| {
            file(packer, "l/layer.tar", &wrong);
            file(packer, "l/layer.tar", &right);
        }),
        ("the earlier of two", "l/layer.tar", false, &|packer| {
            file(packer, "l/layer.tar", &right);
            file(packer, "l/layer.tar", &wrong);
        }),
        ("a small one without a suffix", "l/layer", true, &|packer| file(packer, "l/layer", &right)),
        ("a second name", "l/other", true, &|packer| {
            file(packer, "l/layer.tar", &right);
            let link =
                Entry { link: "l/layer.tar".into(), ..Entry::new("l/other", archive::Kind::HardLink, 0) };
            packer.append(&link).unwrap();
        }),
        ("replaced by a link to the wrong one", "l/layer.tar", false, &|packer| {
            file(packer, "l/layer.tar", &right);
            file(packer, "w.tar", &wrong);
            packer.append(&Entry::symlink("l/layer.tar", "../w.tar")).unwrap();
        }),
        ("removed by a directory", "l/layer.tar", false, &|packer| {
            file(packer, "l/layer.tar", &right);
            packer.append(&Entry::directory("l/layer.tar", 0o755)).unwrap();
            file(packer, "small", &wrong);
        }),
        ("a link that leads out and back", "out/layer.tar", false, &|packer| {
            file(packer, "layer.tar", &right);
            packer.append(&Entry::symlink("out", "/proc/self/cwd")).unwrap();
        }),
        ("a blob by a link", &format!("blobs/sha256/{}", Digest::sha256(&right).hex()), true, &|packer| {
            file(packer, "layer.tar", &right);
            let name = format!("blobs/sha256/{}", Digest::sha256(&right).hex());
            packer.append(&Entry::symlink(name, "../../layer.tar")).unwrap();
        }),
    ];
    for (case, path, sound, add) in cases {
        let (_dir, engine) = engine().await;
        match load_bytes(&engine, with_layer(&config, path, add)).await {
            Ok(lines) => assert!(sound && lines == ["Loaded image: x:1\n"], "{case}: {lines:?}"),
            Err(error) => assert!(!sound && error.kind == Kind::InvalidParameter, "{case}: {error}"),
        }
        if !sound {
            assert!(listed(&engine, &[]).await.is_empty(), "{case}");
            assert!(engine.store().blobs().unwrap().is_empty(), "{case}");
        }
        assert_eq!(engine.store().check(false).unwrap(), vec![], "{case}");
    }
}

#[tokio::test]
async fn what_is_cut_or_lies_leaves_nothing() {
    // Nothing that compresses well.
    let text: String =
        (0..60_000_u64).map(|n| format!("{:x}", n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40)).collect();
    let layer = compressed(Compression::Gzip, &tar(&[("a", &text)]));
    let config = config_of(&[&tar(&[("a", &text)])]);
    let image = |config_size: u64, layer_size: u64| {
        let layer = Descriptor { size: layer_size, ..Descriptor::of(media_types::OCI_LAYER_GZIP, &layer) };
        let config = Descriptor { size: config_size, ..Descriptor::of(media_types::OCI_CONFIG, &config) };
        serde_json::to_vec(&Manifest::new(config, vec![layer])).unwrap()
    };
    let layout = |manifest: &[u8], extra: &[(&str, &[u8])]| {
        let mut packer = Packer::new(Vec::new());
        let mut add =
            |name: &str, bytes: &[u8]| packer.append_bytes(&Entry::file(name, 0o644, 0), bytes).unwrap();
        for (name, bytes) in extra {
            add(name, bytes);
        }
        for blob in [&layer[..], &config, manifest] {
            add(&format!("blobs/sha256/{}", Digest::sha256(blob).hex()), blob);
        }
        let top = Index::new(vec![Descriptor::of(media_types::OCI_MANIFEST, manifest)]);
        add("index.json", &serde_json::to_vec(&top).unwrap());
        add("oci-layout", b"{}");
        packer.finish().unwrap()
    };
    let (config_size, layer_size) = (config.len() as u64, layer.len() as u64);
    let sound = layout(&image(config_size, layer_size), &[]);
    let packed = compressed(Compression::Gzip, &sound);
    let refused: Vec<(&str, Vec<u8>)> = vec![
        ("cut in a layer", sound[..700].to_vec()),
        ("cut before its documents", sound[..sound.len() - 8192].to_vec()),
        ("cut compression", packed[..packed.len() - 20].to_vec()),
        ("a layer of another size", layout(&image(config_size, layer_size + 1), &[])),
        ("a configuration of another size", layout(&image(config_size - 1, layer_size), &[])),
    ];
    for (case, bytes) in refused {
        let (_dir, engine) = engine().await;
        let error = load_bytes(&engine, bytes).await.expect_err(case);
        assert_eq!(error.kind, Kind::InvalidParameter, "{case}: {error}");
        assert!(listed(&engine, &[]).await.is_empty(), "{case}");
        assert!(engine.store().blobs().unwrap().is_empty(), "{case}");
        assert!(engine.store().layers().unwrap().is_empty(), "{case}");
    }
    // What nothing refers to is nobody's harm, whatever it is, and neither is what follows the end.
    let bad = {
        let mut packer = Packer::new(Vec::new());
        packer.append_bytes(&Entry::file("../../escaped", 0o644, 0), b"x").unwrap();
        packer.finish().unwrap()
    };
    let (dir, engine) = engine().await;
    let with_bad = layout(&image(config_size, layer_size), &[("stray.tar", &bad)]);
    for bytes in [with_bad, [sound, b"rubbish".repeat(1000)].concat()] {
        let lines = load_bytes(&engine, bytes).await.unwrap();
        assert_eq!(lines, [format!("Loaded image ID: {}\n", Digest::sha256(&config))]);
    }
    assert!(!dir.path().join("escaped").exists() && !dir.path().join("root/escaped").exists());
    engine.store().gc().unwrap();
    assert_eq!((engine.store().blobs().unwrap().len(), engine.store().layers().unwrap().len()), (3, 1));
}

#[tokio::test]
async fn the_last_of_two_images_of_a_name_has_it() {
    let (one, two) = (tar(&[("a", "1")]), tar(&[("b", "2")]));
    let (_dir, engine) = engine().await;
    load_bytes(&engine, legacy(&config_of(&[&one]), std::slice::from_ref(&one), &["x:1", "y:1"]))
        .await
        .unwrap();
    let first = inspect(&engine, "x:1", "").await.unwrap().id;
    let lines =
        load_bytes(&engine, legacy(&config_of(&[&two]), std::slice::from_ref(&two), &["x:1"])).await.unwrap();
    assert!(lines[0].starts_with("The image x:1 already exists, renaming the old one with ID "), "{lines:?}");
    assert_eq!(inspect(&engine, "y:1", "").await.unwrap().id, first);
    assert_ne!(inspect(&engine, "x:1", "").await.unwrap().id, first);
}
