//! Content that is damaged: told with its image, taken away, fetched again from where it came.

use std::path::PathBuf;

use api::auth::AuthConfig;
use api::images::PullOptions;

use super::pull::{Content, registry};
use super::*;
use crate::system::{CheckOptions, Finding, check};

fn repository(bytes: &[u8], target: &Digest) -> Content {
    let mut content = Content::new();
    for (name, bytes) in members(bytes) {
        let Some(hex) = name.strip_prefix("./blobs/sha256/") else { continue };
        let kind = if hex == target.hex() { media_types::OCI_INDEX } else { media_types::OCI_MANIFEST };
        let blob = ("application/octet-stream".into(), bytes.clone());
        content.insert(format!("/v2/team/app/blobs/sha256:{hex}"), blob);
        content.insert(format!("/v2/team/app/manifests/sha256:{hex}"), (kind.into(), bytes.clone()));
        if hex == target.hex() {
            content.insert("/v2/team/app/manifests/1".into(), (kind.into(), bytes));
        }
    }
    content
}

async fn checked(engine: &Engine, repair: bool, quick: bool) -> Vec<Finding> {
    let (sender, mut receiver) = mpsc::channel(64);
    let drain = tokio::spawn(async move { while receiver.recv().await.is_some() {} });
    let findings = check(engine, CheckOptions { repair, quick }, &BTreeMap::new(), sender).await.unwrap();
    drain.await.unwrap();
    // The machine that the test runs on is not what it is about.
    findings.into_iter().filter(|f| matches!(f.kind.as_str(), "blob" | "layer" | "image" | "tag")).collect()
}

fn quarantined(engine: &Engine) -> usize {
    std::fs::read_dir(engine.store().root().join("quarantine")).map_or(0, Iterator::count)
}

