//! What is no image: kept under its name, or with the image that it is attached to.

use api::auth::AuthConfig;
use api::images::PullOptions;
use registry::cosign_tags;

use super::pull::{Content, registry};
use super::*;

const CHART: &str = "application/vnd.cncf.helm.config.v1+json";
const LIST: &str = "application/spdx+json";
const SIGNATURE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// A manifest with its blobs.
struct Thing {
    manifest: Vec<u8>,
    blobs: Vec<Vec<u8>>,
}

impl Thing {
    fn new(config: &str, layer: &str, text: &str, subject: Option<&[u8]>) -> Thing {
        let blobs = vec![format!("{{\"of\":\"{text}\"}}").into_bytes(), text.as_bytes().to_vec()];
        let mut manifest =
            Manifest::new(Descriptor::of(config, &blobs[0]), vec![Descriptor::of(layer, &blobs[1])]);
        manifest.subject = subject.map(|bytes| Box::new(Descriptor::of(media_types::OCI_MANIFEST, bytes)));
        Thing { manifest: serde_json::to_vec(&manifest).unwrap(), blobs }
    }

    fn digest(&self) -> Digest {
        Digest::sha256(&self.manifest)
    }

    fn all(&self) -> impl Iterator<Item = &Vec<u8>> {
        self.blobs.iter().chain([&self.manifest])
    }

    fn serve(&self, content: &mut Content, names: &[&str]) {
        for bytes in self.all() {
            let path = format!("/v2/app/blobs/{}", Digest::sha256(bytes));
            content.insert(path, ("application/octet-stream".into(), bytes.clone()));
        }
        for name in names.iter().map(|name| (*name).to_owned()).chain([self.digest().to_string()]) {
            let manifest = (media_types::OCI_MANIFEST.into(), self.manifest.clone());
            content.insert(format!("/v2/app/manifests/{name}"), manifest);
        }
    }
}

fn image() -> Thing {
    let layer = tar(&[("file", "content")]);
    let mut config = ImageConfig::new(&Platform::host());
    config.rootfs.diff_ids = vec![Digest::sha256(&layer)];
    let blobs = vec![serde_json::to_vec(&config).unwrap(), compressed(Compression::Gzip, &layer)];
    let layers = vec![Descriptor::of(media_types::OCI_LAYER_GZIP, &blobs[1])];
    let manifest = Manifest::new(Descriptor::of(media_types::OCI_CONFIG, &blobs[0]), layers);
    Thing { manifest: serde_json::to_vec(&manifest).unwrap(), blobs }
}

/// An image with a list of its packages, of which there is a signature, and with a signature of cosign's.
fn attached() -> (Thing, [Thing; 3], String) {
    let image = image();
    let list = Thing::new("application/vnd.oci.empty.v1+json", LIST, "packages", Some(&image.manifest));
    let of_list = Thing::new(LIST, LIST, "signature of the list", Some(&list.manifest));
    let signature = Thing::new(media_types::OCI_CONFIG, SIGNATURE, "signature", None);
    let [tag, ..] = cosign_tags(&image.digest());
    (image, [list, of_list, signature], tag)
}

/// A layout with these lines and blobs.
fn archive(lines: Vec<Descriptor>, things: &[&Thing]) -> Vec<u8> {
    let index = serde_json::to_vec(&Index::new(lines)).unwrap();
    let mut packer = Packer::new(Vec::new());
    let layout = b"{\"imageLayoutVersion\":\"1.0.0\"}".to_vec();
    for (name, bytes) in [("oci-layout", layout), ("index.json", index)] {
        packer.append_bytes(&Entry::file(name, 0o644, 0), &bytes).unwrap();
    }
    let blobs: BTreeMap<String, &Vec<u8>> = things
        .iter()
        .flat_map(|thing| thing.all())
        .map(|b| (Digest::sha256(b).hex().to_owned(), b))
        .collect();
    for (hex, bytes) in blobs {
        packer.append_bytes(&Entry::file(format!("blobs/sha256/{hex}"), 0o644, 0), bytes).unwrap();
    }
    packer.finish().unwrap()
}

fn line(thing: &Thing, key: &str, value: &str) -> Descriptor {
    let mut line = Descriptor::of(media_types::OCI_MANIFEST, &thing.manifest);
    if !key.is_empty() {
        line.annotations.insert(key.into(), value.into());
    }
    line
}

