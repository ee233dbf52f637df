//! What images hold, file by file: of each layer, of what is wasted, of what differs between two images. Read from the
//! store, or layer by layer from a registry; nothing is kept.

mod compare;
mod layer;
mod stack;

use std::collections::BTreeMap;
use std::thread;

use api::auth::AuthConfig;
use api::images::{ContentsOptions, ImageDifference, ImageTree, TreeLayer};
use futures_util::stream;
use oci::image::{Descriptor, History, ImageConfig};
use oci::{Digest, Platform, Reference};
use registry::Repository;
use tokio::runtime::Handle;

use self::layer::{Entries, Reading};
use self::stack::Stack;
use super::{platform, remote};
use crate::error::{Context as _, Error, Kind, Result};
use crate::{Engine, pipe};

/// Entries that all layers of an image may have: each is kept in mind.
const ENTRIES_MAX: u64 = 4_000_000;

type Credentials = BTreeMap<String, AuthConfig>;

/// An image whose layers can be read.
struct Source {
    name: String,
    id: Digest,
    config: ImageConfig,
    layers: Layers,
}

enum Layers {
    /// With what the manifest names each as.
    Here(Vec<(store::Layer, Descriptor)>),
    There(Box<Repository>, Vec<Descriptor>),
}

/// The layers of an image with their files, and what is wasted.
pub async fn tree(
    engine: &Engine,
    name: &str,
    options: ContentsOptions,
    who: &Credentials,
) -> Result<ImageTree> {
    let source = source(engine, name, &options, who).await?;
    blocking(engine, move |engine, runtime| {
        let mut left = ENTRIES_MAX;
        let mut stack = Stack::default();
        for (number, layer) in source.described().into_iter().enumerate() {
            let entries = source.read(engine, runtime, number, false, &mut left)?;
            stack.push(layer, entries, options.files);
        }
        let (layers, wasted) = stack.into_layers();
        let size = layers.iter().map(|layer| layer.size).sum();
        let wasted_bytes = layers.iter().map(|layer| layer.wasted).sum();
        let platform = source.config.platform().to_string();
        Ok(ImageTree {
            name: source.name,
            id: Some(source.id),
            platform,
            size,
            wasted: wasted_bytes,
            efficiency: if size == 0 { 1.0 } else { (size - wasted_bytes) as f64 / size as f64 },
            layers,
            waste: wasted,
        })
    })
    .await
}

/// What two images have that the other has not, or has otherwise.
pub async fn difference(
    engine: &Engine,
    names: [&str; 2],
    options: ContentsOptions,
    who: &Credentials,
) -> Result<ImageDifference> {
    let before = source(engine, names[0], &options, who).await?;
    let after = source(engine, names[1], &options, who).await?;
    blocking(engine, move |engine, runtime| {
        let mut sizes = [0, 0];
        let mut files = Vec::new();
        for (source, size) in [&before, &after].into_iter().zip(&mut sizes) {
            let (mut left, mut stack) = (ENTRIES_MAX, Stack::default());
            for number in 0..source.layers.count() {
                let entries = source.read(engine, runtime, number, true, &mut left)?;
                stack.push(TreeLayer::default(), entries, false);
            }
            let seen = stack.into_files();
            *size = seen.values().map(|node| node.size).sum();
            files.push(seen);
        }
        let diff_ids = |source: &Source| source.config.rootfs.diff_ids.clone();
        let shared = diff_ids(&before).iter().zip(&diff_ids(&after)).take_while(|(a, b)| a == b).count();
        let config = compare::configurations(&before.config, &after.config)?;
        let after_files = files.pop().unwrap_or_default();
        let before_files = files.pop().unwrap_or_default();
        Ok(ImageDifference {
            names: vec![before.name, after.name],
            ids: vec![before.id, after.id],
            sizes: sizes.to_vec(),
            layers: vec![before.layers.count(), after.layers.count()],
            shared_layers: shared,
            config,
            files: compare::files(&before_files, &after_files),
        })
    })
    .await
}

/// Runs work that reads from registries on the blocking pool.
async fn blocking<T: Send + 'static>(
    engine: &Engine,
    work: impl FnOnce(&Engine, &Handle) -> Result<T> + Send + 'static,
) -> Result<T> {
    let runtime = Handle::current();
    engine.blocking(move |engine| work(engine, &runtime)).await
}

