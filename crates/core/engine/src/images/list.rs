//! `docker images`.

use std::collections::HashMap;

use api::images::{ListOptions, Summary};
use jiff::Timestamp;
use oci::{ChainId, Digest};
use state::tags::Tag;

use super::artifacts::{self, Artifact};
use super::catalog::{Catalog, Item};
use super::{manifests, reference};
use crate::Engine;
use crate::error::{Error, Result};

/// The images that fit the filters, newest first.
pub async fn list(engine: &Engine, options: ListOptions) -> Result<Vec<Summary>> {
    engine.blocking(move |engine| list_blocking(engine, &options)).await
}

fn list_blocking(engine: &Engine, options: &ListOptions) -> Result<Vec<Summary>> {
    let filters = &options.filters;
    filters.accept(&["dangling", "label", "before", "since", "reference", "until"])?;
    let dangling = filters.boolean("dangling")?;
    let until = filters.instant(&["until"])?;
    let (before, since) = (bound(engine, options, "before")?, bound(engine, options, "since")?);
    let store = engine.store();
    let catalog = engine.db().read(|tx| Catalog::read(store, tx))?;
    let containers = match options.shared_size || options.manifests {
        true => containers(engine)?,
        false => HashMap::new(),
    };
    let sizes = Sizes::read(engine, &catalog, &containers, options)?;
    let mut lines = Vec::new();
    for item in catalog.items.iter().filter(|item| !item.is_lent()) {
        let created = item.created().unwrap_or(Timestamp::UNIX_EPOCH);
        let in_time = before.is_none_or(|bound| created < bound)
            && since.is_none_or(|bound| created > bound)
            && until.is_none_or(|bound| created <= bound);
        if !in_time || !filters.labels("label", &item.labels()) {
            continue;
        }
        let (tags, digests) = match options.all {
            true => names(item.all_tags().chain(item.all_digests()), options)?,
            false => names(item.names(), options)?,
        };
        let nameless = tags.is_empty() && digests.is_empty();
        let nothing_own = item.names().next().is_none();
        let shown = match (nameless, dangling) {
            // A name of it was filtered away.
            (true, _) if !item.is_nameless() => false,
            // It is in the tree of its index, and goes with its name.
            (false, _) if nothing_own && (options.manifests || dangling == Some(true)) => false,
            (true, Some(false)) => false,
            (true, _) => !filters.contains("reference") && (options.all || item.children == 0),
            (false, Some(true)) => tags.is_empty(),
            (false, _) => true,
        };
        if shown {
            let mut line = line(item, tags, digests, created, &sizes);
            if options.manifests {
                manifests::add(store, item, &sizes.layers, &containers, &mut line);
            }
            lines.push(line);
        }
    }
    let plain = !filters.contains("label") && !filters.contains("before") && !filters.contains("since");
    if plain && until.is_none() && dangling != Some(true) {
        for artifact in engine.db().read(|tx| artifacts::all(store, tx))? {
            lines.extend(artifact_line(&artifact, options)?);
        }
    }
    lines.sort_by_key(|line| std::cmp::Reverse(line.created));
    Ok(lines)
}

/// What is no image has no date, no labels and no layers.
fn artifact_line(artifact: &Artifact, options: &ListOptions) -> Result<Option<Summary>> {
    let (tags, digests) = names(artifact.tags.iter().chain(&artifact.digests), options)?;
    if tags.is_empty() && digests.is_empty() {
        return Ok(None);
    }
    let size = i64::try_from(artifact.size).unwrap_or(i64::MAX);
    let counted = if options.shared_size { 0 } else { -1 };
    let mut line = Summary {
        containers: counted,
        id: artifact.digest.to_string(),
        repo_digests: digests,
        repo_tags: tags,
        shared_size: counted,
        size,
        ..Summary::default()
    };
    if options.manifests {
        line.manifests = Some(vec![manifests::of_artifact(artifact)]);
    }
    Ok(Some(line))
}