const NAME: &str = "io.containerd.image.name";
const REF: &str = "org.opencontainers.image.ref.name";

/// All things whose blobs are in the store.
fn here(engine: &Engine, things: &[&Thing]) -> Vec<bool> {
    let has = |bytes: &Vec<u8>| engine.store().blob_size(&Digest::sha256(bytes)).unwrap().is_some();
    things.iter().map(|thing| thing.all().all(has)).collect()
}

async fn pull_of(engine: &Engine, port: u16, attached: bool) -> Result<Vec<JsonMessage>> {
    let from_image = format!("127.0.0.1:{port}/app:1");
    let options = PullOptions { from_image, attached, ..PullOptions::default() };
    told(|sender| crate::images::pull(engine, options, AuthConfig::default(), sender)).await
}

#[tokio::test]
async fn what_is_no_image_is_kept_as_it_came() {
    let chart = Thing::new(CHART, "application/vnd.cncf.helm.chart.content.v1.tar+gzip", "chart", None);
    let mut content = Content::new();
    chart.serve(&mut content, &["1"]);
    let port = registry(content).await;
    let (_dir, engine) = engine().await;
    pull_of(&engine, port, false).await.unwrap();
    let name = format!("127.0.0.1:{port}/app:1");
    let lines = listed(&engine, &[]).await;
    assert_eq!((&lines[0].repo_tags, &lines[0].id), (&vec![name.clone()], &chart.digest().to_string()));
    assert_eq!(lines[0].size, chart.all().map(|bytes| bytes.len() as i64).sum::<i64>());

    let error = crate::Error::from(engine.store().resolve(&name, None).unwrap_err());
    assert_eq!(error.kind, Kind::InvalidParameter);
    let said = format!("{name} is no image but an artifact of type {CHART}: it can't be run");
    assert!(error.message.starts_with(&said), "{error}");

    crate::images::tag(&engine, &name, "chart", "2").await.unwrap();
    engine.store().gc().unwrap();
    assert_eq!(engine.store().check(false).unwrap(), vec![]);
    let bytes = saved(&engine, &["chart:2"]).await.unwrap();
    let removed = rmi(&engine, &name, false).await.unwrap();
    assert_eq!(removed.len(), 2, "the name and its digest: {removed:?}");
    let removed = rmi(&engine, chart.digest().short(), false).await.unwrap();
    assert_eq!(removed.last().unwrap().deleted, chart.digest().to_string());
    assert!(listed(&engine, &[]).await.is_empty());
    engine.store().gc().unwrap();
    assert!(engine.store().blobs().unwrap().is_empty());

    assert_eq!(load_bytes(&engine, bytes.clone()).await.unwrap(), ["Loaded image: chart:2\n"]);
    assert_eq!(saved(&engine, &["chart:2"]).await.unwrap(), bytes);
}

#[tokio::test]
async fn what_is_attached_comes_and_goes_with_its_image() {
    let (image, [list, of_list, signature], tag) = attached();
    let things = [&image, &list, &of_list, &signature];
    // What is attached to something comes before that here.
    let lines = vec![
        line(&of_list, "", ""),
        line(&signature, REF, &tag),
        line(&list, "", ""),
        line(&image, NAME, "docker.io/library/app:1"),
    ];
    let (_dir, engine) = engine().await;
    assert_eq!(load_bytes(&engine, archive(lines, &things)).await.unwrap(), ["Loaded image: app:1\n"]);
    engine.store().gc().unwrap();
    assert_eq!(here(&engine, &things), [true; 4]);
    assert_eq!(listed(&engine, &[]).await.len(), 1, "they are no images of their own");
    assert_eq!(engine.store().check(false).unwrap(), vec![]);

    let bytes = saved(&engine, &["app:1"]).await.unwrap();
    let index: Index = serde_json::from_slice(&members(&bytes)["index.json"]).unwrap();
    let tagged = index.manifests.iter().find(|line| line.digest == signature.digest()).unwrap();
    assert_eq!((index.manifests.len(), &tagged.annotations[REF]), (4, &tag));
    rmi(&engine, "app:1", false).await.unwrap();
    assert_eq!(here(&engine, &things), [false; 4]);
    load_bytes(&engine, bytes.clone()).await.unwrap();
    assert_eq!(saved(&engine, &["app:1"]).await.unwrap(), bytes);
}