fn flip(path: &PathBuf) {
    let mut bytes = std::fs::read(path).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn what_came_from_a_registry_is_fetched_again() {
    let (bytes, target) = multi_platform();
    let (_dir, engine) = engine().await;
    let port = registry(repository(&bytes, &target)).await;
    let options = PullOptions {
        from_image: format!("127.0.0.1:{port}/team/app"),
        tag: "1".into(),
        ..PullOptions::default()
    };
    told(|sender| crate::images::pull(&engine, options, AuthConfig::default(), sender)).await.unwrap();
    let name = format!("127.0.0.1:{port}/team/app:1");
    let image = engine.store().resolve(&name, None).unwrap();
    let blob = |digest: &Digest| engine.store().root().join("blobs/sha256").join(digest.hex());
    let whole = checked(&engine, false, false).await;
    assert_eq!(whole, vec![]);

    let layer = engine.store().layer_dirs(&image.chain().unwrap()).unwrap().remove(0);
    let described = layer.parent().unwrap().join("layer.json");
    let places = [
        ("blob", blob(&image.manifest.layers[0].digest)),
        ("blob", blob(&image.id)),
        ("blob", blob(&image.digest)),
        ("blob", blob(&target)),
        ("layer", described),
    ];
    for (round, (kind, path)) in places.into_iter().enumerate() {
        let right = std::fs::read(&path).unwrap();
        flip(&path);
        let found = checked(&engine, false, false).await;
        assert_eq!((found[0].kind.as_str(), found[0].repaired), (kind, false), "{found:?}");
        let said = format!("; image {name} needs it");
        // Where the document itself is damaged, nobody knows more than its name.
        assert!(found[0].message.ends_with(&said), "{round}: {found:?}");

        let found = checked(&engine, true, false).await;
        assert!(found.iter().all(|finding| finding.repaired), "{round}: {found:?}");
        let again = format!("what it lacked was fetched again from 127.0.0.1:{port}/team/app");
        assert!(found.iter().any(|f| f.kind == "image" && f.message == again), "{round}: {found:?}");
        assert_eq!(quarantined(&engine), round + 1, "{round}");
        assert!(std::fs::read(&path).unwrap() == right, "{round}");
        assert_eq!(checked(&engine, false, false).await, vec![], "{round}");
        assert_eq!(engine.store().resolve(&name, None).unwrap().id, image.id);
    }
    assert_eq!(engine.store().empty_quarantine(true).unwrap(), 5);
}

#[tokio::test]
async fn what_came_from_nowhere_is_named_and_goes() {
    let (_dir, engine) = engine().await;
    load_bytes(&engine, multi_platform().0).await.unwrap();
    let image = engine.store().resolve("multi:1", None).unwrap();
    let path = engine.store().root().join("blobs/sha256").join(image.manifest.layers[0].digest.hex());
    let file = engine.store().layer_dirs(&image.chain().unwrap()).unwrap()[0].join("host");
    let time = std::fs::metadata(&file).unwrap().modified().unwrap();
    std::fs::write(&file, "tsoh").unwrap();
    std::fs::File::options().write(true).open(&file).unwrap().set_modified(time).unwrap();
    // A quick look believes what is in files.
    assert_eq!(checked(&engine, false, true).await, vec![]);
    let found = checked(&engine, true, false).await;
    assert!(found.len() == 1 && found[0].kind == "layer" && found[0].repaired, "{found:?}");
    assert_eq!(std::fs::read(&file).unwrap(), b"host", "made anew from its archive");
    flip(&path);
    assert_eq!(checked(&engine, false, true).await.len(), 1, "what is as short as a document is read");
    let found = checked(&engine, true, false).await;
    assert_eq!(found[0].object, image.manifest.layers[0].digest.to_string());
    assert!(found[0].repaired && found[0].message.ends_with("; image multi:1 needs it"), "{found:?}");
    // The files are here: it runs, and can't be saved until it is loaded again.
    assert!(found[1].message.contains("pull or load it again") && !found[1].repaired, "{found:?}");
    assert!(saved(&engine, &["multi:1"]).await.is_err());
    load_bytes(&engine, multi_platform().0).await.unwrap();
    assert!(saved(&engine, &["multi:1"]).await.is_ok());
    assert_eq!(checked(&engine, false, false).await, vec![]);
}

/// An image for this machine that was pulled, with where its blobs are.
async fn pulled() -> (TempDir, Engine, String, store::Image) {
    let (bytes, target) = multi_platform();
    let (dir, engine) = engine().await;
    let port = registry(repository(&bytes, &target)).await;
    let name = format!("127.0.0.1:{port}/team/app:1");
    let options = PullOptions { from_image: name.clone(), ..PullOptions::default() };
    told(|sender| crate::images::pull(&engine, options, AuthConfig::default(), sender)).await.unwrap();
    let image = engine.store().resolve(&name, None).unwrap();
    (dir, engine, name, image)
}

fn wanted(image: &store::Image, name: &str) -> heal::Wanted {
    heal::Wanted { id: Some(image.id.clone()), chain: image.chain(), name: name.to_owned() }
}

#[tokio::test]
async fn layers_that_somebody_needs_are_fetched_again() {
    let (_dir, engine, name, image) = pulled().await;
    let why = || crate::Error::system("why");
    let error = heal::layers(&engine, wanted(&image, &name), why()).await.unwrap_err();
    assert_eq!(error.message, "why", "nothing is wrong with it");

    let chain = image.chain().unwrap();
    let files = engine.store().layer_dirs(&chain).unwrap().remove(0);
    let layer = files.parent().unwrap().to_owned();
    let damages: [(&str, &dyn Fn()); 3] = [
        ("is damaged (layer", &|| flip(&layer.join("layer.json"))),
        ("is damaged (layer", &|| std::fs::remove_dir_all(&files).unwrap()),
        ("lacks a part", &|| std::fs::remove_dir_all(&layer).unwrap()),
    ];
    for (said, damage) in damages {
        damage();
        assert!(!engine.store().is_whole(Some(&chain)).unwrap());
        let told = heal::layers(&engine, wanted(&image, &name), why()).await.unwrap();
        assert!(told.contains(said) && told.contains("fetched again from 127.0.0.1"), "{told}");
        assert!(engine.store().is_whole(Some(&chain)).unwrap());
        assert!(files.join("host").exists());
    }
}

/// What a registry has under the name of an image may be anybody's.
#[tokio::test]
async fn an_image_that_is_known_no_more_is_not_pulled_by_its_name() {
    let (_dir, engine, name, image) = pulled().await;
    std::fs::remove_dir_all(engine.store().root().join("layers").join(image.chain().unwrap().0.hex()))
        .unwrap();
    engine.db().write(|tx| state::images::remove(tx, &image.digest)).unwrap();
    let error = heal::layers(&engine, wanted(&image, &name), crate::Error::system("why")).await.unwrap_err();
    assert!(error.message.ends_with("and it is known no more; pull, load or build it again"), "{error}");
}

#[tokio::test]
async fn what_was_made_here_is_not_looked_for_under_its_name() {
    let (bytes, target) = multi_platform();
    let (_dir, engine) = engine().await;
    let name = format!("127.0.0.1:{}/team/app:1", registry(repository(&bytes, &target)).await);
    load_bytes(&engine, bytes).await.unwrap();
    crate::images::tag(&engine, "multi:1", &name, "").await.unwrap();
    let image = engine.store().resolve(&name, None).unwrap();
    let layer = engine.store().root().join("layers").join(image.chain().unwrap().0.hex());
    std::fs::remove_dir_all(layer).unwrap();
    for error in [
        heal::layers(&engine, wanted(&image, &name), crate::Error::system("why")).await.unwrap_err(),
        heal::named(&engine, &name, None).await.unwrap_err(),
    ] {
        assert_eq!(error.kind, Kind::System, "no client shall pull it: {error}");
        assert!(
            error.message.ends_with("did not come from a registry; pull, load or build it again"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn documents_that_somebody_needs_are_fetched_again() {
    let (_dir, engine, name, image) = pulled().await;
    assert_eq!(heal::named(&engine, &name, None).await.unwrap(), None);
    let target = engine.store().find(&name, None).unwrap().1.unwrap().target;
    for digest in [&image.id, &image.digest, &target] {
        let path = engine.store().root().join("blobs/sha256").join(digest.hex());
        for damage in [flip, |path: &PathBuf| std::fs::remove_file(path).unwrap()] {
            damage(&path);
            assert!(engine.store().resolve(&name, None).is_err());
            let told = heal::named(&engine, &name, None).await.unwrap().unwrap();
            assert!(told.contains("fetched again from 127.0.0.1"), "{told}");
            assert_eq!(engine.store().resolve(&name, None).unwrap().id, image.id);
        }
    }
}

#[tokio::test]
async fn what_came_from_nowhere_is_named_with_what_to_do() {
    let (_dir, engine) = engine().await;
    load_bytes(&engine, multi_platform().0).await.unwrap();
    let image = engine.store().resolve("multi:1", None).unwrap();
    flip(&engine.store().root().join("blobs/sha256").join(image.id.hex()));
    let error = heal::named(&engine, "multi:1", None).await.unwrap_err();
    assert_eq!(error.kind, Kind::System, "a client that pulled it would get somebody else's");
    let said = "image multi:1 is damaged (blob ";
    let advice = ", and it did not come from a registry; pull, load or build it again";
    assert!(error.message.starts_with(said) && error.message.ends_with(advice), "{error}");
    load_bytes(&engine, multi_platform().0).await.unwrap();
    assert_eq!(heal::named(&engine, "multi:1", None).await.unwrap(), None);
}
