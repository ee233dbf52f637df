//! Images as a whole: import, save, load, tag, remove, prune, list, pull.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, Instant};

use api::JsonMessage;
use api::filters::Filters;
use api::images::{DeleteResponse, ImportOptions, ListOptions, RemoveOptions, Summary};
use archive::{Compression, Entry, Packer, Reader};
use bytes::Bytes;
use oci::image::{Descriptor, ImageConfig, Index, Manifest};
use oci::{ChainId, Digest, Platform, Reference, media_types};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::*;
use crate::error::{Kind, Result};
use crate::{Config, Engine};

mod archives;
mod artifacts;
mod budget;
mod hostile;
mod lent;
mod manifests;
mod pull;
mod repair;
mod substitution;
mod together;

async fn engine() -> (TempDir, Engine) {
    let dir = tempfile::tempdir().unwrap();
    let (root, run) = (dir.path().join("root"), dir.path().join("run"));
    let engine = Engine::open(Config::new(root, run, "/proc/self/exe")).await.unwrap();
    (dir, engine)
}

fn tar(files: &[(&str, &str)]) -> Vec<u8> {
    let mut packer = Packer::new(Vec::new());
    for (name, content) in files {
        packer.append_bytes(&Entry::file(*name, 0o644, 0), content.as_bytes()).unwrap();
    }
    packer.finish().unwrap()
}

fn compressed(compression: Compression, bytes: &[u8]) -> Vec<u8> {
    use std::io::Write as _;
    let mut sink = archive::compress(compression, None, Vec::new()).unwrap();
    sink.write_all(bytes).unwrap();
    sink.finish().unwrap()
}

fn body(bytes: Vec<u8>) -> impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static {
    let chunks: Vec<_> = bytes.chunks(10_000).map(|chunk| Ok(Bytes::copy_from_slice(chunk))).collect();
    futures_util::stream::iter(chunks)
}

/// Runs an operation and gives what it has told.
async fn told<F: Future<Output = Result<T>>, T>(
    operation: impl FnOnce(mpsc::Sender<JsonMessage>) -> F,
) -> Result<Vec<JsonMessage>> {
    let (sender, mut receiver) = mpsc::channel(64);
    let listening = tokio::spawn(async move {
        let mut messages = Vec::new();
        while let Some(message) = receiver.recv().await {
            messages.push(message);
        }
        messages
    });
    let result = operation(sender).await;
    let messages = listening.await.unwrap();
    result.map(|_| messages)
}

async fn import_as(engine: &Engine, name: &str, files: &[(&str, &str)], changes: &[&str]) -> String {
    let options = ImportOptions {
        from_src: "-".into(),
        repo: name.into(),
        changes: changes.iter().map(|change| (*change).into()).collect(),
        ..ImportOptions::default()
    };
    let messages = told(|sender| import(engine, options, body(tar(files)), sender)).await.unwrap();
    messages.last().unwrap().status.clone()
}

async fn load_bytes(engine: &Engine, bytes: Vec<u8>) -> Result<Vec<String>> {
    let messages = told(|sender| load(engine, body(bytes), false, Vec::new(), sender)).await?;
    Ok(messages.into_iter().map(|message| message.stream).filter(|text| !text.is_empty()).collect())
}

async fn saved(engine: &Engine, names: &[&str]) -> Result<Vec<u8>> {
    let mut receiver = save(engine, names.iter().map(|name| (*name).into()).collect(), Vec::new()).await?;
    let mut bytes = Vec::new();
    while let Some(chunk) = receiver.recv().await {
        bytes.extend_from_slice(&chunk?);
    }
    Ok(bytes)
}

async fn listed(engine: &Engine, filters: &[(&str, &str)]) -> Vec<Summary> {
    let mut options = ListOptions::default();
    for (key, value) in filters {
        options.filters.add(*key, *value);
    }
    list(engine, options).await.unwrap()
}

async fn rmi(engine: &Engine, name: &str, force: bool) -> Result<Vec<DeleteResponse>> {
    remove(engine, name, RemoveOptions { force, ..RemoveOptions::default() }).await
}