#[tokio::test]
async fn a_pull_brings_what_is_attached_if_that_is_wanted() {
    let (image, [list, of_list, signature], tag) = attached();
    let things = [&image, &list, &of_list, &signature];
    let mut content = Content::new();
    image.serve(&mut content, &["1"]);
    signature.serve(&mut content, &[&tag]);
    for (subject, thing) in [(&image, &list), (&list, &of_list)] {
        thing.serve(&mut content, &[]);
        let lines = serde_json::to_vec(&Index::new(vec![line(thing, "", "")])).unwrap();
        let path = format!("/v2/app/referrers/{}", subject.digest());
        content.insert(path, (media_types::OCI_INDEX.into(), lines));
    }
    let port = registry(content).await;
    let (_dir, engine) = engine().await;
    pull_of(&engine, port, false).await.unwrap();
    assert_eq!(here(&engine, &things), [true, false, false, false]);
    // Also for an image that is here.
    let messages = pull_of(&engine, port, true).await.unwrap();
    assert!(messages.iter().any(|message| message.status == "Attached: 3"), "{messages:?}");
    engine.store().gc().unwrap();
    assert_eq!(here(&engine, &things), [true; 4]);
}

#[tokio::test]
async fn a_thing_that_is_nobodys_is_no_image() {
    let (image, [list, ..], _) = attached();
    let (_dir, engine) = engine().await;
    let alone = archive(vec![line(&list, "", "")], &[&list]);
    let error = load_bytes(&engine, alone).await.unwrap_err();
    assert!(error.message.contains("is no image, has no name"), "{error}");
    let lacking = Thing { manifest: list.manifest.clone(), blobs: Vec::new() };
    let lines = vec![line(&image, NAME, "docker.io/library/app:1"), line(&list, "", "")];
    let error = load_bytes(&engine, archive(lines, &[&image, &lacking])).await.unwrap_err();
    assert!(error.message.contains("is missing"), "{error}");
}

/// A registry that says that bytes are attached that are not what it says.
#[tokio::test]
async fn what_is_attached_is_verified() {
    let (image, [list, ..], _) = attached();
    let mut content = Content::new();
    image.serve(&mut content, &["1"]);
    list.serve(&mut content, &[]);
    let blob = format!("/v2/app/blobs/{}", Digest::sha256(&list.blobs[1]));
    content.get_mut(&blob).unwrap().1 = b"PACKAGES".to_vec();
    let lines = serde_json::to_vec(&Index::new(vec![line(&list, "", "")])).unwrap();
    content.insert(format!("/v2/app/referrers/{}", image.digest()), (media_types::OCI_INDEX.into(), lines));
    let (_dir, engine) = engine().await;
    let error = pull_of(&engine, registry(content).await, true).await.unwrap_err();
    assert!(error.message.contains("does not match its digest"), "{error}");
    engine.store().gc().unwrap();
    assert_eq!(here(&engine, &[&list]), [false]);
}

/// A registry that lists what is attached to something else, or without an end.
#[tokio::test]
async fn lists_of_what_is_attached_that_lead_around() {
    let (image, [list, of_list, _], _) = attached();
    let other = Thing::new(LIST, LIST, "something else", None);
    let many: Vec<Thing> =
        (0..1001).map(|number| Thing::new(LIST, LIST, &number.to_string(), Some(&image.manifest))).collect();
    for (listed, said) in [
        (vec![&other], "and says that it is to nothing"),
        (vec![&list, &of_list], "and says that it is to sha256:"),
        (many.iter().collect(), "more than 1000 things are attached"),
    ] {
        let mut content = Content::new();
        image.serve(&mut content, &["1"]);
        listed.iter().for_each(|thing| thing.serve(&mut content, &[]));
        let lines = listed.iter().map(|thing| line(thing, "", "")).collect();
        let lines = (media_types::OCI_INDEX.to_owned(), serde_json::to_vec(&Index::new(lines)).unwrap());
        content.insert(format!("/v2/app/referrers/{}", image.digest()), lines);
        let (_dir, engine) = engine().await;
        let error = pull_of(&engine, registry(content).await, true).await.unwrap_err();
        assert!(error.message.contains(said), "{error}");
    }
}
