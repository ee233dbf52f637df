//! `docker image inspect`.

use std::collections::BTreeMap;

use api::containers::GraphDriver;
use api::images::{Inspect, Metadata, RootFs};
use oci::Platform;

use super::catalog::Catalog;
use super::platform;
use crate::Engine;
use crate::error::Result;

/// Everything about an image; of several platforms' about this one's.
pub async fn inspect(engine: &Engine, name: &str, platform: &str) -> Result<Inspect> {
    let name = name.to_owned();
    let platform = platform::one(platform)?;
    engine.blocking(move |engine| inspect_blocking(engine, &name, platform.as_ref())).await
}

fn inspect_blocking(engine: &Engine, name: &str, platform: Option<&Platform>) -> Result<Inspect> {
    let store = engine.store();
    let image = store.resolve(name, platform)?;
    let catalog = engine.db().read(|tx| Catalog::read(store, tx))?;
    let (mut tags, mut digests, mut last_tag) = (Vec::new(), Vec::new(), None);
    if let Some(item) = catalog.get(&image.id) {
        tags = item.all_tags().map(|tag| tag.reference.familiar()).collect();
        digests = item.all_digests().map(|tag| tag.reference.familiar()).collect();
        last_tag = item.all_tags().map(|tag| tag.updated.clone()).max();
    }
    let size = store.image_size(&image)? as i64;
    let graph_driver = driver(engine, &image)?;
    let config = image.config;
    Ok(Inspect {
        id: image.id.to_string(),
        repo_tags: tags,
        repo_digests: digests,
        parent: image.parent.map(|parent| parent.to_string()).unwrap_or_default(),
        comment: match (config.comment.as_str(), config.history.last()) {
            ("", Some(last)) => last.comment.clone(),
            (own, _) => own.to_owned(),
        },
        created: config.created.clone().unwrap_or_default(),
        docker_version: String::new(),
        author: config.author.clone(),
        architecture: config.architecture.clone(),
        variant: config.variant.clone().unwrap_or_default(),
        os: config.os.clone(),
        os_version: config.os_version.clone().unwrap_or_default(),
        size,
        graph_driver,
        root_fs: RootFs {
            typ: config.rootfs.kind.clone(),
            layers: config.rootfs.diff_ids.iter().map(ToString::to_string).collect(),
        },
        metadata: Metadata { last_tag_time: last_tag.unwrap_or_else(|| "0001-01-01T00:00:00Z".to_owned()) },
        config: Some(config.config),
        ..Inspect::default()
    })
}

/// Where the layers are, in the words of Docker's overlay driver.
fn driver(engine: &Engine, image: &store::Image) -> Result<GraphDriver> {
    let mut data = BTreeMap::new();
    if let Some(chain) = image.chain() {
        let directories = engine.store().layer_dirs(&chain)?;
        let mut directories = directories.iter().map(|path| path.to_string_lossy().into_owned());
        data.extend(directories.next().map(|upper| ("UpperDir".to_owned(), upper)));
        let lower: Vec<String> = directories.collect();
        if !lower.is_empty() {
            data.insert("LowerDir".to_owned(), lower.join(":"));
        }
    }
    Ok(GraphDriver { name: "overlay2".to_owned(), data })
}