/// Finds an image here, or in its registry if that is wanted or it is not here.
async fn source(engine: &Engine, name: &str, options: &ContentsOptions, who: &Credentials) -> Result<Source> {
    let wanted = platform::one(&options.platform)?;
    if !options.remote {
        match here(engine, name, wanted.clone()).await {
            // A name that only a registry may know.
            Err(error) if error.kind == Kind::NotFound && Reference::parse(name).is_ok() => {
                let remote = there(engine, name, wanted.as_ref(), who).await;
                return remote.map_err(|there| {
                    let why = crate::error::chain(&there);
                    error.with_hint(format!("its registry was asked too: {why}"))
                });
            }
            found => return found,
        }
    }
    there(engine, name, wanted.as_ref(), who).await
}

async fn here(engine: &Engine, name: &str, platform: Option<Platform>) -> Result<Source> {
    let name = name.to_owned();
    engine
        .blocking(move |engine| {
            let store = engine.store();
            let image = store.resolve(&name, platform.as_ref())?;
            let mut layers = store.chain(image.chain().as_ref())?;
            layers.reverse();
            let layers = Layers::Here(layers.into_iter().zip(image.manifest.layers).collect());
            Ok(Source { name, id: image.id, config: image.config, layers })
        })
        .await
}

async fn there(
    engine: &Engine,
    name: &str,
    platform: Option<&Platform>,
    who: &Credentials,
) -> Result<Source> {
    let (repository, manifest, config) = remote::image(engine, name, platform, who).await?;
    if config.1.rootfs.diff_ids.len() != manifest.layers.len() {
        return Err(Error::invalid(format!(
            "image {name}: {} layers in the manifest, {} in the configuration",
            manifest.layers.len(),
            config.1.rootfs.diff_ids.len()
        )));
    }
    let layers = Layers::There(Box::new(repository), manifest.layers);
    Ok(Source { name: name.to_owned(), id: config.0, config: config.1, layers })
}

impl Layers {
    fn count(&self) -> usize {
        match self {
            Layers::Here(layers) => layers.len(),
            Layers::There(_, layers) => layers.len(),
        }
    }
}

impl Source {
    /// The layers, lowest first, with the instructions that made them.
    fn described(&self) -> Vec<TreeLayer> {
        let none = History::default();
        let mut steps = self.config.history.iter().filter(|step| !step.empty_layer);
        let mut described = Vec::new();
        for (number, diff_id) in self.config.rootfs.diff_ids.iter().enumerate() {
            let step = steps.next().unwrap_or(&none);
            let archive = match &self.layers {
                Layers::There(_, layers) => &layers[number],
                Layers::Here(layers) => &layers[number].1,
            };
            described.push(TreeLayer {
                digest: archive.digest.to_string(),
                diff_id: diff_id.to_string(),
                created_by: step.created_by.clone(),
                compressed: if archive.digest == *diff_id { 0 } else { archive.size },
                ..TreeLayer::default()
            });
        }
        described
    }

    /// Reads one layer's entries.
    fn read(
        &self,
        engine: &Engine,
        runtime: &Handle,
        number: usize,
        contents: bool,
        left: &mut u64,
    ) -> Result<Entries> {
        let reading = Reading { limits: engine.store().limits(), left, contents };
        let entries = match &self.layers {
            Layers::Here(layers) => {
                let (layer, archive) = &layers[number];
                match engine.store().open_blob(&archive.digest) {
                    Ok(blob) => layer::read(blob, reading),
                    // It was made here, or its archive is lost.
                    Err(store::Error::NoBlob(_)) => packed(engine, layer, reading),
                    Err(error) => Err(error.into()),
                }
            }
            Layers::There(repository, layers) => {
                let blob = repository.blob(&layers[number]);
                let chunks = stream::try_unfold(blob, |mut blob| async move {
                    let chunk = blob.chunk().await.map_err(std::io::Error::other)?;
                    Ok::<_, std::io::Error>(chunk.map(|chunk| (chunk, blob)))
                });
                let _inside = runtime.enter();
                layer::read(pipe::reader(chunks), reading)
            }
        };
        entries.map_err(|error| error.within(format_args!("layer {} of {}", number + 1, self.name)))
    }
}

/// Reads a layer of the store as its archive.
fn packed(engine: &Engine, layer: &store::Layer, reading: Reading<'_>) -> Result<Entries> {
    let (source, sink) = std::io::pipe().during("make a pipe")?;
    thread::scope(|scope| {
        let packing = scope.spawn(move || engine.store().layer_tar(layer, std::io::BufWriter::new(sink)));
        let entries = layer::read(source, reading);
        let packed = packing.join().map_err(|_| Error::system("packing a layer panicked"))?;
        // Who reads has a reason of its own where the pipe broke.
        let entries = entries?;
        match packed {
            // Only what was packed here is packed to the same bytes again.
            Err(store::Error::Mismatch { .. }) if layer.archive_size.is_none() => Ok(entries),
            other => Ok(other.map(|()| entries)?),
        }
    })
}