/// The members of an archive.
/// Polls until it is so.
async fn until(what: &str, mut check: impl FnMut() -> bool) {
    let start = Instant::now();
    while !check() {
        assert!(start.elapsed() < Duration::from_secs(60), "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn members(bytes: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let mut reader = Reader::new(bytes);
    let mut members = BTreeMap::new();
    while let Some(entry) = reader.next_entry().unwrap() {
        let content = reader.read_data(&entry, 1 << 30).unwrap();
        members.insert(entry.path.to_str().unwrap().to_owned(), content);
    }
    members
}

#[tokio::test]
async fn an_imported_image_is_what_was_asked_for() {
    let (_dir, engine) = engine().await;
    let id =
        import_as(&engine, "app:1", &[("etc/conf", "12345")], &["CMD [\"run\"]", "LABEL a=b", "ENV X=y"])
            .await;
    let image = inspect(&engine, "app:1", "").await.unwrap();
    assert_eq!((image.id.as_str(), image.size), (id.as_str(), 5));
    assert_eq!(image.repo_tags, ["app:1"]);
    assert_eq!(image.comment, "Imported from -");
    assert_eq!(image.config.unwrap().cmd.unwrap(), ["run"]);
    assert!(image.graph_driver.data["UpperDir"].ends_with("/diff"));
    let steps = history(&engine, &id[7..19], "").await.unwrap();
    assert_eq!((steps.len(), steps[0].size, steps[0].id.as_str()), (1, 5, id.as_str()));
    assert_eq!(steps[0].tags, ["app:1"]);
    let lines = listed(&engine, &[]).await;
    assert_eq!((lines.len(), lines[0].size, lines[0].shared_size, lines[0].containers), (1, 5, -1, -1));

    let bad =
        ImportOptions { from_src: "-".into(), changes: vec!["RUN x".into()], ..ImportOptions::default() };
    let error = told(|sender| import(&engine, bad, body(tar(&[])), sender)).await.unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (Kind::InvalidParameter, "run is not a valid change command")
    );
    let options = ImportOptions { from_src: "-".into(), ..ImportOptions::default() };
    assert!(told(|sender| import(&engine, options, body(b"junk".repeat(500)), sender)).await.is_err());
    let error = inspect(&engine, "none", "").await.unwrap_err();
    assert_eq!((error.kind, error.message.as_str()), (Kind::NotFound, "No such image: none:latest"));
}

#[tokio::test]
async fn saving_and_loading_gives_the_same_bytes() {
    let (_a, one) = engine().await;
    import_as(&one, "app:1", &[("a", "x")], &[]).await;
    import_as(&one, "other", &[("b", "y")], &[]).await;
    tag(&one, "app:1", "host.io/app", "two").await.unwrap();
    let first = saved(&one, &["app:1", "other", "host.io/app:two"]).await.unwrap();
    let parts = members(&first);
    for name in ["index.json", "manifest.json", "oci-layout", "repositories"] {
        assert!(parts.contains_key(name), "{name}");
    }
    let manifest: serde_json::Value = serde_json::from_slice(&parts["manifest.json"]).unwrap();
    assert_eq!(manifest[0]["RepoTags"], serde_json::json!(["app:1", "host.io/app:two"]));
    let layer = manifest[0]["Layers"][0].as_str().unwrap();
    assert_eq!(Digest::sha256(&parts[layer]).hex(), layer.rsplit('/').next().unwrap());

    let (_b, two) = engine().await;
    let lines = load_bytes(&two, compressed(Compression::Gzip, &first)).await.unwrap();
    assert_eq!(
        lines,
        ["Loaded image: app:1\n", "Loaded image: host.io/app:two\n", "Loaded image: other:latest\n"]
            .map(String::from)
            .as_slice(),
        "{lines:?}"
    );
    let second = saved(&two, &["app:1", "other", "host.io/app:two"]).await.unwrap();
    assert!(first == second, "an archive that was loaded is saved as the same bytes");
    assert_eq!(inspect(&one, "app:1", "").await.unwrap().id, inspect(&two, "app:1", "").await.unwrap().id);
    assert_eq!(members(&saved(&two, &["other"]).await.unwrap()).len(), 3 + 4 + 2);
    assert_eq!(saved(&two, &["missing"]).await.unwrap_err().message, "No such image: missing:latest");

    // Loading what is there is no change; a name that moves is told.
    assert_eq!(load_bytes(&two, first.clone()).await.unwrap().len(), 3);
    tag(&two, "other", "app", "1").await.unwrap();
    let lines = load_bytes(&two, first).await.unwrap();
    assert!(
        lines[0].starts_with("The image app:1 already exists, renaming the old one with ID sha256:"),
        "{lines:?}"
    );
}

/// An archive as `docker save` made it before it was an OCI layout.
fn legacy(config: &[u8], layers: &[Vec<u8>], tags: &[&str]) -> Vec<u8> {
    let mut packer = Packer::new(Vec::new());
    let mut names = Vec::new();
    for (index, layer) in layers.iter().enumerate() {
        packer.append_bytes(&Entry::file(format!("l{index}/layer.tar"), 0o644, 0), layer).unwrap();
        packer
            .append(&Entry::symlink(format!("s{index}/layer.tar"), format!("../l{index}/layer.tar")))
            .unwrap();
        names.push(format!("s{index}/layer.tar"));
    }
    packer.append_bytes(&Entry::file("config.json", 0o644, 0), config).unwrap();
    let manifest = serde_json::json!([{"Config": "config.json", "RepoTags": tags, "Layers": names}]);
    packer.append_bytes(&Entry::file("manifest.json", 0o644, 0), manifest.to_string().as_bytes()).unwrap();
    packer.finish().unwrap()
}

fn config_of(layers: &[&[u8]]) -> Vec<u8> {
    let mut config = ImageConfig::new(&Platform::host());
    config.rootfs.diff_ids = layers.iter().map(|layer| Digest::sha256(layer)).collect();
    // Whitespace and unknown fields: the bytes are what counts.
    format!(" {}", serde_json::to_string(&config).unwrap().replacen('{', "{\"docker_version\":\"1\",", 1))
        .into_bytes()
}

#[tokio::test]
async fn old_docker_archives_load() {
    let (_dir, engine) = engine().await;
    let (one, two) = (tar(&[("a", "1")]), tar(&[("b", "22"), (".wh.a", "")]));
    let config = config_of(&[&one, &two]);
    let bytes = legacy(&config, &[one.clone(), compressed(Compression::Gzip, &two)], &["old:1"]);
    for compression in [Compression::None, Compression::Zstd, Compression::Xz, Compression::Bzip2] {
        let lines = load_bytes(&engine, compressed(compression, &bytes)).await.unwrap();
        assert_eq!(lines, ["Loaded image: old:1\n"], "{compression:?}");
    }
    let image = inspect(&engine, "old:1", "").await.unwrap();
    assert_eq!(image.id, Digest::sha256(&config).to_string());
    assert_eq!((image.size, image.root_fs.layers.len()), (3, 2));
    // Others pack otherwise than we do: their archives are read as they came, or else the files.
    let tree = async || {
        let options = api::images::ContentsOptions::default();
        let tree = crate::images::tree(&engine, "old:1", options, &BTreeMap::new()).await.unwrap();
        tree.layers.iter().map(|layer| (layer.added, layer.removed, layer.size)).collect::<Vec<_>>()
    };
    assert_eq!(tree().await, [(1, 0, 1), (1, 1, 2)]);
    for (blob, _) in engine.store().blobs().unwrap() {
        if blob == Digest::sha256(&one) {
            std::fs::remove_file(_dir.path().join("root/blobs/sha256").join(blob.hex())).unwrap();
        }
    }
    assert_eq!(tree().await, [(1, 0, 1), (1, 1, 2)]);

    let bare = legacy(&config, &[one, two], &[]);
    let lines = load_bytes(&engine, bare).await.unwrap();
    assert_eq!(lines, [format!("Loaded image ID: {}\n", image.id)]);
}

#[tokio::test]
async fn hostile_archives_are_refused_and_leave_nothing() {
    let (dir, engine) = engine().await;
    std::fs::write(dir.path().join("secret"), "{}").unwrap();
    let layer = tar(&[("a", "1")]);
    let config = config_of(&[&layer]);
    let with = |manifest: serde_json::Value| {
        let mut packer = Packer::new(Vec::new());
        packer.append_bytes(&Entry::file("config.json", 0o644, 0), &config).unwrap();
        packer.append_bytes(&Entry::file("layer.tar", 0o644, 0), &layer).unwrap();
        packer.append(&Entry::symlink("link", "../../../../../../../../etc/passwd")).unwrap();
        packer.append(&Entry::directory("directory", 0o755)).unwrap();
        packer
            .append_bytes(&Entry::file("manifest.json", 0o644, 0), manifest.to_string().as_bytes())
            .unwrap();
        packer.finish().unwrap()
    };
    let item = |config: &str, layers: &[&str], tags: &[&str]| {
        with(serde_json::json!([{"Config": config, "Layers": layers, "RepoTags": tags}]))
    };
    let lie = {
        let name = format!("blobs/sha256/{}", Digest::sha256(b"truth").hex());
        tar(&[(name.as_str(), "lie"), ("manifest.json", "[]")])
    };
    let both =
        tar(&[("oci-layout", "{}"), ("index.json", r#"{"schemaVersion":2,"manifests":[],"layers":[]}"#)]);
    let index =
        serde_json::to_string(&Index::new(vec![Descriptor::of(media_types::OCI_MANIFEST, b"nowhere")]))
            .unwrap();
    let absent = tar(&[("oci-layout", "{}"), ("index.json", &index)]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("nothing", tar(&[("x", "y")])),
        ("no archive", b"some text".repeat(200)),
        ("no list", with(serde_json::json!({"Config": 1}))),
        ("config above", item("../../secret", &["layer.tar"], &["x:1"])),
        ("absolute config", item("/etc/passwd", &["layer.tar"], &["x:1"])),
        ("config through a link", item("link", &["layer.tar"], &["x:1"])),
        ("layer above", item("config.json", &["../../../../etc/passwd"], &["x:1"])),
        ("layer through a link", item("config.json", &["link"], &["x:1"])),
        ("layer is a directory", item("config.json", &["directory"], &["x:1"])),
        ("layer is another file", item("config.json", &["config.json"], &["x:1"])),
        ("too few layers", item("config.json", &[], &["x:1"])),
        ("too many layers", item("config.json", &["layer.tar", "layer.tar"], &["x:1"])),
        ("tag is no reference", item("config.json", &["layer.tar"], &["X Y"])),
        ("tag with a digest", item("config.json", &["layer.tar"], &[&format!("x@{}", Digest::sha256(b""))])),
        ("member that escapes", tar(&[("../../escaped", "x"), ("manifest.json", "[]")])),
        ("blob that lies", lie),
        ("index that is two things", both),
        ("index of what is absent", absent),
        ("manifest.json of nine megabytes", tar(&[("manifest.json", &" ".repeat(9 << 20))])),
        ("deep JSON", tar(&[("manifest.json", &"[".repeat(100_000))])),
    ];
    for (case, bytes) in cases {
        let error = load_bytes(&engine, bytes).await.expect_err(case);
        assert_eq!(error.kind, Kind::InvalidParameter, "{case}: {error}");
        assert!(listed(&engine, &[]).await.is_empty(), "{case}");
        assert!(!dir.path().join("escaped").exists() && !dir.path().join("root/escaped").exists(), "{case}");
    }
    engine.store().gc().unwrap();
    assert!(engine.store().blobs().unwrap().is_empty() && engine.store().layers().unwrap().is_empty());
    assert_eq!(engine.store().check(false).unwrap(), vec![]);
}

/// An OCI layout with an index of two platforms and an attestation.
fn multi_platform() -> (Vec<u8>, Digest) {
    let mut blobs: Vec<Vec<u8>> = Vec::new();
    let mut manifests = Vec::new();
    for (text, file) in [("linux/s390x", "s"), (&Platform::host().to_string(), "host")] {
        let platform: Platform = text.parse().unwrap();
        let layer = tar(&[(file, file)]);
        let mut config = ImageConfig::new(&platform);
        config.rootfs.diff_ids = vec![Digest::sha256(&layer)];
        let config = serde_json::to_vec(&config).unwrap();
        let layer = compressed(Compression::Gzip, &layer);
        let manifest = Manifest::new(
            Descriptor::of(media_types::OCI_CONFIG, &config),
            vec![Descriptor::of(media_types::OCI_LAYER_GZIP, &layer)],
        );
        let manifest = serde_json::to_vec_pretty(&manifest).unwrap();
        manifests.push(Descriptor {
            platform: Some(platform),
            ..Descriptor::of(media_types::OCI_MANIFEST, &manifest)
        });
        blobs.extend([config, layer, manifest]);
    }
    let note = b"{\"note\":true}".to_vec();
    let attestation = Manifest::new(
        Descriptor::of(media_types::OCI_CONFIG, b"{}"),
        vec![Descriptor::of("application/vnd.in-toto+json", &note)],
    );
    let attestation = serde_json::to_vec(&attestation).unwrap();
    let mut descriptor = Descriptor::of(media_types::OCI_MANIFEST, &attestation);
    descriptor.annotations.insert("vnd.docker.reference.type".into(), "attestation-manifest".into());
    manifests.push(descriptor);
    blobs.extend([note, attestation, b"{}".to_vec()]);
    let index = serde_json::to_vec_pretty(&Index::new(manifests)).unwrap();
    let target = Digest::sha256(&index);
    let mut top = Descriptor::of(media_types::OCI_INDEX, &index);
    top.annotations.insert("io.containerd.image.name".into(), "docker.io/library/multi:1".into());
    blobs.push(index);
    let top = serde_json::to_string(&Index::new(vec![top])).unwrap();

    let mut packer = Packer::new(Vec::new());
    for (name, content) in [("oci-layout", "{\"imageLayoutVersion\":\"1.0.0\"}"), ("index.json", &top)] {
        packer.append_bytes(&Entry::file(format!("./{name}"), 0o644, 0), content.as_bytes()).unwrap();
    }
    for blob in blobs {
        let name = format!("./blobs/sha256/{}", Digest::sha256(&blob).hex());
        packer.append_bytes(&Entry::file(name, 0o644, 0), &blob).unwrap();
    }
    (packer.finish().unwrap(), target)
}

#[tokio::test]
async fn an_index_is_kept_as_it_came() {
    let (_dir, engine) = engine().await;
    let (bytes, target) = multi_platform();
    let blobs = members(&bytes).keys().filter(|name| name.contains("blobs/")).count();
    assert_eq!(load_bytes(&engine, bytes.clone()).await.unwrap(), ["Loaded image: multi:1\n"]);
    let image = inspect(&engine, "multi:1", "").await.unwrap();
    assert_eq!(format!("{}/{}", image.os, image.architecture), Platform::host().to_string());
    assert_eq!(listed(&engine, &[]).await.len(), 1, "the other platform is behind the same name");
    let all = list(&engine, ListOptions { all: true, ..ListOptions::default() }).await.unwrap();
    assert_eq!(all.len(), 2);

    engine.store().gc().unwrap();
    let again = members(&saved(&engine, &["multi:1"]).await.unwrap());
    assert_eq!(
        again.keys().filter(|name| name.starts_with("blobs/sha256/") && name.len() > 20).count(),
        blobs
    );
    assert!(again.contains_key(&format!("blobs/sha256/{}", target.hex())));

    let answers = rmi(&engine, "multi:1", false).await.unwrap();
    assert_eq!(answers.iter().filter(|answer| !answer.deleted.is_empty()).count(), 4, "{answers:?}");
    assert!(engine.store().blobs().unwrap().is_empty() && engine.store().layers().unwrap().is_empty());
}

#[tokio::test]
async fn lists_are_filtered() {
    let (_dir, engine) = engine().await;
    import_as(&engine, "app:1", &[("a", "1")], &["LABEL tier=web"]).await;
    let second = import_as(&engine, "", &[("b", "2")], &[]).await;
    import_as(&engine, "host.io/x/app:2", &[("c", "3")], &[]).await;
    let count = async |filters: &[(&str, &str)]| listed(&engine, filters).await.len();
    assert_eq!(count(&[]).await, 3);
    assert_eq!(count(&[("dangling", "true")]).await, 1);
    assert_eq!(count(&[("dangling", "false")]).await, 2);
    assert_eq!(count(&[("label", "tier")]).await, 1);
    assert_eq!(count(&[("label", "tier=db")]).await, 0);
    assert_eq!(count(&[("reference", "app")]).await, 1);
    assert_eq!(count(&[("reference", "*/*/app:*")]).await, 1);
    assert_eq!(count(&[("reference", "app"), ("reference", "*/*/*")]).await, 2);
    assert_eq!(count(&[("before", &second)]).await, 1);
    assert_eq!(count(&[("since", &second)]).await, 1);
    assert_eq!(count(&[("until", "2000-01-01")]).await, 0);
    let mut wrong = ListOptions::default();
    wrong.filters.add("colour", "red");
    assert_eq!(list(&engine, wrong).await.unwrap_err().kind, Kind::InvalidParameter);
    let lines = listed(&engine, &[]).await;
    assert!(lines.windows(2).all(|pair| pair[0].created >= pair[1].created));
}

/// Defines a container that was never started.
fn container(engine: &Engine, id: &str, image: &str) {
    let image = engine.store().resolve(image, None).unwrap();
    let container = state::containers::Container {
        id: id.repeat(64),
        name: format!("c{id}"),
        created: 0,
        image: "app".into(),
        image_id: Some(image.id.clone()),
        layer: image.chain(),
        document: "{}".into(),
    };
    engine.db().write(|tx| state::containers::insert(tx, &container, &[])).unwrap();
}

#[tokio::test]
async fn removing_follows_dockers_rules() {
    let (_dir, engine) = engine().await;
    let id = import_as(&engine, "app:1", &[("a", "1")], &[]).await;
    let short = &id[7..19];
    tag(&engine, "app:1", "app", "2").await.unwrap();
    tag(&engine, "app:1", "other", "").await.unwrap();

    let answers = rmi(&engine, "app:2", false).await.unwrap();
    assert_eq!(answers, [DeleteResponse { untagged: "app:2".into(), ..DeleteResponse::default() }]);
    let error = rmi(&engine, short, false).await.unwrap_err();
    assert_eq!(
        (error.kind, error.message.as_str()),
        (
            Kind::Conflict,
            format!("conflict: unable to delete {short} (must be forced) - image is referenced in multiple repositories")
                .as_str()
        )
    );
    rmi(&engine, "other", false).await.unwrap();

    container(&engine, "c", "app:1");
    let error = rmi(&engine, "app:1", false).await.unwrap_err();
    assert_eq!(
        error.message,
        format!(
            "conflict: unable to remove repository reference \"app:1\" (must force) - container cccccccccccc is using its referenced image {short}"
        )
    );
    let error = rmi(&engine, short, false).await.unwrap_err();
    assert_eq!(
        error.message,
        format!(
            "conflict: unable to delete {short} (must be forced) - image is being used by stopped container cccccccccccc"
        )
    );
    // By force the name goes and the image with it, but not the layer that the container stands on.
    let answers = rmi(&engine, "app:1", true).await.unwrap();
    assert_eq!(answers.len(), 2, "{answers:?}");
    assert_eq!((answers[0].untagged.as_str(), &answers[1].deleted), ("app:1", &id));
    assert_eq!(engine.store().layers().unwrap().len(), 1);
    assert_eq!(rmi(&engine, "app:1", false).await.unwrap_err().message, "No such image: app:1");

    let id = import_as(&engine, "app:1", &[("b", "2")], &[]).await;
    let answers = rmi(&engine, &id, false).await.unwrap();
    assert_eq!(answers.len(), 3, "name, image and layer: {answers:?}");
    assert!(answers[2].deleted.starts_with("sha256:"));
}

#[tokio::test]
async fn parents_go_with_their_last_child() {
    let (_dir, engine) = engine().await;
    let parent = import_as(&engine, "base", &[("a", "1")], &[]).await;
    let made = |author: &str, parent: &Digest, tag: &[Reference]| {
        let store = engine.store();
        let lease = store.lease("test").unwrap();
        let base = store.resolve(&parent.to_string(), None).unwrap();
        let config = ImageConfig { author: author.into(), ..base.config };
        store.make_image(&lease, &config, base.manifest.layers, Some(parent), tag).unwrap().image.id
    };
    let middle = made("x", &parent.parse().unwrap(), &[]);
    made("y", &middle, &[Reference::parse("top").unwrap()]);
    assert_eq!(listed(&engine, &[]).await.len(), 2, "the one in the middle is hidden");
    let error = rmi(&engine, "base", true).await;
    assert!(error.is_ok(), "the name goes, the image stays: {error:?}");
    let error = rmi(&engine, &parent, true).await.unwrap_err();
    assert!(
        error.message.ends_with("(cannot be forced) - image has dependent child images"),
        "{}",
        error.message
    );
    assert_eq!(history(&engine, "top", "").await.unwrap()[0].tags, ["top:latest"]);

    let answers = rmi(&engine, "top", false).await.unwrap();
    assert_eq!(answers.iter().filter(|answer| !answer.deleted.is_empty()).count(), 4, "{answers:?}");
    assert!(engine.store().images().unwrap().is_empty());
}

#[tokio::test]
async fn prune_takes_what_nobody_uses() {
    let (_dir, engine) = engine().await;
    import_as(&engine, "used", &[("a", "1")], &[]).await;
    container(&engine, "d", "used");
    import_as(&engine, "idle", &[("b", "22")], &["LABEL keep=yes"]).await;
    import_as(&engine, "", &[("c", "333")], &[]).await;
    let report = prune(&engine, Filters::default()).await.unwrap();
    assert_eq!(report.images_deleted.len(), 2, "{report:?}");
    assert!(report.space_reclaimed > 3);
    assert_eq!(listed(&engine, &[]).await.len(), 2);
    let mut all = Filters::default();
    all.add("dangling", "false");
    let mut kept = all.clone();
    kept.add("label!", "keep");
    assert!(prune(&engine, kept).await.unwrap().images_deleted.is_empty());
    assert_eq!(prune(&engine, all).await.unwrap().images_deleted.len(), 3);
    let left = listed(&engine, &[]).await;
    assert_eq!((left.len(), left[0].repo_tags[0].as_str()), (1, "used:latest"));
}

#[tokio::test]
async fn a_commit_has_the_changes_of_its_container() {
    let (_dir, engine) = engine().await;
    let base = import_as(&engine, "base", &[("a", "1")], &["CMD [\"sh\"]", "ENV A=b"]).await;
    container(&engine, "e", "base");
    let upper = engine.config().root.join("containers").join("e".repeat(64)).join("upper");
    std::fs::create_dir_all(&upper).unwrap();
    let options = api::containers::CommitOptions {
        container: "ce".into(),
        repo: "made".into(),
        author: "me".into(),
        comment: "note".into(),
        changes: vec!["LABEL x=y".into()],
        ..Default::default()
    };
    let empty = commit(&engine, options.clone()).await.unwrap();
    let image = inspect(&engine, &empty.id, "").await.unwrap();
    assert_eq!((image.root_fs.layers.len(), image.parent.as_str()), (1, base.as_str()));
    assert_eq!((image.author.as_str(), image.comment.as_str()), ("me", "note"));

    std::fs::write(upper.join("new"), "file").unwrap();
    let full = commit(&engine, options).await.unwrap();
    let image = engine.store().resolve(&full.id, None).unwrap();
    assert_eq!(image.config.config.labels["x"], "y");
    assert_eq!(image.config.history.len(), 2);
    let dirs = engine.store().layer_dirs(&image.chain().unwrap()).unwrap();
    assert_eq!(std::fs::read_to_string(dirs[0].join("new")).unwrap(), "file");
    assert!(upper.join("new").exists(), "the container keeps its files");
    assert_eq!(ChainId::all(&image.config.rootfs.diff_ids).len(), 2);
    let steps = history(&engine, "made", "").await.unwrap();
    assert_eq!((steps[0].size, steps[0].comment.as_str(), steps[1].id.as_str()), (4, "note", base.as_str()));
}