/// The names that the filter `reference` lets through.
fn names<'t>(
    all: impl Iterator<Item = &'t Tag>,
    options: &ListOptions,
) -> Result<(Vec<String>, Vec<String>)> {
    let patterns: Vec<&str> = options.filters.get("reference").collect();
    let (mut tags, mut digests) = (Vec::new(), Vec::new());
    for name in all {
        let mut wanted = patterns.is_empty();
        for pattern in &patterns {
            wanted |= reference::matches(pattern, &name.reference)?;
        }
        if wanted {
            let list = if name.reference.digest.is_some() { &mut digests } else { &mut tags };
            list.push(name.reference.familiar());
        }
    }
    Ok((tags, digests))
}

/// When the image that `before` or `since` names was made.
fn bound(engine: &Engine, options: &ListOptions, key: &str) -> Result<Option<Timestamp>> {
    let mut bound = None;
    for name in options.filters.get(key) {
        let image = engine.store().resolve(name, None)?;
        bound = image.config.created.and_then(|created| created.parse().ok());
    }
    Ok(bound)
}

fn line(item: &Item, tags: Vec<String>, digests: Vec<String>, created: Timestamp, sizes: &Sizes) -> Summary {
    let (size, shared) = sizes.of(item);
    Summary {
        containers: sizes.containers.as_ref().map_or(-1, |count| count.get(&item.id).copied().unwrap_or(0)),
        created: created.as_second(),
        id: item.id.to_string(),
        labels: item.labels(),
        parent_id: item.parent().map(ToString::to_string).unwrap_or_default(),
        repo_digests: digests,
        repo_tags: tags,
        shared_size: shared,
        size,
        virtual_size: 0,
        descriptor: None,
        manifests: None,
    }
}

/// The ids of the containers of each image.
fn containers(engine: &Engine) -> Result<HashMap<Digest, Vec<String>>> {
    let mut containers: HashMap<Digest, Vec<String>> = HashMap::new();
    for container in engine.db().read(state::containers::list).map_err(Error::from)? {
        if let Some(id) = container.image_id {
            containers.entry(id).or_default().push(container.id.to_string());
        }
    }
    Ok(containers)
}

/// What takes a look at layers and containers to know.
struct Sizes {
    layers: HashMap<ChainId, u64>,
    /// How many images have a layer; only when shared sizes are asked for.
    users: Option<HashMap<ChainId, u32>>,
    containers: Option<HashMap<Digest, i64>>,
}

impl Sizes {
    fn read(
        engine: &Engine,
        catalog: &Catalog,
        containers: &HashMap<Digest, Vec<String>>,
        options: &ListOptions,
    ) -> Result<Sizes> {
        let mut sizes = Sizes { layers: HashMap::new(), users: None, containers: None };
        let mut users: HashMap<ChainId, u32> = HashMap::new();
        for item in &catalog.items {
            for chain in item.chains() {
                if !sizes.layers.contains_key(&chain)
                    && let Ok(Some(layer)) = engine.store().layer(&chain)
                {
                    sizes.layers.insert(chain.clone(), layer.size);
                }
                *users.entry(chain).or_default() += 1;
            }
        }
        if options.shared_size {
            sizes.users = Some(users);
        }
        if options.shared_size || options.manifests {
            let count = |(id, list): (&Digest, &Vec<String>)| (id.clone(), list.len() as i64);
            sizes.containers = Some(containers.iter().map(count).collect());
        }
        Ok(sizes)
    }

    /// The size of an image and of what it shares with others.
    fn of(&self, item: &Item) -> (i64, i64) {
        let (mut size, mut shared) = (0, 0);
        for chain in item.chains() {
            let layer = self.layers.get(&chain).copied().unwrap_or(0) as i64;
            size += layer;
            if self.users.as_ref().and_then(|users| users.get(&chain)).is_some_and(|users| *users > 1) {
                shared += layer;
            }
        }
        (size, if self.users.is_some() { shared } else { -1 })
    }
}
